"""Fetches one LoRA file into a folder of its own, from the hub or from this machine: the pull of a model, for one file.

Like a model's, an interrupted download continues where it stopped, and each file is verified by the hub's hash.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from engines.api.errors import BadInput, NotFound
from engines.api.protocols import ModelSpec
from engines.api.values import shown
from engines.catalogue.formats import header
from engines.catalogue.hub import Hub, Listing, OnBytes, RemoteFile
from engines.catalogue.pulling import Pull, Wanted

SETTINGS = "adapter_config.json"  # peft's: it holds the scale of an adapter_model.safetensors beside it
WEIGHTS = ".safetensors"
_BLOCK = 1 << 20
_FEW = 6  # files that an error lists
_OF_LORAS = ("lora", "lokr", "hada")  # parts of tensors' names; other kinds of adapter are told apart when it is read


class LoraPull(Pull):
    """Fetches a LoRA file, and the settings beside it where there are any."""

    def __init__(
        self,
        name: str,
        repo: str,
        file: str,
        home: Path,
        hub: Hub,
        *,
        licence: str = "",
        free: Callable[[Path], int] | None = None,
    ) -> None:
        """Takes the LoRA's name, its repository and the file in it (see `chosen`), its folder, and the hub.

        `licence` is noted beside the file; `free` returns a disk's free bytes.
        """
        spec = ModelSpec(name=name, label=name, role="lora", family="", engine="", source=repo, licence=licence)
        super().__init__(spec, home, hub, free=free)
        self._file = file

    def _sources(self, form: str) -> tuple[tuple[Listing, ...], tuple[Wanted, ...]]:
        """Lists the repository; returns the listing, and the LoRA file with its settings, whatever the `form`."""
        del form
        listing = self._hub.listing(self._spec.source)
        file = chosen(listing, self._file)
        beside = PurePosixPath(file.path).with_name(SETTINGS).as_posix()
        files = (file, *(each for each in listing.files if each.path == beside))
        return (listing,), tuple(Wanted(listing, each, PurePosixPath(each.path).name) for each in files)


def chosen(listing: Listing, file: str) -> RemoteFile:
    """Returns the file of a repository that is meant by its path, its name, or its name without the ending.

    `file` "" takes the repository's only safetensors file. Raises: NotFound where no file fits, BadInput where several
    do; both name the files that there are.
    """
    there = [each for each in listing.files if each.path.endswith(WEIGHTS)]
    ways = (lambda path: path, lambda path: PurePosixPath(path).name, lambda path: PurePosixPath(path).stem)
    fitting = next((found for way in ways if (found := [each for each in there if way(each.path) == file])), [])
    fitting = fitting if file else there
    if len(fitting) == 1:
        return fitting[0]
    more = f" and {len(there) - _FEW} more" if len(there) > _FEW else ""
    names = ", ".join(each.path for each in there[:_FEW]) + more
    if fitting:
        raise BadInput(f"{listing.repo} holds several safetensors files.", f"Name one of: {names}.")
    if not there:
        raise NotFound(f"{listing.repo} holds no safetensors file.", "Choose another repository.")
    raise NotFound(f"{listing.repo} holds no file {shown(file)}.", f"Name one of: {names}.")


def demand_lora(file: Path) -> None:
    """Checks by its header that a file of this machine is a safetensors file with tensors of a LoRA.

    Raises: NotFound, BadInput.
    """
    if not os.path.isfile(file):  # noqa: PTH113 - a name that is too long is no file either
        raise NotFound(f"There is no file {shown(str(file))}.", "Give the path of a LoRA's safetensors file.")
    if file.suffix != WEIGHTS:
        raise BadInput(f"{file.name} is not a safetensors file.", "Give a LoRA as a safetensors file.")
    if not any(part in key for key in header(file) for part in _OF_LORAS):
        raise BadInput(f"{file.name} holds no tensors of a LoRA.", "Choose a LoRA; a whole model is used otherwise.")


class FileHub:
    """Serves one file of this machine, and peft's settings beside it, in place of the hub; it is copied, not linked.

    A training tool may write the same file again, which must not change the copy.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def listing(self, repo: str) -> Listing:
        """Lists the file, without a hash, under any name of a repository. Raises: NotFound where it is gone."""
        if not self._file.is_file():
            raise NotFound(f"There is no file {self._file}.", "Put it back, or add another.")
        files = (self._file, self._file.with_name(SETTINGS))
        there = tuple(RemoteFile(each.name, each.stat().st_size) for each in files if each.is_file())
        return Listing(repo, "local", there)

    def has_token(self) -> bool:
        """Returns True: no file of this machine is gated."""
        return True

    def local(self, listing: Listing, file: RemoteFile) -> Path | None:
        """Returns None: the file is copied, so that it stays as it is."""
        return None

    def fetch(self, listing: Listing, file: RemoteFile, into: BinaryIO, on_bytes: OnBytes) -> None:
        """Copies the part of the file that `into` does not hold yet, and appends it there.

        `into`: a file open for appending; `on_bytes` is called with the number of bytes of each piece.
        """
        with self._file.with_name(file.path).open("rb") as stream:
            stream.seek(into.tell())
            while block := stream.read(_BLOCK):
                into.write(block)
                on_bytes(len(block))
