"""The settings of a training as data: their widgets, their labels, and their values as text in the pre-flight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput
from engines.api.forms import ROWS
from engines.api.params import TrainParams
from engines.api.protocols import ModelSpec
from tabs.common.knobs import Slider
from tabs.common.looks import view

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
BASES = [("as it draws", ""), *((row.training, form) for form, row in ROWS.items())]


@dataclass(frozen=True)
class Knob:
    """Holds one setting of a training: a field of `TrainParams` by `name`, and the function that makes its widget.

    `told` turns a value into text for a summary of the settings. The summary leaves out a value that equals `off`,
    unless `off` is None. An empty widget, or one at 0, means the model's own value; with `zero`, 0 counts as a value.
    """

    name: str
    widget: Callable[..., Any]
    told: Callable[[Any], str]
    off: Any = None
    zero: bool = False

    def given(self, value: Any) -> bool:
        """Returns whether a widget's value counts as set; where it does not, the model's own value is used."""
        return value not in (None, "") and bool(value or self.zero)

    def beside(self, own: Any) -> str:
        """Returns the note under the widget as text: what the setting does, and the model's own value, `own`."""
        widget = self.widget
        assert isinstance(widget, partial)
        names = {value: name for name, value in widget.args[0]} if widget.func is gr.Dropdown else {}
        shown = {True: "on", False: "off"}[own] if isinstance(own, bool) else names.get(own, own)
        told = (
            ", ".join(map(str, shown)) or "none"
            if isinstance(shown, tuple)
            else f"{shown:g}"
            if isinstance(shown, float)
            else shown
        )
        return " · ".join(filter(None, (widget.keywords.get("info"), f"own: {told}")))


@dataclass(frozen=True)
class Group:
    """Holds settings that belong together, under a title; they are laid out in two columns."""

    title: str
    knobs: tuple[Knob, ...]


def _number(label: str, info: str | None = None, **more: Any) -> Callable[..., Any]:
    return partial(gr.Number, label=label, info=info, **more)


def _whole(label: str, info: str | None = None, **more: Any) -> Callable[..., Any]:
    return _number(label, info, precision=0, **more)


def _menu(choices: Sequence[tuple[str, str]], label: str) -> Callable[..., Any]:
    return partial(gr.Dropdown, choices, label=label)


def _slider(most: float, step: float, label: str, info: str) -> Callable[..., Any]:
    return partial(Slider, 0, most, step=step, label=label, info=info)


def _words(form: str) -> Callable[[Any], str]:
    return lambda value: form.format(value)


