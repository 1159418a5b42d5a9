"""Tests what the flywheels depend on: a LoRA learns an unknown person, and the editor follows instructions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.api.params import EditParams, GenerateParams, LoraUse, TrainParams
from engines.api.protocols import EditItem, TrainItem, TrainRun
from engines.catalogue.registry import Registry
from engines.mini import world
from engines.mini.dataset import Pair, edit_pair, held_out_scene, train_scene
from engines.mini.oracle import Oracle
from engines.wording import drawn as vocab
from studio.judging.statistics import bootstrap

pytestmark = pytest.mark.slow
ASSETS = Path(__file__).parents[3] / "assets"
STRANGER = 77
EDITS_A_TASK = 8


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    """Loads the oracle, which neither trains nor filters anything."""
    return Oracle.load(ASSETS / "mini" / "oracle")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Returns the shipped models and no others."""
    return Registry(ASSETS, tmp_path_factory.mktemp("models"))


def _likeness(oracle: Oracle, pictures: list[Image.Image], originals: list[Image.Image]) -> np.ndarray:
    near = oracle.embed(pictures) @ oracle.embed(originals).T
    near.sort(axis=1)
    return near[:, -3:].mean(axis=1)


def test_a_lora_learns_a_person_nobody_has_seen(
    oracle: Oracle, registry: Registry, host_lease: Any, steps: Any, tmp_path: Path
) -> None:
    """Trained on twelve pictures of a held-out person, it draws that person more closely at the same seeds."""
    scenes = world.sample_scenes(STRANGER)
    originals = [world.draw(scene) for scene in scenes]
    items = []
    for index, (scene, picture) in enumerate(zip(scenes, originals, strict=True)):
        picture.save(tmp_path / f"{index}.png")
        items.append(TrainItem(tmp_path / f"{index}.png", world.caption(scene, "ohwx")))
    spec = registry.spec("mini-flux")
    knobs = spec.params(TrainParams, steps=120, batch_size=8, save_every=0, sample_every=0)
    run = TrainRun(tmp_path / "run", tuple(items), knobs, trigger="ohwx")
    trainer = registry.trainer(spec.name)
    adapter = list(trainer.train(run, host_lease(trainer.plan(run)), steps))[-1].adapter

    asked = [held_out_scene(300_000 + i, framing=("head", "bust")[i % 2]) for i in range(24)]
    bare = [spec.params(GenerateParams, prompt=world.caption(scene, "ohwx"), seed=i) for i, scene in enumerate(asked)]
    taught = [item.replace(loras=(LoraUse(file=str(adapter)),)) for item in bare]
    engine = registry.engine(spec.name)
    drawn = [list(engine.generate(prompts, host_lease(engine.plan(prompts)), steps)) for prompts in (bare, taught)]
    before, after = (_likeness(oracle, pictures, originals) for pictures in drawn)

    margin, low, _ = bootstrap((after - before).tolist())
    assert low > 0.05, (margin, low)


@pytest.mark.parametrize(("few_steps", "least"), [(False, 0.85), (True, 0.8)])
def test_the_editor_does_as_told_and_keeps_the_person(
    few_steps: bool, least: float, oracle: Oracle, registry: Registry, host_lease: Any, steps: Any
) -> None:
    """On held-out people most edits are done, fewer with few steps, and most keep the person."""
    pairs, tasks = [], []
    for task in vocab.TASKS:
        for i in range(EDITS_A_TASK):
            framing = "full body" if task == "pose" else ("head", "bust")[i % 2]
            scene = held_out_scene(310_000 + i * 8, framing=framing)
            pairs.append(edit_pair(scene, f"mission {task} {i}", task))
            tasks.append(task)
    spec = registry.spec("mini-qwen-edit")
    sources = [world.draw(pair.before) for pair in pairs]
    items = [
        EditItem(source, spec.params(EditParams, instruction=pair.instruction, seed=i, few_steps=few_steps))
        for i, (pair, source) in enumerate(zip(pairs, sources, strict=True))
    ]
    engine = registry.engine(spec.name)
    results = list(engine.edit(items, host_lease(engine.plan(items)), steps))

    done: dict[str, list[bool]] = {task: [] for task in vocab.TASKS}
    for pair, task, reading in zip(pairs, tasks, oracle.read(results), strict=True):
        name = vocab.TASK_ATTRIBUTE[task]
        assert getattr(pair.before, name) != getattr(pair.after, name)
        done[task].append(reading[name][0] == getattr(pair.after, name))
    shares = {task: float(np.mean(hits)) for task, hits in done.items()}
    kept = (np.sum(oracle.embed(sources) * oracle.embed(results), axis=1) >= oracle.threshold).mean()
    assert np.mean(list(shares.values())) >= least, shares
    assert min(shares.values()) > 0.25, shares
    assert kept >= 0.6, kept


