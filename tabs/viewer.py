"""The viewer: one picture large, with all that is known of it and what can be done with it, over any page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import UserError
from engines.api.params import EditParams, GenerateParams
from studio.flywheel import card, pictures, review
from studio.flywheel.pictures import About, Placed
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from studio.workplace.desk import Desk
from tabs import generate
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Shell, html
from tabs.common.versions import version_name
from tabs.review import VERDICTS, verdict_words
from tabs.review import undo as undo_verdict

REVIEWED = (Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)
KEPT = (Kind.SOURCE, *REVIEWED, Kind.PAIR)  # to star and throw away; the others belong to a card or a training
SAYS: Mapping[str, bool | None] = {"right": True, "wrong": False, "own": None}
FAMILY = 200  # thumbnails of children; their count is told in full
BASE = "base model"
_PARENTS = {Kind.CORRECTION: "the wrong edit"}
_TWIN = "twin"


@dataclass(frozen=True)
class Note:
    """Holds a sentence about what was just done, and the HTML attributes of a button that undoes it.

    Without attributes there is no such button.
    """

    words: str = ""
    undo: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Other:
    """Holds a picture that can be compared with the open one: its key, its label, and the path of its file.

    The key names how this picture is related to the open one, for example `parent`, so that the choice stays the same
    when the next picture is opened. The path is None for a file that cannot be read.
    """

    key: str
    name: str
    file: Path | None


def build(shell: Shell, settings: Sequence[Any]) -> None:
    """Lays out the viewer, which shows one picture large over any page, and connects its handlers.

    `settings` are the widgets named by `generate.SETTINGS_WIDGETS`, which the button “Use these settings” fills.
    """
    gr.HTML(view("viewer", "frame"), elem_id="fl-viewer", apply_default_css=False)
    block = html(view("viewer", "nothing"), elem_id="fl-viewed")
    shell.act(block, act, [], [block, *settings])


# ── what a click does ───────────────────────────────────────────────────────────────────────────


def act(desk: Desk, data: dict[str, Any]) -> list[Any]:
    """Handles a click or key in the viewer: changes the picture where the action asks for it, and draws it again.

    `data` holds the name of the action and the picture's id. Returns a list: the viewer's content as HTML, then updates
    of the settings of the Generate tab, which only “Use these settings” changes. Raises: NotFound for an unknown
    picture, BadInput for an action that this picture does not allow.
    """
    name, image = str(data.get("act", "")), str(data.get("id", ""))
    done = ACTS.get(name)
    note = done(desk, image, data) if done else Note()
    used = name == "use"
    settings = generate.use_settings(desk, image) if used else [gr.skip()] * len(generate.SETTINGS_WIDGETS)
    beside, number = str(data.get("beside", "")), str(data.get("n", ""))
    return [draw(desk, image, beside, number, note, "Generate" if used else ""), *settings]


def star(desk: Desk, image: str, data: Mapping[str, Any]) -> Note:
    """Stars a picture, or removes its star; returns an empty note.

    `image` is the picture's id; `data` is not used.
    """
    desk.store.update_image(image, star=not desk.store.images.get(image).star)
    return Note()


def trash(desk: Desk, image: str, data: Mapping[str, Any]) -> Note:
    """Moves a picture into the trash; returns a note with an undo.

    `image` is the picture's id; `data` is not used.
    """
    desk.store.trash([image])
    return Note("Put into the trash.", {"data-act": "restore"})


def restore(desk: Desk, image: str, data: Mapping[str, Any]) -> Note:
    """Takes a picture out of the trash; returns a note.

    `image` is the picture's id; `data` is not used.
    """
    desk.store.restore([image])
    return Note("Brought back.")


def decide(desk: Desk, image: str, data: Mapping[str, Any]) -> Note:
    """Stores the owner's verdict on a picture, as the Review tab does; returns a note with an undo.

    `image` is the picture's id; `act` in `data` is the verdict's name: "good", "correct" or "reject".
    """
    name = str(data.get("act"))
    review.decide(desk, image, VERDICTS[name][2])
    more = " Mend it in Review, and it teaches the editor." if name == "correct" else ""
    return Note(f"Your verdict: {verdict_words(name).lower()}.{more}", {"data-act": "undo"})


def undo(desk: Desk, image: str, data: Mapping[str, Any]) -> Note:
    """Undoes the owner's last verdict where it is on the picture with the id `image`; returns a note.

    `data` is not used. Raises: NotFound without a verdict, BadInput where the last verdict is on another picture.
    """
    undo_verdict(desk, image)
    return Note("The verdict is taken back.")


def overrule(desk: Desk, image: str, data: Mapping[str, Any]) -> Note:
    """Stores or removes the user's own verdict on one picture of a model card; returns a note.

    A model card is an evaluation grid: prompts, called cells, × seeds. `image` is the picture's id. `data` names the
    card, the cell, the seed, and in `says` the verdict: right or wrong; or own, which removes the user's verdict, so
    that the automatic scorer's own holds again. The note has an undo where the verdict has changed.
    """
    run, cell, seed = str(data["card"]), str(data["cell"]), int(data["seed"])
    cells = {(each.card, each.cell.cell, each.cell.seed): each.cell for each in pictures.placed(desk.store, image)}
    was = cells[run, cell, seed].human if (run, cell, seed) in cells else None
    before, says = next(name for name, human in SAYS.items() if human is was), str(data["says"])
    card.set_human(desk, run, cell, seed, SAYS[says])
    words = "The card follows its scorer here again." if says == "own" else f"You say that this is {says}."
    back = {"data-act": "overrule", "data-card": run, "data-cell": cell, "data-seed": str(seed), "data-says": before}
    return Note(words, back if before != says else {})


ACTS: Mapping[str, Callable[[Desk, str, Mapping[str, Any]], Note]] = {
    "star": star,
    "trash": trash,
    "restore": restore,
    **dict.fromkeys(VERDICTS, decide),
    "undo": undo,
    "overrule": overrule,
}


# ── what is shown ───────────────────────────────────────────────────────────────────────────────


def draw(desk: Desk, image_id: str, beside: str, number: str, note: Note | None = None, go: str = "") -> Markup:
    """Returns as HTML the viewer's content: a picture, what is known of it, and its buttons.

    `beside` is the key of the picture to compare with (see `Other`), or the first words of a key, which select the
    first picture whose key begins with them; "" is none. `number` is the number of the browser's call; the HTML repeats
    it, so that the browser can drop outdated answers. `note` tells what was just done. `go` is the name of a tab to
    open afterwards, "" for none.
    """
    store = desk.store
    try:
        known = pictures.about(desk, image_id)
    except UserError as error:
        return view("viewer", "lost", id=image_id, number=number, error=error)
    record = known.picture
    names = {each.id: version_name(each) for each in store.versions.all()}
    offered = others(store, known, names)
    exact = [each for each in offered if each.key == beside]
    wider = [each for each in offered if beside and each.key.startswith(f"{beside} ")]  # of any version, or any model
    chosen = next(iter([*exact, *wider]), None)
    file, words = looks.full(store, record.id), looks.describe(record)
    if chosen:
        shown = looks.compare(chosen.file, file, words, (chosen.name, "this one"))
    else:
        shown = looks.picture(file, words, classes="fl-viewer-picture", lazy=False)
    return view(
        "viewer",
        "viewed",
        id=record.id,
        number=number,
        go=go,
        title=title(known, names),
        shown=shown,
        offered=[(each.key, each.name) for each in offered],
        chosen=chosen.key if chosen else "",
        told=told(desk, known, names, note or Note()),
    )


def title(known: About, names: Mapping[str, str]) -> str:
    """Returns a picture's title as text: its cell on a model card, else its file's name, else its kind.

    A model card is an evaluation grid, and a cell one of its prompts. `known` is what is known of the picture; `names`
    maps a version's id to its name.
    """
    for each in known.cells:
        return f"{each.cell.cell}, model card of {names.get(each.version, BASE)}"
    return known.picture.name or looks.KIND_WORDS[known.picture.kind]


def drawn_by(record: ImageRecord, names: Mapping[str, str]) -> str:
    """Returns as text which version made a picture; "" for a picture that no model made.

    A sample of a training and a picture of the base model are named as such. `names` maps a version's id to its name.
    """
    if record.kind is Kind.PREVIEW and not record.parent:
        return "a training, on its way"
    return names.get(record.version, "a version that is gone" if record.version else BASE) if record.model else ""


def others(store: Store, known: About, names: Mapping[str, str]) -> list[Other]:
    """Returns the pictures that the open picture can be compared with.

    They are its source, the original that it goes back to, the pictures of the same prompt and seed by other versions,
    and the most similar original. `known` is what is known of the open picture; `names` maps a version's id to its
    name.
    """
    record, found = known.picture, []
    for parent in known.parents[:1]:
        name = _PARENTS.get(record.kind, "source")
        found.append(Other("parent", name, looks.full(store, parent.id, record.source_crop)))
    for first in known.parents[1:][-1:]:
        found.append(Other("original", "original", looks.full(store, first.id, first.crop)))
    for each in reversed(known.twins):
        model = "" if each.model == record.model else f" of {each.model}"
        name = f"same seed, {drawn_by(each, names)}{model}"
        found.append(Other(f"{_TWIN} {each.version}{model}", name, looks.full(store, each.id)))
    nearest = known.nearest
    if nearest and nearest not in (record, *known.parents):
        found.append(Other("nearest", "nearest original", looks.full(store, nearest.id, nearest.crop)))
    return found


def told(desk: Desk, known: About, names: Mapping[str, str], note: Note) -> Markup:
    """Returns as HTML all that is known of a picture, with its buttons.

    `known` is what is known of it; `names` maps a version's id to its name; `note` tells what was just done.
    """
    store, record = desk.store, known.picture
    file = None if store.trouble(record.id) else store.path(record.id)
    likeness = Markup()
    made = f"{store.character.name}-{looks.KIND_WORDS[record.kind]}".replace(" ", "-")
    if record.scores:
        why = review.explain(desk, record.id)
        likeness = view("viewer", "likeness", why=why, shown=looks.score(why.compared, why.floor, why.ceiling))
    return view(
        "viewer",
        "told",
        record=record,
        note=note,
        kind=looks.KIND_WORDS[record.kind],
        verdict="" if record.state is Verdict.PENDING else looks.WORDS[record.state],
        tone=looks.TONES[record.state],
        verdicts=[
            (name, verdict_words(name), tone, key, record.state is verdict)
            for name, (key, tone, verdict) in VERDICTS.items()
        ]
        if record.kind in REVIEWED
        else [],
        url=looks.file_url(file) if file else "",
        saved_as=record.name
        if record.kind is Kind.SOURCE
        else f"{made}-{record.id[:8]}.{record.file.rpartition('.')[2]}",
        kept=record.kind in KEPT,
        worded="Instruction" if record.params_kind == EditParams.__name__ else "Prompt",
        reusable=record.params_kind == GenerateParams.__name__,
        cells=[cell_of(each, names) for each in known.cells],
        words=known.words,
        facts=facts(known, names, likeness),
        above=[_shot(store, each) for each in reversed(known.parents)],
        below=[_shot(store, each) for each in known.children[:FAMILY]],
        count=len(known.children),
        taught=[names[each.id] for each in known.taught],
    )


def cell_of(placed: Placed, names: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values for the template that shows a picture's place on a model card, an evaluation grid.

    They are the place, the version's name, the picture's outcome with its colour, the outcome of each axis such as
    identity, and the verdicts that a user can choose. Those verdicts are in `says` as (name, label, chosen): right,
    wrong, and as scored. `names` maps a version's id to its name.
    """
    mark, tone = looks.MARKS[placed.cell.headline]
    own, _ = looks.MARKS[placed.cell.verdict]
    labels = {"right": "right", "wrong": "wrong", "own": f"as scored {own}"}
    return {
        "placed": placed,
        "card": names.get(placed.version, BASE),
        "mark": mark,
        "tone": tone,
        "axes": ", ".join(f"{name} {looks.MARKS[outcome][0]}" for name, outcome in placed.cell.axes.items()),
        "says": [(name, labels[name], SAYS[name] is placed.cell.human) for name in SAYS],
    }


