"""Tests that each family gives its transformer the inputs that it was trained with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engines.api.errors import BadInput
from engines.api.params import GenerateParams
from engines.api.protocols import EditItem

pytestmark = pytest.mark.slow


class _Recorder:
    """Records a transformer's inputs; predicts 1 for a target's tokens and 9 for the references'."""

    def __init__(self, target_tokens: int) -> None:
        self.config = SimpleNamespace(guidance_embeds=True, in_channels=64)
        self.target_tokens = target_tokens
        self.seen: dict[str, Any] = {}

    def __call__(self, hidden_states: Any, **inputs: Any) -> Any:
        import torch

        self.seen = {"hidden_states": hidden_states, **inputs}
        out = torch.ones_like(hidden_states)
        out[:, self.target_tokens :] = 9.0
        return (out,)


def _flux_batch(size: int = 2) -> dict[str, Any]:
    import torch

    return {
        "latents": torch.randn(size, 16, 8, 8),
        "prompt_embeds": torch.randn(size, 5, 48),
        "pooled": torch.randn(size, 32),
    }


def _qwen_batch(size: int = 2) -> dict[str, Any]:
    import torch

    return {
        "latents": torch.randn(size, 16, 8, 8),
        "reference_0": torch.randn(size, 16, 4, 8),
        "reference_1": torch.randn(size, 16, 8, 8),
        "prompt_embeds": torch.randn(size, 5, 48),
    }


def test_flux_gets_sigma_as_its_timestep(make_trainer) -> None:
    """FLUX gets σ in 0…1, which it multiplies by 1000 itself, and the guidance of the training."""
    import torch

    transformer, batch = _Recorder(16), _flux_batch()
    sigma = torch.tensor([0.25, 0.75])
    make_trainer("flux").family.losses(transformer, batch, torch.randn(2, 16, 8, 8), sigma, 1.0).mean()

    assert transformer.seen["timestep"].tolist() == [0.25, 0.75]
    assert transformer.seen["guidance"].tolist() == [1.0, 1.0]


def test_loss_is_of_the_velocity(make_trainer) -> None:
    """A prediction of noise − picture has a loss of 0; one that is off by 1 everywhere has a loss of 1."""
    import torch

    family, batch = make_trainer("flux").family, _flux_batch()
    sigma = torch.tensor([0.25, 0.75])

    perfect = family.losses(_Recorder(16), batch, batch["latents"] + 1.0, sigma, 1.0).mean()
    off = family.losses(_Recorder(16), batch, batch["latents"] + 2.0, sigma, 1.0).mean()

    assert (perfect.item(), off.item()) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert perfect.dtype == torch.float32


def test_noise_levels_mix_as_the_sampler_unmixes(make_trainer) -> None:
    """x_σ = (1 − σ)·x₀ + σ·ε: at σ = 1 the transformer gets noise alone, at 0 the picture."""
    import torch

    from engines.drawing.latents import pack

    transformer, batch, noise = _Recorder(16), _flux_batch(), torch.randn(2, 16, 8, 8)
    make_trainer("flux").family.losses(transformer, batch, noise, torch.tensor([1.0, 0.0]), 1.0).mean()

    seen = transformer.seen["hidden_states"]
    assert torch.equal(seen[0], pack(noise)[0])
    assert torch.equal(seen[1], pack(batch["latents"])[1])


def test_references_follow_clean_and_are_cropped(make_trainer) -> None:
    """References follow the target without noise, each with its own shape; their predictions are not in the loss."""
    import torch

    from engines.drawing.latents import pack

    family, transformer, batch = make_trainer("qwen-edit").family, _Recorder(16), _qwen_batch()
    loss = family.losses(transformer, batch, batch["latents"] + 1.0, torch.tensor([0.3, 0.9]), 1.0).mean()

    tokens = transformer.seen["hidden_states"]
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert tokens.shape == (2, 16 + 8 + 16, 64)
    assert torch.equal(tokens[:, 16:24], pack(batch["reference_0"]))
    assert torch.equal(tokens[:, 24:], pack(batch["reference_1"]))
    assert transformer.seen["img_shapes"] == [[(1, 4, 4), (1, 2, 4), (1, 4, 4)]] * 2
    assert transformer.seen["timestep"].tolist() == pytest.approx([0.3, 0.9])
    assert transformer.seen["guidance"] is None


