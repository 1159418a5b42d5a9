"""Curate: pictures come in, get words, and show what is still missing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from engines.errors import BadInput, NotFound
from studio.flywheel import curate
from studio.nouns import ANGLES, EXPRESSIONS, FRAMINGS, POSES, ImageRecord, Job, Kind, Verdict
from studio.store import Store
from studio.studio import Studio
from tabs.common import cropping, looks, masking
from tabs.common.shell import Drawing, Page, active_job, html, progress_line

SHOWN = {
    "All pictures": None,
    "My pictures": (Kind.SOURCE,),
    "Enriched": (Kind.ENRICHED, Kind.CORRECTION),
    "Generated": (Kind.SYNTHETIC,),
    "Trash": (),
}
PAGE = 120
TAGS = (("angle", ANGLES), ("expression", EXPRESSIONS), ("framing", FRAMINGS), ("pose", POSES))
_USABLE = (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)


def build(page: Page) -> None:
    """Lay out the tab."""
    chosen, shown = gr.State(""), gr.State(PAGE)
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=5):
            with gr.Accordion("Add pictures", open=True) as add, gr.Row(equal_height=True):
                files = gr.File(
                    label="Drop pictures or a zip", file_count="multiple", height=150, elem_id="curate-files"
                )
                with gr.Column(min_width=240):
                    folder = gr.Textbox(label="…or a folder on this machine", placeholder="~/pictures/anna")
                    take = gr.Button("Import folder", size="sm")
            report, busy = html(elem_id="curate-report"), html()
            with gr.Row():
                kind = gr.Dropdown(list(SHOWN), value="My pictures", label="Show", scale=1)
                words = gr.Textbox(label="Find in captions, tags and names", scale=2)
                with gr.Column(min_width=120, scale=1):
                    caption_all = gr.Button("Caption all", size="sm", elem_id="caption-all")
                    back = gr.Button("Undo trash", size="sm")
            gallery = html(looks.waiting(), elem_id="curate-gallery")
        with gr.Column(scale=3, elem_classes="fl-side"):
            hero = html(elem_id="curate-hero")
            with gr.Column(visible=False) as editor:
                with gr.Group():
                    caption = gr.Textbox(label="Caption", lines=2, elem_id="curate-caption")
                    with gr.Row():
                        tags = [gr.Dropdown(["", *values], label=name, min_width=200) for name, values in TAGS]
                with gr.Row():
                    save = gr.Button("Save words", variant="primary", size="sm", min_width=90, elem_id="curate-save")
                    again = gr.Button("Caption again", size="sm", min_width=90)
                    star = gr.Button("Star", size="sm", min_width=60)
                    trash = gr.Button("Trash", size="sm", min_width=60)
                crop = cropping.Widgets()
                mask = masking.Widgets()
            detail = html(elem_id="curate-detail")
            cover = html()

    pictures: Drawing = (draw_gallery, [kind, words, shown, chosen], [gallery, busy])
    one: Drawing = (draw_detail, [chosen], [hero, detail])
    form: Drawing = (fill_form, [chosen], [editor, caption, *tags])
    framed = [pictures, one, crop.filled(chosen)]
    opened = [*framed, form]
    page.show([pictures, one, (draw_cover, [], [cover])])
    page.redraw([page.tab.select], (open_drop, [], [add]))
    page.redraw([kind.change, words.change], pictures)
    page.on(files.upload, import_files, [files], [report, files])
    page.on(take.click, import_folder, [folder], [report])
    page.on(caption_all.click, caption_missing)
    page.on(back.click, undo_trash, [], [report])
    page.act(gallery, gallery_act, [chosen, shown], [chosen, shown], then=opened)
    page.act(detail, gallery_act, [chosen, shown], [chosen, shown], then=opened)
    page.act(busy, cancel)
    page.on(save.click, save_words, [chosen, caption, *tags])
    page.on(again.click, caption_one, [chosen])
    page.on(star.click, toggle_star, [chosen])
    page.on(trash.click, trash_one, [chosen], [chosen], then=opened)
    crop.wire(page, chosen, framed)
    mask.wire(page, chosen, opened)


# ── what comes in ───────────────────────────────────────────────────────────────────────────────


def import_files(studio: Studio, cid: str, files: Sequence[str] | None) -> tuple[str, None]:
    """Import what was dropped; answers the report and an emptied drop zone."""
    if not files:
        raise BadInput("Nothing was dropped.", "Drop pictures, a folder or a zip.")
    return import_report(curate.submit_import(studio, cid, [Path(each) for each in files])), None


def import_folder(studio: Studio, cid: str, folder: str) -> str:
    """Import a folder of this machine; answers the report."""
    path = curate.typed_path(folder)
    if not os.path.lexists(path):
        raise NotFound(f"There is nothing at {path}.", "Type the path of a folder or zip.")
    return import_report(curate.submit_import(studio, cid, [path]))


def open_drop(studio: Studio, cid: str) -> Any:
    """The drop zone stands open until there are enough pictures."""
    return gr.update(open=len(studio.store(cid).select(Kind.SOURCE)) < curate.ENOUGH)


def import_report(job: Job) -> str:
    """What came in, what did not and why, with the remedy."""
    if job.error:
        cause, hint = job.error.get("message", "The import failed."), job.error.get("hint", "")
        return f'<div class="fl-trouble"><b>{looks.esc(cause)}</b><span>{looks.esc(hint)}</span></div>'
    done = list(job.artifacts.get("imported", []))
    twins = list(job.artifacts.get("duplicates", []))
    notes = [(each, each.get("words", "")) for each in job.artifacts.get("advice", [])]
    notes += [(each, each.get("hint", "")) for each in twins]
    refused = list(job.artifacts.get("refused", []))
    parts = [looks.chip(f"{looks.plural(len(done), 'picture')} imported", "good" if done else "")]
    if masks := job.artifacts.get("masked"):
        parts.append(looks.chip(looks.plural(len(masks), "mask"), "good"))
    if twins:
        parts.append(looks.chip(f"{len(twins)} already here"))
    if refused:
        parts.append(looks.chip(f"{len(refused)} not imported", "warn"))
    rows = [
        [
            looks.esc(each.get("file", "")),
            looks.esc(each.get("reason", "")),
            looks.esc(each.get("hint", "")),
        ]
        for each in refused
    ]
    table = looks.table(["file", "why not", "what to do"], rows) if rows else ""
    told = [[looks.esc(each.get("file", "")), looks.esc(words)] for each, words in notes]
    table += looks.table(["file", "worth knowing"], told) if told else ""
    return looks.panel("Import", f'<div class="fl-line">{"".join(parts)}</div>{table}')


# ── what is there ───────────────────────────────────────────────────────────────────────────────


def find(store: Store, kind: str, words: str) -> list[ImageRecord]:
    """The pictures that a filter lets through, newest last."""
    kinds = SHOWN[kind]
    found = store.select(trashed=True) if kinds == () else store.select(kinds or _USABLE)
    wanted = words.lower().split()
    return [each for each in found if all(word in _searchable(each) for word in wanted)]


def _searchable(record: ImageRecord) -> str:
    return " ".join([record.caption, record.name, *map(str, record.tags.values()), *record.advice]).lower()


def badges(record: ImageRecord) -> str:
    """A picture's state in small words."""
    parts = []
    if record.star:
        parts.append(looks.chip("★"))
    if record.kind is not Kind.SOURCE:
        parts.append(looks.chip(looks.KIND_WORDS[record.kind]))
    if record.kind is not Kind.SOURCE or record.state is not Verdict.PENDING:
        parts.append(looks.chip(looks.WORDS[record.state], looks.TONES[record.state]))
    if record.crop:
        parts.append(looks.chip("crop", "", "only a part of it is trained"))
    if record.mask:
        parts.append(looks.chip("mask", "", "outside its mask the picture counts less in training"))
    if not record.caption:
        parts.append(looks.chip("no caption", "warn"))
    parts += [looks.chip(name.replace("_", " "), "warn", str(words)) for name, words in record.advice.items()]
    return "".join(parts) or looks.chip(str(record.tags.get("angle", "")) or "ok")


