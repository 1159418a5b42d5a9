"""Downloads a model's weights into a folder that the engines can read: survey, download, verify, quantise."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath

from engines.api.errors import BadInput, DiskFull, ModelGated, ModelMissing
from engines.api.forms import FULL_WIDTH, ROWS
from engines.api.protocols import ModelSpec
from engines.catalogue.formats import shapes
from engines.catalogue.hub import Hub, Listing, RemoteFile, gate_steps, is_intact
from engines.catalogue.registry import load_class
from engines.catalogue.weights import (
    PULLED,
    PULLING,
    QUANTISED,
    PullRecord,
    held_name,
    is_held,
    is_variant,
    record,
)

_SPARE = 1 << 30  # bytes left free: for configurations, drafts, and everybody else on the disk
_KEPT = {".safetensors", ".json", ".txt", ".model", ".jinja"}
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
        transformer: Path | None = None,
        given: str = "",
        check: Callable[[Path], None] = lambda home: None,
        write: Callable[..., None] | None = None,
        free: Callable[[Path], int] | None = None,
    ) -> None:
        """Takes the model's registry row, its folder (`home`) and the place from which its files come (`hub`).

        `transformer`: a single safetensors file from which the transformer is taken, instead of the repository's files.
        `given`: the mark of the weights that a user gives (see `given.mark`), "" for those of the hub: components that
        were quantised from others are quantised anew.
        `check`: called with the folder once all files but the weights are there; raises where the given weights do not
        fit. `write`: quantises a component as `components.write` does; `free`: returns a disk's free bytes.
        """
        self._check = check
        self._spec, self._home, self._hub, self._transformer = spec, home, hub, transformer
        self._given, self._write = given, write
        self._free = free or (lambda folder: shutil.disk_usage(_existing(folder)).free)
        self._quantisable = tuple(name for form in QUANTISED for name in spec.options.get(form, ()))

    def survey(self, form: str) -> Survey:
        """Lists the files and quantised components that the folder lacks, and computes the bytes that they take.

        `form`: the precision of the weights. Raises: NotFound, ModelGated, Unreachable, BadInput.
        """
        if form not in (FULL_WIDTH, *QUANTISED):
            raise BadInput(f"There is no form named {form}.", f"Known: {', '.join((*QUANTISED, FULL_WIDTH))}.")
        sources, files = self._sources()
        small = self._quantisable if form != FULL_WIDTH else ("transformer",) if self._transformer else ()
        to_quantise = tuple(name for name in small if not self._is_made(name, form))
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
            bits = ROWS[form].bits if form in ROWS else 16
            quantised += self._spec.component_bytes.get(held_name(name, form)) or int(whole * bits / 16)
        room = download + copied + quantised
        return Survey(form, sources, files, missing, download, to_quantise, room, self._free(self._home))

    def run(self, survey: Survey, tell: Tell) -> Path:
        """Fetches and quantises what the survey found missing; returns the model's folder.

        `tell(what, done, total)` receives the progress, counted in bytes for a download and in tensors for a component
        that is quantised; `what` is a text such as "download vae/config.json". Raises: DiskFull; ModelGated without a
        token; ModelMissing for a file that arrives damaged; Unreachable; BadInput for given weights that do not fit.
        """
        self._demand_possible(survey)
        renewed = {name: held_name(name, survey.form) for name in survey.to_quantise}
        made_from = record(self._home).made_from
        note = PullRecord(
            model=self._spec.name,
            form=survey.form,
            licence=self._spec.licence,
            commits={listing.repo: listing.commit for listing in survey.sources},
            files={each.path: each.file.size for each in survey.files},
            made_from={held: mark for held, mark in made_from.items() if held not in renewed.values()},
        )
        parts = {(self._home / path).parent for path in note.files if self._given and not self._transformer}
        weights = (file for part in parts for file in part.glob("*.safetensors*"))  # a given folder's stand alone here
        plain = (file for file in weights if not is_variant(file.name))
        strange = [file for file in plain if file.relative_to(self._home).as_posix() not in note.files]
        changed = (
            *(self._home / each.path for each in survey.missing),
            *(self._home / held for held in renewed.values()),
        )
        self._home.mkdir(parents=True, exist_ok=True)
        note.write(self._home / PULLING)
        if strange or any(path.exists() for path in changed):  # else the model stays ready in the form that is here
            (self._home / PULLED).unlink(missing_ok=True)
        for file in strange:
            file.unlink()
        self._download(survey.missing, tell)
        for name, held in renewed.items():
            self._quantise(name, survey.form, tell)
            note = replace(note, made_from={**note.made_from, held: self._mark(name)})
            note.write(self._home / PULLING)
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

    def _sources(self) -> tuple[tuple[Listing, ...], tuple[Wanted, ...]]:
        """Lists the repositories of the model and its few-step adapter; returns the listings and the files wanted."""
        listing = self._hub.listing(self._spec.source)
        own = [file for file in listing.files if file.path == self._spec.options.get("file")]
        wanted = [Wanted(listing, file, file.path) for file in own or wanted_files(listing.files)]
        if self._transformer:
            endings = (".safetensors", ".index.json")
            wanted = [w for w in wanted if not (w.path.startswith("transformer/") and w.path.endswith(endings))]
        few = self._spec.few_steps
        if few is None or not few.source:
            return (listing,), tuple(wanted)
        owner, name, *path = few.source.split("/")
        other = self._hub.listing(f"{owner}/{name}")
        adapter = [Wanted(other, file, few.file) for file in other.files if file.path == "/".join(path)]
        return (listing, other), (*wanted, *adapter)

    def _is_missing(self, wanted: Wanted, form: str) -> bool:
        """Returns whether a file must be fetched; full-width weights need not be where their part is here quantised."""
        path, file = self._home / wanted.path, wanted.file
        known = file.sha256 or file.git_id  # without them only the bytes tell one file from another of its size
        original = None if known else self._hub.local(wanted.listing, file)
        if path.is_file() and path.stat().st_size == file.size and not (original and not filecmp.cmp(original, path)):
            return False
        part = PurePosixPath(wanted.path).parts[0]
        quantised = part in self._quantisable and self._is_made(part, form)
        return not (quantised and path.suffix == ".safetensors")

    def _is_made(self, name: str, form: str) -> bool:
        """Returns whether the folder holds a component quantised, and from the given weights where there are any."""
        mark, made_from = self._mark(name), record(self._home).made_from
        return is_held(self._home, name, form) and mark in ("", made_from.get(held_name(name, form)))

    def _mark(self, name: str) -> str:
        """Returns the mark of the weights that a user gives for a component; "" for those of the hub."""
        return self._given if name == "transformer" or not self._transformer else ""

    # ── doing it ────────────────────────────────────────────────────────────────────────────────

    def _demand_possible(self, survey: Survey) -> None:
        """Checks disk space and token, and the given weights where the model is here already.

        Nothing is written before that: a model that is ready stays ready if this raises.
        """
        if survey.room and survey.room + _SPARE > survey.free:
            raise DiskFull(
                f"{self._spec.name} needs {_gib(survey.room + _SPARE)} at {self._home}, and {_gib(survey.free)} is "
                f"free: {_gib(survey.download)} to download, the rest for copies and quantised parts.",
                "Free some space, or set models_dir to a folder on a larger disk.",
            )
        if survey.gated and survey.download and not self._hub.has_token():
            closed = next(listing.repo for listing in survey.sources if listing.gated)
            whose = f"{self._spec.name} is gated ({self._spec.licence})"
            cause = whose if closed == self._spec.source else f"{closed}, a part of {self._spec.name}, is gated"
            raise ModelGated(f"{cause}, and this machine has no token.", gate_steps(closed))
        if (self._home / PULLED).is_file():
            self._check(self._home)

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
        draft = path.with_name(f"{path.name}.part")
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
        """Quantises one part of the model to the precision `form`, and reports each tensor to `tell`."""
        source = self._transformer if name == "transformer" and self._transformer else self._home / name
        seen: list[str] = []
        total = 0  # where a header cannot be read; whoever reads the weights reports that
        with suppress(BadInput):
            files = [source] if source.is_file() else sorted(source.glob("*.safetensors"))
            total = sum(len(shapes(file)) for file in files)

        def on_tensor(tensor: str) -> None:
            seen.append(tensor)
            tell(f"{form} {name}", len(seen), max(total, len(seen) + 1))  # a file may hold several weights in one

        write = self._write or load_class("engines.weights.components:write")
        write(self._spec, self._home, name, form, source, on_tensor=on_tensor)
        tell(f"{form} {name}", 1, 1)


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


def wanted_files(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Returns those files of a repository that the engines read.

    Where there is a model_index.json, they are that file and the files in the components' folders; otherwise they are
    the files in the top folder. Half-precision variants (.fp16. …) and other kinds of file are left out.
    """
    in_parts = any(file.path == "model_index.json" for file in files)
    wanted = []
    for file in files:
        path = PurePosixPath(file.path)
        in_place = len(path.parts) == 2 or file.path == "model_index.json" if in_parts else len(path.parts) == 1
        if in_place and path.suffix in _KEPT and not is_variant(path.name):
            wanted.append(file)
    return wanted


def _is_weights(file: RemoteFile) -> bool:
    return file.path.endswith(".safetensors")


def _begun(path: Path) -> int:
    """Returns the size in bytes of the unfinished draft that an interrupted download of a file left; 0 without one."""
    draft = path.with_name(f"{path.name}.part")
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