STEPS = Knob("steps", _whole("Steps"), _words("{} steps"))
_LEARNING = Group(
    "How it learns",
    (
        Knob(
            "learning_rate",
            _number("Learning rate", "how far each step goes", step=0.0001),
            _words("learning rate {:g}"),
        ),
        Knob("optimizer", _menu(OPTIMIZERS, "Optimiser"), _words("{}")),
        Knob(
            "timestep_density", _menu(DENSITIES, "Noise levels"), lambda name: f"noise levels {name.replace('_', ' ')}"
        ),
        Knob(
            "max_grad_norm",
            _number("Clip gradients at", "their norm; 0 is off"),
            lambda norm: f"gradients clipped at {norm:g}" if norm else "gradients not clipped",
            zero=True,
        ),
        Knob("batch_size", _whole("Batch", "pictures at a time"), _words("batch {}")),
        Knob(
            "gradient_accumulation",
            _whole("Batches a step", "more time, not more memory"),
            _words("{} batches a step"),
            off=1,
        ),
        Knob(
            "caption_dropout",
            _slider(0.5, 0.01, "Caption dropout", "the share of pictures that is seen without words"),
            lambda share: f"captions dropped {share:.0%}",
            off=0.0,
            zero=True,
        ),
        Knob(
            "ema_decay",
            _slider(0.999, 0.001, "Averaging (EMA)", "0 is off; 0.99 calms a rough run"),
            _words("averaged {:g}"),
            off=0.0,
            zero=True,
        ),
    ),
)
_SIZE = Group(
    "What the LoRA can hold",
    (
        Knob("rank", _whole("Rank", "how much the LoRA can hold"), _words("rank {}")),
        Knob("alpha", _number("Alpha", "strength is alpha ÷ rank"), _words("alpha {:g}")),
        Knob("targets", _menu(TARGETS, "Layers that learn"), _words("layers: {}"), off="all"),
    ),
)
_PICTURES = Group(
    "How it sees the pictures",
    (
        Knob("resolution", _whole("Resolution", "in pixels; decides the memory"), _words("{} px")),
        Knob(
            "resolutions",
            partial(gr.CheckboxGroup, [], label="Also learn at", info="each shows all once more"),
            lambda sizes: f"also at {', '.join(map(str, sizes))} px" if sizes else "at no other size",
            off=(),
        ),
        Knob(
            "mask_outside",
            _slider(1, 0.05, "Outside masks counts", "of pictures with a mask; 1 ignores the masks"),
            _words("outside masks {:g}"),
            off=TrainParams().mask_outside,
            zero=True,
        ),
        Knob(
            "flip",
            partial(
                gr.Checkbox,
                label="Mirror half of the pictures (flip)",
                info="off for characters: no face is its own mirror image, and captions that say left or right "
                "would be wrong",
            ),
            lambda on: "half of the pictures mirrored" if on else "no picture mirrored",
            off=False,
            zero=True,
        ),
    ),
)
_MEMORY = Group(
    "Memory",
    (
        Knob(
            "base",
            _menu(BASES, "Hold the model in"),
            lambda form: f"model held in {form}" if form else "model held as it draws",
            off="",
        ),
        Knob(
            "gradient_checkpointing",
            partial(gr.Checkbox, label="Gradient checkpointing", info="far less memory, about a third slower"),
            lambda on: f"checkpointing {'on' if on else 'off'}",
            zero=True,
        ),
    ),
)
_OTHERS = Group(
    "Keeping others as they are",
    (
        Knob(
            "class_word",
            partial(gr.Textbox, label="Class word", info="what the character is one of: person, cat, robot"),
            _words("class {}"),
            off=TrainParams().class_word,
        ),
        Knob(
            "dop_weight",
            _slider(2, 0.1, "Keep others as they are (DOP)", "0 is off, 1 usual; twice the time"),
            _words("DOP {:g}"),
            off=0.0,
            zero=True,
        ),
        Knob(
            "prior_weight",
            _slider(2, 0.1, "Prior preservation", "0 is off, 1 usual; draws others first"),
            _words("prior {:g}"),
            off=0.0,
            zero=True,
        ),
        Knob(
            "prior_pictures",
            _whole("Pictures of others", "drawn for prior preservation"),
            _words("{} pictures of others"),
            off=TrainParams().prior_pictures,
        ),
    ),
)
_OFTEN = Group(
    "Checkpoints and samples",
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
        Knob("seed", _whole("Seed", "the same one repeats a run"), _words("seed {}"), off=0, zero=True),
    ),
)
CHARACTER = (_LEARNING, _SIZE, _PICTURES, _MEMORY, _OTHERS, _OFTEN)
EDITOR = (_LEARNING, _SIZE, _PICTURES, _MEMORY, _OFTEN)

_NO_TRIGGER = "An edit has no trigger word, whose place a class word could take."
NOT_SHOWN: Mapping[str, str] = {
    "guidance": "A LoRA of a guidance-distilled model is trained at 1 and drawn with at 2.5 to 4; scripts may set it.",
}
NOT_FOR_EDITORS: Mapping[str, str] = {knob.name: _NO_TRIGGER for knob in _OTHERS.knobs}

LENGTHS: Mapping[str, float] = {  # of the model's own steps, and of the intervals of its checkpoints and samples
    "Quick try": 0.25,
    "Balanced": 1.0,
    "Thorough": 2.0,
}
_PACED = ("steps", "save_every", "sample_every")


def paced(spec: ModelSpec, length: str) -> dict[str, int]:
    """Returns the number of training steps, and how many steps lie between two checkpoints and between two samples.

    The keys are fields of `TrainParams`. `length` is one of LENGTHS, which scales the model's own values. Raises:
    BadInput for another `length`.
    """
    if length not in LENGTHS:
        raise BadInput(f"There is no training called {length!r}.", f"Choose one of: {', '.join(LENGTHS)}.")
    own = spec.params(TrainParams)
    values = {name: int(getattr(own, name)) for name in _PACED}
    return {name: max(1, round(value * LENGTHS[length])) if value else 0 for name, value in values.items()}


