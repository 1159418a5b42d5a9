"""`launch.py pull MODEL`: downloads a model, verifies it and quantises it once."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import assets
from engines.api.errors import BadInput, NotFound
from engines.api.protocols import ModelSpec
from engines.catalogue import given
from engines.catalogue.hub import FolderHub, Hub, HuggingFace
from engines.catalogue.pulling import Pull, Survey
from engines.catalogue.registry import Registry, load_class
from studio.settings import Settings

_GIB = 1 << 30


def main(options: argparse.Namespace) -> int:
    """Pulls from Hugging Face, or from the folder or file given; returns 0 when the model is ready.

    Raises: what `pull` raises; NotFound when nothing is at the path given.
    """
    settings = Settings.from_env(Path(assets.__file__).parent)
    registry = Registry(settings.assets, settings.models_dir)
    source: Path | None = options.source
    hub: Hub = HuggingFace()
    if source is not None and source.is_dir():
        hub = FolderHub(source.expanduser().resolve())
    elif source is not None and not source.is_file():
        raise NotFound(f"There is nothing at {source}.", "Give a folder in diffusers layout, or one safetensors file.")
    return pull(options, registry, hub, input)


def pull(options: argparse.Namespace, registry: Registry, hub: Hub, ask: Callable[[str], str]) -> int:
    """Shows licence and sizes, asks for consent, then downloads, verifies and quantises.

    Returns 0 when the model is ready, 1 when the user refused the licence; `ask` is how the user is asked.
    Raises: what `Pull` raises; BadInput for a model that is not on a hub, or for given files that do not fit it.
    """
    spec = registry.spec(options.model)
    if spec.source.startswith(("assets:", "deepface:")):
        raise BadInput(
            f"{spec.name} is not pulled: it is embedded, or you put its weights there yourself.",
            "Run python launch.py doctor to see what it needs.",
        )
    home = registry.home(spec)
    source: Path | None = options.source
    if source is not None:
        given.demand_readable(spec, source.expanduser())

    def check(home: Path) -> None:
        """Compares the given weights with the model's configurations, once these are here."""
        if source is not None and spec.role != "scorer":
            load_class("engines.weights.components:demand_fitting")(spec, home, source)

    work = Pull(spec, home, hub, transformer=source if source is not None and source.is_file() else None, check=check)
    survey = work.survey(options.to)
    print(_summary(spec, survey, home), flush=True)
    if survey.nothing_to_do:
        print(f"{spec.name} is here already, as {options.to}.")
    elif not options.yes:
        consent = ask(f"Do you accept the licence {spec.licence}? [y/N] ")
        if consent.strip().lower() not in ("y", "yes"):
            print("Nothing was downloaded.")
            return 1
    work.run(survey, _ProgressLine().show)
    if options.lean:
        print(f"\n{work.forget_originals(options.to) / _GIB:.1f} GiB of full-width weights deleted.")
    print(f"\n{spec.name} is ready in {home}.")
    return 0


def _summary(spec: ModelSpec, survey: Survey, home: Path) -> str:
    """Returns the lines that a user reads before the download: licence, sizes, disk."""
    gate = "gated: accept the licence on its page first" if spec.gated or survey.gated else "not gated"
    return "\n".join(
        (
            f"{spec.label}",
            f"  licence   {spec.licence} ({gate}), https://huggingface.co/{spec.source}",
            f"  download  {survey.download / _GIB:.1f} GiB, {len(survey.missing)} files",
            f"  quantise  {', '.join(survey.to_quantise) or 'nothing'} → {survey.form}",
            f"  disk      {survey.room / _GIB:.1f} GiB needed, {survey.free / _GIB:.1f} GiB free for {home}",
        )
    )


class _ProgressLine:
    """Prints progress: on a terminal one line that is overwritten, elsewhere a new line every five seconds."""

    def __init__(self) -> None:
        self._last = 0.0
        self._what = ""

    def show(self, what: str, done: int, total: int) -> None:
        """Prints that `done` of `total` bytes or weights are done, if the last line is old enough."""
        now = time.monotonic()
        every = 0.1 if sys.stdout.isatty() else 5.0
        if done < total and now - self._last < every and what == self._what:
            return
        self._last, self._what = now, what
        share = f"{100 * done / total:5.1f} %" if total else ""
        start, end = ("\r\033[K", "") if sys.stdout.isatty() else ("", "\n")
        print(f"{start}  {share}  {what}", end=end, flush=True)
