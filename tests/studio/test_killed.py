"""SIGKILL in the middle of every kind of work: nothing acknowledged is lost, and the job goes on from there."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studio.records.event import StepTrained
from studio.records.image import Kind, Verdict
from studio.records.job import Job, JobState
from studio.workplace.desk import Workplace
from tests.studio import turning

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def _killed(root: Path, what: str, after: int) -> dict[str, object]:
    """Run the work in a process, kill it once `after` pictures or checkpoints are told, answer the last facts."""
    script = [sys.executable, "-m", "tests.studio.turning", str(root), what]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        told: dict[str, object] = {}
        for line in process.stdout:
            told = json.loads(line)
            if len(told["checkpoints" if what == "train" else "pictures"]) >= after:  # type: ignore[arg-type]
                break
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:
            if line.endswith("\n"):
                told = json.loads(line)
    assert process.returncode == -signal.SIGKILL
    return told


def _resumed(studio: Workplace) -> Job:
    (job,) = studio.jobs.list()
    assert job.state is JobState.INTERRUPTED
    studio.jobs.resume(job.id)
    studio.jobs.start()
    while (job := studio.jobs.get(job.id)).state in (JobState.QUEUED, JobState.RUNNING):
        time.sleep(0.01)
    assert job.state is JobState.DONE, job.error
    return job


def _assert_kept(studio: Workplace, told: dict[str, object]) -> None:
    kept = turning.facts(studio)
    states: dict[str, str] = told["pictures"]  # type: ignore[assignment]
    decided = {image: state for image, state in states.items() if state != Verdict.PENDING}
    assert set(states) <= set(kept["pictures"])  # what was pending may have been decided before the kill
    assert decided.items() <= kept["pictures"].items()
    assert set(told["decisions"]) <= set(kept["decisions"])  # type: ignore[call-overload]
    assert set(told["checkpoints"]) <= set(kept["checkpoints"])  # type: ignore[call-overload]
    store = studio.store(studio.library.characters()[0].id)
    assert all(store.open_image(image).size for image in kept["pictures"])


@pytest.mark.parametrize(
    ("what", "after", "kind", "total"),
    [
        ("import", 12, Kind.SOURCE, turning.PICTURES),
        ("edit", 12, Kind.ENRICHED, turning.PICTURES),
        ("generate", 12, Kind.SYNTHETIC, turning.PICTURES),
    ],
)
def test_pictures_are_kept_and_the_rest_is_done(tmp_path: Path, what: str, after: int, kind: Kind, total: int) -> None:
    """What was told is there after the kill; a resume makes exactly the missing pictures."""
    told = _killed(tmp_path, what, after)

    with turning.open_studio(tmp_path) as studio:
        _assert_kept(studio, told)
        _resumed(studio)

        store = studio.store(studio.library.characters()[0].id)
        assert len(store.select(kind)) == total


def test_every_verdict_told_is_kept(tmp_path: Path) -> None:
    """A kill between two decisions loses neither."""
    told = _killed(tmp_path, "review", after=20)

    with turning.open_studio(tmp_path) as studio:
        _assert_kept(studio, told)

        assert studio.jobs.list() == []


def test_training_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    """The first step after a resume is the one after the newest checkpoint, and the run ends with a version."""
    told = _killed(tmp_path, "train", after=3)

    with turning.open_studio(tmp_path) as studio:
        _assert_kept(studio, told)
        (job,) = studio.jobs.list()
        newest = max(turning.facts(studio)["checkpoints"])
        _, seen = studio.jobs.events(job.id)
        job = _resumed(studio)

        again, _ = studio.jobs.events(job.id, seen)
        steps = [event.step for event in again if isinstance(event, StepTrained)]
        assert newest >= 15
        assert steps[0] in (newest + 1, newest + 6)  # a checkpoint may be on disk that was not told yet
        assert steps[-1] == 400
        store = studio.store(job.character)
        assert [version.job for version in store.versions.all()] == [job.id]
