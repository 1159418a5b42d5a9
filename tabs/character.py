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
from tabs.common.shell import Page, Render, Said, html

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
    look: list[Render] = [(draw_opened, [opened], [shown]), (draw_runs, [opened], [past])]
    page.show([(draw_story, [], [story]), *compared, (draw_editors, [], [editors]), *fields], live=look)
    page.act(story, story_act, [opened], [opened, written, *pair], then=look)
    for block in (shown, editors, past, written):
        page.act(block, act, [opened], [opened, written], then=look)


# ── the story ───────────────────────────────────────────────────────────────────────────────────


def draw_story(desk: Desk) -> Markup:
    """Returns the versions of the character's LoRA as HTML, one row each, newest first; the base model is last."""
    chapters = history.story(desk)
    thrown = [each for each in desk.store.versions.all() if each.trashed]
    rows = [chapter_row(desk, each, chapters) for each in chapters]
    return view("character", "story", who=desk.store.character, rows=rows, count=len(chapters) - 1, thrown=thrown)


def chapter_row(desk: Desk, chapter: Chapter, chapters: Sequence[Chapter]) -> Markup:
    """Returns the row of one version, or of the base model, as HTML.

    The row shows sample pictures, the version's key numbers, and pictures that it was trained on. One of its buttons
    compares the version with another one. `chapter` is the row's version or base model; `chapters` are all versions and
    the base model, newest first.
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
        files=exports.buttons(desk, version.id) if version else "",
    )


def facts(version: Version) -> list[str]:
    """Returns the key facts of a version as a list of short texts.

    They are its model, LoRA rank, training steps, share of original pictures among its training examples, and date and
    time of creation. Unknown ones are left out.
    """
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
    """Returns as HTML the thumbnail of a picture that a version was trained on; a click opens it in the viewer.

    `image` is the picture's id. For a picture that is gone, a note takes the thumbnail's place.
    """
    record = store.images.peek(image)
    file = looks.thumb(store, image, record.crop) if record else None
    return looks.picture(file, name_of(record, image), enlarge=image if record else "")


def name_of(record: ImageRecord | None, image: str) -> str:
    """Returns a picture's description as text.

    A `record` of None means that the picture is gone; the first characters of `image`, its id, are then returned.
    """
    return looks.describe(record) if record else image[:12]


def rival(chapter: Chapter, chapters: Sequence[Chapter], in_use: str) -> Chapter | None:
    """Returns the version to compare with the version in `chapter`; None where there is none.

    It is the LoRA version in use, or else the next older version, or else any other; the base model counts as the
    oldest version. Both need a model card, that is evaluation pictures: versions without one are skipped, and if
    `chapter` has none the result is None. `chapters` are all versions and the base model, newest first. `in_use` is the
    id of the version in use, "" for the base model.
    """
    others = [each for each in chapters if each.card and each is not chapter]
    older = [each for each in others if chapters.index(each) > chapters.index(chapter)]
    used = [each for each in others if each.id == in_use and in_use]
    return next(iter([*used, *older, *others]), None) if chapter.card else None


# ── a run or a version's pictures, opened ───────────────────────────────────────────────────────


def draw_opened(desk: Desk, opened: str) -> Markup:
    """Returns as HTML the details that the user opened: those of one training, or the training pictures of one version.

    `opened` is `run:JOB`, with a job's id, for a training's loss curve, samples and checkpoints. It is
    `learned:VERSION`, with a version's id, for the pictures that the version was trained on. For "" the HTML is empty.
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
    """Returns as HTML the list of all trainings of the character's LoRA and of the editor model's LoRA, newest first.

    Cancelled and failed ones are included. `opened` is `run:JOB`, with a job's id, for the training to mark as open.
    """
    return run.past(desk, ("train", "refine"), opened.removeprefix(f"{RUN}:"), "#story-opened")


# ── the editor ──────────────────────────────────────────────────────────────────────────────────


def draw_editors(desk: Desk) -> Markup:
    """Returns the versions of the editor model's LoRA as HTML, newest first; empty where there are none.

    Each version is shown with its held-out edits, which it was not trained on: their results without and with the LoRA.
    """
    store = desk.store
    rows = [editor_row(desk, each) for each in reversed(store.kept_versions(Role.EDITOR))]
    return view("character", "editors", rows=rows) if rows else Markup()


def editor_row(desk: Desk, version: Version) -> Markup:
    """Returns one version of the editor model's LoRA as HTML: its key facts, its buttons, and its held-out edits.

    A held-out edit is one that the version was not trained on.
    """
    store, (state, tone) = desk.store, run.STATES[version.state]
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
        files=exports.buttons(desk, version.id),
    )


def edit_pair(store: Store, each: Redone) -> Markup:
    """Returns one held-out edit as HTML: its source picture, its result without and with the LoRA, and its instruction.

    A held-out edit is one that the editor model was not trained on. Each of the two results is marked right, wrong or
    unknown. `each` holds the ids of the pictures, and the two marks.
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
    """Handles a click on a button of a version's row: chooses two versions to compare, or passes the click on to `act`.

    `data` is what the clicked button sent. `opened` names the details that are open, such as `run:JOB`, "" for none.
    Returns four values: the new `opened`, a note on a written file as HTML, and the ids of the two versions to compare,
    the older one first.
    """
    if data.get("act") == "compare":
        return opened, gr.skip(), str(data.get("before", "")), str(data.get("after", ""))
    done = act(desk, data, opened)
    same = (gr.skip(), gr.skip())
    return Said(done.words, (*done.values, *same)) if isinstance(done, Said) else (*done, *same)


def act(desk: Desk, data: dict[str, Any], opened: str) -> Any:
    """Handles a click on a button of the character's page, such as those that adopt, export or trash a version.

    `data` is what the button sent. `opened` names the details that are open, such as `run:JOB`, "" for none. Returns
    the new value of `opened`, and a note as HTML; where the page does not show the effect itself, a notice as well.
    Raises: BadInput for an unknown button; other UserErrors come from the called functions.
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
