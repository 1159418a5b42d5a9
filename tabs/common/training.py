"""The settings of a training as data: their widgets, their labels, and their values as text in the pre-flight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from engines.api.params import TrainParams
from engines.api.protocols import ModelSpec

OPTIMIZERS = [
    ("AdamW", "adamw"),
    ("AdamW in 8 bits: a quarter of its memory", "adamw8bit"),
    ("Prodigy: finds its own rate, set the learning rate to 1", "prodigy"),
]
DENSITIES = [
    ("middle levels most", "sigmoid"),
    ("all levels alike", "uniform"),
    ("as the model draws at this size", "resolution_shift"),
    ("noisy levels most", "shift"),
    ("all levels, the noisier counting more", "weighted"),
]
TARGETS = [
    ("attention and MLP", "all"),
    ("attention alone: a smaller file, that changes less", "attention"),
]
BASES = [("as it draws", ""), ("8 bits: closer to the original, more memory", "int8"), ("4 bits: least memory", "nf4")]


@dataclass(frozen=True)
class Knob:
    """A field of `TrainParams`: its widget, and the function that turns its value into text for the pre-flight.

    `off` is a value that the text leaves out; with `zero` a 0 is a value, else it is an empty field.
    """

    name: str
    widget: Callable[..., Any]
    told: Callable[[Any], str]
    off: Any = None
    zero: bool = False

    def given(self, value: Any) -> bool:
        """Returns whether a widget's value is set; an empty one leaves the model's own."""
        return value not in (None, "") and bool(value or self.zero)


def _number(label: str, info: str | None = None, **more: Any) -> Callable[..., Any]:
    return partial(gr.Number, label=label, info=info, **more)


def _whole(label: str, info: str | None = None, **more: Any) -> Callable[..., Any]:
    return _number(label, info, precision=0, **more)


def _words(form: str) -> Callable[[Any], str]:
    return lambda value: form.format(value)


STEPS = Knob("steps", _whole("Steps"), _words("{} steps"))
_GENERAL = (
    (
        Knob(
            "learning_rate",
            _number("Learning rate", "how far each step goes", step=0.0001),
            _words("learning rate {:g}"),
        ),
        Knob("rank", _whole("Rank", "how much the LoRA can hold"), _words("rank {}")),
    ),
    (
        Knob("alpha", _number("Alpha", "strength is alpha ÷ rank"), _words("alpha {:g}")),
        Knob(
            "max_grad_norm",
            _number("Clip gradients at", "their norm; 0 is off"),
            lambda norm: f"gradients clipped at {norm:g}" if norm else "gradients not clipped",
            zero=True,
        ),
    ),
    (
        Knob("batch_size", _whole("Batch", "pictures at a time"), _words("batch {}")),
        Knob(
            "gradient_accumulation",
            _whole("Batches a step", "more time, not more memory"),
            _words("{} batches a step"),
            off=1,
        ),
    ),
    (
        Knob("resolution", _whole("Resolution", "in pixels; decides the memory"), _words("{} px")),
        Knob(
            "resolutions",
            partial(gr.CheckboxGroup, [], label="Also learn at", info="each shows all once more"),
            lambda sizes: f"also at {', '.join(map(str, sizes))} px",
            off=(),
        ),
    ),
    (Knob("optimizer", partial(gr.Dropdown, OPTIMIZERS, label="Optimiser"), _words("{}")),),
    (
        Knob(
            "timestep_density",
            partial(gr.Dropdown, DENSITIES, label="Noise levels"),
            lambda name: f"noise levels {name.replace('_', ' ')}",
        ),
    ),
    (Knob("targets", partial(gr.Dropdown, TARGETS, label="Layers that learn"), _words("layers: {}"), off="all"),),
    (Knob("base", partial(gr.Dropdown, BASES, label="Hold the model in"), _words("model held in {}"), off=""),),
    (
        Knob(
            "gradient_checkpointing",
            partial(gr.Checkbox, label="Gradient checkpointing", info="far less memory, about a third slower"),
            lambda on: f"checkpointing {'on' if on else 'off'}",
            zero=True,
        ),
    ),
    (
        Knob(
            "caption_dropout",
            partial(
                gr.Slider,
                0,
                0.5,
                step=0.01,
                label="Caption dropout",
                info="the share of pictures that is seen without words",
            ),
            lambda share: f"captions dropped {share:.0%}",
            off=0.0,
            zero=True,
        ),
    ),
    (
        Knob(
            "ema_decay",
            partial(gr.Slider, 0, 0.999, step=0.001, label="Averaging (EMA)", info="0 is off; 0.99 calms a rough run"),
            _words("averaged {:g}"),
            off=0.0,
            zero=True,
        ),
    ),
)
_OTHERS = (
    (
        Knob(
            "class_word",
            partial(gr.Textbox, label="Class word", info="what the character is one of: person, cat, robot"),
            _words("class {}"),
            off=TrainParams().class_word,
        ),
    ),
    (
        Knob(
            "dop_weight",
            partial(
                gr.Slider,
                0,
                2,
                step=0.1,
                label="Keep others as they are (DOP)",
                info="0 is off, 1 usual; twice the time",
            ),
            _words("DOP {:g}"),
            off=0.0,
            zero=True,
        ),
    ),
    (
        Knob(
            "prior_weight",
            partial(
                gr.Slider, 0, 2, step=0.1, label="Prior preservation", info="0 is off, 1 usual; draws others first"
            ),
            _words("prior {:g}"),
            off=0.0,
            zero=True,
        ),
    ),
    (
        Knob(
            "prior_pictures",
            _whole("Pictures of others", "drawn for prior preservation"),
            _words("{} pictures of others"),
            off=TrainParams().prior_pictures,
        ),
    ),
)
_PICTURES = (
    (
        Knob(
            "mask_outside",
            partial(
                gr.Slider,
                0,
                1,
                step=0.05,
                label="Outside masks counts",
                info="of pictures with a mask; 1 ignores the masks",
            ),
            _words("outside masks {:g}"),
            off=TrainParams().mask_outside,
            zero=True,
        ),
    ),
    (
        Knob(
            "flip",
            partial(
                gr.Checkbox,
                label="Mirror half of the pictures (flip)",
                info="off for characters: no face is its own mirror image, a parting or a scar would change sides, "
                "and captions that say left or right would be wrong",
            ),
            lambda on: "half of the pictures mirrored",
            off=False,
            zero=True,
        ),
    ),
)
_OFTEN = (
    (
        Knob(
            "save_every",
            _whole("Checkpoint every", "steps; 0 keeps the last alone"),
            lambda every: f"saved every {every}" if every else "saved at the end",
            zero=True,
        ),
        Knob(
            "sample_every",
            _whole("Samples every", "steps; 0 draws at the end alone"),
            lambda every: f"samples every {every}" if every else "samples at the end",
            zero=True,
        ),
    ),
    (Knob("seed", _whole("Seed", "the same one repeats a run"), _words("seed {}"), off=0, zero=True),),
)
CHARACTER = (*_GENERAL, *_OTHERS, *_PICTURES, *_OFTEN)
EDITOR = (*_GENERAL, *_PICTURES, *_OFTEN)

_NO_TRIGGER = "An edit has no trigger word, whose place a class word could take."
NOT_SHOWN: Mapping[str, str] = {
    "guidance": "A LoRA of a guidance-distilled model is trained at 1 and drawn with at 2.5 to 4; scripts may set it.",
}
NOT_FOR_EDITORS: Mapping[str, str] = {knob.name: _NO_TRIGGER for row in _OTHERS for knob in row}


@dataclass(frozen=True)
class Form:
    """The training settings of a tab, in the order of its handlers' inputs: the steps, then the rows of the fold."""

    tab: str
    rows: Sequence[Sequence[Knob]]

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """Returns the steps and the settings in the fold."""
        return (STEPS, *(knob for row in self.rows for knob in row))

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of the settings in `TrainParams`."""
        return tuple(knob.name for knob in self.knobs)

    def steps(self) -> Any:
        """Makes and returns the widget of the steps, which is always visible."""
        return STEPS.widget(elem_id=f"{self.tab}-steps")

    def fold(self) -> list[Any]:
        """Lays out the widgets of all other settings, row by row, and returns them."""
        made = []
        for row in self.rows:
            with gr.Row() if len(row) > 1 else nullcontext():
                made += [knob.widget(elem_id=f"{self.tab}-{knob.name.replace('_', '-')}") for knob in row]
        return made

    def preset(self, spec: ModelSpec) -> list[Any]:
        """Returns a model's default values as the widgets show them."""
        params = spec.params(TrainParams)
        shown = {"resolutions": smaller_sizes(params.resolution, params.resolutions)}
        return [shown.get(name, getattr(params, name)) for name in self.names]

    def settle(self, spec: ModelSpec, values: Sequence[Any]) -> TrainParams:
        """Returns the model's default parameters with the user's values set on top. Raises: BadInput."""
        own = spec.params(TrainParams)
        given = {
            knob.name: type(getattr(own, knob.name))(value)
            for knob, value in zip(self.knobs, values, strict=False)
            if knob.given(value)
        }
        return spec.params(TrainParams, **given)

    def told(self, params: TrainParams) -> str:
        """Returns the settings that will be used as one line of text."""
        values = [(knob, getattr(params, knob.name)) for knob in self.knobs]
        return " · ".join(knob.told(value) for knob, value in values if knob.off is None or value != knob.off)


def smaller_sizes(resolution: float | None, chosen: Sequence[int] = ()) -> Any:
    """Returns an update with the sizes that can be trained beside a resolution; chosen sizes below it stay chosen."""
    whole = int(resolution or 0)
    kept = [size for size in chosen if size < whole]
    sizes = sorted({*kept, *(size for size in (whole // 2, whole * 3 // 4) if size)})
    return gr.update(choices=[(f"{size} px", size) for size in sizes], value=kept)
