"""From a row of the registry to a folder the engines can read: survey, download, verify, quantise once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engines.api.errors import BadInput, DiskFull, ModelGated, ModelMissing
from engines.api.protocols import ModelSpec
from engines.catalogue.given import header
from engines.catalogue.hub import Hub, Listing, RemoteFile, gate_steps, is_intact
from engines.catalogue.registry import load_class
from engines.catalogue.weights import FULL_WIDTH, PULLED, PULLING, QUANTISED, held_name, record

_SPARE = 1 << 30  # for configurations, drafts, and everybody else on the disk
_KEPT = {".safetensors", ".json", ".txt", ".model", ".jinja"}
_VARIANTS = (".fp16.", ".bf16.", ".non_ema.")
_BITS = {"nf4": 4.2, "int8": 8.1}  # a weight, scales counted
Tell = Callable[[str, int, int], None]  # what, done, of


@dataclass(frozen=True)
class Survey:
    """What a pull would do, before it does anything; sizes in bytes."""

    form: str
    sources: tuple[tuple[Listing, Mapping[RemoteFile, str]], ...]  # files and where they go below the folder
    missing: tuple[RemoteFile, ...]
    download: int
    to_quantise: tuple[str, ...]
    room: int
    free: int

    @property
    def nothing_to_do(self) -> bool:
        """All is here."""
        return not self.missing and not self.to_quantise

    @property
    def gated(self) -> bool:
        """Whether some source asks for an accepted licence."""
        return any(listing.gated for listing, _ in self.sources)


class Pull:
    """One model into one folder. What was done is never done again, so that it can be stopped anywhere."""

    def __init__(
        self,
        spec: ModelSpec,
        home: Path,
        hub: Hub,
        *,
        transformer: Path | None = None,
        check: Callable[[Path], None] = lambda home: None,
        write: Callable[..., None] | None = None,
        free: Callable[[Path], int] | None = None,
    ) -> None:
        """`transformer`: a single safetensors file to take it from, instead of the repository's own.

        `check` is asked, with the folder, once all but the weights has come: it raises where they would not do.
        """
        self._check = check
        self._spec, self._home, self._hub, self._transformer = spec, home, hub, transformer
        self._write = write or load_class("engines.weights.components:write")
        self._free = free or _free_bytes

    def survey(self, form: str) -> Survey:
        """Read the hub's listing and count. Raises: NotFound, ModelGated, Unreachable, BadInput."""
        if form not in (FULL_WIDTH, *QUANTISED):
            raise BadInput(f"There is no form named {form}.", f"Known: {', '.join((*QUANTISED, FULL_WIDTH))}.")
        sources = tuple(self._sources())
        wanted = {file: (self._home / path, listing) for listing, files in sources for file, path in files.items()}
        to_quantise = self._to_quantise(form)
        missing = tuple(
            file for file, (path, _) in wanted.items() if not self._is_here(path, file) and self._needed(path, form)
        )
        download = sum(
            file.size - _begun(wanted[file][0]) for file in missing if self._hub.local(wanted[file][1], file) is None
        )
        copied = sum(file.size for file in missing if self._must_copy(self._hub.local(wanted[file][1], file)))
        room = download + copied + sum(self._quantised_bytes(name, form, wanted) for name in to_quantise)
        free = self._free(self._home)
        return Survey(form, sources, missing, download, to_quantise, room, free)

    def run(self, survey: Survey, tell: Tell) -> Path:
        """Do it; answers the folder. Raises: DiskFull, ModelGated, ModelMissing, Unreachable, BadInput."""
        if survey.room and survey.room + _SPARE > survey.free:
            raise DiskFull(
                f"{self._spec.name} needs {_gib(survey.room + _SPARE)} at {self._home}, and {_gib(survey.free)} is "
                f"free: {_gib(survey.download)} to download, the rest for copies and quantised parts.",
                "Free some space, or point models_dir to a roomier disk.",
            )
        if survey.gated and survey.download and not self._hub.has_token():
            raise ModelGated(
                f"{self._spec.name} is gated ({self._spec.licence}), and this machine has no token.",
                gate_steps(self._spec.source),
            )
        if (self._home / PULLED).is_file():
            self._check(self._home)  # a model that is ready stays so where this would not do
        self._home.mkdir(parents=True, exist_ok=True)
        self._note(PULLING, survey)
        self._download(survey, tell)
        for name in survey.to_quantise:
            self._quantise(name, survey.form, tell)
        self._note(PULLED, survey)
        (self._home / PULLING).unlink()
        return self._home

    def forget_originals(self, form: str) -> int:
        """Delete the full-width weights of parts that lie here quantised; answers the bytes freed."""
        freed = 0
        for name in self._quantisable:
            if form != FULL_WIDTH and self._is_held(name, form):
                for file in (self._home / name).glob("*.safetensors"):
                    freed += file.stat().st_size
                    file.unlink()
        return freed

    # ── what there is ───────────────────────────────────────────────────────────────────────────

    @property
    def _quantisable(self) -> tuple[str, ...]:
        return tuple(name for form in QUANTISED for name in self._spec.options.get(form, ()))

    def _sources(self) -> Iterator[tuple[Listing, Mapping[RemoteFile, str]]]:
        listing = self._hub.listing(self._spec.source)
        chosen = [file for file in wanted_files(listing.files) if not (self._transformer and _is_transformer(file))]
        yield listing, {file: file.path for file in chosen}
        adapter = str(self._spec.few_steps.get("from", ""))
        if adapter:
            repo, path = "/".join(adapter.split("/")[:2]), "/".join(adapter.split("/")[2:])
            other = self._hub.listing(repo)
            yield other, {file: str(self._spec.few_steps["file"]) for file in other.files if file.path == path}

    def _to_quantise(self, form: str) -> tuple[str, ...]:
        names = ("transformer",) if form == FULL_WIDTH and self._transformer else ()
        names = self._quantisable if form != FULL_WIDTH else names
        return tuple(name for name in names if not self._is_held(name, form))

    def _is_held(self, name: str, form: str) -> bool:
        return (self._home / held_name(name, form) / "quantised.json").is_file()

    def _is_here(self, path: Path, file: RemoteFile) -> bool:
        return path.is_file() and path.stat().st_size == file.size

    def _needed(self, path: Path, form: str) -> bool:
        """Full-width weights are not, where the part lies here in the form that is asked for."""
        name = path.relative_to(self._home).parts[0]
        quantised = form != FULL_WIDTH and name in self._quantisable and self._is_held(name, form)
        return not (quantised and path.suffix == ".safetensors")

    def _quantised_bytes(self, name: str, form: str, wanted: Mapping[RemoteFile, Any]) -> int:
        known = self._spec.component_bytes.get(held_name(name, form))
        if known:
            return known
        whole = sum(file.size for file in wanted if file.path.startswith(f"{name}/"))
        return int(whole * _BITS.get(form, 16) / 16)

    def _must_copy(self, local: Path | None) -> bool:
        """Whether what lies on this machine lies on another disk."""
        return local is not None and local.stat().st_dev != _existing(self._home).stat().st_dev

    # ── doing it ────────────────────────────────────────────────────────────────────────────────

    def _download(self, survey: Survey, tell: Tell) -> None:
        """Configurations first, then the smallest first: a gate that stays shut is met at once."""
        todo = sorted(
            (
                (file, self._home / path, listing)
                for listing, files in survey.sources
                for file, path in files.items()
                if file in survey.missing
            ),
            key=lambda entry: (_is_weights(entry[0]), entry[0].size),
        )
        total = sum(file.size for file, _, _ in todo)
        done = 0
        checked = False
        for file, path, listing in todo:
            if _is_weights(file) and not checked:
                self._check(self._home)
                checked = True
            self._get(file, path, listing, _counter(tell, f"download {file.path}", done, total))
            done += file.size
            tell(f"verified {file.path}", done, total)
        if not checked:
            self._check(self._home)

    def _get(self, file: RemoteFile, path: Path, listing: Listing, on_bytes: Callable[[int], None]) -> None:
        """One file: from this machine where it lies here, else over the net, going on with what is begun.

        Raises: ModelMissing where what came is not what the hub lists; it is thrown away.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.part")
        local = self._hub.local(listing, file)
        if local:
            _link(local, draft)
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
                f"{file.path} arrived damaged: its size or hash is not what {listing.repo} lists.",
                f"Run python launch.py pull {self._spec.name} again; only that file is fetched anew.",
            )
        draft.replace(path)

    def _quantise(self, name: str, form: str, tell: Tell) -> None:
        source = self._transformer if name == "transformer" and self._transformer else self._home / name
        seen: list[str] = []
        total = _weights_in(source)

        def on_tensor(tensor: str) -> None:
            seen.append(tensor)
            tell(f"{form} {name}", len(seen), max(total, len(seen) + 1))  # a file may hold several weights in one

        self._write(self._spec, self._home, name, form, source, on_tensor=on_tensor)
        tell(f"{form} {name}", 1, 1)

    def _note(self, name: str, survey: Survey) -> None:
        """Write down what was asked for, in one move."""
        data = {
            "model": self._spec.name,
            "form": survey.form,
            "licence": self._spec.licence,
            "commits": {listing.repo: listing.commit for listing, _ in survey.sources},
            "files": {path: file.size for _, files in survey.sources for file, path in files.items()},
        }
        draft = self._home / f"{name}.draft"
        draft.write_text(json.dumps(data, indent=2), encoding="utf-8")
        draft.replace(self._home / name)


def _weights_in(source: Path) -> int:
    """How many tensors the files of a part hold, by their headers; 0 where none can be read."""
    files = [source] if source.is_file() else sorted(source.glob("*.safetensors"))
    with suppress(BadInput):
        return sum(len(header(file).keys() - {"__metadata__"}) for file in files)
    return 0


def missing_bytes(home: Path) -> int:
    """What a pull that began still has to fetch, by its own notes."""
    files = record(home).get("files", {})
    return sum(size - _present(home / path) for path, size in files.items())


def wanted_files(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Of a repository, what the engines read: its parts in diffusers layout, or a plain model's files at the top."""
    in_parts = any(file.path == "model_index.json" for file in files)
    return [file for file in files if _is_wanted(file, in_parts)]


def _is_wanted(file: RemoteFile, in_parts: bool) -> bool:
    path = PurePosixPath(file.path)
    if path.suffix not in _KEPT or any(variant in path.name for variant in _VARIANTS):
        return False
    depth = len(path.parts)
    return file.path == "model_index.json" or depth == 2 if in_parts else depth == 1


def _is_weights(file: RemoteFile) -> bool:
    return file.path.endswith(".safetensors")


def _is_transformer(file: RemoteFile) -> bool:
    return file.path.startswith("transformer/") and file.path.endswith((".safetensors", ".index.json"))


def _begun(path: Path) -> int:
    draft = path.with_name(f"{path.name}.part")
    return draft.stat().st_size if draft.is_file() else 0


def _present(path: Path) -> int:
    return path.stat().st_size if path.is_file() else _begun(path)


def _counter(tell: Tell, what: str, before: int, total: int) -> Callable[[int], None]:
    """Adds up pieces of a file, on top of what was done before it."""
    pieces: list[int] = [before]

    def on_bytes(count: int) -> None:
        pieces[0] += count
        tell(what, pieces[0], total)

    return on_bytes


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk is another one."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
