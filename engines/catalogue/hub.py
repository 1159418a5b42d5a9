"""Where weights come from: Hugging Face's hub, or a folder of this machine. Nothing heavy is imported."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from engines.api.errors import ModelGated, NotFound, Unreachable

_BLOCK = 1 << 20
OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it; `sha256` for large ones, `git_id` (SHA-1 of a blob) for the others."""

    path: str
    size: int
    sha256: str = ""
    git_id: str = ""


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    gated: bool = False


class Hub(Protocol):
    """What `pull` asks of a place that has weights."""

    def listing(self, repo: str) -> Listing:
        """All files with sizes and hashes. Raises: NotFound, ModelGated, Unreachable."""
        ...

    def has_token(self) -> bool:
        """Whether gated files may be asked for at all."""
        ...

    def local(self, listing: Listing, file: RemoteFile) -> Path | None:
        """The file where this machine has it already."""
        ...

    def fetch(self, listing: Listing, file: RemoteFile, into: BinaryIO, on_bytes: OnBytes) -> None:
        """Append what `into` lacks of a file, telling of each piece. Raises: ModelGated, Unreachable."""
        ...


def gate_steps(repo: str) -> str:
    """What opens a gated model, in three steps."""
    return (
        f"1. Accept the licence at https://huggingface.co/{repo} (sign in first). "
        "2. Create a token with read access at https://huggingface.co/settings/tokens. "
        "3. Run `hf auth login` and paste it, or set HF_TOKEN."
    )


def is_intact(path: Path, file: RemoteFile) -> bool:
    """Whether a file on disk has the size and the hash that the hub lists."""
    if path.stat().st_size != file.size:
        return False
    if file.sha256:
        return _digest(path, hashlib.sha256()) == file.sha256
    return not file.git_id or _digest(path, hashlib.sha1(b"blob %d\0" % file.size)) == file.git_id


def _digest(path: Path, digest: Any) -> str:
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return str(digest.hexdigest())


def cached_snapshot(repo: str, cache: Path | None = None) -> Path | None:
    """The folder of a repository's main branch in the hub's own cache, if it was ever downloaded there."""
    folder = (cache or _cache()) / f"models--{repo.replace('/', '--')}"
    ref = folder / "refs" / "main"
    snapshot = folder / "snapshots" / (ref.read_text(encoding="utf-8").strip() if ref.is_file() else "none")
    return snapshot if snapshot.is_dir() else None


def _cache() -> Path:
    """Source: huggingface_hub/constants.py; read anew each time, and without importing it."""
    home = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    cache = os.environ.get("HF_HUB_CACHE") or str(Path(home) / "hub")
    return Path(os.path.expanduser(cache))  # noqa: PTH111 - as the hub does, a user without a home folder has "~" itself


class HuggingFace:
    """The hub, through huggingface_hub.

    Files are fetched by its `http_get`, which goes on where a file ends; its `snapshot_download` has thrown away what
    was half there since 2.x (huggingface/huggingface_hub, file_download.py, `_download_to_tmp_and_move`).
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def listing(self, repo: str) -> Listing:
        """Of the main branch. Raises: NotFound, ModelGated, Unreachable."""
        from huggingface_hub import HfApi

        with _told(repo):
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
        """From HF_TOKEN, or where `hf auth login` keeps it."""
        from huggingface_hub import get_token

        return bool(get_token())

    def local(self, listing: Listing, file: RemoteFile) -> Path | None:
        """In the hub's own cache."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(listing.repo, file.path, revision=listing.commit)
        return Path(found).resolve() if isinstance(found, str) else None

    def fetch(self, listing: Listing, file: RemoteFile, into: BinaryIO, on_bytes: OnBytes) -> None:
        """Over HTTP with a range; the library tries again a few times by itself. Raises: ModelGated, Unreachable."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        with _told(listing.repo):
            http_get(
                hf_hub_url(listing.repo, file.path, revision=listing.commit, endpoint=self._endpoint),
                into,
                resume_size=into.tell(),
                headers=build_hf_headers(),
                expected_size=file.size,
                tqdm_class=_bar(on_bytes),
            )


def _bar(on_bytes: OnBytes) -> Any:
    """A progress bar for huggingface_hub that draws nothing and passes on what it is told."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]  # tqdm's own

        def update(self, n: float | None = 1) -> bool | None:
            on_bytes(int(n or 0))
            return None

    return Bar


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """huggingface_hub's errors as causes and next actions."""
    from httpx2 import InvalidURL
    from huggingface_hub import get_session
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HTTPError, RepositoryNotFoundError

    try:
        get_session()  # makes the client, which reads the proxies
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
        raise NotFound(f"The hub shows no {repo} to this machine.", gate_steps(repo)) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 0)
        if status in (401, 403):
            raise ModelGated(f"The hub refuses {repo} ({status}).", gate_steps(repo)) from error
        raise Unreachable(f"The hub answers {status} for {repo}.", "Try again later; nothing is lost.") from error
    except (HTTPError, ConnectionError, TimeoutError) as error:
        raise Unreachable(
            f"huggingface.co cannot be reached ({type(error).__name__}).",
            "Check the network and HF_HUB_OFFLINE, then run the command again: it goes on where it stopped.",
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise Unreachable(str(error).splitlines()[0], "Run the command again: it goes on where it stopped.") from error


class FolderHub:
    """A folder of this machine in a repository's layout; what it has is linked, or copied to another disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def listing(self, repo: str) -> Listing:
        """Its files, with sizes. Raises: NotFound."""
        if not self._folder.is_dir():
            raise NotFound(f"There is no folder {self._folder}.", "Give the folder that holds model_index.json.")
        files = [file for file in sorted(self._folder.rglob("*")) if file.is_file()]
        return Listing(
            repo, "local", tuple(RemoteFile(f.relative_to(self._folder).as_posix(), f.stat().st_size) for f in files)
        )

    def has_token(self) -> bool:
        """Nothing here is gated."""
        return True

    def local(self, listing: Listing, file: RemoteFile) -> Path | None:
        """All of it."""
        return (self._folder / file.path).resolve()

    def fetch(self, listing: Listing, file: RemoteFile, into: BinaryIO, on_bytes: OnBytes) -> None:
        """Copy what is lacking."""
        with (self._folder / file.path).open("rb") as stream:
            stream.seek(into.tell())
            while block := stream.read(_BLOCK):
                into.write(block)
                on_bytes(len(block))
