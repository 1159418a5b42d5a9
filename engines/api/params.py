"""The knobs of each kind of job: stored verbatim, read back strictly, their bounds beside their names.

Of other libraries only pydantic, by `engines.api.values`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, cast, get_type_hints

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from engines.api.errors import BadInput
from engines.api.values import Seed, Words, limits, shortened, shown, taken

Json = dict[str, Any]
_LORA_HINT = 'Give a list such as [{"file": "/path/to/lora.safetensors", "weight": 0.8}]; weight is 1 if left out.'


STRONGEST = 100.0  # of a LoRA, either way; sliders are used up to about 10

Steps = Annotated[int, Ge(1), Le(1000)]  # a schedule has a thousand levels
Guidance = Annotated[float, Ge(0), Le(100)]
Side = Annotated[int, Ge(16), Le(4096)]  # pixels; the least is two latents of a real model
Share = Annotated[float, Ge(0), Le(1)]
Word = Annotated[str, MaxLen(200)]
LEAST_RATES: Mapping[str, float] = {"prodigy": 0.1}  # optimiser -> the learning rate below which it stands still
_MOST = (1 << 31) - 1  # training steps
_FEW = 5  # of many unknown names that are told


@dataclass(frozen=True, kw_only=True)
class LoraUse:
    """One adapter in a stack: its file, its strength."""

    file: Annotated[str, MinLen(1), MaxLen(4096)]
    weight: Annotated[float, Ge(-STRONGEST), Le(STRONGEST)] = 1.0

    @classmethod
    def from_json(cls, data: object, where: str = "loras") -> LoraUse:
        """From an object of `file` and, where it is not 1, `weight`; `where` it was given. Raises: BadInput."""
        given = dataclasses.asdict(data) if isinstance(data, cls) else data
        if not isinstance(given, Mapping):
            raise BadInput(f"{where} cannot be {shown(data)}.", _LORA_HINT)
        if "file" not in given or set(given) - {"file", "weight"}:
            raise BadInput(f"{where} cannot hold {shown(dict(given))}.", _LORA_HINT)
        file = taken(f"{where}.file", given["file"], kinds(cls)["file"])
        weight = taken(f"{where}.weight, that of {shown(file)},", given.get("weight", 1.0), kinds(cls)["weight"])
        return cls(file=file, weight=weight)

    @classmethod
    def stack(cls, data: object, where: str = "loras") -> tuple[LoraUse, ...]:
        """From a list of such objects; none where there is nothing. Raises: BadInput."""
        if data is None:
            return ()
        if not isinstance(data, list | tuple):
            raise BadInput(f"{where} cannot be {shown(data)}.", _LORA_HINT)
        return tuple(cls.from_json(each, f"{where}[{at}]") for at, each in enumerate(data))

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

    worded: ClassVar[str] = ""  # the field that holds the words, "" where there is none

    def to_json(self) -> Json:
        """A plain dict that `from_json` turns into an equal object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild; an unknown key is an error, never a silently ignored knob, and every value is checked.

        Raises: BadInput naming the knob, what was given and what is allowed.
        """
        _demand_known(cls.__name__, data, cls)
        return cls(**{name: cls._taken(name, value) for name, value in data.items()})

    @classmethod
    def kept(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild what is stored with a picture or a job: values stay as they were taken then, whatever is allowed now.

        Raises: BadInput for an unknown key.
        """
        _demand_known(cls.__name__, data, cls)
        values = dict(data)
        if "loras" in values:
            values["loras"] = tuple(u if isinstance(u, LoraUse) else LoraUse(**u) for u in values["loras"] or ())
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    @classmethod
    def bounds(cls, name: str) -> tuple[Any, Any]:
        """The least and the greatest value of a knob, None where it has no such bound."""
        return limits(kinds(cls)[name])

    @classmethod
    def _taken(cls, name: str, value: Any) -> Any:
        if name == "loras":
            value = LoraUse.stack(value)
        return taken(name, tuple(value) if isinstance(value, list) else value, kinds(cls)[name])

    def checked(self) -> Self:
        """The same knobs, where each value may be what it is. Raises: BadInput."""
        return self.from_json({field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    @classmethod
    def demand_no_words(cls, given: Mapping[str, Any], whose: str) -> None:
        """Refuse words where what is asked for has its own; `whose` names it. Raises: BadInput."""
        if cls.worded in given:
            raise BadInput(f"{cls.worded} cannot be set: {whose} has its own.", "Leave it out of the parameters.")

    def demand_words(self) -> None:
        """Refuse empty words. Raises: BadInput that names the field."""
        if self.worded and not self.headline().strip():
            raise BadInput(f"The {self.worded} is empty.", "Say what the picture should show.")

    def replace(self, **changes: Any) -> Self:
        """A copy with some knobs changed."""
        return dataclasses.replace(self, **changes)

    def headline(self) -> str:
        """The words that a user would call this by."""
        return str(getattr(self, self.worded)) if self.worded else ""

    def to_text(self) -> str:
        """The `parameters` text that other tools read from a PNG: headline, then `Key: value` pairs."""
        rest = {k: v for k, v in self.to_json().items() if v not in (self.headline(), (), [], None, "")}
        pairs = (f"{k.replace('_', ' ').capitalize()}: {v}" for k, v in rest.items())
        return f"{self.headline()}\n{', '.join(pairs)}".strip()


@dataclass(frozen=True, kw_only=True)
class GenerateParams(Params):
    """Text to one picture; `first_block_cache` is the change below which a step skips blocks, off at 0."""

    worded: ClassVar[str] = "prompt"

    prompt: Words = ""
    steps: Steps = 28
    guidance: Guidance = 3.5
    width: Side = 1024
    height: Side = 1024
    first_block_cache: Share = 0.0
    seed: Seed = 0
    loras: tuple[LoraUse, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EditParams(Params):
    """A picture and an instruction to one picture; `true_cfg` is off at 1, `few_steps` takes the distilled adapter.

    `first_block_cache` is the change below which a step skips blocks, off at 0.
    """

    worded: ClassVar[str] = "instruction"

    instruction: Words = ""
    negative: Words = " "
    steps: Steps = 40
    true_cfg: Guidance = 4.0
    few_steps: bool = False
    first_block_cache: Share = 0.0
    seed: Seed = 0
    loras: tuple[LoraUse, ...] = ()

    def passes(self) -> int:
        """How often the transformer is asked: twice a step with guidance."""
        return self.steps * (2 if self.true_cfg > 1 else 1)


@dataclass(frozen=True, kw_only=True)
class CaptionParams(Params):
    """How a picture is put into words."""

    trigger: Word = "ohwx"
    max_tokens: Annotated[int, Ge(1), Le(2048)] = 96


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

    rank: Annotated[int, Ge(1), Le(1024)] = 16
    alpha: Annotated[float, Gt(0), Le(4096)] = 16.0
    targets: Literal["all", "attention"] = "all"
    learning_rate: Annotated[float, Gt(0)] = 1e-4  # how much is too much, its loss tells
    steps: Annotated[int, Ge(1), Le(_MOST)] = 1500
    batch_size: Annotated[int, Ge(1), Le(256)] = 1
    gradient_accumulation: Annotated[int, Ge(1), Le(1024)] = 1
    optimizer: Literal["adamw", "adamw8bit", "prodigy"] = "adamw"
    timestep_density: Literal["uniform", "sigmoid", "logit_normal", "shift", "resolution_shift", "weighted"] = "sigmoid"
    guidance: Guidance = 1.0
    resolution: Side = 1024
    resolutions: Annotated[tuple[Side, ...], MaxLen(16)] = ()
    caption_dropout: Share = 0.05
    max_grad_norm: Annotated[float, Ge(0), Le(1e6)] = 1.0  # below 0 it would turn every gradient around
    gradient_checkpointing: bool = True
    base: Literal["", "nf4", "int8"] = ""
    ema_decay: Annotated[float, Ge(0), Le(0.9999)] = 0.0
    mask_outside: Share = 0.1
    flip: bool = False
    class_word: Word = "person"
    prior_weight: Annotated[float, Ge(0), Le(10)] = 0.0
    prior_pictures: Annotated[int, Ge(0), Le(10_000)] = 20
    dop_weight: Annotated[float, Ge(0), Le(10)] = 0.0
    save_every: Annotated[int, Ge(0), Le(_MOST)] = 250
    sample_every: Annotated[int, Ge(0), Le(_MOST)] = 250
    seed: Seed = 0

    def demand_sense(self, trigger: str = "") -> None:
        """Refuse knobs that don't go together; `trigger` is the character's word, "" for a training that has none.

        Raises: BadInput.
        """
        if any(size >= self.resolution for size in self.resolutions):
            sizes = ", ".join(map(str, self.resolutions))
            raise BadInput(f"resolutions are {sizes}.", f"Each must be below the resolution, {self.resolution}.")
        if self.learning_rate < LEAST_RATES.get(self.optimizer, 0.0):
            raise BadInput(
                f"{self.optimizer} finds its rate by itself; learning_rate {self.learning_rate:g} would slow it down.",
                "Set learning_rate to 1.",
            )
        if not (self.prior_weight or self.dop_weight):
            return
        if not (trigger.strip() and self.class_word.strip()):
            raise BadInput(
                "Preserving the class needs the character's trigger word and a class word.",
                "Set both, or set prior_weight and dop_weight to 0.",
            )
        if self.prior_weight and self.prior_pictures < 1:
            raise BadInput("There is no class picture to draw.", "Set prior_pictures to 1 or more.")


def params_class(name: str) -> type[Params]:
    """Return the class of parameters of a name, as records keep it. Raises: BadInput."""
    classes = {each.__name__: each for each in (GenerateParams, EditParams, CaptionParams, TrainParams)}
    if name not in classes:
        raise BadInput(f"There are no parameters called {name!r}.", f"Name one of: {', '.join(classes)}.")
    return classes[name]


def kinds(owner: type[Any]) -> Mapping[str, Any]:
    """A record's fields and what each may be, as `engines.api.values` reads it."""
    return _kinds(cast(Hashable, owner))


@cache
def _kinds(owner: Any) -> Mapping[str, Any]:
    hints = get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner)}


def _demand_known(what: str, data: Mapping[str, Any], owner: type[Any]) -> None:
    known = kinds(owner)
    if unknown := set(data) - set(known):
        told = ", ".join(sorted(shortened(str(name)) for name in unknown)[:_FEW])
        raise BadInput(f"{what} has no parameter {told}.", f"It knows: {', '.join(sorted(known))}.")