def test_instructions_are_padded_and_masked(make_trainer) -> None:
    """Instructions of unequal length share a batch: the shorter is padded, and the padding is masked."""
    import torch

    rows = [_qwen_batch(1), _qwen_batch(1)]
    rows[1]["prompt_embeds"] = torch.randn(1, 3, 48)
    rows[0]["prompt_mask"] = torch.ones(1, 5, dtype=torch.bool)  # an older cache holds one
    batch = make_trainer("qwen-edit").family.collate(rows)

    assert batch["prompt_mask"].tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert not batch["prompt_embeds"][1, 3:].any()
    assert batch["reference_1"].shape == (2, 16, 8, 8)
    assert "prompt_mask" not in make_trainer("qwen-edit").family.collate(rows[:1])


def test_targets_are_what_they_should_be(make_trainer, make_run, host_lease, tmp_path) -> None:
    """Attention and MLP layers of every block get a LoRA, or attention alone; modulation, embedders and output do not.

    The widths for the estimates are those of the layers.
    """
    import re

    for family, expected in (
        ("flux", {"all": 2 * 12 + 2 * 5, "attention": 2 * 8 + 2 * 3}),
        ("qwen-edit", {"all": 2 * 12, "attention": 2 * 8}),
    ):
        trainer = make_trainer(family)
        with host_lease(trainer.plan(make_run(tmp_path, family))).stage("train") as parts:
            layers, config = dict(parts["transformer"].named_modules()), parts["transformer"].config
        hidden = config["num_attention_heads"] * config["attention_head_dim"]
        for name, count in expected.items():
            targets = trainer.family.targets[name]
            chosen = [name for name in layers if re.fullmatch(targets.pattern, name)]
            assert len(chosen) == count
            assert not [name for name in chosen if "mod" in name or "norm" in name or name == "proj_out"]
            widths = sum(layers[each].in_features + layers[each].out_features for each in chosen)
            assert widths == hidden * sum(config[key] * width for key, width in targets.widths.items())


def test_unknown_targets_name_those_there_are(make_trainer, make_run, tmp_path) -> None:
    """The plan refuses an unknown name with the known ones."""
    trainer = make_trainer("flux")

    with pytest.raises(BadInput, match="no targets named mlp") as error:
        trainer.plan(make_run(tmp_path, "flux", targets="mlp"))
    assert "all, attention" in error.value.hint


def test_source_and_result_are_sized_alike(make_trainer, make_run, host_lease, tmp_path) -> None:
    """Both pictures of a pair get the same size, at any resolution, so that no LoRA learns to shift."""
    import torch
    from PIL import Image

    trainer = make_trainer("qwen-edit")
    image = Image.new("RGB", (96, 60), "red")
    with host_lease(trainer.plan(make_run(tmp_path, "qwen-edit"))).stage("encode") as parts:
        for resolution in (32, 64):
            found = trainer.family.encode_images(parts, image, [image], resolution, torch.Generator())
            assert found["latents"].shape == found["reference_0"].shape


def test_previews_must_be_of_the_family(make_trainer) -> None:
    """An editor refuses a prompt as a preview."""
    from engines.training.family import narrowed

    with pytest.raises(BadInput, match="must be EditItem, not GenerateParams"):
        narrowed(GenerateParams(), EditItem)


def test_captions_longer_than_the_encoder_reads_are_told(make_trainer) -> None:
    """A caption that just fits is read whole, and one token more is not; an editor cuts nothing off."""
    trainer, editor = make_trainer("flux"), make_trainer("qwen-edit")
    tokenizer, most = trainer.family._tokenizers["tokenizer_2"], trainer.family.text_tokens()
    captions = ["red " * count for count in range(1, 3 * most)]
    lengths = [len(tokenizer(caption).input_ids) for caption in captions]

    assert most in lengths
    assert trainer.cut(captions) == [at for at, length in enumerate(lengths) if length > most]
    assert trainer.cut(captions) and editor.cut(captions) == []


def test_counting_tokens_leaves_the_encoders_tokenizer_alone(make_trainer) -> None:
    """The pre-flight counts while a training encodes: were the tokenizer shared, words would come out unpadded."""
    trainer = make_trainer("flux")
    tokenizer, most = trainer.family._tokenizers["tokenizer_2"], trainer.family.text_tokens()
    tokenizer(["red"], padding="max_length", max_length=most, truncation=True)
    padding = dict(tokenizer.backend_tokenizer.padding)

    assert trainer.cut(["red"]) == []

    assert padding["length"] == most
    assert tokenizer.backend_tokenizer.padding == padding
