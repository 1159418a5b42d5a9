"""Our LoRA training compared with diffusers' own FLUX script: same weights, pictures, modules, batch and threads."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median

from PIL import Image

import assets
from engines.api.params import TrainParams
from engines.api.protocols import TrainItem, TrainRun
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.training import runfile
from engines.training.runfile import RunFile
from frontdoor.bench import script
from frontdoor.bench.rows import Row
from frontdoor.bench.watched_run import WatchedRun, watch

MODEL = "mini-flux"
STEPS, ROUNDS = 40, 5
PICTURES, STRANGER = 16, 77  # as many as fill whole batches, for the peer's loader would leave a smaller one over
CLIP_TOKENS = 77  # the peer pads CLIP's prompt to this
BEST, DEFAULT = "diffusers, best flags", "diffusers, defaults"
GOALS = {BEST: 0.9, DEFAULT: 0.6}
FIRST_STEP, MEMORY = 0.5, 1.0
_OURS = re.compile(rb"step (\d+) of \d+")


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures our LoRA training and diffusers' own FLUX script on the same data; returns the report's rows.

    The figures are the time of a step, the time to the first step, and the peak memory. `options.peer` is the script's
    path; where it is None, only our training runs, and every goal counts as missed.
    """
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench(Path(folder), options.peer)
        runs: dict[str, list[WatchedRun]] = {name: [] for name in bench.contestants()}
        for number in range(ROUNDS):
            for name, measured in runs.items():
                measured.append(bench.run(name, number))
    return list(rows(runs))


def rows(runs: Mapping[str, list[WatchedRun]]) -> Iterator[Row]:
    """Yields report rows with the medians of our runs, each compared with the script's median as a ratio.

    `runs` maps each name of `Workbench.contestants` to its measured runs. Where the script was not run, the rows have
    no ratio.
    """
    ours = runs["ours"]
    for what, unit, scale in (("step", "s", 1.0), ("first", "s", 1.0), ("memory", "GiB", 1 / (1 << 30))):
        figures = {name: [getattr(run, what) * scale for run in measured] for name, measured in runs.items()}
        for peer in GOALS:
            goal = {"step": GOALS[peer], "first": FIRST_STEP, "memory": MEMORY}[what]
            ratio = median(figures["ours"]) / median(figures[peer]) if peer in figures else None
            yield Row(
                name={"step": "a step", "first": "to the first step", "memory": "peak memory"}[what],
                value=median(figures["ours"]),
                unit=unit,
                peer=f"{peer}: {median(figures[peer]):.3g}" if peer in figures else f"{peer}: absent, give --peer",
                ratio=ratio,
                spread=(max(figures["ours"]) - min(figures["ours"])) / 2,
                goal=f"≤ {goal:g} of it",
                ok=ratio is not None and ratio <= goal,
            )
    yield Row(name=f"rounds of {STEPS} steps", value=len(ours), unit="")


class Workbench:
    """Prepares a small model and pictures, and trains its LoRA with our training loop or with diffusers' script.

    All files are written to `folder`. `peer` is the script's path, None to train with our loop only.
    """

    def __init__(self, folder: Path, peer: Path | None) -> None:
        self._folder = folder
        spec = next(spec for spec in MODELS if spec.name == MODEL)
        knobs = {"save_every": 0, "sample_every": 0, "caption_dropout": 0.0, "ema_decay": 0.0}
        self._params = spec.params(TrainParams, steps=STEPS, **knobs)
        self._model = _model_folder(folder / "model")
        self._pictures, self._caption = _pictures(folder / "pictures"), "ohwx person"
        given = self._model, self._pictures, self._caption, spec.options["text_tokens"]
        self._peer = script.Script(peer, *given) if peer else None

    def contestants(self) -> list[str]:
        """Returns the names of the trainings that `run` can do.

        They are our training and, where the script's path is known, the script with its best flags and with its
        defaults.
        """
        return ["ours", *(GOALS if self._peer else ())]

    def run(self, name: str, number: int) -> WatchedRun:
        """Trains a new LoRA in a process of its own and returns its time to the first step, step time and peak memory.

        `name` is one of `contestants`. `number` is the number of the round; each round writes to its own folder.
        """
        out = self._folder / f"{name.split(',')[-1].strip()}-{number}"
        if name == "ours" or not self._peer:
            items = tuple(TrainItem(file, self._caption) for file in sorted(self._pictures.iterdir()))
            runfile.write(RunFile(MODEL, self._model, TrainRun(out, items, self._params, trigger="ohwx")))
            return watch([sys.executable, "-m", "engines.training.run", str(out)], _OURS)
        flags: list[str] = []
        if name == BEST:
            import torch

            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            narrow = load_class("engines.training.precision:fast_bfloat16")(device)
            flags = ["--cache_latents", *(("--mixed_precision", "bf16") if narrow else ())]
        return watch(self._peer.command(out, self._params, *flags), script.STEPS)


def _model_folder(folder: Path) -> Path:
    """Copies the embedded weights to a folder that diffusers' script can read, and returns it.

    CLIP's table of positions is padded with zeros, which do not change its causal attention's result; T5's tokenizer is
    rewritten.
    """
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    source = Path(assets.__file__).parent / "mini" / "flux"
    shutil.copytree(source, folder)
    short = CLIPTextModel.from_pretrained(source / "text_encoder")
    long = CLIPTextModel(CLIPTextConfig(**{**short.config.to_dict(), "max_position_embeddings": CLIP_TOKENS}))
    weights = short.state_dict()
    table = next(name for name in weights if name.endswith("position_embedding.weight"))
    missing = CLIP_TOKENS - len(weights[table])
    weights[table] = torch.cat([weights[table], weights[table].new_zeros(missing, weights[table].shape[1])])
    long.load_state_dict(weights)
    long.save_pretrained(folder / "text_encoder")
    script.t5_tokenizer(folder / "tokenizer_2")
    return folder


def _pictures(folder: Path) -> Path:
    """Writes pictures of one person whom no model has seen into a new folder, and returns the folder."""
    folder.mkdir()
    scenes: Iterable[object] = load_class("engines.mini.world:sample_scenes")(STRANGER, PICTURES)
    for number, scene in enumerate(scenes):
        picture: Image.Image = load_class("engines.mini.world:draw")(scene)
        picture.save(folder / f"{number:02d}.png")
    return folder
