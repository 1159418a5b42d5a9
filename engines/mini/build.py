"""Trains everything in assets/mini from nothing: `python -m engines.mini.build`, stage by stage, resumable."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import safetensors.torch
import torch
import transformers
from torch import Tensor

from engines.mini import configs, export, measure, train_vae, words, world
from engines.mini.dataset import Dataset
from engines.mini.loop import Schedule, begin_from, load_average
from engines.mini.nets import Judge, Reader
from engines.mini.train_captioner import embed_edits, train_captioner
from engines.mini.train_edit import NEGATIVE, EditSet, train_edit
from engines.mini.train_few_steps import save_few_steps, teacher_paths, train_few_steps
from engines.mini.train_flux import Flux, train_flux
from engines.mini.train_readers import train_identity, train_reader

STAGES = (
    "draw", "vae_qwen", "vae_flux", "reader", "judge", "identity", "captioner", "edit", "flux", "few_steps",
    "polish_qwen", "polish_flux", "measure",
)  # fmt: skip
SCENES = 24_000
UNTOLD = 4_000
PATHS = 1_200
FOCUS = {"expression": 3.0, "pose": 4.0, "angle": 1.5}
BLOCKS = "transformer_blocks"
SCHEDULES = {
    "vae_flux": Schedule(steps=1000, lr=1.2e-3, batch=16, decay=0.45, ema=0.995, seed=1),
    "vae_qwen": Schedule(steps=1600, lr=1.5e-3, batch=16, decay=0.45, ema=0.995, seed=2),
    "few_steps": Schedule(steps=400, lr=1e-3, batch=40, decay=0.5, ema=0.99, weight_decay=0.0, seed=11),
    "polish_flux": Schedule(steps=2000, lr=8e-4, batch=16, decay=0.6, ema=0.995, weight_decay=0.0, seed=9),
    "polish_qwen": Schedule(steps=1200, lr=8e-4, batch=16, decay=0.6, ema=0.995, weight_decay=0.0, seed=10),
    "reader": Schedule(steps=900, lr=2e-3, batch=128, decay=0.5, ema=0.98, seed=3),
    "judge": Schedule(steps=1000, lr=2e-3, batch=128, decay=0.5, ema=0.98, seed=4),
    "identity": Schedule(steps=800, lr=2e-3, batch=128, decay=0.5, ema=0.98, seed=5),
    "captioner": Schedule(steps=520, lr=1.2e-3, batch=48, decay=0.5, ema=0.99, warmup=40, seed=6),
    "flux": Schedule(steps=6000, lr=1.2e-3, batch=40, decay=0.35, ema=0.998, weight_decay=0.0, muon=BLOCKS, seed=7),
    "edit": Schedule(steps=6000, lr=1.2e-3, batch=40, decay=0.35, ema=0.998, weight_decay=0.0, muon=BLOCKS, seed=8),
}


@dataclass(frozen=True)
class Build:
    """One training of the whole family: where it goes, where its checkpoints and pictures lie, how long it takes."""

    out: Path
    cache: Path
    scale: float = 1.0
    compiled: bool = True
    schedules: dict[str, Schedule] = field(default_factory=lambda: dict(SCHEDULES))

    @cached_property
    def data(self) -> Dataset:
        """Pictures every stage learns from."""
        return Dataset(self.cache, SCENES)

    def schedule(self, stage: str) -> Schedule:
        """Give a stage's schedule at this build's scale."""
        plan = self.schedules[stage]
        return replace(plan, steps=max(1, round(plan.steps * self.scale)))

    def run(self, stage: str) -> None:
        """Run one stage, unless its note says it is done at this length."""
        if stage not in ("draw", "measure") and self.note(stage).get("steps") == self.schedule(stage).steps:
            return
        getattr(self, stage)()
        self.manifest()

    def note(self, stage: str) -> dict[str, Any]:
        """Read what a stage wrote down."""
        path = self.cache / f"{stage}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def write(self, stage: str, figures: dict[str, Any]) -> None:
        """Write down a stage's figures, and from what it went on."""
        before = self.note(stage).get("history")
        figures = figures | ({"history": before} if before else {})
        export.write_whole(self.cache / f"{stage}.json", json.dumps(figures, indent=2))
        print(json.dumps({"stage": stage, "done": figures}), flush=True)

    def go_on(self) -> None:
        """Let the stages that learn longest begin from the weights in `out`, and keep what is known of all others."""
        shipped = json.loads((self.out / "manifest.json").read_text(encoding="utf-8"))["stages"]
        modules = {
            "flux": lambda: self.shipped_flux().modules(),
            "edit": lambda: {"transformer": self.editor()},
            "captioner": lambda: {"model": self.text_encoder()},
            "polish_flux": dict,  # a polish begins from the shipped decoder as it is
            "polish_qwen": dict,
        }
        for stage, figures in shipped.items():
            if (self.cache / f"{stage}.json").exists():
                continue
            if stage not in modules:
                self.write(stage, figures)
                continue
            past = [figures.get("history"), f"{figures.get('steps')} steps"]
            self.write(stage, {"history": "; ".join(part for part in past if part)})
            begin_from(self.cache, stage, modules[stage]())

    def draw(self) -> None:
        """Draw the training pictures, the sample character, and everything that needs no training."""
        export.save_frame(self.out)
        print(json.dumps({"stage": "draw", "pictures": len(self.data.pictures)}), flush=True)

    def vae_flux(self) -> None:
        """Train FLUX's autoencoder."""
        self._vae("flux", self.out / "flux" / "vae")

    def vae_qwen(self) -> None:
        """Train Qwen's autoencoder."""
        self._vae("qwen", self.out / "qwen_edit" / "vae")

    def _vae(self, kind: str, folder: Path) -> None:
        stage = f"vae_{kind}"
        vae, info = train_vae.train_vae(
            kind, self.data.pictures, self.cache, self.schedule(stage), self.compiled and kind == "qwen"
        )
        latents = train_vae.encode_all(vae, self.data.pictures)
        export.set_latent_scale(vae, latents[::8])
        torch.save(latents, self.cache / f"latents_{kind}.pt")
        export.save_model(vae, folder)
        unseen = measure.Unseen.draw(256)
        self.write(stage, info | {"psnr_db": round(train_vae.psnr(vae, unseen.pictures), 2)})

    def polish_flux(self) -> None:
        """Sharpen FLUX's decoder."""
        self._polish("flux", self.out / "flux" / "vae")

    def polish_qwen(self) -> None:
        """Sharpen Qwen's decoder."""
        self._polish("qwen", self.out / "qwen_edit" / "vae")

    def _polish(self, kind: str, folder: Path) -> None:
        stage, vae, raw = f"polish_{kind}", self.vae(kind), self.raw_latents(kind)
        info = train_vae.polish_decoder(kind, vae, raw, self.data.pictures, self.cache, self.schedule(stage))
        export.save_model(vae, folder)
        unseen = measure.Unseen.draw(256)
        self.write(stage, info | {"psnr_db": round(train_vae.psnr(vae.eval(), unseen.pictures), 2)})

    def reader(self) -> None:
        """Train the attribute reader."""
        net, info = train_reader(self.data, self.cache, self.schedule("reader"))
        net.eval()
        self._save_net(net, "reader")
        self.write("reader", info | {"accuracy": measure.reader_accuracy(net, measure.Unseen.draw(1024))})

    def judge(self) -> None:
        """Train the held-out identity encoder."""
        net, info = train_identity("judge", self.data, self.cache, self.schedule("judge"))
        figures = measure.identity_figures(net.eval(), measure.Unseen.draw(1600))
        self._save_net(net, "judge")
        export.write_whole(self.out / "oracle" / "oracle.json", json.dumps({"threshold": figures["threshold"]}))
        self.write("judge", info | figures)

    def identity(self) -> None:
        """Train the shipped identity encoder."""
        net, info = train_identity("identity", self.data, self.cache, self.schedule("identity"))
        figures = measure.identity_figures(net.eval(), measure.Unseen.draw(1600))
        export.save_identity(net, figures["threshold"], self.out / "identity")
        self.write("identity", info | figures)

    def _save_net(self, net: torch.nn.Module, name: str) -> None:
        folder = self.out / "oracle"
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{name}.part"
        safetensors.torch.save_file({k: v.contiguous() for k, v in net.state_dict().items()}, part)
        part.replace(folder / f"{name}.safetensors")

    def captioner(self) -> None:
        """Train the captioner, which is also the editor's text encoder."""
        model, info = train_captioner(self.data, self.cache, self.schedule("captioner"))
        export.save_model(model, self.out / "qwen_edit" / "text_encoder")
        (self.cache / "edits.pt").unlink(missing_ok=True)  # states of the captioner before
        self.write("captioner", info | {"accuracy": measure.caption_figures(model.eval(), measure.Unseen.draw(256))})

    def edit_set(self) -> EditSet:
        """Gather what the editor learns from; the captioner's states are computed once."""
        path = self.cache / "edits.pt"
        if not path.exists():
            text = self.text_encoder()
            told, lengths = embed_edits(
                text, [pair.instruction for pair in self.data.pairs], self.data.pictures[:SCENES]
            )
            untold, short = embed_edits(text, [NEGATIVE] * UNTOLD, self.data.pictures[:UNTOLD])
            torch.save({"told": told, "lengths": lengths, "untold": untold, "short": short[:1]}, path)
        kept = torch.load(path, weights_only=True)
        latents = self.latents("qwen")
        weights = torch.tensor([max(FOCUS.get(task, 1.0) for task in pair.tasks) for pair in self.data.pairs])
        pictures = latents[:SCENES], latents[SCENES:]
        return EditSet(*pictures, kept["told"], kept["lengths"], kept["untold"], int(kept["short"][0]), weights)

    def raw_latents(self, kind: str) -> Tensor:
        """Load every picture's latents as the encoder gives them, (48,000, 16, 16, 16) bf16; encoded once."""
        path = self.cache / f"latents_{kind}.pt"
        if not path.exists():
            torch.save(train_vae.encode_all(self.vae(kind), self.data.pictures), path)
        return torch.load(path, weights_only=True)

    def latents(self, kind: str) -> Tensor:
        """Give every picture's latents as the transformers see them, (48,000, 16, 16, 16) bf16."""
        return export.normalised(self.vae(kind), self.raw_latents(kind).float()).bfloat16()

    def vae(self, kind: str) -> torch.nn.Module:
        """Load an autoencoder as it was shipped."""
        if kind == "flux":
            return diffusers.AutoencoderKL.from_pretrained(self.out / "flux" / "vae").eval()
        vae = diffusers.AutoencoderKLQwenImage.from_pretrained(self.out / "qwen_edit" / "vae").eval()
        return train_vae.for_still_pictures(vae)

    def text_encoder(self) -> Any:
        """Load the captioner as it was shipped."""
        folder = self.out / "qwen_edit" / "text_encoder"
        model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        return model.eval()

    def editor(self) -> Any:
        """Load the editor's transformer as it was shipped."""
        return diffusers.QwenImageTransformer2DModel.from_pretrained(self.out / "qwen_edit" / "transformer").eval()

    def edit(self) -> None:
        """Train the editor's transformer."""
        model, info = train_edit(self.edit_set(), self.cache, self.schedule("edit"), self.compiled)
        export.save_model(model, self.out / "qwen_edit" / "transformer")
        (self.cache / "few_steps_paths.pt").unlink(missing_ok=True)  # of the editor before
        self.write("edit", info)

    def few_steps(self) -> None:
        """Distil the shipped editor into its few-step LoRA."""
        folder, model = self.out / "qwen_edit", self.editor()
        data, path = self.edit_set(), self.cache / "few_steps_paths.pt"
        if not path.exists():
            torch.save(teacher_paths(model, data, PATHS, seed=self.schedule("few_steps").seed), path)
        paths = torch.load(path, weights_only=True)
        info = train_few_steps(model, data, paths, self.cache, self.schedule("few_steps"))
        save_few_steps(model, folder / "few_steps" / "adapter.safetensors", self.schedule("few_steps").steps)
        self.write("few_steps", info)

    def flux(self) -> None:
        """Train the generator's transformer and text encoders."""
        faces = torch.from_numpy(self.data.faces)
        flux, info = train_flux(
            self.data.all_scenes, self.latents("flux"), faces, self.cache, self.schedule("flux"), self.compiled
        )
        self.save_flux(flux)
        self.write("flux", info)

    def save_flux(self, flux: Flux) -> None:
        """Ship the generator's modules."""
        export.save_model(flux.transformer, self.out / "flux" / "transformer")
        export.save_model(flux.clip, self.out / "flux" / "text_encoder")
        export.save_model(flux.t5, self.out / "flux" / "text_encoder_2")

    def checkpoint(self, stage: str) -> None:
        """Ship the averaged weights of a generator or editor still in training."""
        if stage == "flux":
            flux = Flux.new()
            step = load_average(self.cache / "flux.pt", flux.modules())
            self.save_flux(flux)
        else:
            model = configs.qwen_transformer()
            step = load_average(self.cache / "edit.pt", {"transformer": model})
            export.save_model(model, self.out / "qwen_edit" / "transformer")
        self.write(stage, {"checkpoint_step": step})
        self.manifest()

    def shipped_flux(self) -> Flux:
        """Load the generator as it was shipped."""
        folder = self.out / "flux"
        return Flux(
            diffusers.FluxTransformer2DModel.from_pretrained(folder / "transformer").eval(),
            transformers.CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval(),
            transformers.T5EncoderModel.from_pretrained(folder / "text_encoder_2", dtype=torch.float32).eval(),
        )

    def measure(self) -> None:
        """Measure the shipped generator and editor with the shipped oracle."""
        reader, judge = Reader(), Judge()
        for net, name in ((reader, "reader"), (judge, "judge")):
            net.load_state_dict(safetensors.torch.load_file(self.out / "oracle" / f"{name}.safetensors"))
            net.eval()
        figures = measure.generator_figures(measure.Generator(self.shipped_flux(), self.vae("flux")), reader)
        self.write("measure_flux", figures | {"of_step": self.step("flux")})
        editor = measure.Editor(self.editor(), self.vae("qwen"), self.text_encoder())
        threshold = self.note("judge")["threshold"]
        figures = measure.editor_figures(editor, reader, judge, threshold)
        self.write("measure_edit", figures | {"of_step": self.step("edit")})

    def step(self, stage: str) -> int | None:
        """Say how many steps a stage's shipped weights have learned for."""
        note = self.note(stage)
        return note.get("steps", note.get("checkpoint_step"))

    def manifest(self) -> None:
        """Write assets/mini/manifest.json from every stage's notes."""
        stages = {stage: self.note(stage) for stage in (*STAGES, "measure_flux", "measure_edit") if self.note(stage)}
        versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers, np)}
        record = {
            "what": "a toy world: the real model classes, trained from nothing on drawings by engines/mini/world.py",
            "command": "python -m engines.mini.build",
            "versions": versions | {"python": platform.python_version()},
            "pictures": 2 * SCENES,
            "planned_steps": {stage: self.schedule(stage).steps for stage in self.schedules},
            "seeds": {stage: plan.seed for stage, plan in self.schedules.items()},
            "prompt_tokens": {"clip": words.CLIP_LENGTH, "t5": words.T5_LENGTH},
            "thresholds": {name: self.note(name).get("threshold") for name in ("identity", "judge")},
            "size_mb": round(export.size_mb(self.out), 1),
            "stages": stages,
        }
        export.write_whole(self.out / "manifest.json", json.dumps(record, indent=2))


