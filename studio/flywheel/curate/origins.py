"""Where an imported picture comes from: a picture that the studio drew is drawn still when it comes back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from engines.api.errors import BadInput
from engines.api.params import EditParams, GenerateParams, Params
from studio.flywheel.curate.captions import RECIPE
from studio.records.nouns import Json, Kind
from studio.records.words import CAPTION_LETTERS, mended
from studio.store import Store
from studio.store.pictures import provenance_text

_MADE_WITH: Final[Mapping[Kind, type[Params]]] = {
    Kind.ENRICHED: EditParams,
    Kind.CORRECTION: EditParams,
    Kind.SYNTHETIC: GenerateParams,
}  # any other kind (a card's picture, a training's sample) is one more drawn picture to look at


def origin(data: bytes, store: Store) -> Json:
    """What a picture's own file says of how it was made, as fields of its record; `kind` alone for an original.

    Names of pictures and versions that this character does not have are left out, as are parameters that are none of
    the kind's; without them an edit names no parent, since it could teach nothing.
    """
    text = provenance_text(data)
    said = _parsed(text)
    if not text or said.get("kind") == Kind.SOURCE:
        return {"kind": Kind.SOURCE}
    kind = next((each for each in _MADE_WITH if each == said.get("kind")), Kind.SYNTHETIC)
    wanted = _MADE_WITH[kind]
    params = said["params"] if _fits(wanted, said) else {}
    made: Json = {
        "kind": kind,
        "model": _text(said, "model"),
        "seed": said["seed"] if type(said.get("seed")) is int else 0,
        "params_kind": wanted.__name__ if params else "",
        "params": params,
        "asked": _tags(said.get("asked")),
    }
    if params and (parent := _text(said, "parent")) in store.images:
        made["parent"] = parent
    if (version := _text(said, "version")) in store.versions:
        made["version"] = version
    words = wanted.from_json(params).headline()
    if kind is Kind.SYNTHETIC and words and len(words) <= CAPTION_LETTERS:
        made |= {"caption": words, "caption_by": RECIPE}
    return made


def _parsed(text: str) -> Json:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return mended(found) if isinstance(found, dict) else {}


def _text(said: Json, name: str) -> str:
    value = said.get(name, "")
    return value if isinstance(value, str) else ""


def _tags(asked: Any) -> dict[str, str]:
    given = asked if isinstance(asked, dict) else {}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def _fits(wanted: type[Params], said: Json) -> bool:
    """Whether its parameters are whole ones of this kind, value by value."""
    given = said.get("params")
    if said.get("params_kind") != wanted.__name__ or not isinstance(given, dict):
        return False
    try:
        read = wanted.from_json(given)
    except (BadInput, TypeError, ValueError, AttributeError):
        return False
    kinds = {field.name: type(field.default) for field in dataclasses.fields(wanted)}
    return all(isinstance(getattr(read, name), (int, float) if kind is float else kind) for name, kind in kinds.items())
