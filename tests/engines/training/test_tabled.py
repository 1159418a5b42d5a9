"""Tests trainings of a transformer whose modulation is a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from engines.api.protocols import SampleDrawn, StepDone

pytestmark = pytest.mark.slow


def test_a_run_learns_and_its_first_preview_is_the_plain_one(
    toy_qwen, qwen_folder, make_run, train, host_lease, tmp_path: Path
) -> None:
    """Steps, checkpoints and previews are as usual; the first preview is the plain run's to the bit."""
    from engines.training.trainer import LoraTrainer
    from engines.weights import modulation

    drawn = {}
    for table in ("", "table"):
        row = dataclasses.replace(
            toy_qwen,
            trainer="engines.families.qwen_edit.training:QwenEditAdapter",
            options={**toy_qwen.options, "modulation": table},
        )
        trainer = LoraTrainer(row, qwen_folder)
        run = make_run(tmp_path / (table or "plain"), "qwen-edit", steps=2, gradient_checkpointing=True)
        lease = host_lease(trainer.plan(run))
        events = train(trainer, run, lease=lease)
        assert modulation.is_tabled(lease.part("transformer")) == bool(table)
        assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2]
        drawn[table] = [np.asarray(event.image) for event in events if isinstance(event, SampleDrawn)]
    assert len(drawn[""]) == len(drawn["table"]) == 2
    assert np.array_equal(drawn[""][0], drawn["table"][0])
    assert not np.array_equal(drawn["table"][0], drawn["table"][1])
