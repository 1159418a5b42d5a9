"""The review link: the review-only app on its own port, with its own login, folder and expiry, and a public tunnel."""

from __future__ import annotations

import contextvars
import gc
import secrets
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import segno
from gradio import networking, tunneling
from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from engines.api.errors import BadInput
from studio.workplace.desk import Workplace
from tabs import reviewer
from tabs.common.theme import head, theme
from tabs.entrance import GUEST, USER, Door, Entrance, Term
from tabs.guard import Guard
from tabs.serving import HERE, Running, listen, network_address, serve

Json = dict[str, Any]
LONGEST_H = 72.0
SESSIONS = 64  # sessions of reviewers' pages, which are small: two widgets each
LIMITS = {"": 64 << 10, "/login": 4 << 10}
_NO_TUNNEL = (
    OSError,
    RuntimeError,
    ValueError,
    ImportError,  # a SOCKS proxy is set, and httpx has no package for it
    httpx.HTTPError,
    httpx.InvalidURL,
    ChecksumMismatchError,
    ShareCertificateWriteError,
)


@dataclass(frozen=True)
class _Open:
    """Holds the state of an open review link."""

    running: Running
    password: str
    expires: datetime
    term: Term
    timer: threading.Timer
    tunnel: str  # the public address, or ""
    network: bool  # opened for this machine's local network alone


class ReviewLink:
    """Opens and closes a web address at which a guest reviews pictures of one character; at most one is open.

    The address serves an app of its own, on its own port and with its own login.
    """

    def __init__(self, workplace: Workplace) -> None:
        self._studio = workplace
        self._open: _Open | None = None
        self._lock = threading.RLock()

    def start(self, character_id: str, hours: float = 24.0, network: bool = False) -> Json:
        """Opens a review link for the queue of one character, after closing an open one, and returns its state as JSON.

        The link ends after `hours`. By default its app listens on this machine alone, and a public tunnel leads to it.
        With `network` it listens on this machine's address in the local network, without a tunnel. Raises: BadInput for
        a time that is not between a minute and three days, or without a local network; NotFound for an unknown
        character.
        """
        if not 1 / 60 <= hours <= LONGEST_H:
            raise BadInput(f"A review link cannot be open for {hours:g} hours.", f"Choose up to {LONGEST_H:g} hours.")
        self._studio.store(character_id)
        host = network_address() if network else HERE
        if not host:
            raise BadInput(
                "This machine has no address in a local network.",
                "Connect it to the Wi-Fi that the phone is in, or share by a public link.",
            )
        with self._lock:
            self.stop()
            expires = datetime.now(UTC) + timedelta(hours=hours)
            password, term, names = secrets.token_urlsafe(24), Term(expires), set[str]()
            # This runs in a handler of the studio's app; a new context keeps Gradio from nesting the new app in it.
            running = contextvars.Context().run(self._serve, character_id, password, term, names, host)
            with ExitStack() as on_failure:
                on_failure.callback(running.close)
                tunnel = "" if network else _tunnel(running)
                on_failure.pop_all()
            names.update({urlsplit(tunnel).netloc} if tunnel else ())
            timer = threading.Timer(hours * 3600, self.stop, [term])
            timer.daemon = True
            timer.start()
            self._open = _Open(running, password, expires, term, timer, tunnel, network)
            return self.state()

    def stop(self, only: Term | None = None) -> Json:
        """Closes the review link with its tunnel and its app, where one is open; later votes are refused at once.

        `only` is the `Term` of the link to close, the object that holds its expiry: a link that was opened since then
        stays open. None closes any link. Returns `{"live": False, "was_live": whether a link was closed}`.
        """
        if (opened := self._open) and only in (None, opened.term):
            opened.term.end()
        with self._lock:
            opened = self._open if self._open and only in (None, self._open.term) else None
            self._open = None if opened else self._open
        if opened is not None:
            opened.term.end()
            opened.timer.cancel()
            for tunnel in [each for each in tunneling.CURRENT_TUNNELS if each.local_port == opened.running.port]:
                tunnel.kill()  # type: ignore[no-untyped-call]  # Gradio gives it no types
                tunneling.CURRENT_TUNNELS.remove(tunnel)
            opened.running.close()
        was_live, opened = opened is not None, None
        gc.collect()  # an app is part of reference cycles, which hold event loops with open files
        return {"live": False, "was_live": was_live}

    def live(self) -> bool:
        """Returns whether a review link is open now; after its time it is not, though its app may stand a while."""
        # The timer that closes the app stands still while the machine sleeps; the term goes by the clock.
        return (opened := self._open) is not None and opened.term()

    def state(self) -> Json:
        """Returns the state of the review link as JSON: addresses, user, password, expiry, and texts to show.

        Without an open link it is `{"live": False}`.
        """
        with self._lock:
            if (opened := self._open) is None or not opened.term():
                return {"live": False}
            url, until = opened.tunnel or opened.running.url, local_time(opened.expires)
            return {
                "live": True,
                "url": url,
                "local_url": opened.running.url,
                "public": bool(opened.tunnel),
                "network": opened.network,
                "user": USER,
                "password": opened.password,
                "expires": opened.expires.isoformat(timespec="minutes"),
                "until": until,
                "message": (_PUBLIC if opened.tunnel else _NETWORK if opened.network else _LOCAL).format(until=until),
                "invitation": (
                    f"Help me choose pictures: open {url}/#{opened.password} before {until}. "
                    f"If it asks: the login is {USER}, the password {opened.password}"
                ),
            }

    def _serve(self, character_id: str, password: str, term: Term, names: set[str], host: str) -> Running:
        settings = self._studio.settings

        def door(app: ASGIApp) -> ASGIApp:
            entrance = Entrance(app, Door(password, term), term, settings.assets / "ui", reviewer.is_call)
            guarded = Guard(entrance, LIMITS, names)
            # Behind the tunnel the Host is the tunnel's; in the network only this machine's own address is answered.
            return guarded if host == HERE else TrustedHostMiddleware(guarded, [host])

        return serve(
            reviewer.build(self._studio.desk(character_id), term),
            listen(0, host),
            settings.data_root / "cache" / "pages" / "review",
            door,
            sessions=SESSIONS,
            auth_dependency=lambda request: request.scope.get(GUEST),
            theme=theme(),
            head=head(settings.assets, "reviewer.css", "reviewer.js"),
            blocked_paths=[str(settings.data_root.resolve()), str(settings.models_dir.resolve())],
            show_error=False,
            max_file_size=1,
        )


