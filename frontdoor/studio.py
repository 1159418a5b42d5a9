"""`launch.py studio`: open the studio in the browser."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import assets
from engines.fake import fake_registry
from frontdoor.machine import without_proxies
from studio.open import open_workplace
from studio.settings import Settings
from studio.workplace.desk import Workplace


def main(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C; the URL comes first."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    studio = open_studio(home=options.home, fake=options.fake, compiled=options.compile)
    return serve(studio, port=options.port, browser=not options.no_open)


def open_studio(home: Path | None = None, *, fake: bool = False, compiled: bool = False) -> Workplace:
    """The user's studio, or one in `home`; `fake` swaps the models for the shipped stand-ins.

    `compiled`: on a card the transformers' blocks are compiled by torch.
    """
    settings = Settings.from_env(Path(assets.__file__).parent, home)
    settings = dataclasses.replace(settings, compile="inductor" if compiled else "")
    if not fake:
        return open_workplace(settings)
    settings = dataclasses.replace(settings, device="fake")
    return open_workplace(settings, registry=fake_registry(settings.assets, settings.models_dir))


def serve(studio: Workplace, *, port: int, browser: bool) -> int:
    """Show the studio until Ctrl-C or a polite kill, then leave everything in order: a training saves where it is."""
    with without_proxies(os.environ):
        from tabs.app import launch

    with ExitStack() as ends, _ending_politely():
        ends.callback(studio.close)
        try:
            running = launch(studio, port=port)
            ends.callback(running.close)
            threading.Thread(target=studio.warm_up, name="warm-up", daemon=True).start()
            print(f"\n  FLENwheel  {running.url}\n  Ctrl-C stops it; nothing is lost.\n", flush=True)
            if browser:
                webbrowser.open(running.url)
            threading.Event().wait()
        except KeyboardInterrupt:
            with suppress(OSError):  # the terminal may be gone
                print("\nStopping …", flush=True)
    return 0


@contextmanager
def _ending_politely() -> Iterator[None]:
    """A kill and a closed terminal end the studio as Ctrl-C does; what this process was told to ignore it ignores."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for name in names if signal.getsignal(number := getattr(signal, name)) is signal.SIG_DFL]

    def stop(*_: object) -> None:
        for number in ours:
            signal.signal(number, signal.SIG_IGN)  # it is ending already
        raise KeyboardInterrupt

    for number in ours if threading.current_thread() is threading.main_thread() else ():
        signal.signal(number, stop)
    yield