def draw_gallery(studio: Studio, cid: str, kind: str, words: str, shown: int, chosen: str) -> tuple[str, str]:
    """The gallery, and the line of a running caption job."""
    store = studio.store(cid)
    found = find(store, kind, words)
    busy = progress_line(active_job(studio, cid, "caption"))
    if not found:
        return looks.empty(_nothing(kind, words)), busy
    tiles = [
        looks.tile(each, looks.thumb(store, each.id), badges=badges(each), chosen=each.id == chosen)
        for each in found[:shown]
    ]
    back = kind == "Trash"
    tools = (
        looks.button("Restore", "restore", unpick=1)
        if back
        else looks.button("Caption", "caption")
        + looks.button("Star", "star")
        + looks.button("Trash", "trash", unpick=1)
    )
    pickbar = f'<div class="fl-pickbar" data-picked-bar hidden><b data-picked-count></b>{tools}</div>'
    more = looks.button(f"Show {min(PAGE, len(found) - shown)} more", "more") if len(found) > shown else ""
    count = f'<p class="fl-quiet">{looks.plural(len(found), "picture")}</p>'
    return f"{pickbar}{count}{looks.grid(tiles)}{more}", busy


def _nothing(kind: str, words: str) -> str:
    if words.strip():
        return "Nothing matches; clear the search to see all pictures."
    if kind == "Trash":
        return "The trash is empty."
    if kind in ("Enriched", "Generated"):
        return f"Nothing {kind.lower()} yet; that comes with the next steps of the rail."
    return "Drop 10 to 20 pictures of one character above; different angles and moods help most."


