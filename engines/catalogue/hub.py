"""Fetches weights from Hugging Face's hub, or from a folder of this machine; imports nothing heavy."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from engines.api.errors import ModelGated, NotFound, Unreachable
from engines.catalogue.weights import is_variant

_BLOCK = 1 << 20
_KEPT = {".safetensors", ".json", ".txt", ".model", ".jinja"}
OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class RemoteFile:
    """Describes a file as the hub lists it: path, size in bytes, and hash.

    The hash of a large file (LFS) is `sha256`, that of a small one is `git_id`, git's SHA-1 of a blob.
    """

    path: str
    size: int
    sha256: str = ""
    git_id: str = ""


@dataclass(frozen=True)
class Listing:
    """Lists the files of a repository at one commit; `gated`: a download needs an accepted licence and a token."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    gated: bool = False


class Hub(Protocol):
    """Interface of the places from which the command `pull` fetches weights."""

    def listing(self, repo: str) -> Listing:
        """Lists all files of a repository with sizes and hashes. Raises: NotFound, ModelGated, Unreachable."""

    def has_token(self) -> bool:
        """Returns whether this machine has a token, without which gated files cannot be fetched."""

    def local(self, listing: Listing, file: RemoteFile) -> Path | None:
        """Returns the path of a file that is on this machine already; None where it must be downloaded."""

    def fetch(self, listing: Listing, file: RemoteFile, into: BinaryIO, on_bytes: OnBytes) -> None:
        """Fetches the part of a file that `into` does not hold yet, and appends it there.

        `into`: a file open for appending, which may hold the beginning of the download. `on_bytes` is called with the
        number of bytes of each piece. Raises: ModelGated, Unreachable.
        """


def gate_steps(repo: str) -> str:
    """Returns the steps by which a user gets access to a gated repository, as one text."""
    return (
        f"1. Accept the licence at https://huggingface.co/{repo} (sign in first). "
        "2. Create a token with read access at https://huggingface.co/settings/tokens. "
        "3. Run `hf auth login` and paste it, or set HF_TOKEN."
    )


def is_intact(path: Path, file: RemoteFile) -> bool:
    """Returns whether a file on disk has the size and the hash that the hub lists; compares only what is listed."""
    if path.stat().st_size != file.size:
        return False
    if file.sha256:
        digest, expected = hashlib.sha256(), file.sha256
    elif file.git_id:
        digest, expected = hashlib.sha1(b"blob %d\0" % file.size), file.git_id
    else:
        return True
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == expected


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


def cached_snapshot(repo: str, cache: Path | None = None) -> Path | None:
    """Returns the folder of a repository's main branch in Hugging Face's local cache; None where it is not there.

    `cache`: the cache's folder. None takes the one that HF_HUB_CACHE, HF_HOME or XDG_CACHE_HOME gives, or the default.
    The variables are read without huggingface_hub, because importing that is slow.
    """
    if cache is None:
        home = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
        named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
        name = os.path.expandvars(named or str(Path(home) / "hub"))
        cache = Path(os.path.expanduser(name))  # noqa: PTH111 - as in the hub's code, "~" stays where there is no home
    folder = cache / f"models--{repo.replace('/', '--')}"
    ref = folder / "refs" / "main"
    snapshot = folder / "snapshots" / (ref.read_text(encoding="utf-8").strip() if ref.is_file() else "none")
    return snapshot if snapshot.is_dir() else None


