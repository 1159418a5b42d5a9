"""The rows of a plan in a person's own words: words, LoRAs, seeds and a second picture, edited in place."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from engines.api.axes import AROUND, ELEVATIONS, FRAMINGS
from engines.api.errors import BadInput
from engines.api.guides import GUIDES
from engines.api.protocols import ModelSpec
from engines.api.views import DISTANCES
from studio.flywheel.enrich import own_words
from studio.flywheel.enrich.own_words import KNOWN, Written
from studio.housekeeping import loras
from studio.records.image import Kind, Verdict
from studio.records.plan import OwnEdit, StackedLora
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view

_SHOWN = 5  # thumbnails of a row
_SECOND = 200  # pictures that a second picture is chosen from
_GUIDE = "guide:"  # before the kind of a second picture that is filled in
_KINDS = (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)
_FIELDS: Mapping[str, str] = {  # what an element sends -> the field that it changes
    "own-on": "on",
    "own-words": "words",
    "own-few": "few_steps",
    "own-seeds": "seeds",
}
_VIEW: Mapping[str, Mapping[str, str]] = {  # the parts of a view: value -> how it is called
    "angle": {each: each for each in AROUND},
    "elevation": {each: each for each in ELEVATIONS},
    "framing": {each: DISTANCES[each] for each in FRAMINGS},
}


def draw(desk: Desk, written: Sequence[Written], spec: ModelSpec) -> Markup:
    """Returns the rows of one's own as HTML, each with its controls and its words as they will be sent.

    `spec` is the editor's model; only LoRAs that it can use are offered. Empty without rows.
    """
    if not written:
        return Markup()
    usable = [each.record for each in loras.shown(desk.workplace, spec.name) if each.here and not each.why_not]
    pictures = [each for each in desk.store.select(_KINDS) if each.state is not Verdict.REJECT][-_SECOND:]
    seconds = [(each.id, each.name or looks.describe(each)) for each in pictures]
    placeholders = " ".join(f"{{{name}}}" for name in KNOWN)
    rows = [row(desk, each, usable, seconds) for each in written]
    return view("own_rows", "rows", rows=rows, placeholders=placeholders)


def row(desk: Desk, written: Written, usable: Sequence[Any], seconds: Sequence[tuple[str, str]]) -> Markup:
    """Returns one row of one's own as HTML.

    `usable` are the records of the LoRAs that can be added to it, `seconds` the pictures that can be its second one, as
    pairs of id and name.
    """
    edit, library = written.edit, LoraLibrary(desk.workplace.library)
    known = {each.id: each.name for each in library.all()}
    sources = own_words.sources(desk, edit)
    stacked = {each.lora for each in edit.loras}
    seen = list(dict.fromkeys(image for row in written.rows for image in row.references))[:_SHOWN]
    return view(
        "own_rows",
        "row",
        edit=edit,
        written=written,
        thumbs=[(each.id, looks.thumb(desk.store, each.id, each.crop)) for each in sources[:_SHOWN]],
        more=len(sources) - _SHOWN,
        all=not edit.sources,
        stack=[(each, known.get(each.lora, each.name or each.lora)) for each in edit.loras],
        offered=[each for each in usable if each.id not in stacked],
        fills=[(name, words, edit.fills.get(name, "")) for name, words in own_words.choices(desk, edit).items()],
        seconds=[*((f"{_GUIDE}{kind}", words) for kind, words in GUIDES.items()), *seconds],
        second=f"{_GUIDE}{edit.guide}" if edit.guide and not edit.second else edit.second,
        seen=[(each, looks.thumb(desk.store, each)) for each in seen],
        parts=[(name, words, edit.view.tags[name]) for name, words in _VIEW.items()] if edit.view else [],
    )


def act(desk: Desk, data: Mapping[str, Any], edits: Sequence[OwnEdit], chosen: Sequence[str]) -> tuple[OwnEdit, ...]:
    """Handles a change in a row of one's own, and returns all such rows with it.

    `data` is what the changed element sends: the change, the row's key as `row`, and mostly a `value`. `chosen` are the
    ids of the pictures that are chosen as sources. Raises: BadInput for a value that is not allowed.
    """
    name, key = str(data.get("act")), str(data.get("row", ""))
    at = next((index for index, each in enumerate(edits) if each.key == key), None)
    if at is None:
        raise BadInput("That row is not in the plan any more.", "Reload the page.")
    edit, value, lora = edits[at], data.get("value"), str(data.get("lora", ""))
    found: tuple[OwnEdit, ...] = (edit,)
    if name == "remove":
        found = ()
    elif name == "own-copy":
        found = (edit, edit.replace(key=secrets.token_hex(6)))
    elif name == "own-sources":
        found = (edit.replace(sources=tuple(chosen)),)
    elif name == "own-fill":
        found = (changed(edit, fills={**edit.fills, str(data.get("name")): value}),)
    elif name == "own-second":
        kind = str(value).removeprefix(_GUIDE) if str(value).startswith(_GUIDE) else ""
        found = (changed(edit, guide=kind, second="" if kind else value),)
    elif name == "own-view" and edit.view:
        found = (changed(edit, view={**edit.view.tags, str(data.get("name")): value}),)
    elif name == "own-add" and value:
        record = LoraLibrary(desk.workplace.library).get(str(value))
        fresh = own_words.of_lora(desk, record.id, edit.key)
        words = edit.words if edit.words.strip() else fresh.words
        stack = (*edit.loras, StackedLora(lora=record.id, weight=record.strength))
        guide = edit.guide or ("" if edit.second else fresh.guide)
        found = (changed(edit, loras=stack, words=words, fills={**fresh.fills, **edit.fills}, guide=guide),)
    elif name == "own-drop":
        found = (edit.replace(loras=tuple(each for each in edit.loras if each.lora != lora)),)
    elif name == "own-weight":
        weighed = [{**each.to_json(), "weight": value} if each.lora == lora else each for each in edit.loras]
        found = (changed(edit, loras=weighed),)
    elif name in _FIELDS:
        found = (changed(edit, **{_FIELDS[name]: value}),)
    return (*edits[:at], *found, *edits[at + 1 :])


def changed(edit: OwnEdit, **fields: Any) -> OwnEdit:
    """Returns a row with fields replaced by values from the page. Raises: BadInput for a value that is not allowed."""
    try:
        return OwnEdit.from_json({**edit.to_json(), **fields})
    except ValueError as error:
        raise BadInput(f"The row cannot be so: {error}.", "Correct the value; the row stays as it was.") from None
