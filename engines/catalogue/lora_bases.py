"""Describes LoRAs for editors: what a row of the catalogue says, what a file is, and which editors take it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from engines.api.errors import BadInput
from engines.api.guides import Guide
from engines.api.placeholders import filled, names
from engines.api.values import shown

UNKNOWN = "unknown"
FEW = 4  # steps of the few-step adapters
TASKS: Mapping[str, str] = {  # task -> its heading
    "angle": "Camera and head angle",
    "lighting": "Light",
    "identity": "Likeness",
    "expression": "Expression",
    "pose": "Pose",
    "outfit": "Outfit",
    "background": "Background and scene",
    "skin": "Skin and realism",
    "style": "Style",
    "detail": "Detail and upscaling",
    "removal": "Removal and repair",
    "speed": "Speed",
    "general": "General",
}
_BLOCK = re.compile(r"(single_)?transformer_blocks[._](\d+)")
_WIDTH = re.compile(r"(to_[qkv]|add_[qkv]_proj)$")


@dataclass(frozen=True, kw_only=True)
class Base:
    """Describes a model that LoRAs of editors are trained for, by the layers that such a LoRA changes.

    `width`: the hidden size; `blocks`, `singles`: the number of its blocks with two streams and with one. `editors`:
    the registry's editors that have these layers. `marks`: parts of module names that only its family has.
    """

    name: str
    family: str
    width: int
    blocks: int
    singles: int = 0
    editors: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


QWEN_EDITORS = ("Qwen-Image-Edit-2511", "Qwen-Image-Edit-2509", "Qwen-Image-Edit", "FireRed-Image-Edit-1.1")
_FLUX_MARKS = ("proj_mlp", "ff.net")
_QWEN_MARKS = ("img_mlp", "txt_mlp", "img_mod", "txt_mod")
BASES: tuple[Base, ...] = (
    Base(name="Qwen-Image, 20B", family="qwen-edit", width=3072, blocks=60, editors=QWEN_EDITORS, marks=_QWEN_MARKS),
    Base(
        name="mini-qwen-edit",
        family="qwen-edit",
        width=192,
        blocks=5,
        editors=("mini-qwen-edit",),
        marks=_QWEN_MARKS,
    ),
    Base(
        name="FLUX.2-klein 4B",
        family="flux2",
        width=3072,
        blocks=5,
        singles=20,
        editors=("FLUX.2-klein-base-4B", "FLUX.2-klein-4B"),
        marks=("to_qkv_mlp_proj",),
    ),
    Base(name="FLUX.2-klein 9B", family="flux2", width=4096, blocks=8, singles=24, marks=("to_qkv_mlp_proj",)),
    Base(name="FLUX.2-dev", family="flux2", width=6144, blocks=8, singles=48, marks=("to_qkv_mlp_proj",)),
    Base(name="FLUX.1", family="flux", width=3072, blocks=19, singles=38, marks=_FLUX_MARKS),
    Base(name="mini-flux", family="flux", width=192, blocks=3, singles=6, marks=_FLUX_MARKS),
)


@dataclass(frozen=True, kw_only=True)
class LoraFacts:
    """Holds what a LoRA file says of itself."""

    naming: str
    """The tool whose names its tensors have."""
    tensors: int
    """The number of its tensors."""
    modules: int
    """The number of the layers that it changes."""
    ranks: tuple[int, int]
    """Its smallest and its largest rank."""
    base: str = UNKNOWN
    """The model whose layers it changes; unknown where no known model has them."""
    family: str = ""
    """That model's family."""
    declared: str = ""
    """The architecture in its metadata."""
    modulation: bool = False
    """Whether it changes modulation layers, whose outputs are then computed anew for its stack."""
    note: str = ""
    """What of its tensors is not used, in words."""

    @property
    def editors(self) -> tuple[str, ...]:
        """Returns the registry's editors that have the layers it changes; none where its base is unknown."""
        return next((each.editors for each in BASES if each.name == self.base), ())

    def why_not(self, editor: str) -> str:
        """Returns the reason why an editor cannot use it, as a sentence; "" where it can, or where nothing is known."""
        if self.base == UNKNOWN or editor in self.editors:
            return ""
        return f"It changes the layers of {self.base}; those of {editor} are others."


