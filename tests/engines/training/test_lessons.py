"""Tests that every way of training learns a new figure, and that a broken one does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

_EIGHT_BIT = {"optimizer": "adamw8bit", "rank": 64}
_PRODIGY = {"optimizer": "prodigy", "learning_rate": 1.0, "steps": 80}

both = pytest.mark.parametrize("family", ["flux", "qwen-edit"])


@pytest.fixture(scope="module")
def schools() -> dict[str, Path]:
    """Holds each family's trained base model once it was made."""
    return {}


@pytest.fixture
def lesson(make_trainer, host_lease, schools, tmp_path: Path, tmp_path_factory) -> Callable[[str], Any]:
    """Returns `lesson(family)`: a base model trained on dark backgrounds, and a figure on a white one."""
    from tests.engines.training.lesson import Lesson, school

    def make(family: str) -> Any:
        trainer = make_trainer(family)
        if family not in schools:
            schools[family] = school(trainer, tmp_path_factory.mktemp(family), host_lease)
        return Lesson(type(trainer)(trainer.spec, schools[family]), tmp_path, host_lease)

    return make


@pytest.mark.parametrize(
    ("family", "knobs"),
    [
        ("flux", {}),
        ("qwen-edit", {}),
        ("flux", {"timestep_density": "uniform"}),
        ("flux", {"timestep_density": "shift"}),
        ("flux", {"timestep_density": "resolution_shift"}),
        ("flux", {"timestep_density": "weighted"}),
        ("qwen-edit", {"timestep_density": "uniform"}),
        ("qwen-edit", {"timestep_density": "shift"}),
        ("qwen-edit", {"timestep_density": "resolution_shift"}),
        ("qwen-edit", {"timestep_density": "weighted"}),
        ("flux", _EIGHT_BIT),
        ("qwen-edit", _EIGHT_BIT),
        ("flux", _PRODIGY),
        ("qwen-edit", _PRODIGY),
        ("flux", {"base": "nf4"}),
        ("qwen-edit", {"base": "nf4"}),
        ("flux", {"base": "int8"}),
        ("qwen-edit", {"base": "int8"}),
        ("flux", {"base": "fp8"}),
        ("flux", {"ema_decay": 0.8}),
        ("flux", {"targets": "attention"}),
        ("qwen-edit", {"targets": "attention"}),
    ],
)
def test_it_is_learned(family: str, knobs: dict[str, Any], lesson) -> None:
    """The loss falls at every noise level, and the drawings come nearer to the figure."""
    taught = lesson(family)
    run = taught.run(**knobs)
    assert taught.learned(run, taught.train(run))


@pytest.mark.parametrize(
    ("family", "knobs"),
    [
        ("flux", {}),
        ("qwen-edit", {}),
        ("flux", {"timestep_density": "shift", "base": "nf4", **_EIGHT_BIT}),
        ("qwen-edit", {"timestep_density": "weighted", "base": "int8", **_EIGHT_BIT}),
    ],
)
def test_a_wrong_sign_learns_nothing(family: str, knobs: dict[str, Any], lesson) -> None:
    """With the target picture − noise the same steps fail, whatever the other knobs, so the test above can fail."""
    taught = lesson(family)
    kind = type(taught.trainer.family)

    class Backwards(kind):
        def target(self, latents: Any, noise: Any) -> Any:
            return latents - noise

    run = taught.run(**knobs)
    assert not taught.learned(run, taught.train(run, Backwards(taught.trainer.spec, taught.trainer.folder)))


@pytest.mark.parametrize(("family", "mu"), [("flux", -8.0), ("flux", 8.0), ("qwen-edit", -8.0)])
def test_a_wrong_shift_learns_nothing(family: str, mu: float, lesson) -> None:
    """With noise levels near 0 or 1 alone it does not learn those between."""
    taught = lesson(family)
    kind = type(taught.trainer.family)

    class Shifted(kind):
        def shift(self, latents: Any) -> float:
            return mu

    run = taught.run(timestep_density="resolution_shift")
    assert not taught.learned(run, taught.train(run, Shifted(taught.trainer.spec, taught.trainer.folder)))


