"""Downloads a model's weights into a folder that the engines can read: survey, download, verify, quantise."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from engines.api.errors import BadInput, DiskFull, ModelGated, ModelMissing, Unreachable
from engines.api.forms import FULL_WIDTH, ROWS
from engines.api.protocols import ModelSpec
from engines.catalogue.given import Given, Source
from engines.catalogue.hub import (
    FolderHub,
    Hub,
    Listing,
    RemoteFile,
    cached_snapshot,
    gate_steps,
    is_intact,
    wanted_files,
)
from engines.catalogue.registry import load_class
from engines.catalogue.shapes import PUBLISHED, SMALL_PARTS, layout_of, write_layout
from engines.catalogue.weights import (
    MANIFEST,
    PULLED,
    PULLING,
    QUANTISED,
    PullRecord,
    held_name,
    is_held,
    is_variant,
    record,
)

_DRAFT = ".part"  # ends the name of a file that is not whole yet
_SPARE = 1 << 30  # bytes left free: for configurations, drafts, and everybody else on the disk
ELSEWHERE = "keep the models on a larger disk: --models FOLDER, or FLENWHEEL_MODELS"
MAKE = "write"  # begins what is told of a component that is quantised or rewritten
Tell = Callable[[str, int, int], None]  # what is done, how much of it, of how much


@dataclass(frozen=True)
class Wanted:
    """Describes a file that a pull needs: its repository's listing, the file, and its path below the model's folder."""

    listing: Listing
    file: RemoteFile
    path: str


@dataclass(frozen=True)
class Survey:
    """Describes what a pull would download and quantise, before it does anything; sizes are in bytes.

    `form`: the precision of the weights. `sources`: the listings of the repositories. `files`: all
    files of the model; `missing`: those to fetch.
    `download`: the size of the files to download; `to_quantise`: the names of the components to quantise. `room`: the
    disk space that the pull takes; `free`: the disk's free space.
    """

    form: str
    sources: tuple[Listing, ...]
    files: tuple[Wanted, ...]
    missing: tuple[Wanted, ...]
    download: int
    to_quantise: tuple[str, ...]
    room: int
    free: int

    @property
    def nothing_to_do(self) -> bool:
        """Returns whether the model's folder already holds every file and every quantised component."""
        return not self.missing and not self.to_quantise

    @property
    def gated(self) -> bool:
        """Returns whether a repository of the model requires an accepted licence."""
        return any(listing.gated for listing in self.sources)


