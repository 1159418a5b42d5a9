"""The report on a machine: its packages."""

from __future__ import annotations

import pytest

from studio.housekeeping import machine


def test_a_quiet_pip_says_nothing_of_conflicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a user has set pip to be quiet, the report says by pip's exit code whether packages conflict."""
    monkeypatch.setenv("PIP_QUIET", "1")

    (found,) = machine.check_packages([])

    assert (found.what, found.found) == ("conflicts", "none found" if found.ok else "some found")
