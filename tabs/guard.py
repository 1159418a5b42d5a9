"""The guard of an ASGI app: refuses requests from other websites, and bodies that are too large."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIB = 1 << 20
_SITES = ("", "same-origin", "none")  # values of Sec-Fetch-Site: no browser, the page itself, the address bar
_READS = ("GET", "HEAD")


class Guard:
    """Puts an ASGI app behind two checks: that a request does not come from another website, and is not too large.

    A request with an `Origin` header must come from the page's own host, or from one of `names`. A request that changes
    data must not have a `Sec-Fetch-Site` header that names another origin. Scripts send neither header and pass.
    `limits` holds the largest allowed body in bytes by path, "" for all other paths.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int], names: Collection[str] = ()) -> None:
        self._app, self._limits, self._names = app, limits, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 for another website and 413 for a large body, or passes the request to the app."""
        if scope["type"] == "websocket":  # the page opens none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limits.get(scope["path"].rstrip("/"), self._limits[""])
        announced = headers.get("content-length", "0")
        if foreign(scope["method"], headers, self._names):
            await PlainTextResponse("This address takes nothing from other websites.", 403)(scope, receive, send)
        elif announced.isdigit() and int(announced) > limit:
            await PlainTextResponse(_too_large(limit), 413)(scope, receive, send)
        else:
            try:
                await self._app(scope, _counted(receive, limit), send)
            except _TooLarge as error:
                await PlainTextResponse(error.detail, 413)(scope, receive, send)


def foreign(method: str, headers: Headers, names: Collection[str] = ()) -> bool:
    """Returns whether a request was sent by another website, as the browser says in its headers.

    `names` are hosts, beside the request's own, that the request may come from.
    """
    if "origin" in headers:
        sender = headers["origin"].partition("://")[2].lower()  # "null", from a page that hides its origin, has none
        if not sender or sender not in (headers.get("host", "").lower(), *names):
            return True
    return method not in _READS and headers.get("sec-fetch-site", "") not in _SITES


class _TooLarge(HTTPException):
    """The error for a body that exceeds its limit while it arrives; FastAPI answers it where it reads the body."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, _too_large(limit))


def _counted(receive: Receive, limit: int) -> Receive:
    """Returns a receive function that counts the body's bytes. Raises: _TooLarge when they exceed the limit."""
    arrived = 0

    async def counted() -> Message:
        nonlocal arrived
        message = await receive()
        arrived += len(message.get("body", b""))
        if arrived > limit:
            raise _TooLarge(limit)
        return message

    return counted


def _too_large(limit: int) -> str:
    return f"This is too large; at most {limit / MIB:g} MiB are taken."
