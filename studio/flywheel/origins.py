"""Where an imported picture comes from: a picture that the studio drew is drawn still when it comes back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from engines import api
from engines.errors import BadInput
from engines.params import Params
from studio.flywheel.captions import RECIPE
from studio.nouns import Json, Kind
from studio.pictures import provenance_text
from studio.store import Store
from studio.words import CAPTION_LETTERS, mended

_DRAWN: Final[Mapping[str, Kind]] = {
    Kind.ENRICHED: Kind.ENRICHED,
    Kind.CORRECTION: Kind.CORRECTION,
    Kind.SYNTHETIC: Kind.SYNTHETIC,
}  # any other kind (a card's picture, a training's sample) is one more drawn picture to look at


def origin(data: bytes, store: Store) -> Json:
    """What a picture's own file says of how it was made, as fields of its record; `kind` alone for an original.

    Names of pictures and versions that this character does not have are left out, as are parameters that fit no model.
    """
    text = provenance_text(data)
    said = _parsed(text)
    if not text or said.get("kind") == Kind.SOURCE:
        return {"kind": Kind.SOURCE}
    params_kind, params = _params(said)
    made: Json = {
        "kind": _DRAWN.get(str(said.get("kind")), Kind.SYNTHETIC),
        "model": _text(said, "model"),
        "seed": said["seed"] if type(said.get("seed")) is int else 0,
        "params_kind": params_kind,
        "params": params,
        "asked": _tags(said.get("asked")),
    }
    if (parent := _text(said, "parent")) in store.images:
        made["parent"] = parent
    if (version := _text(said, "version")) in store.versions:
        made["version"] = version
    words = _headline(params_kind, params)
    if made["kind"] is Kind.SYNTHETIC and words and len(words) <= CAPTION_LETTERS:
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


def _params(said: Json) -> tuple[str, Json]:
    """The name of the parameters' class, and the parameters; both empty when they are none."""
    name, given = _text(said, "params_kind"), said.get("params")
    kind = getattr(api, name, None) if name.isidentifier() else None
    if not (isinstance(kind, type) and issubclass(kind, Params) and isinstance(given, dict)):
        return "", {}
    try:
        read = kind.from_json(given)
        kinds = {field.name: type(field.default) for field in dataclasses.fields(kind)}
        fits = all(isinstance(getattr(read, name), _widened(wanted)) for name, wanted in kinds.items())
    except (BadInput, TypeError, ValueError, AttributeError):
        return "", {}
    return (name, given) if fits else ("", {})


def _widened(wanted: type) -> tuple[type, ...]:
    return (float, int) if wanted is float else (wanted,)


def _headline(params_kind: str, params: Json) -> str:
    kind = getattr(api, params_kind, None) if params_kind else None
    return kind.from_json(params).headline() if kind is not None else ""
