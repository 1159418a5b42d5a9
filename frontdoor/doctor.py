"""`launch.py doctor`: shows what this machine has, what is missing, and the command that gets it."""

from __future__ import annotations

import argparse
from pathlib import Path

import assets
from engines.catalogue.hub import HuggingFace
from engines.catalogue.registry import Registry
from frontdoor import models
from studio.housekeeping import machine
from studio.settings import Settings

_MARKS = {True: "✓", False: "✗", None: "·"}


def main(options: argparse.Namespace) -> int:
    """Prints what this machine has and lacks for the studio, each lack with its remedy, and the table of models.

    Returns the exit code: 0 where nothing is lacking, else 1. Models that were not downloaded do not count as lacking.
    """
    home, weights = getattr(options, "home", None), getattr(options, "models", None)
    settings = Settings.from_env(Path(assets.__file__).parent, home, weights)
    registry = Registry(settings.assets, settings.models_dir)
    findings = machine.look(settings, registry)
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f" {_MARKS[finding.ok]} {finding.what.ljust(width)}  {finding.found}")
        if finding.remedy:
            print(f"   {' ' * width}  → {f'{finding.remedy} {finding.command}'.strip()}")
    print(f"\n{models.table(registry, token=HuggingFace().has_token())}")
    return 0 if all(finding.ok is not False for finding in findings) else 1
