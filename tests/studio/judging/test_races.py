"""The sequential design: valid evidence, losers dropped, winners named with few looks."""

from __future__ import annotations

import math
import random

import pytest

from studio.judging.races import CLEAR, FEWEST, LOST, chance, evidence, expected_looks, race

ASKS = 24  # eight originals, three seeds
FIELDS = {  # the shares of asks that contestants pass, for four tasks; one contestant loses the person
    "angle": (0.85, 0.55, 0.35, 0.25, 0.05),
    "expression": (0.9, 0.65, 0.5, 0.4, 0.05),
    "lighting": (0.95, 0.7, 0.6, 0.3, 0.05),
    "outfit": (0.9, 0.6, 0.6, 0.5, 0.05),
}


def verdicts(rng: random.Random, shares: dict[str, float], asks: int = ASKS) -> list[dict[str, bool]]:
    """What a person says of each ask; some asks are harder than others, for all contestants."""
    found = []
    for _ in range(asks):
        hard = rng.gauss(0, 1)
        passed = {
            name: 1 / (1 + math.exp(-1.16 * math.log(share / (1 - share)) + hard)) for name, share in shares.items()
        }
        found.append({name: rng.random() < share for name, share in passed.items()})
    return found


def test_evidence_is_the_likelihood_ratio_of_its_definition() -> None:
    """The closed form equals the integral; no ask says 1, seven alone win, and losses take evidence away."""
    for wins, losses in ((0, 0), (7, 0), (9, 2), (3, 6)):
        grid = [(0.5 + (at + 0.5) / 20_000) for at in range(10_000)]
        integral = sum((2 * p) ** wins * (2 * (1 - p)) ** losses for p in grid) / len(grid)
        assert evidence(wins, losses) == pytest.approx(integral, rel=1e-4)
    assert evidence(FEWEST, 0) >= CLEAR > evidence(FEWEST - 1, 0)
    assert evidence(4, 0) >= LOST > evidence(3, 0)
    assert (chance(0.5), chance(40.0)) == (1.0, 0.025)


def test_a_loser_is_dropped_and_later_asks_need_no_verdict_on_it() -> None:
    """After four asks that the others passed and it did not; the winner is named as soon as it is clear."""
    asks = [{"a": False, "b": True, "c": False}] * 4 + [{"a": False, "b": True}] * 20
    found = race("abc", "a", asks)
    assert (found.out, found.left, found.winner) == ({"c": 4, "a": 7}, ("b",), "b")
    assert (found.done, found.asked, found.looks) == (True, 7, 3 * 4 + 2 * 3)


def test_an_ask_without_all_verdicts_holds_up_those_after_it() -> None:
    """But not one that cannot be answered; and a verdict on a contestant that is out is not waited for."""
    whole = {"a": True, "b": True}
    assert race("ab", "a", [whole, {"a": True}, whole]).asked == 1
    found = race("ab", "a", [whole, None, whole])
    assert (found.asked, found.looks, found.done, found.best) == (2, 4, True, "a")


def test_the_defender_stays_where_nobody_is_better() -> None:
    """Equal contestants: a false winner in at most one of twenty tasks, in spite of a look after each ask."""
    rng, names = random.Random(1), "abc"
    found = [race(names, "a", verdicts(rng, dict.fromkeys(names, 0.6))) for _ in range(300)]
    assert sum(bool(each.winner) for each in found) <= 0.05 * len(found)


def test_the_best_contestant_is_named_with_few_looks() -> None:
    """Ten characters, four tasks: the best of five in 90 % at least, with 60 % of the full design's looks at most."""
    rng, named, looks, full, person_lost = random.Random(0), 0, 0, 0, 0
    for _ in range(10):
        for shares in FIELDS.values():
            mixed = dict(zip("abcde", rng.sample(shares, 5), strict=True))
            found = race("abcde", "a", verdicts(rng, mixed))
            named += (found.winner or found.best) == max(mixed, key=lambda name: mixed[name])
            person_lost += mixed[found.winner or found.best] == 0.05
            looks, full = looks + found.looks, full + 5 * ASKS
    print(f"named {named / 40:.3f}, looks {looks / full:.3f} of {full}")
    assert named >= 36 and looks <= 0.6 * full and person_lost == 0


def test_the_expected_looks_lie_below_the_most() -> None:
    """They are the same each time, and grow with contestants and asks."""
    assert expected_looks(4, 24) == expected_looks(4, 24) < 0.75 * 4 * 24
    assert expected_looks(2, 9) < expected_looks(3, 9) < expected_looks(3, 12)
