"""What `launch.py test` does before the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frontdoor.test import _ensure_chromium


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for apt-get is a shell script")
def test_without_chromium_the_tests_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An apt-get that fails, as it does without a network, leaves a notice and raises nothing."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    _ensure_chromium()

    assert "Chromium is not installed" in capsys.readouterr().out
