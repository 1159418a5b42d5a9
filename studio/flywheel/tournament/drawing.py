"""Runs the job of a tournament: draws it ask by ask, measures what it drew, and draws no more for clear losers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

from engines.api.crops import cut
from studio.flywheel import stacks
from studio.flywheel.enrich import contest
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich.drawing import Drawn, draw
from studio.flywheel.tournament import measures
from studio.flywheel.tournament.asking import rows_of
from studio.judging.judge import Judge
from studio.judging.reader import read_pictures
from studio.records.image import ImageRecord
from studio.records.payload import PlanRow, TournamentPayload
from studio.records.tournament import Tournament, Trial
from studio.workplace.context import Context

Place = tuple[str, int]  # (the contestant's key, the place of the ask)


def run(ctx: Context) -> None:
    """Runs the job of a tournament: every contestant makes the first ask of each task, then the next, and so on.

    After each ask its pictures are read by the captioner. What is drawn already is not drawn again. Verdicts that come
    meanwhile count: a contestant that they drop is drawn no further in that task.
    """
    made = ctx.store.tournaments.get(TournamentPayload.of(ctx.job).tournament)
    stacks.tell(ctx)
    judge, rows = Judge(ctx), rows_of(ctx.desk, made)
    rounds = max(len(made.places(task)) for task in contest.in_tasks(made))
    over = 0
    for number in range(rounds):
        places = [made.places(task)[number] for task in contest.in_tasks(made) if number < len(made.places(task))]
        for place in places:
            if place not in made.gone and (trouble := ctx.store.trouble(made.asks[place].source)):
                ctx.leave_out(made.asks[place].source, trouble, items=len(made.contestants))
                made = ctx.store.tournaments.put(made.replace(gone=(*made.gone, place)))  # nobody waits for it
        _draw(ctx, made, _left(ctx, made, places, rows), over, f"ask {number + 1} of {rounds}", judge)
        _read(ctx, made, f"ask {number + 1} of {rounds}")
        over += sum(place in places for _, place in rows)
        ctx.step(over, len(rows))
    made_of = contest.cells(ctx.store, made)
    ctx.demand_some(made_of)
    ctx.keep(images=tuple(image.id for image in made_of.values()))


def _left(ctx: Context, made: Tournament, places: Sequence[int], rows: Mapping[Place, PlanRow]) -> dict[Place, PlanRow]:
    """Returns the rows of the asks at `places` that have no picture yet and are still needed."""
    known = contest.cells(ctx.store, made)
    stands = {task: contest.standing(made, task, known) for task in contest.in_tasks(made)}
    return {
        cell: row
        for cell, row in rows.items()
        if cell[1] in places and cell not in known and cell[1] not in made.gone
        if contest.needed(stands[row.task], cell[0])
    }


def _draw(ctx: Context, made: Tournament, left: Mapping[Place, PlanRow], over: int, where: str, judge: Judge) -> None:
    """Draws rows and stores each result with its measures; `over` edits were made before, `where` names the ask."""
    cells, rows = list(left), dict(enumerate(left.values()))
    whole, done = ctx.job.total, 0

    def on_step(step: int, total: int, message: str = "") -> None:
        ctx.step(over + done, whole, f"drawing {where}: {message or f'step {step} of {total}'}")

    with closing(draw(ctx, rows, on_step)) as results:
        for each in results:
            _keep(ctx, made, cells[each.index], rows[each.index], each, judge)
            done += 1
            ctx.step(over + done, whole, f"drawing {where}")


def _keep(ctx: Context, made: Tournament, cell: Place, row: PlanRow, drawn: Drawn, judge: Judge) -> None:
    """Stores a drawn edit as a picture of its tournament, set aside where its contestant was dropped meanwhile."""
    stands = contest.standing(made, row.task, contest.cells(ctx.store, made))
    source = cut(ctx.store.open_whole(row.source), drawn.crop)
    trial = Trial(
        tournament=made.id,
        contestant=cell[0],
        ask=cell[1],
        seconds=round(drawn.seconds, 2),
        peak_bytes=drawn.peak_bytes,
        kept=measures.kept(source, drawn.image, row.asked),
        artefacts=measures.artefacts(source, drawn.image),
    )
    image = enrich.keep(ctx, row, drawn, judge, trial=trial, filtered=not contest.needed(stands, cell[0]))
    if image.trial is None:  # the same picture was stored before, outside this tournament
        ctx.store.update_image(image.id, trial=trial)


def _read(ctx: Context, made: Tournament, where: str) -> None:
    """Reads the tags of those pictures of the tournament that were not read yet, and stores them in their trial."""
    unread: list[tuple[ImageRecord, Trial]] = [
        (image, image.trial)
        for image in contest.cells(ctx.store, made).values()
        if image.trial is not None and image.trial.read is None and not image.trashed
    ]
    if unread:
        ctx.say(f"reading {where}")
        readings = read_pictures(ctx, [image for image, _ in unread]).pictures
        ctx.store.update_images(
            {
                image.id: {"trial": trial.replace(read=each.tags), "answers": each.answers}
                for (image, trial), each in zip(unread, readings, strict=True)
            }
        )
