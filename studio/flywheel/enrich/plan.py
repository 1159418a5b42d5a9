"""Chooses which edits to request: those that fill empty coverage cells, then variety; or those that reach given tags.

An edit that was requested of the same picture before is chosen last, and is given another seed.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle, zip_longest

from engines.api.axes import ANGLES, ANGLES_LEFT_TO_RIGHT, Tags
from engines.wording.vocabulary import EditTask, Vocabulary
from studio.flywheel.curate.coverage import cover
from studio.records.image import ImageRecord

VARIETY = ("background", "expression", "lighting", "outfit", "angle", "pose", "style")


@dataclass(frozen=True)
class Ask:
    """Holds one edit to request: the id of its source picture, and the edit's instruction and expected tags."""

    source: str
    edit: EditTask


@dataclass
class Round:
    """Distributes edits over source pictures, so that all are used about equally often.

    `asked` holds pairs (source id, instruction) of edits that were requested before.
    """

    sources: Sequence[ImageRecord]
    asked: Collection[tuple[str, str]] = ()
    _used: Counter[str] = field(default_factory=Counter)

    def pick(self, candidates: Iterable[ImageRecord], edit: EditTask) -> Ask | None:
        """Chooses one of the pictures in `candidates` for an edit, and returns both as an Ask; None without candidates.

        Pictures of which this edit has not been requested before are preferred. Among equals, the one with the fewest
        edits in this plan is taken.
        """

        def worn(image: ImageRecord) -> tuple[bool, int]:
            return (image.id, edit.words) in self.asked, self._used[image.id]

        found = min(candidates, key=worn, default=None)
        if found is None:
            return None
        self._used[found.id] += 1
        return Ask(found.id, edit)


def asks(
    sources: Sequence[ImageRecord],
    existing: Sequence[ImageRecord],
    edits: Sequence[EditTask],
    limit: int,
    fill_gaps: bool,
    wording: Vocabulary,
    asked: Collection[tuple[str, str]] = (),
) -> list[Ask]:
    """Returns at most `limit` edits, each with the source picture to edit, none twice for the same source.

    With `fill_gaps` the first edits fill gaps: each shows an (angle, expression) pair, or a pose, that no picture in
    `existing` shows. Edits for variety follow: first those that were not requested before. `asked` holds the pairs
    (source id, instruction) of earlier requests. `edits` are the edits to choose from, and `wording` combines two of
    them into one instruction.
    """
    turn = Round(sources, asked)
    gaps = list(_gap_asks(turn, existing, edits, wording)) if fill_gaps else []
    return _unique(chain(gaps, _variety_asks(turn, edits, again=False), _variety_asks(turn, edits, again=True)), limit)


def aimed(
    sources: Sequence[ImageRecord],
    aims: Sequence[Tags],
    edits: Sequence[EditTask],
    limit: int,
    wording: Vocabulary,
    asked: Collection[tuple[str, str]] = (),
) -> list[Ask]:
    """Returns at most `limit` edits, each of which should give a source picture the tags of one of the aims.

    An aim is the tags that a result should have, such as those of a model card cell. The aims take turns; for each aim,
    the sources that have to change least come first. Edits that were requested before come last: `asked` holds their
    pairs (source id, instruction). `edits` are the edits to choose from, and `wording` combines two of them into one
    instruction.
    """
    columns = [_ways([*sources[at:], *sources[:at]], aim, edits, wording) for at, aim in enumerate(aims)]
    found = [ask for row in zip_longest(*columns) for ask in row if ask is not None]
    return _unique(sorted(found, key=lambda ask: (ask.source, ask.edit.words) in asked), limit)


def _ways(sources: Iterable[ImageRecord], aim: Tags, edits: Sequence[EditTask], wording: Vocabulary) -> list[Ask]:
    """Returns an edit for each source that one or two edit tasks bring to the aim.

    Sources that need one task come first, and among equals those whose head has to turn least.
    """
    ways = [(source, needed) for source in sources if (needed := _needed(source, aim, edits))]
    ways.sort(key=lambda way: (len(way[1]), _turned(way[0], aim.get("angle", ""))))
    return [
        Ask(source.id, wording.combined(needed[0], needed[1]) if needed[1:] else needed[0]) for source, needed in ways
    ]