def draw_cover(studio: Studio, cid: str) -> str:
    """The coverage grid, the framings, and the checklist."""
    coverage = curate.coverage(studio, cid)
    cells: Mapping[tuple[str, str], int] = coverage.cells
    head = "".join(f'<span class="head">{looks.esc(angle.replace("-", " "))}</span>' for angle in ANGLES)
    rows = []
    for mood in EXPRESSIONS:
        rows.append(f'<span class="side">{looks.esc(mood)}</span>')
        for angle in ANGLES:
            count = cells.get((angle, mood), 0)
            rows.append(f'<span class="{"has" if count else ""}" title="{angle}, {mood}">{count or "·"}</span>')
    columns = f"grid-template-columns: 62px repeat({len(ANGLES)}, 1fr)"
    framings = " ".join(looks.chip(f"{name} {coverage.framings.get(name, 0)}") for name in FRAMINGS)
    checks = "".join(looks.check(each.label, each.ok, each.hint) for each in coverage.checklist)
    missing = len(coverage.missing)
    grid = (
        f'<div class="fl-cover" style="{columns}"><span class="head"></span>{head}{"".join(rows)}</div>'
        f'<p class="fl-quiet">left and right are the viewer\'s · {framings}</p>'
    )
    more = looks.go(f"Fill {looks.plural(missing, 'gap')} ▸ Enrich", "Enrich") if missing > 0 else ""
    return looks.panel("Coverage", grid, more) + looks.panel("Ready to go on?", f'<ul class="fl-checks">{checks}</ul>')


def draw_detail(studio: Studio, cid: str, chosen: str) -> tuple[str, str]:
    """One picture, large; and what is known of it."""
    store = studio.store(cid)
    record = _get(store, chosen)
    if record is None:
        return looks.empty("Click a picture to see it large and to edit its caption."), ""
    facts = [("size", f"{record.width} × {record.height}"), ("file", record.name)]
    scored, value = looks.latest_score(record)
    facts += [("advice", str(words)) for words in record.advice.values()]
    if record.asked:
        facts.append(("asked for", ", ".join(f"{name}: {what}" for name, what in record.asked.items())))
    if record.model:
        facts += [("model", record.model), ("seed", str(record.seed))]
    listed = "".join(f"<dt>{looks.esc(name)}</dt><dd>{looks.esc(words)}</dd>" for name, words in facts if words)
    leaking = curate.leaks(record.caption, store.character.trigger)
    warning = (
        f'<div class="fl-trouble mild"><b>The caption names {looks.esc(", ".join(leaking))}</b>'
        "<span>What is always true of the character should be learned by the trigger word: leave it out.</span></div>"
        if leaking
        else ""
    )
    by = looks.chip(f"caption by {record.caption_by}") if record.caption_by else ""
    likeness = f'<div class="fl-line"><span>likeness {looks.score(value)}</span></div>' if scored else ""
    trouble = store.trouble(record.id)
    facts += [("file", str(trouble))] if trouble else []
    big = looks.picture(looks.full(store, record.id), looks.describe(record), classes="fl-hero", lazy=False)
    family = _family(store, record)
    if trouble is None and (record.mask or record.crop):
        counted = looks.picture(
            store.counted_thumb(record.id), "what counts in training", classes="fl-hero", lazy=False
        )
        big = (
            f'<div class="fl-counted"><figure>{big}<figcaption>the picture</figcaption></figure>'
            f"<figure>{counted}<figcaption>what counts in training</figcaption></figure></div>"
        )
    top = f'{big}<div class="fl-buttons">{badges(record)}{by}</div>{warning}'
    return top, f'{likeness}<dl class="fl-facts">{listed}</dl>{family}'