@dataclass(frozen=True)
class Form:
    """Holds the training settings of a tab: the number of steps, and groups of others in a panel that can be folded.

    `tab` is the prefix of the widgets' element ids. Handlers get the values of the widgets in the order of `knobs`.
    """

    tab: str
    groups: Sequence[Group]

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """Returns all settings in the order in which handlers get their values: first the number of steps."""
        return (STEPS, *(knob for group in self.groups for knob in group.knobs))

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of all settings, which are fields of `TrainParams`, in the order of `knobs`."""
        return tuple(knob.name for knob in self.knobs)

    def steps(self) -> Any:
        """Makes and returns the widget for the number of steps, which stands outside the folded panel."""
        return STEPS.widget(elem_id=f"{self.tab}-steps")

    def fold(self) -> list[Any]:
        """Makes the widgets of all settings but the number of steps, in titled groups, and returns them as a list."""
        made = []
        for group in self.groups:
            gr.HTML(view("common", "group", title=group.title), apply_default_css=False)
            for at in range(0, len(group.knobs), 2):
                with gr.Row(elem_classes="fl-twin-knobs"):
                    for knob in group.knobs[at : at + 2]:
                        made.append(knob.widget(elem_id=f"{self.tab}-{knob.name.replace('_', '-')}", min_width=120))
        return made

    def shown(self, spec: ModelSpec) -> list[Any]:
        """Returns an update for each widget: it fills in the model's default value and names it in the note below."""
        own = spec.params(TrainParams)
        values = zip(self.knobs, self.preset(spec), strict=True)
        return [
            gr.update(
                **{
                    **(value if isinstance(value, dict) else {"value": value}),
                    "info": knob.beside(getattr(own, knob.name)),
                }
            )
            for knob, value in values
        ]

    def put(self, values: Mapping[str, Any]) -> list[Any]:
        """Returns an update for each widget: `values` sets some of them by name, the others stay as they are."""
        return [gr.update(value=values[name]) if name in values else gr.skip() for name in self.names]

    def act(self, spec: ModelSpec, data: Mapping[str, Any]) -> list[Any]:
        """Handles a click in the HTML that `Form.chosen` returned; returns an update for each widget.

        `data` is what the clicked button sent: the length of the training, or the name of a setting to reset to the
        model's own value; without a name all are reset. Raises: BadInput for an unknown length or name.
        """
        if data.get("act") == "length":
            return self.put(paced(spec, str(data.get("length"))))
        own, name = spec.params(TrainParams), str(data.get("knob", ""))
        if name and name not in self.names:
            raise BadInput(f"There is no setting named {name[:40]}.", "Reload the page.")
        wanted = [name] if name else self.names
        values = {each: getattr(own, each) for each in wanted}
        return self.put({each: list(value) if isinstance(value, tuple) else value for each, value in values.items()})

    def chosen(self, spec: ModelSpec, params: TrainParams) -> Markup:
        """Returns as HTML the buttons for a training's length, and the settings that differ from the model's own.

        Each setting that differs is a button that resets it. `params` are the present settings.
        """
        own = spec.params(TrainParams)
        pairs = [(knob, getattr(params, knob.name), getattr(own, knob.name)) for knob in self.knobs]
        changed = [(knob.name, knob.told(value), knob.told(before)) for knob, value, before in pairs if value != before]
        lengths = [(name, paced(spec, name)) for name in LENGTHS]
        now = {name: getattr(params, name) for name in _PACED}
        return view(
            "common",
            "chosen",
            lengths=[(name, values["steps"], values == now) for name, values in lengths],
            changed=changed,
        )

    def preset(self, spec: ModelSpec) -> list[Any]:
        """Returns a model's default values for the widgets, in the order of `knobs`.

        For the widget of the additional resolutions the list holds an update, with its choices and its value.
        """
        params = spec.params(TrainParams)
        shown = {"resolutions": smaller_sizes(params.resolution, params.resolutions)}
        return [shown.get(name, getattr(params, name)) for name in self.names]

    def settle(self, spec: ModelSpec, values: Sequence[Any]) -> TrainParams:
        """Returns the parameters of a training: the values of the widgets, and for unset ones the model's defaults.

        `values` are the widgets' values in the order of `knobs`. Raises: BadInput for a value out of range.
        """
        own = spec.params(TrainParams)
        given = {
            knob.name: type(getattr(own, knob.name))(value)
            for knob, value in zip(self.knobs, values, strict=False)
            if knob.given(value)
        }
        return spec.params(TrainParams, **given)

    def told(self, params: TrainParams) -> str:
        """Returns the settings in `params` as one line of text; a setting at its `Knob.off` value is left out."""
        values = [(knob, getattr(params, knob.name)) for knob in self.knobs]
        return " · ".join(knob.told(value) for knob, value in values if knob.off is None or value != knob.off)


def smaller_sizes(resolution: float | None, chosen: Sequence[int] = ()) -> Any:
    """Returns an update of the widget for additional training resolutions, which have to be smaller than `resolution`.

    A resolution is the side of a square in pixels. The update offers some as choices. Those of `chosen`, the present
    value, stay selected if they are small enough.
    """
    whole = int(resolution or 0)
    kept = [size for size in chosen if size < whole]
    sizes = sorted({*kept, *(size for size in (whole // 2, whole * 3 // 4) if size)})
    return gr.update(choices=[(f"{size} px", size) for size in sizes], value=kept)
