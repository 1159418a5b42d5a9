"""Provides a hub for tests, which serves a folder of this machine and fails where a test wants it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from engines.api.errors import ModelGated, Unreachable
from engines.catalogue.hub import FolderHub, Listing, OnBytes, RemoteFile, gate_steps


class FakeHub(FolderHub):
    """Serves a folder in place of the Hugging Face hub, with the failures that a test asks for.

    `folder`: the folder of files to serve. `cut`: file path -> number of bytes after which the first download of that
    file breaks off. `spoilt`: paths of files whose first download has a wrong byte. `token`: what `has_token` returns.
    `gated`: the listing says that a licence must be accepted. `refused`: every download raises ModelGated. `offline`:
    the listing raises Unreachable. The attribute `asked` lists the downloads so far as (file path, offset of the first
    byte).
    """

    def __init__(
        self,
        folder: Path,
        *,
        cut: dict[str, int] | None = None,
        spoilt: tuple[str, ...] = (),
        token: bool = True,
        gated: bool = False,
        refused: bool = False,
        offline: bool = False,
    ) -> None:
        super().__init__(folder)
        self._folder = folder
        self._cut, self._spoilt = dict(cut or {}), set(spoilt)
        self._token, self._gated, self._refused, self._offline = token, gated, refused, offline
        self.asked: list[tuple[str, int]] = []  # file, first byte

    def listing(self, repo: str) -> Listing:
        """Returns the folder's files with sizes and SHA-256 hashes, as if they were those of the repository `repo`.

        Raises: Unreachable where the hub is set to be offline.
        """
        if self._offline:
            raise Unreachable("huggingface.co cannot be reached.", "Check the network.")
        files = []
        for file in super().listing(repo).files:
            digest = hashlib.sha256((self._folder / file.path).read_bytes())
            files.append(RemoteFile(file.path, file.size, sha256=digest.hexdigest()))
        return Listing(repo, "c0ffee", tuple(files), self._gated)

    def has_token(self) -> bool:
        """Returns the constructor's `token`: whether this machine is said to have an access token."""
        return self._token

    def local(self, listing: Listing, file: RemoteFile) -> Path | None:
        """Returns None always: no file counts as already downloaded to this machine."""
        return None

    def fetch(self, listing: Listing, file: RemoteFile, into: BinaryIO, on_bytes: OnBytes) -> None:
        """Downloads `file` into the open file `into`, or fails as the constructor's options ask.

        If `into` holds the beginning of the download already, only the rest is appended. `listing`: the listing of the
        file's repository. `on_bytes`: called with the number of bytes that were appended. Raises: ModelGated where the
        option `refused` is set, Unreachable where `cut` breaks the download off.
        """
        self.asked.append((file.path, into.tell()))
        if self._refused:
            raise ModelGated(f"The hub refuses {listing.repo} (403).", gate_steps(listing.repo))
        data = (self._folder / file.path).read_bytes()[into.tell() :]
        cut = self._cut.pop(file.path, None)
        if file.path in self._spoilt:
            self._spoilt.discard(file.path)
            data = bytes([data[0] ^ 1]) + data[1:]
        into.write(data if cut is None else data[:cut])
        on_bytes(len(data) if cut is None else cut)
        if cut is not None:
            raise Unreachable("The connection broke.", "Run the command again: it continues where it stopped.")
