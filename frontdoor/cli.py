"""The commands by name; each is imported only when it is called, so that `--help` is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from frontdoor.machine import grow_in_segments

COMMANDS = {
    "studio": "the studio in the browser (this is what no command means)",
    "demo": "one turn of both flywheels on the sample character, headless, with a report",
    "test": "ruff, mypy, the walls, and the whole test suite; what it does not know goes to pytest",
    "doctor": "what this machine has, what is missing, and the command that fixes it",
    "pull": "download a model, verify it, quantise it once",
    "bench": "measure: a table, and rows as JSON",
}


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="flenwheel", description="Grow a character LoRA for FLUX through two flywheels.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    studio, demo, test, doctor, pull, bench = (
        commands.add_parser(name, help=words) for name, words in COMMANDS.items()
    )
    for one in (top, studio, doctor):
        one.add_argument("--home", type=Path, help="where characters live (default: ~/FLENwheel)")
    for one in (top, studio):
        one.add_argument("--port", type=int, default=0, help="0 picks a free one")
        one.add_argument("--no-open", action="store_true", help="don't open the browser")
        one.add_argument("--compile", action="store_true", help="on a card: compile models (slow start, faster steps)")
        one.add_argument("--fake", action="store_true", help="deterministic stand-in models, for development")
    demo.add_argument("--seed", type=int, help="another character, drawn from the embedded world")
    demo.add_argument("--out", type=Path, default=Path("flenwheel-demo"), help="folder for the report")
    demo.add_argument("--control", action="store_true", help="also train v1 on its own pictures, for as long as v2")
    demo.add_argument("--open", action="store_true", help="then open the studio on the result")
    test.add_argument("--fast", action="store_true", help="without torch, models and browser")
    pull.add_argument("model", help="its name, as doctor lists it")
    pull.add_argument("--to", choices=("nf4", "int8", "bf16"), default="nf4", help="how the large parts are held")
    pull.add_argument("--from", dest="source", type=Path, help="a folder that has it, or the transformer's one file")
    pull.add_argument("--yes", action="store_true", help="accept the licence that is shown")
    pull.add_argument("--lean", action="store_true", help="then delete the full-width weights of quantised parts")
    bench.add_argument("name", nargs="?", help="one entry (default: all)")
    bench.add_argument("--characters", type=int, default=10, help="turn: how many people (default: 10)")
    bench.add_argument("--out", type=Path, help="turn: keep the characters' reports here, and go on from those")
    bench.add_argument("--peer", type=Path, help="train-step, memory: diffusers' train_dreambooth_lora_flux.py")
    bench.add_argument("--json", type=Path, help="write the rows here")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an expected failure is two lines, not a traceback."""
    from engines.api.errors import UserError, from_disk

    top = parser()
    options, options_of_pytest = top.parse_known_args(arguments)
    if options_of_pytest and options.command != "test":
        top.error(f"unrecognized arguments: {' '.join(options_of_pytest)}")
    options.rest = options_of_pytest
    grow_in_segments(os.environ, sys.platform)
    command = import_module(f"frontdoor.{options.command or 'studio'}")
    try:
        code: int = command.main(options)
    except UserError as error:
        print(f"\n{error.cause}\n{error.hint}".rstrip(), file=sys.stderr)
        return 1
    except OSError as error:  # a disk that is full, read-only or another user's
        told = from_disk(error, Path(str(error.filename or getattr(options, "home", None) or Path.cwd())))
        if told is None:
            raise
        print(f"\n{told.cause}\n{told.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
