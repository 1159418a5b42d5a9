"""Measures which angles, expressions, framings and poses a character's pictures cover, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engines.api.axes import ANGLES, AROUND, ELEVATIONS, EXPRESSIONS, FRAMINGS, POSES
from engines.api.crops import cut_size
from engines.api.triggers import says
from engines.wording.reading import read_tags
from studio.flywheel.curate.captions import (
    SIDECAR,
    leaks,
    missing_words,
)
from studio.judging import faces, quality
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from studio.workplace.desk import Desk, Workplace

ENOUGH, ENOUGH_ANGLES = 10, 2
CONSTANT = "no caption describes what never changes (hair, eyes, skin)"
_SAMPLE, _SAMPLE_DONE = "sample_character", "sample_done"


@dataclass(frozen=True)
class Check:
    """Holds one item of a checklist."""

    label: str
    """What is checked, in words."""
    ok: bool
    """Whether it is met."""
    hint: str = ""
    """How to meet it; "" where there is nothing to say."""
    tab: str = ""
    """The tab of the page in which to do so; "" for none."""


@dataclass(frozen=True)
class Coverage:
    """Holds counts of the pictures that may be trained on: by angle and expression, by framing, and by pose.

    `cells` maps (angle, expression) to a number of pictures. `missing` lists the pairs (angle, expression), and
    `missing_poses` the poses, that no picture shows. `checklist` checks the number of pictures, their head angles and
    their captions. `around` counts each of the eight angles, `elevations` each height of the camera; a picture whose
    angle or height is not known counts in neither.
    """

    cells: dict[tuple[str, str], int]
    framings: dict[str, int]
    poses: dict[str, int]
    missing: tuple[tuple[str, str], ...]
    missing_poses: tuple[str, ...]
    checklist: tuple[Check, ...]
    around: dict[str, int]
    elevations: dict[str, int]


def usable(store: Store) -> list[ImageRecord]:
    """Returns the pictures that may be trained on: all approved ones, and the originals without a verdict."""
    return [
        image
        for image in store.select((Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION))
        if image.state is Verdict.GOOD or (image.kind is Kind.SOURCE and image.state is Verdict.PENDING)
    ]


def crop(desk: Desk, image_id: str, box: Sequence[float]) -> ImageRecord:
    """Sets a picture's crop, the part of it that is trained, and returns its record.

    `box` is left, top, right, bottom in 0…1; an empty box is the whole picture. The record's advice, which warns where
    training would cut much away, is recomputed. Raises: NotFound, BadInput for a box that is not inside the picture.
    """
    store = desk.store
    with store.transaction():
        return _advised(desk, store.set_crop(image_id, box))


def undo_crop(desk: Desk, image_id: str) -> ImageRecord:
    """Undoes the last change of a picture's crop and returns its record.

    The record's advice, which warns where training would cut much away, is recomputed. Raises: NotFound where there is
    no change to undo.
    """
    store = desk.store
    with store.transaction():
        return _advised(desk, store.undo_crop(image_id))


def _advised(desk: Desk, image: ImageRecord) -> ImageRecord:
    size = cut_size(image.crop, (image.width, image.height))
    cut = quality.advise_cut(desk.workplace.registry, desk.store.character.generator, size)
    return desk.store.update_image(image.id, advice={**image.advice, **cut}) if cut else image


def coverage(desk: Desk) -> Coverage:
    """Returns which angles, expressions, framings and poses the character's pictures show, and what they still lack.

    Only pictures that may be trained on count (see `usable`).
    """
    store = desk.store
    images = usable(store)
    found = cover(images, store.character.trigger)
    return replace(found, checklist=(*found.checklist, *_of_faces(desk, images)))


def cover(images: list[ImageRecord], trigger: str) -> Coverage:
    """Returns which angles, expressions, framings and poses the given pictures show, and a checklist of what they lack.

    A pose counts only in a picture of the full body, or in one without a framing tag. `trigger` is the trigger word,
    which the checklist looks for in the captions.
    """
    cells = {(angle, expression): 0 for angle in ANGLES for expression in EXPRESSIONS}
    framings, poses = dict.fromkeys(FRAMINGS, 0), dict.fromkeys(POSES, 0)
    for image in images:
        cell = (image.tags.get("angle", ""), image.tags.get("expression", ""))
        if cell in cells:
            cells[cell] += 1
        framing, pose = image.tags.get("framing", ""), image.tags.get("pose", "")
        if framing in framings:
            framings[framing] += 1
        if pose in poses and framing in ("", "full body"):
            poses[pose] += 1
    return Coverage(
        cells=cells,
        framings=framings,
        poses=poses,
        missing=tuple(cell for cell, count in cells.items() if not count),
        missing_poses=tuple(pose for pose, count in poses.items() if not count),
        checklist=_checklist(images, trigger),
        around={angle: sum(image.tags.get("angle") == angle for image in images) for angle in AROUND},
        elevations={each: sum(image.tags.get("elevation") == each for image in images) for each in ELEVATIONS},
    )


def ensure_sample(workplace: Workplace) -> Character | None:
    """Returns the sample character, and creates it at the studio's first start; None where there is none.

    The sample is not created where other characters exist, nor again after the user removed it. A creation that was
    interrupted is completed at the next start.
    """
    library, folder = workplace.library, workplace.settings.assets / "sample"
    known = library.setting(_SAMPLE, str)
    made = next((each for each in library.characters() if each.id == known), None)
    if library.setting(_SAMPLE_DONE, bool) or not folder.is_dir() or (library.characters() and made is None):
        return made
    if made is None:
        card = folder / "character.json"
        told = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
        who = {"name": told.get("name", "Sample"), "trigger": told.get("trigger", "ohwx")}
        made = library.create(**who, **workplace.registry.first())
        library.set_setting(_SAMPLE, made.id)
    if library.trouble(made.id):
        return made
    store = library.open(made.id)
    for file in sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".webp")):
        _add_sample(store, file)
    library.set_setting(_SAMPLE_DONE, True)
    return made


def is_sample(desk: Desk) -> bool:
    """Returns whether the character is the sample that the studio made at its first start."""
    return bool(desk.id) and desk.workplace.library.setting(_SAMPLE, str) == desk.id


def _add_sample(store: Store, file: Path) -> None:
    sidecar = file.with_suffix(".txt")
    words = sidecar.read_text(encoding="utf-8").strip() if sidecar.is_file() else ""
    image = store.add_image(
        file.read_bytes(),
        kind=Kind.SOURCE,
        name=file.name,
        caption=words,
        caption_by=SIDECAR if words else "",
        tags=read_tags(words),
    )
    if not image.measures:
        store.update_image(image.id, measures=quality.measure(store.open_whole(image.id)).to_json())


def _checklist(images: list[ImageRecord], trigger: str) -> tuple[Check, ...]:
    angles = {image.tags["angle"] for image in images if image.tags.get("angle")}
    silent = missing_words(images)
    telling = [image for image in images if leaks(image.caption, trigger)]
    spoken = [image for image in images if image.caption.strip()]
    nameless = [image for image in spoken if not says(image.caption, trigger)]
    return (
        Check(
            f"at least {ENOUGH} usable pictures",
            len(images) >= ENOUGH,
            "" if len(images) >= ENOUGH else f"There are {len(images)}: import {ENOUGH - len(images)} more.",
        ),
        Check(
            f"at least {ENOUGH_ANGLES} head angles",
            len(angles) >= ENOUGH_ANGLES,
            "" if len(angles) >= ENOUGH_ANGLES else "Caption or tag the pictures, or let Enrich turn the head.",
        ),
        Check("every picture has a caption", bool(images) and not silent, _count(silent, "captions are missing")),
        *(_of_captions(nameless, telling, trigger) if spoken else ()),
    )


def _of_faces(desk: Desk, images: list[ImageRecord]) -> tuple[Check, ...]:
    """Returns whether most originals show a face, for a character whose scorer looks for faces; () for others."""
    character, workplace = desk.store.character, desk.workplace
    originals = [image for image in images if image.kind is Kind.SOURCE]
    hint = faces.blind(workplace, character)
    if not originals or not (hint or faces.reader_of(workplace, character)):
        return ()
    without = [image for image in originals if "no_face" in image.advice]
    if 2 * len(without) > len(originals):
        hint = hint or f"{len(without)} of {len(originals)} show none: if they are drawings, say so in its settings."
    return (Check("the scorer finds a face in most originals", not hint, hint),)


def _of_captions(nameless: list[ImageRecord], telling: list[ImageRecord], trigger: str) -> tuple[Check, ...]:
    return (
        Check(
            f"every caption begins with {trigger}, or says it",
            not nameless,
            _count(nameless, f"captions never say {trigger}"),
        ),
        Check(CONSTANT, not telling, _count(telling, "captions name hair, eyes or skin")),
    )


def _count(found: list[ImageRecord] | list[str], words: str) -> str:
    return f"{len(found)} {words}." if found else ""
