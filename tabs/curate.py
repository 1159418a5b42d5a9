"""Curate: pictures come in, get words, and show what is still missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.axes import ANGLES, EXPRESSIONS, FRAMINGS
from studio.flywheel.curate import captions
from studio.flywheel.curate import coverage as curate
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import cropping, looks, masking, wording
from tabs.common.adding import dismiss, import_files, import_folder
from tabs.common.shell import Drawing, Page, active_job, html, progress_line

SHOWN = {
    "All pictures": None,
    "My pictures": (Kind.SOURCE,),
    "Enriched": (Kind.ENRICHED, Kind.CORRECTION),
    "Generated": (Kind.SYNTHETIC,),
    "Trash": (),
}
PAGE = 120
FAMILY = 12
TAGS = wording.TAGS
_USABLE = (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)


def build(page: Page) -> None:
    """Lay out the tab."""
    chosen, shown, note = gr.State(""), gr.State(PAGE), gr.State("")
    place, filled = gr.State(""), gr.State(())
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=5):
            with gr.Accordion("Add pictures", open=True, elem_id="curate-add") as add, gr.Row(equal_height=True):
                files = gr.File(
                    label="Drop 10 to 20 pictures of one character here",
                    file_count="multiple",
                    height=150,
                    elem_id="curate-files",
                )
                with gr.Column(min_width=240):
                    pick = gr.UploadButton(
                        "Choose a folder", file_count="directory", size="sm", elem_id="curate-folder"
                    )
                    folder = gr.Textbox(label="…or a path on this machine", placeholder="~/pictures/anna")
                    take = gr.Button("Import from there", size="sm")
            report, busy = html(elem_id="curate-report"), html()
            with gr.Row(elem_id="curate-tools"):
                kind = gr.Dropdown(list(SHOWN), value="My pictures", label="Show", scale=1)
                words = gr.Textbox(label="Find in captions, tags and names", scale=2)
                with gr.Column(min_width=120, scale=1):
                    caption_all = gr.Button("Caption all", size="sm", elem_id="caption-all")
                    back = gr.Button("Undo trash", size="sm", visible=False, elem_id="undo-trash")
            gallery = html(looks.waiting(), elem_id="curate-gallery")
        with gr.Column(scale=3, elem_classes="fl-side", elem_id="curate-side"):
            hero = html(elem_id="curate-hero")
            with gr.Column(elem_id="curate-editor"):
                about = gr.Textbox(visible="hidden", elem_id="curate-about")
                with gr.Group():
                    caption = gr.Textbox(label="Caption", lines=2, interactive=True, elem_id="curate-caption")
                    sign = html(wording.sign(), elem_id="curate-words")
                    with gr.Row():
                        tags = [gr.Dropdown(["", *values], label=name, min_width=200) for name, values in TAGS]
                with gr.Row():
                    again = gr.Button("Caption again", size="sm", min_width=90)
                    star = gr.Button("Star", size="sm", min_width=60)
                    trash = gr.Button("Trash", size="sm", min_width=60)
                crop = cropping.Widgets()
                mask = masking.Widgets()
            detail = html(elem_id="curate-detail")
            cover = html()

    pictures: Drawing = (draw_gallery, [kind, words, shown, chosen, note], [gallery, busy])
    one: Drawing = (draw_detail, [chosen, kind], [hero, detail])
    form: Drawing = (fill_form, [chosen, kind], [caption, *tags, about, sign, filled])
    fresh: Drawing = (refill_form, [chosen, kind, filled], [caption, *tags, about, sign, filled])
    zone: Drawing = (open_drop, [place], [add, place])
    undo: Drawing = (offer_undo, [], [back])
    framed = [pictures, one, crop.filled(chosen)]
    opened = [*framed, form]
    page.show([pictures, one, (draw_cover, [], [cover]), zone, undo, fresh])
    page.redraw([kind.change, words.change], pictures)
    page.on(files.upload, import_files, [files], [report, files])
    page.on(pick.upload, import_files, [pick], [report, pick])
    page.on(take.click, import_folder, [folder], [report])
    page.on(caption_all.click, caption_missing)
    page.on(back.click, undo_trash, [], [note], then=[pictures])
    for block in (gallery, hero, detail):
        page.act(block, gallery_act, [chosen, shown, note], [chosen, shown, note], then=opened)
    page.act(report, dismiss, [], [report])
    page.act(busy, cancel)
    page.act(sign, wording.act, [about, filled], [sign, filled, *tags], mode="once")
    for field, (name, _) in zip(tags, TAGS, strict=True):
        page.on(field.input, wording.tagging(name), [about, field, filled], [sign, filled])
    page.on(again.click, caption_one, [about])
    page.on(star.click, toggle_star, [about])
    page.on(trash.click, trash_one, [about], [chosen, note], then=opened)
    crop.wire(page, about, framed)
    mask.wire(page, about, opened)


# ── what comes in ───────────────────────────────────────────────────────────────────────────────


def open_drop(desk: Desk, place: str) -> tuple[Any, str]:
    """The drop zone fills a character's empty page and is a bar over its pictures; in between it stays as it was put.

    `place` is the character and whether it had pictures when the zone was last put.
    """
    store = desk.store
    here = bool(store.select(_USABLE) or store.select(trashed=True))
    now = f"{desk.id} {here}"
    if now == place:
        return gr.skip(), now
    return gr.update(open=not here), now


def offer_undo(desk: Desk) -> Any:
    """The button that brings back what was trashed last, while there is something to bring back."""
    count = len(desk.store.last_thrown())
    return gr.update(visible=count > 0, value=f"Undo trash ({count})")


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


def draw_gallery(desk: Desk, kind: str, words: str, shown: int, chosen: str, note: str = "") -> tuple[str, str]:
    """The gallery below its bar of what is picked, or the note of what was just done; and a running caption job."""
    store = desk.store
    found = find(store, kind, words)
    busy = progress_line(active_job(desk, "caption"))
    told = f'<div class="fl-pickbar" role="status">{note}</div>' if note else ""
    if not found:
        return told + _nothing(store, kind, words), busy
    tiles = [
        looks.tile(each, looks.thumb(store, each.id), badges=badges(each), chosen=each.id == chosen)
        for each in found[:shown]
    ]
    if kind == "Trash":
        tools = looks.button("Restore", "restore", unpick=1)
    else:
        tools = looks.button("Caption", "caption") + looks.button("Star", "star")
        tools += looks.button("Trash", "trash", key="Delete", hint="throw the selected pictures away", unpick=1)
    tools += Markup('<i></i><button type="button" class="fl-button" data-pick-all title="Ctrl+A">Select all</button>')
    tools += Markup('<button type="button" class="fl-button" data-pick-none title="Esc">Select none</button>')
    pickbar = f'<div class="fl-pickbar" data-picked-bar hidden><b data-picked-count></b>{tools}</div>'
    more = looks.button(f"Show {min(PAGE, len(found) - shown)} more", "more") if len(found) > shown else ""
    count = f'<p class="fl-quiet">{looks.plural(len(found), "picture")}</p>'
    return f"{told}{pickbar}{count}{looks.grid(tiles)}{more}", busy


def _nothing(store: Store, kind: str, words: str) -> str:
    if words.strip():
        return looks.empty("Nothing matches; clear the search to see all pictures.")
    if kind == "Trash":
        return looks.empty("The trash is empty.")
    if kind in ("Enriched", "Generated"):
        return looks.empty(f"Nothing {kind.lower()} yet; that comes with the next steps of the rail.")
    if store.select(_USABLE) or store.select(trashed=True):
        return looks.empty("None of your own pictures is here; “Add pictures” above takes 10 to 20 of one character.")
    words = (
        "Pictures, folders or a zip; different angles and moods help most. A .txt file beside a picture is its caption."
    )
    return f'<p class="fl-quiet" data-first-pictures>{words}</p>'


def draw_cover(desk: Desk) -> str:
    """The coverage grid, the framings, and the checklist."""
    coverage = curate.coverage(desk)
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
    wanted = missing > 0 and any(cells.values())
    more = looks.go(f"Fill {looks.plural(missing, 'gap')} ▸ Enrich", "Enrich") if wanted else ""
    return looks.panel("Coverage", grid, more) + looks.panel("Ready to go on?", f'<ul class="fl-checks">{checks}</ul>')


def draw_detail(desk: Desk, chosen: str, kind: str = "") -> tuple[str, str]:
    """One picture, large; and what is known of it. What is in the trash is open among the trash alone."""
    store = desk.store
    record = _opened(store, chosen, kind)
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
    leaking = captions.leaks(record.caption, store.character.trigger)
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
    close = looks.button("✕ Back to the pictures", "close", tone="fl-back", key="Escape", hint="close the picture")
    top = f'{close}{big}<div class="fl-buttons">{badges(record)}{by}</div>{warning}'
    return top, f'{likeness}<dl class="fl-facts">{listed}</dl>{family}'


def _family(store: Store, record: ImageRecord) -> str:
    children = [each for each in store.select(_USABLE) if each.parent == record.id]
    parent = store.images.peek(record.parent) if record.parent else None
    family = ([parent] if parent else []) + children[:FAMILY]
    tiles = [looks.tile(each, looks.thumb(store, each.id), pick=False) for each in family]
    if not tiles:
        return ""
    made = f"{looks.plural(len(children), 'picture')} made from this one" if children else ""
    if len(children) > FAMILY:
        made += f"; the first {FAMILY} of them"
    title = "; ".join(words for words in ("made from the first of these" if parent else "", made) if words)
    return f'<p class="fl-quiet">{title}</p>{looks.grid(tiles, "small")}'


def fill_form(desk: Desk, chosen: str, kind: str = "") -> list[Any]:
    """The caption editor's values for the chosen picture, whose it is, and what it was filled with."""
    record = _opened(desk.store, chosen, kind)
    if record is None:
        return ["", *("" for _ in TAGS), "", wording.sign(), ()]
    values = wording.values(record)
    return [*values[1:], record.id, wording.sign(), values]


