"""The memory that the server keeps of ended calls, pages and review links, which must stop growing."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import httpx
import psutil

from engines.api.errors import UserError
from frontdoor.bench.rows import Row

CALLS, PAGES, LINKS = 2_000, 500, 60
_KIB = 1 << 10
_GOAL_KIB = 16.0  # a call, over the last half; a session that stays costs about 700
_CALL = "/gradio_api/call"


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures the memory that each API call, page and review link leaves in the server; returns the report's rows.

    The measured server is a studio in its own process, with stand-ins for the models. `options` is not used.
    """
    del options
    with tempfile.TemporaryDirectory() as home, served(Path(home)) as (client, process):
        return list(rows(client, process, CALLS, PAGES, LINKS))


def rows(client: httpx.Client, process: psutil.Process, calls: int, pages: int, links: int) -> Iterator[Row]:
    """Makes API calls, then opens pages, then opens and closes review links; yields four report rows for each kind.

    The four rows are the server's memory in MiB at the end, its growth in MiB since the start, its growth in KiB per
    call, page or link in the second half, and how many more files are open. `calls`, `pages` and `links` are the
    numbers of calls, pages and links. `client` sends the requests; `process` is the server's.
    """
    events = client.get("/config").raise_for_status().json()["dependencies"]
    at_load = next(each for each in events if any(event == "load" for _, event in each["targets"]))
    characters = call(client, "character_list")

    def page(number: int) -> None:
        """Loads a page and sends the first request that it sends by itself."""
        data = {"data": [""] * len(at_load["inputs"]), "fn_index": at_load["id"], "session_hash": f"page-{number}"}
        client.get("/").raise_for_status()
        client.post("/gradio_api/run/predict", json=data).raise_for_status()

    def link(number: int) -> None:
        """Opens and closes a review link."""
        character = re.search(r'"id": ?"([^"]+)"', characters)
        call(client, "share_start", character[1] if character else "", 1.0)
        call(client, "share_stop")

    kinds: dict[str, tuple[int, Callable[[int], object]]] = {
        "raw call": (calls, lambda _: call(client, "character_list")),
        "page": (pages, page),
        "review link": (links, link),
    }
    for name, (count, visit) in kinds.items():
        start, files = process.memory_info().rss, process.num_fds()
        for number in range(count // 2):
            visit(number)
        half = process.memory_info().rss
        for number in range(count // 2, count):
            visit(number)
        end = process.memory_info().rss
        slope = (end - half) / (count - count // 2) / _KIB
        yield Row(name=f"memory after {count} × {name}", value=end / (_KIB * _KIB), unit="MiB")
        yield Row(name=f"growth over {count} × {name}", value=(end - start) / (_KIB * _KIB), unit="MiB")
        # FastAPI remembers about 30 apps' functions in caches of a fixed size, about 4 MiB each.
        goal = _GOAL_KIB if name != "review link" else 16 * _GOAL_KIB
        words = f"≤ {goal:g} KiB"
        yield Row(name=f"a {name} of the last half", value=slope, unit="KiB", goal=words, ok=slope <= goal)
        more = process.num_fds() - files
        yield Row(name=f"open files more after {count} × {name}", value=more, unit="", goal="≤ 8", ok=more <= 8)


def call(client: httpx.Client, name: str, *values: object) -> str:
    """Calls an endpoint of a Gradio app over HTTP, in a session of its own, and returns the answer's events as text.

    `name` is the endpoint's name, `values` are its arguments. Raises: httpx.HTTPStatusError.
    """
    begun = client.post(f"{_CALL}/{name}", json={"data": list(values)}).raise_for_status()
    return client.get(f"{_CALL}/{name}/{begun.json()['event_id']}").raise_for_status().text


@contextmanager
def served(home: Path) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """Serves a studio in its own process while the context is open; yields (HTTP client for it, its process).

    `home` is the studio's data folder. Its review links stay on this machine. Raises: UserError when the studio does
    not start.
    """
    command = [sys.executable, "-u", "-m", "frontdoor.cli", "studio", "--fake", "--no-open", "--home", str(home)]
    environment = {**os.environ, "GRADIO_SHARE_SERVER_ADDRESS": "none"}  # no address, so that Gradio opens no tunnel
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment) as process:
        assert process.stdout
        rest = Thread(target=process.stdout.read)  # a server whose output nobody reads stops when the pipe is full
        try:
            found = next((at for line in process.stdout if (at := re.search(r"http://127\.0\.0\.1:\d+", line))), None)
            if found is None:
                raise UserError("The studio did not start.", "To see the reason, run: python launch.py --fake")
            rest.start()
            with httpx.Client(base_url=found.group(), trust_env=False, timeout=120) as client:
                yield client, psutil.Process(process.pid)
        finally:
            process.terminate()
            if rest.ident:
                rest.join()