def facts(known: About, names: Mapping[str, str], likeness: Markup) -> list[tuple[str, object]]:
    """Returns what is known of a picture as rows of (name, value); the page shows only rows that have a value.

    `known` holds it all; `names` maps a version's id to its name; `likeness` is the picture's similarity to the
    originals as HTML, and becomes a row.
    """
    record = known.picture
    return [
        ("likeness", likeness),
        ("asked for", " · ".join(f"{name} → {what}" for name, what in record.asked.items())),
        ("caption", record.caption if record.caption != known.words else ""),
        ("caption by", record.caption_by if record.caption else ""),
        ("tags", ", ".join(value for value in record.tags.values() if value)),
        ("note", " ".join(record.advice.values())),
        ("drawn by", drawn_by(record, names)),
        ("model", record.model),
        *known.params,
        ("size", f"{record.width} × {record.height}"),
        ("file", record.name),
        ("made", record.created[:16].replace("T", " ")),
        ("id", record.id),
    ]


def _shot(store: Store, record: ImageRecord) -> tuple[str, str, str, Markup]:
    """Returns a related picture: its id, its frame's colour, its tooltip, and its thumbnail as HTML."""
    title = f"{looks.KIND_WORDS[record.kind]}, {looks.WORDS[record.state]}"
    thumb = looks.picture(looks.thumb(store, record.id), looks.describe(record))
    return record.id, looks.TONES[record.state], title, thumb
