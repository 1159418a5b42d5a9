"""A character with a story: two versions with cards, a stopped training, and a version of its editor."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from engines.api.params import EditParams, GenerateParams, TrainParams
from engines.wording.cells import CARD_CELLS
from studio.flywheel.train import character as train
from studio.records.card import CardRun, Cell
from studio.records.character import Character
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.job import Job, JobState
from studio.records.outcome import Axes, Outcome
from studio.records.version import Comparison, Metrics, Pair, Side, Version
from studio.store import Store
from studio.workplace.desk import Workplace
from tests.tabs.colour_blocks import picture, png
from tests.tabs.waiting import ended

PASS, FAIL = Outcome.PASS, Outcome.FAIL
GAINED, LOST = "front smiling", "T-pose"  # the cells in which the second version differs from the first
NUMBERS = count(1000)


@dataclass(frozen=True)
class Story:
    """What was made: the versions, oldest first, the stopped training and the editor's version."""

    one: Version
    two: Version
    stopped: Job
    editor: Version


def put_card(store: Store, version: str, wrong: Sequence[str]) -> CardRun:
    """A card of one seed, in which some cells are wrong; each cell has the same words and seed on every card."""
    cells = []
    for cell in CARD_CELLS:
        asked = GenerateParams(prompt=f"ohwx person, {cell.name}", seed=7)
        fields = {"params": asked.to_json(), "params_kind": "GenerateParams", "seed": 7, "version": version}
        likeness = 0.4 if cell.name in wrong else 0.7
        drawn = png(picture(next(NUMBERS)))
        made = store.add_image(drawn, kind=Kind.CARD, model="fake-flux", scores={"fake-identity-1": likeness}, **fields)
        verdict = FAIL if cell.name in wrong else PASS
        axes = {"identity": verdict}
        cells.append(Cell(cell=cell.name, seed=7, image=made.id, identity=likeness, axes=axes, verdict=verdict))
    made_card = CardRun(id=f"card-{version or 'base'}", version=version, job="", seeds=(7,), cells=tuple(cells))
    return store.cards.put(made_card.replace(originals=4))


def put_editor(store: Store, model: str, source: str, adapter: Version) -> Version:
    """A version of the editor with three held-out edits, the second of which it improved."""
    pairs, turns = [], [(PASS, PASS), (FAIL, PASS), (PASS, FAIL)]
    for at in range(len(turns)):
        asked = EditParams(instruction=f"smile {at}", seed=at)
        fields = {"params": asked.to_json(), "params_kind": "EditParams", "parent": source, "seed": at}
        fields["caption"] = f"ohwx person, smiling {at}"
        right, before, after = (
            store.add_image(png(picture(next(NUMBERS))), kind=Kind.ENRICHED, model=model, **fields) for _ in range(3)
        )
        store.decide(right.id, Verdict.GOOD)
        pairs.append(Pair(triplet=right.id, task="expression", before=before.id, after=after.id))
    sides: list[tuple[Axes, ...]] = [tuple({"expression": turn[side]} for turn in turns) for side in (0, 1)]
    before_side, after_side = (Side(outcomes=each, accepted=2 / 3, judged=3) for each in sides)
    edits = Comparison(n=3, originals=4, before=before_side, after=after_side, judged=3, better=1, worse=1)
    adapter_file = store.adapter_path(adapter.id)
    return store.add_version(
        adapter_file, role=Role.EDITOR, model=model, metrics=Metrics(edits=edits.replace(pairs=tuple(pairs)))
    )


def tell(studio: Workplace, who: Character) -> Story:
    """Makes all of it on fakes; the queue runs afterwards."""
    desk, store = studio.desk(who.id), studio.store(who.id)
    sources = [
        store.add_image(png(picture(n)), kind=Kind.SOURCE, caption=f"ohwx person {n}", name=f"{n}.png").id
        for n in range(4)
    ]
    params = studio.registry.spec(who.generator).params(TrainParams, steps=6, save_every=3, sample_every=3)
    studio.jobs.start()
    for seed in range(2):
        job = ended(studio, train.submit(desk, params.replace(seed=seed)))
        assert job.state is JobState.DONE, job.error
    long = train.submit(desk, params.replace(steps=100_000, save_every=50, sample_every=0))
    while studio.jobs.get(long.id).step < 5:
        threading.Event().wait(0.005)
    studio.jobs.cancel(long.id)
    stopped = ended(studio, long)
    one, two = store.kept_versions(Role.CHARACTER)
    names = [cell.name for cell in CARD_CELLS]
    put_card(store, "", names)
    put_card(store, one.id, [GAINED])
    put_card(store, two.id, [LOST])
    return Story(one, two, stopped, put_editor(store, who.editor, sources[0], one))
