"""`launch.py studio`: open the studio in the browser."""

from __future__ import annotations

import argparse
import dataclasses
import os
import threading
import webbrowser
from pathlib import Path

import assets
from engines.errors import UserError
from engines.fake import fake_registry
from frontdoor.machine import without_proxies
from studio.settings import Settings
from studio.studio import Studio


def main(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C; the URL comes first."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    studio = open_studio(home=options.home, fake=options.fake, compiled=options.compile)
    return serve(studio, port=options.port, browser=not options.no_open)


def open_studio(home: Path | None = None, *, fake: bool = False, compiled: bool = False) -> Studio:
    """The user's studio, or one in `home`; `fake` swaps the models for the shipped stand-ins.

    `compiled`: on a card the transformers' blocks are compiled by torch.
    """
    settings = Settings.from_env(Path(assets.__file__).parent, home)
    settings = dataclasses.replace(settings, compile="inductor" if compiled else "")
    if not fake:
        return Studio(settings)
    settings = dataclasses.replace(settings, device="fake")
    return Studio(settings, registry=fake_registry(settings.assets, settings.models_dir))


def serve(studio: Studio, *, port: int, browser: bool) -> int:
    """Show the studio until Ctrl-C, then leave everything in order."""
    with without_proxies(os.environ):
        from tabs.app import launch

    try:
        running = launch(studio, port=port)
    except UserError:
        studio.close()
        raise
    threading.Thread(target=studio.warm_up, name="warm-up", daemon=True).start()
    print(f"\n  FLENwheel  {running.url}\n  Ctrl-C stops it; nothing is lost.\n", flush=True)
    if browser:
        webbrowser.open(running.url)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("\nStopping …")
    finally:
        running.close()
        studio.close()
    return 0
