"""The login of the review link: no request reaches the app before a login, and only the needed ones after it."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tabs.common.looks import esc

USER = "reviewer"
GUEST = "flen.guest"  # the key of the guest's name in a request's scope
_PATIENCE = 5  # wrong passwords of one client that are refused without a delay
_DELAY_S = 0.5  # before the refusal of each further one
_CLIENTS = 1_000
_WORDS = "Enter the name and password that came with the link."
_WRONG = "That name or password is not right. Copy both from the message that the link came in."
_ENDED = "This review link has ended. Thank you for your help."
# The paths that the reviewer's page needs: itself, Gradio's scripts, its handlers, and its heartbeat.
_FOLDERS = ("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/")
_FILES = ("/", "/favicon.ico", "/config", "/theme.css", "/gradio_api/theme.css", "/gradio_api/info")
_CALL = "/gradio_api/run/predict"
_NOTHING = JSONResponse("Not found", 404)


class Term:
    """Holds the time until which a review link is open; a call returns whether it is open now.

    Whoever stores a vote holds `lock` meanwhile, so that `end` waits for a vote that is being stored.
    """

    def __init__(self, expires: datetime) -> None:
        self.lock = threading.Lock()
        self._expires, self._ended = expires, False

    def __call__(self) -> bool:
        """Returns whether the link is open now."""
        return not self._ended and datetime.now(UTC) < self._expires

    def end(self) -> None:
        """Closes the link before its time; waits for a vote that is being stored. Later votes are refused."""
        with self.lock:
            self._ended = True


class Door:
    """Checks logins to a review link; a call returns whether user and password are right and the link is open.

    `alive` returns whether the link is open.
    """

    def __init__(self, password: str, alive: Callable[[], bool]) -> None:
        self._password, self._alive = password, alive

    def __call__(self, user: str, password: str) -> bool:
        """Returns whether a login is accepted."""
        right = hmac.compare_digest(password.encode(), self._password.encode()) and user == USER
        return right and self._alive()


class Entrance:
    """Puts an ASGI app behind the login of a review link, through which guests vote on pictures.

    Each login makes a new guest, named `guest:LINK.NUMBER NAME`, so that votes can be told apart; NAME is what the
    guest typed, if anything. After several wrong passwords of one client, the refusal of each further one is delayed.
    `alive` returns whether the link is open. A POST body for which `is_call` is false is answered 404, because Gradio
    would print a traceback for it.
    """

    def __init__(
        self, app: ASGIApp, door: Door, alive: Callable[[], bool], ui: Path, is_call: Callable[[bytes], bool]
    ) -> None:
        self._app, self._door, self._alive, self._is_call = app, door, alive, is_call
        self._page = Template((ui / "door.html").read_text(encoding="utf-8"))
        self._style = (ui / "door.css").read_text(encoding="utf-8")
        self._link = secrets.token_hex(3)
        self._cookie = f"review-{self._link}"
        self._guests: dict[str, str] = {}
        self._wrong: OrderedDict[str, int] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers requests without a login; passes a guest's request on, with the guest's name in its scope."""
        if scope["type"] == "websocket":  # the page opens none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        guest = self._guests.get(request.cookies.get(self._cookie, ""))
        if not self._alive():
            answer: Response | None = self._html(_ENDED, 410, "ended")
        elif request.method == "POST" and request.url.path.rstrip("/") == "/login":
            answer = await self._login(request)
        elif guest is None:
            answer = self._stranger(request)
        elif not open_to_guests(request.method, request.url.path):
            answer = _NOTHING
        else:
            answer = None if request.method != "POST" or self._is_call(await request.body()) else _NOTHING
            receive = _again(request, receive)
        scope[GUEST] = guest
        await (answer or self._app)(scope, receive, send)

    def _stranger(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD") and request.url.path == "/":
            return self._html(_WORDS, 200, "")
        return JSONResponse({"detail": "Not authenticated"}, 401)

    async def _login(self, request: Request) -> Response:
        """Returns the answer to a login, and sets the guest's cookie for a right one.

        Scripts get the response of Gradio's own login; browsers are redirected to the page.
        """
        given = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        browser = "text/html" in request.headers.get("accept", "")
        client = request.client.host if request.client else ""
        if not self._door(given.get("username", "").strip(), given.get("password", "").strip()):
            await asyncio.sleep(self._delay(client))
            words = "Incorrect credentials."
            return self._html(_WRONG, 400, "wrong") if browser else JSONResponse({"detail": words}, 400)
        self._wrong.pop(client, None)
        token = secrets.token_urlsafe(24)
        name = called(given.get("called", ""))
        self._guests[token] = f"guest:{self._link}.{len(self._guests) + 1}{name and f' {name}'}"
        answer = RedirectResponse("./", 303) if browser else JSONResponse({"success": True})
        secure = request.url.scheme == "https"
        answer.set_cookie(self._cookie, token, httponly=True, samesite="lax", secure=secure)
        return answer

    def _delay(self, client: str) -> float:
        """Counts a wrong password of a client and returns the seconds to delay the refusal."""
        self._wrong[client] = count = self._wrong.pop(client, 0) + 1
        if len(self._wrong) > _CLIENTS:
            self._wrong.popitem(last=False)
        return _DELAY_S if count > _PATIENCE else 0.0

    def _html(self, words: str, status: int, kind: str) -> HTMLResponse:
        filled = self._page.substitute(style=self._style, words=esc(words), kind=kind, user=USER)
        return HTMLResponse(filled, status, {"Cache-Control": "no-store"})


def called(given: str) -> str:
    """Returns the name that a guest typed, shortened, with only its letters, digits, spaces and .-' characters."""
    return " ".join("".join(each for each in given if each.isalnum() or each in " .-'").split())[:24].strip()


def _again(request: Request, receive: Receive) -> Receive:
    """Returns a receive function that replays a POST's body, which was already read, as one message."""
    if request.method != "POST":
        return receive
    waiting = True

    async def again() -> Message:
        nonlocal waiting
        if waiting:
            waiting = False
            return {"type": "http.request", "body": await request.body(), "more_body": False}
        return await receive()

    return again


def open_to_guests(method: str, path: str) -> bool:
    """Returns whether a request's method and path are among those that the reviewer's page needs."""
    if method == "POST":
        return path.rstrip("/") == _CALL
    return method in ("GET", "HEAD") and (path in _FILES or path.startswith(_FOLDERS))
