"""The records of plans that a person writes: edits in own words, with LoRAs, seeds and a second picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le, MaxLen

from engines.api.guides import Guide
from engines.api.params import STRONGEST
from engines.api.values import Words
from engines.api.views import View
from studio.records.base import UNLESS_DEFAULT, Part, Record

Name = Annotated[str, MaxLen(200)]
Weight = Annotated[float, Ge(-STRONGEST), Le(STRONGEST)]


@dataclass(frozen=True, kw_only=True)
class StackedLora(Part):
    """Holds a LoRA of the library in an edit's stack."""

    lora: Name
    """Its id, from lora_library."""
    weight: Weight = 1.0
    """Its strength; 1 leaves it as trained."""
    name: Annotated[str, MaxLen(1000)] = field(default="", metadata=UNLESS_DEFAULT)
    """Its name where the plan was made; set in a plan that is shared."""
    sha256: Name = field(default="", metadata=UNLESS_DEFAULT)
    """The hash of its file, by which another studio finds it; set in a plan that is shared."""


@dataclass(frozen=True, kw_only=True)
class OwnEdit(Part):
    """Holds one row of a plan in a person's own words; it is drawn once for each source and each seed."""

    key: Name
    """A name that is unique in its plan."""
    words: Words = ""
    """The instruction, with placeholders such as {subject} or {outfit}."""
    sources: Annotated[tuple[Name, ...], MaxLen(10_000)] = ()
    """The ids of the pictures to edit; none for all good originals."""
    fills: Annotated[Mapping[Name, Annotated[str, MaxLen(1000)]], MaxLen(100)] = field(default_factory=dict)
    """The words for placeholders that neither the character nor the source fills."""
    loras: Annotated[tuple[StackedLora, ...], MaxLen(16)] = ()
    """The stack of LoRAs, in their order."""
    few_steps: bool = False
    """Whether it is drawn in few steps, as a draft."""
    seeds: Annotated[int, Ge(1), Le(100)] = 1
    """The number of results of each source."""
    second: Name = ""
    """The id of the second picture that the editor sees; "" for none."""
    on: bool = True
    """Whether it is drawn; a row that is off is kept."""
    view: View | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The view that {view} in the words asks for, in the grammar of the editor and the LoRAs; null for none."""
    guide: Guide = field(default="", metadata=UNLESS_DEFAULT)
    """The kind of second picture that is filled in for each source where `second` is ""; "" for none."""


@dataclass(frozen=True, kw_only=True)
class SavedPlan(Record):
    """Holds a plan that a person saved under a name, for all characters."""

    name: str
    """Its name."""
    rows: tuple[OwnEdit, ...] = ()
    """Its rows."""


@dataclass(frozen=True, kw_only=True)
class Template(Record):
    """Holds how a person words one kind of edit for the editors of one wording, where it differs from the built-in.

    The id is made of `wording`, such as photographs, and `task`, such as outfit. `requests` maps a value, such as red
    shirt, to the words that ask for it; `keep` is the sentence that names what stays, "" for the built-in one.
    """

    wording: str
    task: str
    requests: Mapping[str, str] = field(default_factory=dict)
    keep: str = ""
