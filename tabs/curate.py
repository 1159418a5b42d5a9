"""The Curate tab: imports pictures, edits their captions and tags, and shows the coverage of angles and expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.axes import ANGLES, BACK_ANGLES, EXPRESSIONS, FRAMINGS
from engines.api.params import params_class
from studio.flywheel.curate import bulk, captions
from studio.flywheel.curate import coverage as curate
from studio.flywheel.next_step import is_next
from studio.flywheel.pictures import taught
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import adding, cropping, finding, looks, masking, picking, wording
from tabs.common.finding import USABLE, find
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, active_job, cancel, html, progress_line, queued
from tabs.common.versions import version_name

PAGE = 120
FAMILY = 12
TAGS = wording.TAGS
_FIRST = (
    "Pictures, folders or a zip; different angles and moods help most. A .txt file beside a picture is its caption; "
    "datasets of other trainers come in as they are."
)


def build(page: Page) -> None:
    """Lays out the Curate tab and connects its handlers."""
    chosen, shown = gr.State(""), gr.State(PAGE)
    place, told_of = (gr.Textbox(visible="hidden") for _ in range(2))
    filled = gr.JSON([], visible="hidden")
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=5):
            sample = html(elem_id="curate-sample")
            drop = adding.Widgets()
            report, busy = html(elem_id="curate-report"), html()
            with gr.Column(elem_id="curate-tools"):
                search = finding.Widgets()
                with gr.Row(elem_id="curate-buttons"):
                    caption_all = gr.Button("Write captions", size="sm", visible=False, elem_id="caption-all")
                    back = gr.Button("Undo", size="sm", visible=False, elem_id="undo-trash")
            with gr.Column(elem_id="curate-bulk"):
                bar, told = html(picking.bar()), html(elem_id="curate-told")
            gallery = html(looks.waiting(), elem_id="curate-gallery")
        with gr.Column(scale=3, elem_classes="fl-side", elem_id="curate-side"):
            hero = html(elem_id="curate-hero")
            with gr.Column(elem_id="curate-editor"):
                about, caption, sign, tags, (again, star, trash) = _editor()
                crop = cropping.Widgets()
                mask = masking.Widgets()
            detail = html(elem_id="curate-detail")
            cover = html()

    kind = search.kind
    pictures: Render = (draw_gallery, [*search.fields, shown, chosen], [gallery, busy])
    one: Render = (draw_detail, [chosen, kind], [hero, detail])
    form: Render = (fill_form, [chosen, kind], [caption, *tags, about, sign, filled])
    fresh: Render = (refill_form, [chosen, kind, filled], [caption, *tags, about, sign, filled])
    zone: Render = (open_drop, [place], [drop.fold, place])
    buttons: Render = (offer, [], [caption_all, back])
    named: Render = (name_buttons, [chosen, kind], [star, trash])
    framed = [pictures, one, crop.filled(chosen), named]
    opened = [*framed, form]
    first: Render = (adding.draw_sample, [], [sample])
    notes: Render = (stale_notes, [told_of], [told_of, told, report])
    page.show([pictures, one, (draw_cover, [], [cover]), zone, buttons, fresh, first, drop.remembered, notes, named])
    page.redraw([page.tab.select], (lambda desk: ["", ""], [], [told, report]))
    page.redraw(search.changes, pictures)
    drop.wire(page, report)
    page.on(caption_all.click, caption_missing)
    page.on(back.click, undo_last, [], [told], then=[pictures])
    for block in (gallery, hero, detail):
        page.act(block, gallery_act, [chosen, shown], [chosen, shown, search.words, search.only], then=opened)
    page.act(bar, picking.act, [chosen], [told, chosen], then=opened)
    page.act(told, picking.tell, [], [told])
    page.act(report, adding.dismiss, [], [report])
    page.act(sample, adding.close_sample, [], [sample])
    page.act(busy, cancel)
    page.act(sign, wording.act, [about, filled], [sign, filled, *tags], mode="once")
    for field, (name, _) in zip(tags, TAGS, strict=True):
        page.on(field.input, wording.tagging(name), [about, field, filled], [sign, filled])
    page.on(again.click, caption_one, [about])
    page.on(star.click, toggle_star, [about])
    page.on(trash.click, trash_one, [about], [chosen, told], then=opened)
    crop.wire(page, about, framed)
    mask.wire(page, about, opened)


def _editor() -> tuple[gr.Textbox, gr.Textbox, gr.HTML, list[gr.Dropdown], list[gr.Button]]:
    """Lays out the form of the open picture: its id, caption, confirmation, tags, and three buttons."""
    about = gr.Textbox(visible="hidden", elem_id="curate-about")
    with gr.Group():
        caption = gr.Textbox(label="Caption", lines=2, interactive=True, elem_id="curate-caption")
        sign = html(wording.sign(), elem_id="curate-words")
        with gr.Row():
            tags = [gr.Dropdown(["", *values], label=name, min_width=200) for name, values in TAGS]
    with gr.Row():
        buttons = [gr.Button(name, size="sm", min_width=60) for name in ("Caption again", "Star", "Trash")]
    return about, caption, sign, tags, buttons


# ── what is next ─────────────────────────────────────────────────────────────────────────────────


def open_drop(desk: Desk, place: str) -> tuple[Any, str]:
    """Returns an update that opens or folds the drop zone for new pictures, and the new `place`.

    The zone is opened for a character without pictures, else folded. `place` is a text that names the character and
    says whether it has pictures; the page passes in the one from the last call. While it is the same, the zone stays as
    the user left it.
    """
    store = desk.store
    here = bool(store.select(USABLE) or store.select(trashed=True))
    now = f"{desk.id} {here}"
    if now == place:
        return gr.skip(), now
    return gr.update(open=not here), now


def stale_notes(desk: Desk, told_of: str) -> list[Any]:
    """Returns the id of the desk's character, and updates of two notes on earlier actions.

    `told_of` is the id of the character that the notes are about. If that is not the desk's character, both notes are
    emptied.
    """
    return [desk.id, *((gr.skip(), gr.skip()) if told_of == desk.id else ("", ""))]


def offer(desk: Desk) -> list[Any]:
    """Returns updates of two buttons: one queues captions, the other undoes the latest bulk change or move to trash.

    Each is visible only while there is something to caption or to undo. The first one is highlighted while captions are
    missing and the character's next step is in Curate.
    """
    silent = [] if active_job(desk, "caption") else captions.uncaptioned(desk.store)
    bare = len(captions.missing_words(silent))
    label = f"Write {looks.plural(bare, 'caption')}" if bare else f"Caption {len(silent)} drawn pictures anew"
    tone = "primary" if bare and is_next(desk, "Curate") else "secondary"
    _, words = picking.undoable(desk)
    return [
        gr.update(visible=bool(silent), value=label, variant=tone),
        gr.update(visible=bool(words), value=words),
    ]


# ── the gallery and the open picture ─────────────────────────────────────────────────────────────


def badges(record: ImageRecord) -> Markup:
    """Returns small labels for a picture as HTML, such as its kind, its verdict and the angle of view."""
    own = record.kind is Kind.SOURCE
    return view(
        "curate",
        "badges",
        record=record,
        tone=looks.TONES[record.state],
        kind="" if own else looks.KIND_WORDS[record.kind],
        verdict="" if own and record.state is Verdict.PENDING else looks.WORDS[record.state],
        angle=record.tags.get("angle") or record.asked.get("angle", ""),
    )


def draw_gallery(
    desk: Desk, kind: str, words: str, order: str, only: Sequence[str] | None, shown: int, chosen: str
) -> tuple[Markup, Markup]:
    """Returns the gallery as HTML, and the progress of a running caption job as HTML.

    `kind`, `words`, `order` and `only` are the search, as in `finding.find`. At most `shown` pictures are shown;
    `chosen` is the id of the open one, "" for none.
    """
    store = desk.store
    found = find(store, kind, words, order, only)
    busy = progress_line(active_job(desk, "caption"))
    if not found:
        return _nothing(store, kind, bool(words.strip() or only)), busy
    tiles = []
    for each in found[:shown]:
        name = each.name or ", ".join(each.asked.values()) or each.caption
        under = view("curate", "under", name=name, badges=badges(each))
        tiles.append(looks.tile(each, looks.thumb(store, each.id), badges=under, act="open", chosen=each.id == chosen))
    whole = len(finding.of_kind(store, kind)) if words.strip() or only else len(found)
    more = min(PAGE, len(found) - shown)
    return view("curate", "gallery", trash=kind == "Trash", count=len(found), whole=whole, tiles=tiles, more=more), busy


def _nothing(store: Store, kind: str, searched: bool) -> Markup:
    if searched and finding.of_kind(store, kind):
        return looks.empty("Nothing matches what you look for.", looks.button("Show all of them", "clear"))
    if kind == "Trash":
        return looks.empty("The trash is empty.")
    if kind in ("Enriched", "Generated"):
        return looks.empty(f"Nothing {kind.lower()} yet; that comes with the next steps of the rail.")
    if store.select(USABLE) or store.select(trashed=True):
        return looks.empty("None of your own pictures is here; “Add pictures” above takes 10 to 20 of one character.")
    return view("curate", "first", words=_FIRST)


def draw_cover(desk: Desk) -> Markup:
    """Returns as HTML how many pictures there are of each angle, expression and framing, and a checklist.

    The checklist says what is missing before the next step.
    """
    coverage = curate.coverage(desk)
    framings = {name: coverage.framings.get(name, 0) for name in FRAMINGS}
    behind = {angle: coverage.around[angle] for angle in BACK_ANGLES}
    grid = view(
        "curate",
        "coverage",
        angles=ANGLES,
        moods=EXPRESSIONS,
        cells=coverage.cells,
        further=[("", framings), ("from behind", behind), ("camera", coverage.elevations)],
    )
    missing = len(coverage.missing)
    wanted = missing > 0 and any(coverage.cells.values())
    more = view("curate", "fill", gaps=missing, primary=is_next(desk, "Enrich")) if wanted else ""
    checks = view("curate", "checks", checklist=coverage.checklist)
    return looks.panel("Coverage", grid, more) + looks.panel("Ready to go on?", checks)


def draw_detail(desk: Desk, chosen: str, kind: str = "") -> tuple[Markup, Markup]:
    """Returns the open picture, large, and the facts about it, both as HTML.

    `chosen` is its id, "" for none. `kind` is what the gallery shows, such as `Trash`, or "" for no restriction. A
    picture in the trash is returned only if `kind` is `Trash` or "".
    """
    store = desk.store
    record = _opened(store, chosen, kind)
    if record is None:
        return looks.empty("Click a picture to see it large and to edit its caption."), Markup()
    facts = [("size", f"{record.width} × {record.height}"), ("file", record.name)]
    facts += [("advice", words) for words in record.advice.values()]
    facts.append(("taught", ", ".join(map(version_name, taught(store, record.id)))))
    if record.asked:
        facts.append(("asked for", ", ".join(f"{name}: {what}" for name, what in record.asked.items())))
    if record.model:
        drawn_by = store.versions.peek(record.version) if record.version else None
        nearest = store.images.peek(record.nearest) if record.nearest else None
        asked = params_class(record.params_kind).kept(record.params).headline() if record.params_kind else ""
        facts += [("version", drawn_by.name if drawn_by else ""), ("asked with", asked)]
        facts += [("model", record.model), ("seed", str(record.seed))]
        facts += [("nearest original", nearest.name if nearest else "")]
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
    children = [each for each in store.select(USABLE) if each.parent == record.id]
    parent = store.images.peek(record.parent) if record.parent else None
    family = ([parent] if parent else []) + children
    if not family:
        return Markup()
    tiles = [looks.tile(each, looks.thumb(store, each.id), pick=False) for each in family]
    made = f"{looks.plural(len(children), 'picture')} made from this one" if children else ""
    title = "; ".join(words for words in ("made from the first of these" if parent else "", made) if words)
    first = FAMILY + bool(parent)
    return view("curate", "family", title=title, tiles=tiles[:first], rest=tiles[first:])


def fill_form(desk: Desk, chosen: str, kind: str = "") -> list[Any]:
    """Returns the values of the form for the open picture: caption, tags, id, confirmation, and a list of the values.

    The confirmation is an empty line of HTML. The page keeps the list, so that `refill_form` can compare it with the
    store later. `chosen` is the picture's id, "" for none; `kind` is what the gallery shows, such as `Trash`.
    """
    record = _opened(desk.store, chosen, kind)
    if record is None:
        return ["", *("" for _ in TAGS), "", wording.sign(), []]
    values = wording.values(record)
    return [*values[1:], record.id, wording.sign(), values]


def refill_form(desk: Desk, chosen: str, kind: str, filled: list[str]) -> list[Any]:
    """Returns the values of the form as `fill_form` does, if the picture's stored values differ from `filled`.

    `filled` is the list of the values that were last filled in. If nothing differs, no field is updated, so that what
    was typed stays. `chosen` and `kind` are as in `fill_form`.
    """
    record = _opened(desk.store, chosen, kind)
    if (wording.values(record) if record else []) == filled:
        return [gr.skip() for _ in range(len(TAGS) + 4)]
    return fill_form(desk, chosen, kind)


def _opened(store: Store, chosen: str, kind: str) -> ImageRecord | None:
    record = store.images.peek(chosen) if chosen else None
    return None if record is None or (record.trashed and kind not in ("", "Trash")) else record


# ── actions ──────────────────────────────────────────────────────────────────────────────────────


def gallery_act(desk: Desk, data: dict[str, Any], chosen: str, shown: int) -> list[Any]:
    """Handles a click in the gallery or on the open picture: opens or closes one, shows more, or clears the search.

    `data` is what was clicked, `chosen` the id of the open picture, `shown` the largest number of pictures to show.
    Returns the new values of `chosen` and `shown`, and updates of the search's words and filters.
    """
    act = data.get("act")
    if act == "open":
        return [str(data.get("id", "")), shown, gr.skip(), gr.skip()]
    if act == "close":
        return ["", shown, gr.skip(), gr.skip()]
    if act == "clear":
        return [chosen, PAGE, "", []]
    return [chosen, shown + PAGE if act == "more" else shown, gr.skip(), gr.skip()]


def caption_missing(desk: Desk) -> Said:
    """Queues captions for all pictures without one, except rejected ones, and returns a notice.

    If there is no such picture, new captions are queued for those whose caption was composed by a fixed rule, not
    written by a model or a human.
    """
    return queued(captions.submit_caption(desk, captions.missing_words(captions.uncaptioned(desk.store)) or None))


def caption_one(desk: Desk, chosen: str) -> Said:
    """Queues a new caption for the picture `chosen`, an id; it also replaces a human's caption. Returns a notice."""
    return queued(captions.submit_caption(desk, ids=[chosen], overwrite_human=True))


