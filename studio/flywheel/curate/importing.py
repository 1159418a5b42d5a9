"""Imports pictures, folders and zips; each refused file is reported with a reason, and a killed import resumes."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image, ImageChops

from engines.api.axes import shows_face
from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams
from engines.pictures import open_picture, to_grey
from engines.wording.reading import read_tags
from studio.flywheel.curate import belonging, inbox, masking, twins
from studio.flywheel.curate.captions import BY_PEOPLE, SIDECAR
from studio.flywheel.curate.intake import Limits, Member, is_see_through, members, read_caption, read_picture, refusal
from studio.flywheel.curate.origins import origin
from studio.flywheel.curate.report import Report
from studio.judging import faces, quality
from studio.judging.copies import LEAST_SIDE
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Advised, Duplicate, Job, Refused
from studio.records.payload import ImportPayload
from studio.records.words import demand_text, mended
from studio.workplace.context import Context
from studio.workplace.desk import Desk

_FIRST_REPORT = 25  # files before the first report; each later one comes at twice as many files
_SEE_THROUGH = (
    "Its transparent parts are shown as white, and are learned: they are no mask here. To leave them out, paint a mask "
    "in Curate, or import one beside it, such as name-masklabel.png."
)
_PEERS = 200  # the latest pictures that a new one's sharpness is compared with
_WHITE = 255
_GREY_SPREAD = 16  # by how much channels of a grey picture may differ, as JPEG leaves them
_TWO_TONED = 0.8  # the least share of almost black and almost white pixels of a mask


def submit_import(desk: Desk, paths: Sequence[Path], key: str = "", limits: Limits | None = None) -> Job:
    """Imports pictures, folders and zips at once, in the calling thread, and returns the ended job.

    The job's artifacts report each file: `imported` and `masked` (ids of pictures), `paired` (ids of
    results of edits, examples for the editor), `duplicates` ({file, id, hint}),
    `refused` ({file, reason, hint}) and `advice` ({file, id, words}). `limits` None uses the default limits. A second
    call with the same `key` returns the first job.

    Raises: BadInput without paths, for an import that exceeds the limits or the free disk space, and where a path is
    the studio's own data folder or a folder in it.
    """
    if known := desk.workplace.jobs.known("import", desk.id, key):
        return known
    if not paths:
        raise BadInput("There is nothing to import.", "Choose pictures, a folder or a zip.")
    limits = limits or Limits()
    for path in paths:
        demand_text("The path", str(path))
    home = desk.workplace.settings.data_root
    inbox.demand_outside(paths, home)
    inbox.demand_room(paths, home, limits, desk.store.folder)
    names = ", ".join(mended(path.name) for path in paths[:3]) + (" …" if len(paths) > 3 else "")
    payload = ImportPayload(paths=tuple(map(str, paths)), limits=asdict(limits))
    return desk.workplace.jobs.submit("import", desk.id, payload, title=f"Import {names}", key=key, here=True)


def run_import(ctx: Context) -> None:
    """Runs an import job: copies the dropped files to the job's folder, then imports the pictures one by one."""
    asked = ImportPayload.of(ctx.job)
    limits = Limits(**asked.limits)
    folder = ctx.store.run_dir(ctx.job.id) / "inbox"
    report = Report()
    paths = [Path(path) for path in asked.paths]
    slots = inbox.fill(paths, folder, ctx.workplace.settings.data_root, limits, report.refused)
    with ExitStack() as stack:
        found = list(members(list(slots), limits, stack, slots))
        report.refused += [item for item in found if isinstance(item, Refused)]
        files = [item for item in found if isinstance(item, Member)]
        _take_in(ctx, files, limits, report)
    report.publish(ctx)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Wording:
    """Holds the caption from a picture's caption file, and the tags that were read from the caption."""

    caption: str
    tags: Mapping[str, str]


# ── taking pictures in ────────────────────────────────────────────────────────────────────────────