def base_of(widths: Mapping[str, int], family: str) -> Base | None:
    """Returns the model of a family whose layers a LoRA's modules are; None where it is no known one.

    `widths`: the name of each module that the LoRA changes, in diffusers' names -> the width of its input.
    """
    blocks = [(bool(found[1]), int(found[2])) for module in widths if (found := _BLOCK.search(module))]
    seen = {single: max((at for one, at in blocks if one is single), default=-1) for single in (True, False)}
    inner = {width for module, width in widths.items() if _WIDTH.search(module)} or set(widths.values())
    strange = {mark for each in BASES if each.family != family for mark in each.marks}
    if any(mark in module for module in widths for mark in strange):
        return None
    fitting = (
        each
        for each in BASES
        if each.family == family and each.width in inner and seen[False] < each.blocks and seen[True] < each.singles + 1
    )
    return next(fitting, None) if max(seen.values()) >= 0 else None


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """Describes a LoRA file that ships with this program.

    `path`: where it lies in the program's folder of assets. `library`: the editor in whose library it is shown.
    `sha256`: its hash; `facts`: what it says of itself.
    """

    path: str
    library: str
    sha256: str
    facts: LoraFacts

    @property
    def file(self) -> Path:
        """Returns the file's path on this machine."""
        return Path(str(files("assets"))) / self.path


@dataclass(frozen=True, kw_only=True)
class EditorLora:
    """Describes a LoRA for an editor that its author has published, or that ships with this program.

    `task`: what it is for, a key of `TASKS`. `base`: the model that it was trained for; `editors`: the registry's
    editors whose layers it fits. `repo`, `file`: where it is on the Hugging Face hub; without a file the repository's
    only one is meant. `words`: the instruction that calls it, with placeholders; `slots`: placeholder -> the words that
    it may be, none where it is free. `strength`: where to start; `steps`: 0 for the editor's own.
    `second`: what the second picture must show, "" where the source is the only one. `beside`: the name of a row that
    belongs to it. `guide`: the kind of second picture that is
    filled in for it, "" where a person must choose; `lights`: its words for where light comes from -> keys of `LIGHTS`.
    `camera`: the grammar in `engines/wording/cameras.py` by which it is asked for a view, "" for none.
    `licence`: `UNKNOWN` where its page was not read. `note`, `correction`: what a user should know, and
    what was claimed of it wrongly. `unfit`: why no editor here can use it.
    """

    name: str
    task: str
    base: str
    repo: str
    file: str = ""
    words: str = ""
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    strength: float = 1.0
    steps: int = 0
    second: str = ""
    beside: str = ""
    guide: Guide = ""
    lights: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    camera: str = ""
    licence: str = UNKNOWN
    note: str = ""
    correction: str = ""
    unfit: str = ""
    editors: tuple[str, ...] = ()
    shipped: Shipped | None = None

    @property
    def page(self) -> str:
        """Returns the address of its page on the hub; "" for one that is not there."""
        return f"https://huggingface.co/{self.repo}" if self.repo else ""

    @property
    def first_choices(self) -> Mapping[str, str]:
        """Returns the first word of each placeholder; "" for one that is free."""
        return {name: next(iter(self.slots.get(name, ())), "") for name in names(self.words)}

    @property
    def drafts(self) -> bool:
        """Returns whether its author wants it with a few-step adapter."""
        return self.steps == FEW

    def instruction(self, **chosen: str) -> str:
        """Returns the instruction that calls it; a placeholder that is not `chosen` takes the first of its words.

        Raises: BadInput for a free placeholder without words, or a word that the placeholder does not know.
        """
        for name, word in chosen.items():
            if self.slots.get(name) and word not in self.slots[name]:
                raise BadInput(f"{{{name}}} cannot be {shown(word)}.", f"Choose: {', '.join(self.slots[name])}.")
        return filled(self.words, {**self.first_choices, **chosen})

    def why_not(self, editor: str) -> str:
        """Returns the reason why an editor cannot use it, as a sentence; "" where it can."""
        if self.unfit or editor in self.editors:
            return self.unfit
        return f"It was trained for {self.base}; the layers of {editor} are others."

    def caution(self, editor: str) -> str:
        """Returns what to expect where an editor with the same layers is not the one that it was trained for."""
        if self.base == editor or self.why_not(editor):
            return ""
        return f"Trained for {self.base}: it loads, but may act too strongly or weakly. Start low and compare."
