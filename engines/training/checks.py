"""What could only fail later is refused before the card is asked for."""

from __future__ import annotations

from engines.api.protocols import TrainRun


def check(run: TrainRun) -> None:
    """Refuse knobs that no training can have: by the rule of every submit, for a run may come from a file.

    Raises: BadInput.
    """
    run.params.checked().demand_sense(run.trigger)
