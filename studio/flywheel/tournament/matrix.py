"""The matrix of a tournament: contestants × tasks with rates, paired tests and machine measures, and its files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from engines.api.errors import NotFound
from studio.flywheel.enrich import contest, routes
from studio.flywheel.enrich.contest import Cells
from studio.flywheel.tournament.asking import KIND
from studio.judging import races
from studio.judging.gallery import gallery_if_any, score_of
from studio.judging.outcomes import overall, rate
from studio.judging.races import Standing
from studio.judging.statistics import mean, median
from studio.records.base import Part
from studio.records.dataset import Role
from studio.records.image import ImageRecord
from studio.records.job import Job
from studio.records.outcome import Outcome, Rate
from studio.records.payload import TournamentPayload
from studio.records.tournament import Asked, Contestant, Contested, Tournament, Trial
from studio.store.durable import written_aside
from studio.workplace.desk import Desk

_FRAMING = "framing"
_INK, _PALE, _GOOD, _BAR = (30, 32, 38), (120, 124, 132), (46, 160, 94), (90, 120, 200)
_WIDE, _HIGH, _HEAD = 210, 46, 34  # pixels of a cell of the picture, and of its head


@dataclass(frozen=True, kw_only=True)
class Measured(Part):
    """Holds the machine's measures of a contestant's pictures that have a verdict; null where nothing is known."""

    identity: float | None
    """The median similarity to the originals."""
    done: float | None
    """The share on which the captioner read what was asked for, 0…1."""
    kept: float | None
    """The mean share of pixels that should not have changed and did not, 0…1."""
    framed: float | None
    """The share that shows as much of the person as it should, 0…1."""
    artefacts: int
    """The number with a fault of quality that the original does not have."""
    seconds: float | None
    """The median time to draw one."""
    peak_gib: float | None
    """The most memory of the card in use, in GiB."""


@dataclass(frozen=True, kw_only=True)
class Compared(Part):
    """Holds one cell of the matrix: how a contestant does at a task."""

    contestant: str
    """The contestant's key."""
    task: str
    """The task."""
    rate: Rate
    """The share of its edits that a person passed."""
    left: bool
    """Whether it is still compared."""
    dropped_after: int | None
    """The number of asks after which it was dropped as a clear loser; null where it was not."""
    defends: bool
    """Whether it makes the edits of this task now, so that the others have to beat it."""
    wins: bool
    """Whether it won the task by the paired test."""
    p: float | None
    """The p-value of its being better than the one in use; null for that one. Valid at any time."""
    better: int
    """The number of asks that it passed and the one in use did not."""
    worse: int
    """The number of asks that the one in use passed and it did not."""
    measured: Measured
    """The machine's measures."""
    images: tuple[str, ...]
    """The ids of its pictures that have a verdict, ask by ask."""


@dataclass(frozen=True, kw_only=True)
class TaskState(Part):
    """Holds how far a task is."""

    task: str
    """The task."""
    done: bool
    """Whether no more verdicts are needed."""
    best: str
    """The key of the contestant with the most passed asks of those still compared."""
    winner: str
    """The key of the contestant that won by the paired test; "" without one."""
    asked: int
    """The number of asks with all verdicts."""
    asks: int
    """The number of all asks."""
    looks: int
    """The number of verdicts in them."""


@dataclass(frozen=True, kw_only=True)
class Matrix(Part):
    """Holds a tournament's results so far."""

    tournament: Tournament
    """The tournament."""
    job_id: str
    """The id of the job that draws it."""
    names: dict[str, str]
    """The contestants' names for people, by key."""
    tasks: tuple[TaskState, ...]
    """How far each task is."""
    cells: tuple[Compared, ...]
    """The cells of the matrix, task by task."""
    waiting: int
    """The number of its pictures that wait for a verdict."""
    looks_most: int
    """The most verdicts that it takes."""


def tournaments(desk: Desk) -> list[Tournament]:
    """Returns the tournaments of a character that were queued, the newest first."""
    begun = {TournamentPayload.of(job).tournament for job in desk.workplace.jobs.list(desk.id) if job.kind == KIND}
    drawn = {each.trial.tournament for each in desk.store.images.all() if each.trial is not None}
    return [each for each in reversed(desk.store.tournaments.all()) if each.id in begun | drawn]


