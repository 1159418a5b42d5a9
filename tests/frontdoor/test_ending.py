"""How the studio ends at a signal: jobs are interrupted, trainings saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from frontdoor.studio import open_studio
from studio.records.job import JobState
from studio.workplace.desk import Workplace

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import signal
import sys
from pathlib import Path
# Whoever started the tests may ignore these, as nohup and a shell's background do.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from engines.fake import fake_registry
from frontdoor.studio import open_studio, serve
from studio.api.api import Api

studio = open_studio(home=Path(sys.argv[1]), fake=True)
api = Api(studio)
(who,) = [each["id"] for each in api.character_list()["characters"]]
job = api.train_submit(who, {"steps": 10**6, "save_every": 0, "sample_every": 0})["job_id"]

def report():
    while studio.jobs.get(job).step < 3:
        pass
    print("learning", flush=True)

import threading
threading.Thread(target=report, daemon=True).start()
sys.exit(serve(studio, port=0, browser=False))
"""


def ended(workplace: Workplace) -> tuple[JobState, int, list[int], str]:
    """Returns the training's state, step, checkpoints and message."""
    (job,) = [each for each in workplace.jobs.list() if each.kind == "train"]
    return job.state, job.step, [each.step for each in job.artifacts.checkpoints or ()], job.message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_saves_the_training(tmp_path: Path, number: signal.Signals) -> None:
    """The process ends well, the job is interrupted, and a checkpoint of the step it reached lets it go on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "home")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        while "learning" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        process.stdout.read()
    assert process.returncode == 0

    with open_studio(home=tmp_path / "home", fake=True) as workplace:
        state, step, saved, message = ended(workplace)

    assert state is JobState.INTERRUPTED
    assert len(saved) == 1
    assert saved[0] in (step - 1, step)
    assert saved[0] >= 2
    assert f"Resume from step {saved[0]}" in message
