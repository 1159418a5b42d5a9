"""Tests the figures that a training reports."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from engines.api.protocols import CheckpointSaved, SampleDrawn, StepDone
from tests.studio.full_disk import disk_of

pytestmark = pytest.mark.slow


def _scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yields (name, step, value) of every scalar in a folder's event files; the format is TFRecord's."""
    from tensorboardX.proto import event_pb2

    for file in sorted(folder.glob("events.*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
            data = data[16 + length :]


def test_examples_are_told_by_their_noise_level() -> None:
    """Each example is in its own band, an empty band has no loss, and sums of parts are the whole."""
    import torch

    from engines.training.reporting import LossTally, mean_figures

    whole, parts = LossTally(), [LossTally(), LossTally()]
    sigma, losses = torch.tensor([0.1, 0.2, 0.9, 0.95]), torch.tensor([1.0, 3.0, 0.5, 0.1])
    whole.add(sigma, losses)
    for part, rows in zip(parts, ([0, 2], [1, 3]), strict=True):
        part.add(sigma[rows], losses[rows])

    loss, level, bands = mean_figures(whole.figures)

    assert (loss, level) == (pytest.approx(1.15), pytest.approx(0.5375))
    assert (bands[0], bands[1], bands[2]) == (pytest.approx(2.0), None, pytest.approx(0.3))
    assert torch.allclose(parts[0].figures + parts[1].figures, whole.figures)


def test_tensorboard_reads_what_was_told(tmp_path: Path) -> None:
    """Every event is yielded; scalars and previews are in the run's folder, a band only where it has a value."""
    from engines.training.reporting import with_tensorboard

    steps = [StepDone(step, 2, 0.5 / step, 0.4, 1e-4, 0.2, 1.5, (None, 0.5, None), 3 << 30) for step in (1, 2)]
    told = [SampleDrawn(0, 0, Image.new("RGB", (4, 4))), *steps, CheckpointSaved(2, tmp_path / "adapter")]

    assert list(with_tensorboard(told, tmp_path, 0)) == told

    found = list(_scalars(tmp_path / "tensorboard"))
    values = {(name, step): value for name, step, value in found}
    assert values["loss/all", 2] == pytest.approx(0.25)
    assert values["loss/middle_noise", 1] == pytest.approx(0.5)
    assert values["training/memory_in_GiB", 2] == pytest.approx(3)
    assert ("preview/0", 0) in values
    assert not [name for name, *_ in found if "high" in name or "low" in name]


def test_a_board_that_the_disk_refuses_stops_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the file cannot be made, extended or closed, every event is yielded at once, and the log has the cause."""
    from engines.training.reporting import with_tensorboard

    sample = SampleDrawn(0, 0, Image.effect_noise((64, 64), 80).convert("RGB"))
    steps = [sample, *(StepDone(step, 400, 0.5, 0.4, 1e-4, 0.2, 1.5, (0.3, 0.3, 0.3)) for step in range(1, 401))]
    (tmp_path / "file").write_bytes(b"")

    for folder, size in ((tmp_path / "file", 1 << 20), (tmp_path / "a", 0), (tmp_path / "b", 9000)):
        caplog.clear()
        with disk_of(size):
            assert list(with_tensorboard(steps, folder, 0)) == steps
        assert "TensorBoard is told no more" in caplog.text
        assert caplog.text.count("WARNING") == 1


def test_a_training_tells_bands_memory_and_disk(make_trainer, make_run, train, tmp_path: Path) -> None:
    """The losses of a step's bands have its loss as mean; memory and disk estimates are near the real bytes."""
    run = make_run(tmp_path, previews=False, timestep_density="uniform")

    trainer = make_trainer("flux")
    steps = [event for event in train(trainer, run) if isinstance(event, StepDone)]

    assert {len(step.bands) for step in steps} == {3}
    for step in steps:
        told = [band for band in step.bands if band is not None]
        assert len(told) in (1, 2)
        assert sum(told) / len(told) == pytest.approx(step.loss, rel=1e-5)
        assert step.memory > 10 << 20
    assert any(step.bands.count(None) == 1 for step in steps)
    written = sum(file.stat().st_size for file in (tmp_path / "checkpoints" / "step-000006").iterdir())
    assert written == pytest.approx(trainer.disk(run.params).checkpoint, rel=0.6)  # a tiny file is half names
    cached = [file.stat().st_size for file in (tmp_path / "cache").iterdir()]
    assert sum(cached) == pytest.approx(12 * trainer.disk(run.params).item, rel=0.3)
    assert {name for name, *_ in _scalars(tmp_path / "tensorboard")} >= {"loss/all", "training/seconds_a_step"}
