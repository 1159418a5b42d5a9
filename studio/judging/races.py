"""The sequential design of a tournament: which contestants of a task are still compared, and which of them wins.

All contestants answer the same asks, one ask after the other, and a person passes or fails each answer. Of two
contestants only the asks count that exactly one of them passed, as in McNemar's test. If the first is no better, it is
the one that passed in at most half of these. The evidence that it is better is the likelihood ratio of a share drawn
evenly from 1/2 to 1 against 1/2. It is an e-process: if the first is no better, the chance that the evidence ever
reaches x is at most 1 / x, however often it is looked at and whenever the looking ends. So a contestant may be dropped
after any ask, and the test of the winner stays valid.

Sources: Ville, Étude critique de la notion de collectif (1939); Robbins, Ann. Math. Statist. 41 (1970), 1397–1409;
Ramdas, Grünwald, Vovk, Shafer, Statist. Sci. 38 (2023), 576–601; dropping contestants ask by ask: Maron and Moore,
NIPS 6 (1994), 59–66; Birattari and others, GECCO (2002), 11–18.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

CLEAR = 20.0  # the evidence that wins a task: a false win has a chance of at most 1 in 20 for each contestant
LOST = 5.0  # the evidence against a contestant that drops it; the best one is dropped in at most 1 of 5 comparisons
FEWEST = 7  # asks that a contestant must pass alone, without losing one, to win
_SHARES = (0.15, 0.95)  # the shares that contestants pass, as assumed for the expected number of looks
_ROUNDS = 200


@dataclass(frozen=True)
class Standing:
    """Holds how far a task of a tournament is.

    `left` are the contestants that are still compared, `out` maps the others to the number of asks after which they
    were dropped. `best` has the most passed asks of those left. `winner` is the contestant that is better than the
    defender by the paired test, "" while there is none. `done` tells that no more verdicts are needed. `asked` is the
    number of asks with all verdicts, `looks` the number of verdicts in them. `evidence` maps each contestant to the
    greatest evidence so far that it is better than the defender.
    """

    left: tuple[str, ...]
    out: Mapping[str, int]
    best: str
    winner: str
    done: bool
    asked: int
    looks: int
    evidence: Mapping[str, float]


@cache
def evidence(wins: int, losses: int) -> float:
    """Returns the evidence that a contestant is better than another, from 0 up; 1 says nothing.

    `wins` is the number of asks that it alone passed, `losses` of those that the other alone passed.
    """
    tail = sum(math.comb(wins + losses + 1, passed) for passed in range(wins + 1))
    return tail / ((wins + losses + 1) * math.comb(wins + losses, wins))


def chance(found: float) -> float:
    """Returns the p-value of the greatest evidence so far; it is valid whenever the comparison ends."""
    return min(1.0, 1.0 / found) if found > 0 else 1.0


def race(
    contestants: Sequence[str], defender: str, asks: Sequence[Mapping[str, bool] | None], total: int = 0
) -> Standing:
    """Returns the standing of a task after the verdicts on its asks.

    `asks` holds for each ask, in order, whether a contestant passed; an ask counts once it has a verdict for each
    contestant that is left, and those after it wait for it. None stands for an ask that cannot be answered. `total` is
    the number of asks, by default that of `asks`. `defender` is the contestant that the others have to beat; it is
    dropped only by a win.
    """
    total = total or len(asks)
    left, out = list(contestants), dict[str, int]()
    passed = dict.fromkeys(contestants, 0)
    alone = {(one, other): 0 for one in contestants for other in contestants}
    greatest = {each: 0.0 for each in contestants if each != defender}
    winners: list[str] = []
    asked = looks = gone = 0
    for verdicts in asks:
        if len(left) < 2 or (verdicts is not None and not verdicts.keys() >= set(left)):
            break
        if verdicts is None:
            gone += 1
            continue
        asked, looks = asked + 1, looks + len(left)
        for one in left:
            passed[one] += verdicts[one]
            for other in left:
                alone[one, other] += verdicts[one] and not verdicts[other]
        for each in left:
            if each != defender and defender in left:
                greatest[each] = max(greatest[each], evidence(alone[each, defender], alone[defender, each]))
        winners = [each for each in left if greatest.get(each, 0.0) >= CLEAR]
        beaten = {
            each
            for each in left
            if (each != defender and any(evidence(alone[one, each], alone[each, one]) >= LOST for one in left))
            or (each == defender and winners)
        }
        out |= dict.fromkeys(beaten, asked)
        left = [each for each in left if each not in beaten]
    order = sorted(left or [defender], key=lambda each: (-passed[each], each != defender, contestants.index(each)))
    won = [each for each in order if each in winners]
    done = len(left) < 2 or asked + gone >= total
    return Standing(tuple(left), out, order[0], next(iter(won), ""), done, asked, looks, greatest)


@cache
def expected_looks(contestants: int, asks: int) -> float:
    """Returns how many verdicts a task takes on average, with as many contestants and asks.

    It is simulated, with shares of passed asks that are drawn evenly for each contestant; the same numbers give the
    same result.
    """
    rng, names = random.Random(f"{contestants} {asks}"), [str(at) for at in range(contestants)]
    looks = 0
    for _ in range(_ROUNDS):
        shares = {name: rng.uniform(*_SHARES) for name in names}
        looks += race(names, names[0], [{n: rng.random() < s for n, s in shares.items()} for _ in range(asks)]).looks
    return looks / _ROUNDS