def job_of(desk: Desk, tournament: str) -> Job | None:
    """Returns the job that draws a tournament; None where it is gone."""
    jobs = [job for job in desk.workplace.jobs.list(desk.id) if job.kind == KIND]
    return next((job for job in jobs if TournamentPayload.of(job).tournament == tournament), None)


def matrix(desk: Desk, tournament_id: str = "") -> Matrix:
    """Returns the results of a tournament so far; "" is the newest. Raises: NotFound."""
    listed = tournaments(desk)
    found = next((each for each in listed if tournament_id in ("", each.id)), None)
    if found is None:
        raise NotFound(
            f"There is no tournament {tournament_id!r:.80}.", "Hold one in Enrich, or with tournament_submit."
        )
    known, job = contest.cells(desk.store, found), job_of(desk, found.id)
    stands = {task: contest.standing(found, task, known) for task in contest.in_tasks(found)}
    scorer = gallery_if_any(desk).version
    return Matrix(
        tournament=found,
        job_id=job.id if job else "",
        names={each.key: contest.label(desk, each) for each in found.contestants},
        tasks=tuple(
            TaskState(
                task=task,
                done=now.done,
                best=now.best,
                winner=now.winner,
                asked=now.asked,
                asks=len(found.places(task)),
                looks=now.looks,
            )
            for task, now in stands.items()
        ),
        cells=tuple(
            _compared(desk, found, task, each.key, known, now, scorer)
            for task, now in stands.items()
            for each in found.contestants
        ),
        waiting=sum(each.is_blind and not each.filtered and not each.trashed for each in known.values()),
        looks_most=len(found.asks) * len(found.contestants),
    )


def _compared(desk: Desk, made: Tournament, task: str, key: str, known: Cells, now: Standing, scorer: str) -> Compared:
    """Returns one cell of the matrix; `scorer` is the version of the identity scorer."""
    defender, places = made.defenders[task], made.places(task)
    said = [each for each in contest.answers(made, task, known) if each is not None and key in each]
    both = [(each[key], each[defender]) for each in said if defender in each]
    decided = [
        (made.asks[place], image) for place in places if (image := known.get((key, place))) and not image.is_blind
    ]
    return Compared(
        contestant=key,
        task=task,
        rate=rate([Outcome.PASS if each[key] else Outcome.FAIL for each in said]),
        left=key in now.left,
        dropped_after=now.out.get(key) if key != now.winner else None,
        defends=key == defender,
        wins=key == now.winner,
        p=None if key == defender else round(races.chance(now.evidence[key]), 4),
        better=both.count((True, False)),
        worse=both.count((False, True)),
        measured=_measured(desk, decided, scorer),
        images=tuple(image.id for _, image in decided),
    )


def _measured(desk: Desk, decided: Sequence[tuple[Asked, ImageRecord]], scorer: str) -> Measured:
    """Returns the machine's measures of pictures, each with its ask."""
    scores = [score for _, image in decided if (score := score_of(image, scorer)) is not None]
    trials: list[tuple[Asked, Trial]] = [(ask, image.trial) for ask, image in decided if image.trial is not None]
    done, framed = list[Outcome](), list[Outcome]()
    for ask, trial in trials:
        source = desk.store.images.peek(ask.source)
        wanted = {_FRAMING: source.tags[_FRAMING]} if source and _FRAMING in source.tags else {}
        wanted |= dict(ask.asked)
        seen = {axis: (trial.read or {}).get(axis) for axis in wanted}
        fits = {
            axis: Outcome.UNKNOWN if seen[axis] is None else Outcome.PASS if seen[axis] == value else Outcome.FAIL
            for axis, value in wanted.items()
        }
        done += [overall(fits[axis] for axis in ask.asked)] if ask.asked else []
        framed += [fits[_FRAMING]] if _FRAMING in fits else []
    kept = [trial.kept for _, trial in trials if trial.kept is not None]
    seconds = [trial.seconds for _, trial in trials if trial.seconds is not None]
    peaks = [trial.peak_bytes for _, trial in trials if trial.peak_bytes]
    return Measured(
        identity=round(median(scores), 4) if scores else None,
        done=rate(done).rate,
        kept=round(mean(kept), 4) if kept else None,
        framed=rate(framed).rate,
        artefacts=sum(bool(trial.artefacts) for _, trial in trials),
        seconds=round(median(seconds), 2) if seconds else None,
        peak_gib=round(max(peaks) / (1 << 30), 2) if peaks else None,
    )


