"""The LoRA training loop, once for every family.

Randomness is a function of (seed, step), never of a generator's history: a resume needs nothing but the
adapter, the optimiser and the step, and is equal to the bit to a run that was never interrupted.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from engines.api import (
    CheckpointSaved,
    DiskUse,
    Json,
    Lease,
    ModelSpec,
    OnStep,
    Plan,
    SampleDrawn,
    Stage,
    StepDone,
    TrainEvent,
    TrainParams,
    TrainRun,
)
from engines.errors import BadInput, Cancelled, UserError
from engines.lora import checkpoint
from engines.lora.data import BatchOrder, Source, dataset_hash, file_hash, read_sources, seeded, weights_hash
from engines.lora.densities import density
from engines.lora.encoding import Encoded, encode
from engines.lora.export import Info, write_adapter
from engines.lora.family import Family
from engines.lora.optimizers import OPTIMIZERS
from engines.lora.telling import Tally, peak_memory, read_tally, shown
from engines.lora.workers import Alone, Workers
from engines.parts.adapters import detach, read_adapter
from engines.parts.components import held_in
from engines.registry import load_class

_ADAPTER = "lora"
_WARMUP_STEPS = 20
_VAE_BYTES = 3_200  # per pixel, while it encodes: as measured in bfloat16
_ABOVE_ZERO = ("rank", "alpha", "learning_rate", "steps", "batch_size", "gradient_accumulation", "resolution")
_MAY_CHANGE = {"steps", "save_every", "sample_every"}  # how long and how often, not what is learned


class LoraTrainer:
    """Pictures and words to a LoRA; the run's folder holds all that is needed to go on."""

    def __init__(self, spec: ModelSpec, folder: Path, workers: Workers | None = None) -> None:
        self.spec = spec
        self.folder = folder
        self.family: Family = load_class(spec.trainer)(spec, folder)
        self._workers = workers or Alone()

    def plan(self, run: TrainRun) -> Plan:
        """Encoders first; then they leave, and the transformer comes, with the small VAE for previews."""
        family, params = self.family, run.params
        encoders = Stage("encode", family.components(family.encoders), params.resolution**2 * _VAE_BYTES)
        train = Stage("train", family.components(("transformer", "vae")), family.working_bytes(params))
        return Plan(f"train {self.spec.name}", (encoders, train))

    def disk(self, params: TrainParams) -> DiskUse:
        """One checkpoint and one encoded item, about."""
        return self.family.disk(params)

    def train(self, run: TrainRun, lease: Lease, on_step: OnStep) -> Iterator[TrainEvent]:
        """Train from the folder's last checkpoint, or from nothing; a cancel saves a checkpoint first.

        Raises: BadInput, NotFound, UserError where the loss stops being a number, Busy while another process
        trains in the folder, Cancelled.
        """
        with checkpoint.claimed(run.folder) if self._workers.main else nullcontext():
            yield from self._train(run, lease, on_step)

    def _train(self, run: TrainRun, lease: Lease, on_step: OnStep) -> Iterator[TrainEvent]:
        _check(run.params)
        self._workers.check(run.params.batch_size * run.params.gradient_accumulation)
        sources = read_sources(run.items)
        identity = self._identity(run, sources)
        last = checkpoint.latest(run.folder)
        if last:
            checkpoint.check_same(last, identity)
            if last.step >= run.params.steps:
                yield CheckpointSaved(last.step, last.adapter)
                return
        with self._workers.encoding():
            encoded = encode(self.family, run, sources, lease, on_step)
        with (
            lease.stage("train") as parts,
            _trainable(parts["transformer"], run.params, self.family.targets) as weights,
        ):
            session = _Session(self.family, run, identity, parts, weights, encoded, self._workers)
            events = session.run(last, on_step)
            yield from shown(events, run.folder, last.step if last else 0) if self._workers.main else events

    def _identity(self, run: TrainRun, sources: Sequence[Source]) -> Json:
        """What makes two runs the same training."""
        knobs = {name: value for name, value in run.params.to_json().items() if name not in _MAY_CHANGE}
        names = ("transformer", *self.family.encoders)
        weights = weights_hash(self.folder, [held_in(self.spec, self.folder, name).name for name in names])
        begun = {"start": file_hash(run.start)} if run.start else {}
        return {**knobs, **begun, "model": self.spec.name, "weights": weights, "dataset": dataset_hash(sources)}


