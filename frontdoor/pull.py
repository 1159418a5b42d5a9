"""`launch.py pull MODEL`: downloads a model, verifies it and quantises it once."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import assets
from engines.api.protocols import ModelSpec
from engines.catalogue.hub import Hub, HuggingFace
from engines.catalogue.pulling import Survey
from engines.catalogue.registry import Registry
from studio.housekeeping.models import page_of
from studio.housekeeping.pulling import Places, prepare
from studio.settings import Settings

_GIB = 1 << 30
_FEW = 20  # files that are named one by one


def main(options: argparse.Namespace) -> int:
    """Downloads a model from Hugging Face, or takes it from folders and files of this machine, and quantises it.

    Returns the exit code of `pull`, and raises the errors of `pull`.
    """
    settings = Settings.from_env(Path(assets.__file__).parent, options.home, options.models)
    return pull(options, Registry(settings.assets, settings.models_dir), HuggingFace(), input)


def pull(options: argparse.Namespace, registry: Registry, hub: Hub, ask: Callable[[str], str]) -> int:
    """Prints a model's licence and sizes, asks for consent, then downloads, verifies and quantises the model.

    `options` are those of the command line, such as the model's name; with `--yes` nothing is asked. `ask` prints a
    question and returns the user's answer. Returns the exit code: 0 when the model is ready, 1 when the user refused
    the licence. Raises: the errors of `Pull` and `prepare`.
    """
    spec = registry.spec(options.model)
    home = registry.home(spec)
    places = Places.typed(options.source or "", options.text_encoders, options.vae or "")
    work = prepare(registry, spec, hub, places)
    for line in work.given.told(options.to):
        print(f"  takes     {line}", flush=True)
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
    """Returns the text that a user reads before the download: licence, sizes, disk."""
    paths = [each.path for each in survey.missing]
    named = f": {', '.join(paths)}" if 0 < len(paths) <= _FEW else ""
    few = spec.few_steps
    known = few is None or not few.source or few.file in paths or (home / few.file).is_file()
    gate = "gated: accept the licence on its page first" if spec.gated or survey.gated else "not gated"
    return "\n".join(
        (
            f"{spec.label}",
            f"  licence   {spec.licence} ({gate}), {page_of(spec)}",
            f"  download  {survey.download / _GIB:.1f} GiB, {len(paths)} files{named}",
            f"  quantise  {', '.join(survey.to_quantise) or 'nothing'} → {survey.form}",
            f"  disk      {survey.room / _GIB:.1f} GiB needed, {survey.free / _GIB:.1f} GiB free for {home}",
            *(() if known else (f"  without   the adapter for few steps: `pull {spec.name}` fetches it later",)),
        )
    )


class _ProgressLine:
    """Prints progress: on a terminal in one line that is overwritten, elsewhere as a new line every five seconds."""

    def __init__(self) -> None:
        self._last = 0.0
        self._what = ""

    def show(self, what: str, done: int, total: int) -> None:
        """Prints that `done` of `total` bytes or weights of `what` are done, unless the last line is too new."""
        now = time.monotonic()
        every = 0.1 if sys.stdout.isatty() else 5.0
        if done < total and now - self._last < every and what == self._what:
            return
        self._last, self._what = now, what
        share = f"{100 * done / total:5.1f} %" if total else ""
        start, end = ("\r\033[K", "") if sys.stdout.isatty() else ("", "\n")
        print(f"{start}  {share}  {what}", end=end, flush=True)
