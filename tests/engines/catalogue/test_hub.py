"""The hub's client against a server of this machine that speaks as huggingface.co does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import Unreachable
from engines.catalogue.hub import RemoteFile, cached_snapshot, is_intact

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = bytes(range(256)) * 40
_CLIENT = """
import json, sys
from pathlib import Path
from engines.api.errors import UserError
from engines.catalogue.hub import HuggingFace
hub, part, seen = HuggingFace(sys.argv[1]), Path(sys.argv[2]), []
try:
    listing = hub.listing("maker/toy")
    file = next(file for file in listing.files if file.path == "model.safetensors")
    with part.open("ab") as stream:
        hub.fetch(listing, file, stream, seen.append)
    print(json.dumps({"sha256": file.sha256, "size": file.size, "gated": listing.gated, "came": sum(seen)}))
except UserError as error:
    print(json.dumps(error.to_json()))
"""


class Hugging(BaseHTTPRequestHandler):
    """Two of the hub's addresses: a model's description, and its files with ranges."""

    ranges: list[str]
    refuse = False

    def do_GET(self) -> None:
        """Describe, or send from where it is asked."""
        if self.path.startswith("/api/models/"):
            lfs = {"sha256": hashlib.sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS), "pointerSize": 1}
            entry = {"rfilename": "model.safetensors", "size": len(WEIGHTS), "blobId": "0", "lfs": lfs}
            body = json.dumps({"id": "maker/toy", "sha": "c0ffee", "gated": "auto", "siblings": [entry]}).encode()
            self._send(200, body, {"Content-Type": "application/json"})
        elif self.server.refuse:  # type: ignore[attr-defined]
            self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask first"})
        else:
            asked = self.headers.get("Range", "")
            self.server.ranges.append(asked)  # type: ignore[attr-defined]
            start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
            total = len(WEIGHTS)
            span = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if start else {}
            self._send(206 if start else 200, WEIGHTS[start:], span)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """The hub, on a free port of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hugging) as running:
        running.ranges, running.refuse = [], False  # type: ignore[attr-defined]
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def _fetch(server: ThreadingHTTPServer, part: Path, **environment: str) -> dict[str, Any]:
    """What the client says, in a process that may use the network."""
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, f"http://127.0.0.1:{server.server_port}", str(part)],
        cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(part.parent), "NO_PROXY": "127.0.0.1", **environment},
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def test_what_is_begun_is_gone_on_with(server, tmp_path: Path) -> None:
    """Only the missing bytes of a half-fetched file are asked for, and the whole is what the listing promises."""
    part = tmp_path / "model.part"
    part.write_bytes(WEIGHTS[:2500])
    said = _fetch(server, part)
    assert server.ranges == ["bytes=2500-"]
    assert (said["gated"], said["came"]) == (True, len(WEIGHTS) - 2500)
    assert is_intact(part, RemoteFile("model.safetensors", said["size"], sha256=said["sha256"]))


def test_a_refusal_is_the_three_steps(server, tmp_path: Path) -> None:
    """The hub's 403 of a gated file becomes what to do about it."""
    server.refuse = True
    said = _fetch(server, tmp_path / "model.part")
    assert said["code"] == "model_gated"
    assert "1. Accept the licence" in said["hint"]


def test_offline_is_unreachable(server, tmp_path: Path) -> None:
    """With the network switched off, that is what is said."""
    said = _fetch(server, tmp_path / "model.part", HF_HUB_OFFLINE="1")
    assert said["code"] == "unreachable"
    assert "HF_HUB_OFFLINE" in said["hint"]


@pytest.mark.parametrize("proxy", ["socks4://127.0.0.1:9", "http://:::"])
def test_a_proxy_that_cannot_be_used_is_told(server, tmp_path: Path, proxy: str) -> None:
    """Which variables to look at, instead of a traceback."""
    said = _fetch(server, tmp_path / "model.part", ALL_PROXY=proxy, NO_PROXY="")
    assert said["code"] == "unreachable"
    assert "ALL_PROXY" in said["message"]


def test_an_error_without_words_is_unreachable() -> None:
    """The library's error counts as a broken download by its first line, or by its kind where it has no text."""
    from engines.catalogue.hub import _user_errors

    for error, cause in ((OSError(), "OSError"), (OSError("cut off\nby the proxy"), "cut off")):
        with pytest.raises(Unreachable) as told, _user_errors("maker/toy"):
            raise error
        assert told.value.cause == cause


def test_a_small_files_git_id_is_checked(tmp_path: Path) -> None:
    """A file without a SHA-256 is known by git's own hash of it; another content of that size is not intact."""
    file = RemoteFile("config.json", 2, git_id="9e26dfeeb6e641a33dae4961196235bdb965b21b")
    (tmp_path / "config.json").write_bytes(b"{}")
    assert is_intact(tmp_path / "config.json", file)
    (tmp_path / "config.json").write_bytes(b"[]")
    assert not is_intact(tmp_path / "config.json", file)


def test_the_hubs_own_cache_is_found(tmp_path: Path) -> None:
    """What another tool downloaded is found at its main branch; what none did is not."""
    snapshot = tmp_path / "models--maker--toy" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--maker--toy" / "refs").mkdir()
    (tmp_path / "models--maker--toy" / "refs" / "main").write_text("c0ffee")
    assert cached_snapshot("maker/toy", tmp_path) == snapshot
    assert cached_snapshot("nobody/nothing", tmp_path) is None