# ── a new version of the own editor ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Challenge(Part):
    """Holds a tournament that is offered: the newest version of the own editor against the present winners."""

    contestant: Contestant
    """The version that has not met them."""
    name: str
    """Its name for people."""
    tasks: tuple[str, ...]
    """The tasks that have a route."""


def challenge(desk: Desk) -> Challenge | None:
    """Returns the tournament of the newest own editor's version against the winners of the tasks that have a route.

    None where there is no such task, no version, or the newest took part in a tournament of one of them already.
    """
    known = {task: each for task, each in routes.routes(desk).items() if each.contestant is not None}
    model = desk.store.character.editor
    versions = [each for each in desk.store.kept_versions(Role.EDITOR) if each.model == model]
    if not known or not versions:
        return None
    own = Contestant(model=model, version=versions[-1].id)
    met = {
        task
        for each in tournaments(desk)
        if any(one.draws == own for one in each.contestants)
        for task in contest.in_tasks(each)
    }
    tasks = tuple(task for task, each in known.items() if task not in met)
    return Challenge(contestant=own, name=contest.label(desk, own), tasks=tasks) if tasks else None


def challenged(found: Challenge) -> tuple[Contested, ...]:
    """Returns the tasks of an offered tournament, with all their values."""
    return tuple(Contested(task=task) for task in found.tasks)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def save_csv(desk: Desk, tournament_id: str = "") -> Path:
    """Writes the matrix as a CSV file with a line for each cell, and returns its path. Raises: NotFound, UserError."""
    found = matrix(desk, tournament_id)
    measures = [each.name for each in fields(Measured)]
    head = ["task", "contestant", "name", "passed", "judged", "rate", "low", "high", "in use", "won", "dropped after"]
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow([*head, "better", "worse", "p", *measures])
    for each in found.cells:
        told = [each.task, each.contestant, found.names[each.contestant], each.rate.k, each.rate.judged]
        shares = [each.rate.rate, round(each.rate.low, 4), round(each.rate.high, 4)]
        state = [each.defends, each.wins, each.dropped_after, each.better, each.worse, each.p]
        lines.writerow([*told, *shares, *state, *(getattr(each.measured, name) for name in measures)])
    target = desk.store.run_dir("exports") / f"{found.tournament.id}.csv"
    with written_aside(target) as stream:
        stream.write(text.getvalue().encode())
    return target


def save_png(desk: Desk, tournament_id: str = "") -> Path:
    """Writes the matrix as a picture, contestants in rows and tasks in columns, and returns its path.

    A cell shows the share that passed with its 95 % interval. Raises: NotFound, UserError.
    """
    found = matrix(desk, tournament_id)
    tasks, keys = [each.task for each in found.tasks], list(found.names)
    wide = 2 * _WIDE
    sheet = Image.new("RGB", (wide + _WIDE * len(tasks), 2 * _HEAD + _HIGH * len(keys)), "white")
    pen, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    title = f"{desk.store.character.name}: tournament of {found.tournament.created[:10]}"
    pen.text((10, 8), title, fill=_INK, font=font)
    for column, task in enumerate(tasks):
        pen.text((wide + column * _WIDE, _HEAD), task, fill=_INK, font=font)
    for each in found.cells:
        left, top = wide + tasks.index(each.task) * _WIDE, 2 * _HEAD + keys.index(each.contestant) * _HIGH
        pen.text((10, top + 6), found.names[each.contestant][:60], fill=_INK, font=small)
        mark = "in use" if each.defends else "won" if each.wins else f"p {each.p:.3f}"
        told = f"{each.rate.k} of {each.rate.judged}  {mark}"
        pen.text((left, top + 2), told, fill=_GOOD if each.wins else _INK, font=small)
        room = _WIDE - 20
        pen.line((left, top + 28, left + room, top + 28), fill=_PALE)
        if each.rate.rate is not None:
            ends = (left + each.rate.low * room, top + 28, left + each.rate.high * room, top + 28)
            pen.line(ends, fill=_BAR, width=4)
            at = left + each.rate.rate * room
            pen.ellipse((at - 4, top + 24, at + 4, top + 32), fill=_GOOD if each.wins else _BAR)
    target = desk.store.run_dir("exports") / f"{found.tournament.id}.png"
    with written_aside(target) as stream:
        sheet.save(stream, "PNG")
    return target
