"""What is turned away before an app reads it: what another website sent, and bodies that are too large."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIB = 1 << 20
_SITES = ("", "same-origin", "none")  # Sec-Fetch-Site: no browser, the page itself, the address bar
_READS = ("GET", "HEAD")


class Guard:
    """An app behind two rules; scripts, which send no Origin, pass the first.

    A request with an `Origin` must come from the very address that it is sent to, or from one of `names`, and one that
    changes something must not be marked by the browser as another site's. A body may have `limits[path]` bytes, else
    `limits[""]`: its announced length counts, and what really arrives.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int], names: Collection[str] = ()) -> None:
        self._app, self._limits, self._names = app, limits, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 or 413, or hand on to the app."""
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
    """Whether a browser says that another website sent this request."""
    if "origin" in headers:
        sender = headers["origin"].partition("://")[2].lower()  # "null", a page that hides where it is from, has none
        if not sender or sender not in (headers.get("host", "").lower(), *names):
            return True
    return method not in _READS and headers.get("sec-fetch-site", "") not in _SITES


class _TooLarge(HTTPException):
    """A body grew over its limit while it came; FastAPI answers this itself where it reads the body."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, _too_large(limit))


def _counted(receive: Receive, limit: int) -> Receive:
    """The body as it comes. Raises: _TooLarge."""
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
