"""Importing: what is good comes in, what is not is named with its reason, and a kill in the middle costs nothing."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import BadInput
from engines.pictures import to_grey
from engines.prompts import read_tags
from studio import quality
from studio.flywheel.intake import Limits, Member, Refusal, is_junk, members, read_caption, read_picture
from studio.nouns import ImageRecord, Job, Json, Kind

if TYPE_CHECKING:
    from studio.jobs import Context
    from studio.studio import Studio

Key = tuple[str, str]  # where a file lay, and its name without an ending

_GIB = 1 << 30
_REPORT_EVERY = 25
_PEERS = 200  # how many of the latest pictures say what is usual
_WHITE = 255
SIDECAR = "sidecar"


def submit_import(
    studio: Studio, character_id: str, paths: Sequence[Path], key: str = "", limits: Limits | None = None
) -> Job:
    """Import pictures, folders and zips now, in this thread; the job's artifacts say what became of each file.

    Artifacts: `imported` and `masked` (ids), `duplicates` ({file, id, hint}), `refused` ({file, reason, hint}) and
    `advice` ({file, id, words}). Raises: BadInput when there is nothing to import, or more than fits.
    """
    if not paths:
        raise BadInput("There is nothing to import.", "Choose pictures, a folder or a zip.")
    limits = limits or Limits()
    _check_total(paths, limits, studio.store(character_id).folder)
    names = ", ".join(path.name for path in paths[:3]) + (" …" if len(paths) > 3 else "")
    payload = {"paths": [str(path) for path in paths], "limits": asdict(limits)}
    return studio.jobs.submit("import", character_id, payload, title=f"Import {names}", key=key, here=True)


def run_import(ctx: Context) -> None:
    """Copy what was dropped into the job's own folder, then take the pictures in one by one, each for good."""
    limits = Limits(**ctx.job.payload["limits"])
    inbox = ctx.store.run_dir(ctx.job.id) / "inbox"
    report = Report()
    slots = _fill_inbox([Path(path) for path in ctx.job.payload["paths"]], inbox, limits, report)
    with ExitStack() as stack:
        found = list(members(slots, limits, stack))
        report.refused += [item for item in found if isinstance(item, Refusal)]
        files = [item for item in found if isinstance(item, Member)]
        _take_in(ctx, files, limits, report)
    report.publish(ctx)
    shutil.rmtree(inbox, ignore_errors=True)


@dataclass
class Report:
    """What became of each file."""

    imported: list[str] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    duplicates: list[Json] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    advice: list[Json] = field(default_factory=list)

    def publish(self, ctx: Context) -> None:
        """Put it where the caller of the job, and a reloaded page, find it."""
        ctx.artifact("imported", list(self.imported))
        ctx.artifact("masked", list(self.masked))
        ctx.artifact("duplicates", list(self.duplicates))
        ctx.artifact("refused", [asdict(refusal) for refusal in self.refused])
        ctx.artifact("advice", list(self.advice))


# ── the inbox ───────────────────────────────────────────────────────────────────────────────────


def _check_total(paths: Sequence[Path], limits: Limits, folder: Path) -> None:
    total, count = 0, 0
    for path in paths:
        for file in _files(path):
            size = file.stat().st_size
            if size <= _most(file, limits):
                total, count = total + size, count + 1
    if total > limits.total_bytes or count > limits.files:
        raise BadInput(
            f"That is {total / _GIB:.1f} GiB in {count} files; at most {limits.total_bytes / _GIB:.1f} GiB and "
            f"{limits.files} files fit one import.",
            "Import it in several parts.",
        )
    free = shutil.disk_usage(folder).free
    if 2 * total > free:
        raise BadInput(
            f"Importing {total / _GIB:.1f} GiB takes twice that on the disk for a while; {free / _GIB:.1f} is free.",
            "Free some space, or import it in several parts.",
        )


def _files(path: Path) -> Iterator[Path]:
    """The regular files below a path, or the path itself; links inside folders are not followed."""
    if path.is_file():
        yield path
        return
    for root, folders, names in os.walk(path, followlinks=False):
        folders.sort()
        for name in sorted(names):
            file = Path(root, name)
            if not is_junk(file.relative_to(path).as_posix()) and stat.S_ISREG(file.lstat().st_mode):
                yield file


def _most(file: Path, limits: Limits) -> int:
    suffix = file.suffix.lower()
    if suffix == ".zip":
        return limits.total_bytes
    return limits.caption_bytes if suffix == ".txt" else limits.file_bytes


def _fill_inbox(paths: Sequence[Path], inbox: Path, limits: Limits, report: Report) -> list[Path]:
    """One folder for each dropped path; one that is there already is whole, since it was renamed last."""
    slots = []
    for index, path in enumerate(path.absolute() for path in paths):
        slot = inbox / f"{index:05d}"
        if not slot.is_dir() and not path.exists():
            report.refused.append(Refusal(path.name, "It is not there.", "Choose it again."))
            continue
        _fill_slot(path, slot, limits, report)
        slots.append(slot)
    return slots


