"""Trains everything in assets/mini from scratch: `python -m engines.mini.build`, stage by stage, resumable."""

from __future__ import annotations

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

from engines.device.allocator import keep_small_blocks
from engines.mini import export, measure, text_tokenizers, train_vae
from engines.mini.configs import Model
from engines.mini.dataset import Dataset
from engines.mini.loop import Schedule
from engines.mini.nets import Judge, Reader
from engines.mini.options import parser
from engines.mini.sample import write_sample
from engines.mini.specialists import COMIC, SPECIALISTS, edit_set, lessons, train_comic, train_specialist
from engines.mini.stage_records import StageRecords
from engines.mini.stages import SCHEDULES, STAGES, Size
from engines.mini.train_captioner import embed_edits, train_captioner
from engines.mini.train_edit import NEGATIVE, EditSet, train_edit
from engines.mini.train_few_steps import FEW_STEPS, teacher_paths, train_few_steps
from engines.mini.train_flux import POSED, STANDING, Flux, Lesson, train_flux
from engines.mini.train_questions import save_questions, train_questions
from engines.mini.train_readers import train_identity, train_reader
from engines.mini.trained import Trained

Figures = dict[str, Any]  # of a stage, as the manifest has them
FOCUS = {"expression": 3.0, "pose": 4.0, "angle": 1.5}  # task -> weight in the editor's data


