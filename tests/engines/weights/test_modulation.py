"""Modulation as a table, against the layers that it stands for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.api.params import EditParams, LoraUse
from engines.api.protocols import EditItem, ModelSpec

pytestmark = pytest.mark.slow

WIDTHS = ("", "nf4", "int8", "fp8")
MODEL = "QwenImageTransformer2DModel"
CHANGED = ("to_q", "img_mod.1", "txt_mod.1", "timestep_embedder.linear_1")


def _row(spec: ModelSpec, width: str = "", table: bool = True) -> ModelSpec:
    options = {**spec.options, **({width: ("transformer",)} if width else {})}
    return replace(spec, options={**options, "modulation": "table"} if table else options)


@pytest.fixture(scope="module")
def older_and_newer(qwen_folder: Path, build_qwen: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Two tiny models, by whether they have `zero_cond_t`."""
    return {True: qwen_folder, False: build_qwen(tmp_path_factory.mktemp("older"), zero_cond_t=False)}


def _inputs(pictures: int) -> tuple[Any, ...]:
    import torch

    from engines.families.qwen_edit import maths as qwen

    numbers = torch.Generator().manual_seed(1)
    target, reference = (torch.randn(pictures, 16, 64, generator=numbers) for _ in range(2))
    embeds = torch.randn(pictures, 5, 64, generator=numbers)
    sigma = torch.rand(pictures, generator=numbers)
    return target, reference, qwen.Conditioning(embeds, None), sigma


def _velocity(transformer: Any, inputs: tuple[Any, ...]) -> Any:
    from engines.families.qwen_edit import maths as qwen

    return qwen.velocity(transformer, *inputs, [(1, 4, 4), (1, 4, 4)])


def _covered(transformer: Any, inputs: tuple[Any, ...]) -> Any:
    from engines.weights import modulation

    sigma = inputs[3]
    modulation.cover(transformer, [(len(sigma), level) for level in sigma.tolist()])
    return transformer


