"""The training loop, with tiny models of both families."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from engines.api import CheckpointSaved, SampleDrawn, StepDone, TrainRun
from engines.errors import BadInput, Cancelled, NotFound, UserError

pytestmark = pytest.mark.slow

both = pytest.mark.parametrize("family", ["flux", "qwen-edit"])


def _adapter(events: list[Any]) -> dict[str, Any]:
    """The tensors of the last checkpoint's adapter."""
    from safetensors.torch import load_file

    return load_file([event for event in events if isinstance(event, CheckpointSaved)][-1].adapter)


def _equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _optimizer(run: TrainRun) -> dict[int, dict[str, Any]]:
    from engines.lora.checkpoint import latest

    checkpoint = latest(run.folder)
    assert checkpoint is not None
    return checkpoint.optimizer()["state"]


class _StopAfter:
    """A user who presses cancel once a step is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, step: int, total: int, message: str = "") -> None:
        if step >= self.step:
            raise Cancelled


@both
def test_resume_is_bit_equal(family, make_trainer, make_run, train, tmp_path: Path) -> None:
    """Three steps and a resume give the weights and the optimiser of six steps in one go, bit for bit."""
    trainer = make_trainer(family)
    whole, halves = make_run(tmp_path / "whole", family), make_run(tmp_path / "halves", family)
    expected = train(trainer, whole)
    train(trainer, dataclasses.replace(halves, params=halves.params.replace(steps=3)))

    found = train(make_trainer(family), halves)

    assert [event.step for event in found if isinstance(event, StepDone)] == [4, 5, 6]
    assert _equal(_adapter(expected), _adapter(found))
    assert any(value.abs().max() > 0 for name, value in _adapter(found).items() if "lora_B" in name)
    before, after = _optimizer(whole), _optimizer(halves)
    assert before.keys() == after.keys()
    assert all(_equal(before[index], after[index]) for index in before)


@both
def test_cancel_keeps_what_was_learned(family, make_trainer, make_run, train, tmp_path: Path) -> None:
    """A cancel leaves a checkpoint at the step it came in, from which the end is the same to the bit."""
    trainer = make_trainer(family)
    expected = train(trainer, make_run(tmp_path / "whole", family))
    run = make_run(tmp_path / "cancelled", family)
    seen: list[Any] = []
    with pytest.raises(Cancelled):
        seen.extend(train(trainer, run, on_step=_StopAfter(4)))

    found = train(trainer, run)

    assert [event.step for event in found if isinstance(event, StepDone)] == [5, 6]
    assert _equal(_adapter(expected), _adapter(found))


def test_cancel_announces_its_checkpoint(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """The last event before Cancelled is the checkpoint that was saved, so that it can be kept as a version."""
    trainer, run, seen = make_trainer("flux"), make_run(tmp_path), []
    with pytest.raises(Cancelled):
        for event in trainer.train(run, host_lease(trainer.plan(run)), _StopAfter(2)):
            seen.append(event)

    assert isinstance(seen[-1], CheckpointSaved)
    assert seen[-1].step == 2
    assert seen[-1].adapter.is_file()


def test_cancel_while_encoding_saves_nothing(make_trainer, make_run, train, tmp_path: Path) -> None:
    """Before the first step there is nothing to keep but the cache."""
    with pytest.raises(Cancelled):
        train(make_trainer("flux"), make_run(tmp_path), on_step=_StopAfter(0))

    assert not (tmp_path / "checkpoints").exists()


@both
def test_events_come_when_due(family, make_trainer, make_run, train, steps, tmp_path: Path) -> None:
    """Previews at the start, every `sample_every` and the end; checkpoints every `save_every`; all steps told."""
    run = make_run(tmp_path, family, steps=5, save_every=2, sample_every=2)

    events = train(make_trainer(family), run)

    assert [event.step for event in events if isinstance(event, SampleDrawn)] == [0, 2, 4, 5]
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [2, 4, 5]
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4, 5]
    assert {event.image.size for event in events if isinstance(event, SampleDrawn)} == {(64, 64)}
    assert {step for step, total, _ in steps.seen if total == 5} == {0, 1, 2, 3, 4, 5}


@dataclasses.dataclass
class _StopAt:
    """A user who presses cancel when a step's message says a word."""

    step: int
    word: str

    def __call__(self, step: int, total: int, message: str = "") -> None:
        if step == self.step and self.word in message:
            raise Cancelled