def _take_in(ctx: Context, files: Sequence[Member], limits: Limits, report: Report) -> None:
    """Imports the pictures, and the masks that lie beside them.

    A file that may be the mask of a picture is checked after that picture, and imported as a picture where it is no
    mask.
    """
    found = belonging.families(files, limits)
    report.refused += found.refused
    intake = Intake(ctx, limits, found, report)
    todo, undecided, masks = deque([*found.pictures, *found.edits]), dict.fromkeys(found.candidates), set[Member]()
    total, done, due = len(todo) + len(undecided), 0, _FIRST_REPORT
    try:
        while todo or undecided:
            file = todo.popleft() if todo else next(iter(undecided))
            undecided.pop(file, None)
            ctx.step(done, total, file.shown)
            image = intake.take_edit(file) if file in found.edits else intake.take(file)
            for mask in found.masks.get(file, ()):
                if image is None or (mask not in masks and mask not in undecided):
                    continue  # the file has been imported as a picture, or will be
                undecided.pop(mask, None)
                if intake.take_mask(mask, image.id):
                    masks.add(mask)
                elif mask not in masks:
                    todo.append(mask)
            done += 1
            if done == due:
                report.publish(ctx)
                due *= 2
        intake.name_lost_words()
        intake.name_notes()
        intake.name_twins()
    finally:
        report.publish(ctx)
    ctx.step(total, total)