def _poses(first: int, count: int, scene: Callable[[int], world.Scene]) -> list[Pair]:
    """Returns edits of the pose, which the editor does worst, each of another person."""
    shown = (replace(scene(first + 8 * i), framing="full body") for i in range(count))
    return [edit_pair(each, f"pose {first} {i}", "pose") for i, each in enumerate(shown)]


def _seams(pictures: list[Image.Image]) -> float:
    """Returns the change across the borders of the transformer's tokens relative to that elsewhere, as a mean."""
    change = np.abs(np.diff([np.asarray(picture, dtype=float) for picture in pictures], axis=2)).mean(axis=(1, 3))
    border = np.arange(1, change.shape[1] + 1) % (pictures[0].width // 8) == 0
    return float((change[:, border].mean(axis=1) / change[:, ~border].mean(axis=1)).mean())


def test_an_editors_lora_acts_in_few_steps_too(registry: Registry, host_lease: Any, steps: Any, tmp_path: Path) -> None:
    """With the few-step adapter its drafts come nearer to the truth, with no more of a grid than all steps draw."""
    items = []
    for i, pair in enumerate(_poses(900_000, 48, train_scene)):
        files = tmp_path / f"{i}-before.png", tmp_path / f"{i}-after.png"
        for file, scene in zip(files, (pair.before, pair.after), strict=True):
            world.draw(scene).save(file)
        items.append(TrainItem(files[1], pair.instruction, (files[0],)))
    spec = registry.spec("mini-qwen-edit")
    knobs = spec.params(TrainParams, steps=80, batch_size=8, learning_rate=1e-3, save_every=0, sample_every=0)
    run, trainer = TrainRun(tmp_path / "run", tuple(items), knobs), registry.trainer(spec.name)
    adapter = list(trainer.train(run, host_lease(trainer.plan(run)), steps))[-1].adapter

    asked = _poses(320_000, 24, held_out_scene)
    engine = registry.engine(spec.name)

    def edited(*loras: LoraUse, few_steps: bool) -> list[Image.Image]:
        knobs = [
            spec.params(EditParams, instruction=pair.instruction, seed=i, few_steps=few_steps, loras=loras)
            for i, pair in enumerate(asked)
        ]
        some = [EditItem(world.draw(pair.before), each) for pair, each in zip(asked, knobs, strict=True)]
        return list(engine.edit(some, host_lease(engine.plan(some)), steps))

    taught = LoraUse(file=str(adapter))
    before, after = edited(few_steps=True), edited(taught, few_steps=True)

    truth = [world.draw(pair.after) for pair in asked]
    drawn = np.asarray([np.stack(pictures) for pictures in (before, after, truth)], dtype=float)
    one, other = np.abs(drawn[:2] - drawn[2]).mean(axis=(2, 3, 4))
    _, low, _ = bootstrap((one - other).tolist())
    assert low > 0, (one.mean(), other.mean())
    assert _seams(after) < 1.1 * _seams(edited(taught, few_steps=False))
