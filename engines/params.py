"""The knobs of each kind of job: stored verbatim, read back strictly. Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from engines.errors import BadInput

Json = dict[str, Any]
_LORA_HINT = 'Give a list such as [{"file": "/path/to/lora.safetensors", "weight": 0.8}]; weight is 1 if left out.'


STRONGEST = 100.0  # of a LoRA, either way; sliders are used up to about 10


@dataclass(frozen=True, kw_only=True)
class LoraUse:
    """One adapter in a stack: its file, its strength."""

    file: str
    weight: float = 1.0

    @classmethod
    def from_json(cls, data: object, where: str = "loras") -> LoraUse:
        """From an object of `file` and, where it is not 1, `weight`; `where` it was given. Raises: BadInput."""
        if isinstance(data, cls):
            return data
        unknown = sorted(set(data) - {"file", "weight"}) if isinstance(data, Mapping) else ["?"]
        if not isinstance(data, Mapping) or unknown or "file" not in data:
            raise BadInput(f"{where} cannot hold {data!r:.120}.", _LORA_HINT)
        file, weight = data["file"], data.get("weight", 1.0)
        if not isinstance(file, str) or not file.strip():
            raise BadInput(f"The file of a LoRA cannot be {file!r:.80}.", _LORA_HINT)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise BadInput(f"The weight of {file} cannot be {weight!r:.80}.", _LORA_HINT)
        return cls(file=file, weight=weight)

    @classmethod
    def stack(cls, data: object, where: str = "loras") -> tuple[LoraUse, ...]:
        """From a list of such objects; none where there is nothing. Raises: BadInput."""
        if data is None:
            return ()
        if not isinstance(data, list | tuple):
            raise BadInput(f"{where} cannot be {data!r:.120}.", _LORA_HINT)
        return tuple(cls.from_json(each, where) for each in data)

    def demand_usable(self) -> None:
        """Refuse a strength that draws nothing but black. Raises: BadInput."""
        if not abs(self.weight) <= STRONGEST:
            raise BadInput(
                f"The weight of {self.file} cannot be {self.weight:g}.",
                f"Give a number from {-STRONGEST:g} to {STRONGEST:g}; 1 is as it was trained.",
            )


@dataclass(frozen=True, kw_only=True)
class Params:
    """A job's knobs: stored verbatim, read back strictly, so that nothing is re-spelled on the way."""

    def to_json(self) -> Json:
        """A plain dict that `from_json` turns into an equal object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild; an unknown key is an error, never a silently ignored knob. Raises: BadInput."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            hint = f"It knows: {', '.join(sorted(known))}."
            raise BadInput(f"{cls.__name__} has no parameter {', '.join(unknown)}.", hint)
        values = dict(data)
        if "loras" in values:
            values["loras"] = LoraUse.stack(values["loras"], f"{cls.__name__}.loras")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def replace(self, **changes: Any) -> Self:
        """A copy with some knobs changed."""
        return dataclasses.replace(self, **changes)

    def headline(self) -> str:
        """The words that a user would call this by."""
        return ""

    def to_text(self) -> str:
        """The `parameters` text that other tools read from a PNG: headline, then `Key: value` pairs."""
        rest = {k: v for k, v in self.to_json().items() if v not in (self.headline(), (), [], None, "")}
        pairs = (f"{k.replace('_', ' ').capitalize()}: {v}" for k, v in rest.items())
        return f"{self.headline()}\n{', '.join(pairs)}".strip()


@dataclass(frozen=True, kw_only=True)
class GenerateParams(Params):
    """Text to one picture; `first_block_cache` is the change below which a step skips blocks, off at 0."""

    prompt: str = ""
    steps: int = 28
    guidance: float = 3.5
    width: int = 1024
    height: int = 1024
    first_block_cache: float = 0.0
    seed: int = 0
    loras: tuple[LoraUse, ...] = ()

    def headline(self) -> str:
        """The prompt."""
        return self.prompt


@dataclass(frozen=True, kw_only=True)
class EditParams(Params):
    """A picture and an instruction to one picture; `true_cfg` is off at 1, `few_steps` takes the distilled adapter.

    `first_block_cache` is the change below which a step skips blocks, off at 0.
    """

    instruction: str = ""
    negative: str = " "
    steps: int = 40
    true_cfg: float = 4.0
    few_steps: bool = False
    first_block_cache: float = 0.0
    seed: int = 0
    loras: tuple[LoraUse, ...] = ()

    def headline(self) -> str:
        """The instruction."""
        return self.instruction

    def passes(self) -> int:
        """How often the transformer is asked: twice a step with guidance."""
        return self.steps * (2 if self.true_cfg > 1 else 1)


@dataclass(frozen=True, kw_only=True)
class CaptionParams(Params):
    """How a picture is put into words."""

    trigger: str = "ohwx"
    max_tokens: int = 96


@dataclass(frozen=True, kw_only=True)
class TrainParams(Params):
    """One LoRA training; the fields' names are those of kohya, peft and ai-toolkit.

    `resolutions`: sizes to learn at beside `resolution`, none larger; each adds every picture once an epoch.
    `targets`: the layers that learn, `all` (attention and MLP) or `attention` alone.
    `base`: how the transformer is held while it is trained, `nf4`, `int8`, or as its row has it.
    `flip`: show half of the examples as in a mirror, references and masks with them. Off, for no face is its own mirror
    image, and a caption that says left would be wrong.
    `mask_outside`: what counts outside an item's mask, from 0 to 1; items without a mask count everywhere.
    `class_word` takes the trigger's place wherever the base model is asked for any such subject:
    `prior_weight` and `prior_pictures` for prior preservation, `dop_weight` for differential output preservation.
    """

    rank: int = 16
    alpha: float = 16.0
    targets: str = "all"
    learning_rate: float = 1e-4
    steps: int = 1500
    batch_size: int = 1
    gradient_accumulation: int = 1
    optimizer: str = "adamw"
    timestep_density: str = "sigmoid"
    guidance: float = 1.0
    resolution: int = 1024
    resolutions: tuple[int, ...] = ()
    caption_dropout: float = 0.05
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = True
    base: str = ""
    ema_decay: float = 0.0
    mask_outside: float = 0.1
    flip: bool = False
    class_word: str = "person"
    prior_weight: float = 0.0
    prior_pictures: int = 20
    dop_weight: float = 0.0
    save_every: int = 250
    sample_every: int = 250
    seed: int = 0