def local_time(moment: datetime) -> str:
    """Returns a time as text, in this machine's time zone, for example `Tuesday 1 December, 03:04`."""
    here = moment.astimezone()
    return f"{here:%A} {here.day} {here:%B}, {here:%H:%M}"


_PUBLIC = "Anyone with the address and the password can see the queue and vote, until {until} (your time)."
_LOCAL = (
    "No public link could be made (is this machine offline?), so the address works on this machine only, until "
    "{until}. A phone in the same Wi-Fi can review if you open the link in this network."
)
_NETWORK = (
    "Everyone in this network who has the address and the password can see the queue and vote, until {until} (your "
    "time). Nothing is encrypted on the way: use it only in a network that you trust, such as your home's."
)


def qr_code(state: Json) -> str:
    """Returns a QR code of the address of an open review link, as the data URL of an SVG image.

    `state` is what `ReviewLink.state` returns. The address has the password in its fragment, which a browser does not
    send to the server; the login page fills its password field from it.
    """
    return str(
        segno.make(f"{state['url']}/#{state['password']}", micro=False).svg_data_uri(scale=4, border=3, light="white")
    )


def _tunnel(running: Running) -> str:
    try:
        return str(networking.setup_tunnel(HERE, running.port, running.demo.share_token, None, None))
    except _NO_TUNNEL:
        return ""
