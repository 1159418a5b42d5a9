"""How the two apps are served: on this machine alone, each with a temp folder of its own, and how they end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

HERE = "127.0.0.1"


@dataclass(frozen=True)
class Running:
    """An app that is being served."""

    url: str
    demo: gr.Blocks
    port: int
    ends: tuple[Callable[[], object], ...] = ()  # what else has to end with it

    def close(self) -> None:
        """Stop serving."""
        for end in self.ends:
            end()
        self.demo.close(verbose=False)


@contextmanager
def temp_folder(folder: Path, after: Path) -> Iterator[None]:
    """While an app is built and launched its cache is `folder`; from then on uploads are checked against `after`.

    Gradio reads the variable when components are made and again at each upload; one folder for both apps would
    let a reviewer fetch the studio's cached files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield
    finally:
        os.environ["GRADIO_TEMP_DIR"] = str(after)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


def serve(demo: gr.Blocks, port: int, hosts: list[str], **more: Any) -> Running:
    """Launch an app in the background, bound to this machine."""
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    _, url, _ = demo.launch(
        server_name=HERE,
        server_port=port or free_port(),
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        app_kwargs={"middleware": [trusted]},
        **more,
    )
    return Running(url=url.rstrip("/"), demo=demo, port=int(demo.server_port))
