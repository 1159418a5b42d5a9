"""What could only fail later is refused before the card is asked for."""

from __future__ import annotations

from engines.api import TrainParams, TrainRun
from engines.errors import BadInput
from engines.lora.densities import density
from engines.lora.optimizers import OPTIMIZERS
from engines.parts.quantise import FORMS

_ABOVE_ZERO = ("rank", "alpha", "learning_rate", "steps", "batch_size", "gradient_accumulation", "resolution")
_WITHIN = {  # the most that makes sense, 0 being the least
    "ema_decay": 0.9999,
    "mask_outside": 1.0,
    "caption_dropout": 1.0,
    "prior_weight": 10.0,
    "dop_weight": 10.0,
    "max_grad_norm": 1e6,  # below 0 it would turn every gradient around
}


def check(run: TrainRun) -> None:
    """Refuse knobs that no training can have. Raises: BadInput."""
    params = run.params
    density(params.timestep_density)
    _check_names(params)
    for name in _ABOVE_ZERO:
        if not getattr(params, name) > 0:  # what is no number is refused, too
            raise BadInput(f"{name} is {getattr(params, name)}.", "It must be above 0.")
    for name, most in _WITHIN.items():
        if not 0 <= getattr(params, name) <= most:
            raise BadInput(f"{name} is {getattr(params, name)}.", f"It must be from 0 to {most:g}.")
    if any(not 0 < size < params.resolution for size in params.resolutions):
        sizes = ", ".join(map(str, params.resolutions))
        raise BadInput(f"resolutions are {sizes}.", f"Each must be below the resolution, {params.resolution}.")
    least = OPTIMIZERS[params.optimizer].least_rate
    if params.learning_rate < least:
        raise BadInput(
            f"{params.optimizer} finds its rate by itself; learning_rate {params.learning_rate:g} would slow it down.",
            "Set learning_rate to 1.",
        )
    _check_class(run)


def _check_names(params: TrainParams) -> None:
    if params.optimizer not in OPTIMIZERS:
        raise BadInput(f"There is no optimizer named {params.optimizer}.", f"Choose one of: {', '.join(OPTIMIZERS)}.")
    if params.base and params.base not in FORMS:
        raise BadInput(f"There is no base named {params.base}.", f"Choose one of: {', '.join(FORMS)}, or none.")


def _check_class(run: TrainRun) -> None:
    """Preserving a class takes a word for it, and one for the character."""
    params = run.params
    if not (params.prior_weight or params.dop_weight):
        return
    if not (run.trigger and params.class_word.strip()):
        raise BadInput(
            "Preserving the class needs the character's trigger word and a class word.",
            "Set both, or set prior_weight and dop_weight to 0.",
        )
    if params.prior_weight and params.prior_pictures < 1:
        raise BadInput("There is no class picture to draw.", "Set prior_pictures to 1 or more.")
