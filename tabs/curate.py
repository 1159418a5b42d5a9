"""The Curate tab: imports pictures, edits their captions and tags, and shows the coverage."""

from __future__ import annotations

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
from tabs.common.looks import view
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
_FIRST = (
    "Pictures, folders or a zip; different angles and moods help most. A .txt file beside a picture is its caption."
)


def build(page: Page) -> None:
    """Lays out the tab and connects its handlers."""
    chosen, shown, note = gr.State(""), gr.State(PAGE), gr.State("")
    place, filled = gr.State(""), gr.State(())
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=5):
            add, files, pick, folder, take = _add_pictures()
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


def _add_pictures() -> tuple[gr.Accordion, gr.File, gr.UploadButton, gr.Textbox, gr.Button]:
    """Lays out the drop zone, the choice of a folder, and the field for a path on this machine."""
    with gr.Accordion("Add pictures", open=True, elem_id="curate-add") as add, gr.Row(equal_height=True):
        files = gr.File(
            label="Drop 10 to 20 pictures of one character here",
            file_count="multiple",
            height=150,
            elem_id="curate-files",
        )
        with gr.Column(min_width=240):
            pick = gr.UploadButton("Choose a folder", file_count="directory", size="sm", elem_id="curate-folder")
            folder = gr.Textbox(label="…or a path on this machine", placeholder="~/pictures/anna")
            take = gr.Button("Import from there", size="sm")
    return add, files, pick, folder, take


# ── importing ────────────────────────────────────────────────────────────────────────────────────


def open_drop(desk: Desk, place: str) -> tuple[Any, str]:
    """Opens the drop zone for a character without pictures and folds it for one with pictures; else leaves it as it is.

    `place` is the character's id and whether it had pictures when the zone was last opened or folded.
    """
    store = desk.store
    here = bool(store.select(_USABLE) or store.select(trashed=True))
    now = f"{desk.id} {here}"
    if now == place:
        return gr.skip(), now
    return gr.update(open=not here), now


def offer_undo(desk: Desk) -> Any:
    """Shows the undo button with the number of pictures trashed last; hides it when there are none."""
    count = len(desk.store.last_thrown())
    return gr.update(visible=count > 0, value=f"Undo trash ({count})")


# ── the gallery and the open picture ─────────────────────────────────────────────────────────────


def find(store: Store, kind: str, words: str) -> list[ImageRecord]:
    """Returns the pictures that match a filter and all words of a search, newest last."""
    kinds = SHOWN[kind]
    found = store.select(trashed=True) if kinds == () else store.select(kinds or _USABLE)
    wanted = words.lower().split()
    matching = []
    for each in found:
        searched = " ".join([each.caption, each.name, *map(str, each.tags.values()), *each.advice]).lower()
        if all(word in searched for word in wanted):
            matching.append(each)
    return matching


def badges(record: ImageRecord) -> Markup:
    """Returns a picture's state as small labels."""
    own = record.kind is Kind.SOURCE
    plain = own and record.state is Verdict.PENDING and not (record.star or record.crop or record.mask)
    return view(
        "curate",
        "badges",
        record=record,
        tone=looks.TONES[record.state],
        kind="" if own else looks.KIND_WORDS[record.kind],
        verdict="" if own and record.state is Verdict.PENDING else looks.WORDS[record.state],
        angle=(record.tags.get("angle") or "ok") if plain and record.caption and not record.advice else "",
    )


def draw_gallery(desk: Desk, kind: str, words: str, shown: int, chosen: str, note: str = "") -> tuple[Markup, Markup]:
    """Returns the gallery below the note of the last action, and the progress of a running caption job."""
    store = desk.store
    found = find(store, kind, words)
    busy = progress_line(active_job(desk, "caption"))
    told = view("curate", "note", words=Markup(note))
    if not found:
        return told + _nothing(store, kind, words), busy
    tiles = [
        looks.tile(each, looks.thumb(store, each.id), badges=badges(each), act="open", chosen=each.id == chosen)
        for each in found[:shown]
    ]
    more = min(PAGE, len(found) - shown)
    return told + view("curate", "gallery", trash=kind == "Trash", count=len(found), tiles=tiles, more=more), busy


def _nothing(store: Store, kind: str, words: str) -> Markup:
    if words.strip():
        return looks.empty("Nothing matches; clear the search to see all pictures.")
    if kind == "Trash":
        return looks.empty("The trash is empty.")
    if kind in ("Enriched", "Generated"):
        return looks.empty(f"Nothing {kind.lower()} yet; that comes with the next steps of the rail.")
    if store.select(_USABLE) or store.select(trashed=True):
        return looks.empty("None of your own pictures is here; “Add pictures” above takes 10 to 20 of one character.")
    return view("curate", "first", words=_FIRST)


def draw_cover(desk: Desk) -> Markup:
    """Returns the coverage grid, the framings and the checklist."""
    coverage = curate.coverage(desk)
    framings = {name: coverage.framings.get(name, 0) for name in FRAMINGS}
    grid = view("curate", "coverage", angles=ANGLES, moods=EXPRESSIONS, cells=coverage.cells, framings=framings)
    missing = len(coverage.missing)
    wanted = missing > 0 and any(coverage.cells.values())
    more = looks.go(f"Fill {looks.plural(missing, 'gap')} ▸ Enrich", "Enrich") if wanted else ""
    checks = view("curate", "checks", checklist=coverage.checklist)
    return looks.panel("Coverage", grid, more) + looks.panel("Ready to go on?", checks)


