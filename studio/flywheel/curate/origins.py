"""Finds how an imported picture was made, so that a picture the studio drew is not imported as an original."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from engines.api.errors import BadInput
from engines.api.params import EditParams, GenerateParams, Params
from studio.flywheel.curate.captions import RECIPE
from studio.records.base import UNLESS_DEFAULT, Part
from studio.records.image import Kind
from studio.records.words import CAPTION_LETTERS, mended
from studio.store import Store
from studio.store.pictures import provenance_text

_MADE_WITH: Final[Mapping[Kind, type[Params]]] = {
    Kind.ENRICHED: EditParams,
    Kind.CORRECTION: EditParams,
    Kind.SYNTHETIC: GenerateParams,
}  # any other kind (a card's picture, a training's sample) is imported as a synthetic picture to review


@dataclass(frozen=True, kw_only=True)
class Origin(Part):
    """Holds how an imported picture was made, as its file says: its kind, model, seed and parameters.

    For an original only `kind` is set. `params_kind` names the class of `params`, and `asked` holds the tags that were
    requested. `parent` is the id of the picture that an edit was made from, `version` the id of the LoRA version that
    drew it. `caption_by` says who wrote the caption.
    """

    kind: Kind
    model: str = field(default="", metadata=UNLESS_DEFAULT)
    seed: int = field(default=0, metadata=UNLESS_DEFAULT)
    params_kind: str = field(default="", metadata=UNLESS_DEFAULT)
    params: Mapping[str, Any] = field(default_factory=dict, metadata=UNLESS_DEFAULT)
    asked: Mapping[str, str] = field(default_factory=dict, metadata=UNLESS_DEFAULT)
    parent: str = field(default="", metadata=UNLESS_DEFAULT)
    version: str = field(default="", metadata=UNLESS_DEFAULT)
    caption: str = field(default="", metadata=UNLESS_DEFAULT)
    caption_by: str = field(default="", metadata=UNLESS_DEFAULT)
    tags: Mapping[str, str] = field(default_factory=dict, metadata=UNLESS_DEFAULT)


def origin(data: bytes, store: Store) -> Origin:
    """Returns how the studio made a picture, as its file's bytes record it; without such a record it is an original.

    Ids of a parent or version that this character does not have are left out, and so are parameters that do not fit the
    kind of picture. An edit without valid parameters gets no parent either, because the editor cannot be trained on it.
    """
    text = provenance_text(data)
    said = _parsed(text)
    if not text or said.get("kind") == Kind.SOURCE:
        return Origin(kind=Kind.SOURCE)
    kind = next((each for each in _MADE_WITH if each == said.get("kind")), Kind.SYNTHETIC)
    wanted = _MADE_WITH[kind]
    params = _params(wanted, said)
    told = said.get("asked")
    asked = told if isinstance(told, dict) else {}
    parent, version, seed = _text(said, "parent"), _text(said, "version"), said.get("seed")
    made = Origin(
        kind=kind,
        model=_text(said, "model"),
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else 0,
        params_kind=wanted.__name__ if params else "",
        params=params,
        asked={name: value for name, value in asked.items() if isinstance(value, str)},
        parent=parent if params and parent in store.images else "",
        version=version if version in store.versions else "",
    )
    words = wanted.from_json(params).headline()
    if kind is Kind.SYNTHETIC and words and len(words) <= CAPTION_LETTERS:
        return made.replace(caption=words, caption_by=RECIPE)
    return made


def _parsed(text: str) -> Mapping[str, object]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return mended(found) if isinstance(found, dict) else {}


def _text(said: Mapping[str, object], name: str) -> str:
    value = said.get(name, "")
    return value if isinstance(value, str) else ""


def _params(wanted: type[Params], said: Mapping[str, object]) -> Mapping[str, object]:
    """Returns the stored parameters where they are complete and valid for this class, else an empty dictionary."""
    given = said.get("params")
    if said.get("params_kind") != wanted.__name__ or not isinstance(given, dict):
        return {}
    try:
        read = wanted.from_json(given)
    except (BadInput, TypeError, ValueError, AttributeError):
        return {}
    kinds = {field.name: type(field.default) for field in dataclasses.fields(wanted)}
    fits = all(isinstance(getattr(read, name), (int, float) if kind is float else kind) for name, kind in kinds.items())
    return given if fits else {}
