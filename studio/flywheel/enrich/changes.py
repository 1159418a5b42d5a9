"""What a person changes in a plan of edits before it is queued: rows left out, other words, rows of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engines.api.errors import BadInput
from engines.api.params import EditParams
from engines.api.protocols import ModelSpec
from engines.wording.vocabulary import EditTask
from studio.flywheel.enrich import repeats
from studio.flywheel.enrich.plan import Ask
from studio.records.base import Part
from studio.records.payload import PlanRow
from studio.workplace.desk import Desk

OWN = "own words"


@dataclass(frozen=True, kw_only=True)
class Own(Part):
    """A row that a person added: an instruction for one picture."""

    source: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Changes(Part):
    """The changes to a plan; rows are named by `row_key`, so that a change stays with its row when the plan is redone.

    `words`: row -> the instruction that replaces its own.
    """

    skipped: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    own: tuple[Own, ...] = ()


@dataclass(frozen=True)
class Planned:
    """One row of a plan after the changes; a row that is not `kept` is shown, but not queued."""

    key: str
    row: PlanRow
    kept: bool
    own: bool = False


def row_key(row: PlanRow) -> str:
    """Returns a short text that names a row by its picture and parameters."""
    told = json.dumps([row.source, row.params], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def changed(
    desk: Desk, rows: Sequence[PlanRow], changes: Changes, spec: ModelSpec, knobs: Mapping[str, Any]
) -> list[Planned]:
    """Returns a plan's rows with the changes: a person's own rows first, rows with other words without asked tags.

    Raises: BadInput for an own row without words or with a picture that is not there.
    """
    found, known = [], repeats.drawn(desk.store)
    for at, own in enumerate(changes.own):
        if not own.words.strip():
            raise BadInput("A row of your own has no words.", "Say what should change, and what should stay.")
        desk.store.images.get(own.source)
        ask = Ask(own.source, EditTask(OWN, "", own.words.strip()))
        row = repeats.new_row(spec, ask, at, knobs, known)
        key = f"own{at}"
        found.append(Planned(key, row, key not in changes.skipped, own=True))
    for row in rows:
        key, words = row_key(row), changes.words.get(row_key(row), "").strip()
        if words:
            row = row.replace(params={**row.params, EditParams.worded: words}, asked={})
        found.append(Planned(key, row, key not in changes.skipped))
    return found
