"""Where things lie: the user's folders, and those of a user who has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engines.api.errors import NotFound
from studio.settings import Settings

NOBODY = "~nobody-of-this-name/FLENwheel"  # as unknown to the system as a user id without an entry


def test_characters_and_models_lie_in_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless something else is said."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("FLENWHEEL_HOME", "FLENWHEEL_MODELS"):
        monkeypatch.delenv(name, raising=False)
    found = Settings.from_env(tmp_path)
    assert found.data_root == tmp_path / "FLENwheel"
    assert found.models_dir == tmp_path / ".cache" / "flenwheel" / "models"


def test_what_is_asked_for_comes_before_what_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--home` overrules FLENWHEEL_HOME, which is not even looked at."""
    monkeypatch.setenv("FLENWHEEL_HOME", NOBODY)
    assert Settings.from_env(tmp_path, tmp_path / "asked").data_root == tmp_path / "asked"


def test_one_rule_places_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--models` before FLENWHEEL_MODELS before the user's folder; an unknown user's home is refused in words."""
    monkeypatch.setenv("FLENWHEEL_MODELS", str(tmp_path / "set"))
    assert Settings.from_env(tmp_path, tmp_path).models_dir == tmp_path / "set"
    assert Settings.from_env(tmp_path, tmp_path, tmp_path / "asked").models_dir == tmp_path / "asked"
    monkeypatch.setenv("FLENWHEEL_MODELS", NOBODY)
    with pytest.raises(NotFound, match="home folder") as told:
        Settings.from_env(tmp_path, tmp_path)
    assert "--models" in told.value.hint


def test_a_home_that_nobody_has_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words that say what to set."""
    monkeypatch.setenv("FLENWHEEL_HOME", NOBODY)
    with pytest.raises(NotFound, match="home folder") as told:
        Settings.from_env(tmp_path)
    assert "HOME" in told.value.hint
    assert "--home" in told.value.hint


# Python's own answer for a user without an entry in the system's list is the one for a system without a list.
_AS_NOBODY = """
import os, sys
for name in ("HOME", "FLENWHEEL_HOME", "FLENWHEEL_MODELS"):
    os.environ.pop(name, None)
sys.modules["pwd"] = None
from pathlib import Path
from frontdoor.cli import main
from studio.settings import Settings
print(Settings.from_env(Path(sys.argv[1]), Path(sys.argv[1])).models_dir, flush=True)
sys.exit(main(["studio", "--fake", "--no-open"]))
"""


def test_a_user_without_a_home_folder(tmp_path: Path) -> None:
    """With `--home` the models lie beside the characters; without it two lines say what to do, and the code is 1."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(tmp_path.resolve() / "models"), done.stderr
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 2
    assert "Set HOME" in done.stderr
