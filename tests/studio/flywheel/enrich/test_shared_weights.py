"""A generator that edits: Enrich with FLUX.2 [klein]'s own row and engines, over tiny random weights on a real disk."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.api.errors import BadInput, ModelMissing
from engines.api.params import EditParams, GenerateParams, TrainParams
from engines.catalogue.models import MODELS
from engines.catalogue.registry import Registry
from engines.fake import FAKE_MODELS
from engines.wording.klein import KLEIN
from studio.flywheel import generate
from studio.flywheel.curate import captions
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.refine import editor as refine
from studio.open import open_workplace
from studio.records.image import Kind
from studio.records.job import Job, JobState
from studio.records.payload import PlanRow
from studio.settings import Settings
from studio.workplace.desk import Workplace
from tests.engines.families.flux2 import tiny

pytestmark = pytest.mark.slow

ROW = next(spec for spec in MODELS if spec.name == "FLUX.2-klein-4B")
TINY = dataclasses.replace(
    ROW, name="tiny-klein", label="tiny-klein", source="assets:klein", dtype="float32", size=(64, 64),
    component_bytes={}, options={"text_tokens": 96, "reference_area": 64 * 64, "pictures": 4},
)  # fmt: skip


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of assets with the tiny klein, as its makers lay a model out."""
    folder = tmp_path_factory.mktemp("assets")
    tiny.build(folder / "klein")
    return folder


@pytest.fixture
def studio(tmp_path: Path, assets: Path) -> Iterator[Workplace]:
    """A studio on this machine's CPU whose registry has the tiny klein beside the fakes."""
    settings = Settings(data_root=tmp_path / "home", assets=assets, device="cpu", models_dir=tmp_path / "models")
    with open_workplace(settings, registry=Registry(assets, settings.models_dir, (TINY, *FAKE_MODELS))) as made:
        made.jobs.start()
        yield made


def ended(studio: Workplace, job: Job) -> Job:
    """Waits for the end of a job, which must be done."""
    while (job := studio.jobs.get(job.id)).state in (JobState.QUEUED, JobState.RUNNING):
        time.sleep(0.005)
    assert job.state is JobState.DONE, job.error
    return job


def lora(file: Path) -> Path:
    """Writes a random LoRA of the tiny klein's attention, as trainers write one for klein."""
    import torch
    from safetensors.torch import save_file

    numbers, layer = torch.Generator().manual_seed(2), "transformer.transformer_blocks.0.attn.to_q"
    shapes = {f"{layer}.lora_A.weight": (4, 64), f"{layer}.lora_B.weight": (64, 4)}
    save_file(
        {name: torch.randn(shape, generator=numbers) for name, shape in shapes.items()},
        file,
        {"modelspec.architecture": ROW.lora.architecture},
    )
    return file


def test_one_download_draws_and_edits(studio: Workplace, tmp_path: Path) -> None:
    """Plan, queue and pictures: klein's words, 4 steps, a second picture, a LoRA; its weights are loaded once."""
    character = studio.library.create("Mira", generator=TINY.name, editor=TINY.name, scorer="fake-identity")
    desk, store = studio.desk(character.id), studio.store(character.id)
    waves = np.add.outer(np.arange(48), 2 * np.arange(80)) * 2 % 256
    shots = [Image.fromarray(np.stack([waves, waves.T.copy().reshape(48, 80), 255 - waves], -1).astype(np.uint8))]
    shots.append(Image.fromarray(255 - np.asarray(shots[0])[:, :64]))
    source, other = (store.add_image(shot, kind=Kind.SOURCE, caption="ohwx person").id for shot in shots)

    plan = enrich.plan(desk, [source], ["outfit"], limit=1)
    assert plan.fit.ok and plan.model == TINY.name
    (row,) = plan.rows
    assert row.params["instruction"] in [edit.words for edit in KLEIN.edit_tasks()]
    assert (row.params["steps"], row.params["true_cfg"], row.params["negative"]) == (4, 1.0, "")
    with_lora = {**row.params, "loras": [{"file": str(lora(tmp_path / "own.safetensors")), "weight": 1.0}]}
    rows = [row, row.replace(references=(other,)), row.replace(params=with_lora)]
    done = ended(studio, enrich.submit(desk, rows))

    images = [store.images.get(each) for each in done.artifacts.images or ()]
    assert [(each.parent, each.references, each.model) for each in images] == [
        (source, references, TINY.name) for references in ((), (other,), ())
    ]
    pictures = [np.asarray(store.open_image(each.id)) for each in images]
    assert {each.shape for each in pictures} == {(48, 80, 3)}  # the source's own, where it is small
    assert all(np.abs(each.astype(int) - pictures[0]).max() > 0 for each in pictures[1:])

    loaded = studio.gpu.status().residents
    assert {key for key, _ in loaded} == {f"{TINY.name}/{part}" for part in ("text_encoder", "transformer", "vae")}
    scene = TINY.worded(GenerateParams, "ohwx person in the forest", width=64, height=64)
    ended(studio, generate.submit(desk, [scene]))
    assert sorted(studio.gpu.status().residents) == sorted(loaded)


def test_what_it_cannot_do_is_said(studio: Workplace, tmp_path: Path) -> None:
    """Another editor captions for it; training it to edit, and too many pictures, are refused in words."""
    character = studio.library.create("Mira", generator=TINY.name, editor=TINY.name, scorer="fake-identity")
    desk, store = studio.desk(character.id), studio.store(character.id)
    shot = store.add_image(Image.new("RGB", (64, 64), (200, 90, 40)), kind=Kind.SOURCE).id
    assert captions.submit_caption(desk, [shot]).payload["model"] == "fake-edit"
    assert studio.registry.first()["editor"] == "fake-edit"
    assert [spec.name for spec in studio.registry.role("editor")] == ["fake-edit", TINY.name]

    with pytest.raises(BadInput, match="tiny-klein edits, and cannot be trained for it") as refused:
        refine.submit(desk, TrainParams(), model=TINY.name)
    assert refused.value.hint == "Choose one of: fake-edit."
    row = PlanRow(source=shot, params=TINY.worded(EditParams, "smile").to_json(), references=(shot,) * 4)
    with pytest.raises(BadInput, match="takes 4 pictures, and an edit has 5"):
        enrich.submit(desk, [row])
    assert [job.kind for job in studio.jobs.list()] == ["caption"]

    alone = Registry(tmp_path, tmp_path, (TINY,))
    settings = dataclasses.replace(studio.settings, data_root=tmp_path / "bare")
    missing = pytest.raises(ModelMissing, match="its text encoder reads words alone")
    with open_workplace(settings, registry=alone) as bare, missing:
        bare.captioner_of(TINY.name)