class Pull:
    """Downloads one model into one folder and quantises it; an interrupted pull continues where it stopped."""

    def __init__(
        self,
        spec: ModelSpec,
        home: Path,
        hub: Hub,
        *,
        given: Given | None = None,
        check: Callable[[Path], None] = lambda home: None,
        write: Callable[..., None] | None = None,
        free: Callable[[Path], int] | None = None,
    ) -> None:
        """Takes the model's registry row, its folder (`home`) and the place from which its files come (`hub`).

        `given`: the weights that a user gives instead of the repository's; components that were made from others are
        made anew. `check`: called with a folder of the model's configurations before any weights are fetched; raises
        where the given weights do not fit. `write`: quantises a component as `components.write` does; `free`: returns
        a disk's free bytes.
        """
        self._check = check
        self._spec, self._home, self._hub = spec, home, hub
        self.given, self._write = given or Given(), write
        self._free = free or (lambda folder: shutil.disk_usage(_existing(folder)).free)
        self._quantisable = tuple(name for form in QUANTISED for name in spec.options.get(form, ()))

    def survey(self, form: str) -> Survey:
        """Lists the files and quantised components that the folder lacks, and computes the bytes that they take.

        `form`: the precision of the weights. Raises: NotFound, ModelGated, Unreachable, BadInput.
        """
        if form not in (FULL_WIDTH, *QUANTISED):
            raise BadInput(f"There is no form named {form}.", f"Known: {', '.join((*QUANTISED, FULL_WIDTH))}.")
        sources, files = self._sources(form)
        small = self._quantisable if form != FULL_WIDTH else ()
        made = dict.fromkeys((*small, *self.given.parts))
        to_quantise = tuple(name for name in made if not self._is_made(name, form))
        missing = tuple(each for each in files if self._is_missing(each, form))

        disk = _existing(self._home).stat().st_dev
        download = copied = quantised = 0
        for each in missing:
            here = self._hub.local(each.listing, each.file)
            if here is None:
                download += each.file.size - _begun(self._home / each.path)
            elif here.stat().st_dev != disk:
                copied += each.file.size
        for name in to_quantise:
            whole = sum(each.file.size for each in files if each.file.path.startswith(f"{name}/"))
            own = self._form(name, form)
            bits = ROWS[own].bits if own in ROWS else 16
            quantised += self._spec.component_bytes.get(held_name(name, own)) or int(whole * bits / 16)
        room = download + copied + quantised
        return Survey(form, sources, files, missing, download, to_quantise, room, self._free(self._home))

    def run(self, survey: Survey, tell: Tell) -> Path:
        """Fetches and quantises what the survey found missing; returns the model's folder.

        `tell(what, done, total)` receives the progress, counted in bytes for a download and in tensors for a component
        that is quantised; `what` is a text such as "download vae/config.json". Raises: DiskFull; ModelGated without a
        token; ModelMissing for a file that arrives damaged; Unreachable; BadInput for given weights that do not fit.
        """
        self._demand_possible(survey)
        renewed = {name: held_name(name, self._form(name, survey.form)) for name in survey.to_quantise}
        made_from = record(self._home).made_from
        note = PullRecord(
            model=self._spec.name,
            form=survey.form,
            licence=self._spec.licence,
            commits={listing.repo: listing.commit for listing in survey.sources},
            files={each.path: each.file.size for each in survey.files},
            made_from={held: mark for held, mark in made_from.items() if held not in renewed.values()},
        )
        parts = {(self._home / path).parent for path in note.files if self.given.folder}
        renewing = {(self._home / each.path).parent for each in survey.missing if _is_weights(each.file)}
        replaced = {part for part in renewing if part.name in made_from}  # which hold what was given once
        weights = (file for part in parts | replaced for file in part.glob("*.safetensors*"))  # new ones stand alone
        plain = (file for file in weights if not is_variant(file.name) and file.suffix != _DRAFT)
        strange = [file for file in plain if file.relative_to(self._home).as_posix() not in note.files]
        changed = (
            *(self._home / each.path for each in survey.missing),
            *(self._home / held for held in renewed.values()),
        )
        self._home.mkdir(parents=True, exist_ok=True)
        note.write(self._home / PULLING)
        if strange or any(path.exists() for path in changed):  # else the model stays ready in the form that is here
            (self._home / PULLED).unlink(missing_ok=True)
        for part in replaced:
            (part / MANIFEST).unlink(missing_ok=True)
        for file in strange:
            file.unlink()
        self._download(survey.missing, tell)
        for name, held in renewed.items():
            self._quantise(name, survey.form, tell)
            note = replace(note, made_from={**note.made_from, held: self.given.mark(name)})
            note.write(self._home / PULLING)
        gone = {part.name for part in replaced}
        note = replace(note, made_from={held: mark for held, mark in note.made_from.items() if held not in gone})
        note.write(self._home / PULLED)
        (self._home / PULLING).unlink()
        return self._home

    def forget_originals(self, form: str) -> int:
        """Deletes the bf16 weights of the components that the folder also holds in the precision `form`.

        Returns the bytes that this frees on the disk.
        """
        freed = 0
        for name in self._quantisable:
            if is_held(self._home, name, form):
                for file in (self._home / name).glob("*.safetensors"):
                    told = file.stat()
                    freed += told.st_size if told.st_nlink == 1 else 0  # Hugging Face's cache may hold it, too
                    file.unlink()
        return freed

    # ── what there is ───────────────────────────────────────────────────────────────────────────

    def _sources(self, form: str) -> tuple[tuple[Listing, ...], tuple[Wanted, ...]]:
        """Lists the repositories of the model and its few-step adapter; returns the listings and the files wanted."""
        listing = self._listing(form)
        alone = [file for file in listing.files if file.path == self._spec.options.get("file")]
        wanted = [Wanted(listing, file, file.path) for file in alone or wanted_files(listing.files)]
        own, endings = tuple(f"{name}/" for name in self.given.parts), (".safetensors", ".index.json")
        wanted = [each for each in wanted if not (each.path.startswith(own) and each.path.endswith(endings))]
        few = self._spec.few_steps
        if few is None or not few.source:
            return (listing,), tuple(wanted)
        owner, name, *path = few.source.split("/")
        other = self._hub.listing(f"{owner}/{name}")
        adapter = [Wanted(other, file, few.file) for file in other.files if file.path == "/".join(path)]
        return (listing, other), (*wanted, *adapter)

    def _listing(self, form: str) -> Listing:
        """Lists the model's repository; where that cannot be reached, what is here of it, if that is enough.

        It is enough where all weights are given or here. Raises: Unreachable, which names the small files that are
        missing where all weights are given; NotFound, ModelGated.
        """
        try:
            return self._hub.listing(self._spec.source)
        except Unreachable as error:
            layout = layout_of(self._spec.name, self._spec.family)
            small = (*layout, *SMALL_PARTS.get(self._spec.family, ()))
            for folder in (self._home, cached_snapshot(self._spec.source)):
                if layout and folder and (folder / "model_index.json").is_file() and self.given.parts:
                    weights = [
                        name for name in layout if name not in self.given.parts and not self._is_made(name, form)
                    ]
                    wanted = (*((name, "*.*") for name in small), *((name, "*.safetensors") for name in weights))
                    if all(any((folder / name).glob(pattern)) for name, pattern in wanted):
                        self._hub = FolderHub(folder)
                        found = self._hub.listing(self._spec.source)
                        own = (file for file in found.files if "." not in PurePosixPath(file.path).parent.name)
                        return replace(found, files=tuple(own))  # without what we have quantised
            if not layout or layout.keys() - self.given.parts.keys():
                raise
            raise Unreachable(
                f"{error.cause} All weights of {self._spec.name} are given, but its small files are not here: "
                f"model_index.json, and the configurations and tokenizers in {', '.join(small)}.",
                f"Once with a network, run the same command: it fetches these alone. {error.hint}",
            ) from error

    def _is_missing(self, wanted: Wanted, form: str) -> bool:
        """Returns whether a file must be fetched; full-width weights need not be where their part is here quantised."""
        path, file = self._home / wanted.path, wanted.file
        known = file.sha256 or file.git_id  # without them only the bytes tell one file from another of its size
        original = None if known else self._hub.local(wanted.listing, file)
        if path.is_file() and path.stat().st_size == file.size and not (original and not filecmp.cmp(original, path)):
            return False
        rewritten = path.suffix == ".safetensors" or (path.parent / MANIFEST).is_file()
        return not (rewritten and self._is_made(PurePosixPath(wanted.path).parts[0], form))

    def _is_made(self, name: str, form: str) -> bool:
        """Returns whether the folder holds a component as it is to be, from the given weights where there are any."""
        held = held_name(name, self._form(name, form))
        mark, made_from = self.given.mark(name), record(self._home).made_from
        return (self._home / held / MANIFEST).is_file() and mark in ("", made_from.get(held))

    def _form(self, name: str, form: str) -> str:
        """Returns the precision that a component has in a model of the precision `form`."""
        return form if name in self._quantisable else FULL_WIDTH

    # ── doing it ────────────────────────────────────────────────────────────────────────────────

    def _demand_possible(self, survey: Survey) -> None:
        """Checks disk space and token, and the given weights where the model's configurations are known.

        Nothing is written before that: a model that is ready stays ready if this raises.
        """
        if survey.room and survey.room + _SPARE > survey.free:
            raise DiskFull(
                f"{self._spec.name} needs {_gib(survey.room + _SPARE)} at {self._home}, and {_gib(survey.free)} is "
                f"free: {_gib(survey.download)} to download, the rest for copies and quantised parts.",
                f"Free some space, or {ELSEWHERE}.",
            )
        if survey.gated and survey.download and not self._hub.has_token():
            closed = next(listing.repo for listing in survey.sources if listing.gated)
            whose = f"{self._spec.name} is gated ({self._spec.licence})"
            cause = whose if closed == self._spec.source else f"{closed}, a part of {self._spec.name}, is gated"
            raise ModelGated(f"{cause}, and this machine has no token.", gate_steps(closed))
        if (self._home / PULLED).is_file():
            self._check(self._home)
        elif self._spec.name in PUBLISHED:
            with TemporaryDirectory() as folder:
                self._check(write_layout(PUBLISHED[self._spec.name], Path(folder)))

    def _download(self, missing: Iterable[Wanted], tell: Tell) -> None:
        """Fetches configurations first, then the smallest weights first, so that a missing permission shows at once."""
        todo = sorted(missing, key=lambda each: (_is_weights(each.file), each.file.size))
        starts = accumulate((each.file.size for each in todo), initial=0)
        total = sum(each.file.size for each in todo)
        checked = False
        for each, start in zip(todo, starts, strict=False):  # the last start is the end
            if _is_weights(each.file) and not checked:
                self._check(self._home)
                checked = True
            self._get(each, _counter(tell, f"download {each.file.path}", start, total))
            tell(f"verified {each.file.path}", start + each.file.size, total)
        if not checked:
            self._check(self._home)

    def _get(self, wanted: Wanted, on_bytes: Callable[[int], None]) -> None:
        """Fetches one file: links or copies it where this machine has it undamaged, else downloads the rest of it.

        Raises: ModelMissing where the file is not the one that the hub lists; it is deleted.
        """
        path, file, listing = self._home / wanted.path, wanted.file, wanted.listing
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}{_DRAFT}")
        local = self._hub.local(listing, file)
        if local and is_intact(local, file):
            draft.unlink(missing_ok=True)
            try:
                os.link(local, draft)
            except OSError:  # it lies on another disk
                shutil.copyfile(local, draft)
                shutil.copystat(local, draft)  # with its time, by which the next survey knows the copy
        else:
            with draft.open("ab") as stream:
                on_bytes(stream.tell())
                if stream.tell() < file.size:
                    self._hub.fetch(listing, file, stream, on_bytes)
                stream.flush()
                os.fsync(stream.fileno())
            if not is_intact(draft, file):
                draft.unlink()
                raise ModelMissing(
                    f"{file.path} arrived damaged: its size or hash is not the one that {listing.repo} lists.",
                    f"Run python launch.py pull {self._spec.name} again; only that file is fetched again.",
                )
        draft.replace(path)

    def _quantise(self, name: str, form: str, tell: Tell) -> None:
        """Writes one part of the model in the precision that it has in `form`, and reports each weight to `tell`."""
        source, own = self.given.parts.get(name, Source(self._home / name)), self._form(name, form)

        def on_tensor(done: int, total: int) -> None:
            tell(f"{MAKE} {name} as {own}", done, total)

        write = self._write or load_class("engines.weights.components:write")
        write(self._spec, self._home, name, own, source, on_tensor=on_tensor)


