"""The time from the start of the process to the first served page, compared with an empty Gradio app."""

from __future__ import annotations

import argparse
import socket
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
from frontdoor.studio import open_studio, serve
serve(open_studio(Path({home})), port={port}, browser=False)
"""


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures the seconds from process start to the first page, of the studio and of an empty Gradio app.

    Both are started several times, by turns. Returns the report's rows, with the median of each. `options` is not used.
    """
    del options
    ours, empty = [], []
    with tempfile.TemporaryDirectory() as home:
        studio = _STUDIO.replace("{home}", repr(home))
        _seconds_to_page(studio)  # makes the sample character
        for _ in range(_ROUNDS):
            empty.append(_seconds_to_page(_EMPTY))
            ours.append(_seconds_to_page(studio))
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


def _seconds_to_page(code: str) -> float:
    """Runs an app on a free port in its own process; returns the seconds until its page has been read.

    `code` is the app's source, with `{port}` where its port belongs. Raises: RuntimeError if the process ends before,
    TimeoutError after a minute.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-c", code.replace("{port}", str(port))]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            while time.perf_counter() - started < 60:
                try:
                    with direct.open(f"http://127.0.0.1:{port}/", timeout=5) as page:
                        page.read()
                    return time.perf_counter() - started
                except OSError:
                    if process.poll() is not None:
                        raise RuntimeError(f"the app ended with the code {process.returncode}") from None
                    time.sleep(0.02)
        finally:
            process.kill()
    raise TimeoutError("the page was not served within a minute")