def _needed(source: ImageRecord, aim: Tags, edits: Sequence[EditTask]) -> list[EditTask]:
    """Returns the edit tasks that bring a source's tags to the aim.

    Returns none where the source shows the aim already, or where two tasks do not suffice. Framing is not compared,
    because the edit of a pose sets it.
    """
    apart = [(name, value) for name, value in aim.items() if name != "framing" and source.tags.get(name) != value]
    needed = [edit for name, value in apart for edit in edits if edit.expects.get(name) == value]
    return needed if len(needed) == len(apart) <= 2 else []


def _gap_asks(
    turn: Round, existing: Sequence[ImageRecord], edits: Sequence[EditTask], wording: Vocabulary
) -> Iterable[Ask]:
    seen = cover(list(existing), "")
    by_value = {(edit.task, edit.value): edit for edit in edits}
    for angle, expression in seen.missing:
        found = _cell_ask(turn, by_value.get(("angle", angle)), by_value.get(("expression", expression)), wording)
        if found is not None:
            yield found
    for pose in seen.missing_poses:
        edit = by_value.get(("pose", pose))
        found = turn.pick(turn.sources, edit) if edit else None
        if found is not None:
            yield found


def _cell_ask(turn: Round, angle: EditTask | None, expression: EditTask | None, wording: Vocabulary) -> Ask | None:
    """Returns an edit that fills the cell of an angle and an expression; None where none can.

    The edit sets one of the two where a source shows the other already, and both in one instruction otherwise.
    """
    if angle is not None:
        alike = [s for s in turn.sources if expression and s.tags.get("expression") == expression.value]
        nearest = min((_turned(s, angle.value) for s in alike), default=0)
        found = turn.pick((s for s in alike if _turned(s, angle.value) == nearest), angle)
        if found is not None:
            return found
    if expression is not None:
        found = turn.pick((s for s in turn.sources if angle and s.tags.get("angle") == angle.value), expression)
        if found is not None:
            return found
    return turn.pick(turn.sources, wording.combined(angle, expression)) if angle and expression else None


def _turned(source: ImageRecord, angle: str) -> int:
    """Returns by how many of the five angles, from left to right, a head turns; 5 for an unknown angle."""
    now = source.tags.get("angle", "")
    around = ANGLES_LEFT_TO_RIGHT
    return abs(around.index(now) - around.index(angle)) if {now, angle} <= set(ANGLES) else len(ANGLES)


def _variety_asks(turn: Round, edits: Sequence[EditTask], again: bool) -> Iterable[Ask]:
    """Yields edits for variety, task by task in turn, and the values of each task in turn.

    Each edit uses the least used source that does not show its value yet. `again` chooses the edits that were requested
    before; without it only new ones are chosen.
    """
    by_task = {task: [edit for edit in edits if edit.task == task] for task in VARIETY}
    columns = [_spread(turn, of_task, again) for of_task in by_task.values() if of_task]
    for row in zip_longest(*columns):
        yield from (ask for ask in row if ask is not None)


def _spread(turn: Round, edits: Sequence[EditTask], again: bool) -> Iterable[Ask]:
    """Yields each edit for each source that does not show its value yet, edits and sources in turn.

    With `again` it yields only pairs that were requested before, without it only new ones.
    """
    possible = (
        (source, edit)
        for edit in edits
        for source in turn.sources
        if any(source.tags.get(name) != value for name, value in edit.expects.items())
    )
    left = {(s.id, edit.words) for s, edit in possible if ((s.id, edit.words) in turn.asked) is again}
    for edit in cycle(edits):
        if not left:
            return
        found = turn.pick((s for s in turn.sources if (s.id, edit.words) in left), edit)
        if found is not None:
            left.discard((found.source, edit.words))
            yield found


def _unique(found: Iterable[Ask], limit: int) -> list[Ask]:
    kept: dict[tuple[str, str], Ask] = {}
    for ask in found:
        if len(kept) >= limit:
            break
        kept.setdefault((ask.source, ask.edit.words), ask)
    return list(kept.values())


def seed_of(source: str, words: str, number: int) -> int:
    """Returns the seed of an edit, which depends only on the arguments, so that every plan gives the same one.

    `source` is the source picture's id, `words` the instruction. `number` counts the seeds of the same edit in one
    plan, from 0.
    """
    return (zlib.crc32(f"{source} {words}".encode()) + number) % (1 << 31)
