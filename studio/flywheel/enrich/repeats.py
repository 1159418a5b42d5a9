"""Finds which edits are drawn or queued already, and gives repeated edits new seeds, which draw other pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engines.api.params import EditParams
from engines.api.protocols import ModelSpec
from engines.api.values import later_seed
from studio.flywheel.enrich.plan import Ask, seed_of
from studio.records.payload import EnrichPayload, PlanRow
from studio.store import Store
from studio.workplace.desk import Desk


def fingerprint(source: str, params: Mapping[str, Any], references: Sequence[str] = ()) -> tuple[str, str]:
    """Returns the key by which equal edits are recognised: the source picture's id, and the rest as text.

    The rest are the parameters and, where there are any, the ids of further pictures that the editor sees.
    """
    return source, repr(EditParams.kept(params)) + " ".join(references)


def asked(store: Store) -> set[tuple[str, str]]:
    """Returns the pairs (source id, instruction) of all edits that have a result, whatever their verdict."""
    edits = (image for image in store.images.all() if image.params_kind == EditParams.__name__)
    return {(image.parent, EditParams.kept(image.params).headline()) for image in edits}


def new_row(
    spec: ModelSpec,
    ask: Ask,
    number: int,
    knobs: Mapping[str, Any],
    taken: set[tuple[str, str]],
    references: tuple[str, ...] = (),
) -> PlanRow:
    """Returns a plan row for an edit, with a seed that differs from those of all equal edits made before.

    `taken` holds the fingerprints of the edits made before (see `fingerprint`); that of the new row is added. `number`
    is 0 for the first row of this edit in the plan, 1 for the second, and so on. `knobs` are EditParams by name,
    `references` the ids of further pictures that the editor sees.
    """
    words = ask.edit.words
    params = spec.worded(EditParams, words, **{"seed": seed_of(ask.source, words, number), **knobs})
    while fingerprint(ask.source, params.to_json(), references) in taken:
        params = params.replace(seed=later_seed(params.seed, 1))
    taken.add(fingerprint(ask.source, params.to_json(), references))
    return PlanRow(
        source=ask.source,
        params=params.to_json(),
        asked=dict(ask.edit.expects),
        task=ask.edit.task,
        references=references,
    )


def drawn(store: Store) -> set[tuple[str, str]]:
    """Returns the fingerprints (see `fingerprint`) of all edits that have a result."""
    edits = (image for image in store.images.all() if image.params_kind == EditParams.__name__)
    return {fingerprint(image.parent, image.params, image.references) for image in edits}


def once_more(desk: Desk, rows: Sequence[PlanRow], model: str | None = None) -> list[PlanRow]:
    """Returns the rows, each with a new seed where its edit has a result or is queued already.

    `model` None is the character's editor.
    """
    known = drawn(desk.store) | waiting(desk, model or desk.store.character.editor)
    fresh = []
    for row in rows:
        params = EditParams.kept(row.params)
        while fingerprint(row.source, params.to_json(), row.references) in known:
            params = params.replace(seed=later_seed(params.seed, 1))
        known.add(fingerprint(row.source, params.to_json(), row.references))
        fresh.append(row.replace(params=params.to_json()))
    return fresh


def waiting(desk: Desk, model: str) -> set[tuple[str, str]]:
    """Returns the fingerprints (see `fingerprint`) of the edits that are queued or running for a model."""
    return {
        fingerprint(row.source, row.params, row.references)
        for job in desk.workplace.jobs.list(desk.id)
        if job.kind == "enrich" and job.state.is_under_way and (asked := EnrichPayload.of(job)).model == model
        for row in asked.rows
    }
