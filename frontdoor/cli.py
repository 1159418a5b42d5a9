"""Reads the command line and runs the command; a command is imported only when it runs, so that `--help` is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from engines.api.forms import FULL_WIDTH, ROWS
from frontdoor.machine import use_expandable_segments

COMMANDS = {
    "studio": "open the studio in the browser (the same without a command)",
    "demo": "run one turn of both flywheels on the sample character, without a browser, and write a report",
    "test": "run ruff, mypy, the import rules and all tests; further arguments go to pytest",
    "doctor": "show what this machine has, what is missing, and the command that gets it",
    "pull": "download a model, verify it and quantise it once",
    "character": "list the characters, write one to a zip file, or restore one from it",
    "pictures": "take the pictures of the README and the docs: the studio's pages in Chromium, on a finished demo",
    "bench": "measure, print a table, and write the rows as JSON",
}


_GIVEN: Mapping[str, tuple[str, Mapping[str, Any]]] = {  # option of pull -> its help, and how it is read
    "--from": ("folder of the model, ComfyUI's models folder, or the transformer as one file", {"dest": "source"}),
    "--text-encoder": (
        "file or folder of a text encoder; FLUX.1 has two: give the option twice",
        {"dest": "text_encoders", "action": "append", "default": []},
    ),
    "--vae": ("file or folder of the VAE", {}),
}
_AS_BEFORE: Mapping[str, Any] = {"default": argparse.SUPPRESS}  # keeps what was given in front of the command
_TAKEN_BY: Mapping[str, Sequence[str]] = {  # option that may be in front of the command -> the commands that take it
    "home": ("studio", "doctor", "pull", "character", "pictures"),
    "models": ("studio", "doctor", "pull"),
    **dict.fromkeys(("port", "no_open", "compile", "fake"), ("studio",)),
}


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the project's command line, with all its commands and their options."""
    top = argparse.ArgumentParser(prog="flenwheel", description="Grow a character LoRA for FLUX through two flywheels.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    studio, demo, test, doctor, pull, character, pictures, bench = (
        commands.add_parser(name, help=words) for name, words in COMMANDS.items()
    )
    homes = "folder of the characters (default: FLENWHEEL_HOME, else ~/FLENwheel)"
    weights = "folder of the models (default: FLENWHEEL_MODELS, else ~/.cache/flenwheel/models)"
    for one, given in ((top, {}), *((each, _AS_BEFORE) for each in (studio, doctor, pull, character))):
        one.add_argument("--home", type=Path, help=homes, **given)
        if one is not character:
            one.add_argument("--models", type=Path, help=weights, **given)
    for one, given in ((top, {"default": 0}), (studio, _AS_BEFORE)):
        one.add_argument("--port", type=int, help="port of the page (default: 0, any free port)", **given)
    for one, given in ((top, {}), (studio, _AS_BEFORE)):
        for name, words in (
            ("--no-open", "don't open the browser"),
            ("--compile", "on a GPU: compile models (slow start, faster steps)"),
            ("--fake", "use deterministic stand-in models, for development"),
        ):
            one.add_argument(name, action="store_true", help=words, **given)
    demo.add_argument("--seed", type=int, help="draw another character, by this number, from the embedded world")
    demo.add_argument(
        "--out", type=Path, default=Path("flenwheel-demo"), help="folder of the report (default: flenwheel-demo)"
    )
    demo.add_argument("--control", action="store_true", help="also train v1 on its own pictures, for as long as v2")
    demo.add_argument("--open", action="store_true", help="afterwards open the studio on the result")
    test.add_argument("--fast", action="store_true", help="leave out all tests that need torch, models or a browser")
    pull.add_argument("model", help="the model's name, as doctor shows it")
    pull.add_argument("--to", choices=(*ROWS, FULL_WIDTH), default="nf4", help="form of the large parts (default: nf4)")
    for option, (words, more) in _GIVEN.items():
        pull.add_argument(option, metavar="PATH", help=words, **more)
    pull.add_argument("--yes", action="store_true", help="accept the model's licence without being asked")
    pull.add_argument(
        "--lean", action="store_true", help="afterwards delete the full-width weights of the quantised parts"
    )
    character.add_argument("what", choices=("list", "export", "import"), help="what to do")
    character.add_argument("which", nargs="?", default="", help="export: the character's id; import: the zip file")
    character.add_argument("--out", type=Path, help="export: file or folder to write to (default: runs/exports)")
    pictures.add_argument(
        "--home", type=Path, help="folder of a finished demo (default: flenwheel-demo/home)", **_AS_BEFORE
    )
    pictures.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder (default: docs/pictures)")
    bench.add_argument("name", nargs="?", help="the bench to run (default: all)")
    bench.add_argument(
        "--characters", type=int, default=10, help="turn, tournament: number of characters (default: 10)"
    )
    bench.add_argument(
        "--out", type=Path, help="turn: keep the characters' reports in this folder, and use those that are there"
    )
    bench.add_argument(
        "--peer", type=Path, help="train-step, memory: path of train_dreambooth_lora_flux.py (diffusers)"
    )
    bench.add_argument("--json", type=Path, help="write the rows to this file")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the command line names, by default `studio`, and returns its exit code.

    `arguments` are the words of the command line; None takes those of this process. After an expected failure it prints
    the cause and a hint, without a traceback, and returns 1; after Ctrl-C it returns 130. An option that is unknown, or
    that the command does not take, ends the process with the code 2.
    """
    from engines.api.errors import UserError, from_disk

    top = parser()
    options, options_of_pytest = top.parse_known_args(arguments)
    if options_of_pytest and options.command != "test":
        top.error(f"unrecognized arguments: {' '.join(options_of_pytest)}")
    options.rest = options_of_pytest
    for option, commands in _TAKEN_BY.items():
        if getattr(options, option) and (options.command or "studio") not in commands:
            top.error(f"{options.command} takes no --{option.replace('_', '-')}")
    use_expandable_segments(os.environ, sys.platform)
    command = import_module(f"frontdoor.{options.command or 'studio'}")
    try:
        code: int = command.main(options)
    except UserError as error:
        print(f"\n{error.cause}\n{error.hint}".rstrip(), file=sys.stderr)
        return 1
    except OSError as error:  # a disk that is full, read-only or another user's
        known = from_disk(error, Path(str(error.filename or getattr(options, "home", None) or Path.cwd())))
        if known is None:
            raise
        print(f"\n{known.cause}\n{known.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
