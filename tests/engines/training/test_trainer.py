"""Tests the training loop with tiny models of two families."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput, NotFound, UserError
from engines.api.protocols import CheckpointSaved, SampleDrawn, StepDone, TrainRun
from tests.engines.training.trained import adapter_of, both, equal, optimizer_of

pytestmark = pytest.mark.slow


@both
def test_events_come_when_due(family, make_trainer, make_run, train, steps, tmp_path: Path) -> None:
    """Previews come first, when due and at the end, checkpoints when due and at the end; each step is reported."""
    run = make_run(tmp_path, family, steps=5, save_every=2, sample_every=2)

    events = train(make_trainer(family), run)

    assert [event.step for event in events if isinstance(event, SampleDrawn)] == [0, 2, 4, 5]
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [2, 4, 5]
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4, 5]
    assert {event.image.size for event in events if isinstance(event, SampleDrawn)} == {(64, 64)}
    assert {step for step, total, _ in steps.seen if total == 5} == {0, 1, 2, 3, 4, 5}


def test_learning_rate_warms_up(make_trainer, make_run, train, tmp_path: Path) -> None:
    """The rate rises evenly over the first twenty steps, whatever the length of the run, and then stays."""
    events = train(make_trainer("flux"), make_run(tmp_path, previews=False, steps=22, learning_rate=0.02, rank=1))

    rates = [event.learning_rate for event in events if isinstance(event, StepDone)]
    assert rates == pytest.approx([0.001 * step for step in range(1, 21)] + [0.02, 0.02])


def test_a_loss_that_is_no_number_ends_the_run(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A diverged training is ended with the next action, and leaves no checkpoint."""
    with pytest.raises(UserError, match="Lower the learning rate"):
        train(make_trainer("flux"), make_run(tmp_path, learning_rate=1e30))

    assert not (tmp_path / "checkpoints").exists()


@both
def test_transformer_is_left_as_found(family, make_trainer, make_run, train, host_lease, tmp_path: Path) -> None:
    """After a training the resident transformer has no LoRA on it, the same weights, and is frozen."""
    trainer, run = make_trainer(family), make_run(tmp_path, family, gradient_checkpointing=True)
    lease = host_lease(trainer.plan(run))
    with lease.stage("train") as parts:
        before = {name: value.clone() for name, value in parts["transformer"].state_dict().items()}
    train(trainer, run, lease)

    transformer = lease.part("transformer")
    assert equal(before, transformer.state_dict())
    assert not any(weight.requires_grad for weight in transformer.parameters())
    assert not transformer.is_gradient_checkpointing


@both
def test_checkpointing_learns_the_same(family, make_trainer, make_run, train, tmp_path: Path) -> None:
    """Recomputed activations change no bit of the adapter."""
    plain = train(make_trainer(family), make_run(tmp_path / "plain", family))
    recomputed = train(make_trainer(family), make_run(tmp_path / "gc", family, gradient_checkpointing=True))

    assert equal(adapter_of(plain), adapter_of(recomputed))


def _gradients(trainer: Any, run: TrainRun, train: Any) -> tuple[StepDone, Any]:
    """Returns the first step, and the gradients that reached the optimiser: its first moments are a tenth of them."""
    import torch

    (told,) = (event for event in train(trainer, run) if isinstance(event, StepDone))
    return told, torch.cat([state["exp_avg"].flatten() * 10 for state in optimizer_of(run).values()])


@both
def test_two_batches_of_one_are_one_of_two(family, make_trainer, make_run, train, tmp_path: Path) -> None:
    """At the same noise and levels an accumulated step has the whole batch's loss and gradients."""
    trainer = make_trainer(family)
    kind = type(trainer.family)

    class Still(kind):
        """Gives each picture the same noise whenever it occurs."""

        def losses(self, transformer: Any, batch: Any, noise: Any, sigma: Any, guidance: float) -> Any:
            noise = batch["latents"].flip(1, 2, 3).roll(3, 1)
            level = batch["latents"].mean((1, 2, 3)).sigmoid()
            return super().losses(transformer, batch, noise, level, guidance)

    trainer.family = Still(trainer.spec, trainer.folder)
    found = []
    for size, parts in ((2, 1), (1, 2)):
        knobs = {"batch_size": size, "gradient_accumulation": parts, "caption_dropout": 0.0, "max_grad_norm": 0.0}
        run = make_run(tmp_path / str(size), family, previews=False, steps=1, cache=tmp_path / "cache", **knobs)
        found.append(_gradients(trainer, dataclasses.replace(run, items=run.items[1:3]), train))
    (whole, gradients), (halved, summed) = found

    assert halved.loss == pytest.approx(whole.loss, rel=1e-5)
    assert halved.grad_norm == pytest.approx(whole.grad_norm, rel=1e-2)
    assert gradients.norm() > 0
    assert (summed - gradients).norm() < 1e-2 * gradients.norm()  # narrow products round, here to eight bits


