"""The provenance of a picture, as its own file holds it for others: it contains no path of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from studio.records.base import UNLESS_DEFAULT, Json, Part


@dataclass(frozen=True, kw_only=True)
class LoraName(Part):
    """Holds a LoRA by its name, its weight, and the hash that Civitai calls AutoV3; "" where the hash is unknown."""

    name: str
    weight: float
    hash: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance(Part):
    """Holds how a picture was made: its kind, parent picture, model, parameters verbatim, requested tags and LoRAs."""

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