def _fill_slot(path: Path, slot: Path, limits: Limits, report: Report) -> None:
    whole = slot.is_dir()
    draft = slot.with_suffix(".part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for file in _files(path):
        label = file.relative_to(path.parent).as_posix()
        size, most = file.stat().st_size, _most(file, limits)
        if size > most:
            report.refused.append(_too_large(label, size, most))
        elif not whole:
            target = draft / label
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(file, target)
            except OSError as error:
                target.unlink(missing_ok=True)
                reason = f"It cannot be read ({error.strerror})."
                report.refused.append(Refusal(label, reason, "Check its permissions."))
    if whole:
        shutil.rmtree(draft)
    else:
        draft.rename(slot)


def _too_large(label: str, size: int, most: int) -> Refusal:
    mib = 1 << 20
    reason = f"It is {size / mib:.1f} MiB; at most {most / mib:.1f} MiB is read."
    return Refusal(label, reason, "Make it smaller and import that.")


# ── one picture after another ───────────────────────────────────────────────────────────────────


def _take_in(ctx: Context, files: Sequence[Member], limits: Limits, report: Report) -> None:
    keys = {file.key for file in files if not file.is_caption and not file.is_mask}
    captions = {file.key: file for file in files if file.is_caption}
    masks = {file.mask_of: file for file in files if file.mask_of in keys}
    pictures = [file for file in files if file.key in keys and not file.is_caption and file.mask_of not in keys]
    lonely = [file for file in files if (file.is_caption and file.key not in keys) or _is_stray_mask(file, keys)]
    report.refused += [
        Refusal(file.label, "No picture of this name lies beside it.", "Name it like its picture.") for file in lonely
    ]
    desk = Desk(ctx, limits, Beside(captions, masks), report)
    try:
        for index, file in enumerate(pictures):
            ctx.step(index, len(pictures), file.label)
            desk.take(file)
            if (index + 1) % _REPORT_EVERY == 0:
                report.publish(ctx)
    finally:
        report.publish(ctx)
    ctx.step(len(pictures), len(pictures))


def _is_stray_mask(file: Member, pictures: Collection[Key]) -> bool:
    return file.is_mask and file.mask_of not in pictures


@dataclass(frozen=True)
class Beside:
    """What came with the pictures, by the keys of those that it belongs to: their words, and what counts of them."""

    captions: Mapping[Key, Member]
    masks: Mapping[Key, Member]


class Desk:
    """Where each picture is looked at once: is it one, is it new, what should the user know of it."""

    def __init__(self, ctx: Context, limits: Limits, beside: Beside, report: Report) -> None:
        self._ctx = ctx
        self._limits = limits
        self._beside = beside
        self._report = report
        self._side = min(ctx.studio.registry.spec(ctx.store.character.editor).size)
        self._known = {image.id: image for image in ctx.store.images.all()}
        self._seen: set[str] = set()
        sources = (image for image in ctx.store.select(Kind.SOURCE) if image.job != ctx.job.id)
        measured = ((image.id, quality.Measures.from_json(image.measures)) for image in sources)
        known = {image: measures for image, measures in measured if measures is not None}
        self._peers = list(known.values())
        self._looks = quality.LookAlikes(known)

    def take(self, file: Member) -> None:
        """Take one file in, or name it as refused or as a duplicate."""
        try:
            data = file.read()
            measures = quality.measure(read_picture(data, self._limits))
            advice = self._advice(measures)
            image = self._ctx.store.add_image(
                data,
                kind=Kind.SOURCE,
                name=file.name,
                job=self._ctx.job.id,
                advice=advice,
                measures=measures.to_json(),
                **self._words(file),
            )
        except BadInput as error:
            self._report.refused.append(Refusal.of(file.label, error))
            return
        self._keep_mask(file, image.id)
        if self._is_new(image):
            self._remember(file, image, measures)
        else:
            self._name_duplicate(file, self._known[image.id])

    def _keep_mask(self, file: Member, image_id: str) -> None:
        """A mask that comes with a picture that is here already is that picture's, too.

        An entirely white one is none: some trainers want one beside every picture.
        """
        mask = self._beside.masks.get(file.key)
        if mask is None:
            return
        try:
            grey = to_grey(read_picture(mask.read(), self._limits))
            if grey.getextrema() == (_WHITE, _WHITE):
                return
            self._ctx.store.set_mask(image_id, grey)
            self._report.masked.append(image_id)
        except BadInput as error:
            self._report.refused.append(Refusal.of(mask.label, error))

    def _is_new(self, image: ImageRecord) -> bool:
        """New to this run; a picture that this job took in before it was interrupted counts as new, once."""
        before = self._known.get(image.id)
        return image.id not in self._seen and (before is None or before.job == self._ctx.job.id)

    def _remember(self, file: Member, image: ImageRecord, measures: quality.Measures) -> None:
        self._seen.add(image.id)
        self._known[image.id] = image
        self._peers.append(measures)
        self._looks.add(image.id, measures)
        self._report.imported.append(image.id)
        if image.advice:
            words = "; ".join(image.advice.values())
            self._report.advice.append({"file": file.label, "id": image.id, "words": words})

    def _name_duplicate(self, file: Member, known: ImageRecord) -> None:
        hint = "It is in the trash: restore it there." if known.trashed else f"It is here already as {known.name}."
        self._report.duplicates.append({"file": file.label, "id": known.id, "hint": hint})

    def _advice(self, measures: quality.Measures) -> dict[str, str]:
        advice = quality.advise(measures, self._peers[-_PEERS:], self._side)
        generator, size = self._ctx.store.character.generator, (measures.width, measures.height)
        advice |= quality.advise_cut(self._ctx.studio.registry, generator, size)
        twin, how = self._looks.closest(measures)
        if twin:
            advice["duplicate"] = f"{how} {self._known[twin].name or twin[:8]}"
        return advice

    def _words(self, file: Member) -> Json:
        sidecar = self._beside.captions.get(file.key)
        if sidecar is None:
            return {}
        try:
            caption = read_caption(sidecar.read(), self._limits)
        except BadInput as error:
            self._report.refused.append(Refusal.of(sidecar.label, error))
            return {}
        return {"caption": caption, "caption_by": SIDECAR, "tags": read_tags(caption)} if caption else {}
