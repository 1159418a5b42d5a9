"""The Generate tab: generates pictures with a version, compares versions on the same seeds, filters by identity."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.params import GenerateParams
from studio.flywheel import generate, recall
from studio.flywheel.recall import Recalled
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.workplace.desk import Desk
from tabs.card import CardView
from tabs.common import looks, missing
from tabs.common.asking import (
    ALIKE,
    EVERY,
    FIELDS,
    GAPS,
    KEPT,
    KNOBS,
    NEWEST,
    OWN,
    SCENES,
    STARRED,
    Asked,
    draw_plan,
    drawings,
    fill_fields,
    keep_fields,
    put_back,
    take_last_seed,
    take_new_seed,
)
from tabs.common.knobs import Slider, lay_out
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, active_job, cancel, html, marking, progress_line, queued
from tabs.common.versions import (
    BASE,
    IN_USE,
    versions,
)

PAGE = 60
PICTURES, PAIRS = "pictures", "pairs"  # ids of the sub-tabs


SETTINGS_WIDGETS = tuple(f"generate-{name.replace('_', '-')}" for name in (*FIELDS, "restored"))
"""The ids of the widgets that `use_settings` fills, in the order of what it returns; the last one is a note."""


def build(page: Page) -> None:
    """Lays out the Generate tab and connects its handlers."""
    shown, whose, planned = gr.State(PAGE), gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=3, elem_classes="fl-side", elem_id="generate-side"):
            fields, columns = _lay_out_fields()
            restored = html(elem_id="generate-restored")
            new_seed, last_seed = fields.pop("new"), fields.pop("last")
            with gr.Column(elem_id="generate-actions"):
                cost = html(elem_id="generate-cost")
                with gr.Row():
                    go = gr.Button("Generate", elem_id="generate-go")
                    run_card = gr.Button("Run model card", elem_id="card-go")
            price, busy, history = html(elem_id="card-price"), html(), html(elem_id="generate-history")
            with gr.Row(elem_id="generate-drop"):
                file = gr.UploadButton("Settings from a picture: drop it on these fields, or choose it", size="sm")
        with gr.Column(scale=5), gr.Tabs(elem_id="generate-views") as views:
            with gr.TabItem("Pictures", id=PICTURES):
                gallery, floor = _lay_out_gallery()
                results = html(looks.waiting(), elem_id="generate-results")
            with gr.TabItem("Side by side", id=PAIRS):
                pairs = html(looks.waiting(), elem_id="generate-pairs")
            with gr.TabItem("Model card", id="card"):
                cards = CardView.lay_out()

    asked = [fields[name] for name in FIELDS]
    settings, kept = [*asked, restored], [{**fields, **gallery}[name] for name in KEPT]
    fill = (fill_fields, [whose, *kept], [whose, *kept])
    plan = (draw_plan, [planned, *asked], [planned, *columns, fields["plan"]])
    told = (draw_cost, asked, [cost])
    drawn = (draw_results, [shown, *gallery.values()], [results, busy])
    others: list[Render] = [
        (draw_pairs, [], [pairs]),
        (draw_history, [], [history]),
        (read_floor, [], [floor]),
        (marking("Generate"), [], [go]),
    ]
    of_cards = cards.wire(page, views, run_card, price, fields["version"])
    page.show([fill, plan, told, *others, *of_cards], live=[drawn])
    page.redraw([fields["version"].change], fill)
    page.redraw([fields[name].change for name in ("what", "version", "count", "seed")], plan)
    page.redraw([each.change for each in asked], told)
    page.redraw([each.change for each in gallery.values()], drawn)
    for each in kept:
        page.on(each.change, keep_fields, [whose, *kept])
    page.on(floor.change, move_floor, [whose, floor])
    page.on(go.click, draw_pictures, asked, [fields["seed"], views, restored])
    page.on(new_seed.click, take_new_seed, [], [fields["seed"], fields["keep_seed"]])
    page.on(last_seed.click, take_last_seed, [], [fields["seed"], fields["keep_seed"]])
    page.on(fields["seed"].input, lambda desk: True, [], [fields["keep_seed"]])
    page.on(fields["extra"].input, lambda desk: False, [], [fields["extra_sure"]])
    page.on(file.upload, read_file, [file], [*settings, file])
    page.act(results, results_act, [shown], [shown, *settings], then=[drawn])
    page.act(history, history_act, [], settings)
    page.act(restored, lambda desk, data: Markup(), [], [restored])
    page.act(busy, cancel)
    missing.wire(page, cost)


def _lay_out_fields() -> tuple[dict[str, Any], list[gr.Column]]:
    """Lays out the settings; returns their widgets by name, and three columns that are shown or hidden.

    The columns hold the prompt, the negative prompt and the list of scenes.
    """
    made: dict[str, Any] = {}

    def add(name: str, widget: Any, *given: Any, **more: Any) -> None:
        made[name] = widget(*given, elem_id=f"generate-{name.replace('_', '-')}", **more)

    with gr.Group(elem_classes="fl-fields"):
        add("what", gr.Radio, [OWN, SCENES, GAPS], value=OWN, label="What to draw")
        with gr.Column(elem_classes="fl-flat") as words:
            add("prompt", gr.Textbox, label="Prompt", lines=3, max_lines=8)
        with gr.Column(visible="hidden", elem_classes="fl-flat") as unwanted:
            add("negative", gr.Textbox, label="Negative prompt (what it should not show)", lines=1, max_lines=4)
        with gr.Column(visible="hidden", elem_classes="fl-flat") as plan:
            add("plan", gr.CheckboxGroup, [], label="What will be drawn (untick what you do not want)")
    with gr.Group(elem_classes="fl-fields"):
        with gr.Row():
            add("version", gr.Dropdown, [("in use", IN_USE)], value=IN_USE, label="Version")
            add("against", gr.Dropdown, [("nothing", "")], value="", label="Compare with (same seeds)")
        with gr.Row():
            add("strength", Slider, 0, 2, value=1, step=0.05, label="LoRA strength")
            add("count", gr.Number, 4, label="Pictures", precision=0)
        with gr.Row():
            add("size", gr.Dropdown, [], value="", label="Size (pick or type)", allow_custom_value=True)
            add("seed", gr.Number, 0, label="Seed", precision=0)
        with gr.Row(elem_id="generate-seeds"):
            add("keep_seed", gr.Checkbox, False, label="Keep this seed", container=False)
            add("new", gr.Button, "New seed", size="sm", min_width=60)
            add("last", gr.Button, "Same seed again", size="sm", min_width=60)
    with gr.Accordion("Steps, guidance, second LoRA", open=False):
        made |= dict(zip((knob.name for row in KNOBS for knob in row), lay_out(KNOBS, "generate"), strict=True))
        with gr.Row():
            add(
                "extra",
                gr.Dropdown,
                [],
                value="",
                label="Second LoRA (pick, or type a path)",
                allow_custom_value=True,
            )
            add("extra_weight", gr.Number, 1.0, label="Its weight", step=0.1)
            add("extra_sure", gr.Checkbox, False, label="It is for this model", container=False)
    return made, [words, unwanted, plan]


def _lay_out_gallery() -> tuple[dict[str, Any], Slider]:
    """Lays out the gallery's order and filters.

    Returns their widgets by name, and the slider of the identity filter's threshold.
    """
    with gr.Row(elem_id="generate-filters", equal_height=True):
        made = {
            "sort": gr.Dropdown([NEWEST, ALIKE, STARRED], value=NEWEST, label="Order", elem_id="generate-sort"),
            "only": gr.Dropdown([("every version", EVERY)], value=EVERY, label="Drawn by", elem_id="generate-only"),
            "starred": gr.Checkbox(False, label="Starred only", elem_id="generate-starred", min_width=130),
        }
    floor = Slider(0, 1, value=0.5, step=0.01, label="Set aside below this likeness", elem_id="floor")
    return made, floor


# ── the settings of an earlier picture ──────────────────────────────────────────────────────────


def use_settings(desk: Desk, image_id: str) -> list[Any]:
    """Returns updates that fill the Generate tab's fields with the settings of an earlier picture.

    They are in the order of SETTINGS_WIDGETS; the last one is a note, as HTML, on what could not be set. `image_id` is
    the picture's id. Raises: NotFound, BadInput for a picture that was not generated from a prompt.
    """
    recalled = recall.of_picture(desk, image_id)
    return updates(desk, recalled, looks.picture(looks.thumb(desk.store, image_id), recalled.params.prompt))


def read_file(desk: Desk, file: str | None) -> list[Any]:
    """Returns updates that fill the Generate tab's fields with the settings stored in a dropped picture, and None.

    The updates are in the order of SETTINGS_WIDGETS; None empties the drop zone. `file` is its path. Raises:
    NotFound, BadInput for a file without settings.
    """
    recalled = recall.of_file(desk, Path(str(file)))
    return [*updates(desk, recalled, Markup()), None]


def updates(desk: Desk, recalled: Recalled, shown: Markup) -> list[Any]:
    """Stores the settings of an earlier picture as the tab's values; returns updates in the order of SETTINGS_WIDGETS.

    `recalled` holds these settings. A setting at the model's default becomes 0 or "", which stands for that
    default. The last update is a note as HTML; `shown` is the picture as HTML, for the note.
    """
    params, store = recalled.params, desk.store
    spec = generate.model_spec(desk, recalled.version)
    own = spec.params(GenerateParams)
    second = next(iter(params.loras), None)
    named = {each.name: each.id for each in versions(store)}
    further = [recall.lora_name(store, use.file) for use in params.loras[1:]]
    lost = [*recalled.lost, *(f"the LoRA {name}: there is one field for a second LoRA" for name in further)]
    adopted = store.adopted(Role.CHARACTER)
    drawn_by = IN_USE if adopted and adopted.id == recalled.version else recalled.version or BASE
    same_size = (params.width, params.height) == (own.width, own.height)
    asked = Asked(
        prompt=params.prompt,
        negative=params.negative,
        version=drawn_by,
        strength=params.strength,
        size="" if same_size else f"{params.width} × {params.height}",
        seed=params.seed,
        keep_seed=True,
        steps=0 if params.steps == own.steps else params.steps,
        guidance=0 if params.guidance == own.guidance else params.guidance,
        first_block_cache=params.first_block_cache,
        extra=named.get(recall.lora_name(store, second.file), second.file) if second else "",
        extra_weight=second.weight if second else 1.0,
        extra_sure=second.for_this_model if second else False,
    )
    fields = put_back(desk, asked, untouched=("plan", "count"))
    return [*fields, view("generate", "restored", shown=shown, lost=lost)]


def draw_history(desk: Desk) -> Markup:
    """Returns the earlier prompts as HTML, newest first, each with a picture; a click fills in its settings."""
    store = desk.store
    rows = [(each, looks.picture(looks.thumb(store, each.image.id), each.prompt)) for each in recall.prompts(store)]
    return view("generate", "history", rows=rows)


def history_act(desk: Desk, data: dict[str, Any]) -> list[Any]:
    """Handles a click on an earlier prompt; returns updates that fill the Generate tab's fields with its settings.

    They are in the order of SETTINGS_WIDGETS; `data` is what was clicked.
    """
    return use_settings(desk, str(data.get("id", "")))


# ── drawing ─────────────────────────────────────────────────────────────────────────────────────


def draw_cost(desk: Desk, *values: Any) -> Markup:
    """Returns as HTML the cost of the pictures that the fields ask for, before the job is queued.

    It names the model and version, the number of pictures, the time, and whether the job fits into GPU memory. `values`
    are those of the fields in FIELDS. Raises: BadInput for a value that cannot be used, NotFound for a missing LoRA.
    """
    asked = Asked(*values)
    found = drawings(desk, dataclasses.replace(asked, prompt=asked.prompt.strip() or "a picture"))
    told = [generate.preflight(desk, each.items, each.version) for each in found]
    seconds = [each for _, each in told]
    item = found[0].items[0]
    specs = [generate.model_spec(desk, each.version) for each in found]
    absent = [missing.card(desk.workplace, name) for name in dict.fromkeys(each.name for each in specs)]
    return Markup().join(absent) + view(
        "generate",
        "cost",
        spec=specs[0],
        item=item,
        drawn_by=" and ".join(recall.drawn_by(desk.store, each.version, each.items[0]) for each in found),
        count=sum(len(each.items) for each in found),
        seconds=sum(each or 0 for each in seconds) if all(seconds) else None,
        fit=next((fit for fit, _ in told if not fit.ok), told[0][0]),
    )


def draw_pictures(desk: Desk, *values: Any) -> Said:
    """Queues the pictures that the fields ask for; `values` are those of the fields in FIELDS.

    Returns a notice with three updates: the seed for the next job, the sub-tab that will show the pictures, and an
    empty note. Raises: BadInput for a value that cannot be used, NotFound for a missing LoRA.
    """
    asked = Asked(*values)
    (job, *_) = generate.submit_all(desk, drawings(desk, asked))
    seed = gr.skip() if asked.keep_seed else generate.random_seed()
    return queued(job, [seed, gr.Tabs(selected=PAIRS if asked.against else PICTURES), Markup()])


def draw_results(
    desk: Desk, shown: int, sort: str | None = NEWEST, only: str | None = EVERY, starred: bool = False
) -> tuple[Markup, Markup]:
    """Returns the generated pictures as HTML, and the progress of the running job as HTML.

    At most `shown` pictures are returned, in the order `sort`. `only` is the id of the version whose pictures are
    wanted, or EVERY or BASE; with `starred` only starred ones are returned. Pictures that the identity filter set
    aside, because they are not similar enough to the character, are dimmed.
    """
    store = desk.store
    busy = progress_line(active_job(desk, "generate", "card"))
    drawn = list(reversed(store.select(Kind.SYNTHETIC)))
    if not drawn:
        return looks.empty("Nothing drawn yet. “Generate” draws with the chosen version."), busy
    found = [each for each in drawn if each.star or not starred]
    if only == BASE:
        found = [each for each in found if not (each.version or each.params.get("loras"))]  # a checkpoint is a LoRA
    elif only not in (None, EVERY):
        found = [each for each in found if each.version == only]
    if sort == ALIKE:
        found.sort(key=lambda each: each.likeness or 0, reverse=True)
    elif sort == STARRED:
        found.sort(key=lambda each: each.star, reverse=True)
    tiles = []
    for each in found[:shown]:
        by = recall.drawn_by(store, each.version, GenerateParams.kept(each.params))
        tiles.append(looks.tile(each, looks.thumb(store, each.id), badges=_badges(each, by), pick=False))
    made = view(
        "generate",
        "results",
        count=len(found),
        whole=len(drawn),
        aside=sum(each.filtered for each in found),
        waiting=sum(each.state is Verdict.PENDING and not each.filtered for each in drawn),
        tiles=tiles,
        more=len(found) > shown,
    )
    return made, busy


def _badges(record: ImageRecord, drawn_by: str) -> Markup:
    scored, value = looks.latest_score(record)
    return view(
        "generate",
        "badges",
        record=record,
        scored=scored,
        value=value,
        drawn_by=drawn_by,
        tone=looks.TONES[record.state],
        verdict="" if record.state is Verdict.PENDING else looks.WORDS[record.state],
    )


def draw_pairs(desk: Desk) -> Markup:
    """Returns as HTML the pictures of the same prompt and seed by different versions, side by side."""
    found = recall.side_by_side(desk)
    if not found:
        return looks.empty("Choose a version under “Compare with”: both then draw the same prompt with the same seeds.")
    store = desk.store
    rows = [
        (each, [(shot, looks.thumb(store, shot.image.id) if shot.image else None) for shot in each.shots])
        for each in found[:PAGE]
    ]
    return view("generate", "pairs", rows=rows)


def results_act(desk: Desk, data: dict[str, Any], shown: int) -> list[Any]:
    """Handles a button of the gallery: shows more pictures, stars one, or fills in the settings of one.

    `data` is what was clicked, `shown` the largest number of pictures to show. Returns the new value of `shown`, and
    updates of the tab's fields in the order of SETTINGS_WIDGETS.
    """
    act, image = data.get("act"), str(data.get("id", ""))
    if act == "use":
        return [shown, *use_settings(desk, image)]
    if act == "star":
        desk.store.update_image(image, star=not desk.store.images.get(image).star)
    return [shown + PAGE if act == "more" else shown, *(gr.skip() for _ in SETTINGS_WIDGETS)]


# ── the identity filter ─────────────────────────────────────────────────────────────────────────


def read_floor(desk: Desk) -> Any:
    """Returns the threshold of the identity filter for its slider: a similarity to the character, 0…1.

    The filter sets pictures with a lower similarity aside. The slider is not updated while there are no pictures to
    filter and the user has set no threshold.
    """
    if not desk.store.select(Kind.SYNTHETIC) and generate.chosen_threshold(desk) is None:
        return gr.skip()
    return min(max(round(generate.threshold(desk), 2), 0.0), 1.0)


def move_floor(desk: Desk, whose: str, floor: float) -> None:
    """Stores `floor`, the slider's value, as the threshold of the identity filter, unless it is the threshold already.

    The filter sets pictures aside whose similarity to the character is lower. `whose` is the id of the character that
    the slider was filled for; if it is another one than the desk's, nothing is stored.
    """
    if whose == desk.id and round(float(floor), 2) != round(min(max(generate.threshold(desk), 0.0), 1.0), 2):
        generate.set_threshold(desk, float(floor))
