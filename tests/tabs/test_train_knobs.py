"""What the trainings' tabs offer is what the trainer knows."""

from dataclasses import fields
from functools import partial
from typing import get_args

import pytest

from engines.api.params import LEAST_RATES, GenerateParams, TrainParams, kinds
from engines.fake import FAKE_MODELS
from tabs import refine, train
from tabs.common import training
from tabs.common.knobs import Slider, first_block_cache
from tabs.common.training import Form


@pytest.mark.parametrize(
    ("form", "hidden"),
    [(train.FORM, training.NOT_SHOWN), (refine.FORM, {**training.NOT_SHOWN, **training.NOT_FOR_EDITORS})],
    ids=["train", "refine"],
)
def test_every_knob_is_offered_or_left_out_for_a_reason(form: Form, hidden: dict[str, str]) -> None:
    """A field of TrainParams that is new stands in the fold, or in the list of those that do not, with the reason."""
    assert sorted([*form.names, *hidden]) == sorted(field.name for field in fields(TrainParams))
    assert all(reason.endswith(".") for reason in hidden.values())


def test_what_need_not_be_told_is_a_value_of_its_knob() -> None:
    """Of another kind it would equal none, and the pre-flight would tell it always."""
    own = TrainParams()
    for knob in train.FORM.knobs:
        assert knob.off is None or type(knob.off) is type(getattr(own, knob.name)), knob.name


def test_no_slider_goes_beyond_what_is_taken() -> None:
    """The bounds of a widget are within its field's, so that nothing can be chosen that a submit refuses."""
    widgets = {knob.name: knob.widget for knob in train.FORM.knobs}
    assert all(isinstance(widget, partial) for widget in widgets.values())
    sliders = {name: made for name, made in widgets.items() if isinstance(made, partial) and made.func is Slider}
    assert sliders
    for name, slider in sliders.items():
        low, high = TrainParams.bounds(name)
        assert low <= slider.args[0] < slider.args[1] <= high, name
    skip = first_block_cache("a-slider")
    assert (skip.minimum, skip.maximum) == GenerateParams.bounds("first_block_cache")


@pytest.mark.slow
def test_what_is_taken_is_what_the_trainer_knows() -> None:
    """The names that a submit takes are those of the trainer's own tables."""
    from engines.training.densities import DENSITIES
    from engines.training.optimizers import OPTIMIZERS
    from engines.weights.quantise import FORMS

    taken = {name: set(get_args(kind)) for name, kind in kinds(TrainParams).items()}
    assert taken["optimizer"] == set(OPTIMIZERS)
    assert taken["timestep_density"] == set(DENSITIES)
    assert taken["base"] == {"", *FORMS}
    assert set(LEAST_RATES) <= set(OPTIMIZERS)


@pytest.mark.slow
def test_the_tab_offers_what_there_is() -> None:
    """Every optimiser, density and format by its name; of two names for one density, one."""
    from engines.catalogue.models import MODELS
    from engines.catalogue.registry import load_class
    from engines.training.densities import DENSITIES
    from engines.training.optimizers import OPTIMIZERS
    from engines.weights.quantise import FORMS

    assert {value for _, value in training.OPTIMIZERS} == set(OPTIMIZERS)
    assert {DENSITIES[value] for _, value in training.DENSITIES} == set(DENSITIES.values())
    assert {value for _, value in training.BASES} == {"", *FORMS}
    trainers = [load_class(spec.trainer) for spec in MODELS if spec.trainer]
    assert trainers and all({value for _, value in training.TARGETS} == set(each.targets) for each in trainers)


def test_zero_means_the_end_alone() -> None:
    """As in other trainers: 0 is no empty field that falls back to the model's own, and it is told in words."""
    (spec,) = [each for each in FAKE_MODELS if each.name == "fake-flux"]
    values = [0 if name in ("save_every", "sample_every") else None for name in train.FORM.names]
    params = train.FORM.settle(spec, values)
    assert (params.save_every, params.sample_every) == (0, 0)
    assert "saved at the end · samples at the end" in train.FORM.told(params)
