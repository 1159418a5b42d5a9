"""Tests that the embedded models learn, and only with the right maths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.api.params import LoraUse
from engines.api.protocols import TrainRun
from engines.catalogue.registry import Registry

pytestmark = pytest.mark.slow

_ASSETS = Path(__file__).parents[3] / "assets"
_MODELS = {"flux": "mini-flux", "qwen-edit": "mini-qwen-edit"}
_KNOBS = {"steps": 24, "batch_size": 4, "rank": 8, "learning_rate": 2e-3, "caption_dropout": 0.0, "save_every": 0}


@pytest.fixture
def mini_trainer(tmp_path: Path) -> Any:
    """Returns `mini_trainer(family)`, which makes a trainer of an embedded model."""
    registry = Registry(_ASSETS, tmp_path)
    return lambda family: registry.trainer(_MODELS[family])


def _loss(trainer: Any, run: TrainRun, lease: Any, adapter: Path | None) -> float:
    """Returns the true loss over all twelve at fixed noise and noise levels, without or with an adapter."""
    import torch

    from engines.drawing.lora_files import attached
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    family = trainer.family
    encoded = encode(family, run, read_sources(run.items), lease, lambda *_: None)
    uses = [LoraUse(file=str(adapter))] if adapter else []
    total = 0.0
    with lease.stage("train") as parts, attached(parts["transformer"], uses, family.spec.family), torch.no_grad():
        for index in range(0, len(encoded.examples), 4):
            batch = family.collate([encoded.examples.row(place, wordless=False) for place in range(index, index + 4)])
            for step, level in enumerate((0.2, 0.5, 0.8)):
                noise = torch.randn(batch["latents"].shape, generator=torch.Generator().manual_seed(99 + step))
                sigma = torch.full((4,), level)
                total += family.losses(parts["transformer"], batch, noise, sigma, run.params.guidance).mean().item()
    return total / 9


@pytest.mark.parametrize("family", ["flux", "qwen-edit"])
def test_loss_falls(family: str, mini_trainer, make_run, train, host_lease, tmp_path: Path) -> None:
    """After a few dozen steps on twelve pictures the loss over them, at the same noise, is clearly lower."""
    trainer, run = mini_trainer(family), make_run(tmp_path, family, previews=False, **_KNOBS)
    lease = host_lease(trainer.plan(run))
    before = _loss(trainer, run, lease, None)

    after = _loss(trainer, run, lease, train(trainer, run, lease)[-1].adapter)

    assert after < 0.97 * before


def test_loss_does_not_fall_where_the_sign_is_wrong(mini_trainer, make_run, train, host_lease, tmp_path: Path) -> None:
    """With the target picture − noise the same steps raise the true loss, so the test above can fail."""
    from engines.families.flux.training import FluxAdapter

    class Backwards(FluxAdapter):
        def target(self, latents: Any, noise: Any) -> Any:
            return latents - noise

    trainer, run = mini_trainer("flux"), make_run(tmp_path, previews=False, **_KNOBS)
    right = trainer.family
    trainer.family = Backwards(trainer.spec, trainer.folder)
    lease = host_lease(trainer.plan(run))
    adapter = train(trainer, run, lease)[-1].adapter
    trainer.family = right

    assert _loss(trainer, run, lease, adapter) > _loss(trainer, run, lease, None)
