"""`launch.py pull MODEL`: download a model, verify it, quantise it once."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
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
    """Show licence and sizes, ask, then do it; 0 when the model is ready."""
    settings = Settings.from_env(Path(assets.__file__).parent)
    registry = Registry(settings.assets, settings.models_dir)
    return pull(options, registry, _hub(options.source), input)


def pull(options: argparse.Namespace, registry: Registry, hub: Hub, ask: Callable[[str], str]) -> int:
    """As `main`, with the places given. Raises: what `Pull` raises, BadInput."""
    spec = registry.spec(options.model)
    if spec.source.startswith(("assets:", "deepface:")):
        raise BadInput(
            f"{spec.name} is not pulled: it ships with us or comes by hand.",
            "python launch.py doctor says what it needs.",
        )
    home, source = registry.home(spec), options.source
    if source is not None:
        given.demand_readable(spec, source.expanduser())
    work = Pull(
        spec, home, hub, transformer=source if _is_file(source) else None, check=partial(_demand_fitting, spec, source)
    )
    survey = work.survey(options.to)
    print(_words(spec, survey, home), flush=True)
    if survey.nothing_to_do:
        print(f"{spec.name} is here already, as {options.to}.")
    elif not options.yes and not _accepted(spec, ask):
        print("Nothing was downloaded.")
        return 1
    work.run(survey, _Bar().tell)
    if options.lean:
        print(f"\n{work.forget_originals(options.to) / _GIB:.1f} GiB of full-width weights deleted.")
    print(f"\n{spec.name} is ready in {home}.")
    return 0


def _demand_fitting(spec: ModelSpec, source: Path | None, home: Path) -> None:
    """Whether what was given fills the model, once its configurations are here. Raises: ModelMissing, BadInput."""
    if source is not None and spec.role != "scorer":
        load_class("engines.weights.components:demand_fitting")(spec, home, source)


def _hub(source: Path | None) -> Hub:
    if source is None or source.is_file():
        return HuggingFace()
    if source.is_dir():
        return FolderHub(source.expanduser().resolve())
    raise NotFound(f"There is nothing at {source}.", "Give a folder in diffusers layout, or one safetensors file.")


def _is_file(source: Path | None) -> bool:
    return source is not None and source.is_file()


def _words(spec: ModelSpec, survey: Survey, home: Path) -> str:
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


def _accepted(spec: ModelSpec, ask: Callable[[str], str]) -> bool:
    return ask(f"Do you accept the licence {spec.licence}? [y/N] ").strip().lower() in ("y", "yes")


class _Bar:
    """One line on a terminal; elsewhere a line every few seconds."""

    def __init__(self) -> None:
        self._last = 0.0
        self._what = ""

    def tell(self, what: str, done: int, total: int) -> None:
        """`done` of `total` bytes or weights."""
        now = time.monotonic()
        every = 0.1 if sys.stdout.isatty() else 5.0
        if done < total and now - self._last < every and what == self._what:
            return
        self._last, self._what = now, what
        share = f"{100 * done / total:5.1f} %" if total else ""
        start, end = ("\r\033[K", "") if sys.stdout.isatty() else ("", "\n")
        print(f"{start}  {share}  {what}", end=end, flush=True)
