"""The provenance of a picture, as its own file holds it for others: it contains no path of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from studio.records.base import UNLESS_DEFAULT, Json, Part


@dataclass(frozen=True, kw_only=True)
class LoraName(Part):
    """Holds a LoRA's name, its weight and its hash, which Civitai calls AutoV3; the hash is "" where it is unknown."""

    name: str
    weight: float
    hash: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance(Part):
    """Holds how a picture was made, in the form that is published inside the picture's file.

    `kind` is its origin, `parent` the id of the picture it was made from. `model` names the model, `version` is the id
    of the studio's own LoRA version that was used, `loras` are all LoRA files. `params` are the parameters as JSON,
    `params_kind` the name of their class. `asked` holds the tags that the picture should have, such as
    {"angle": "front"}. A field is empty where it does not apply.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    kind: str = field(default="", metadata=UNLESS_DEFAULT)
    parent: str = field(default="", metadata=UNLESS_DEFAULT)
    model: str = field(default="", metadata=UNLESS_DEFAULT)
    version: str = field(default="", metadata=UNLESS_DEFAULT)
    seed: int = field(default=0, metadata=UNLESS_DEFAULT)
    params_kind: str = field(default="", metadata=UNLESS_DEFAULT)
    params: Json = field(default_factory=dict, metadata=UNLESS_DEFAULT)
    asked: Mapping[str, str] = field(default_factory=dict, metadata=UNLESS_DEFAULT)
    loras: tuple[LoraName, ...] = field(default=(), metadata=UNLESS_DEFAULT)
