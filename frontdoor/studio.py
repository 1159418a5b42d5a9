"""`launch.py studio`: opens the studio in the browser."""

from __future__ import annotations

import argparse
import dataclasses
import gc
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
    """Runs the studio's server until Ctrl-C and prints its URL once the page is ready; returns 0.

    Raises: Busy for a data folder or a port that is in use, BadInput for a port that cannot be used.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    workplace = open_studio(options.home, models=options.models, fake=options.fake, compiled=options.compile)
    return serve(workplace, port=options.port, browser=not options.no_open)


def open_studio(
    home: Path | None = None, *, models: Path | None = None, fake: bool = False, compiled: bool = False
) -> Workplace:
    """Opens the data folder `home` and returns the workplace over it, which runs jobs on its characters.

    `models` is the folder of the models; None is the user's default folder of either. `fake` replaces all models by
    deterministic stand-ins. With `compiled`, torch compiles the transformers' blocks on a GPU. Raises: Busy when
    another process has the folder open.
    """
    settings = Settings.from_env(Path(assets.__file__).parent, home, models)
    settings = dataclasses.replace(settings, compile="inductor" if compiled else "")
    if not fake:
        return open_workplace(settings)
    settings = dataclasses.replace(settings, device="fake")
    return open_workplace(settings, registry=fake_registry(settings.assets, settings.models_dir))


def serve(workplace: Workplace, *, port: int, browser: bool) -> int:
    """Serves the studio's page until Ctrl-C or a termination signal, then closes the page and `workplace`; returns 0.

    `port` 0 takes the port from the settings. With `browser` the page is opened in the browser. A running training
    saves a checkpoint before it ends. Raises: Busy for a port in use, BadInput for one that cannot be used.
    """
    with ExitStack() as ends, _signals_as_ctrl_c():
        ends.callback(workplace.close)
        try:
            with _without_collection():
                with without_proxies(os.environ):
                    from tabs.app import launch
                running = launch(workplace, port=port)
            ends.callback(running.close)
            threading.Thread(target=workplace.warm_up, name="warm-up", daemon=True).start()
            print(f"\n  FLENwheel  {running.url}\n  Press Ctrl-C to stop it; nothing is lost.\n", flush=True)
            if browser:
                webbrowser.open(running.url)
            threading.Event().wait()
        except KeyboardInterrupt:
            with suppress(OSError):  # the terminal may be gone
                print("\nStopping …", flush=True)
    return 0


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pauses Python's garbage collection, and spares it what was made meanwhile.

    The page's libraries and components live as long as the studio; to go through them again and again took a fifth of
    the start.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise KeyboardInterrupt, except where this process was started to ignore them."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for name in names if signal.getsignal(number := getattr(signal, name)) is signal.SIG_DFL]

    def stop(*_: object) -> None:
        for number in ours:
            signal.signal(number, signal.SIG_IGN)  # it is ending already
        raise KeyboardInterrupt

    for number in ours if threading.current_thread() is threading.main_thread() else ():
        signal.signal(number, stop)
    yield
