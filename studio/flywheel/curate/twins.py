"""Advises on originals that are almost the same picture; the best of them gets no advice."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from itertools import combinations

from PIL import Image

from engines.api.errors import UserError
from studio.judging import quality
from studio.judging.copies import LEAST_SIDE, Features, are_copies
from studio.records.image import ImageRecord, Kind
from studio.store import Store
from studio.store.durable import write_file

TWIN = "duplicate"  # the name of the advice
_PART = "shows the same as"  # how a cropped, turned or framed picture, or a screenshot, is similar
_PLACE, _FOUND = "runs/copies", "found.json"  # the folder of the features, and the file of what was found in it
_MOST = 100  # the latest originals that are compared by their features, each with each: 3 ms a pair
_DAMAGED = (OSError, ValueError, KeyError, zipfile.BadZipFile)

Pairs = set[frozenset[str]]


def renew(store: Store) -> list[ImageRecord]:
    """Recomputes and stores the duplicate warnings in the records of originals; returns the records that changed.

    Of originals that look alike, or that `compare` found to be copies, the best one gets no warning; the warnings of
    the others name the best one. Large enough originals rank first, then the sharpest, the largest and the oldest.
    Originals in the trash do not count.
    """
    sources = store.select(Kind.SOURCE)
    measured = [(image, quality.Measures.kept(image.measures)) for image in sources]
    known = [(image, measures) for image, measures in measured if measures is not None]
    ranked = sorted(
        known, key=lambda each: ("small" in each[0].advice, -each[1].sharpness, -each[1].width * each[1].height)
    )
    best, kept = quality.LookAlikes(), list[str]()
    names = {image.id: image.name or image.id[:8] for image in sources}
    _, copies = _found(store)
    changes = {}
    for image, measures in ranked:
        twin, how = best.closest(measures)
        if not twin:
            twin, how = next(((each, _PART) for each in kept if frozenset((image.id, each)) in copies), ("", ""))
        advice = {name: words for name, words in image.advice.items() if name != TWIN}
        if twin:
            advice[TWIN] = f"{how} {names[twin]}"
        else:
            best.add(image.id, measures)
            kept.append(image.id)
        if advice != image.advice:
            changes[image.id] = {"advice": advice}
    return store.update_images(changes) if changes else []


def describe(store: Store, image: ImageRecord, pixels: Image.Image | None = None) -> Features:
    """Returns the local features of an original, computed from its pixels, and keeps them in a file.

    `pixels` None takes what is kept, or opens the picture where that cannot be read. Raises: UserError where the
    picture cannot be opened.
    """
    file = store.folder / _PLACE / f"{image.id}.npz"
    if pixels is None:
        with suppress(*_DAMAGED):
            return Features.from_bytes(file.read_bytes())
    found = Features.of(store.open_whole(image.id) if pixels is None else pixels)
    with suppress(UserError):  # a full disk: they are computed again
        write_file(file, found.to_bytes())
    return found


def compare(store: Store) -> None:
    """Compares by local features each of the latest originals that was not compared yet with all others.

    What is found is kept, so that each pair is compared once. Originals that cannot be opened are left out.
    """
    latest = [each for each in store.select(Kind.SOURCE)[-_MOST:] if min(each.width, each.height) >= LEAST_SIDE]
    compared, copies = _found(store)
    if all(image.id in compared for image in latest):
        return
    described: dict[str, Features] = {}
    for image in latest:
        with suppress(UserError):
            described[image.id] = describe(store, image)
    for one, other in combinations(described, 2):
        if not {one, other} <= compared and are_copies(described[one], described[other]):
            copies.add(frozenset((one, other)))
    told = {"compared": sorted(compared | set(described)), "copies": sorted(map(sorted, copies))}
    with suppress(UserError):  # a full disk: the next import compares again
        write_file(store.folder / _PLACE / _FOUND, json.dumps(told).encode())


def _found(store: Store) -> tuple[set[str], Pairs]:
    """Returns the ids of the originals that were compared with each other, and the pairs that are copies."""
    try:
        told = json.loads((store.folder / _PLACE / _FOUND).read_text(encoding="utf-8"))
        return set(told["compared"]), {frozenset(each) for each in told["copies"]}
    except (*_DAMAGED, TypeError):
        return set(), set()
