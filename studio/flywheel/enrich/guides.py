"""Fills in the second picture that an edit's LoRA asks for: one that is drawn for it, or one of the character's."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, get_args

from PIL import Image

from engines.api.axes import shows_face
from engines.api.errors import BadInput
from engines.api.guides import GUIDES, LIGHTS
from engines.api.views import Angle, View
from engines.guides.figure import grey_figure, light_map
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.plan import OwnEdit
from studio.store import Store
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Desk

LIGHT = "direction"  # the placeholder of the words that names where the light comes from
_TAGGED = {"style": "style", "lit": "light"}  # kind -> the tag that such a picture has
_KINDS = (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)


def second_of(desk: Desk, edit: OwnEdit, source: ImageRecord) -> tuple[str, ...]:
    """Returns the id of the second picture of an edit of one source, as a tuple; empty where it has none.

    A picture that a person chose comes before the kind that the edit names. One that is drawn is stored when it is
    first asked for, and found again by its name. Raises: BadInput where the character has no such picture; NotFound for
    a chosen picture that is gone; UserError when writing fails.
    """
    if edit.second:
        return (desk.store.images.get(edit.second).id,)
    if not edit.guide:
        return ()
    if edit.guide == "figure":
        view = edit.view or View(angle=_angle(source))
        return (_kept(desk.store, f"grey figure: {view}", lambda: grey_figure(view)),)
    if edit.guide == "light":
        view, light = View(angle=_angle(source), framing="head"), light_of(desk, edit)
        return (_kept(desk.store, f"light: {light}, {view.angle}", lambda: light_map(light, view)),)
    return (_picked(desk.store, edit.guide, source).id,)


def light_of(desk: Desk, edit: OwnEdit) -> str:
    """Returns where an edit's light comes from, a key of `LIGHTS`: as its words say it, else from the front."""
    rows, said = LoraLibrary(desk.workplace.library).rows, edit.fills.get(LIGHT, "")
    known = {word: light for use in edit.loras if use.lora in rows for word, light in rows[use.lora].lights.items()}
    return known.get(said, said if said in LIGHTS else "front")


def _angle(source: ImageRecord) -> Angle:
    told = source.tags.get("angle", "")
    return cast(Angle, told) if told in get_args(Angle) else "front"


def _kept(store: Store, name: str, draw: Callable[[], Image.Image]) -> str:
    """Returns the id of the drawn guide with this name; it is drawn and stored where the character has none."""
    found = next((each for each in store.select(Kind.GUIDE) if each.name == name), None)
    return (found or store.add_image(draw(), kind=Kind.GUIDE, name=name)).id


def _picked(store: Store, kind: str, source: ImageRecord) -> ImageRecord:
    """Returns the character's picture that fits best: starred, frontal and of its own, before all others.

    Raises: BadInput where there is none but the source.
    """
    axis = _TAGGED.get(kind, "")
    fitting = [
        each
        for each in store.select(_KINDS)
        if each.id != source.id and each.state in (Verdict.GOOD, Verdict.PENDING)
        if (bool(each.tags.get(axis)) if axis else each.kind is Kind.SOURCE and shows_face(each.tags))
    ]
    if not fitting:
        raise BadInput(f"The second picture is missing: {GUIDES[kind]}.", "Choose one in the row, or none.")
    return min(fitting, key=lambda each: (not each.star, each.state is not Verdict.GOOD, _angle(each) != "front"))