class HuggingFace:
    """Fetches weights from Hugging Face's hub through the library huggingface_hub.

    Files are fetched by the library's `http_get`, because that can continue an unfinished file. The library's
    `snapshot_download` deletes unfinished files since version 2 (huggingface/huggingface_hub, file_download.py,
    `_download_to_tmp_and_move`).
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def listing(self, repo: str) -> Listing:
        """Lists the files of a repository's main branch with sizes and hashes.

        Raises: NotFound, ModelGated, Unreachable.
        """
        from huggingface_hub import HfApi

        with _user_errors(repo):
            info = HfApi(endpoint=self._endpoint).model_info(repo, files_metadata=True)
        files = tuple(
            RemoteFile(
                path=entry.rfilename,
                size=int(entry.size or 0),
                sha256=entry.lfs.sha256 if entry.lfs else "",
                git_id="" if entry.lfs else entry.blob_id or "",
            )
            for entry in info.siblings or ()
        )
        return Listing(repo, str(info.sha), files, bool(info.gated))

    def has_token(self) -> bool:
        """Returns whether HF_TOKEN, or the file of `hf auth login`, holds a token."""
        from huggingface_hub import get_token

        return bool(get_token())

    def local(self, listing: Listing, file: RemoteFile) -> Path | None:
        """Returns the path of a file in Hugging Face's cache on this machine; None where it is not there."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(listing.repo, file.path, revision=listing.commit)
        return Path(found).resolve() if isinstance(found, str) else None

    def fetch(self, listing: Listing, file: RemoteFile, into: BinaryIO, on_bytes: OnBytes) -> None:
        """Downloads the part of a file that `into` does not hold yet, by HTTP range, and appends it there.

        `into`: a file open for appending; `on_bytes` is called with the number of bytes of each piece. The library
        retries a few times by itself. Raises: ModelGated, Unreachable.
        """
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        with _user_errors(listing.repo):
            http_get(
                hf_hub_url(listing.repo, file.path, revision=listing.commit, endpoint=self._endpoint),
                into,
                resume_size=into.tell(),
                headers=build_hf_headers(),
                expected_size=file.size,
                tqdm_class=_bar(on_bytes),
            )


def _bar(on_bytes: OnBytes) -> Any:
    """Returns the class of a progress bar for huggingface_hub that draws nothing and passes the bytes to `on_bytes`."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]  # tqdm's own

        def update(self, n: float | None = 1) -> bool | None:
            on_bytes(int(n or 0))
            return None

    return Bar


@contextmanager
def _user_errors(repo: str) -> Iterator[None]:
    """Converts huggingface_hub's errors to errors with a cause and a next action."""
    from httpx2 import InvalidURL
    from huggingface_hub import get_session
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HTTPError, RepositoryNotFoundError

    try:
        get_session()  # creates the client, which reads the proxies
    except (ImportError, InvalidURL, ValueError) as error:
        raise Unreachable(
            f"The proxy in the environment (ALL_PROXY, HTTPS_PROXY, HTTP_PROXY) cannot be used: {error}",
            "Correct that variable or unset it. For a SOCKS proxy: pip install socksio.",
        ) from error
    try:
        yield
    except GatedRepoError as error:
        raise ModelGated(f"{repo} is gated, and this machine may not read it.", gate_steps(repo)) from error
    except RepositoryNotFoundError as error:
        raise NotFound(f"The hub shows this machine no repository {repo}.", gate_steps(repo)) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 0)
        if status in (401, 403):
            raise ModelGated(f"The hub refuses {repo} ({status}).", gate_steps(repo)) from error
        raise Unreachable(f"The hub responds with {status} for {repo}.", "Try again later; nothing is lost.") from error
    except (HTTPError, ConnectionError, TimeoutError) as error:
        raise Unreachable(
            f"huggingface.co cannot be reached ({type(error).__name__}).",
            "Check the network and HF_HUB_OFFLINE, then try again: it continues where it stopped.",
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        hint = "Try again: it continues where it stopped."
        raise Unreachable((str(error).strip() or type(error).__name__).splitlines()[0], hint) from error


class FolderHub:
    """Serves the files of a folder on this machine, laid out as a repository, in place of the hub."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def listing(self, repo: str) -> Listing:
        """Lists the folder's files with sizes and without hashes. Raises: NotFound where the folder does not exist.

        `repo`: the name to give the listing; the files are the same for every name.
        """
        if not self._folder.is_dir():
            raise NotFound(f"There is no folder {self._folder}.", "Give the folder that holds model_index.json.")
        files = [file for file in sorted(self._folder.rglob("*")) if file.is_file()]
        return Listing(
            repo, "local", tuple(RemoteFile(f.relative_to(self._folder).as_posix(), f.stat().st_size) for f in files)
        )

    def has_token(self) -> bool:
        """Returns True: no file of a folder is gated."""
        return True

    def local(self, listing: Listing, file: RemoteFile) -> Path | None:
        """Returns the path of a file; every file of the folder is on this machine."""
        return (self._folder / file.path).resolve()

    def fetch(self, listing: Listing, file: RemoteFile, into: BinaryIO, on_bytes: OnBytes) -> None:
        """Copies the part of a file that `into` does not hold yet, and appends it there.

        `into`: a file open for appending; `on_bytes` is called with the number of bytes of each piece.
        """
        with (self._folder / file.path).open("rb") as stream:
            stream.seek(into.tell())
            while block := stream.read(_BLOCK):
                into.write(block)
                on_bytes(len(block))
