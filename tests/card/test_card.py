"""The embedded family's jobs on a CUDA card that the CPU plays: the same pictures, no waiting, no byte unplanned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytestmark = pytest.mark.slow
Seen = Mapping[str, Any]  # what rehearsal.Seen holds

MOST = 1.25  # planned bytes over played ones, of what is drawn and described
DRAWN = ("generate", "edit", "caption")  # the first word of the jobs whose pictures, words and plans are compared
LONGER = (("generate", "generate longer"), ("edit", "edit longer"))
TRAINED_LONGER = (("train", "train longer"), ("refine", "refine longer"), ("refine nf4", "refine nf4 longer"))


@pytest.fixture(scope="module")
def played(
    play: Callable[..., list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Mapping[str, Seen]]:
    """What every job did, by side (cpu, card, ladder) and name."""
    found: Mapping[str, Mapping[str, Seen]] = play("rehearsal", str(tmp_path_factory.mktemp("card")))[-1]
    return found


def test_pictures_and_words_are_the_cpus_to_the_bit(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """What is drawn, edited and described on the card is what the CPU makes, also with LoRAs and in few steps."""
    compared = [name for name in played["cpu"] if name.startswith(DRAWN)]
    assert len(compared) > 10
    assert {name: played["card"][name]["made"] for name in compared} == {
        name: played["cpu"][name]["made"] for name in compared
    }


def test_the_host_waits_for_no_denoising_step(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """Three more steps make the host wait not once more."""
    for few, many in LONGER:
        assert played["card"][few]["waits"] == played["card"][many]["waits"]


def test_the_host_waits_once_a_training_step(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """Three more steps make the host wait at most three times more, for the figures that a step reports."""
    for few, many in TRAINED_LONGER:
        before, after = (sum(played["card"][name]["waits"].values()) for name in (few, many))
        assert after - before <= 3, (played["card"][few]["waits"], played["card"][many]["waits"])


def test_what_is_planned_is_enough(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """No job takes more bytes of the card than the hungriest of its stages was planned with; an edit not much less."""
    found = {name: seen["planned"] / seen["peak"] for name, seen in played["card"].items()}
    assert {name: ratio for name, ratio in found.items() if ratio < 1} == {}
    assert {name: ratio for name, ratio in found.items() if ratio > MOST and name.startswith(DRAWN)} == {}


def test_a_small_card_does_it_or_says_why(played: Mapping[str, Mapping[str, Seen]]) -> None:
    """At each size a job ends with the same pictures, or in words."""
    whole = {name: played["card"][name]["made"] for name in ("generate", "edit")}
    for name, seen in played["ladder"].items():
        assert seen["denied"] or seen["made"] == whole[name.split()[0]], name
    assert any(seen["denied"] for seen in played["ladder"].values())
    assert any(seen["made"] for seen in played["ladder"].values())
