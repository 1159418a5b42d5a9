"""The character's page: its versions in pictures, a comparison of two, drift, past trainings, and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput, UserError
from engines.api.params import EditParams, TrainParams
from studio.flywheel import card, history
from studio.flywheel.history import Chapter, Redone
from studio.flywheel.train import checkpoints as choosing
from studio.flywheel.train import keeping, runs
from studio.records.dataset import Role
from studio.records.image import ImageRecord
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Desk
from tabs import refine, train
from tabs.common import comparing, exports, identity, looks, run
from tabs.common.looks import view
from tabs.common.shell import Drawing, Page, Said, html

FEW = 6  # pictures shown of each group that a version learned from
RUN, LEARNED = "run", "learned"


def build(page: Page) -> None:
    """Lays out the character's page and connects its handlers."""
    opened = gr.State("")
    back = html(elem_id="story-back")
    story = html(looks.waiting(), elem_id="story")
    shown = html(elem_id="story-opened")
    written = html(elem_id="story-written")
    compared, pair = comparing.build(page)
    editors = html(elem_id="story-editors")
    past = html(elem_id="story-runs")
    fields = identity.build(page, back)
    look: list[Drawing] = [(draw_opened, [opened], [shown]), (draw_runs, [opened], [past])]
    page.show([(draw_story, [], [story]), *compared, (draw_editors, [], [editors]), *fields], live=look)
    page.act(story, story_act, [opened], [opened, written, *pair], then=look)
    for block in (shown, editors, past, written):
        page.act(block, act, [opened], [opened, written], then=look)


# ── the story ───────────────────────────────────────────────────────────────────────────────────


def draw_story(desk: Desk) -> Markup:
    """Returns the character's versions as HTML, one row each, newest first, and the base model as the last row."""
    chapters = history.story(desk)
    thrown = [each for each in desk.store.versions.all() if each.trashed]
    rows = [chapter_row(desk, each, chapters) for each in chapters]
    return view("character", "story", who=desk.store.character, rows=rows, count=len(chapters) - 1, thrown=thrown)


def chapter_row(desk: Desk, chapter: Chapter, chapters: Sequence[Chapter]) -> Markup:
    """Returns one version's row as HTML: its pictures, its figures, what it learned from, and its buttons.

    `chapter` is the version, or the base model, with its model card and its figures; `chapters` are all, newest first.
    """
    store, version = desk.store, chapter.version
    in_use = store.adopted(Role.CHARACTER)
    other = rival(chapter, chapters, in_use.id if in_use else "")
    pair = sorted([chapter, other], key=chapters.index, reverse=True) if other else []  # the older one first
    state, tone = run.STATES[version.state] if version else (("", "") if in_use else ("in use", "good"))
    return view(
        "character",
        "chapter",
        chapter=chapter,
        version=version,
        state=state,
        tone=tone,
        facts=facts(version) if version else [store.character.generator],
        settings=settings(version) if version else "",
        faces=[
            (looks.thumb(store, each.image) if each.image else None, each.label, each.image) for each in chapter.faces
        ],
        target=card.TARGET,
        groups=[(group, [shot(store, image) for image in group.images[:FEW]]) for group in chapter.groups],
        few=FEW,
        decisions=run.decisions(store, version) if version else "",
        rival=other.name if other else "",
        pair=[each.id or comparing.BASE for each in pair],
        files=exports.buttons(version.id) if version else "",
    )


def facts(version: Version) -> list[str]:
    """Returns a version's key facts as short texts: model, rank, steps, share of originals, date and time."""
    rank, known, of_character = version.params.get("rank"), version.metrics, version.role is Role.CHARACTER
    return [
        version.model,
        *([f"rank {rank}"] if rank else []),
        *([f"{known.steps} steps"] if known.steps else []),
        *([f"{known.real_share:.0%} originals"] if known.real_share is not None and of_character else []),
        f"{version.created[:10]} {version.created[11:16]}",
    ]


def settings(version: Version) -> str:
    """Returns the settings that a version was trained with as one line of text; "" where they cannot be read."""
    try:
        params = TrainParams.kept(version.params)
    except UserError:  # those of another FLENwheel
        return ""
    return (train.FORM if version.role is Role.CHARACTER else refine.FORM).told(params)


def shot(store: Store, image: str) -> Markup:
    """Returns as HTML the thumbnail of a picture that a version learned from; a click opens it in the viewer."""
    record = store.images.peek(image)
    file = looks.thumb(store, image, record.crop) if record else None
    return looks.picture(file, name_of(record, image), enlarge=image if record else "")


def name_of(record: ImageRecord | None, image: str) -> str:
    """Returns a picture's description as text; where its record is gone, the start of its id `image`."""
    return looks.describe(record) if record else image[:12]


def rival(chapter: Chapter, chapters: Sequence[Chapter], in_use: str) -> Chapter | None:
    """Returns the version to offer for a comparison of model cards, as a chapter; None where there is none.

    It is the version in use, or else the next older one with a model card, or else any other. `in_use` is the id of the
    version in use, "" for the base model.
    """
    others = [each for each in chapters if each.card and each is not chapter]
    older = [each for each in others if chapters.index(each) > chapters.index(chapter)]
    used = [each for each in others if each.id == in_use and in_use]
    return next(iter([*used, *older, *others]), None) if chapter.card else None