def _until(life: Any, death: CheckpointSaved | None) -> list[Any]:
    """What a training tells until it is cancelled, or its process dies with a checkpoint's event in hand."""
    told: list[Any] = []
    with contextlib.closing(life), contextlib.suppress(Cancelled):
        for event in life:
            told.append(event)
            if isinstance(event, CheckpointSaved) and event == death:
                break
    return told


def _previews(events: list[Any]) -> dict[tuple[int, int], bytes]:
    return {(each.step, each.index): each.image.tobytes() for each in events if isinstance(each, SampleDrawn)}


@pytest.mark.parametrize("step", [2, 4])
def test_previews_are_owed_until_they_are_told(step, make_trainer, make_run, train, host_lease, tmp_path: Path) -> None:
    """Broken off between a checkpoint and its previews, amid the run or at its end, a resume draws what is missing.

    By a death, by a cancel after the step, by one in the second of two previews: all lives together have told the
    unbroken run's previews and learned its weights, bit for bit, and one more life has nothing left to draw.
    """
    trainer = make_trainer("flux")
    run = make_run(tmp_path / "whole", steps=4, save_every=2, sample_every=2, ema_decay=0.5, cache=tmp_path / "cache")
    whole = dataclasses.replace(run, previews=run.previews * 2)
    expected = train(trainer, whole)
    for word in ("", "loss", "preview 2"):
        broken = dataclasses.replace(whole, folder=tmp_path / f"broken {word}")
        lease = host_lease(trainer.plan(broken))
        death = CheckpointSaved(step, broken.folder / f"checkpoints/step-{step:06d}/adapter.safetensors")
        life = trainer.train(broken, lease, _StopAt(step, word or "never said"))

        first, second, third = _until(life, None if word else death), train(trainer, broken), train(trainer, broken)

        assert (step, 1) in _previews(expected).keys() - _previews(first).keys()
        assert _previews(first) | _previews(second) == _previews(expected)
        assert _equal(_adapter(second), _adapter(expected))
        assert [type(event) for event in third] == [CheckpointSaved]


def test_learning_rate_warms_up(make_trainer, make_run, train, tmp_path: Path) -> None:
    """The rate rises evenly over the first twenty steps, whatever the length of the run, and then stays."""
    events = train(make_trainer("flux"), make_run(tmp_path, previews=False, steps=22, learning_rate=0.02, rank=1))

    rates = [event.learning_rate for event in events if isinstance(event, StepDone)]
    assert rates == pytest.approx([0.001 * step for step in range(1, 21)] + [0.02, 0.02])


