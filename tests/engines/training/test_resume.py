"""Tests that stopped, extended or restarted trainings go on as if unbroken, or are refused."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput, Cancelled
from engines.api.protocols import CheckpointSaved, SampleDrawn, StepDone
from tests.engines.training.trained import adapter_of, both, equal, optimizer_of

pytestmark = pytest.mark.slow


class _StopAfter:
    """Cancels once a step is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, step: int, total: int, message: str = "") -> None:
        if step >= self.step:
            raise Cancelled


@both
def test_resume_is_bit_equal(family, make_trainer, make_run, train, tmp_path: Path) -> None:
    """Three steps and a resume give the weights and the optimiser of six steps in one go, to the bit."""
    trainer = make_trainer(family)
    whole, halves = make_run(tmp_path / "whole", family), make_run(tmp_path / "halves", family)
    expected = train(trainer, whole)
    train(trainer, dataclasses.replace(halves, params=halves.params.replace(steps=3)))

    found = train(make_trainer(family), halves)

    assert [event.step for event in found if isinstance(event, StepDone)] == [4, 5, 6]
    assert equal(adapter_of(expected), adapter_of(found))
    assert any(value.abs().max() > 0 for name, value in adapter_of(found).items() if "lora_B" in name)
    before, after = optimizer_of(whole), optimizer_of(halves)
    assert before.keys() == after.keys()
    assert all(equal(before[index], after[index]) for index in before)


@both
def test_cancel_keeps_what_was_learned(family, make_trainer, make_run, train, tmp_path: Path) -> None:
    """A cancel saves a checkpoint at its step, from which the end is the same to the bit."""
    trainer = make_trainer(family)
    expected = train(trainer, make_run(tmp_path / "whole", family))
    run = make_run(tmp_path / "cancelled", family)
    seen: list[Any] = []
    with pytest.raises(Cancelled):
        seen.extend(train(trainer, run, on_step=_StopAfter(4)))

    found = train(trainer, run)

    assert [event.step for event in found if isinstance(event, StepDone)] == [5, 6]
    assert equal(adapter_of(expected), adapter_of(found))


def test_cancel_announces_its_checkpoint(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """The last event before Cancelled is the saved checkpoint, so that it can become a version."""
    trainer, run, seen = make_trainer("flux"), make_run(tmp_path), []
    with pytest.raises(Cancelled):
        for event in trainer.train(run, host_lease(trainer.plan(run)), _StopAfter(2)):
            seen.append(event)

    assert isinstance(seen[-1], CheckpointSaved)
    assert seen[-1].step == 2
    assert seen[-1].adapter.is_file()


def test_cancel_while_encoding_saves_nothing(make_trainer, make_run, train, tmp_path: Path) -> None:
    """Before the first step a cancel leaves nothing but the cache."""
    with pytest.raises(Cancelled):
        train(make_trainer("flux"), make_run(tmp_path), on_step=_StopAfter(0))

    assert not (tmp_path / "checkpoints").exists()


@dataclasses.dataclass
class _StopAt:
    """Cancels when a step's message has a word."""

    step: int
    word: str

    def __call__(self, step: int, total: int, message: str = "") -> None:
        if step == self.step and self.word in message:
            raise Cancelled


def _until(life: Any, death: CheckpointSaved | None) -> list[Any]:
    """Returns the events of a training until it is cancelled, or until its process dies with a given checkpoint."""
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
    """Interrupted between a checkpoint and its previews, a resume draws those that are missing.

    By a death, by a cancel after the step, by one in the second of two previews: together the processes report the
    unbroken run's previews and learn its weights, to the bit, and a further resume draws nothing.
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
        assert equal(adapter_of(second), adapter_of(expected))
        assert [type(event) for event in third] == [CheckpointSaved]


def test_done_run_only_says_so(make_trainer, make_run, train, host_lease, tmp_path: Path) -> None:
    """A finished run that is started again leases nothing and returns its adapter."""
    trainer, run = make_trainer("flux"), make_run(tmp_path)
    (*_, expected) = (event for event in train(trainer, run) if isinstance(event, CheckpointSaved))
    lease = host_lease(trainer.plan(run))

    found = train(trainer, run, lease)

    assert found == [CheckpointSaved(6, expected.adapter)]
    assert lease.asked == []


def test_extension_is_bit_equal(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A finished run continued with more steps equals a run with all steps from the start."""
    trainer, long = make_trainer("flux"), make_run(tmp_path / "long", steps=8)
    run = make_run(tmp_path / "extended")
    train(trainer, run)

    found = train(trainer, dataclasses.replace(run, params=run.params.replace(steps=8)))

    assert equal(adapter_of(train(trainer, long)), adapter_of(found))


def test_other_settings_are_refused(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A changed knob is refused by its name."""
    run = make_run(tmp_path)
    train(make_trainer("flux"), run)

    with pytest.raises(BadInput, match=r"learning_rate: 0\.002 → 0\.1"):
        train(make_trainer("flux"), dataclasses.replace(run, params=run.params.replace(learning_rate=0.1, steps=9)))


def test_other_pictures_are_refused(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A data set with one picture less is another training."""
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
    """Cached items are not encoded again: a resume never leases the encoders."""
    trainer, run = make_trainer("qwen-edit"), make_run(tmp_path, "qwen-edit")
    first = host_lease(trainer.plan(run))
    train(trainer, dataclasses.replace(run, params=run.params.replace(steps=3)), first)
    second = host_lease(trainer.plan(run))
    train(trainer, run, second)

    assert first.asked == ["encode", "train"]
    assert second.asked == ["train"]


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
        ("flux", {"base": "fp8"}),
    ],
)
def test_whatever_is_trained_resumes_bit_equal(family, knobs, make_trainer, make_run, train, tmp_path: Path) -> None:
    """Quantised or self-tuning optimisers, averages, further terms and quantised bases resume to the bit."""
    trainer = make_trainer(family)
    whole = make_run(tmp_path / "whole", family, previews=False, **knobs)
    halves = dataclasses.replace(whole, folder=tmp_path / "halves")
    train(trainer, dataclasses.replace(halves, params=halves.params.replace(steps=3)))

    assert equal(adapter_of(train(trainer, whole)), adapter_of(train(trainer, halves)))


def test_another_trigger_is_another_training_where_it_is_learned(make_trainer, make_run, train, tmp_path: Path) -> None:
    """With output preservation the loss depends on the trigger, and a resume with another is refused by its name.

    Without, the trigger is a label in the file, and the training resumes.
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


def test_a_run_goes_on_from_another_runs_adapter(make_trainer, make_run, train, tmp_path: Path) -> None:
    """Its first weights are that adapter's; one of another rank or alpha is refused before the first step."""
    import torch

    from engines.drawing.lora_files import read_adapter

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
