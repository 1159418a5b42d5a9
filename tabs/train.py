"""The Train tab: settings and pre-flight of a training, its loss and samples while it runs, and the versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import NotFound
from engines.api.params import TrainParams, params_class
from studio.flywheel.train import character as train
from studio.flywheel.train import checkpoints as choosing
from studio.flywheel.train import runs
from studio.flywheel.train.checkpoints import Choice
from studio.records.dataset import Role
from studio.records.job import Job
from studio.records.version import Version, VersionState
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import exports, looks, missing, preflight, run, training
from tabs.common.knobs import models
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, html, jobs_of, queued

FORM = training.Form("train", training.CHARACTER)
KNOBS = FORM.names
PHASES = [("Everything", "all"), ("Head and expressions", "head"), ("Full body", "body")]
SCENES = [("the best, as many as originals", "best"), ("all that were approved", "all"), ("none", "none")]
USUAL = "usual"
_USUAL = ("the version in use, if it fits", USUAL)
_DIGITS = 4


def build(page: Page) -> None:
    """Lays out the Train tab and connects its handlers."""
    opened, whose = gr.State(""), gr.Textbox(visible="hidden")
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=3, elem_classes="fl-side"):
            phase = gr.Radio(PHASES, value="all", label="Learn from", elem_id="train-phase")
            model = gr.Dropdown([], label="Model")
            steps = FORM.steps()
            chosen = html(elem_id="train-chosen")
            with gr.Accordion("Advanced", open=False):
                start_from = gr.Dropdown([_USUAL], value=USUAL, label="Go on from", elem_id="train-start-from")
                told = "of the new ones that you approved; those with a star first"
                scenes = gr.Dropdown(SCENES, value="best", label="Scenes that teach", info=told, elem_id="train-scenes")
                fold = FORM.fold()
            ready = html(looks.waiting(), elem_id="train-preflight")
            elsewhere = html(exports.elsewhere(Role.CHARACTER), elem_id="train-elsewhere")
            with gr.Row(elem_classes="fl-launch"):
                verdict = html(elem_id="train-verdict")
                start = gr.Button("Train", elem_id="train-start")
        with gr.Column(scale=5):
            live = html(looks.waiting(), elem_id="train-live")
            grid = html(elem_id="train-checkpoints")
            longer = run.longer(page, "train")
            past = html(elem_id="train-runs")
            versions = html(elem_id="train-versions")
            written = html(elem_id="train-written", elem_classes="fl-answer")

    values = [steps, *fold]
    knobs = [model, *values]
    size, sizes = (values[KNOBS.index(name)] for name in ("resolution", "resolutions"))
    asked = [phase, scenes, start_from, *knobs]
    check = (draw_preflight, asked, [ready, chosen, verdict, start])
    models = (fill_models, [whose, model], [whose, *knobs])
    starts = (fill_starts, [start_from], [start_from])
    drawn: list[Render] = [models, starts, check, longer, (draw_versions, [], [versions])]
    look: list[Render] = [(draw_live, [opened], [live, grid]), (draw_runs, [opened], [past])]
    page.show(drawn, live=look)
    page.redraw([model.input], (fill_own, [model], values))
    page.redraw([size.input], (fill_sizes, [size, sizes], [sizes]))
    page.redraw([each.change for each in asked], check)
    page.on(start.click, start_training, asked, [opened], then=look)
    page.act(past, open_run, [], [opened], then=look)
    page.act(chosen, chosen_act, [model], values)
    page.act(live, live_act)
    missing.wire(page, ready)
    page.act(grid, live_act)
    page.act(elsewhere, save_pictures, [phase, scenes], [written])
    page.act(versions, versions_act, [], [written])
    page.act(written, exports.put_away, [], [written])


# ── before a training ────────────────────────────────────────────────────────────────────────────


def fill_models(desk: Desk, whose: str, model: str | None) -> list[Any]:
    """Returns a list: the character's id, a Gradio update of the dropdown of models, and one for each training setting.

    The dropdown offers the generator models that can be trained; `model` is the name of the one selected now. `whose`
    is the id of the character that the widgets were filled for, "" for none. Where `desk` is on another character, or
    `model` is no choice, model and settings are reset to the character's defaults; else the user's entries stay.
    """
    choices = models(desk.workplace, "generator", lambda spec: spec.trainer)
    stays = whose == desk.id and model in [value for _, value in choices]
    chosen = model if stays else desk.store.character.generator
    values = [gr.skip()] * len(KNOBS) if stays else fill_own(desk, chosen)
    return [desk.id, gr.update(choices=choices, value=chosen), *values]


def fill_starts(desk: Desk, start: str | None) -> Any:
    """Returns a Gradio update of the dropdown of versions whose LoRA a training can continue.

    `start` is the value selected now and stays selected where it is still a choice; else USUAL, the version in use, is
    selected.
    """
    versions = desk.store.kept_versions(Role.CHARACTER)
    choices = [_USUAL, ("nothing", ""), *((each.name, each.id) for each in reversed(versions))]
    return gr.update(choices=choices, value=start if start in [value for _, value in choices] else USUAL)


def begin_with(desk: Desk, start: str | None, model: str, params: TrainParams) -> str:
    """Returns the id of the version whose LoRA the training continues; "" starts a new LoRA.

    `start` is a version's id, "" for a new LoRA, or USUAL. USUAL is the version in use, or a new LoRA where that
    version does not fit the model and `params`.
    """
    return train.usual_start(desk, model, params) if start == USUAL else start or ""


def preset(desk: Desk, model: str | None) -> list[Any]:
    """Returns a model's default training parameters as a list of values, one for each widget of the training settings.

    `model` is the model's name; None means the generator that the character uses.
    """
    return FORM.preset(desk.workplace.registry.spec(model or desk.store.character.generator))


def fill_own(desk: Desk, model: str | None) -> list[Any]:
    """Returns a list of Gradio updates that put a model's default values into the widgets of the training settings.

    The note under each widget then tells the default. `model` is the model's name; None is the character's generator.
    """
    return FORM.shown(desk.workplace.registry.spec(model or desk.store.character.generator))


def chosen_act(desk: Desk, data: dict[str, Any], model: str | None) -> list[Any]:
    """Handles a click on a preset length of training, or on a button that resets settings to the model's defaults.

    `data` is what the clicked button sends; `model` is the model's name, None for the character's generator. Returns a
    list with a Gradio update for each training setting; see `Form.act`. Raises: BadInput.
    """
    return FORM.act(desk.workplace.registry.spec(model or desk.store.character.generator), data)


def fill_sizes(desk: Desk, resolution: float | None, chosen: Sequence[int]) -> Any:
    """Returns a Gradio update of the checkboxes of further training sizes, all of them smaller than `resolution`.

    A training can use several sizes; at a size of n, pictures have about n × n pixels. `resolution` is the largest of
    them; with None no size is offered. `chosen` are the sizes ticked now; those smaller than `resolution` stay ticked.
    """
    return training.smaller_sizes(resolution, chosen)


def settle(desk: Desk, model: str | None, *values: Any) -> tuple[str, TrainParams]:
    """Returns the name of the model to train, and the training parameters that the fields ask for.

    `model` is the model's name, None for the character's generator. `values` are those of the fields in the order of
    KNOBS; an empty field leaves the model's default. Raises: BadInput.
    """
    name = model or desk.store.character.generator
    return name, FORM.settle(desk.workplace.registry.spec(name), values)


def draw_preflight(
    desk: Desk, phase: str, scenes: str, start: str | None, model: str | None, *values: Any
) -> tuple[Markup, Markup, Markup, Any]:
    """Returns what the tab shows before a training: three pieces of HTML, and an update of the button that trains.

    The HTML is the pre-flight (the checks before a training), the settings that differ from the model's defaults, and
    the verdict whether the training can start. `phase`, a value of PHASES, selects the pictures to learn from;
    `scenes`, a value of SCENES, selects the generated pictures that are added. `start` as in `begin_with`, `model` and
    `values` as in `settle`. Raises: BadInput for invalid values, NotFound for an unknown version or model.
    """
    name, params = settle(desk, model, *values)
    begun = begin_with(desk, start, name, params)
    found = train.preflight(desk, params, name, phase=phase, start=begun, scenes=scenes)
    spec = desk.workplace.registry.spec(name)
    shown = missing.card(desk.workplace, name) + preflight.panel(
        found,
        spec,
        looks.plural(len(found.entries), "picture"),
        [f"{found.real_share:.0%} of what it sees are originals"],
        f"{FORM.told(params)} · {f'goes on from {desk.store.versions.get(begun).name}' if begun else 'a new LoRA'}",
    )
    return shown, FORM.chosen(spec, params), *preflight.launch(desk, found, Role.CHARACTER, "train")


def start_training(desk: Desk, phase: str, scenes: str, start: str | None, model: str | None, *values: Any) -> Said:
    """Queues the training; returns a notice, and "" as the id of the training to show, which selects the newest.

    Arguments as in `draw_preflight`. Raises: BadInput, NotFound.
    """
    name, params = settle(desk, model, *values)
    begun = begin_with(desk, start, name, params)
    return queued(train.submit(desk, params, name, phase=phase, start=begun, scenes=scenes), "")


def save_pictures(desk: Desk, data: dict[str, Any], phase: str, scenes: str) -> str:
    """Writes a zip file of the pictures that a training would use, for another training tool; returns a download link.

    The link is HTML. `data` names the tool; `phase` and `scenes` as in `draw_preflight`. Raises: BadInput.
    """
    return exports.export_pictures(desk, data, Role.CHARACTER, train.dataset(desk, phase, scenes))


# ── during a training ────────────────────────────────────────────────────────────────────────────


def draw_live(desk: Desk, opened: str = "") -> tuple[Markup, Markup]:
    """Returns two pieces of HTML: a training with its progress and loss, and a table of its samples by checkpoint.

    `opened` is the id of the training's job; "" or an unknown id is the newest training.
    """
    jobs = jobs_of(desk, "train")
    if not jobs:
        words = "No training yet. When the pre-flight says “ready”, “Train” makes the first version."
        return looks.empty(words), Markup()
    job = next((each for each in jobs if each.id == opened), jobs[0])
    seen = runs.progress(desk.workplace, job.id)
    choices = choosing.choices(desk.workplace, job.id, seen)
    return Markup(run.panel(desk.workplace, job, seen)), samples(desk.store, job, seen.samples, choices)


def draw_runs(desk: Desk, opened: str) -> Markup:
    """Returns the list of all trainings of the character as HTML; empty where there are fewer than two.

    `opened` is the id of the job that the tab shows, as in `draw_live`; its row is marked.
    """
    known = [job.id for job in jobs_of(desk, "train")]
    shown = opened if opened in known else next(iter(known), "")
    return run.past(desk, ("train",), shown, "#train-live") if len(known) > 1 else Markup()


def open_run(desk: Desk, data: dict[str, Any]) -> str:
    """Returns the id of the job whose row was clicked in the list of trainings; `data` is what the row sends."""
    return str(data.get("job", ""))


def samples(store: Store, job: Job, drawn: Sequence[runs.Sample], choices: Sequence[Choice]) -> Markup:
    """Returns the sample pictures of a training as an HTML table: a column for each prompt, a row for each step.

    `drawn` are the samples, `choices` the checkpoints with figures such as the likeness of their samples to the
    originals. There is a row for each step that has samples or a checkpoint. Where it has a checkpoint, the row also
    has the checkpoint's figures and a button that makes a version of it. Empty without samples and checkpoints.
    """
    if not (drawn or choices):
        return Markup()
    columns = sorted({each.index for each in drawn})
    found = {(each.step, each.index): each.image for each in drawn}
    chosen = {choice.step: choice for choice in choices}
    prompts = [prompt(store, next(each.image for each in drawn if each.index == column)) for column in columns]
    rows = []
    for step in sorted({*chosen, *(each.step for each in drawn)}):
        images = [found.get((step, column)) for column in columns]
        shots = [
            (image, looks.thumb(store, image) if image else None, f"sample {number} at step {step}")
            for number, image in enumerate(images, 1)
        ]
        rows.append((_worth(store, job, step, chosen.get(step)), shots))
    return looks.panel("Checkpoints: same prompts, same seeds", view("train", "samples", prompts=prompts, rows=rows))


def prompt(store: Store, image: str) -> str:
    """Returns the prompt or instruction that a picture was made with; "" where it is not known.

    `image` is the picture's id.
    """
    record = store.images.peek(image)
    return params_class(record.params_kind).kept(record.params).headline() if record and record.params_kind else ""


def _worth(store: Store, job: Job, step: int, choice: Choice | None) -> Markup:
    """Returns as HTML the figures of a checkpoint, and the button that makes a version of it; None has neither."""
    if choice is None:
        return view("train", "step", number=step)
    made = store.versions.get(choice.version).name if choice.version else ""
    ended = not job.state.is_under_way
    return view("train", "worth", choice=choice, made=made, job=job.id if ended else "")


def live_act(desk: Desk, data: dict[str, Any]) -> Said | None:
    """Handles a click on a training's buttons: cancels or resumes it, or makes a version of what was trained.

    `data` is what the clicked button sends. “Stop and keep” makes a version of the last checkpoint; the button beside a
    checkpoint makes a version of that one. Returns a notice, None for any other click.
    """
    if data.get("act") != "choose":
        return run.act(desk.workplace, data)
    made = choosing.keep_at(desk.workplace, str(data.get("job", "")), int(data.get("step", 0)))
    then = "It is in use." if made.state is VersionState.ADOPTED else "Adopt it below to use it."
    return Said(f"{made.name} is made of step {data.get('step')}. {then}")


# ── after a training ─────────────────────────────────────────────────────────────────────────────


def draw_versions(desk: Desk) -> Markup:
    """Returns the character's versions as HTML, newest first, and which one is in use; empty without any version."""
    store = desk.store
    versions = store.kept_versions(Role.CHARACTER)
    if not versions:
        return Markup()
    used = store.adopted(Role.CHARACTER)
    waiting = [each.name for each in versions if each.state is VersionState.CANDIDATE]
    about = view("train", "in_use", name=used.name if used else "", waiting=waiting, alone=len(versions) == 1)
    return looks.panel("Versions", about + version_table(desk, versions))


