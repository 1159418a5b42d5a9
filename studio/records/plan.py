"""The records of plans that a person writes: edits in own words, with LoRAs, seeds and a second picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le, MaxLen

from engines.api.params import STRONGEST
from engines.api.values import Words
from studio.records.base import UNLESS_DEFAULT, Part, Record

Name = Annotated[str, MaxLen(200)]
Weight = Annotated[float, Ge(-STRONGEST), Le(STRONGEST)]


@dataclass(frozen=True, kw_only=True)
class StackedLora(Part):
    """Holds a LoRA of the library in an edit's stack: its id and its strength.

    `sha256` is the hash of its file, by which it is found again in another studio, and `name` what it is called there;
    both are set in a plan that is shared.
    """

    lora: Name
    weight: Weight = 1.0
    name: Annotated[str, MaxLen(1000)] = field(default="", metadata=UNLESS_DEFAULT)
    sha256: Name = field(default="", metadata=UNLESS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class OwnEdit(Part):
    """Holds one row of a plan in a person's own words; it is drawn once for each source and each seed.

    `key` is unique in its plan. `words` is the instruction, with placeholders such as {subject}; `fills` are the words
    for those that neither the character nor the source fills. `sources` are ids of pictures, none for all originals
    that can be edited. `loras` is the stack of LoRAs; `few_steps` draws drafts. `seeds` is the number of results of
    each source. `second` is the id of the second picture that the editor sees, "" for none. A row that is not `on` is
    kept, but not drawn.
    """

    key: Name
    words: Words = ""
    sources: Annotated[tuple[Name, ...], MaxLen(10_000)] = ()
    fills: Annotated[Mapping[Name, Annotated[str, MaxLen(1000)]], MaxLen(100)] = field(default_factory=dict)
    loras: Annotated[tuple[StackedLora, ...], MaxLen(16)] = ()
    few_steps: bool = False
    seeds: Annotated[int, Ge(1), Le(100)] = 1
    second: Name = ""
    on: bool = True


@dataclass(frozen=True, kw_only=True)
class SavedPlan(Record):
    """Holds a plan that a person saved under a name, for all characters."""

    name: str
    rows: tuple[OwnEdit, ...] = ()


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