def test_a_loss_that_is_no_number_ends_the_run(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A training that blew up says what to change, and leaves no checkpoint of the wreck."""
    with pytest.raises(UserError, match="Lower the learning rate"):
        train(make_trainer("flux"), make_run(tmp_path, learning_rate=1e30))

    assert not (tmp_path / "checkpoints").exists()


def test_done_run_only_says_so(make_trainer, make_run, train, host_lease, tmp_path: Path) -> None:
    """A finished run started again asks for no card and answers its adapter."""
    trainer, run = make_trainer("flux"), make_run(tmp_path)
    (*_, expected) = (event for event in train(trainer, run) if isinstance(event, CheckpointSaved))
    lease = host_lease(trainer.plan(run))

    found = train(trainer, run, lease)

    assert found == [CheckpointSaved(6, expected.adapter)]
    assert lease.asked == []


def test_extension_is_bit_equal(make_trainer, make_run, train, tmp_path: Path) -> None:
    """More steps asked of a finished run continue it as if they had been asked for at once."""
    trainer, long = make_trainer("flux"), make_run(tmp_path / "long", steps=8)
    run = make_run(tmp_path / "extended")
    train(trainer, run)

    found = train(trainer, dataclasses.replace(run, params=run.params.replace(steps=8)))

    assert _equal(_adapter(train(trainer, long)), _adapter(found))


def test_other_settings_are_refused(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A changed knob is named, not mixed in."""
    run = make_run(tmp_path)
    train(make_trainer("flux"), run)

    with pytest.raises(BadInput, match=r"learning_rate: 0\.002 → 0\.1"):
        train(make_trainer("flux"), dataclasses.replace(run, params=run.params.replace(learning_rate=0.1, steps=9)))


def test_other_pictures_are_refused(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A picture more or less is another training."""
    run = make_run(tmp_path)
    train(make_trainer("flux"), run)

    with pytest.raises(BadInput, match="dataset"):
        train(make_trainer("flux"), dataclasses.replace(run, items=run.items[:-1]))


def test_other_weights_are_refused(make_trainer, make_run, train, flux_folder: Path, tmp_path: Path) -> None:
    """A base of the same name with other weights is another training."""
    from safetensors.torch import load_file, save_file

    run, trainer = make_run(tmp_path / "run"), make_trainer("flux")
    train(trainer, run)
    other = shutil.copytree(flux_folder, tmp_path / "model")
    file = other / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(file).items()}, file, {"format": "pt"})

    with pytest.raises(BadInput, match="weights"):
        train(type(trainer)(trainer.spec, other), run)


def test_encoders_are_leased_once(make_trainer, make_run, train, host_lease, tmp_path: Path) -> None:
    """What is in the cache is not encoded again: a resume never asks for the encoders."""
    trainer, run = make_trainer("qwen-edit"), make_run(tmp_path, "qwen-edit")
    first = host_lease(trainer.plan(run))
    train(trainer, dataclasses.replace(run, params=run.params.replace(steps=3)), first)
    second = host_lease(trainer.plan(run))
    train(trainer, run, second)

    assert first.asked == ["encode", "train"]
    assert second.asked == ["train"]


@both
def test_transformer_is_left_as_found(family, make_trainer, make_run, train, host_lease, tmp_path: Path) -> None:
    """After a training the resident transformer has no LoRA on it, the same weights, and is frozen."""
    trainer, run = make_trainer(family), make_run(tmp_path, family, gradient_checkpointing=True)
    lease = host_lease(trainer.plan(run))
    with lease.stage("train") as parts:
        before = {name: value.clone() for name, value in parts["transformer"].state_dict().items()}
    train(trainer, run, lease)

    transformer = lease.part("transformer")
    assert _equal(before, transformer.state_dict())
    assert not any(weight.requires_grad for weight in transformer.parameters())
    assert not transformer.is_gradient_checkpointing


@both
def test_checkpointing_learns_the_same(family, make_trainer, make_run, train, tmp_path: Path) -> None:
    """Recomputed activations change no bit of what is learned."""
    plain = train(make_trainer(family), make_run(tmp_path / "plain", family))
    recomputed = train(make_trainer(family), make_run(tmp_path / "gc", family, gradient_checkpointing=True))

    assert _equal(_adapter(plain), _adapter(recomputed))


def _gradients(trainer: Any, run: TrainRun, train: Any) -> tuple[StepDone, Any]:
    """What the first step told, and the gradients that reached the optimiser: its first moments are a tenth of them."""
    import torch

    (told,) = (event for event in train(trainer, run) if isinstance(event, StepDone))
    return told, torch.cat([state["exp_avg"].flatten() * 10 for state in _optimizer(run).values()])


@both
def test_two_batches_of_one_are_one_of_two(family, make_trainer, make_run, train, tmp_path: Path) -> None:
    """At the same noise and levels, an accumulated step has the whole batch's loss and gradients, value for value."""
    trainer = make_trainer(family)
    kind = type(trainer.family)

    class Still(kind):
        """Each picture has its own noise, whenever it is shown."""

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
    """What reaches the optimiser has the norm that was asked for, and the direction it had; told is the norm before."""
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
    """An edit of two pictures trains to its end; another second one is another loss, by its words and latents alike."""
    import torch

    from engines.lora.data import read_sources
    from engines.lora.encoding import encode
    from engines.lora.losses import terms

    trainer, run = make_trainer("qwen-edit"), make_run(tmp_path, "qwen-edit", previews=False, steps=2)
    pairs = zip(run.items, pictures, strict=True)
    items = tuple(dataclasses.replace(item, references=(*item.references, file)) for item, file in pairs)
    run = dataclasses.replace(run, items=items)
    lease = host_lease(trainer.plan(run))
    learned = _adapter(train(trainer, run, lease))
    encoded = encode(trainer.family, run, read_sources(items), lease, lambda *_: None)
    (term,) = terms(trainer.family, encoded, run.params)
    draw = term.draw(0, range(2), torch.device("cpu"))
    changed = [{}, *({name: draw.batch[name].flip(0)} for name in ("reference_0", "reference_1", "prompt_embeds"))]
    with lease.stage("train") as parts, torch.no_grad():
        losses = [
            term.losses(parts["transformer"], dataclasses.replace(draw, batch={**draw.batch, **other})).tolist()
            for other in changed
        ]

    assert any(value.any() for name, value in learned.items() if "lora_B" in name)
    assert all(one != other for one, other in itertools.combinations(losses, 2))


_EVERYTHING = {"ema_decay": 0.9, "dop_weight": 1.0, "prior_weight": 0.5, "prior_pictures": 2, "resolutions": (32,)}


@pytest.mark.parametrize(
    ("family", "knobs"),
    [
        ("flux", {"optimizer": "adamw8bit", "rank": 64}),
        ("qwen-edit", {"optimizer": "adamw8bit", "rank": 64}),
        ("flux", {"optimizer": "prodigy", "learning_rate": 1.0}),
        ("flux", _EVERYTHING),
        ("flux", {"base": "nf4", "ema_decay": 0.5}),
        ("flux", {"base": "int8"}),
    ],
)
def test_whatever_is_trained_resumes_bit_equal(family, knobs, make_trainer, make_run, train, tmp_path: Path) -> None:
    """Quantised or self-tuning optimisers, averages, further terms and quantised bases survive a checkpoint, too."""
    trainer = make_trainer(family)
    whole = make_run(tmp_path / "whole", family, previews=False, **knobs)
    halves = dataclasses.replace(whole, folder=tmp_path / "halves")
    train(trainer, dataclasses.replace(halves, params=halves.params.replace(steps=3)))

    assert _equal(_adapter(train(trainer, whole)), _adapter(train(trainer, halves)))


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"optimizer": "lion"}, "adamw8bit"),
        ({"timestep_density": "cosmap"}, "uniform"),
        ({"rank": 0}, "rank"),
        ({"steps": 0}, "steps"),
    ],
)
def test_impossible_settings_are_refused(knobs, word, make_trainer, make_run, train, tmp_path: Path) -> None:
    """What could only fail later is refused before the card is asked for, naming what would do."""
    with pytest.raises(BadInput, match=word):
        train(make_trainer("flux"), make_run(tmp_path, **knobs))


