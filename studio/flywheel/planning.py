"""Which edits to ask for: first what fills the empty cells of the coverage grid, then what varies the rest."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle, zip_longest

from engines.prompts import EditTask, combined
from studio.flywheel.curate import cover
from studio.nouns import ANGLES, ImageRecord

VARIETY = ("background", "expression", "lighting", "outfit", "angle", "pose", "style")
_AROUND = ("profile-left", "half-left", "front", "half-right", "profile-right")


@dataclass(frozen=True)
class Ask:
    """One edit of one picture."""

    source: str
    edit: EditTask


@dataclass
class Round:
    """The good sources, taken in turn, so that no original weighs more than another."""

    sources: Sequence[ImageRecord]
    _used: Counter[str] = field(default_factory=Counter)

    def pick(self, candidates: Iterable[ImageRecord]) -> ImageRecord | None:
        """The least used of some sources, the first among equals."""
        found = min(candidates, key=lambda image: self._used[image.id], default=None)
        if found is not None:
            self._used[found.id] += 1
        return found


def asks(
    sources: Sequence[ImageRecord],
    existing: Sequence[ImageRecord],
    edits: Sequence[EditTask],
    limit: int,
    fill_gaps: bool,
    toy: bool,
) -> list[Ask]:
    """At most `limit` edits of these sources, none of them asked for twice.

    `existing` is whatever counts towards coverage, pending results included.
    """
    turn = Round(sources)
    gaps = list(_gap_asks(turn, existing, edits, toy)) if fill_gaps else []
    return _unique(chain(gaps, _variety_asks(turn, edits)), limit)


def _gap_asks(turn: Round, existing: Sequence[ImageRecord], edits: Sequence[EditTask], toy: bool) -> Iterable[Ask]:
    seen = cover(list(existing), "")
    by_value = {(edit.task, edit.value): edit for edit in edits}
    for angle, expression in seen.missing:
        found = _cell_ask(turn, by_value.get(("angle", angle)), by_value.get(("expression", expression)), toy)
        if found is not None:
            yield found
    for pose in seen.missing_poses:
        edit = by_value.get(("pose", pose))
        source = turn.pick(turn.sources) if edit else None
        if edit and source:
            yield Ask(source.id, edit)


def _cell_ask(turn: Round, angle: EditTask | None, expression: EditTask | None, toy: bool) -> Ask | None:
    """One edit where a source is one step away from the cell, two in one instruction where none is."""
    if angle is not None:
        alike = [s for s in turn.sources if expression and s.tags.get("expression") == expression.value]
        nearest = min((_turned(s, angle.value) for s in alike), default=0)
        source = turn.pick(s for s in alike if _turned(s, angle.value) == nearest)
        if source:
            return Ask(source.id, angle)
    if expression is not None:
        source = turn.pick(s for s in turn.sources if angle and s.tags.get("angle") == angle.value)
        if source:
            return Ask(source.id, expression)
    source = turn.pick(turn.sources) if angle and expression else None
    return Ask(source.id, combined(angle, expression, toy)) if source and angle and expression else None


def _turned(source: ImageRecord, angle: str) -> int:
    """How far a head has to turn, in steps of the five angles; an unknown one is far."""
    now = source.tags.get("angle", "")
    return abs(_AROUND.index(now) - _AROUND.index(angle)) if now in ANGLES else len(ANGLES)


def _variety_asks(turn: Round, edits: Sequence[EditTask]) -> Iterable[Ask]:
    """Tasks in turn, the values of each in turn, each on the least used source that does not show it yet."""
    by_task = {task: [edit for edit in edits if edit.task == task] for task in VARIETY}
    columns = [_spread(turn, of_task) for of_task in by_task.values() if of_task]
    for row in zip_longest(*columns):
        yield from (ask for ask in row if ask is not None)


def _spread(turn: Round, edits: Sequence[EditTask]) -> Iterable[Ask]:
    """Every edit on every source, both in turn."""
    left = {(edit.words, source.id) for edit in edits for source in turn.sources if not _shows(source, edit.expects)}
    for edit in cycle(edits):
        if not left:
            return
        source = turn.pick(s for s in turn.sources if (edit.words, s.id) in left)
        if source is not None:
            left.discard((edit.words, source.id))
            yield Ask(source.id, edit)


def _shows(source: ImageRecord, expects: Mapping[str, str]) -> bool:
    return all(source.tags.get(name) == value for name, value in expects.items())


def _unique(found: Iterable[Ask], limit: int) -> list[Ask]:
    kept: dict[tuple[str, str], Ask] = {}
    for ask in found:
        if len(kept) >= limit:
            break
        kept.setdefault((ask.source, ask.edit.words), ask)
    return list(kept.values())


def seed_of(source: str, words: str, number: int) -> int:
    """A seed that differs from edit to edit and is the same in every plan."""
    return (zlib.crc32(f"{source} {words}".encode()) + number) % (1 << 31)
