"""Applies a person's changes to a plan of edits before it is queued: rows left out, other words, rows of their own."""

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
    """Holds a row that a person added: the id of its picture, and its instruction."""

    source: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Changes(Part):
    """Holds a person's changes to a plan; rows are named by `row_key`, so that a change survives a new plan.

    `skipped` are the rows to leave out, `words` maps a row to the instruction that replaces its own, and `own` are
    added rows.
    """

    skipped: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    own: tuple[Own, ...] = ()


@dataclass(frozen=True)
class Planned:
    """Holds one row of a plan after the changes; a row that is not `kept` is shown, but not queued.

    `own` marks a row that a person added.
    """

    key: str
    row: PlanRow
    kept: bool
    own: bool = False


def row_key(row: PlanRow) -> str:
    """Returns a short hash that names a row by its picture and parameters."""
    told = json.dumps([row.source, row.params], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def changed(
    desk: Desk, rows: Sequence[PlanRow], changes: Changes, spec: ModelSpec, knobs: Mapping[str, Any]
) -> list[Planned]:
    """Returns a plan's rows with the changes applied, the person's own rows first.

    A row with other words has no requested tags. An own row of a picture that this character does not have is left out:
    the changes may be those of the character that the page showed before. `knobs` are EditParams by name, for the own
    rows. Raises: BadInput for an own row without words.
    """
    found, known = [], repeats.drawn(desk.store)
    for at, own in enumerate(changes.own):
        if not own.words.strip():
            raise BadInput("A row of your own has no words.", "Say what should change, and what should stay.")
        if own.source not in desk.store.images:
            continue
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