@dataclass(frozen=True)
class Build(Trained):
    """Trains all embedded toy models into the folder `out`; each stage is a method that returns its measured values.

    `cache`: the folder of training pictures, and of checkpoints in a folder of its own for each data set. `scale`:
    multiplies the steps of every stage. `compiled`: use torch.compile. `schedules`: the training settings, by stage
    name, of the stages that train. `size`: the numbers of pictures to train and to measure with. `device`: where the
    models are trained.
    """

    cache: Path
    scale: float = 1.0
    compiled: bool = True
    schedules: dict[str, Schedule] = field(default_factory=lambda: dict(SCHEDULES))
    size: Size = field(default_factory=Size)
    device: torch.device = field(default_factory=torch.get_default_device)

    @cached_property
    def records(self) -> StageRecords:
        """Returns the store of the stages' records: measured values, and whether a stage must be trained anew."""
        return StageRecords(self.work, self.out / "manifest.json")

    @cached_property
    def work(self) -> Path:
        """Returns the folder of this data set's checkpoints and records, so that none of another data set is reused."""
        return self.cache / self.data.key

    @property
    def loras(self) -> Path:
        """Returns the folder of the LoRAs that are the embedded editor's library."""
        return self.out / "qwen_edit" / "loras"

    @cached_property
    def data(self) -> Dataset:
        """Returns the data set of drawn scenes and edits of them, which all stages share."""
        return Dataset(self.cache, self.size.scenes)

    def schedule(self, stage: str) -> Schedule:
        """Returns a stage's training schedule with its steps multiplied by this build's scale."""
        plan = self.schedules[stage]
        return replace(plan, steps=max(1, round(plan.steps * self.scale)), device=self.device)

    def run(self, stage: str) -> None:
        """Runs one stage and writes its record and the manifest; a stage that is done already is skipped.

        Before a stage trains, the later stages that learn from its weights are marked as stale, which means that they
        must be trained anew. Stages that train nothing (drawing, measuring) are never skipped and mark none.
        """
        if stage in self.schedules:
            if self.done(stage):
                return
            self.records.mark_later_stale(stage)  # before it trains, so that no crash leaves outdated tensors
        figures = self.specialist(stage) if stage in SPECIALISTS else getattr(self, stage)()
        self.records.write(stage, figures)
        print(json.dumps({"stage": stage, "done": figures}), flush=True)
        self.manifest()

    def done(self, stage: str) -> bool:
        """Returns whether a stage needs no training, that is, whether its record in the cache is up to date.

        A record is up to date if it is that of the models in the output folder, is not marked as stale, and has the
        number of steps that the schedule has now.
        """
        record = self.records.read(stage) if self.records.has(stage) else {}
        return not record.get("stale") and record.get("steps") == self.schedule(stage).steps

    def cached(self, name: str) -> Path:
        """Returns the path of a cache file for tensors that were made from the training pictures."""
        return self.work / f"{name}.pt"

    def draw(self) -> Figures:
        """Draws the training pictures and the sample character, and writes the model files that need no training.

        Returns the number of training pictures, as `pictures`, for the manifest.
        """
        export.save_frame(self.out)
        write_sample(self.out.parent / "sample")
        return {"pictures": len(self.data.pictures)}

    def vae_flux(self) -> Figures:
        """Trains FLUX's autoencoder and returns its figures (steps, loss, PSNR in dB) for the manifest."""
        return self._vae("flux", self.out / "flux" / "vae")

    def vae_qwen(self) -> Figures:
        """Trains Qwen's autoencoder and returns its figures (steps, loss, PSNR in dB) for the manifest."""
        return self._vae("qwen", self.out / "qwen_edit" / "vae")

    def _vae(self, kind: str, folder: Path) -> Figures:
        """Trains the autoencoder `kind` ("flux" or "qwen"), caches its latents, and returns its figures."""
        schedule, compiled = self.schedule(f"vae_{kind}"), self.compiled and kind == "qwen"
        vae, info = train_vae.train_vae(kind, self.data.pictures, self.work, schedule, compiled)
        latents = self.encode(vae)
        export.set_latent_scale(vae, latents[::8])
        export.save_tensors(latents, self.cached(f"latents_{kind}"))
        export.save_model(vae, folder)
        unseen = measure.Unseen.draw(self.size.vae_pictures)
        return info | {"psnr_db": round(train_vae.psnr(vae, unseen.pictures), 2)}

    def polish_flux(self) -> Figures:
        """Trains FLUX's VAE decoder for longer, with the encoder frozen; returns steps, loss and PSNR in dB."""
        return self._polish("flux", self.out / "flux" / "vae")

    def polish_qwen(self) -> Figures:
        """Trains Qwen's VAE decoder for longer, with the encoder frozen; returns steps, loss and PSNR in dB."""
        return self._polish("qwen", self.out / "qwen_edit" / "vae")

    def _polish(self, kind: str, folder: Path) -> Figures:
        """Trains the decoder of the autoencoder `kind` ("flux" or "qwen") for longer, and returns its figures."""
        vae, raw, schedule = self.vae(kind), self.raw_latents(kind), self.schedule(f"polish_{kind}")
        info = train_vae.polish_decoder(kind, vae, raw, self.data.pictures, self.work, schedule)
        export.save_model(vae, folder)
        unseen = measure.Unseen.draw(self.size.vae_pictures)
        return info | {"psnr_db": round(train_vae.psnr(vae.eval(), unseen.pictures), 2)}

    def reader(self) -> Figures:
        """Trains the net that classifies a picture's attributes (angle, expression, outfit…).

        Returns steps, loss and the accuracy for each attribute, for the manifest.
        """
        net, info = train_reader(self.data, self.work, self.schedule("reader"))
        net.eval()
        self._save_net(net, "reader")
        unseen = measure.Unseen.draw(self.size.reader_pictures)
        return info | {"accuracy": measure.reader_accuracy(net, unseen)}

    def judge(self) -> Figures:
        """Trains the judge, an identity encoder that only measures results and never trains another model.

        Returns steps, loss, AUC, equal error rate and the cosine similarity that gives this rate, for the manifest.
        """
        net, info = train_identity("judge", self.data, self.work, self.schedule("judge"))
        figures = measure.identity_figures(net.eval(), measure.Unseen.draw(self.size.identity_pictures))
        self._save_net(net, "judge")
        export.write_whole(self.out / "oracle" / "oracle.json", json.dumps({"threshold": figures["threshold"]}))
        return info | figures

    def identity(self) -> Figures:
        """Trains the identity encoder with which users' pictures are scored.

        Returns steps, loss, AUC, equal error rate and the cosine similarity that gives this rate, for the manifest.
        """
        net, info = train_identity("identity", self.data, self.work, self.schedule("identity"))
        figures = measure.identity_figures(net.eval(), measure.Unseen.draw(self.size.identity_pictures))
        export.save_identity(net, figures["threshold"], self.out / "identity")
        return info | figures

    def _save_net(self, net: torch.nn.Module, name: str) -> None:
        """Writes the weights of a net that measures results (reader, judge), completely or not at all."""
        with export.whole(self.out / "oracle" / f"{name}.safetensors") as part:
            safetensors.torch.save_file({k: v.contiguous() for k, v in net.state_dict().items()}, part)

    def captioner(self) -> Figures:
        """Trains the captioner, which is also the editor's text encoder; returns steps, loss, accuracy by attribute."""
        model, info = train_captioner(self.data, self.work, self.schedule("captioner"))
        export.save_model(model, self.out / "qwen_edit" / "text_encoder")
        unseen = measure.Unseen.draw(self.size.vae_pictures)
        return info | {"accuracy": measure.caption_figures(model.eval(), unseen)}

    def questions(self) -> Figures:
        """Teaches the captioner to answer questions, as a LoRA; returns steps, loss, accuracy by attribute."""
        model = self.text_encoder()
        info = train_questions(model, self.data, self.work, self.schedule("questions"))
        save_questions(model, self.out / "qwen_edit" / "questions" / "adapter.safetensors")
        return info | {"accuracy": measure.answer_figures(model.eval(), measure.Unseen.draw(self.size.vae_pictures))}

    def edit_set(self) -> EditSet:
        """Returns the editor's training data: the latents before and after each edit, and the encoded instructions.

        The captioner is the editor's text encoder. The first call encodes all instructions with it and saves them in
        the cache folder; later calls load them from there.
        """
        path, size = self.cached("edits"), self.size
        if not path.exists():
            text = self.text_encoder().to(self.device)
            instructions, count = [pair.instruction for pair in self.data.pairs], size.empty_prompts
            embeds, lengths = embed_edits(text, instructions, self.data.pictures[: size.scenes])
            negatives, short = embed_edits(text, [NEGATIVE] * count, self.data.pictures[:count])
            export.save_tensors({"told": embeds, "lengths": lengths, "untold": negatives, "short": short[:1]}, path)
        kept = torch.load(path, weights_only=True)
        latents = self.latents("qwen")
        weights = torch.tensor([max(FOCUS.get(task, 1.0) for task in pair.tasks) for pair in self.data.pairs])
        pictures = latents[: size.scenes], latents[size.scenes :]
        return EditSet(*pictures, kept["told"], kept["lengths"], kept["untold"], int(kept["short"][0]), weights)

    def encode(self, vae: Model) -> Tensor:
        """Encodes every training picture with an autoencoder; returns latents (N, 16, 16, 16), not yet normalised.

        The autoencoder is moved to this build's device and, at the end, to the CPU.
        """
        latents = train_vae.encode_all(vae.to(self.device), self.data.pictures)
        vae.cpu()
        return latents

    def raw_latents(self, kind: str) -> Tensor:
        """Loads the latents of all pictures, not yet normalised, (2 × scenes, 16, 16, 16) bf16.

        `kind`: the autoencoder, "flux" or "qwen". The first call computes and caches them. The pictures before the
        edits come first, then those after.
        """
        path = self.cached(f"latents_{kind}")
        if not path.exists():
            export.save_tensors(self.encode(self.vae(kind)), path)
        latents: Tensor = torch.load(path, weights_only=True)
        return latents

    def latents(self, kind: str) -> Tensor:
        """Returns the normalised latents of all pictures, as the transformers take them: (2 × scenes, 16, 16, 16) bf16.

        `kind`: the autoencoder, "flux" or "qwen". The pictures before the edits come first, then those after.
        """
        return export.normalised(self.vae(kind), self.raw_latents(kind).float()).bfloat16()

    def edit(self) -> Figures:
        """Trains the editor's transformer; returns steps, loss and number of parameters for the manifest."""
        model, info = train_edit(self.edit_set(), self.work, self.schedule("edit"), self.compiled)
        export.save_model(model, self.out / "qwen_edit" / "transformer")
        return info

    def few_steps(self) -> Figures:
        """Distils the editor into a few-step LoRA and saves it; returns steps, loss and number of parameters."""
        folder, model = self.out / "qwen_edit", self.editor()
        data, path = self.edit_set(), self.cached("few_steps_paths")
        if not path.exists():
            teacher = model.to(self.device)
            export.save_tensors(
                teacher_paths(teacher, data, self.size.paths, seed=self.schedule("few_steps").seed), path
            )
        paths = torch.load(path, weights_only=True)
        info = train_few_steps(model, data, paths, self.work, self.schedule("few_steps"))
        FEW_STEPS.save(model, folder / "few_steps" / "adapter.safetensors", self.schedule("few_steps").steps)
        return info

    def specialist(self, stage: str) -> Figures:
        """Trains the LoRA of a stage, which is good at one kind of edit; returns steps, loss, number of parameters."""
        own, schedule, model = SPECIALISTS[stage], self.schedule(stage), self.editor()
        data = edit_set(lessons(own, self.size.lessons), self.vae("qwen"), self.text_encoder())
        info = train_specialist(model, stage, data, self.work, schedule)
        own.adapter.save(model, self.loras / f"{own.name}.safetensors", schedule.steps)
        return info

    def lora_comic(self) -> Figures:
        """Trains a LoRA of the generator, which no editor can use; returns steps, loss and number of parameters."""
        flux, schedule = self.trained_flux(), self.schedule("lora_comic")
        info = train_comic(flux, self.vae("flux"), self.size.lessons, self.work, schedule)
        COMIC.save(flux.transformer, self.loras / f"{COMIC.name}.safetensors", schedule.steps)
        return info

    def flux(self) -> Figures:
        """Trains the generator's transformer and text encoders on pictures of standing people.

        Returns steps, loss and number of parameters for the manifest.
        """
        return self._flux(STANDING, Flux.new(self.schedule("flux").seed))

    def flux_poses(self) -> Figures:
        """Trains the generator, which knows standing people already, briefly on pictures with every pose.

        It does not learn the new poses well, which leaves something for a user's LoRA to improve. Returns steps, loss
        and number of parameters for the manifest.
        """
        return self._flux(POSED, self.trained_flux())

    def _flux(self, lesson: Lesson, flux: Flux) -> Figures:
        """Trains the generator on a lesson (which pictures, which stage), saves its parts, and returns its figures."""
        faces, schedule = torch.from_numpy(self.data.faces), self.schedule(lesson.stage)
        pictures = self.data.all_scenes, self.latents("flux"), faces
        info = train_flux(flux, lesson, *pictures, self.work, schedule, self.compiled)
        export.save_model(flux.transformer, self.out / "flux" / "transformer")
        export.save_model(flux.clip, self.out / "flux" / "text_encoder")
        export.save_model(flux.t5, self.out / "flux" / "text_encoder_2")
        return info

    def measure_flux(self) -> Figures:
        """Measures how often the generator's pictures show what their prompts say, as the reader net classifies them.

        Returns the share for each attribute (angle, outfit…), and the number of training steps as `of_step`. Raises:
        NotFound where a stage that it measures has no record.
        """
        steps = sum(self.records.figures(stage)["steps"] for stage in ("flux", "flux_poses"))
        generator = measure.Generator(self.trained_flux(), self.vae("flux"), self.size.generator_steps)
        figures = measure.generator_figures(generator, self.oracle(Reader(), "reader"), self.size.generated)
        return figures | {"of_step": steps}

    def measure_edit(self) -> Figures:
        """Measures how often the editor makes the change asked for, keeps the person, and keeps all else.

        The judge net recognises the person, the reader net all other attributes. Returns these three shares for each
        kind of edit, and the number of training steps as `of_step`, for the manifest. Raises: NotFound where a stage
        that it measures, or the judge's, has no record.
        """
        steps, threshold = self.records.figures("edit")["steps"], self.records.figures("judge")["threshold"]
        editor = measure.Editor(self.editor(), self.vae("qwen"), self.text_encoder(), self.size.editor_steps)
        reader, judge = self.oracle(Reader(), "reader"), self.oracle(Judge(), "judge")
        figures = measure.editor_figures(editor, reader, judge, threshold, self.size.edits_a_task)
        return figures | {"of_step": steps}

    def manifest(self) -> None:
        """Writes manifest.json to the output folder: the stages' records, versions, seeds, thresholds, models' size."""
        stages = {stage: record for stage in STAGES if (record := self.records.read(stage))}
        versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers, np)}
        record = {
            "what": "a toy world: the real model classes, trained from nothing on drawings by engines/mini/world.py",
            "command": "python -m engines.mini.build",
            "versions": versions | {"python": platform.python_version()},
            "planned_steps": {stage: self.schedule(stage).steps for stage in self.schedules},
            "seeds": {stage: plan.seed for stage, plan in self.schedules.items()},
            "prompt_tokens": {"clip": text_tokenizers.CLIP_LENGTH, "t5": text_tokenizers.T5_LENGTH},
            "thresholds": {name: self.records.read(name).get("threshold") for name in ("identity", "judge")},
            "size_mb": round(export.size_mb(self.out), 1),
            "stages": stages,
        }
        export.write_whole(self.out / "manifest.json", json.dumps(record, indent=2))


def main(arguments: list[str] | None = None) -> None:
    """Runs the training stages that the options `--stage` name, or all if there are none.

    `arguments`: the command line, such as ["--stage", "edit"]; None takes that of this process.
    """
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_small_blocks()
    build = Build(options.out, options.cache, options.scale, not options.eager, device=options.device)
    for stage in options.stage or STAGES:
        if stage == "sample":
            write_sample(options.out.parent / "sample")
        else:
            build.run(stage)


if __name__ == "__main__":
    main()