# ── a run or a version's pictures, opened ───────────────────────────────────────────────────────


def draw_opened(desk: Desk, opened: str) -> Markup:
    """Returns as HTML what a click opened: a training with its curve, samples and checkpoints, or pictures.

    `opened` is `run:JOB` for a training and `learned:VERSION` for the pictures that a version learned from; "" for
    nothing.
    """
    what, _, name = opened.partition(":")
    if what == RUN and any(job.id == name for job in desk.workplace.jobs.list(desk.id)):
        job = desk.workplace.jobs.get(name)
        seen = runs.progress(desk.workplace, job.id)
        grid = train.samples(desk.store, job, seen.samples, choosing.choices(desk.workplace, job.id, seen))
        return view("character", "opened", body=run.panel(desk.workplace, job, seen) + grid)
    version = desk.store.versions.peek(name) if what == LEARNED else None
    if version is None:
        return Markup()
    found = [
        (group, [(shot(desk.store, image), name_of(desk.store.images.peek(image), image)) for image in group.images])
        for group in history.groups(desk.store, version)
    ]
    return view("character", "opened", body=view("character", "learned", name=version.name, groups=found))


def draw_runs(desk: Desk, opened: str) -> Markup:
    """Returns as HTML all trainings of the character and of its editor, newest first.

    Cancelled and failed ones are included. `opened` as in `draw_opened`.
    """
    return run.past(desk, ("train", "refine"), opened.removeprefix(f"{RUN}:"), "#story-opened")


# ── the editor ──────────────────────────────────────────────────────────────────────────────────


def draw_editors(desk: Desk) -> Markup:
    """Returns the editor's versions as HTML, newest first, each with its held-out edits before and after."""
    store = desk.store
    rows = [editor_row(store, each) for each in reversed(store.kept_versions(Role.EDITOR))]
    return view("character", "editors", rows=rows) if rows else Markup()


def editor_row(store: Store, version: Version) -> Markup:
    """Returns one version of the editor as HTML: its figures, its buttons, and its held-out edits."""
    state, tone = run.STATES[version.state]
    return view(
        "character",
        "editor",
        version=version,
        edits=history.judged(store, version),
        state=state,
        tone=tone,
        facts=facts(version),
        settings=settings(version),
        pairs=[edit_pair(store, each) for each in history.redone(store, version)],
        decisions=run.decisions(store, version),
        files=exports.buttons(version.id),
    )


def edit_pair(store: Store, each: Redone) -> Markup:
    """Returns one held-out edit as HTML: the source, the base editor's result and the version's, and the instruction.

    Each result is marked right, wrong or unknown.
    """
    triplet = store.triplets.peek(each.triplet)
    record = store.images.peek(each.after)
    source = looks.thumb(store, each.source, record.source_crop if record else ()) if each.source else None
    shots = [
        (source, "source", "", each.source),
        (looks.thumb(store, each.before), "base", looks.MARKS[each.was], each.before),
        (looks.thumb(store, each.after), "with the LoRA", looks.MARKS[each.now], each.after),
    ]
    words = EditParams.kept(triplet.params).headline() if triplet and triplet.params else ""
    return view("character", "edit", shots=shots, turn=each.turn, task=each.task, words=words)


# ── acts ────────────────────────────────────────────────────────────────────────────────────────


def story_act(desk: Desk, data: dict[str, Any], opened: str) -> Any:
    """Handles a click on a version's row: chooses two versions to compare, or does what `act` does.

    Returns what is opened, a note on a written file, and the ids of the two versions to compare.
    """
    if data.get("act") == "compare":
        return opened, gr.skip(), str(data.get("before", "")), str(data.get("after", ""))
    done = act(desk, data, opened)
    same = (gr.skip(), gr.skip())
    return Said(done.words, (*done.values, *same)) if isinstance(done, Said) else (*done, *same)


def act(desk: Desk, data: dict[str, Any], opened: str) -> Any:
    """Handles a click on the page; returns what is opened, as in `draw_opened`, and a note as HTML.

    A notice comes with them where the page itself does not show the effect. Raises: BadInput for an unknown act, and
    what the called functions raise.
    """
    what, name, job = (str(data.get(each, "")) for each in ("act", "version", "job"))
    if what in ("close", RUN, LEARNED):
        return ("" if what == "close" else f"{what}:{job or name}"), gr.skip()
    if what in ("adopt", "roll_back"):
        done = run.decide(desk, data)
        return Said(done.words, (opened, Markup()))
    if what == exports.ACT:
        return opened, exports.export(desk, data)
    if what == "note":
        known = keeping.note(desk, name, str(data.get("text", "")))
        return Said(f"Notes of {known.name} are saved.", (opened, gr.skip()))
    if what == "card":
        title = card.submit(desk, name).title
        return Said(f"{title}: in the queue. The pictures stand here when it is done.", (opened, gr.skip()))
    if what == "throw":
        gone = keeping.trash(desk, name)
        return opened, view("character", "thrown", version=gone)
    if what == "restore":
        there = keeping.restore(desk, name)
        return Said(f"{there.name} is back.", (opened, Markup()))
    if what in ("unwritten", "quiet"):
        return opened, Markup()
    handled = train.live_act(desk, data)
    if handled is None:
        raise BadInput("The page has no such button.", "Reload the page.")
    return Said(handled.words, (opened, gr.skip()))