class _Session:
    """A transformer with a LoRA on it and an optimiser, for as long as the card is ours."""

    def __init__(
        self,
        family: Family,
        run: TrainRun,
        identity: Json,
        parts: Mapping[str, Any],
        weights: list[Tensor],
        encoded: Encoded,
        workers: Workers,
    ) -> None:
        params = run.params
        self._family, self._run, self._params, self._identity = family, run, params, identity
        self._parts, self._transformer, self._weights = parts, parts["transformer"], weights
        self._encoded, self._workers = encoded, workers
        self._density = density(params.timestep_density)
        self._optimizer = OPTIMIZERS[params.optimizer](weights, params.learning_rate)
        self._order = BatchOrder(encoded.shapes(), params.batch_size, params.seed)
        self._step = 0

    def run(self, last: checkpoint.Checkpoint | None, on_step: OnStep) -> Iterator[TrainEvent]:
        """Every step that is left, with the checkpoints and previews that fall due."""
        params = self._params
        if last:
            self._restore(last)
        elif self._run.start:
            self._begin_with(self._run.start)
        try:
            if not last and self._workers.main:
                yield from self._draw(on_step)
            while self._step < params.steps:
                done = self._learn(self._step + 1)
                self._step = done.step
                yield done
                on_step(done.step, params.steps, f"loss {done.loss:.4f}")
                if self._due(params.save_every):
                    yield self._save()
                if self._due(params.sample_every):
                    yield from self._draw(on_step)
        except Cancelled:
            if self._step and self._workers.main:
                yield self._save()
            raise

    def _due(self, every: int) -> bool:
        due = self._step == self._params.steps or (every > 0 and self._step % every == 0)
        return due and self._workers.main

    def _learn(self, step: int) -> StepDone:
        """One optimiser step."""
        began, params = time.perf_counter(), self._params
        rate = params.learning_rate * min(1.0, step / _WARMUP_STEPS)
        parts, size = params.gradient_accumulation, params.batch_size
        tally = Tally()
        for part in range(parts):
            ours = self._workers.share(part * size, size)
            if not ours:
                continue
            batch, noise, sigma = self._batch((step - 1) * parts + part, ours)
            with _attention(self._transformer.device):  # the backward too: checkpointing computes forward again in it
                with _precision(self._transformer.device):
                    losses = self._family.losses(self._transformer, batch, noise, sigma, params.guidance)
                (losses.sum() / (parts * size)).backward()
            tally.add(sigma, losses)
        loss_now, level, bands = read_tally(self._workers.add_up(self._weights, tally.figures))
        norm = torch.nn.utils.clip_grad_norm_(self._weights, params.max_grad_norm or math.inf).item()
        if not math.isfinite(loss_now + norm):
            raise UserError(
                f"The loss is no longer a number at step {step}.",
                "Lower the learning rate and start a new training.",
            )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - began
        memory = peak_memory(self._transformer.device)
        return StepDone(step, params.steps, loss_now, level, rate, norm, seconds, bands, memory)

    def _batch(self, number: int, ours: list[int]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Our examples, their noise and noise levels: a function of the seed and the batch's number."""
        params, device = self._params, self._transformer.device
        generator = seeded(params.seed, "noise", number)
        chosen = self._order.batch(number)
        wordless = torch.rand(len(chosen), generator=generator) < params.caption_dropout
        rows = [self._encoded.row(index, wordless=drop) for index, drop in zip(chosen, wordless.tolist(), strict=True)]
        batch = self._family.collate(rows)
        latents = batch["latents"]
        noise = torch.randn(latents.shape, generator=generator)
        sigma = self._density.sample(len(latents), self._family.shift(latents), generator)
        mine = {name: value[ours].to(device) for name, value in batch.items()}
        return mine, noise[ours].to(device), sigma[ours].to(device)

    def _draw(self, on_step: OnStep) -> Iterator[SampleDrawn]:
        """The fixed-seed previews, with the LoRA as it is now."""
        previews = self._run.previews
        for index, (name, preview) in enumerate(zip(self._encoded.previews, previews, strict=True)):
            tick = _tick(on_step, self._step, self._params.steps, f"preview {index + 1} of {len(previews)}")
            image = self._family.draw(self._parts, self._encoded.cache[name], preview, tick)
            yield SampleDrawn(self._step, index, image)

    def _save(self) -> CheckpointSaved:
        """A full state, its adapter read back before it counts; older ones that nobody asked for go."""
        info = Info(
            family=self._family.spec.family,
            base_model=self._family.spec.name,
            trigger=self._run.trigger,
            rank=self._params.rank,
            alpha=self._params.alpha,
            step=self._step,
            dataset=self._identity["dataset"],
            targets=self._family.targets,
        )
        state = get_peft_model_state_dict(self._transformer, adapter_name=_ADAPTER)
        saved = checkpoint.save(
            self._run.folder,
            self._step,
            self._identity,
            self._optimizer.state_dict(),
            lambda path: write_adapter(path, state, info),
        )
        checkpoint.prune(self._run.folder, self._params.save_every)
        return CheckpointSaved(saved.step, saved.adapter)

    def _begin_with(self, adapter: Path) -> None:
        """Take another run's LoRA as the first weights; optimiser and schedule begin anew."""
        state, told = read_adapter(adapter)
        own = get_peft_model_state_dict(self._transformer, adapter_name=_ADAPTER)
        shapes, wanted = ({name: value.shape for name, value in each.items()} for each in (state, own))
        if shapes != wanted or float(told.get("alpha", self._params.alpha)) != self._params.alpha:
            raise BadInput(
                f"{adapter} is not a LoRA of rank {self._params.rank} and alpha {self._params.alpha:g} "
                f"on {self._family.spec.name}.",
                "Train with the rank and alpha that it was trained with, or start from nothing.",
            )
        set_peft_model_state_dict(self._transformer, state, adapter_name=_ADAPTER)

    def _restore(self, last: checkpoint.Checkpoint) -> None:
        state, _ = read_adapter(last.adapter)
        set_peft_model_state_dict(self._transformer, state, adapter_name=_ADAPTER)
        self._optimizer.load_state_dict(last.optimizer())
        self._step = last.step


@contextmanager
def _trainable(transformer: Any, params: TrainParams, targets: str) -> Iterator[list[Tensor]]:
    """A fresh float32 LoRA on a frozen transformer, which is left as it was found; yields its weights."""
    config = LoraConfig(r=params.rank, lora_alpha=params.alpha, target_modules=targets)
    try:
        transformer.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            transformer.add_adapter(config, adapter_name=_ADAPTER)
        if params.gradient_checkpointing:
            transformer.enable_gradient_checkpointing()
        weights = [weight for weight in transformer.parameters() if weight.requires_grad]
        for weight in weights:
            weight.data = weight.data.float()
        yield weights
    finally:
        transformer.disable_gradient_checkpointing()
        detach(transformer)


def _check(params: TrainParams) -> None:
    """Refuse what could only fail later. Raises: BadInput."""
    density(params.timestep_density)
    if params.optimizer not in OPTIMIZERS:
        raise BadInput(f"There is no optimizer named {params.optimizer}.", f"Choose one of: {', '.join(OPTIMIZERS)}.")
    for name in _ABOVE_ZERO:
        if getattr(params, name) <= 0:
            raise BadInput(f"{name} is {getattr(params, name)}.", "It must be above 0.")


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU attention is spelled out: for short sequences the fused kernel's backward is slower."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


@contextmanager
def _precision(device: torch.device) -> Iterator[None]:
    """bfloat16 where the hardware multiplies it fast; LoRA weights, norms and the loss stay float32."""
    fast = device.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16", False)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast), warnings.catch_warnings():
        # The norms' weights are float32 on purpose; that they take the plain kernel for it is no news.
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
        yield


def _tick(on_step: OnStep, step: int, total: int, what: str) -> Callable[[int, int], None]:
    return lambda done, steps: on_step(step, total, f"{what}: {done}/{steps}")