def draw_detail(desk: Desk, chosen: str, kind: str = "") -> tuple[Markup, Markup]:
    """Returns a picture, large, and its facts; a picture in the trash is shown only while the trash is shown."""
    store = desk.store
    record = _opened(store, chosen, kind)
    if record is None:
        return looks.empty("Click a picture to see it large and to edit its caption."), Markup()
    facts = [("size", f"{record.width} × {record.height}"), ("file", record.name)]
    facts += [("advice", words) for words in record.advice.values()]
    if record.asked:
        facts.append(("asked for", ", ".join(f"{name}: {what}" for name, what in record.asked.items())))
    if record.model:
        facts += [("model", record.model), ("seed", str(record.seed))]
    trouble = store.trouble(record.id)
    big = looks.picture(
        looks.full(store, record.id), looks.describe(record), classes="fl-hero", lazy=False, enlarge=record.id
    )
    counted = None
    if trouble is None and (record.mask or record.crop):
        part = store.counted_thumb(record.id)
        counted = looks.picture(part, "what counts in training", classes="fl-hero", lazy=False, enlarge=record.id)
    top = view(
        "curate",
        "top",
        picture=big,
        counted=counted,
        badges=badges(record),
        caption_by=record.caption_by,
        leaks=captions.leaks(record.caption, store.character.trigger),
    )
    facts += [("file", str(trouble))] if trouble else []
    scored, value = looks.latest_score(record)
    family = _family(store, record)
    return top, view("curate", "facts", scored=scored, likeness=value, listed=facts, family=family)


def _family(store: Store, record: ImageRecord) -> Markup:
    children = [each for each in store.select(_USABLE) if each.parent == record.id]
    parent = store.images.peek(record.parent) if record.parent else None
    family = ([parent] if parent else []) + children[:FAMILY]
    if not family:
        return Markup()
    tiles = [looks.tile(each, looks.thumb(store, each.id), pick=False) for each in family]
    made = f"{looks.plural(len(children), 'picture')} made from this one" if children else ""
    if len(children) > FAMILY:
        made += f"; the first {FAMILY} of them"
    title = "; ".join(words for words in ("made from the first of these" if parent else "", made) if words)
    return view("curate", "family", title=title, tiles=tiles)


def fill_form(desk: Desk, chosen: str, kind: str = "") -> list[Any]:
    """Returns the values of the caption form for the chosen picture: caption, tags, id, confirmation, filled values."""
    record = _opened(desk.store, chosen, kind)
    if record is None:
        return ["", *("" for _ in TAGS), "", wording.sign(), ()]
    values = wording.values(record)
    return [*values[1:], record.id, wording.sign(), values]


def refill_form(desk: Desk, chosen: str, kind: str, filled: tuple[str, ...]) -> list[Any]:
    """Returns the values of the caption form when the store's values differ from the filled ones, else skips."""
    record = _opened(desk.store, chosen, kind)
    if (wording.values(record) if record else ()) == filled:
        return [gr.skip() for _ in range(len(TAGS) + 4)]
    return fill_form(desk, chosen, kind)


def _opened(store: Store, chosen: str, kind: str) -> ImageRecord | None:
    record = store.images.peek(chosen) if chosen else None
    return None if record is None or (record.trashed and kind not in ("", "Trash")) else record


# ── actions ──────────────────────────────────────────────────────────────────────────────────────


def gallery_act(desk: Desk, data: dict[str, Any], chosen: str, shown: int, note: str = "") -> tuple[str, int, str]:
    """Handles a click in the gallery or on the open picture; returns the open picture, the number shown, a note.

    An act opens or closes a picture, shows more, undoes the trash, or applies to all selected pictures."""
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
        note = view("curate", "said", words=f"{looks.plural(len(picks), 'picture')} brought back")
    elif act == "caption":
        captions.submit_caption(desk, ids=picks)
    elif act == "star":
        store.update_images({each: {"star": not store.images.get(each).star} for each in picks})
    gone = act in ("trash", "restore") and chosen in picks
    return "" if gone else chosen, shown, note


def _thrown(count: int) -> Markup:
    return view("curate", "done", words=f"{looks.plural(count, 'picture')} put into the trash", undo=True)


def caption_missing(desk: Desk) -> None:
    """Queues the captioning of all pictures that no person or captioner has captioned."""
    captions.submit_caption(desk)


def caption_one(desk: Desk, chosen: str) -> None:
    """Queues a new caption for a picture, which replaces also a human's caption."""
    captions.submit_caption(desk, ids=[chosen], overwrite_human=True)


def toggle_star(desk: Desk, chosen: str) -> None:
    """Stars a picture, or removes its star."""
    store = desk.store
    store.update_image(chosen, star=not store.images.get(chosen).star)


def trash_one(desk: Desk, chosen: str) -> tuple[str, str]:
    """Moves the open picture into the trash; returns that no picture is open, and a note."""
    desk.store.trash([chosen])
    return "", _thrown(1)


def undo_trash(desk: Desk) -> Markup:
    """Undoes the last move into the trash and returns the note about it."""
    back = desk.store.undo_trash()
    return view("curate", "done", words=f"{looks.plural(len(back), 'picture')} brought back", undo=False)


def cancel(desk: Desk, data: dict[str, Any]) -> None:
    """Cancels the job whose button was clicked."""
    desk.workplace.jobs.cancel(str(data.get("job", "")))
