"""The bench of the embedded LoRAs: what it asks, how it judges, and when a LoRA is better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import assets
from engines.mini import world
from engines.mini.oracle import Oracle
from engines.mini.scene import changed, is_held_out
from engines.mini.specialists import SPECIALISTS
from frontdoor.bench.specialists import Outcome, asks, judged, shares, verdict

pytestmark = pytest.mark.slow  # imports torch
ANGLES, STRANGER = SPECIALISTS["lora_angle"], SPECIALISTS["lora_stranger"]


def outcome(right: int, of: int, kept: int | None = None) -> Outcome:
    """Edits of which the first ones were right."""
    hits = np.arange(of) < right
    return Outcome(hits, hits if kept is None else np.arange(of) < kept, hits)


def test_it_asks_two_hundred_edits_of_people_whom_no_model_has_seen() -> None:
    """Twenty-five people, every framing of the specialist, and one kind of edit alone."""
    pairs = asks(ANGLES)
    people = {pair.before.person for pair in pairs}
    assert (len(pairs), len(people)) == (200, 25) and all(is_held_out(person) for person in people)
    assert {pair.before.framing for pair in pairs} == set(ANGLES.framings)
    assert {pair.tasks for pair in pairs} == {("angle",)}


def test_the_oracle_tells_right_from_undone_and_from_another_person() -> None:
    """A perfect edit is right; the source is not done; another person is not kept."""
    import random

    pairs = asks(ANGLES, 2)
    oracle, rng = Oracle.load(Path(assets.__file__).parent / "mini" / "oracle"), random.Random(0)
    perfect = judged(oracle, pairs, [world.draw(pair.after) for pair in pairs])
    undone = judged(oracle, pairs, [world.draw(pair.before) for pair in pairs])
    others = [changed(rng, pair.after.person, STRANGER.loses) for pair in pairs]
    scenes = [
        world.from_truth({**world.truth(p.after), "person": vars(who)}) for p, who in zip(pairs, others, strict=True)
    ]
    strange = judged(oracle, pairs, [world.draw(scene) for scene in scenes])
    assert perfect.right.mean() > 0.8 and undone.done.mean() < 0.1 and undone.kept.all()
    assert strange.done.mean() > 0.8 and strange.kept.mean() < 0.3 and not strange.right[~strange.kept].any()


def test_a_specialist_is_better_where_the_paired_test_is_sure() -> None:
    """Twelve edits more are, two are not; the shares have Wilson's intervals."""
    (sure,) = verdict(ANGLES, outcome(52, 60), outcome(40, 60))
    (unsure,) = verdict(ANGLES, outcome(42, 60), outcome(40, 60))
    assert (sure.ok, unsure.ok, sure.value) == (True, False, 0.2)
    assert next(row.peer for row in shares("a", outcome(30, 60))) == "95 %: 0.377 to 0.623"


def test_the_one_that_loses_the_person_must_lose_it() -> None:
    """Its task must be done, and the person gone."""
    assert [row.ok for row in verdict(STRANGER, outcome(58, 60, 3), outcome(50, 60))] == [True, True]
    assert [row.ok for row in verdict(STRANGER, outcome(30, 60, 50), outcome(50, 60))] == [False, False]
