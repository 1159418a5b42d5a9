"""Runs the LoRA training loop, which is the same for all families.

Randomness is a function of (seed, step), never of a generator's history. A resume needs only the adapter, the
optimiser's state and the step, and is equal to the bit to a run that was never interrupted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from engines.api.errors import BadInput, Cancelled, UserError
from engines.api.params import TrainParams
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
from engines.training.beginning import Beginning, attach_kept
from engines.training.checkpoint import Checkpoint, Identity
from engines.training.data import Source, dataset_hash, file_hash, read_sources
from engines.training.encoding import Encoded, encode
from engines.training.export import Info, scaled, write_adapter
from engines.training.family import Family, Parts, Transformer
from engines.training.lora_layer import use_lean_layers
from engines.training.losses import terms
from engines.training.optimizers import OPTIMIZERS
from engines.training.precision import attention, checkpointing, narrow_products
from engines.training.reporting import LossTally, mean_figures, peak_memory, with_tensorboard
from engines.training.targets import Targets
from engines.training.workers import SingleWorker, Workers
from engines.weights import components

_ADAPTER = "lora"
_VAE_BYTES = 3_200  # per pixel while the VAE encodes, measured in bfloat16
_MAY_CHANGE = {"steps", "save_every", "sample_every"}  # the knobs that do not change what is learned


class LoraTrainer:
    """Trains LoRAs of one model on pictures and captions; each run's folder holds all that is needed to resume it."""

    def __init__(self, spec: ModelSpec, folder: Path, workers: Workers | None = None) -> None:
        self.spec = spec
        self.folder = folder
        self.family: Family = load_class(spec.trainer)(spec, folder)
        # A tokenizer keeps the padding of its last call: one that counts in a page's thread must not be the encoder's.
        self._counting: Family = load_class(spec.trainer)(spec, folder)
        self._workers = workers or SingleWorker()

    def plan(self, run: TrainRun) -> Plan:
        """Checks a run and returns its two stages, each with the components that it needs on the GPU.

        The stage "encode" needs the encoders; the stage "train" needs the transformer, and the VAE for previews.
        Raises: BadInput for parameters or previews that would fail later, or a LoRA to begin with that does not fit
        them; LoraMismatch for one that does not fit the model; NotFound where it is missing.
        """
        self._check(run)
        family, params = self.family, run.params
        if run.start and run.origin:
            bare = components.bare(self.folder, "transformer", self.folder / "transformer")
            Beginning.read(run.start, bare, self.spec.family, params, family.targeted(params))
        encoders = Stage("encode", family.components(family.encoders), params.resolution**2 * _VAE_BYTES)
        trained = family.components(("transformer", "vae"), params.base)
        references = max((len(item.references) for item in run.items), default=1)
        train = Stage("train", trained, family.working_bytes(params, references))
        return Plan(f"train {self.spec.name}", (encoders, train))

    def disk(self, params: TrainParams) -> DiskUse:
        """Estimates the bytes on disk of one checkpoint, and of one training picture after encoding."""
        return self.family.disk(params)

    def cut(self, captions: Sequence[str]) -> Sequence[int]:
        """Returns the indices of those captions that the text encoder would truncate; any thread may call it."""
        return [at for at, caption in enumerate(captions) if not self._counting.fits_encoder(caption)]

    def train(self, run: TrainRun, lease: Lease, on_step: OnStep) -> Iterator[TrainEvent]:
        """Trains a run to its end and yields its events: steps, previews and checkpoints.

        It resumes from the run's last checkpoint if there is one; otherwise it begins with the LoRA file `run.start`,
        or with a new LoRA. `lease`: gives access to the GPU; `on_step`: called with progress, and may raise Cancelled
        to stop the training, which then saves a checkpoint.
        Raises: BadInput for a run that cannot be trained or resumed; NotFound for a missing file; UserError if the loss
        is not finite; Busy if another process trains in the folder; Cancelled.
        """
        workers, params = self._workers, run.params
        with checkpoint.locked(run.folder) if workers.main else nullcontext():
            # 1. What is trained, and the checkpoint to resume from.
            self._check(run)
            workers.check(params.batch_size * params.gradient_accumulation)
            sources = read_sources(run.items)
            identity = self._identity(run, sources)
            last = checkpoint.latest(run.folder)
            if last:
                checkpoint.check_same(last, identity)
                if last.step >= params.steps:
                    yield CheckpointSaved(last.step, last.adapter)
                    if not _previews_missing(last, run):
                        return

            # 2. Pictures and words to tensors, with the encoders.
            with workers.encoding():
                encoded = encode(self.family, run, sources, lease, on_step)

            # 3. The steps, with the transformer.
            with (
                lease.stage("train") as parts,
                trainable(parts["transformer"], params, self.family.targeted(params)) as weights,
            ):
                session = _Session(self.family, run, identity, parts, weights, encoded, workers)
                events = session.events(last, on_step)
                begun = last.step if last else 0
                yield from with_tensorboard(events, run.folder, begun) if workers.main else events

    def _check(self, run: TrainRun) -> None:
        """Checks parameters, targets and previews, as the studio does, because a run may also come from a file.

        Raises: BadInput.
        """
        run.params.checked().demand_sense(run.trigger)
        self.family.targeted(run.params)
        for preview in run.previews:
            self.family.check_preview(preview)

    def _identity(self, run: TrainRun, sources: Sequence[Source]) -> Identity:
        """Returns all that must be equal for two runs to be the same training, with parameters as JSON stores them."""
        params = run.params
        knobs = json.loads(json.dumps(params.to_json()))
        return Identity(
            model=self.spec.name,
            weights=self.family.weights_hash(("transformer", *self.family.encoders)),
            dataset=dataset_hash(sources),
            knobs={name: value for name, value in knobs.items() if name not in _MAY_CHANGE},
            start=file_hash(run.start, "begin with another LoRA") if run.start else "",
            trigger=run.trigger if params.dop_weight or params.prior_weight else "",  # else it is only a label
        )


