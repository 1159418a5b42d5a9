"""The LoRA training loop, once for every family.

Randomness is a function of (seed, step), never of a generator's history: a resume needs nothing but the
adapter, the optimiser and the step, and is equal to the bit to a run that was never interrupted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from engines.api.errors import BadInput, Cancelled, UserError
from engines.api.params import Json, TrainParams
from engines.api.protocols import (
    CheckpointSaved,
    DiskUse,
    Lease,
    ModelSpec,
    OnStep,
    Plan,
    SampleDrawn,
    Stage,
    StepDone,
    TrainEvent,
    TrainRun,
)
from engines.catalogue.registry import load_class
from engines.drawing.lora_files import detach, read_adapter
from engines.training import checkpoint
from engines.training.average import Average
from engines.training.checks import check
from engines.training.data import Source, dataset_hash, file_hash, read_sources
from engines.training.encoding import Encoded, encode
from engines.training.export import Info, write_adapter
from engines.training.family import Family
from engines.training.layers import use_lean_layers
from engines.training.losses import Term, terms
from engines.training.optimizers import OPTIMIZERS
from engines.training.precision import attention, checkpointing, narrow_products
from engines.training.targets import Targets
from engines.training.telling import Tally, peak_memory, read_tally, shown
from engines.training.workers import Alone, Workers

_ADAPTER = "lora"
_VAE_BYTES = 3_200  # per pixel, while it encodes: as measured in bfloat16
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
        self._check(run)
        family, params = self.family, run.params
        encoders = Stage("encode", family.components(family.encoders), params.resolution**2 * _VAE_BYTES)
        trained = family.components(("transformer", "vae"), params.base)
        references = max((len(item.references) for item in run.items), default=1)
        train = Stage("train", trained, family.working_bytes(params, references))
        return Plan(f"train {self.spec.name}", (encoders, train))

    def disk(self, params: TrainParams) -> DiskUse:
        """One checkpoint and one encoded item, about."""
        return self.family.disk(params)

    def cut(self, captions: Sequence[str]) -> Sequence[int]:
        """Which captions the family's encoders read only a part of."""
        return [at for at, caption in enumerate(captions) if not self.family.reads_whole(caption)]

    def train(self, run: TrainRun, lease: Lease, on_step: OnStep) -> Iterator[TrainEvent]:
        """Train from the folder's last checkpoint, or from nothing; a cancel saves a checkpoint first.

        Raises: BadInput, NotFound, UserError where the loss stops being a number, Busy while another process
        trains in the folder, Cancelled.
        """
        with checkpoint.claimed(run.folder) if self._workers.main else nullcontext():
            yield from self._train(run, lease, on_step)

    def _train(self, run: TrainRun, lease: Lease, on_step: OnStep) -> Iterator[TrainEvent]:
        self._check(run)
        self._workers.check(run.params.batch_size * run.params.gradient_accumulation)
        sources = read_sources(run.items)
        identity = self._identity(run, sources)
        last = checkpoint.latest(run.folder)
        if last:
            checkpoint.check_same(last, identity)
            if last.step >= run.params.steps:
                yield CheckpointSaved(last.step, last.adapter)
                if not _owes_previews(last, run):
                    return
        with self._workers.encoding():
            encoded = encode(self.family, run, sources, lease, on_step)
        with (
            lease.stage("train") as parts,
            trainable(parts["transformer"], run.params, self.family.targeted(run.params)) as weights,
        ):
            session = _Session(self.family, run, identity, parts, weights, encoded, self._workers)
            events = session.run(last, on_step)
            yield from shown(events, run.folder, last.step if last else 0) if self._workers.main else events

    def _check(self, run: TrainRun) -> None:
        check(run)
        self.family.targeted(run.params)
        for preview in run.previews:
            self.family.check_preview(preview)

    def _identity(self, run: TrainRun, sources: Sequence[Source]) -> Json:
        """What makes two runs the same training, as plain as it comes back from a file."""
        plain = json.loads(json.dumps(run.params.to_json()))
        knobs = {name: value for name, value in plain.items() if name not in _MAY_CHANGE}
        weights = self.family.weights_hash(("transformer", *self.family.encoders))
        begun = {"start": file_hash(run.start)} if run.start else {}
        said = {"trigger": run.trigger} if run.params.dop_weight or run.params.prior_weight else {}  # else only a label
        return {**knobs, **begun, **said, "model": self.spec.name, "weights": weights, "dataset": dataset_hash(sources)}


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
        self._device, self._held = self._transformer.device, self._transformer.dtype  # diffusers looks for them anew
        self._encoded, self._workers = encoded, workers
        self._terms = terms(family, encoded, params)
        self._optimizer = OPTIMIZERS[params.optimizer].make(weights, params.learning_rate)
        self._average = Average(weights, params.ema_decay)
        self._step = 0

    def run(self, last: checkpoint.Checkpoint | None, on_step: OnStep) -> Iterator[TrainEvent]:
        """Every step that is left, with the checkpoints and previews that fall due."""
        params = self._params
        if last:
            self._restore(last)
        elif self._run.start:
            self._begin_with(self._run.start)
        try:
            if self._workers.main and (not last or _owes_previews(last, self._run)):
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
        return self._workers.main and _due(self._step, every, self._params.steps)

    def _learn(self, step: int) -> StepDone:
        """One optimiser step."""
        began, params = time.perf_counter(), self._params
        rate = params.learning_rate * min(1.0, step / OPTIMIZERS[params.optimizer].warmup)
        parts, size = params.gradient_accumulation, params.batch_size
        tally = Tally()
        for part in range(parts):
            ours = self._workers.share(part * size, size)
            aim, *_ = [self._descend(term, (step - 1) * parts + part, ours) for term in self._terms]
            if aim:
                tally.add(*aim)
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
        self._average.follow(step)
        seconds = time.perf_counter() - began
        memory = peak_memory(self._device)
        return StepDone(step, params.steps, loss_now, level, rate, norm, seconds, bands, memory)

    def _descend(self, term: Term, number: int, ours: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """Add the gradient of one term on our share of a batch; answers noise levels and losses, (B,) each."""
        draw = term.draw(number, ours, self._device)
        if draw is None:
            return None
        with narrow_products(self._device, self._held), attention(self._device):
            losses = term.losses(self._transformer, draw)
        (term.weight * losses.sum() / (draw.count * self._params.gradient_accumulation)).backward()
        return draw.sigma, losses

    def _draw(self, on_step: OnStep) -> Iterator[SampleDrawn]:
        """The fixed-seed previews, with the LoRA as it is now; what is cut short here, a resume draws again."""
        previews = self._run.previews
        for index, (name, preview) in enumerate(zip(self._encoded.previews, previews, strict=True)):
            tick = _tick(on_step, self._step, self._params.steps, f"preview {index + 1} of {len(previews)}")
            with self._average.shown():
                image = self._family.draw(self._parts, self._encoded.cache[name], preview, tick)
            yield SampleDrawn(self._step, index, image)
        checkpoint.settle(self._run.folder, self._step)

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
            targets=self._family.targeted(self._params).pattern,
            params=self._params,
            pictures=len(self._run.items),
            licence=self._family.spec.licence,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        with self._average.shown() as raw:
            state = get_peft_model_state_dict(self._transformer, adapter_name=_ADAPTER)
            saved = checkpoint.save(
                self._run.folder,
                self._step,
                self._identity,
                {**self._optimizer.state_dict(), "raw": raw},
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
                f"on {self._family.spec.name}'s layers ({self._params.targets}).",
                "Train with the rank, alpha and targets that it was trained with, or start from nothing.",
            )
        set_peft_model_state_dict(self._transformer, state, adapter_name=_ADAPTER)
        self._average = Average(self._weights, self._params.ema_decay)

    def _restore(self, last: checkpoint.Checkpoint) -> None:
        state, _ = read_adapter(last.adapter)
        set_peft_model_state_dict(self._transformer, state, adapter_name=_ADAPTER)
        self._average = Average(self._weights, self._params.ema_decay)
        optimizer = last.optimizer()
        self._average.go_on(optimizer.pop("raw"))
        self._optimizer.load_state_dict(optimizer)
        self._step = last.step


@contextmanager
def trainable(transformer: Any, params: TrainParams, targets: Targets) -> Iterator[list[Tensor]]:
    """A fresh float32 LoRA on a frozen transformer, which is left as it was found; yields its weights."""
    config = use_lean_layers(LoraConfig(r=params.rank, lora_alpha=params.alpha, target_modules=targets.pattern))
    try:
        transformer.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(params.seed)
            transformer.add_adapter(config, adapter_name=_ADAPTER)
        if params.gradient_checkpointing:
            transformer.enable_gradient_checkpointing(checkpointing(transformer.device))
        weights = [weight for weight in transformer.parameters() if weight.requires_grad]
        for weight in weights:
            weight.data = weight.data.float()
        yield weights
    finally:
        transformer.disable_gradient_checkpointing()
        detach(transformer)


def _due(step: int, every: int, steps: int) -> bool:
    return step == steps or (every > 0 and step % every == 0)


def _owes_previews(last: checkpoint.Checkpoint, run: TrainRun) -> bool:
    """Whether a run was stopped between a checkpoint and the previews of its step."""
    due = _due(last.step, run.params.sample_every, run.params.steps)
    return due and bool(run.previews) and not last.told


def _tick(on_step: OnStep, step: int, total: int, what: str) -> Callable[[int, int], None]:
    return lambda done, steps: on_step(step, total, f"{what}: {done}/{steps}")