class Intake:
    """Imports the files of one import job, one call for each file, and adds what became of the file to a `Report`."""

    def __init__(self, ctx: Context, limits: Limits, families: belonging.Families, report: Report) -> None:
        self._ctx = ctx
        self._store = ctx.store
        self._limits = limits
        self._families = families
        self._words = families.words
        self._came: dict[Member, str] = {}
        self._told_of: set[Member] = set()  # the caption files that were read or refused
        self._report = report
        self._side = min(ctx.workplace.registry.spec(ctx.store.character.editor).size)
        self._known = {image.id: image for image in ctx.store.images.all() if not image.emptied}
        self._seen: set[str] = set()
        self._faces = faces.reader_of(ctx.workplace, ctx.store.character)
        sources = (image for image in ctx.store.select(Kind.SOURCE) if image.job != ctx.job.id)
        measured = ((image.id, quality.Measures.kept(image.measures)) for image in sources)
        known = {image: measures for image, measures in measured if measures is not None}
        self._peers = list(known.values())

    def take(self, file: Member) -> ImageRecord | None:
        """Imports a file as a picture and returns the picture's record; returns None for a refused file.

        For a picture that the character has already, it returns the stored record and reports a duplicate. A refused
        file is reported with the reason.
        """
        told: list[str] = []
        try:
            data = file.data()
            pixels = read_picture(data, self._limits)
            _demand_no_mask(file, pixels)
            measures = quality.measure(pixels)
            advice = quality.advise(measures, self._peers[-_PEERS:], self._side)
            generator, size = self._store.character.generator, (measures.width, measures.height)
            advice |= faces.advise(self._faces, pixels)
            advice |= quality.advise_cut(self._ctx.workplace.registry, generator, size)
            made, words = origin(data, self._store), self._read_words(file, told)
            if words is not None:
                made = made.replace(caption=words.caption, caption_by=SIDECAR, tags=words.tags)
            if not shows_face(made.tags):
                advice.pop("no_face", None)
            image = self._store.add_image(
                data,
                upright=pixels,
                name=mended(file.name),
                job=self._ctx.job.id,
                advice=advice,
                measures=measures.to_json(),
                **made.to_json(),
            )
        except BadInput as error:
            self._refuse(file, error)
            return None
        except MemoryError:
            self._refuse(file, BadInput("This machine has not enough memory to open it.", "Make it smaller first."))
            return None
        before = self._known.get(image.id)
        is_ours = before is None or before.job == self._ctx.job.id  # this job's own, before it was interrupted
        if image.id not in self._seen and is_ours:
            if min(pixels.size) >= LEAST_SIDE:
                twins.describe(self._store, image, pixels)
            self._remember(file, image, measures)
            if is_see_through(data):
                self._report.advice.append(Advised(file=file.shown, id=image.id, words=_SEE_THROUGH))
        else:
            self._name_duplicate(file, self._known[image.id], self._bring(file, image.id, words))
        self._report.advice += [Advised(file=self._words[file].shown, id=image.id, words=each) for each in told]
        return image

    def take_edit(self, file: Member) -> ImageRecord | None:
        """Imports the result of an edit and its source as an example for the editor; returns the result's record.

        Neither becomes a picture of the character. Returns None where one of the two is refused, which is reported.
        """
        source, told, job = self._families.edits[file], list[str](), self._ctx.job.id
        try:
            data, given = file.data(), source.data()
            for each in (data, given):
                read_picture(each, self._limits)
            if data == given:
                raise BadInput("It is the very picture that it was made from, so it teaches nothing.", "Leave it out.")
            words = self._read_words(file, told)
            if words is None:
                raise BadInput("Its instruction cannot be read, so it is no edit to learn from.", "Mend its words.")
            editor = self._ctx.workplace.registry.spec(self._store.character.editor)
            params = editor.worded(EditParams, words.caption).to_json()
            start = self._store.add_image(given, kind=Kind.PAIR, name=mended(source.name), job=job)
            image = self._store.add_image(
                data,
                kind=Kind.PAIR,
                name=mended(file.name),
                job=job,
                parent=start.id,
                params=params,
                params_kind=EditParams.__name__,
                caption=words.caption,
                caption_by=SIDECAR,
                state=Verdict.GOOD,
            )
        except BadInput as error:
            self._refuse(file, error)
            return None
        if image.kind is Kind.PAIR and image.job == job and image.id not in self._seen:
            self._seen.add(image.id)
            self._known[image.id] = image
            self._came[file] = image.id
            self._report.paired.append(image.id)
        else:
            self._name_duplicate(file, image, "")
        self._report.advice += [Advised(file=self._words[file].shown, id=image.id, words=each) for each in told]
        return image

    def take_mask(self, mask: Member, image_id: str) -> bool:
        """Saves a file as the mask of an imported picture; returns False where the file is no mask but a picture.

        A file is a mask where its name allows nothing else, or where it is grey and either has the picture's size or is
        almost only black and white. Returns True also for a mask that is not saved: a refused one, such as a second
        mask for a picture, and an entirely white one, which masks nothing.
        """
        image, certain = self._store.images.get(image_id), masking.can_only_be_mask(mask)
        try:
            pixels = read_picture(mask.data(), self._limits)
            grey = to_grey(pixels)
            if not _is_grey(pixels):
                if not certain:
                    return False
                raise BadInput("It is in colour, and a mask is grey.", "Save it as a grey picture: white counts.")
            if not certain and grey.size != (image.width, image.height) and not _is_two_toned(grey):
                return False
            if grey.getextrema() != (_WHITE, _WHITE):
                self._demand_free(image, grey)
                self._store.set_mask(image_id, grey)
                self._report.masked.append(image_id)
        except BadInput as error:
            self._refuse(mask, error)
        if (words := self._words.get(mask)) is not None and words not in self._told_of:
            self._told_of.add(words)
            self._refuse(words, BadInput("It lies beside a mask, and a mask has no words.", "Name it like a picture."))
        return True

    def name_lost_words(self) -> None:
        """Adds each caption file whose picture was not imported to the refused files of the report."""
        for words in dict.fromkeys(self._words.values()):
            if words not in self._told_of:
                self._refuse(words, BadInput("Its picture did not come in.", "Import it with the picture mended."))

    def name_notes(self) -> None:
        """Adds the notes on folders and lists to the report, where one of their pictures was imported."""
        for note in self._families.notes:
            if came := [self._came[file] for file in note.pictures if file in self._came]:
                self._report.advice.append(Advised(file=mended(note.file), id=came[0], words=note.words))

    def name_twins(self) -> None:
        """Recomputes the duplicate warnings that are stored with originals, and adds the changed ones to the report."""
        twins.compare(self._store)
        for image in twins.renew(self._store):
            if words := image.advice.get(twins.TWIN):
                self._report.advice.append(Advised(file=image.name or image.id[:8], id=image.id, words=words))

    def _demand_free(self, image: ImageRecord, grey: Image.Image) -> None:
        """Refuses to replace a different mask that the picture has already. Raises: BadInput."""
        if not image.mask:
            return
        try:
            other = ImageChops.difference(to_grey(open_picture(self._store.file(image.mask))), grey).getbbox()
        except (BadInput, NotFound):
            return  # a mask that cannot be read may be replaced
        if other:
            raise BadInput("Its picture has another mask already, which stays.", "Take that one away in Curate first.")

    def _remember(self, file: Member, image: ImageRecord, measures: quality.Measures) -> None:
        self._seen.add(image.id)
        self._known[image.id] = image
        self._came[file] = image.id
        self._report.imported.append(image.id)
        if image.kind is Kind.SOURCE:
            self._peers.append(measures)
        else:
            drawn = f"FLENwheel made it ({image.kind}): it is no original, and waits for your review."
            self._report.advice.append(Advised(file=file.shown, id=image.id, words=drawn))
        if image.advice:
            words = "; ".join(image.advice.values())
            self._report.advice.append(Advised(file=file.shown, id=image.id, words=words))

    def _name_duplicate(self, file: Member, known: ImageRecord, words: str) -> None:
        hint = (
            "It is in the trash: restore it there."
            if known.trashed
            else f"It is here already as {known.name or f'one of the {known.kind} pictures'}."
        )
        said = f"{hint} {words}".strip()
        self._report.duplicates.append(Duplicate(file=file.shown, id=known.id, hint=said))

    def _bring(self, file: Member, image_id: str, words: Wording | None) -> str:
        """Replaces a known picture's caption by that of the sidecar; returns a sentence about it for the report.

        The sentence is empty where the caption was not replaced. A caption that people wrote stays, and the sidecar is
        refused.
        """
        image, sidecar = self._store.images.get(image_id), self._words.get(file)
        if sidecar is None or words is None or words.caption == image.caption:
            return ""
        if image.caption.strip() and image.caption_by in BY_PEOPLE:
            reason = "Its picture is here already with words by a person, which stay; these were not taken."
            self._refuse(sidecar, BadInput(reason, "To take them, clear the caption in Curate and import both again."))
            return ""
        tags = {**words.tags, **image.tags}
        self._store.update_image(image_id, caption=words.caption, caption_by=SIDECAR, tags=tags)
        return f"Its words are those of {sidecar.shown} now."

    def _read_words(self, file: Member, told: list[str]) -> Wording | None:
        """Returns the caption and tags of a picture's sidecar; None where there is none, or it cannot be read."""
        sidecar = self._words.get(file)
        if sidecar is None:
            return None
        self._told_of.add(sidecar)
        try:
            caption = read_caption(sidecar.data(), self._limits, self._store.character.trigger, told)
        except BadInput as error:
            self._refuse(sidecar, error)
            return None
        return Wording(caption, read_tags(caption)) if caption else None

    def _refuse(self, file: Member, error: BadInput) -> None:
        self._report.refused.append(refusal(file.shown, error))


def _demand_no_mask(file: Member, pixels: Image.Image) -> None:
    """Refuses a file that is named like a mask and looks like one, when no picture of its name was imported.

    Raises: BadInput.
    """
    called = masking.is_called_mask(file) and _is_grey(pixels) and _is_two_toned(pixels.convert("L"))
    if called or masking.can_only_be_mask(file):
        raise BadInput("It is a mask, and no picture of this name came in.", "Import it together with its picture.")


def _is_grey(pixels: Image.Image) -> bool:
    red, green, blue = pixels.split()
    apart = (ImageChops.difference(red, green), ImageChops.difference(green, blue))
    return all(sum(difference.histogram()[_GREY_SPREAD:]) == 0 for difference in apart)


def _is_two_toned(grey: Image.Image) -> bool:
    """Returns whether at least 80 % of the pixels are almost black or almost white, as in a mask but not in a photo."""
    counts = grey.histogram()
    return sum(counts[:32]) + sum(counts[-32:]) >= _TWO_TONED * sum(counts)