class _Session:
    """Trains a LoRA from the first step of a run, or the first step after a checkpoint, to the last."""

    def __init__(
        self,
        family: Family,
        run: TrainRun,
        identity: Identity,
        parts: Parts,
        weights: list[Tensor],
        encoded: Encoded,
        workers: Workers,
    ) -> None:
        params = run.params
        self._family, self._run, self._params, self._identity = family, run, params, identity
        self._parts, self._transformer, self._weights = parts, parts["transformer"], weights
        # Kept, since diffusers goes through all weights to find them.
        self._device, self._dtype = self._transformer.device, self._transformer.dtype
        self._encoded, self._workers = encoded, workers
        self._terms = terms(family, encoded, params)
        self._optimizer = OPTIMIZERS[params.optimizer].make(weights, params.learning_rate)
        self._average = Average(weights, params.ema_decay)
        self._step = 0  # the last one that is done
        self._scale = params.alpha / params.rank
        self._kept: Mapping[str, Tensor] = {}  # of a LoRA from elsewhere, on layers that are not trained

    def events(self, last: Checkpoint | None, on_step: OnStep) -> Iterator[TrainEvent]:
        """Takes all remaining steps; yields each, and the checkpoints and previews that are due."""
        params, main = self._params, self._workers.main
        if last:
            self._resume(last)
        elif self._run.start and self._run.origin:
            self._begin_with(self._run.start)
        elif self._run.start:
            self._start_from(self._run.start)
        try:
            if main and (not last or _previews_missing(last, self._run)):
                yield from self._draw_previews(on_step)
            while self._step < params.steps:
                done = self._take_step(self._step + 1)
                self._step = done.step
                yield done
                on_step(done.step, params.steps, f"loss {done.loss:.4f}")
                if main and _due(self._step, params.save_every, params.steps):
                    yield self._save()
                if main and _due(self._step, params.sample_every, params.steps):
                    yield from self._draw_previews(on_step)
        except Cancelled:
            if self._step and main:
                yield self._save()
            raise

    def _take_step(self, step: int) -> StepDone:
        """Takes the optimiser step numbered `step` (from 1). Raises: UserError where the loss is no finite number."""
        began, params = time.perf_counter(), self._params
        parts, size = params.gradient_accumulation, params.batch_size

        # 1. The gradients of this process's share of every batch, term by term.
        tally = LossTally(self._device)
        for part in range(parts):
            ours = self._workers.share(part * size, size)
            for index, term in enumerate(self._terms):
                batch = term.batch((step - 1) * parts + part, ours, self._device)
                if batch is None:
                    continue
                with narrow_products(self._device, self._dtype), attention(self._device):
                    losses = term.losses(self._transformer, batch)
                (term.weight * losses.sum() / (batch.count * parts)).backward()
                if index == 0:
                    tally.add(batch.sigma, losses)

        # 2. Their sum over all processes, clipped.
        figures = self._workers.add_up(self._weights, tally.figures)
        clipped = torch.nn.utils.clip_grad_norm_(self._weights, params.max_grad_norm or math.inf)
        told = torch.cat([figures, clipped.detach().to(figures)[None]]).cpu()  # the step's one wait for the GPU
        (loss, sigma, bands), norm = mean_figures(told[:-1]), float(told[-1])
        if not math.isfinite(loss + norm):
            raise UserError(
                f"The loss is no longer a number at step {step}.",
                "Lower the learning rate and start a new training.",
            )

        # 3. The update of the weights and of their average.
        rate = params.learning_rate * min(1.0, step / OPTIMIZERS[params.optimizer].warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._average.update(step)
        seconds = time.perf_counter() - began
        return StepDone(step, params.steps, loss, sigma, rate, norm, seconds, bands, peak_memory(self._device))

    def _draw_previews(self, on_step: OnStep) -> Iterator[SampleDrawn]:
        """Generates the previews with the present LoRA and their fixed seeds; yields each.

        Where this is interrupted, a resumed run generates all of them again.
        """
        step, total, previews = self._step, self._params.steps, self._run.previews
        for index, (name, preview) in enumerate(zip(self._encoded.previews, previews, strict=True)):
            what = f"preview {index + 1} of {len(previews)}"

            def tick(done: int, steps: int, what: str = what) -> None:
                on_step(step, total, f"{what}: {done}/{steps}")

            with self._average.applied():
                image = self._family.draw(self._parts, self._encoded.cache[name], preview, tick)
            yield SampleDrawn(step, index, image)
        checkpoint.mark_previews_done(self._run.folder, step)

    def _save(self) -> CheckpointSaved:
        """Saves a checkpoint, checks its LoRA file, and deletes older checkpoints that `save_every` does not keep."""
        spec, origin, licence = self._family.spec, self._run.origin, self._run.origin_licence
        info = Info(
            family=self._family.spec.family,
            base_model=self._family.spec.name,
            trigger=self._run.trigger,
            rank=self._params.rank,
            alpha=self._params.alpha,
            step=self._step,
            dataset=self._identity.dataset,
            targets=self._family.targeted(self._params).pattern,
            params=self._params,
            pictures=len(self._run.items),
            licence=" + ".join(filter(None, (spec.licence, licence))),
            told=f"A LoRA of {spec.name}, trained with FLENwheel on from {origin} (licence: {licence or 'unknown'})."
            if origin
            else "",
            made=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        with self._average.applied() as trained:
            state = get_peft_model_state_dict(self._transformer, adapter_name=_ADAPTER)
            saved = checkpoint.save(
                self._run.folder,
                self._step,
                self._identity,
                {**self._optimizer.state_dict(), "raw": trained},
                lambda path: write_adapter(path, state | scaled(self._kept, 1 / self._scale), info),
            )
        checkpoint.prune(self._run.folder, self._params.save_every)
        return CheckpointSaved(saved.step, saved.adapter)

    def _begin_with(self, file: Path) -> None:
        """Loads a LoRA from elsewhere as the initial weights; its layers that are not trained stay attached, frozen.

        Raises: NotFound, LoraMismatch, BadInput.
        """
        targets = self._family.targeted(self._params)
        begun = Beginning.read(file, self._transformer, self._family.spec.family, self._params, targets)
        own = get_peft_model_state_dict(self._transformer, adapter_name=_ADAPTER)
        set_peft_model_state_dict(self._transformer, begun.filled(own, self._scale), adapter_name=_ADAPTER)
        self._keep(begun.kept)
        self._average = Average(self._weights, self._params.ema_decay)

    def _keep(self, kept: Mapping[str, Tensor]) -> None:
        """Attaches tensors of layers that are not trained, which every checkpoint's file has, too."""
        self._kept = kept
        attach_kept(self._transformer, kept, _ADAPTER)

    def _start_from(self, adapter: Path) -> None:
        """Loads another run's LoRA as the initial weights; optimiser and step count start anew. Raises: BadInput."""
        state, metadata = read_adapter(adapter)
        own = get_peft_model_state_dict(self._transformer, adapter_name=_ADAPTER)
        shapes, wanted = ({name: value.shape for name, value in each.items()} for each in (state, own))
        if shapes != wanted or float(metadata.get("alpha", self._params.alpha)) != self._params.alpha:
            raise BadInput(
                f"{adapter} is not a LoRA of rank {self._params.rank} and alpha {self._params.alpha:g} "
                f"on {self._family.spec.name}'s layers ({self._params.targets}).",
                "Train with the rank, alpha and targets that it was trained with, or start from nothing.",
            )
        set_peft_model_state_dict(self._transformer, state, adapter_name=_ADAPTER)
        self._average = Average(self._weights, self._params.ema_decay)

    def _resume(self, last: Checkpoint) -> None:
        """Loads a checkpoint: the averages (its LoRA file), the trained weights, the optimiser's state and the step."""
        state, _ = read_adapter(last.adapter)
        own = get_peft_model_state_dict(self._transformer, adapter_name=_ADAPTER).keys()
        trained = {name: value for name, value in state.items() if name in own}
        set_peft_model_state_dict(self._transformer, trained, adapter_name=_ADAPTER)
        self._keep(scaled({name: value for name, value in state.items() if name not in own}, self._scale))
        self._average = Average(self._weights, self._params.ema_decay)
        optimizer = last.optimizer()
        self._average.restore(optimizer.pop("raw"))
        self._optimizer.load_state_dict(optimizer)
        self._step = last.step


@contextmanager
def trainable(transformer: Transformer, params: TrainParams, targets: Targets) -> Iterator[list[Tensor]]:
    """Adds a new float32 LoRA to a frozen transformer for the length of a `with` block, and removes it afterwards.

    `targets`: the layers that get the LoRA. Yields the LoRA's weights, which are to be trained.
    """
    config = use_lean_layers(
        LoraConfig(
            r=params.rank,
            lora_alpha=params.alpha,  # type: ignore[arg-type]  # peft declares an int and computes with any number
            target_modules=targets.pattern,
        )
    )
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


def _previews_missing(last: Checkpoint, run: TrainRun) -> bool:
    """Returns whether a run ended after a checkpoint and before the previews of that step were complete."""
    due = _due(last.step, run.params.sample_every, run.params.steps)
    return due and bool(run.previews) and not last.previews_done