@pytest.mark.parametrize("zero_cond_t", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_equals_the_layers_it_replaces(toy_qwen, older_and_newer, width, zero_cond_t) -> None:
    """The prediction is the plain transformer's to the bit: one picture or many, each at its own noise level."""
    import torch

    from engines.weights import components, modulation

    row, folder = _row(toy_qwen, width), older_and_newer[zero_cond_t]
    plain, tabled = components.load(row, folder, "transformer"), modulation.load(row, folder)
    with torch.no_grad():
        for pictures in (1, 3):
            inputs = _inputs(pictures)
            assert torch.equal(_velocity(_covered(tabled, inputs), inputs), _velocity(plain, inputs))


@pytest.mark.parametrize("form", ["nf4", "int8", "fp8"])
def test_equals_them_from_quantised_files(toy_qwen, qwen_folder, tmp_path, form) -> None:
    """Where the transformer was quantised once and saved, the table is made of what was saved, to the bit."""
    import shutil

    import torch

    from engines.weights import components, modulation

    row, folder, inputs = _row(toy_qwen, form), tmp_path / "model", _inputs(1)
    shutil.copytree(qwen_folder, folder)
    components.write(row, folder, "transformer", form, folder / "transformer")
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with torch.no_grad():
        plain = _velocity(components.load(row, folder, "transformer"), inputs)
        assert torch.equal(_velocity(_covered(modulation.load(row, folder), inputs), inputs), plain)


def test_equals_them_under_autocast(toy_qwen, qwen_folder) -> None:
    """In training's mixed precision, too, the prediction is the plain transformer's to the bit."""
    import torch

    from engines.weights import components, modulation

    plain, tabled = components.load(toy_qwen, qwen_folder, "transformer"), modulation.load(toy_qwen, qwen_folder)
    inputs = _inputs(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(_velocity(_covered(tabled, inputs), inputs), _velocity(plain, inputs))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_lora_learns_the_same(toy_qwen, qwen_folder, width) -> None:
    """On the grid, loss and gradients are the plain transformer's to the bit, with gradient checkpointing."""
    import torch
    from peft import LoraConfig

    from engines.families.qwen_edit.training import QwenEditAdapter
    from engines.weights import components, modulation

    row, numbers = _row(toy_qwen, width), torch.Generator().manual_seed(4)
    batch = {name: torch.randn(2, 16, 8, 8, generator=numbers) for name in ("latents", "reference_0")}
    batch |= {"prompt_embeds": torch.randn(2, 5, 64, generator=numbers)}
    noise, sigma = torch.randn(2, 16, 8, 8, generator=numbers), torch.tensor([0.25, 0.625])
    learned = []
    for transformer in (components.load(row, qwen_folder, "transformer"), modulation.load(row, qwen_folder)):
        torch.manual_seed(0)
        targets = QwenEditAdapter.targets["all"].pattern
        transformer.add_adapter(LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
        transformer.enable_gradient_checkpointing()
        loss = QwenEditAdapter(row, qwen_folder).losses(transformer, batch, noise, sigma, 1.0).mean()
        loss.backward()
        learned.append([loss.detach(), *(w.grad for w in transformer.parameters() if w.grad is not None)])
    assert len(learned[0]) == len(learned[1]) > 40
    assert all(torch.equal(one, other) for one, other in zip(*learned, strict=True))


def test_training_takes_noise_levels_from_the_grid(toy_qwen, qwen_folder) -> None:
    """With a table σ goes to the nearest level, never to 0, that bfloat16 holds exactly; without one it stays."""
    import torch

    from engines.weights import components, modulation

    sigma = torch.tensor([0.0001, 0.5011, 1.0])
    tabled = modulation.load(toy_qwen, qwen_folder)
    on = modulation.on_grid(tabled, sigma)
    held = sum(row.nbytes for row in tabled.modulation._rows.values())
    assert held == modulation.grid_bytes(components.config(qwen_folder, "transformer"), torch.float32)
    assert on.tolist() == [1 / 256, 128 / 256, 1.0]
    assert set(on.tolist()) <= set(modulation.GRID)
    assert torch.equal(torch.tensor(modulation.GRID).bfloat16().float(), torch.tensor(modulation.GRID))
    assert modulation.on_grid(components.load(toy_qwen, qwen_folder, "transformer"), sigma) is sigma


# ── LoRAs that change the layers ────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def changing(older_and_newer: dict[bool, Path], save_lora: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three files that change modulation layers: two LoRAs, and a LoKr of the text's layers alone."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("changing")
    files = [save_lora(older_and_newer[True], folder / f"{seed}.safetensors", MODEL, seed=seed, modules=CHANGED)
             for seed in (3, 4)]  # fmt: skip
    numbers = torch.Generator().manual_seed(6)
    at = "transformer.transformer_blocks.1.txt_mod.1.lokr_w"
    lokr = {f"{at}1": torch.randn(6, 1, generator=numbers), f"{at}2": torch.randn(32, 32, generator=numbers) / 20}
    save_file(lokr, folder / "lokr.safetensors")
    return [*files, folder / "lokr.safetensors"]


@pytest.mark.parametrize("zero_cond_t", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_equals_the_layers_with_loras_on(toy_qwen, older_and_newer, changing, width, zero_cond_t) -> None:
    """With each stack on, at each strength, and with none again, the prediction is the plain layers' to the bit."""
    import torch

    from engines.drawing.lora_files import attached
    from engines.weights import components, modulation

    row, folder, inputs = _row(toy_qwen, width), older_and_newer[zero_cond_t], _inputs(2)
    plain, tabled = components.load(row, folder, "transformer"), modulation.load(row, folder)
    one, other, lokr = (LoraUse(file=str(file), for_this_model=True) for file in changing)
    stacks = [[one], [replace(one, weight=0.5)], [other, replace(one, weight=-0.3)], [one, lokr], [], [one]]
    seen = []
    with torch.no_grad():
        for stack in stacks:
            with attached(plain, stack, "qwen-edit"), attached(tabled, stack, "qwen-edit"):
                seen.append(_velocity(_covered(tabled, inputs), inputs))
                assert torch.equal(seen[-1], _velocity(plain, inputs))
    assert torch.equal(seen[0], seen[5])
    assert not any(torch.equal(seen[0], each) for each in seen[1:5])


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
@pytest.mark.parametrize("zero_cond_t", [True, False])
def test_a_lora_learns_the_same_beside_them(toy_qwen, older_and_newer, changing, zero_cond_t) -> None:
    """A training beside a frozen LoRA on modulation has the plain layers' loss and gradients to the bit, in mixed
    precision and with all LoRAs switched off too."""
    import torch
    from peft import LoraConfig

    from engines.drawing.lora_files import attach
    from engines.families.qwen_edit.training import QwenEditAdapter
    from engines.weights import components, modulation

    folder, numbers = older_and_newer[zero_cond_t], torch.Generator().manual_seed(4)
    row = replace(toy_qwen, dtype="bfloat16")
    batch = {name: torch.randn(2, 16, 8, 8, generator=numbers) for name in ("latents", "reference_0")}
    batch |= {"prompt_embeds": torch.randn(2, 5, 64, generator=numbers)}
    batch = {name: value.bfloat16() for name, value in batch.items()}
    noise, sigma = torch.randn(2, 16, 8, 8, generator=numbers).bfloat16(), torch.tensor([0.25, 0.625])
    family, learned = QwenEditAdapter(row, folder), []
    for transformer in (components.load(row, folder, "transformer"), modulation.load(row, folder)):
        attach(transformer, [LoraUse(file=str(changing[0]))], "qwen-edit")
        torch.manual_seed(0)
        targets = QwenEditAdapter.targets["attention"].pattern
        transformer.add_adapter(LoraConfig(r=2, target_modules=targets, init_lora_weights=False), "own")
        transformer.set_adapters(["stack_0", "own"])
        own = [weight for name, weight in transformer.named_parameters() if ".own." in name]
        for name, weight in transformer.named_parameters():
            weight.requires_grad_(".own." in name)
        transformer.enable_gradient_checkpointing()
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                transformer.disable_adapters()
                bare = family.predict(transformer, batch, noise, sigma, 1.0)
                transformer.enable_adapters()
            loss = family.losses(transformer, batch, noise, sigma, 1.0).mean()
        loss.backward()
        learned.append([bare, loss.detach(), *(weight.grad for weight in own if weight.grad is not None)])
    assert len(learned[0]) == len(learned[1]) > 20
    assert all(torch.equal(one, other) for one, other in zip(*learned, strict=True))


def test_a_stack_has_rows_of_its_own(toy_qwen, qwen_folder, changing) -> None:
    """Its table is computed once, not again when it is attached again; a forward pass before that is an error."""
    import torch

    from engines.drawing.lora_files import attached
    from engines.weights import components, modulation

    plain, read = components.load(toy_qwen, qwen_folder, "transformer"), []
    layers = dict(plain.named_modules())

    def reading(path: str, device: Any) -> Any:
        read.append(path)
        return layers[path].to(device)

    tabled, inputs = modulation.tabled(components.load(toy_qwen, qwen_folder, "transformer"), reading), _inputs(1)
    one, other = (LoraUse(file=str(file)) for file in changing[:2])
    _covered(tabled, inputs)
    for stack, reads in (([one], 2), ([one], 2), ([replace(one, weight=0.5)], 3), ([one], 3), ([other], 4), ([], 4)):
        with attached(tabled, stack, "qwen-edit"), torch.no_grad():
            if stack:
                with pytest.raises(LookupError, match="not asked to cover"):
                    _velocity(tabled, inputs)
            _velocity(_covered(tabled, inputs), inputs)
        assert len(read) == 4 * reads  # two blocks of two layers
    assert not [name for name, _ in plain.named_parameters() if "lora" in name]


def test_stacks_come_and_go_without_a_trace(toy_qwen, qwen_folder, changing) -> None:
    """Five stacks taken in turn fifty times leave the weights, the modules and the table's size as after one turn.

    The 250 changes take seconds: fewer would not show a slow growth.
    """
    import torch

    from engines.drawing.lora_files import AdapterFiles, attached
    from engines.weights import modulation

    tabled, inputs, read = modulation.load(toy_qwen, qwen_folder), _inputs(1), AdapterFiles()
    one, other, lokr = (LoraUse(file=str(file), for_this_model=True) for file in changing)
    stacks = [[one], [other], [one, other], [lokr, one], []]
    before = {name: weight.clone() for name, weight in tabled.state_dict().items()}
    sizes = []
    for _ in range(50):
        for stack in stacks:
            with attached(tabled, stack, "qwen-edit", read):
                _covered(tabled, inputs)
        sizes.append((modulation.table_bytes(tabled), len(tabled.modulation._stacks), sum(1 for _ in tabled.modules())))
    after = tabled.state_dict()
    assert len(set(sizes)) == 1
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


# ── what it takes, and when it is made ──────────────────────────────────────────────────────────


def test_the_layers_are_not_in_memory(toy_qwen, qwen_folder) -> None:
    """The component's bytes are those of the weights that are left; no modulation weight is among them."""
    from engines.weights import components, modulation

    part = modulation.component(_row(toy_qwen), qwen_folder)
    module = part.load()
    assert part.key == "tiny-qwen-edit+table/transformer"
    assert part.bytes == sum(weight.nbytes for weight in module.parameters())
    assert part.bytes < components.component(toy_qwen, qwen_folder, "transformer").bytes
    assert not [name for name, _ in module.named_parameters() if "_mod" in name]


@pytest.mark.parametrize(("form", "whole", "left"), [("nf4", 9.9, 6.6), ("int8", 19.1, 12.7), ("bf16", 38.1, 25.4)])
def test_the_real_models_sizes(form, whole, left) -> None:
    """Counted on meta tensors of Qwen-Image-Edit-2511's configuration, in GiB: what leaves is what the plan deducts."""
    import torch
    from diffusers import QwenImageTransformer2DModel

    from engines.weights import modulation
    from engines.weights.quantise import model_bytes, skeleton

    with torch.device("meta"):
        model = skeleton(QwenImageTransformer2DModel(zero_cond_t=True), form, torch.bfloat16)
    before = model_bytes(model, form, torch.bfloat16)
    after = model_bytes(modulation.tabled(model, lambda path, device: model), form, torch.bfloat16)
    assert (round(before / 2**30, 1), round(after / 2**30, 1)) == (whole, left)
    assert before - after == modulation.layer_bytes(model.config, form, torch.bfloat16)


def test_layers_are_read_when_a_schedule_changes(toy_qwen, qwen_folder) -> None:
    """Once for a schedule, not at all for one that is known, once more for another; each layer is dropped at once."""
    from engines.weights import components, modulation

    plain = components.load(toy_qwen, qwen_folder, "transformer")
    layers, read = dict(plain.named_modules()), []

    def reading(path: str, device: Any) -> Any:
        read.append(path)
        return layers[path].to(device)

    tabled = modulation.tabled(components.load(toy_qwen, qwen_folder, "transformer"), reading)
    once = [f"transformer_blocks.{index}.{name}" for index in (0, 1) for name in ("img_mod", "txt_mod")]
    for calls, reads in (([(1, 1.0), (1, 0.5)], 1), ([(1, 0.5)], 1), ([(1, 0.25)], 2), ([(2, 0.25)], 3)):
        modulation.cover(tabled, calls)
        assert read == once * reads


def test_an_uncovered_noise_level_is_an_error(toy_qwen, qwen_folder) -> None:
    """A row that was never computed is never made up."""
    from engines.weights import modulation

    inputs = _inputs(1)
    with pytest.raises(LookupError, match="not asked to cover"):
        _velocity(modulation.load(toy_qwen, qwen_folder), inputs)


# ── in the engine ───────────────────────────────────────────────────────────────────────────────


def _edits(spec: ModelSpec, folder: Path, host_lease: Any, steps: Any, **changes: Any) -> tuple[list[Any], Any]:
    from engines.families.qwen_edit.engine import QwenEdit

    numbers = np.random.default_rng(5)
    items = [
        EditItem(
            Image.fromarray(numbers.integers(0, 256, size, dtype=np.uint8)),
            EditParams(instruction="smiling person", steps=2 + index % 2, seed=index).replace(**changes),
        )
        for index, size in enumerate([(64, 64, 3), (64, 64, 3), (64, 64, 3), (32, 128, 3)])
    ]
    engine = QwenEdit(spec, folder)
    lease = host_lease(engine.plan(items))
    return [np.asarray(picture) for picture in engine.edit(items, lease, steps)], lease


@pytest.mark.parametrize("true_cfg", [1.0, 3.0])
@pytest.mark.parametrize("zero_cond_t", [True, False])
def test_edits_are_the_same(toy_qwen, older_and_newer, host_lease, steps, zero_cond_t, true_cfg) -> None:
    """Edits of two shapes and two schedules, batched, guided or not, are the plain path's to the bit."""
    folder = older_and_newer[zero_cond_t]
    with_table, lease = _edits(_row(toy_qwen), folder, host_lease, steps, true_cfg=true_cfg)
    without, _ = _edits(toy_qwen, folder, host_lease, steps, true_cfg=true_cfg)
    assert [picture.shape for picture in with_table] == [(64, 64, 3)] * 3 + [(32, 128, 3)]
    assert all(np.array_equal(one, other) for one, other in zip(with_table, without, strict=True))
    assert not [name for name, _ in lease.part("transformer").named_parameters() if "_mod" in name]


def test_an_edit_with_a_lora_on_modulation_is_the_same(
    toy_qwen, qwen_folder, host_lease, steps, save_lora, tmp_path
) -> None:
    """Such a LoRA acts in full without its layers on the card: the edit is the plain path's to the bit."""
    from engines.families.qwen_edit.engine import QwenEdit

    stack = (LoraUse(file=str(save_lora(qwen_folder, tmp_path / "mod.safetensors", MODEL, modules=CHANGED))),)
    with_table, lease = _edits(_row(toy_qwen), qwen_folder, host_lease, steps, loras=stack)
    without, _ = _edits(toy_qwen, qwen_folder, host_lease, steps, loras=stack)
    bare, _ = _edits(toy_qwen, qwen_folder, host_lease, steps)
    assert all(np.array_equal(one, other) for one, other in zip(with_table, without, strict=True))
    assert not np.array_equal(with_table[0], bare[0])
    assert not [name for name, _ in lease.part("transformer").named_parameters() if "_mod" in name]
    item = EditItem(Image.new("RGB", (64, 64)), EditParams(instruction="smiling person", steps=2))
    plans = [QwenEdit(_row(toy_qwen), qwen_folder).plan([replace(item, params=item.params.replace(loras=loras))])
             for loras in (stack, ())]  # fmt: skip
    assert plans[0].stages[1].components[0].bytes == plans[1].stages[1].components[0].bytes


def test_other_loras_find_their_layers(toy_qwen, qwen_folder, save_lora, tmp_path) -> None:
    """Layers keep their names, the last norm's too, so that a LoRA of attention and norm acts as on the plain model."""
    import torch

    from engines.drawing.lora_files import attached
    from engines.weights import components, modulation

    file = save_lora(
        qwen_folder, tmp_path / "norm.safetensors", "QwenImageTransformer2DModel", modules=["to_q", "norm_out.linear"]
    )
    plain, tabled = components.load(toy_qwen, qwen_folder, "transformer"), modulation.load(toy_qwen, qwen_folder)
    inputs, use = _inputs(1), [LoraUse(file=str(file))]
    with torch.no_grad(), attached(plain, use, "qwen-edit"), attached(_covered(tabled, inputs), use, "qwen-edit"):
        assert torch.equal(_velocity(tabled, inputs), _velocity(plain, inputs))


def test_training_leases_the_table(toy_qwen, qwen_folder) -> None:
    """A row with a table is trained without the layers in memory; a row without one is trained as ever."""
    from engines.families.qwen_edit.training import QwenEditAdapter

    keys = [
        [part.key for part in QwenEditAdapter(row, qwen_folder).components(("transformer", "vae"))]
        for row in (_row(toy_qwen), toy_qwen)
    ]
    assert keys == [
        ["tiny-qwen-edit+table/transformer", "tiny-qwen-edit/vae"],
        ["tiny-qwen-edit/transformer", "tiny-qwen-edit/vae"],
    ]


def test_the_rows_are_in_the_hosts_budget(toy_qwen, qwen_folder, steps) -> None:
    """Where RAM has room for the weights alone, the rows cost a master its place; where they fit as well, none."""
    from engines.fake import FakeCard
    from engines.families.qwen_edit.engine import QwenEdit
    from studio.gpu.manager import GpuManager

    engine = QwenEdit(_row(toy_qwen), qwen_folder)
    items = [EditItem(Image.new("RGB", (64, 64), "teal"), EditParams(instruction="smiling person", steps=2))]
    plan = engine.plan(items)
    (transformer,) = plan.stages[1].components

    def run(host_bytes: int) -> tuple[FakeCard, int, int]:
        card = FakeCard(1 << 30)
        gpu = GpuManager(card, 1 << 30, {}, reserve_bytes=0, host_bytes=host_bytes)
        with gpu.lease(plan) as lease:
            list(QwenEdit(engine.spec, qwen_folder).edit(items, lease, steps))
            with lease.stage("denoise") as parts:
                rows = transformer.beside(parts["transformer"])
        return card, rows, len(gpu.status().masters)

    card, rows, masters = run(1 << 40)
    assert rows == 6 * 2 * 2 * 32 * 4 * 3  # sixfold, two layers, two blocks, width, float32; two steps and 0
    assert masters == 3
    assert run(card.held + rows)[2] == 3
    assert run(card.held)[2] == 2
