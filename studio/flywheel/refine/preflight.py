"""The pre-flight of an editor's training: checks its triplets and the held-out edits that it is measured by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from engines.api.params import TrainParams
from studio.flywheel.curate.coverage import Check
from studio.flywheel.enrich import edits, practice
from studio.flywheel.enrich.practice import Standing
from studio.flywheel.train import preflight
from studio.flywheel.train.entries import read_whole, thrown_away
from studio.flywheel.train.preflight import MANY
from studio.records.dataset import Entry, Lesson, Role
from studio.records.payload import PlanRow
from studio.records.review import Triplet
from studio.store.verdicts import HOLD_OUT_EVERY
from studio.workplace.desk import Desk

_MENDED = 5


def look(
    desk: Desk,
    params: TrainParams,
    model: str,
    entries: Sequence[Entry],
    held_out: Sequence[Triplet],
    begun: Sequence[Check] = (),
) -> preflight.Preflight:
    """Returns the report on whether an editor's training can start: its checks, memory, disk use and predicted time.

    `model` is the name of the editor, `entries` are the edits to train on. `held_out` are edits that are not trained
    on: the training job makes each of them twice, without and with the new LoRA, and the predicted time includes that.
    `begun` are checks of the LoRA that the training begins with. The model is not loaded. Raises: NotFound for an
    unknown model.
    """
    store = desk.store
    worded = [entry for entry in entries if entry.worded]
    musts = (
        *preflight.something(worded, "edits", "Approve or correct edited pictures in Review.", "Review"),
        *preflight.mask_files(store, params, worded),
        *preflight.role(desk.workplace, model, Role.EDITOR),
        *preflight.here(desk.workplace, model),
        *preflight.sense(params, ""),
        *begun,
    )
    checks = (
        *_lessons(entries, worded),
        *read_whole(desk, model, worded),
        *thrown_away(store, entries, held_out),
        _refused(practice.standings(desk)),
        Check(
            "there are test edits that show whether it got better",
            bool(held_out),
            f"One in {HOLD_OUT_EVERY} approved edits is kept for that: approve about {HOLD_OUT_EVERY} more in Review.",
            "Review",
        ),
        *preflight.mirror(params, worded),
        *preflight.masks(store, params, worded),
    )
    found = preflight.weighed(desk, params, model, worded, checks, musts)
    redone = [PlanRow(source=each.source, params=each.params) for each in (*held_out, *held_out)]
    can_edit = desk.workplace.registry.spec(model).role == preflight.LEARNERS[Role.EDITOR]
    after = edits.estimate(desk, redone, model).seconds if redone and can_edit else None
    return replace(found, seconds=found.seconds and found.seconds + (after or 0.0))


def _lessons(entries: Sequence[Entry], worded: Sequence[Entry]) -> Iterable[Check]:
    bare, mended = len(entries) - len(worded), sum(entry.kind is Lesson.GOLDEN for entry in worded)
    few = f"{len(worded)} now: review more edits."
    yield Check(f"at least {MANY} edits to learn from", len(worded) >= MANY, few, "Review")
    yield Check(
        f"at least {_MENDED} of them corrected by hand",
        mended >= _MENDED,
        f"{mended} now: correct wrong edits in Review; these alone show the editor what it cannot do yet.",
        "Review",
    )
    yield Check(
        "every edit has its instruction",
        not bare,
        f"{bare} have none and are left out: make these edits in Enrich, and approve them in Review.",
        "Enrich",
    )


def _refused(standings: Sequence[Standing]) -> Check:
    """Returns the check that some edits were refused; without a refused edit the editor has nothing new to learn."""
    weak, able = ([each.task for each in standings if bool(each.refused) is refused] for refused in (True, False))
    if not weak:
        hint = "None did, so it has little to learn. Ask Enrich for more edits, and reject in Review what is wrong."
        return Check("some edits went wrong, to learn from", False, hint, "Enrich")
    spared = f"; those of {', '.join(able)} are all right already" if able else ""
    return Check(f"edits of {', '.join(weak)} went wrong, to learn from{spared}", True)
