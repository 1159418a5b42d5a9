"""Defines the parameters of each kind of job, with the bounds of each value beside its name.

They are stored verbatim and read back strictly. Imports no other library than pydantic, through `engines.api.values`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, cast, get_type_hints

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from engines.api.errors import BadInput
from engines.api.forms import Quantised
from engines.api.values import Seed, Words, limits, shortened, shown, taken

Json = dict[str, Any]  # a JSON object
_LORA_HINT = (
    'Give a list such as [{"file": "/path/to/lora.safetensors", "weight": 0.8}]; weight is 1 if left out, and '
    '"for_this_model": true says that a doubtful file is for this model.'
)
_UNSAID = ("for_this_model", False)  # not stored


STRONGEST = 100.0  # largest weight of a LoRA, positive or negative; sliders go to about 10

Steps = Annotated[int, Ge(1), Le(1000)]  # a schedule has a thousand levels
Guidance = Annotated[float, Ge(0), Le(100)]
Side = Annotated[int, Ge(16), Le(4096)]  # pixels; the least is two latents of the real models
Share = Annotated[float, Ge(0), Le(1)]
Strength = Annotated[float, Ge(0), Le(2)]
Word = Annotated[str, MaxLen(200)]
PIPELINE_ARGUMENTS: Mapping[str, str] = {  # knob -> the argument of diffusers' pipelines that takes it
    "prompt": "prompt",
    "instruction": "prompt",
    "negative": "negative_prompt",
    "width": "width",
    "height": "height",
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "true_cfg": "true_cfg_scale",
}
LEAST_RATES: Mapping[str, float] = {"prodigy": 0.1}  # optimiser -> the learning rate below which it learns nothing
_MOST = (1 << 31) - 1  # training steps
_FEW = 5  # unknown names that an error lists


@dataclass(frozen=True, kw_only=True)
class LoraUse:
    """Holds a LoRA file and how strongly it is applied."""

    file: Annotated[str, MinLen(1), MaxLen(4096)]
    """The path of the LoRA file on the studio's machine."""
    weight: Annotated[float, Ge(-STRONGEST), Le(STRONGEST)] = 1.0
    """How strongly it is applied; 1 is as it was trained."""
    for_this_model: bool = False
    """The user says that the file is for the model, where the file itself leaves that in doubt."""

    @classmethod
    def from_json(cls, data: object, where: str = "loras") -> LoraUse:
        """Creates a LoraUse from a mapping with `file`, or from another LoraUse.

        The mapping may have `weight` (1 if left out) and `for_this_model` (False if left out). `where`: the name of the
        value in errors. Raises: BadInput for any other value, or a strength out of bounds.
        """
        given = dataclasses.asdict(data) if isinstance(data, cls) else data
        if not isinstance(given, Mapping):
            raise BadInput(f"{where} cannot be {shown(data)}.", _LORA_HINT)
        if "file" not in given or set(given) - {field.name for field in dataclasses.fields(cls)}:
            raise BadInput(f"{where} cannot hold {shown(dict(given))}.", _LORA_HINT)
        allowed = kinds(cls)
        file = taken(f"{where}.file", given["file"], allowed["file"])
        weight = taken(f"{where}.weight, that of {shown(file)},", given.get("weight", 1.0), allowed["weight"])
        said = taken(f"{where}.for_this_model", given.get("for_this_model", False), allowed["for_this_model"])
        return cls(file=file, weight=weight, for_this_model=said)

    @classmethod
    def stack(cls, data: object, where: str = "loras") -> tuple[LoraUse, ...]:
        """Creates a tuple of LoraUse from a list of mappings with `file` and `weight`; None gives an empty tuple.

        `where`: the name of the list in errors. Raises: BadInput for any other value, or a strength out of bounds.
        """
        if data is None:
            return ()
        if not isinstance(data, list | tuple):
            raise BadInput(f"{where} cannot be {shown(data)}.", _LORA_HINT)
        return tuple(cls.from_json(each, f"{where}[{at}]") for at, each in enumerate(data))

    def demand_usable(self) -> None:
        """Checks that the strength lies within ±`STRONGEST`; beyond that every picture comes out black.

        Raises: BadInput.
        """
        if not abs(self.weight) <= STRONGEST:
            raise BadInput(
                f"The weight of {self.file} cannot be {self.weight:g}.",
                f"Give a number from {-STRONGEST:g} to {STRONGEST:g}; 1 is as it was trained.",
            )


