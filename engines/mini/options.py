"""Defines the command line of the embedded models' training."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from engines.mini.stages import STAGES

CACHE = Path.home() / ".cache" / "flenwheel" / "mini"


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line's arguments, all of which are optional."""
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(
        prog="python -m engines.mini.build",
        description="Trains everything in assets/mini from scratch, stage by stage, resumable.",
    )
    parser.add_argument(
        "--stage",
        choices=[*STAGES, "sample"],
        action="append",
        help="one stage; may be repeated; by two commands at once where neither learns from the other",
    )
    parser.add_argument("--out", type=Path, default=Path("assets/mini"))
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for drawings and checkpoints")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every stage's steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default=torch.device(best), help="where to train")
    parser.add_argument("--eager", action="store_true", help="train without torch.compile")
    return parser