def _family(store: Store, record: ImageRecord) -> str:
    children = [each for each in store.select(_USABLE) if each.parent == record.id][:12]
    parent = _get(store, record.parent)
    tiles = [
        looks.tile(each, looks.thumb(store, each.id), pick=False) for each in ([parent] if parent else []) + children
    ]
    if not tiles:
        return ""
    title = "made from the first of these" if parent else f"{looks.plural(len(children), 'picture')} made from this one"
    return f'<p class="fl-quiet">{title}</p>{looks.grid(tiles, "small")}'


def fill_form(studio: Studio, cid: str, chosen: str) -> list[Any]:
    """The caption editor's values for the chosen picture."""
    record = _get(studio.store(cid), chosen)
    if record is None:
        return [gr.update(visible=False), "", *("" for _ in TAGS)]
    return [gr.update(visible=True), record.caption, *(str(record.tags.get(name, "")) for name, _ in TAGS)]


def _get(store: Store, image_id: str) -> ImageRecord | None:
    if not image_id:
        return None
    try:
        return store.images.get(image_id)
    except NotFound:
        return None


# ── what a user does with it ────────────────────────────────────────────────────────────────────


def gallery_act(studio: Studio, cid: str, data: dict[str, Any], chosen: str, shown: int) -> tuple[str, int]:
    """A click in the gallery: open one, or do something with all that are selected."""
    store, picks, act = studio.store(cid), list(data.get("picks", [])), data.get("act")
    if act == "open":
        return str(data.get("id", "")), shown
    if act == "more":
        return chosen, shown + PAGE
    if act == "trash":
        store.trash(picks)
    elif act == "restore":
        store.restore(picks)
    elif act == "caption":
        curate.submit_caption(studio, cid, ids=picks)
    elif act == "star":
        store.update_images({each: {"star": not store.images.get(each).star} for each in picks})
    return chosen, shown


def save_words(studio: Studio, cid: str, chosen: str, caption: str, *tags: str) -> None:
    """Keep what the user wrote; it is theirs from now on."""
    record = studio.store(cid).images.get(chosen)
    if caption.strip() != record.caption:
        curate.set_caption(studio, cid, chosen, caption.strip())
    given = {name: value for (name, _), value in zip(TAGS, tags, strict=True) if value}
    others = {name: value for name, value in record.tags.items() if name not in dict(TAGS)}
    if {**others, **given} != record.tags:
        curate.set_tags(studio, cid, chosen, {**others, **given})


def caption_missing(studio: Studio, cid: str) -> None:
    """Let the captioner write all captions that no human wrote."""
    curate.submit_caption(studio, cid)


def caption_one(studio: Studio, cid: str, chosen: str) -> None:
    """Let the captioner write this caption again, over a human's too: it was asked for."""
    curate.submit_caption(studio, cid, ids=[chosen], overwrite_human=True)


def toggle_star(studio: Studio, cid: str, chosen: str) -> None:
    """Star a picture, or take the star away."""
    store = studio.store(cid)
    store.update_image(chosen, star=not store.images.get(chosen).star)


def trash_one(studio: Studio, cid: str, chosen: str) -> str:
    """Trash the open picture; nothing is open then."""
    studio.store(cid).trash([chosen])
    return ""


def undo_trash(studio: Studio, cid: str) -> str:
    """Bring back what was trashed last."""
    back = studio.store(cid).undo_trash()
    return looks.panel("Trash", f'<p class="fl-quiet">{looks.plural(len(back), "picture")} brought back</p>')


def cancel(studio: Studio, cid: str, data: dict[str, Any]) -> None:
    """Cancel the job whose button was clicked."""
    studio.jobs.cancel(str(data.get("job", "")))