@dataclass(frozen=True, kw_only=True)
class Params:
    """Base class of a job's parameters.

    They are stored as JSON under their fields' names, with unchanged values; reading them raises for an unknown name.
    """

    worded: ClassVar[str] = ""  # the field that holds the prompt or instruction, "" where there is none

    def to_json(self) -> Json:
        """Returns the parameters as a plain dict, from which `from_json` makes an equal object."""
        return dataclasses.asdict(self, dict_factory=lambda pairs: dict(pair for pair in pairs if pair != _UNSAID))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Creates parameters from the names and values that a user or a script gives; checks types and bounds.

        Raises: BadInput for an unknown name or a value that is not allowed; the error names the parameter, the value
        and the allowed values.
        """
        _demand_known(cls.__name__, data, cls)
        allowed, values = kinds(cls), {}
        for name, value in data.items():
            given = LoraUse.stack(value) if name == "loras" else value
            values[name] = taken(name, tuple(given) if isinstance(given, list) else given, allowed[name])
        return cls(**values)

    @classmethod
    def kept(cls, data: Mapping[str, Any]) -> Self:
        """Creates parameters from those stored with a picture or a job; accepts values that are no longer allowed.

        Raises: BadInput for an unknown name.
        """
        _demand_known(cls.__name__, data, cls)
        values = dict(data)
        if "loras" in values:
            values["loras"] = tuple(u if isinstance(u, LoraUse) else LoraUse(**u) for u in values["loras"] or ())
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    @classmethod
    def bounds(cls, name: str) -> tuple[Any, Any]:
        """Returns the (lower, upper) bound of the parameter called `name`; None stands for a missing bound."""
        return limits(kinds(cls)[name])

    def checked(self) -> Self:
        """Checks the bounds and types of all values and returns the same parameters. Raises: BadInput."""
        return self.from_json({field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    @classmethod
    def demand_no_words(cls, given: Mapping[str, Any], whose: str) -> None:
        """Checks that the given parameters set no prompt or instruction, for a job whose items each have their own.

        `given`: parameter name -> value; `whose`: what the error message calls an item of the job. Raises: BadInput.
        """
        if cls.worded in given:
            raise BadInput(f"{cls.worded} cannot be set: {whose} has its own.", "Leave it out of the parameters.")

    def demand_words(self) -> None:
        """Checks that the prompt or instruction is not empty. Raises: BadInput that names the field."""
        if self.worded and not self.headline().strip():
            raise BadInput(f"The {self.worded} is empty.", "Say what the picture should show.")

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with new values for the parameters that `changes` names; checks neither types nor bounds."""
        return dataclasses.replace(self, **changes)

    def headline(self) -> str:
        """Returns the prompt or instruction, '' where these parameters have none."""
        return str(getattr(self, self.worded)) if self.worded else ""

    def to_text(self) -> str:
        """Returns the text of a PNG's `parameters` chunk, which other tools read.

        It is the prompt or instruction, and in the next line the other parameters as `Key: value` pairs.
        """
        rest = {k: v for k, v in self.to_json().items() if k != self.worded and v not in ((), [], None, "")}
        pairs = (f"{k.replace('_', ' ').capitalize()}: {v}" for k, v in rest.items())
        return f"{self.headline()}\n{', '.join(pairs)}".strip()


