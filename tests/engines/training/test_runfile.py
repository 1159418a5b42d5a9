"""Tests the files of a run's folder, which can be moved."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams, GenerateParams, LoraUse, TrainParams
from engines.api.protocols import EditItem, SampleDrawn, StepDone, TrainItem, TrainRun
from engines.training.runfile import EVENTS, RUN, RunFile, append_event, events, read, write

_STEP = StepDone(3, 9, 0.5, 0.4, 1e-4, 0.2, 1.5, (0.5, None, None), 1 << 30)


def _picture() -> Image.Image:
    return Image.frombytes("RGB", (4, 2), bytes(range(24)))


def _run(home: Path) -> TrainRun:
    return TrainRun(
        folder=home / "runs" / "one",
        items=(TrainItem(home / "images" / "ä b.png", "ohwx “person”", (home / "images" / "c.png",)),),
        params=TrainParams(rank=3, timestep_density="uniform"),
        previews=(
            GenerateParams(prompt="ohwx", loras=(LoraUse(file="x.safetensors", weight=0.5),)),
            EditItem(_picture(), EditParams(instruction="smile", true_cfg=1.0), (_picture().rotate(180),)),
        ),
        trigger="ohwx",
        start=home / "adapters" / "v1.safetensors",
        cache=home / "cache",
    )


def _same(one: TrainRun, other: TrainRun) -> bool:
    """Returns whether two runs are equal, with previews' pictures compared by their pixels."""

    def bare(run: TrainRun) -> TrainRun:
        return dataclasses.replace(run, previews=())

    def pixels(run: TrainRun) -> list[object]:
        return [
            (each.params, each.source.tobytes(), [image.tobytes() for image in each.references])
            if isinstance(each, EditItem)
            else each
            for each in run.previews
        ]

    return bare(one) == bare(other) and pixels(one) == pixels(other)


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    """Every field comes back, previews' pictures to the pixel, and the weights' folder."""
    run = _run(tmp_path)

    write(RunFile("mini-flux", tmp_path / "weights", run))
    found = read(run.folder)

    assert (found.model, found.weights) == ("mini-flux", tmp_path / "weights")
    assert _same(found.run, run)


def test_a_character_that_moved_trains_from_its_new_place(tmp_path: Path) -> None:
    """Paths are relative to the folder: the file has no absolute path but that of the weights."""
    (tmp_path / "old").mkdir()
    write(RunFile("mini-flux", None, _run(tmp_path / "old")))
    (tmp_path / "old").rename(tmp_path / "new")

    found = read(tmp_path / "new" / "runs" / "one")

    assert found.weights is None
    assert _same(found.run, _run(tmp_path / "new"))
    assert str(tmp_path) not in (tmp_path / "new" / "runs" / "one" / RUN).read_text()


def test_a_folder_without_a_run_says_what_to_do(tmp_path: Path) -> None:
    """A missing, torn or foreign file is refused with cause and next action."""
    with pytest.raises(NotFound, match=RUN):
        read(tmp_path)
    for text in ('{"format": 1', '{"format": 9}', '{"format": 1}'):
        (tmp_path / RUN).write_text(text)
        with pytest.raises(BadInput) as error:
            read(tmp_path)
        assert "again" in error.value.hint


def test_what_was_told_comes_back(tmp_path: Path) -> None:
    """Steps and previews come back in their order; a line that is torn or of another version damages no other."""
    append_event(tmp_path, _STEP)
    with (tmp_path / EVENTS).open("a") as stream:
        stream.write("\n" + json.dumps({"step": 4})[:-3])
        stream.write("\n" + json.dumps({"step": 4}) + "\n" + json.dumps({"step": 4, "mood": 1, "bands": []}) + "\n7")
    with (tmp_path / EVENTS).open("ab") as stream:
        stream.write(b"\n\xff\xfe")
    append_event(tmp_path, SampleDrawn(4, 1, _picture()))

    step, sample = events(tmp_path)

    assert step == _STEP
    assert isinstance(sample, SampleDrawn)
    assert (sample.step, sample.index, sample.image.tobytes()) == (4, 1, _picture().tobytes())
    assert list(events(tmp_path / "nowhere")) == []


def test_a_damaged_preview_hides_no_other_event(tmp_path: Path) -> None:
    """Cut off in the middle, it is left out; the steps and the other previews are told."""
    for index in (1, 2):
        append_event(tmp_path, SampleDrawn(4, index, _picture()))
    append_event(tmp_path, _STEP)
    first = min(tmp_path.rglob("*.png"))
    first.write_bytes(first.read_bytes()[:40])

    assert [type(each) for each in events(tmp_path)] == [SampleDrawn, type(_STEP)]
