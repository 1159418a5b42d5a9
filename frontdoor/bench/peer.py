"""Runs a peer's script unchanged, with replacements for packages that it imports and this machine lacks.

`python -m frontdoor.bench.peer SCRIPT …`: the libraries look for the real packages first, and find none; only the
script's own imports find the replacements.
"""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

REPLACEMENTS = Path(__file__).parent / "peers"


def main(arguments: list[str]) -> None:
    """Runs a Python script in this process as if the command line had been `arguments`, the first of which is its path.

    Where torchvision is missing, the script imports the project's replacement of it.
    """
    if not find_spec("torchvision"):
        import diffusers.pipelines.flux
        import transformers.image_utils

        sys.path.insert(0, str(REPLACEMENTS))
        del diffusers, transformers
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
