"""The quality and speed of the embedded models: through the engines, at the defaults, on people held out."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from engines.api.params import EditParams, GenerateParams, LoraUse, Params, TrainParams
from engines.api.protocols import CheckpointSaved, EditItem, Editor, Generator, TrainItem, TrainRun
from engines.mini import measure, world
from engines.mini.dataset import edit_pair, held_out_scene
from engines.mini.oracle import Oracle
from engines.wording import drawn as vocab
from frontdoor.bench import progress
from frontdoor.bench.rows import Row
from frontdoor.studio import open_studio
from studio.judging.statistics import median
from studio.workplace.desk import Workplace

CAPTIONS = 200
FIRST = 150_000  # the first scene of the people that the drawings show; weights were chosen by none of them
EDITS_A_TASK = 24
STRANGERS = (77, 78, 79)
SIZE_MB, PSNR_DB, AUC = 60, 30, 0.99
OBEYED = {"angle": 0.95, "expression": 0.90, "background": 0.97, "outfit": 0.95}
DONE, KEPT, CAPTIONED = 0.85, (0.70, 0.90), 0.95
LIKENESS, STILL_OBEYED = 0.80, 0.85
ALONE, THREADS = 9, 2
SECONDS = {"generate": 0.8, "edit": 1.5, "few-step edit": 0.5}


T = TypeVar("T")
P = TypeVar("P", bound=Params)


def measure_family(options: argparse.Namespace) -> list[Row]:
    """Measures the quality and speed of the small embedded models; returns report rows with their goals.

    These models ship with the project and draw people at 64 × 64 pixels. `options` is not used.
    """
    with tempfile.TemporaryDirectory() as folder, closing(open_studio(Path(folder) / "home")) as workplace:
        bench = Workbench(workplace, Path(folder))
        return [
            *bench.weights(),
            *bench.encoders(),
            *bench.generator(),
            *bench.editor(),
            *bench.few_steps(),
            *bench.captioner(),
            *bench.character_lora(),
        ]


@dataclass(frozen=True)
class EditFigures:
    """Holds two shares, 0…1, of one task's edits: those done as asked, and those that kept the person's identity."""

    done: float
    kept: float


@dataclass(frozen=True)
class Workbench:
    """Measures the small models that ship with the project; each method that yields report rows measures one of them.

    `workplace` runs these models, and `folder` is where the LoRAs are written that the measurements train.
    """

    workplace: Workplace
    folder: Path

    @cached_property
    def assets(self) -> Path:
        """Returns the folder of the embedded models' weights."""
        return self.workplace.settings.assets / "mini"

    @cached_property
    def oracle(self) -> Oracle:
        """Returns the two nets that judge pictures: one reads their attributes, the other embeds who the person is."""
        return Oracle.load(self.assets / "oracle")

    def weights(self) -> Iterator[Row]:
        """Yields report rows with the size of all weights in MB, and the PSNR in dB of each VAE's reconstructions."""
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage

        from engines.mini import export, train_vae

        yield at_most("size of all weights", export.size_mb(self.assets), SIZE_MB, "MB")
        unseen = measure.Unseen.draw(256, FIRST).pictures
        for name, kind in (("flux", AutoencoderKL), ("qwen_edit", AutoencoderKLQwenImage)):
            vae = kind.from_pretrained(self.assets / name / "vae", torch_dtype=torch.float32).eval()
            yield at_least(f"{name} VAE, PSNR of 256 pictures", train_vae.psnr(vae, unseen), PSNR_DB, "dB")

    def encoders(self) -> Iterator[Row]:
        """Yields report rows with the AUC at which each identity encoder tells one person from another.

        One encoder is the studio's own; the other is used only to judge results. The people were not in any training.
        """
        from transformers import AutoModel

        unseen = measure.Unseen.draw(1600, FIRST)
        shipped = AutoModel.from_pretrained(self.assets / "identity", dtype=torch.float32).eval()
        for name, net in (("mini-identity", shipped), ("judge", self.oracle.judge)):
            yield at_least(f"{name}, AUC same or another person", measure.identity_figures(net, unseen)["auc"], AUC)

    def generator(self) -> Iterator[Row]:
        """Yields report rows with the share of generated pictures that show each attribute of their caption.

        The last row is the median seconds of generating one picture.
        """

        def asked(captions: Sequence[str]) -> list[GenerateParams]:
            """Returns the parameters of one picture for each caption."""
            return [self.params("mini-flux", GenerateParams, prompt=c, seed=i) for i, c in enumerate(captions)]

        def draw(captions: list[str]) -> np.ndarray:
            """Returns the pictures of the captions as (N, 64, 64, 3) uint8."""
            return np.stack([np.asarray(picture) for picture in self.generate(asked(captions))])

        figures = measure.generator_figures(draw, self.oracle.reader, CAPTIONS, FIRST)
        for name, goal in OBEYED.items():
            yield at_least(f"generator: {name} right, {CAPTIONS} captions", figures[name], goal)
        alone = asked([world.caption(held_out_scene(310_000 + i)) for i in range(ALONE)])
        yield one_by_one("generator: a picture", self.generate, alone, SECONDS["generate"])

    def editor(self) -> Iterator[Row]:
        """Yields report rows with the shares of edits done as asked and of edits that kept the person, for each task.

        A task is a kind of edit. The same shares over all tasks follow, and the median seconds of one edit.
        """
        figures = self.edits()
        for task in vocab.TASKS:
            yield Row(name=f"editor: {task} done, {EDITS_A_TASK} edits", value=figures[task].done, unit="")
            yield Row(name=f"editor: person kept in {task}", value=figures[task].kept, unit="")
        yield at_least("editor: done, all tasks", mean(figures[task].done for task in vocab.TASKS), DONE)
        kept = mean(figures[task].kept for task in vocab.TASKS)
        low, high = KEPT
        yield Row(name="editor: person kept", value=kept, unit="", goal=f"{low}–{high}", ok=low <= kept <= high)
        yield one_by_one("editor: an edit", self.edit, self.single_edits(), SECONDS["edit"])

    def few_steps(self) -> Iterator[Row]:
        """Yields report rows similar to those of `editor`, for edits drawn in few steps with the distilled LoRA."""
        figures = self.edits(few_steps=True)
        for task in vocab.TASKS:
            yield Row(name=f"few-step editor: {task} done", value=figures[task].done, unit="")
        kept = mean(figures[task].kept for task in vocab.TASKS)
        yield Row(name="few-step editor: person kept", value=kept, unit="")
        yield one_by_one(
            "few-step editor: an edit", self.edit, self.single_edits(few_steps=True), SECONDS["few-step edit"]
        )

    def edits(self, **knobs: object) -> dict[str, EditFigures]:
        """Edits pictures of people whom no model was trained on; returns the figures of each task, by the task's name.

        `knobs` are edit parameters that replace the editor's defaults.
        """

        def edit(pictures: np.ndarray, instructions: list[str]) -> np.ndarray:
            """Returns the edited pictures (N, 64, 64, 3) uint8."""
            given = zip(pictures, instructions, strict=True)
            items = [self.asked(Image.fromarray(image), words, i, **knobs) for i, (image, words) in enumerate(given)]
            return np.stack([np.asarray(result) for result in self.edit(items)])

        judges = self.oracle.reader, self.oracle.judge, self.oracle.threshold
        figures = measure.editor_figures(edit, *judges, per_task=EDITS_A_TASK, first=FIRST)
        return {task: EditFigures(figures[task]["done"], figures[task]["person_kept"]) for task in vocab.TASKS}

    def single_edits(self, **knobs: object) -> list[EditItem]:
        """Returns a few edits of different people, for measuring the seconds of edits done one at a time.

        `knobs` are edit parameters that replace the editor's defaults.
        """
        pairs = [edit_pair(held_out_scene(310_000 + i), f"alone {i}") for i in range(ALONE)]
        return [self.asked(world.draw(pair.before), pair.instruction, i, **knobs) for i, pair in enumerate(pairs)]

    def asked(self, picture: Image.Image, words: str, seed: int, **knobs: object) -> EditItem:
        """Returns the description of one edit of `picture`, without running it; `words` is the instruction.

        `knobs` are edit parameters that replace the editor's defaults.
        """
        return EditItem(picture, self.params("mini-qwen-edit", EditParams, instruction=words, seed=seed, **knobs))

    def captioner(self) -> Iterator[Row]:
        """Yields two rows: the share of attributes that captions name right, and how many captions leak identity.

        A caption leaks identity where it names a trait of the person.
        """
        from transformers import Qwen2_5_VLForConditionalGeneration

        folder = self.assets / "qwen_edit" / "text_encoder"
        model: torch.nn.Module = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype="float32")
        figures = measure.caption_figures(model.eval(), measure.Unseen.draw(256, FIRST))
        yield at_least("captioner: attributes right, 256 captions", figures["all"], CAPTIONED)
        yield at_most("captioner: captions that name who it is", figures["leaks"], 0)

    def character_lora(self) -> Iterator[Row]:
        """Trains LoRAs of a few people whom no model was trained on; yields report rows with what the LoRAs learned.

        The first row is the likeness of generated pictures to the originals, as a share of the likeness of the
        originals to each other. The others are the shares of pictures that still show the angle and the expression of
        their prompt.
        """
        shares: list[float] = []
        right: dict[str, list[bool]] = {"angle": [], "expression": []}
        for stranger in STRANGERS:
            originals = [world.draw(scene) for scene in world.sample_scenes(stranger)]
            adapter = self.train(stranger, originals)
            asked = [held_out_scene(300_000 + i, framing=("head", "bust")[i % 2]) for i in range(24)]
            pictures = self.generate(
                [
                    self.params(
                        "mini-flux",
                        GenerateParams,
                        prompt=world.caption(scene, "ohwx"),
                        seed=i,
                        loras=[LoraUse(file=str(adapter))],
                    )
                    for i, scene in enumerate(asked)
                ]
            )
            real = self.oracle.embed(originals)
            among = (real @ real.T)[~np.eye(len(real), dtype=bool)]
            shares.append(median((self.oracle.embed(pictures) @ real.T).ravel().tolist()) / median(among.tolist()))
            for reading, scene in zip(self.oracle.read(pictures), asked, strict=True):
                for name, hits in right.items():
                    hits.append(reading[name][0] == getattr(scene, name))
        people = f"{len(STRANGERS)} strangers"
        yield at_least(f"character LoRA: likeness, share of real to real, {people}", mean(shares), LIKENESS)
        for name, hits in right.items():
            yield at_least(f"character LoRA: {name} still obeyed, {people}", mean(hits), STILL_OBEYED)

    def train(self, stranger: int, originals: Sequence[Image.Image]) -> Path:
        """Trains a LoRA at the generator's default parameters and returns the path of its file.

        `stranger` is the number of a person whom no model was trained on, `originals` are that person's pictures.
        """
        folder = self.folder / str(stranger)
        folder.mkdir()
        items = []
        for i, (scene, picture) in enumerate(zip(world.sample_scenes(stranger), originals, strict=True)):
            picture.save(folder / f"{i}.png")
            items.append(TrainItem(folder / f"{i}.png", world.caption(scene, "ohwx")))
        knobs = self.params("mini-flux", TrainParams, save_every=0, sample_every=0)
        trainer = self.workplace.trainer("mini-flux")
        run = TrainRun(folder / "run", tuple(items), knobs, trigger="ohwx")
        with self.workplace.gpu.lease(trainer.plan(run)) as lease:
            *_, last = trainer.train(run, lease, progress.ignore)
        assert isinstance(last, CheckpointSaved)  # a run ends with its last checkpoint
        return last.adapter

    def generate(self, items: Sequence[GenerateParams]) -> list[Image.Image]:
        """Generates pictures with the studio's engine and returns them in the order of `items`."""
        engine: Generator = self.workplace.engine("mini-flux")
        with self.workplace.gpu.lease(engine.plan(items)) as lease:
            return list(engine.generate(items, lease, progress.ignore))

    def edit(self, items: Sequence[EditItem]) -> list[Image.Image]:
        """Edits pictures with the studio's engine and returns the results in the order of `items`."""
        engine: Editor = self.workplace.engine("mini-qwen-edit")
        with self.workplace.gpu.lease(engine.plan(items)) as lease:
            return list(engine.edit(items, lease, progress.ignore))

    def params(self, model: str, kind: type[P], **changes: object) -> P:
        """Returns a model's default parameters of the class `kind`, with `changes` to some of them.

        `model` is the model's name.
        """
        return self.workplace.registry.spec(model).params(kind, **changes)