def refill_form(desk: Desk, chosen: str, kind: str, filled: tuple[str, ...]) -> list[Any]:
    """The same where the store holds other words than the form was filled with, say the captioner's."""
    record = _opened(desk.store, chosen, kind)
    if (wording.values(record) if record else ()) == filled:
        return [gr.skip() for _ in range(len(TAGS) + 4)]
    return fill_form(desk, chosen, kind)


def _opened(store: Store, chosen: str, kind: str) -> ImageRecord | None:
    record = store.images.peek(chosen) if chosen else None
    return None if record is None or (record.trashed and kind not in ("", "Trash")) else record


# ── what a user does with it ────────────────────────────────────────────────────────────────────


def gallery_act(desk: Desk, data: dict[str, Any], chosen: str, shown: int, note: str = "") -> tuple[str, int, str]:
    """A click in the gallery or on the open picture: open one, close it, or do something with all that are selected."""
    store, picks, act = desk.store, list(data.get("picks", [])), data.get("act")
    if act == "open":
        return str(data.get("id", "")), shown, ""
    if act == "close":
        return "", shown, note
    if act == "more":
        return chosen, shown + PAGE, note
    if act == "undo":
        return chosen, shown, undo_trash(desk)
    note = ""
    if act == "trash":
        store.trash(picks)
        note = _thrown(len(picks))
    elif act == "restore":
        store.restore(picks)
        note = f"{looks.plural(len(picks), 'picture')} brought back {looks.close()}"
    elif act == "caption":
        captions.submit_caption(desk.workplace.desk(desk.id), ids=picks)
    elif act == "star":
        store.update_images({each: {"star": not store.images.get(each).star} for each in picks})
    gone = act in ("trash", "restore") and chosen in picks
    return "" if gone else chosen, shown, note


