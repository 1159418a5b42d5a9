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
    """Holds an edit that a person added to a plan: its key, the id of the source picture, and the instruction.

    The key is unique for each added edit, so that a change of one never reaches another.
    """

    key: str
    source: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Changes(Part):
    """Holds the changes that a person made to a plan of edits.

    `skipped` are the keys of rows to leave out, `words` maps the key of a row to its new instruction, and `own` are
    added rows. The key of a planned row is what `row_key` returns, so that a change still applies when the plan is made
    anew.
    """

    skipped: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    own: tuple[Own, ...] = ()


@dataclass(frozen=True)
class Planned:
    """Holds one row of a plan after a person's changes, with its key.

    A row that is not `kept` is shown on the page, but not queued. `own` marks a row that the person added.
    """

    key: str
    row: PlanRow
    kept: bool
    own: bool = False


def row_key(row: PlanRow) -> str:
    """Returns a short hash of a row's source picture and parameters, by which the row is found again in a new plan."""
    told = json.dumps([row.source, row.params], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def changed(
    desk: Desk, rows: Sequence[PlanRow], changes: Changes, spec: ModelSpec, knobs: Mapping[str, Any]
) -> list[Planned]:
    """Returns a plan's rows with a person's changes applied, the rows that the person added first.

    Nothing is stored or queued. A row with a new instruction loses its task and its requested tags. An added row of a
    picture that this character does not have is left out, because the page may still hold the changes of another
    character. `spec` is the editor's model, and `knobs` are EditParams by name, both for the added rows. Raises:
    BadInput for an added row without an instruction.
    """
    found, known = [], repeats.drawn(desk.store)
    for at, own in enumerate(changes.own):
        if not own.words.strip():
            raise BadInput("A row of your own has no words.", "Say what should change, and what should stay.")
        if own.source not in desk.store.images:
            continue
        ask = Ask(own.source, EditTask(OWN, "", own.words.strip()))
        row = repeats.new_row(spec, ask, at, knobs, known)
        found.append(Planned(own.key, row, own.key not in changes.skipped, own=True))
    for row in rows:
        key, words = row_key(row), changes.words.get(row_key(row), "").strip()
        if words:
            row = row.replace(params={**row.params, EditParams.worded: words}, asked={}, task=OWN)
        found.append(Planned(key, row, key not in changes.skipped))
    return found
