"""Applies a person's changes to a plan of edits before it is queued: rows left out, other words, rows of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engines.api.params import EditParams
from engines.api.protocols import ModelSpec
from studio.flywheel.enrich.own_words import OWN, written
from studio.records.base import Part
from studio.records.payload import PlanRow
from studio.records.plan import OwnEdit
from studio.workplace.desk import Desk


@dataclass(frozen=True, kw_only=True)
class Changes(Part):
    """Holds the changes that a person made to a plan of edits.

    `skipped` are the keys of planned rows to leave out, `words` maps the key of such a row to its new instruction, and
    `own` are added rows. The key of a planned row is what `row_key` returns, so that a change still applies when the
    plan is made anew.
    """

    skipped: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    own: tuple[OwnEdit, ...] = ()


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

    Nothing is stored or queued. A row with a new instruction loses its task and its requested tags. An added row
    becomes one row for each of its sources and seeds, all with its key. `spec` is the editor's model, and `knobs` are
    EditParams by name, both for the added rows. Raises: the trouble of an added row that is on and cannot be drawn.
    """
    found = []
    for own in written(desk, changes.own, spec, knobs):
        if own.trouble is not None and own.edit.on:
            raise own.trouble
        found += [Planned(own.edit.key, row, own.edit.on, own=True) for row in own.rows]
    return found + reworded(rows, changes)


def reworded(rows: Sequence[PlanRow], changes: Changes) -> list[Planned]:
    """Returns a plan's rows with a person's changes applied, without the rows that the person added."""
    found = []
    for row in rows:
        key, words = row_key(row), changes.words.get(row_key(row), "").strip()
        if words:
            row = row.replace(params={**row.params, EditParams.worded: words}, asked={}, task=OWN)
        found.append(Planned(key, row, key not in changes.skipped))
    return found
