"""Finds the tasks at which the editor fails, by reviewers' verdicts, and plans more edits of these tasks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil

from engines.api.errors import BadInput
from engines.api.values import Many, taken
from engines.wording.registry import vocabulary
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich.edits import EnrichPlan
from studio.records.image import ImageRecord, Kind, Verdict
from studio.workplace.desk import Desk

EDITS = 24


@dataclass(frozen=True)
class Standing:
    """Holds the review results of one task, which is a type of edit."""

    task: str
    """The kind of edit, such as angle."""
    accepted: int
    """How many of the reviewed edits were accepted."""
    reviewed: int
    """How many were reviewed."""

    @property
    def refused(self) -> float:
        """Returns the share of the reviewed edits that were not accepted, 0…1."""
        return 1 - self.accepted / self.reviewed


def standings(desk: Desk) -> list[Standing]:
    """Returns the review results of each task, a type of edit such as angle, the most often refused task first.

    Only the edits by the editor version in use are counted. Where none of these was reviewed, the edits by all versions
    are counted.
    """
    store = desk.store
    spec = desk.workplace.registry.spec(store.character.editor)
    seen = [image for image in store.select(Kind.ENRICHED) if image.asked and image.state is not Verdict.PENDING]
    used = enrich.adopted(store, spec.name)
    seen = [image for image in seen if image.version == (used.id if used else "")] or seen
    names = {next(iter(edit.expects)): edit.task for edit in vocabulary(spec.wording).edit_tasks()}

    def task(image: ImageRecord) -> str:
        first = next(iter(image.asked))
        return names.get(first, first)

    reviewed = Counter(map(task, seen))
    accepted = Counter(task(image) for image in seen if image.state is Verdict.GOOD)
    found = [Standing(name, accepted[name], count) for name, count in reviewed.items()]
    return sorted(found, key=lambda each: (-each.refused, each.task))


def plan(desk: Desk, limit: int = EDITS) -> EnrichPlan:
    """Returns a plan of at most `limit` new edits of the types that reviewers refused before; starts no job.

    A type of edit, called a task, is for example angle; one that is refused more often gets more edits. Edits that were
    requested before are planned only after all others. Raises: BadInput where no edit was refused or `limit` is out of
    range.
    """
    taken("limit", limit, Many)
    spec = desk.workplace.registry.spec(desk.store.character.editor)
    known = {edit.task for edit in vocabulary(spec.wording).edit_tasks()}
    weak = [each for each in standings(desk) if each.refused and each.task in known]
    if not weak:
        raise BadInput("No edit was refused: there is nothing to practise.", "Review what Enrich made first.")
    whole = sum(each.refused for each in weak)
    rows = [
        row
        for each in weak
        for row in enrich.plan(
            desk, tasks=[each.task], limit=ceil(limit * each.refused / whole), fill_gaps=False, routed=False
        ).rows
    ]
    return enrich.estimate(desk, rows[:limit])
