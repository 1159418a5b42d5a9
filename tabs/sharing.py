"""The review link: a second app on its own port, with its own password, cache and expiry, and a tunnel to it."""

from __future__ import annotations

import contextvars
import hmac
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from gradio import networking, tunneling
from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError

from engines.errors import BadInput
from studio.studio import Studio
from tabs import reviewer
from tabs.common.theme import head, theme
from tabs.serving import HERE, Running, serve, temp_folder

Json = dict[str, Any]
USER = "reviewer"
LONGEST_H = 72.0
_WRONG_LOGINS = 50
_NO_TUNNEL = (
    OSError,
    RuntimeError,
    ValueError,
    httpx.HTTPError,
    ChecksumMismatchError,
    ShareCertificateWriteError,
)


class Door:
    """Lets in who knows the password; after many wrong ones nobody, since no one types that badly."""

    def __init__(self, password: str, alive: Any) -> None:
        self._password, self._alive = password, alive
        self._wrong = 0
        self._lock = threading.Lock()

    def __call__(self, user: str, password: str) -> bool:
        """Whether to let in."""
        right = hmac.compare_digest(password.encode(), self._password.encode()) and user == USER
        with self._lock:
            if self._wrong >= _WRONG_LOGINS:
                return False
            self._wrong += 0 if right else 1
        return right and bool(self._alive())


@dataclass(frozen=True)
class _Open:
    running: Running
    password: str
    expires: datetime
    timer: threading.Timer
    tunnel: str  # the public address, or ""


class ReviewLink:
    """Opens and closes the review-only app; at most one is open."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._open: _Open | None = None
        self._lock = threading.RLock()

    def start(self, character_id: str, hours: float = 24.0) -> Json:
        """Open the link for one character's queue.

        Raises: BadInput for a length that is not between a minute and three days.
        """
        if not 1 / 60 <= hours <= LONGEST_H:
            raise BadInput(f"A review link cannot be open for {hours:g} hours.", f"Choose up to {LONGEST_H:g} hours.")
        self._studio.store(character_id)
        with self._lock:
            self.stop()
            expires = datetime.now(UTC) + timedelta(hours=hours)
            password = secrets.token_urlsafe(24)
            # Asked for from inside a handler of the studio's app: Gradio must not take the new app for a part of it.
            running = contextvars.Context().run(self._serve, character_id, password, expires)
            timer = threading.Timer(hours * 3600, self.stop)
            timer.daemon = True
            timer.start()
            self._open = _Open(running, password, expires, timer, _tunnel(running))
            return self.state()

    def stop(self) -> Json:
        """Close tunnel and app; nothing happens when none is open."""
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None:
            opened.timer.cancel()
            for tunnel in [each for each in tunneling.CURRENT_TUNNELS if each.local_port == opened.running.port]:
                tunnel.kill()
                tunneling.CURRENT_TUNNELS.remove(tunnel)
            opened.running.close()
        return {"live": False, "was_live": opened is not None}

    def live(self) -> bool:
        """Whether a link is open now."""
        return self._open is not None

    def state(self) -> Json:
        """What to tell the reviewer, and until when."""
        with self._lock:
            if self._open is None:
                return {"live": False}
            return {
                "live": True,
                "url": self._open.tunnel or self._open.running.url,
                "local_url": self._open.running.url,
                "public": bool(self._open.tunnel),
                "user": USER,
                "password": self._open.password,
                "expires": self._open.expires.isoformat(timespec="minutes"),
                "message": _PUBLIC if self._open.tunnel else _LOCAL,
            }

    def _serve(self, character_id: str, password: str, expires: datetime) -> Running:
        settings = self._studio.settings
        root = settings.data_root / "cache" / "pages"

        def alive() -> bool:
            return datetime.now(UTC) < expires

        with temp_folder(root / "review", root):
            return serve(
                reviewer.build(self._studio, character_id, alive),
                0,
                ["*"],
                auth=Door(password, alive),
                auth_message="Enter the name and password that came with the link.",
                theme=theme(),
                head=head(settings.assets),
                blocked_paths=[str(settings.data_root.resolve()), str(settings.models_dir.resolve())],
                show_error=False,
                max_file_size=1,
            )


_PUBLIC = "Anyone with the address and the password can see the queue and vote, until then."
_LOCAL = (
    "No tunnel could be opened (is this machine offline?), so the address works on this machine only. "
    "Open the link again when you are online."
)


def _tunnel(running: Running) -> str:
    try:
        return str(networking.setup_tunnel(HERE, running.port, running.demo.share_token, None, None))
    except _NO_TUNNEL:
        return ""