def test_clipping_bounds_what_is_applied(make_trainer, make_run, train, tmp_path: Path) -> None:
    """The optimiser's gradients have the norm that was set, and their direction; the reported norm is that before."""
    import torch

    trainer, knobs = make_trainer("flux"), {"previews": False, "steps": 1, "cache": tmp_path / "cache"}
    free, gradients = _gradients(trainer, make_run(tmp_path / "free", max_grad_norm=0.0, **knobs), train)
    limit = free.grad_norm / 4
    bound, clipped = _gradients(trainer, make_run(tmp_path / "bound", max_grad_norm=limit, **knobs), train)
    _, small = _gradients(trainer, make_run(tmp_path / "wide", max_grad_norm=free.grad_norm * 4, **knobs), train)

    assert bound.grad_norm == free.grad_norm == pytest.approx(float(gradients.norm()), rel=1e-4)
    assert float(clipped.norm()) == pytest.approx(limit, rel=1e-4)
    assert torch.allclose(clipped * 4, gradients, rtol=1e-3, atol=1e-8)
    assert torch.equal(small, gradients)


def test_a_second_reference_is_learned_from(make_trainer, make_run, host_lease, train, pictures, tmp_path) -> None:
    """An edit of two pictures is trained; another second one changes the loss, by its words and its latents alike."""
    import torch

    from engines.training.data import read_sources
    from engines.training.encoding import encode
    from engines.training.losses import terms

    trainer, run = make_trainer("qwen-edit"), make_run(tmp_path, "qwen-edit", previews=False, steps=2)
    pairs = zip(run.items, pictures, strict=True)
    items = tuple(dataclasses.replace(item, references=(*item.references, file)) for item, file in pairs)
    run = dataclasses.replace(run, items=items)
    lease = host_lease(trainer.plan(run))
    learned = adapter_of(train(trainer, run, lease))
    encoded = encode(trainer.family, run, read_sources(items), lease, lambda *_: None)
    (term,) = terms(trainer.family, encoded, run.params)
    batch = term.batch(0, range(2), torch.device("cpu"))
    changed = [{}, *({name: batch.tensors[name].flip(0)} for name in ("reference_0", "reference_1", "prompt_embeds"))]
    with lease.stage("train") as parts, torch.no_grad():
        losses = [
            term.losses(parts["transformer"], dataclasses.replace(batch, tensors={**batch.tensors, **other})).tolist()
            for other in changed
        ]

    assert any(value.any() for name, value in learned.items() if "lora_B" in name)
    assert all(one != other for one, other in itertools.combinations(losses, 2))


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"optimizer": "lion"}, "adamw8bit"),
        ({"optimizer": "prodigy"}, "Set learning_rate to 1"),
        ({"timestep_density": "cosmap"}, "weighted"),
        ({"base": "int3"}, "nf4, int8, fp8"),
        ({"rank": 0}, "rank"),
        ({"steps": 0}, "steps"),
        ({"alpha": float("inf")}, "alpha"),
        ({"guidance": float("nan")}, "guidance"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"seed": 2**64}, "seed"),
        ({"seed": True}, "seed"),
        ({"resolutions": (5, "x")}, "resolutions"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"max_grad_norm": -1.0}, "max_grad_norm"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"mask_outside": -0.1}, "mask_outside"),
        ({"resolution": 1024, "resolutions": (512, 1024)}, "below the resolution, 1024"),
        ({"dop_weight": 1.0, "class_word": " "}, "class word"),
        ({"prior_weight": 1.0, "prior_pictures": 0}, "prior_pictures"),
    ],
)
def test_impossible_knobs_are_refused(knobs, words, make_trainer, make_run, tmp_path: Path) -> None:
    """The plan refuses what could only fail later, and names what is allowed."""
    with pytest.raises(BadInput, match=words):
        make_trainer("flux").plan(make_run(tmp_path, **knobs))