@both
def test_latents_of_another_scale_teach_nothing(family: str, lesson) -> None:
    """Latents without the VAE's shift and scale teach something other than what is drawn."""
    import torch

    taught = lesson(family)
    kind = type(taught.trainer.family)

    class Raw(kind):
        def encode_images(self, parts: Any, *args: Any) -> Any:
            config = parts["vae"].config
            if "scaling_factor" in config:
                scale, shift = 1 / config.scaling_factor, config.shift_factor
            else:
                std, mean = torch.tensor(config.latents_std), torch.tensor(config.latents_mean)
                scale, shift = std.view(1, -1, 1, 1), mean.view(1, -1, 1, 1)
            return {name: value * scale + shift for name, value in super().encode_images(parts, *args).items()}

    wrong, right = taught.run("wrong"), taught.run("right")
    adapter = taught.train(wrong, Raw(taught.trainer.spec, taught.trainer.folder))
    assert not taught.learned(right, adapter)


@both
def test_a_mask_says_what_is_learned(family: str, lesson) -> None:
    """With a mask over the upper half the loss falls there, and below it falls far less than without the mask."""
    from PIL import Image

    taught = lesson(family)
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 32, 16))
    mask.save(taught.folder / "mask.png")
    items = [dataclasses.replace(item, mask=taught.folder / "mask.png") for item in taught.items]
    whole, masked = taught.run("whole"), taught.run("masked", items, mask_outside=0.0)
    before = taught.loss(whole)
    halves = [(taught.loss(whole, taught.train(run)) / before).mean(1).chunk(2, -1) for run in (whole, masked)]
    (_, lower), (upper_masked, lower_masked) = ([half.mean(1) for half in each] for each in halves)
    print(f"loss × {upper_masked.tolist()} under the mask, {lower_masked.tolist()} beside, {lower.tolist()} without")

    assert (upper_masked < 0.9).all()
    assert lower_masked.mean() > lower.mean() + 0.1


@both
def test_output_preservation_keeps_the_class(family: str, lesson) -> None:
    """With the class's words the predictions stay nearer to the base model's than after training without the term."""
    taught = lesson(family)
    plain, kept = taught.run("plain"), taught.run("kept", dop_weight=1.0)
    adapter = taught.train(kept)
    said = taught.run("asked", [dataclasses.replace(item, caption="person in the forest") for item in taught.items])
    base = taught.predicted(said)
    moved, stayed = (taught.predicted(said, each).sub(base).square().mean() for each in (taught.train(plain), adapter))

    assert taught.learned(kept, adapter)
    assert stayed < 0.6 * moved


@both
def test_prior_preservation_keeps_the_class(family: str, lesson) -> None:
    """Over the base model's class pictures the loss stays far lower than after training without the term."""
    taught = lesson(family)
    plain, kept = taught.run("plain"), taught.run("kept", prior_weight=1.0, prior_pictures=4)
    adapter = taught.train(kept)
    drawn = zip(taught.items, sorted((kept.folder / "class").iterdir()), strict=True)
    items = [dataclasses.replace(item, image=file, caption="person in the forest") for item, file in drawn]
    of_class = taught.run("asked", items)
    moved, stayed = (taught.loss(of_class, each).mean() for each in (taught.train(plain), adapter))
    print(f"loss over the class: {float(moved):.3f} without the term, {float(stayed):.3f} with it")

    assert taught.learned(kept, adapter)
    assert stayed < 0.85 * moved


def test_alpha_means_what_it_says(lesson) -> None:
    """The learned change is scaled by alpha ÷ rank alike in training, read back, and merged into the base by hand."""
    import torch
    from peft import set_peft_model_state_dict

    from engines.drawing.lora_files import read_adapter
    from engines.training.trainer import _ADAPTER, trainable

    taught = lesson("flux")
    run = taught.run(alpha=4.0, steps=3)
    adapter = taught.train(run)
    state, _ = read_adapter(adapter)
    read_back = taught.predicted(run, adapter)
    base = taught.predicted(run)
    with taught.lease(run).stage("train") as parts:
        transformer = parts["transformer"]
        with trainable(transformer, run.params, taught.trainer.family.targeted(run.params)):
            set_peft_model_state_dict(transformer, state, adapter_name=_ADAPTER)
            trained = taught.predicted(run, on=transformer)
        for name in [name.removesuffix(".lora_A.weight") for name in state if name.endswith(".lora_A.weight")]:
            learned = state[f"{name}.lora_B.weight"] @ state[f"{name}.lora_A.weight"]
            transformer.get_submodule(name).weight.data += 4.0 / 8 * learned
        merged = taught.predicted(run, on=transformer)

    assert torch.allclose(trained, read_back, atol=1e-5)
    assert torch.allclose(merged, read_back, atol=1e-4)
    assert not torch.allclose(base, read_back, atol=1e-2)
