"""Finds how an imported picture was made, so that a picture the studio drew is not imported as an original."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from engines.api.errors import BadInput
from engines.api.params import EditParams, GenerateParams, Params
from engines.catalogue.registry import edits
from engines.infotext import MADE_BY
from engines.metadata.picture_text import texts_of, told_in
from engines.pictures import decode
from studio.flywheel.curate.captions import RECIPE
from studio.records.base import UNLESS_DEFAULT, Part
from studio.records.image import Kind
from studio.records.words import CAPTION_LETTERS, mended
from studio.store import Store
from studio.store.pictures import PROVENANCE

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

    A picture whose only record is the text that other programs read was made here where that text names this program;
    otherwise it is an original. The prompt in that text is its caption for now: captioning replaces it.
    Ids of a parent or version that this character does not have are left out, and so are parameters that do not fit the
    kind of picture. An edit without valid parameters gets no parent either, because the editor cannot be trained on it.
    """
    texts = texts_of(decode(data))
    text = texts.get(PROVENANCE, "")
    said = _parsed(text)
    if said.get("kind") == Kind.SOURCE:
        return Origin(kind=Kind.SOURCE)
    if not text:
        return _told(texts)
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
    return _captioned(made, wanted.from_json(params).headline()) if kind is Kind.SYNTHETIC else made


def _told(texts: Mapping[str, str]) -> Origin:
    """Returns the origin of a picture as the texts in its file tell it, without the studio's own record."""
    told = told_in(texts)
    if told is None:
        return Origin(kind=Kind.SOURCE)
    if told.pairs.get("Version") == MADE_BY and edits(told.pairs.get("Model", "")):
        return Origin(kind=Kind.ENRICHED)  # its words are an instruction, and describe no picture
    ours = told.pairs.get("Version") == MADE_BY
    return _captioned(Origin(kind=Kind.SYNTHETIC if ours else Kind.SOURCE), " ".join(mended(told.prompt).split()))


def _captioned(made: Origin, words: str) -> Origin:
    """Returns an origin with the prompt of its picture as the caption, unless that is empty or too long for one."""
    return made.replace(caption=words, caption_by=RECIPE) if words and len(words) <= CAPTION_LETTERS else made


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