def toggle_star(desk: Desk, chosen: str) -> None:
    """Stars the picture `chosen`, an id, or removes its star."""
    bulk.star(desk, [chosen])


def name_buttons(desk: Desk, chosen: str, kind: str = "") -> list[Any]:
    """Returns two updates that label the buttons for the open picture: Star or Unstar, Trash or Restore.

    `chosen` is its id, "" for none; `kind` is what the gallery shows, such as `Trash`.
    """
    record = _opened(desk.store, chosen, kind)
    starred, thrown = (bool(record and record.star), bool(record and record.trashed))
    return [gr.update(value="Unstar" if starred else "Star"), gr.update(value="Restore" if thrown else "Trash")]


def trash_one(desk: Desk, chosen: str) -> tuple[str, str]:
    """Moves the picture `chosen`, an id, into the trash, or out of it if it is there.

    Returns the id of the picture that is then open, "" for none, and a line on what was done as HTML.
    """
    act = "restore" if desk.store.images.get(chosen).trashed else "trash"
    told, still = picking.act(desk, {"act": act, "picks": [chosen]}, chosen)
    return still, told


def undo_last(desk: Desk) -> Markup:
    """Undoes the latest change of many pictures at once, or the latest move into the trash, whichever was later.

    Returns a line on what was undone as HTML.
    """
    return picking.tell(desk, {"act": picking.undoable(desk)[0]})