def one_by_one(name: str, work: Callable[[Sequence[T]], object], items: Sequence[T], goal: float) -> Row:
    """Measures how long `work` takes for one item, and returns the median seconds as a row of the report.

    `work` gets one item at a time, on a fixed number of CPU threads. The first item is done once before, unmeasured.
    `name` labels the row; its goal is met up to `goal` seconds.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    seconds = []
    try:
        work(items[:1])  # imports, and loads the weights
        for item in items:
            started = time.perf_counter()
            work([item])
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
    return replace(at_most(name, median(seconds), goal, "s"), spread=(max(seconds) - min(seconds)) / 2)


def mean(values: Iterable[float]) -> float:
    """Returns the mean of numbers; True counts as 1 and False as 0."""
    return float(np.mean(list(values)))


def at_least(name: str, value: float, goal: float, unit: str = "") -> Row:
    """Returns a row of the report, labelled `name`, for a measured value; its goal is met from `goal` upwards."""
    return Row(name=name, value=value, unit=unit, goal=f"≥ {goal:g}", ok=value >= goal)


def at_most(name: str, value: float, goal: float, unit: str = "") -> Row:
    """Returns a row of the report, labelled `name`, for a measured value; its goal is met up to `goal`."""
    return Row(name=name, value=value, unit=unit, goal=f"≤ {goal:g}", ok=value <= goal)
