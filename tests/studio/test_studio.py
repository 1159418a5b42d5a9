"""The composition root: one data folder, one card, one queue."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import Busy, NotFound, UserError
from engines.fake import FakeDevice, FakeEditor, FakeTrainer, fake_registry
from studio.open import RUNNERS, LibraryPeaks, open_workplace
from studio.records.image import Kind
from studio.records.job import JobState
from studio.settings import Settings
from studio.workplace.context import Context
from studio.workplace.desk import Workplace
from tests.studio.drawing import Numbered

ROOT = Path(__file__).resolve().parents[2]


def at(folder: Path, **more: object) -> Settings:
    """Settings for a data folder, with assets of its own."""
    return Settings(data_root=folder / "home", assets=folder / "assets", **more)  # type: ignore[arg-type]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Workplace]:
    """A studio on fakes."""
    registry = fake_registry(tmp_path, tmp_path)
    with open_workplace(at(tmp_path), registry, FakeDevice(1 << 34), {"draw": draw, "break": crash}) as opened:
        yield opened


def draw(ctx: Context) -> None:
    """One picture."""
    ctx.save(Image.new("RGB", (8, 8), "teal"), kind=Kind.SYNTHETIC)


def crash(ctx: Context) -> None:
    """A bug."""
    raise KeyError("oops")


def test_every_job_of_the_flywheels_has_a_runner() -> None:
    """The table names the kinds of job: those of the flywheels, and those that look after the home and its LoRAs."""
    flywheels = {"import", "caption", "enrich", "train", "generate", "card", "refine", "tournament"}
    assert set(RUNNERS) == flywheels | {"pull", "lora", "merge", "backup", "restore"}
    assert all(callable(runner) for runner in RUNNERS.values())


def test_engines_are_made_once(studio: Workplace) -> None:
    """An engine, captioner or trainer is the same object every time; an unknown model is named."""
    assert isinstance(studio.engine("fake-edit"), FakeEditor)
    assert studio.engine("fake-edit") is studio.engine("fake-edit")
    assert studio.captioner("fake-edit") is studio.captioner("fake-edit")
    assert isinstance(studio.trainer("fake-flux"), FakeTrainer)
    assert studio.scorer("fake-identity") is studio.engine("fake-identity")
    with pytest.raises(NotFound, match="no model named flux-9"):
        studio.engine("flux-9")


def test_warming_up_makes_what_is_there(studio: Workplace) -> None:
    """Every model that a character stands on is made before anybody asks; one that is not here is passed over."""
    studio.library.create("Anna", generator="fake-flux", editor="FLUX.1-dev", scorer="nowhere")
    studio.warm_up()

    assert ("engine", "fake-flux") in studio._engines
    assert {name for _, name in studio._engines}.isdisjoint({"FLUX.1-dev", "nowhere"})


def test_a_job_reaches_the_characters_store(studio: Workplace) -> None:
    """A runner's context works on the store that the studio hands out."""
    character = studio.library.create("Mira")

    job = studio.jobs.submit("draw", character.id, Numbered(), title="", here=True)

    assert job.state is JobState.DONE
    assert studio.store(character.id) is studio.store(character.id)
    assert [record.job for record in studio.store(character.id).images.all()] == [job.id]


def test_a_bugs_traceback_is_in_the_log_that_the_hint_names(studio: Workplace) -> None:
    """The job's error says where the log lies, and the log has the traceback."""
    character = studio.library.create("Mira")

    job = studio.jobs.submit("break", character.id, Numbered(), title="", here=True)

    assert str(studio.settings.log_file) in job.error.hint
    assert "KeyError: 'oops'" in studio.settings.log_file.read_text()


def test_closing_lets_go_of_everything(tmp_path: Path) -> None:
    """The folder can be opened again, the card is empty, the log is nobody's."""
    device = FakeDevice(1 << 34)
    before = list(logging.getLogger("studio").handlers)

    with (
        open_workplace(at(tmp_path), fake_registry(tmp_path, tmp_path), device) as first,
        pytest.raises(Busy),
        open_workplace(at(tmp_path), fake_registry(tmp_path, tmp_path), device),
    ):
        pass

    assert logging.getLogger("studio").handlers == before
    assert device.used == first.gpu.status().used == 0
    open_workplace(at(tmp_path), fake_registry(tmp_path, tmp_path), device).close()


def test_a_start_that_fails_holds_nothing(tmp_path: Path) -> None:
    """When the root cannot be built, the folder is free for the next try."""
    device = FakeDevice(1 << 34)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "logs").write_text("in the way")

    with pytest.raises(UserError, match="logs could not be written"):
        open_workplace(at(tmp_path), fake_registry(tmp_path, tmp_path), device)
    (tmp_path / "home" / "logs").unlink()

    open_workplace(at(tmp_path), fake_registry(tmp_path, tmp_path), device).close()


def test_the_budget_is_the_users_and_on_a_cpu_the_machines(tmp_path: Path) -> None:
    """A card is used up to the budget that was set; without one, RAM is the budget."""
    registry = fake_registry(tmp_path, tmp_path)
    with open_workplace(at(tmp_path, device="fake", fake_gib=24.0, budget_gib=22.5), registry) as studio:
        assert (studio.gpu.status().device, studio.gpu.status().budget) == ("fake", int(22.5 * (1 << 30)))
    with open_workplace(at(tmp_path, device="cpu", budget_gib=0.001), registry) as studio:
        assert studio.gpu.status().budget > 1 << 28


def test_measured_peaks_are_remembered_by_the_library(studio: Workplace) -> None:
    """The GPU manager's memory outlives the process."""
    peaks = LibraryPeaks(studio.library)
    peaks["edit|denoise"] = 7

    assert (peaks.get("edit|denoise", 0), peaks.get("other", 3)) == (7, 3)
    assert studio.library.peaks() == {"edit|denoise": 7}


def test_a_studio_opens_without_torch(tmp_path: Path) -> None:
    """Opening a studio with its real registry and its own choice of device loads no tensor library."""
    code = (
        "import sys, pathlib; from studio.settings import Settings; from studio.open import open_workplace;"
        f"root = pathlib.Path({str(tmp_path)!r});"
        "studio = open_workplace(Settings(data_root=root / 'home', assets=root / 'assets'));"
        "studio.jobs.start(); studio.gpu.status(); studio.close();"
        "print(sorted({'torch', 'diffusers', 'transformers', 'gradio'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
