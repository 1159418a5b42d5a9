"""Our LoRA training beside diffusers' own FLUX script: the same weights, pictures, modules, batch and threads.

The peer is run as it is, from wherever `--peer` says; only the packages it imports and this machine may lack are
stood in for (`peers/`: torchvision's transforms, which touch pictures before the first step alone).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image

import assets
from engines import runfile
from engines.api import TrainItem, TrainParams, TrainRun
from engines.registry import MODELS, load_class
from engines.runfile import RunFile
from frontdoor.bench.rows import Row

MODEL = "mini-flux"
STEPS, ROUNDS = 40, 5
PICTURES, STRANGER = 16, 77  # as many as fill whole batches, for the peer's loader would leave a smaller one over
CLIP_TOKENS = 77  # the peer pads CLIP's prompt to this
BEST, DEFAULT = "diffusers, best flags", "diffusers, defaults"
GOALS = {BEST: 0.9, DEFAULT: 0.6}
FIRST_STEP, MEMORY = 0.5, 1.0
_OURS = re.compile(rb"step (\d+) of \d+")
_PEERS = re.compile(rb"Steps:[^\r\n]*?\| (\d+)/\d+ \[")


@dataclass(frozen=True)
class Course:
    """One run from start to end: seconds to its first step, seconds a step after it, most memory in bytes."""

    first: float
    step: float
    memory: float


def measure(options: argparse.Namespace) -> list[Row]:
    """Step time, time to the first step and peak memory, each against the peer; without `--peer` nothing is met."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench(Path(folder), options.peer)
        courses: dict[str, list[Course]] = {name: [] for name in bench.contestants()}
        for number in range(ROUNDS):
            for name, taken in courses.items():
                taken.append(bench.run(name, number))
    return list(rows(courses))


def rows(courses: Mapping[str, list[Course]]) -> Iterator[Row]:
    """Medians, and their ratios to each peer's."""
    ours = courses["ours"]
    for what, unit, scale in (("step", "s", 1.0), ("first", "s", 1.0), ("memory", "GiB", 1 / (1 << 30))):
        figures = {name: [getattr(course, what) * scale for course in taken] for name, taken in courses.items()}
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
    """A model's folder, pictures, and the commands that train on them."""

    def __init__(self, folder: Path, peer: Path | None) -> None:
        self._folder, self._peer = folder, peer
        spec = next(spec for spec in MODELS if spec.name == MODEL)
        knobs = {"save_every": 0, "sample_every": 0, "caption_dropout": 0.0, "gradient_checkpointing": False}
        self._params = spec.params(TrainParams, steps=STEPS, **knobs)
        self._model = _model_folder(folder / "model")
        self._pictures, self._caption = _pictures(folder / "pictures"), "ohwx person"

    def contestants(self) -> list[str]:
        """Ours, and the peer's two ways where it is there."""
        return ["ours", *(GOALS if self._peer else ())]

    def run(self, name: str, number: int) -> Course:
        """Train once from nothing."""
        out = self._folder / f"{name.split(',')[-1].strip()}-{number}"
        if name == "ours":
            return follow(self._ours(out), _OURS)
        return follow([*self._peers(out), *(_best_flags() if name == BEST else ())], _PEERS)

    def _ours(self, out: Path) -> list[str]:
        items = tuple(TrainItem(file, self._caption) for file in sorted(self._pictures.iterdir()))
        runfile.write(RunFile(MODEL, self._model, TrainRun(out, items, self._params, trigger="ohwx")))
        return [sys.executable, "-m", "engines.lora.run", str(out)]

    def _peers(self, out: Path) -> list[str]:
        knobs = {
            "pretrained_model_name_or_path": self._model,
            "instance_data_dir": self._pictures,
            "instance_prompt": self._caption,
            "output_dir": out,
            "resolution": self._params.resolution,
            "train_batch_size": self._params.batch_size,
            "max_train_steps": STEPS,
            "max_sequence_length": 32,
            "rank": self._params.rank,
            "lora_alpha": int(self._params.alpha),
            "lora_layers": ",".join(_modules(self._model)),
            "learning_rate": self._params.learning_rate,
            "lr_warmup_steps": 0,
            "guidance_scale": self._params.guidance,
            "checkpointing_steps": 10 * STEPS,
            "seed": 0,
        }
        given = [word for name, value in knobs.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-m", "frontdoor.bench.peer", str(self._peer), *given]


def follow(command: list[str], steps: re.Pattern[bytes]) -> Course:
    """Run a training and watch what it prints. Raises: RuntimeError with its last words when it fails."""
    began, seen, said = time.perf_counter(), {}, b""
    around = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=around)
    assert process.stderr is not None
    while block := os.read(process.stderr.fileno(), 1 << 16):
        said = (said + block)[-(1 << 16) :]
        for found in steps.findall(said):
            if int(found):
                seen.setdefault(int(found), time.perf_counter() - began)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or len(seen) < 2:
        raise RuntimeError(f"{' '.join(command[:4])} … failed:\n{said[-3000:].decode(errors='replace')}")
    first, last = min(seen), max(seen)
    unit = 1 if sys.platform == "darwin" else 1024
    return Course(seen[first], (seen[last] - seen[first]) / (last - first), usage.ru_maxrss * unit)


def _model_folder(folder: Path) -> Path:
    """The embedded weights as a local model, CLIP's positions lengthened by zeros: its causal sums never see them."""
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
    _t5_tokenizer(folder / "tokenizer_2")
    return folder


def _t5_tokenizer(folder: Path) -> None:
    """The same words for the same ids as pieces of T5's own kind of tokenizer, the only one that the peer opens."""
    from transformers import AutoTokenizer, T5TokenizerFast

    short = AutoTokenizer.from_pretrained(folder)
    ids = sorted(short.get_vocab().items(), key=lambda item: item[1])
    special = set(short.all_special_tokens)
    pieces = [(word if word in special else f"▁{word}", 0.0 if word in special else -1.0) for word, _ in ids]
    names = {name: getattr(short, name) for name in ("pad_token", "eos_token", "unk_token") if getattr(short, name)}
    shutil.rmtree(folder)
    T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=short.model_max_length, **names).save_pretrained(folder)


def _modules(model: Path) -> list[str]:
    """The ends of the names that our adapter trains, as the peer's suffixes want them."""
    import accelerate
    from diffusers import FluxTransformer2DModel

    targets = re.compile(load_class("engines.lora.flux:FluxAdapter").targets["all"].pattern)
    with accelerate.init_empty_weights():
        transformer = FluxTransformer2DModel.from_config(FluxTransformer2DModel.load_config(model / "transformer"))
    return sorted(name for name, _ in transformer.named_modules() if targets.fullmatch(name))


def _pictures(folder: Path) -> Path:
    """A stranger, drawn."""
    folder.mkdir()
    scenes: Iterable[object] = load_class("engines.mini.world:sample_scenes")(STRANGER, PICTURES)
    for number, scene in enumerate(scenes):
        picture: Image.Image = load_class("engines.mini.world:draw")(scene)
        picture.save(folder / f"{number:02d}.png")
    return folder


def _best_flags() -> list[str]:
    """What makes the peer fastest on this machine."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    narrow = load_class("engines.lora.precision:fast_bfloat16")(device)
    return ["--cache_latents", *(("--mixed_precision", "bf16") if narrow else ())]