def missing_bytes(home: Path) -> int:
    """Returns the bytes that an unfinished pull still has to fetch, by the list of files that it wrote into the folder.

    `home`: the model's folder. Components still to be quantised do not count.
    """
    asked, left = record(home), 0
    for path, size in asked.files.items():
        file = home / path
        if file.suffix == ".safetensors" and is_held(home, PurePosixPath(path).parts[0], asked.form):
            continue  # deleted once it was quantised
        left += size - (file.stat().st_size if file.is_file() else _begun(file))
    return left


def _is_weights(file: RemoteFile) -> bool:
    return file.path.endswith(".safetensors")


def _begun(path: Path) -> int:
    """Returns the size in bytes of the unfinished draft that an interrupted download of a file left; 0 without one."""
    draft = path.with_name(f"{path.name}{_DRAFT}")
    return draft.stat().st_size if draft.is_file() else 0


def _counter(tell: Tell, what: str, before: int, total: int) -> Callable[[int], None]:
    """Returns a callback that adds up the pieces of a file, beginning with the bytes done `before` it."""
    pieces: list[int] = [before]

    def on_bytes(count: int) -> None:
        pieces[0] += count
        tell(what, pieces[0], total)

    return on_bytes


def _existing(folder: Path) -> Path:
    """Returns the folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