@dataclass(frozen=True, kw_only=True)
class GenerateParams(Params):
    """Holds the parameters of one picture generated from text.

    `first_block_cache`: where the residual of the first transformer block changes by at most this fraction, the step
    skips the other blocks and reuses their last result.
    `strength`: the studio adds the character's LoRA with this weight to `loras`; engines do not read `strength`.
    """

    worded: ClassVar[str] = "prompt"

    prompt: Words = ""
    """What the picture shows."""
    negative: Words = ""
    """What it shall not show, for models with true classifier-free guidance."""
    steps: Steps = 28
    """The number of denoising steps."""
    guidance: Guidance = 3.5
    """How closely the picture follows the prompt: the scale of the guidance."""
    width: Side = 1024
    """The picture's width in pixels."""
    height: Side = 1024
    """The picture's height in pixels."""
    first_block_cache: Share = 0.0
    """The threshold of first-block caching, which saves time; 0 turns it off."""
    seed: Seed = 0
    """The number that the noise is made from: the same seed and parameters give the same picture."""
    strength: Strength = 1.0
    """The weight of the character's own LoRA; 1 is as it was trained."""
    loras: tuple[LoraUse, ...] = ()
    """Further LoRA files to apply, each with its weight."""

    @property
    def avoided(self) -> str:
        """Returns the negative prompt without leading and trailing whitespace; "" where there is none."""
        return self.negative.strip()

    def without_avoided(self) -> Self:
        """Returns a copy without the negative prompt, for a model that takes none."""
        return self.replace(negative="")


@dataclass(frozen=True, kw_only=True)
class EditParams(Params):
    """Holds the parameters of one edit of a picture by an instruction.

    `first_block_cache`: where the residual of the first transformer block changes by at most this fraction, the step
    skips the other blocks and reuses their last result.
    """

    worded: ClassVar[str] = "instruction"

    instruction: Words = ""
    """What to change."""
    negative: Words = " "
    """What the result shall not show; it counts where true_cfg is above 1."""
    steps: Steps = 40
    """The number of denoising steps."""
    true_cfg: Guidance = 4.0
    """The scale of classifier-free guidance, which doubles the time; 1 turns it off."""
    few_steps: bool = False
    """Whether the model's adapter that was distilled to few steps is used, for fast drafts."""
    first_block_cache: Share = 0.0
    """The threshold of first-block caching, which saves time; 0 turns it off."""
    seed: Seed = 0
    """The number that the noise is made from: the same seed and parameters give the same picture."""
    loras: tuple[LoraUse, ...] = ()
    """Further LoRA files to apply, each with its weight."""

    def passes(self) -> int:
        """Returns the number of the transformer's forward passes for one edit: `steps`, with guidance twice as many."""
        return self.steps * (2 if self.true_cfg > 1 else 1)


@dataclass(frozen=True, kw_only=True)
class CaptionParams(Params):
    """Holds the parameters of captioning."""

    trigger: Word = "ohwx"
    """The word that captions begin with."""
    max_tokens: Annotated[int, Ge(1), Le(2048)] = 96
    """The most tokens of a caption."""


