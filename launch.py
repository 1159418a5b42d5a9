"""The front door: needs nothing but Python, sets itself up, then runs a command of `frontdoor`.

python launch.py            the studio in the browser
python launch.py demo       one turn of both flywheels, headless
python launch.py test       everything that must hold
python launch.py --help     the rest
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> int:
    """Make or refresh the environment that the command needs, then run the command in it."""
    from frontdoor.bootstrap import ensure_environment, run_inside

    arguments = sys.argv[1:]
    python = ensure_environment(ROOT, tests="test" in arguments[:1])
    return run_inside(python, arguments)


if __name__ == "__main__":
    sys.exit(main())