def test_what_is_saved_and_shown_is_the_average(make_trainer, make_run, train, tmp_path: Path) -> None:
    """With EMA the adapter and the previews are the average's, while the raw weights go on as without it."""
    from engines.lora.checkpoint import latest

    plain, averaged = make_run(tmp_path / "plain"), make_run(tmp_path / "averaged", ema_decay=0.95)
    one, other = train(make_trainer("flux"), plain), train(make_trainer("flux"), averaged)
    losses = [[event.loss for event in events if isinstance(event, StepDone)] for events in (one, other)]
    drawn = [[event.image for event in events if isinstance(event, SampleDrawn)] for events in (one, other)]
    raw = latest(averaged.folder).optimizer()["raw"]

    assert losses[0] == losses[1]
    assert not _equal(_adapter(one), _adapter(other))
    assert drawn[0][0].tobytes() == drawn[1][0].tobytes()
    assert drawn[0][-1].tobytes() != drawn[1][-1].tobytes()
    assert sum(value.abs().sum() for value in raw) > sum(value.abs().sum() for value in _adapter(other).values())


def test_every_size_is_learned(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """Each further resolution adds every picture at its size, in batches of one shape."""
    from engines.lora.data import read_sources
    from engines.lora.encoding import encode

    trainer, run = make_trainer("flux"), make_run(tmp_path, previews=False, resolutions=(32, 48))
    encoded = encode(trainer.family, run, read_sources(run.items), host_lease(trainer.plan(run)), lambda *_: None)
    sides = [dict(shape)["latents"][-1] for shape in encoded.examples.shapes()]

    assert [sides.count(side) for side in (16, 8, 12)] == [12, 12, 12]


def test_missing_picture_is_named(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A picture that went away is named before anything is loaded."""
    run = make_run(tmp_path)
    gone = dataclasses.replace(run.items[0], image=tmp_path / "gone.png")

    with pytest.raises(NotFound, match=r"gone\.png"):
        train(make_trainer("flux"), dataclasses.replace(run, items=(gone,)))


def test_another_trigger_is_another_training_where_it_is_learned(
    make_trainer, make_run, train, tmp_path: Path
) -> None:
    """With output preservation the trigger chooses what is preserved: a resume with another is refused by its name.

    Without, it is a label on the file, and a resume goes on.
    """
    trainer = make_trainer("flux")
    for name, knobs in {"dop": {"dop_weight": 1.0}, "plain": {}}.items():
        run = make_run(tmp_path / name, previews=False, steps=1, save_every=1, **knobs)
        train(trainer, run)
        longer = dataclasses.replace(run, params=run.params.replace(steps=2))
        renamed = dataclasses.replace(longer, trigger="person")
        if name == "dop":
            with pytest.raises(BadInput, match="trigger: ohwx → person"):
                train(trainer, renamed)
            assert train(trainer, longer)[-1].step == 2
        else:
            assert train(trainer, renamed)[-1].step == 2


def test_a_preview_that_cannot_be_drawn_is_refused_first(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """An editor's stretched schedule has no single step: said by the plan, and before any weight is asked for."""
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
    """FLUX refuses references; an editor refuses to be without."""
    with pytest.raises(BadInput, match="reference"):
        train(make_trainer("flux"), make_run(tmp_path / "flux", "qwen-edit"))
    with pytest.raises(BadInput, match="pairs"):
        train(make_trainer("qwen-edit"), make_run(tmp_path / "qwen", "flux"))


def test_plan_grows_with_the_knobs(make_trainer, make_run, tmp_path: Path) -> None:
    """The plan names the parts of each stage, and asks for more where more is trained at once."""
    trainer = make_trainer("flux")
    small = trainer.plan(make_run(tmp_path, gradient_checkpointing=True))
    large = trainer.plan(make_run(tmp_path, batch_size=8, rank=64))

    names = [[part.key.partition("/")[2] for part in stage.components] for stage in small.stages]
    assert names == [["text_encoder", "text_encoder_2", "vae"], ["transformer", "vae"]]
    assert 0 < small.stages[1].working_bytes < large.stages[1].working_bytes


def test_plan_counts_the_references(make_trainer, make_run, tmp_path: Path) -> None:
    """For each further one as much again, and the item with the most decides; FLUX, which has none, asks as before."""
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


def test_a_run_goes_on_from_another_runs_adapter(make_trainer, make_run, train, tmp_path: Path) -> None:
    """Its first weights are that adapter's, not zero; one of another rank or alpha is refused before a step."""
    import torch

    from engines.parts.adapters import read_adapter

    trainer = make_trainer("flux")
    first = train(trainer, make_run(tmp_path / "first", previews=False))[-1].adapter
    still = {"steps": 1, "save_every": 1, "learning_rate": 1e-12}

    after = dataclasses.replace(make_run(tmp_path / "after", previews=False, **still), start=first)
    begun, _ = read_adapter(train(trainer, after)[-1].adapter)
    known, _ = read_adapter(first)

    assert all(torch.allclose(begun[name], value, atol=1e-6) for name, value in known.items())
    other = dataclasses.replace(make_run(tmp_path / "other", previews=False, rank=2, **still), start=first)
    with pytest.raises(BadInput, match="is not a LoRA of rank 2"):
        train(trainer, other)