def write_sample(folder: Path, seed: int = 11, trigger: str = "ohwx", name: str = "Robin") -> None:
    """Write the sample character: twelve drawings of an unseen person with captions and ground truth."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i, scene in enumerate(world.sample_scenes(seed), start=1):
        stem = f"{name.lower()}-{i:02d}"
        world.draw(scene).save(folder / f"{stem}.png")
        export.write_whole(folder / f"{stem}.txt", world.caption(scene, trigger) + "\n")
        records.append({"file": f"{stem}.png", "truth": world.truth(scene)})
    card = {"name": name, "trigger": trigger, "seed": seed, "pictures": records}
    export.write_whole(folder / "character.json", json.dumps(card, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Run the stages asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m engines.mini.build", description=__doc__)
    parser.add_argument("--stage", choices=[*STAGES, "sample"], action="append", help="one stage; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("assets/mini"))
    parser.add_argument("--cache", type=Path, required=True, help="folder for drawings and checkpoints")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every stage's steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--go-on", action="store_true", help="begin from the weights in --out, not from random ones")
    parser.add_argument("--eager", action="store_true", help="train without torch.compile")
    parser.add_argument("--checkpoint", choices=("flux", "edit"), help="ship a stage's latest checkpoint and stop")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    build = Build(options.out, options.cache, options.scale, not options.eager)
    if options.go_on:
        build.go_on()
    if options.checkpoint:
        build.checkpoint(options.checkpoint)
        return
    for stage in options.stage or STAGES:
        if stage == "sample":
            write_sample(options.out.parent / "sample")
        else:
            build.run(stage)


if __name__ == "__main__":
    main()
