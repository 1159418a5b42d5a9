"""What could only fail later is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput
from engines.api.params import TrainParams
from engines.api.protocols import TrainRun

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"optimizer": "lion"}, "adamw8bit"),
        ({"optimizer": "prodigy"}, "Set learning_rate to 1"),
        ({"timestep_density": "cosmap"}, "weighted"),
        ({"base": "int3"}, "nf4, int8"),
        ({"rank": 0}, "rank"),
        ({"alpha": float("inf")}, "alpha"),
        ({"guidance": float("nan")}, "guidance"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"seed": 2**64}, "seed"),
        ({"seed": True}, "seed"),
        ({"resolutions": (5, "x")}, "resolutions"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"max_grad_norm": -1.0}, "max_grad_norm"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"mask_outside": -0.1}, "mask_outside"),
        ({"resolutions": (512, 1024)}, "below the resolution, 1024"),
        ({"dop_weight": 1.0, "class_word": " "}, "class word"),
        ({"prior_weight": 1.0, "prior_pictures": 0}, "prior_pictures"),
    ],
)
def test_impossible_knobs_are_refused(knobs: dict[str, Any], words: str) -> None:
    """Each says what would do."""
    from engines.training.checks import check

    run = TrainRun(Path("run"), (), TrainParams().replace(**knobs), trigger="ohwx")
    with pytest.raises(BadInput, match=words):
        check(run)


def test_preserving_a_class_needs_a_trigger() -> None:
    """Without a word for the character there is nothing that the class word could take the place of."""
    from engines.training.checks import check

    params = TrainParams(dop_weight=1.0)
    check(TrainRun(Path("run"), (), params, trigger="ohwx"))
    with pytest.raises(BadInput, match="trigger"):
        check(TrainRun(Path("run"), (), params))