def test_impossible_knobs_are_refused_before_anything_is_loaded(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A run that comes from a file is checked by the training itself, before it leases a stage."""
    with pytest.raises(BadInput, match="rank"):
        train(make_trainer("flux"), make_run(tmp_path, rank=0), lease=object())


def test_preserving_a_class_needs_a_trigger(make_trainer, make_run, tmp_path: Path) -> None:
    """Without the character's trigger word there is nothing that the class word could replace."""
    trainer, run = make_trainer("flux"), make_run(tmp_path, dop_weight=1.0)
    trainer.plan(run)
    with pytest.raises(BadInput, match="trigger"):
        trainer.plan(dataclasses.replace(run, trigger=""))


def test_what_is_saved_and_shown_is_the_average(make_trainer, make_run, train, tmp_path: Path) -> None:
    """With EMA the adapter and the previews are those of the average, while the trained weights are as without it."""
    from engines.training.checkpoint import latest

    plain, averaged = make_run(tmp_path / "plain"), make_run(tmp_path / "averaged", ema_decay=0.95)
    one, other = train(make_trainer("flux"), plain), train(make_trainer("flux"), averaged)
    losses = [[event.loss for event in events if isinstance(event, StepDone)] for events in (one, other)]
    drawn = [[event.image for event in events if isinstance(event, SampleDrawn)] for events in (one, other)]
    raw = latest(averaged.folder).optimizer()["raw"]

    assert losses[0] == losses[1]
    assert not equal(adapter_of(one), adapter_of(other))
    assert drawn[0][0].tobytes() == drawn[1][0].tobytes()
    assert drawn[0][-1].tobytes() != drawn[1][-1].tobytes()
    assert sum(value.abs().sum() for value in raw) > sum(value.abs().sum() for value in adapter_of(other).values())


def test_every_size_is_learned(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """Each further resolution adds every picture at its size, in batches of one shape."""
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    trainer, run = make_trainer("flux"), make_run(tmp_path, previews=False, resolutions=(32, 48))
    encoded = encode(trainer.family, run, read_sources(run.items), host_lease(trainer.plan(run)), lambda *_: None)
    sides = [dict(shape)["latents"][-1] for shape in encoded.examples.shapes()]

    assert [sides.count(side) for side in (16, 8, 12)] == [12, 12, 12]


def test_missing_picture_is_named(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A missing picture is named before anything is loaded."""
    run = make_run(tmp_path)
    gone = dataclasses.replace(run.items[0], image=tmp_path / "gone.png")

    with pytest.raises(NotFound, match=r"gone\.png"):
        train(make_trainer("flux"), dataclasses.replace(run, items=(gone,)))


def test_a_preview_that_cannot_be_drawn_is_refused_first(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """The plan and the training refuse a preview of one step on an editor's stretched schedule, and load nothing."""
    trainer, run = make_trainer("qwen-edit"), make_run(tmp_path, "qwen-edit")
    lease = host_lease(trainer.plan(run))
    (preview,) = run.previews
    run = dataclasses.replace(run, previews=(dataclasses.replace(preview, params=preview.params.replace(steps=1)),))

    for begin in (lambda: trainer.plan(run), lambda: list(trainer.train(run, lease, lambda *_: None))):
        with pytest.raises(BadInput, match="at least 2 steps"):
            begin()
    assert lease.asked == []
    single = make_run(tmp_path / "flux").previews[0].replace(steps=1)
    make_trainer("flux").plan(dataclasses.replace(make_run(tmp_path / "flux"), previews=(single,)))


def test_pairs_and_pictures_are_not_mixed_up(make_trainer, make_run, train, tmp_path: Path) -> None:
    """FLUX refuses references, and an editor refuses items without."""
    with pytest.raises(BadInput, match="reference"):
        train(make_trainer("flux"), make_run(tmp_path / "flux", "qwen-edit"))
    with pytest.raises(BadInput, match="pairs"):
        train(make_trainer("qwen-edit"), make_run(tmp_path / "qwen", "flux"))


def test_plan_grows_with_the_knobs(make_trainer, make_run, tmp_path: Path) -> None:
    """The plan lists the components of each stage, and needs more memory where more is trained at once."""
    trainer = make_trainer("flux")
    small = trainer.plan(make_run(tmp_path, gradient_checkpointing=True))
    large = trainer.plan(make_run(tmp_path, batch_size=8, rank=64))

    names = [[part.key.partition("/")[2] for part in stage.components] for stage in small.stages]
    assert names == [["text_encoder", "text_encoder_2", "vae"], ["transformer", "vae"]]
    assert 0 < small.stages[1].working_bytes < large.stages[1].working_bytes


def test_plan_counts_the_references(make_trainer, make_run, tmp_path: Path) -> None:
    """Each further reference adds as much, and the item with the most decides; for FLUX they change nothing."""
    trainer, run = make_trainer("qwen-edit"), make_run(tmp_path, "qwen-edit")

    def declared(*counts: int) -> int:
        before = run.items[0].references
        items = tuple(dataclasses.replace(run.items[0], references=before * count) for count in counts)
        return trainer.plan(dataclasses.replace(run, items=items)).stages[1].working_bytes

    one, two, three = declared(1), declared(2, 1), declared(1, 3, 2)
    assert declared() == one < two and two - one == three - two
    flux = make_trainer("flux")
    plain = make_run(tmp_path)
    assert flux.plan(plain).stages[1] == flux.plan(dataclasses.replace(plain, items=())).stages[1]
