"""The server of the two apps: each has its own port and folder, and by default listens on this machine alone."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gradio as gr
import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from gradio.route_utils import FnIndexInferError
from gradio.routes import App
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engines.api.errors import BadInput, Busy, UserError
from tabs.sessions import Sessions

Handler = Callable[[Request, Exception], Awaitable[Response]]

HERE = "127.0.0.1"
_ELSEWHERE = "198.51.100.1"  # an address kept for documentation
_OTHER_PORT = "Give --port another number, from 1024 to 65535; 0 picks a free one."
_PATIENCE_S = 5.0  # to wait for a handler that still runs; the process may end without it
_GRACE_S = 1.0  # for requests under way when an app ends


@dataclass(frozen=True)
class Running:
    """Holds an app that is being served: its address, its Gradio app, its port, its server and the server's thread.

    `ends` are functions that `close` calls before it stops the server.
    """

    url: str
    demo: gr.Blocks
    port: int
    server: Server
    thread: threading.Thread
    ends: tuple[Callable[[], object], ...] = ()  # called first when it closes

    def close(self) -> None:
        """Calls the functions in `ends` and stops the server; its port is closed within about a second."""
        for end in self.ends:
            end()
        self.demo._queue.close()  # type: ignore[no-untyped-call]  # Gradio gives it no types
        self.demo.is_running = False
        self.demo.app.stop_event.set()  # ends the open pages' heartbeats
        self.server.should_exit = True
        self.thread.join(_PATIENCE_S)


class Server(uvicorn.Server):
    """Represents a Uvicorn server that can run outside the main thread and that stops within about a second.

    When it stops, it drops the requests that are not answered in time and those that are only half received.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops listening, waits a second for the responses under way, then closes every connection."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        last = asyncio.get_running_loop().time() + _GRACE_S
        while self.server_state.connections and asyncio.get_running_loop().time() < last:
            await asyncio.sleep(0.02)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self.lifespan.shutdown()


class Latest:
    """Puts an ASGI app behind a look at the folders to serve: a file in one that is new is served at once.

    Gradio serves the files below `demo.allowed_paths`; `folders` returns those that there are now. It is asked only for
    a file outside the known ones.
    """

    def __init__(self, app: ASGIApp, demo: gr.Blocks, folders: Callable[[], Iterable[Path]]) -> None:
        self._app, self._demo, self._folders = app, demo, folders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Adds new folders where the request is for a file outside the known ones, and passes it to the app."""
        _, asks, file = scope.get("path", "").partition("/gradio_api/file=")
        if asks and not file.startswith(tuple(self._demo.allowed_paths)):
            known = set(self._demo.allowed_paths)
            found = map(str, await run_in_threadpool(self._folders))
            self._demo.allowed_paths += [each for each in found if each not in known]
        await self._app(scope, receive, send)


class First:
    """Puts an ASGI app behind a change of its page: `script`, inline HTML, runs before Gradio's scripts.

    What Gradio itself adds to a page's head runs after them.
    """

    def __init__(self, app: ASGIApp, script: str) -> None:
        self._app, self._script = app, script.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Adds the script to the answer where the request is for the page, and passes everything else on."""

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(raw=message["headers"])["content-length"]
            elif message["type"] == "http.response.body":
                message["body"] = message.get("body", b"").replace(b"</head>", self._script + b"</head>", 1)
            await send(message)

        if scope["type"] == "http" and scope["path"] == "/":
            plain = [each for each in scope["headers"] if each[0] != b"accept-encoding"]
            await self._app({**scope, "headers": plain}, receive, adding)
        else:
            await self._app(scope, receive, send)


def listen(port: int, host: str = HERE) -> socket.socket:
    """Opens and returns a socket that listens on `host`, by default on this machine alone.

    Port 0 picks a free port. Raises: BadInput for a port that cannot be opened, Busy for one that another program uses.
    """
    try:
        return socket.create_server((host, port))
    except OverflowError:
        raise BadInput(f"There is no port {port}.", _OTHER_PORT) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Busy(f"Port {port} is in use by another program.", f"Close that one. {_OTHER_PORT}") from None
        raise BadInput(f"Port {port} cannot be opened: {os.strerror(error.errno or 0)}.", _OTHER_PORT) from None


def network_address() -> str:
    """Returns this machine's IPv4 address in its local network as text; "" where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect((_ELSEWHERE, 9))  # sends nothing: the system only chooses the interface
        address = ipaddress.ip_address(probe.getsockname()[0])
        if address.is_private and not address.is_loopback:
            return str(address)
    return ""


def serve(
    demo: gr.Blocks,
    listener: socket.socket,
    cache: Path,
    door: Callable[[ASGIApp], ASGIApp],
    *,
    sessions: int,
    handlers: Mapping[type[Exception], Handler] | None = None,
    **more: Any,
) -> Running:
    """Serves a Gradio app in a thread of this process and returns the running app with its address.

    `listener` is the socket that the server listens on. `cache` is the folder for the app's uploads and cached files,
    `sessions` the number of pages whose state is kept in memory. `door` wraps the ASGI app, for example in a login.
    `handlers` maps a type of exception to the function that answers a request in which Gradio raised one. `more` goes
    to `gr.mount_gradio_app`. Gradio's own `launch` is not used: it calls the app over HTTP, which fails behind a proxy.
    Raises: UserError when the server does not start.
    """
    host, port = listener.getsockname()[:2]
    handlers = {KeyError: _unknown, FnIndexInferError: _unknown, **(handlers or {})}
    outer = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        outer,
        demo,
        "/",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        app_kwargs={"exception_handlers": handlers},
        **more,
    )
    inner = cast(App, cast(Mount, outer.routes[-1]).app)  # Gradio mounts itself last
    demo.app = demo.server_app = inner
    demo.has_launched = True  # from now on Gradio checks the paths of files
    inner.state_holder = Sessions(demo, sessions)
    cache.mkdir(parents=True, exist_ok=True)
    inner.uploaded_file_dir = str(cache)
    for block in (demo, *demo.blocks.values()):
        block.GRADIO_CACHE = str(cache)

    server = Server(uvicorn.Config(door(outer), log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, args=([listener],), name=f"server {port}", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise UserError("The page's server did not start.", "What the terminal says above is the reason.")
        thread.join(0.01)
    return Running(f"http://{host}:{port}", demo, port, server, thread)


async def _unknown(request: Request, error: Exception) -> PlainTextResponse:
    """Answers a request for an unknown endpoint with 404, so that it does not print a traceback."""
    return PlainTextResponse("Not found", 404)
