"""diffusers' own FLUX script at full size on a GPU: seconds a step, at the sizes of our trainings there.

The script reads the base at full width and has no adapter over a quantised one, so that it needs a larger GPU than our
trainings do.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from engines.api.params import TrainParams
from engines.api.protocols import Device, ModelSpec
from engines.catalogue.registry import load_class
from engines.catalogue.shapes import Layout
from frontdoor.bench import script
from frontdoor.bench.memory import GIB, RANK
from frontdoor.bench.rows import Row
from frontdoor.bench.watched_run import watch

FLAGS = ("--cache_latents", "--gradient_checkpointing", "--use_8bit_adam", "--mixed_precision", "bf16")
PICTURES, STEPS = 4, 6


def measure(
    peer: Path | None, spec: ModelSpec, layout: Layout, device: Device, sides: Mapping[int, float]
) -> list[Row]:
    """Measures the seconds a step of diffusers' FLUX training script on a GPU; returns a row for each picture size.

    `peer` is the script's path. `layout` holds the configurations of the model's components. The keys of `sides` are
    the sides of the pictures in pixels; its values are not used. Without the script (None), or without the memory or
    disk for it, the only row says so.
    """
    needed = sum(spec.component_bytes[name] for name in layout)
    with tempfile.TemporaryDirectory() as home:
        if peer is None:
            return [Row(name=f"{spec.name} diffusers' script: absent, give --peer", value=0, unit="s a step")]
        for what, free in (("card", device.total_bytes()), ("temporary disk", shutil.disk_usage(home).free)):
            if free < needed:
                name = f"{spec.name} diffusers' script: no room, it holds all parts at full width"
                return [Row(name=name, value=needed / GIB, unit="GiB", peer=f"{what} {free / GIB:.1f}")]
        return list(steps(peer, spec, layout, Path(home), device.torch_device, sides))


def steps(
    peer: Path, spec: ModelSpec, layout: Layout, home: Path, device: str, sides: Mapping[int, float],
    flags: tuple[str, ...] = FLAGS,
) -> Iterator[Row]:  # fmt: skip
    """Trains with diffusers' script at each picture size, on random weights; yields report rows with seconds a step.

    `peer` is the script's path, `home` a folder for models and pictures. `layout` holds the configurations of the
    model's components. The keys of `sides` are the sides of the pictures in pixels; its values are not used. `flags`
    are further arguments of the script. Each training runs in its own process, whose GPU memory is not capped. Raises:
    RuntimeError when the script fails.
    """
    model: Path = load_class("engines.weights.synthetic:build_as_published")(spec, layout, home / "model", device)
    script.t5_tokenizer(model / "tokenizer_2")
    for side in sides:
        pictures = home / f"pictures-{side}"
        pictures.mkdir()
        for number in range(PICTURES):
            Image.new("RGB", (side, side), (90, 120, 150 + number)).save(pictures / f"{number}.png")
        params = spec.params(TrainParams, resolution=side, steps=STEPS, rank=RANK)
        training = script.Script(peer, model, pictures, "ohwx person", spec.options["text_tokens"])
        run = watch(training.command(home / f"out-{side}", params, *flags), script.STEPS, until=STEPS)
        name = f"{spec.name} diffusers' script bf16 train {side} px, not capped"
        yield Row(name=name, value=run.step, unit="s a step")