@dataclass(frozen=True, kw_only=True)
class TrainParams(Params):
    """Holds the parameters of one LoRA training; the fields' names are those of kohya, peft and ai-toolkit.

    `flip` is off by default, because a caption that says left would be wrong, too. `class_word` replaces the trigger
    word in captions that shall mean any member of the class: those of prior preservation and of differential output
    preservation.
    """

    rank: Annotated[int, Ge(1), Le(1024)] = 16
    """The rank of the LoRA: how much it can hold, and how large its file is."""
    alpha: Annotated[float, Gt(0), Le(4096)] = 16.0
    """The LoRA is scaled by alpha / rank."""
    targets: Literal["all", "attention"] = "all"
    """The layers that get a LoRA: all (attention and MLP) or attention alone."""
    learning_rate: Annotated[float, Gt(0)] = 1e-4  # no upper bound: the loss shows where it is too high
    """The optimiser's learning rate."""
    steps: Annotated[int, Ge(1), Le(_MOST)] = 1500
    """The number of optimiser steps."""
    batch_size: Annotated[int, Ge(1), Le(256)] = 1
    """The number of examples that go through the model at once."""
    gradient_accumulation: Annotated[int, Ge(1), Le(1024)] = 1
    """The number of batches whose gradients make one step."""
    optimizer: Literal["adamw", "adamw8bit", "prodigy"] = "adamw"
    """The optimiser."""
    timestep_density: Literal["uniform", "sigmoid", "logit_normal", "shift", "resolution_shift", "weighted"] = "sigmoid"
    """How noise levels are drawn."""
    guidance: Guidance = 1.0
    """The guidance scale that a guidance-distilled model is told in training."""
    resolution: Side = 1024
    """Pictures are trained at about this number of pixels squared."""
    resolutions: Annotated[tuple[Side, ...], MaxLen(16)] = ()
    """Further, smaller resolutions; an epoch has every picture once more at each."""
    caption_dropout: Share = 0.05
    """The share of examples that are trained without their caption."""
    max_grad_norm: Annotated[float, Ge(0), Le(1e6)] = 1.0  # a negative one would reverse every gradient
    """The norm to which gradients are clipped; 0 turns clipping off."""
    gradient_checkpointing: bool = True
    """Whether activations are computed again instead of kept, which saves memory."""
    base: Literal["", Quantised] = ""
    """The precision of the frozen weights; nothing takes that of the installed model."""
    ema_decay: Annotated[float, Ge(0), Le(0.9999)] = 0.0
    """The decay of the moving average of the LoRA's weights; 0 turns it off."""
    mask_outside: Share = 0.1
    """The weight of the loss outside a picture's mask; without a mask it is 1."""
    flip: bool = False
    """Whether half of the examples are mirrored; no face is its own mirror image."""
    class_word: Word = "person"
    """The word for the character's class, such as person, for preserving the class."""
    prior_weight: Annotated[float, Ge(0), Le(10)] = 0.0
    """The weight of prior preservation's loss; 0 turns it off."""
    prior_pictures: Annotated[int, Ge(0), Le(10_000)] = 20
    """The number of pictures that prior preservation draws."""
    dop_weight: Annotated[float, Ge(0), Le(10)] = 0.0
    """The weight of differential output preservation's loss; 0 turns it off."""
    save_every: Annotated[int, Ge(0), Le(_MOST)] = 250
    """The steps between checkpoints; 0: only after the last step."""
    sample_every: Annotated[int, Ge(0), Le(_MOST)] = 250
    """The steps between previews; 0: only after the last step."""
    seed: Seed = 0
    """The number that order, noise and first weights are made from."""

    def demand_sense(self, trigger: str = "") -> None:
        """Checks that the values do not contradict each other. Raises: BadInput.

        `trigger`: the character's trigger word; "" where there is none. Prior preservation and differential output
        preservation need one.
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
    """Returns the subclass of Params whose class name is `name`, such as "TrainParams". Raises: BadInput."""
    classes = {each.__name__: each for each in (GenerateParams, EditParams, CaptionParams, TrainParams)}
    if name not in classes:
        raise BadInput(f"There are no parameters called {name!r}.", f"Name one of: {', '.join(classes)}.")
    return classes[name]


def kinds(owner: type[Any]) -> Mapping[str, Any]:
    """Returns the annotation (type and bounds) of each field of the dataclass `owner`, by the field's name."""
    return _kinds(cast(Hashable, owner))


@cache
def _kinds(owner: Any) -> Mapping[str, Any]:  # apart from `kinds`, because the cache accepts arguments of any type
    hints = get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner)}


def _demand_known(what: str, data: Mapping[str, Any], owner: type[Params]) -> None:
    known = kinds(owner)
    if unknown := set(data) - set(known):
        told = ", ".join(sorted(shortened(str(name)) for name in unknown)[:_FEW])
        raise BadInput(f"{what} has no parameter {told}.", f"It knows: {', '.join(sorted(known))}.")
