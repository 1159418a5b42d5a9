"""Runs a command of `frontdoor` in an environment of its own, which it makes first; needs nothing but Python.

python launch.py            the studio in the browser
python launch.py demo       one turn of both flywheels, without a browser
python launch.py test       every check and every test
python launch.py --help     all commands
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> int:
    """Makes or refreshes the environment, runs the command in it and returns the command's exit code."""
    from frontdoor.bootstrap import ensure_environment, run_inside

    arguments = sys.argv[1:]
    python = ensure_environment(ROOT, tests="test" in arguments[:1])
    return run_inside(python, arguments)


if __name__ == "__main__":
    sys.exit(main())
