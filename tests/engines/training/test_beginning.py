"""Tests trainings that begin with a LoRA from elsewhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.api.errors import BadInput, LoraMismatch
from engines.api.protocols import CheckpointSaved, SampleDrawn

pytestmark = pytest.mark.slow

MODEL = "QwenImageTransformer2DModel"


def _updates(file: Path) -> dict[str, Any]:
    """What a file adds to each layer's weights."""
    from engines.drawing.lora_files import read_adapter
    from engines.drawing.lora_reading import PEFT_CONFIG, PeftScales

    read, metadata = read_adapter(file)
    state = PeftScales.of(metadata.get(PEFT_CONFIG, ""), file.name).applied(file, read)
    names = sorted({key.partition(".lora_")[0] for key in state})
    return {name: state[f"{name}.lora_B.weight"].float() @ state[f"{name}.lora_A.weight"].float() for name in names}


@pytest.fixture(scope="module")
def angles(qwen_folder: Path, save_lora: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of rank 2 and alpha 4 on some attention layers, and on modulation."""
    file = tmp_path_factory.mktemp("library") / "angles.safetensors"
    return save_lora(qwen_folder, file, MODEL, modules=["attn.to_q", "attn.to_v", "img_mod.1"])


@pytest.mark.parametrize("table", ["", "table"])
def test_a_training_begins_with_it(toy_qwen, qwen_folder, angles, make_run, train, host_lease, tmp_path, table) -> None:
    """Its effect is there from the first step, at a higher rank too; layers that are not trained stay in every file,
    to the bit, and the file tells what it began with."""
    import torch

    from engines.drawing.lora_files import read_adapter
    from engines.training.trainer import LoraTrainer

    row = dataclasses.replace(
        toy_qwen,
        trainer="engines.families.qwen_edit.training:QwenEditAdapter",
        options={**toy_qwen.options, "modulation": table},
    )
    knobs = {
        "steps": 1,
        "save_every": 1,
        "learning_rate": 1e-12,
        "rank": 4,
        "alpha": 2.0,
        "gradient_checkpointing": True,
    }
    made = make_run(tmp_path / "run", "qwen-edit", previews=False, **knobs)
    run = dataclasses.replace(made, start=angles, origin="angles", origin_licence="MIT")
    trainer = LoraTrainer(row, qwen_folder)
    file = train(trainer, run, lease=host_lease(trainer.plan(run)))[-1].adapter
    wanted, found = _updates(angles), _updates(file)
    assert all(torch.allclose(found[name], each, atol=1e-5) for name, each in wanted.items())
    assert all(each.norm() < 1e-5 for name, each in found.items() if name not in wanted)
    assert all(torch.equal(found[name], each) for name, each in wanted.items() if "img_mod" in name)
    _, metadata = read_adapter(file)
    assert "on from angles (licence: MIT)" in metadata["modelspec.description"]
    assert metadata["licence"].endswith(" + MIT")


def test_its_first_preview_is_the_same_with_a_table_and_resuming_changes_nothing(
    toy_qwen, qwen_folder, angles, make_run, train, host_lease, tmp_path
) -> None:
    """To the bit: the preview before the first step with and without a table, and a run that was stopped half way
    against one that was not."""
    import torch

    from engines.drawing.lora_files import read_adapter
    from engines.training.trainer import LoraTrainer

    drawn, files = [], []
    for at, (table, stops) in enumerate((("", (2,)), ("table", (2,)), ("table", (1, 2)))):
        row = dataclasses.replace(
            toy_qwen,
            trainer="engines.families.qwen_edit.training:QwenEditAdapter",
            options={**toy_qwen.options, "modulation": table},
        )
        trainer = LoraTrainer(row, qwen_folder)
        for steps in stops:
            run = make_run(tmp_path / str(at), "qwen-edit", steps=steps, save_every=1, sample_every=0, rank=2)
            run = dataclasses.replace(run, start=angles, origin="angles")
            events = train(trainer, run, lease=host_lease(trainer.plan(run)))
            drawn += [np.asarray(each.image) for each in events if isinstance(each, SampleDrawn)][:1]
        files.append([each for each in events if isinstance(each, CheckpointSaved)][-1].adapter)
    assert np.array_equal(drawn[0], drawn[1])
    whole, stopped = (read_adapter(file)[0] for file in files[1:])
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())


def test_what_does_not_fit_is_refused_when_it_is_planned(
    make_trainer, make_run, angles, qwen_folder, save_lora, tmp_path
) -> None:
    """A higher rank, no layer that is trained, a LoKr, another model, a missing file: each by name."""
    import torch
    from safetensors.torch import save_file

    at = "transformer.transformer_blocks.0.attn.to_q"
    lokr, wide = tmp_path / "lokr.safetensors", tmp_path / "wide.safetensors"
    save_file({f"{at}.lokr_w1": torch.ones(1, 1), f"{at}.lokr_w2": torch.ones(32, 32)}, lokr)
    save_file({f"{at}.lora_A.weight": torch.ones(2, 48), f"{at}.lora_B.weight": torch.ones(48, 2)}, wide)
    mods = save_lora(qwen_folder, tmp_path / "mods.safetensors", MODEL, modules=["img_mod.1"])
    trainer = make_trainer("qwen-edit")
    for file, rank, error, words in (
        (angles, 1, BadInput, r"angles\.safetensors has rank 2, the training 1"),
        (mods, 2, BadInput, "changes none of the layers that are trained"),
        (lokr, 2, BadInput, "is a LoKr"),
        (wide, 2, LoraMismatch, "does not fit"),
    ):
        run = make_run(tmp_path / "run", "qwen-edit", previews=False, rank=rank)
        with pytest.raises(error, match=words):
            trainer.plan(dataclasses.replace(run, start=file, origin="it"))