def _thrown(count: int) -> str:
    return f"<b>{looks.plural(count, 'picture')} put into the trash</b>{looks.button('Undo', 'undo')}{looks.close()}"


def caption_missing(desk: Desk) -> None:
    """Let the captioner write all captions that no human wrote."""
    captions.submit_caption(desk.workplace.desk(desk.id))


def caption_one(desk: Desk, chosen: str) -> None:
    """Let the captioner write this caption again, over a human's too: it was asked for."""
    captions.submit_caption(desk.workplace.desk(desk.id), ids=[chosen], overwrite_human=True)


def toggle_star(desk: Desk, chosen: str) -> None:
    """Star a picture, or take the star away."""
    store = desk.store
    store.update_image(chosen, star=not store.images.get(chosen).star)


def trash_one(desk: Desk, chosen: str) -> tuple[str, str]:
    """Trash the open picture; nothing is open then."""
    desk.store.trash([chosen])
    return "", _thrown(1)


def undo_trash(desk: Desk) -> str:
    """Bring back what was trashed last; answers the words for it."""
    back = desk.store.undo_trash()
    return f"<b>{looks.plural(len(back), 'picture')} brought back</b>{looks.close()}"


def cancel(desk: Desk, data: dict[str, Any]) -> None:
    """Cancel the job whose button was clicked."""
    desk.workplace.jobs.cancel(str(data.get("job", "")))
