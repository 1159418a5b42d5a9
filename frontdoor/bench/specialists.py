"""Whether each LoRA that ships with the embedded editor is better at its kind of edit than the editor alone.

Two hundred edits of each kind, of 25 drawn people whom no model has seen, go through the engine as drafts (four steps,
with the few-step adapter), with the same words and seeds for every contestant.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from engines.api.params import EditParams, LoraUse
from engines.api.protocols import EditItem
from engines.mini import world
from engines.mini.dataset import PICTURES_PER_PERSON, Pair, edit_pair, held_out_scene
from engines.mini.oracle import Oracle
from engines.mini.specialists import SPECIALISTS, Specialist, in_own_words
from engines.wording import drawn as vocab
from frontdoor.bench import progress
from frontdoor.bench.rows import Row
from frontdoor.machine import cores
from frontdoor.studio import open_studio
from studio.judging.statistics import mcnemar, wilson
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Workplace

MODEL, ALONE = "mini-qwen-edit", "the editor alone"
FIRST, PEOPLE = 600_000, 25
SURE, DONE, LOST = 0.05, 0.9, 0.2
Hits = NDArray[np.bool_]  # of each edit


@dataclass(frozen=True)
class Outcome:
    """Holds what became of a contestant's edits: whether each was done, kept the person, and left all else unchanged.

    `right`: all three of them.
    """

    done: Hits
    kept: Hits
    right: Hits


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures every LoRA that ships with the embedded editor at its own kind of edit; returns the report's rows.

    The kinds of edit run at the same time, one on each CPU core. `options` is not used.
    """
    del options
    tasks = dict.fromkeys(own.task for own in SPECIALISTS.values())
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        return [row for rows in pool.map(contest, tasks) for row in rows]


def contest(task: str) -> list[Row]:
    """Measures the editor alone and its LoRAs of a kind of edit on the same asks, on one CPU thread; returns rows."""
    torch.set_num_threads(1)
    contestants = [own for own in SPECIALISTS.values() if own.task == task]
    with tempfile.TemporaryDirectory() as folder, closing(open_studio(Path(folder) / "home")) as workplace:
        oracle = Oracle.load(workplace.settings.assets / "mini" / "oracle")
        pairs = asks(contestants[0])
        found = {
            name: judged(oracle, pairs, edited(workplace, pairs, name))
            for name in (ALONE, *(own.name for own in contestants))
        }
    rows = [row for name in found for row in shares(f"{task}, {name}", found[name])]
    return rows + [row for own in contestants for row in verdict(own, found[own.name], found[ALONE])]


def asks(own: Specialist, people: int = PEOPLE) -> list[Pair]:
    """Returns edits of a specialist's kind, eight of each of `people` held-out people, in its framings and words."""
    scenes = (
        held_out_scene(FIRST + number, framing=own.framings[number % len(own.framings)])
        for number in range(people * PICTURES_PER_PERSON)
    )
    pairs = (edit_pair(scene, f"asked {own.task} {number}", own.task) for number, scene in enumerate(scenes))
    return [in_own_words(own, pair) for pair in pairs]


def edited(workplace: Workplace, pairs: Sequence[Pair], lora: str, few_steps: bool = True) -> list[Image.Image]:
    """Makes the edits with a LoRA of the library, or `ALONE` without one, as drafts or in all the editor's steps."""
    spec, engine = workplace.registry.spec(MODEL), workplace.engine(MODEL)
    uses = () if lora == ALONE else (LoraUse(file=str(LoraLibrary(workplace.library).path(lora))),)
    items = [
        EditItem(
            world.draw(pair.before),
            spec.params(EditParams, instruction=pair.instruction, seed=number, loras=uses, few_steps=few_steps),
        )
        for number, pair in enumerate(pairs)
    ]
    with workplace.gpu.lease(engine.plan(items)) as lease:
        return list(engine.edit(items, lease, progress.ignore))


def judged(oracle: Oracle, pairs: Sequence[Pair], results: Sequence[Image.Image]) -> Outcome:
    """Reads the attributes of each result and recognises the person in it; returns what became of the edits."""
    sources = [world.draw(pair.before) for pair in pairs]
    kept = (oracle.embed(sources) * oracle.embed(list(results))).sum(axis=1) >= oracle.threshold
    done, rest = [], []
    for pair, reading in zip(pairs, oracle.read(list(results)), strict=True):
        as_told = {name for name in vocab.SCENE_VALUES if reading[name][0] == getattr(pair.after, name)}
        done.append(vocab.TASK_ATTRIBUTE[pair.tasks[0]] in as_told)
        rest.append(as_told == set(vocab.SCENE_VALUES))
    return Outcome(np.array(done), kept, np.array(rest) & kept)


def shares(name: str, found: Outcome) -> Iterator[Row]:
    """Yields rows with the shares of edits that were done, kept the person, and were right, each with its interval."""
    parts: Mapping[str, Hits] = {"done": found.done, "person kept": found.kept, "right": found.right}
    for what, hits in parts.items():
        low, high = wilson(int(hits.sum()), len(hits))
        yield Row(name=f"{name}: {what}", value=float(hits.mean()), unit="", peer=f"95 %: {low:.3f} to {high:.3f}")


def verdict(own: Specialist, found: Outcome, alone: Outcome) -> Iterator[Row]:
    """Yields rows with goals: a specialist is right more often than the editor alone, or it loses the person."""
    if own.loses:
        done, kept = float(found.done.mean()), float(found.kept.mean())
        yield Row(name=f"{own.name}: done", value=done, unit="", goal=f"≥ {DONE:g}", ok=done >= DONE)
        yield Row(name=f"{own.name}: person kept", value=kept, unit="", goal=f"≤ {LOST:g}", ok=kept <= LOST)
        return
    better, worse = int((found.right & ~alone.right).sum()), int((alone.right & ~found.right).sum())
    gain, p = (better - worse) / len(found.right), mcnemar(better, worse)
    yield Row(
        name=f"{own.name}: right more often than alone",
        value=gain,
        unit="",
        peer=f"{better} against {worse}, p = {p:.2g}",
        goal=f"> 0, p < {SURE:g}",
        ok=gain > 0 and p < SURE,
    )
