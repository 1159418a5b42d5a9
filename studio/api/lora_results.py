"""What the calls on the editors' LoRA library and on plans in own words take and return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen

from engines.api.params import STRONGEST
from engines.api.values import Line, Number, Whole, Words
from engines.catalogue.lora_bases import TASKS
from studio.api.arguments import TASKS as EDITS
from studio.api.arguments import File, Id, Of, told
from studio.api.results import Queued
from studio.flywheel.enrich.edits import EnrichPlan
from studio.housekeeping.merging import HIGHEST_RANK
from studio.records.base import Part
from studio.records.lora import LibraryLora
from studio.records.plan import OwnEdit, SavedPlan, StackedLora

_UPLOAD = "Either a path on the studio's own machine, as text, or gradio_client.handle_file(PATH)."

Editor = Annotated[Id, told('The name of the editor; "" for the first one of the registry.')]
LoraId = Annotated[Id, told("The LoRA's id, from lora_library or lora_add.")]
RepoFile = Annotated[Line, told('The file in the repository, by its path, name or stem; "" for the only one.')]
Place = Annotated[File, told(f"A LoRA's safetensors file, or a repository of the hub as owner/name. {_UPLOAD}")]
LoraName = Annotated[Line, told('A name for people; "" for that of the file.')]
LoraTask = Annotated[Id, told("What it is for.", tuple(TASKS))]
LoraWords = Annotated[Words, told('The instruction that calls it, with placeholders such as {subject}; "" for none.')]
LoraStrength = Annotated[Number, Ge(-STRONGEST), Le(STRONGEST), told("The strength to start from.")]
Licence = Annotated[Line, told("Its licence.")]
MergeStack = Annotated[
    list[Annotated[dict[str, Any], Of(StackedLora)]],
    MaxLen(64),
    told("The LoRAs to merge, each with its strength.", example=[{"lora": "own-a", "weight": 0.8}, {"lora": "own-b"}]),
]
MergeRank = Annotated[
    Whole, Ge(0), Le(HIGHEST_RANK), told("The highest rank of a layer; 0 keeps the sum of the ranks, which is exact.")
]
MergeTask = Annotated[Id, told('What it is for; "" for the task of the first LoRA.', ("", *TASKS))]
LoraNotes = Annotated[Words, told("The new notes on it; null keeps the present ones.")]
Star = Annotated[bool, told("Whether it is starred; null keeps that as it is.")]
PlanName = Annotated[Line, told("The plan's name; a plan of the same name is replaced.")]
PlanId = Annotated[Id, told("The plan's id or its name, from plan_list.")]
PlanFile = Annotated[File, told(f"A file that plan_share has written. {_UPLOAD}")]
OwnRows = Annotated[
    list[Annotated[dict[str, Any], Of(OwnEdit)]],
    MaxLen(10_000),
    told("The rows in own words; a row without a key gets one.", example=[{"words": "make the {subject} laugh"}]),
]
EditTask = Annotated[Id, told("The kind of edit.", EDITS)]
EditValue = Annotated[Line, told("The value that the words ask for, such as red shirt; it becomes the tag.")]
EditWords = Annotated[Words, told('The words that ask for it; "" takes your own back.')]
KeepWords = Annotated[Words, told('The sentence on what stays; "" takes your own back.')]


@dataclass(frozen=True, kw_only=True)
class Published(Part):
    """Holds what the author of a LoRA says of it, and what is known of it otherwise."""

    base: str
    """The model that it was trained for."""
    page: str
    """The address of its page on the hub; "" for none."""
    slots: Mapping[str, tuple[str, ...]]
    """The words that each placeholder of its instruction may be; none where it is free."""
    steps: int
    """The number of steps that its author wants; 0 for the editor's own."""
    second: str
    """What the second picture must show; "" where there is none."""
    beside: str
    """The id of a LoRA that belongs to it; "" for none."""
    note: str
    """What a user should know."""
    correction: str
    """What was claimed of it wrongly."""
    editors: tuple[str, ...]
    """The editors whose layers it fits."""


@dataclass(frozen=True, kw_only=True)
class ListedLora(LibraryLora):
    """Holds a LoRA of the library as an editor can use it."""

    here: bool
    """Whether its file is on this machine."""
    why_not: str
    """Why the editor cannot use it; "" where it can."""
    caution: str
    """What to expect where it was trained for another version of the editor."""
    job_id: str
    """The id of its download that is not done; "" for none."""
    published: Published | None
    """What its author says; null for a file of one's own."""


@dataclass(frozen=True, kw_only=True)
class ListedLoras(Part):
    """Holds the editors' library."""

    editor: str
    """The editor that it is listed for."""
    tasks: Mapping[str, str]
    """The tasks, each with its heading."""
    loras: tuple[ListedLora, ...]
    """The LoRAs, by task; starred ones and those that are here first."""


@dataclass(frozen=True, kw_only=True)
class QueuedLora(Queued):
    """Holds a submitted job that adds a LoRA."""

    lora_id: str
    """The id that the LoRA will have."""


@dataclass(frozen=True, kw_only=True)
class OneLora(Part):
    """Holds one LoRA."""

    lora: LibraryLora
    """The LoRA's record."""


@dataclass(frozen=True, kw_only=True)
class SavedPlans(Part):
    """Holds the saved plans."""

    plans: tuple[SavedPlan, ...]
    """The plans, by name."""


@dataclass(frozen=True, kw_only=True)
class OnePlan(Part):
    """Holds one saved plan."""

    plan: SavedPlan
    """The plan."""


@dataclass(frozen=True, kw_only=True)
class PlanLink(Part):
    """Holds where a shared plan lies."""

    plan_id: str
    """The plan's id."""
    file_path: str
    """The path of the file on the studio's machine."""


@dataclass(frozen=True, kw_only=True)
class RowTrouble(Part):
    """Holds why a row of a plan cannot be drawn."""

    row: int
    """The row's place among those that are on, from 0."""
    code: str
    """The kind of error."""
    message: str
    """What is wrong."""
    hint: str
    """What to do."""


@dataclass(frozen=True, kw_only=True)
class PlannedRows(EnrichPlan):
    """Holds a saved plan's rows as enrich_submit takes them."""

    troubles: tuple[RowTrouble, ...]
    """The rows that cannot be drawn, and why."""
    notes: tuple[str, ...]
    """What was left out for this character, and what the LoRAs need."""


@dataclass(frozen=True, kw_only=True)
class TaskWords(Part):
    """Holds the words of one kind of edit."""

    task: str
    """The kind of edit."""
    keep: str
    """The sentence on what stays."""
    requests: Mapping[str, str]
    """The words that ask for each value."""
    own: tuple[str, ...]
    """The values whose words a person changed or added."""
    own_keep: bool
    """Whether the sentence on what stays is a person's own."""
    takes_keep: bool
    """Whether the editor is told such a sentence at all."""
    warning: str
    """Which words no longer say that the person stays the same; "" for none."""


@dataclass(frozen=True, kw_only=True)
class Templates(Part):
    """Holds the words of all kinds of edits."""

    templates: tuple[TaskWords, ...]
    """The words of each kind of edit."""


@dataclass(frozen=True, kw_only=True)
class OneTemplate(Part):
    """Holds the words of one kind of edit after a change."""

    template: TaskWords
    """The words."""