def version_table(desk: Desk, versions: Sequence[Version]) -> Markup:
    """Returns a table of versions as HTML, newest first: the model, and the pictures, steps and loss of the training.

    Buttons export, adopt and retire each version. `versions` are given oldest first.
    """
    rows = []
    for each in reversed(versions):
        known = each.metrics
        learned = [f"{_known(known.pictures)} pictures", f"{_known(known.steps)} steps"]
        if known.loss is not None:
            learned.append(f"loss {known.loss:.{_DIGITS}f}")
        name = view("train", "name", version=each, state=run.STATES[each.state])
        rows.append(
            [
                name,
                looks.esc(each.model),
                looks.esc(" · ".join(learned)),
                exports.buttons(desk, each.id),
                run.decisions(desk.store, each),
            ]
        )
    return looks.table(["version", "model", "learned from", "save the LoRA for", ""], rows)


def versions_act(desk: Desk, data: dict[str, Any]) -> str | Said:
    """Handles a click on a version of the character: takes it into use, retires it, or exports its LoRA.

    `data` is what the clicked button sends: the action and the version's id. Returns a notice, or a download link as
    HTML. Raises: NotFound for an unknown version, BadInput for an unknown action or format.
    """
    if not data.get("version"):
        raise NotFound("No version was named.", "Reload the page.")
    return exports.export(desk, data) if data.get("act") == exports.ACT else run.decide(desk, data)


def _known(figure: int | None) -> str:
    return "?" if figure is None else str(figure)
