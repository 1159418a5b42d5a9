"""What the editor is weak at, by what reviewers said of its edits, and more of just that: lessons count most there."""

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
    """How many of a task's edits reviewers took as they came."""

    task: str
    accepted: int
    reviewed: int

    @property
    def refused(self) -> float:
        """The share that was not taken."""
        return 1 - self.accepted / self.reviewed


def standings(desk: Desk) -> list[Standing]:
    """Every reviewed task, the weakest first: of the editor in use, and while nothing of it was reviewed, of any."""
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
    """Edits of the tasks that were refused, each as often as it was refused, never asked for before. Starts nothing.

    Raises: BadInput where nothing was refused, NotFound.
    """
    taken("limit", limit, Many)
    weak = [each for each in standings(desk) if each.refused]
    if not weak:
        raise BadInput("No edit was refused: there is nothing to practise.", "Review what Enrich made first.")
    whole = sum(each.refused for each in weak)
    rows = [
        row
        for each in weak
        for row in enrich.plan(desk, tasks=[each.task], limit=ceil(limit * each.refused / whole), fill_gaps=False).rows
    ]
    return enrich.estimate(desk, rows[:limit])
