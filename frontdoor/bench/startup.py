"""From process start to the first served page, against an empty Gradio app, interleaved."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import urllib.request
from statistics import median, quantiles

from frontdoor.bench.rows import Row

_ROUNDS = 5
_EMPTY = """
import gradio as gr
with gr.Blocks() as app:
    gr.Markdown("empty")
app.launch(server_port={port}, prevent_thread_lock=False, quiet=True)
"""
_STUDIO = """
from pathlib import Path
from frontdoor.studio import open_studio
from tabs.app import launch
import threading
launch(open_studio(Path({home!r})), port={port})
threading.Event().wait()
"""


def measure(options: argparse.Namespace) -> list[Row]:
    """Seconds to the first page, medians of alternating starts."""
    ours, empty = [], []
    with tempfile.TemporaryDirectory() as home:
        _seconds_to_page(_STUDIO.format(port=_free_port(), home=home))  # makes the sample character
        for _ in range(_ROUNDS):
            empty.append(_seconds_to_page(_EMPTY.format(port=(port := _free_port())), port))
            ours.append(_seconds_to_page(_STUDIO.format(port=(port := _free_port()), home=home), port))
    low, _, high = quantiles(ours, n=4)
    return [
        Row(name="first page, empty Gradio app", value=median(empty), unit="s"),
        Row(
            name="first page, the studio",
            value=median(ours),
            unit="s",
            peer="empty Gradio app",
            ratio=median(ours) / median(empty),
            spread=(high - low) / 2,
        ),
    ]


def _seconds_to_page(code: str, port: int | None = None) -> float:
    port = port or int(code.split("port=")[1].split(")")[0].split(",")[0])
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as process:
        try:
            while time.perf_counter() - started < 60:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                        page.read()
                    return time.perf_counter() - started
                except OSError:
                    time.sleep(0.02)
        finally:
            process.kill()
    raise TimeoutError("the page was not served within a minute")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
