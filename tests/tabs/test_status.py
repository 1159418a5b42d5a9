"""The rail and the strip."""

import pytest

from engines.api.errors import UserError
from engines.api.protocols import Component, Plan, Stage
from engines.fake import FakeWeights
from studio.records.character import Character
from studio.records.job import CANCELLING, Job, JobState
from studio.workplace.desk import Workplace
from tabs import status
from tabs.common.shell import progress_line
from tests.studio.drawing import Numbered


def test_the_rail_says_why_and_marks_one_step(studio: Workplace, anna: Character) -> None:
    """Exactly one step stands out, with a sentence."""
    shown = status.rail(studio.desk(anna.id))
    assert shown.count('class="next"') == 1
    assert "Drop 10 to 20 pictures" in shown


def test_without_a_character_the_rail_says_what_to_do(studio: Workplace) -> None:
    """An empty studio is not an empty page."""
    assert "Create your first character" in status.rail(studio.desk(""))


def test_the_strip_shows_card_queue_and_interrupted_jobs(studio: Workplace, anna: Character) -> None:
    """The card's budget, what waits, and what a crash left."""
    studio.jobs.submit("caption", anna.id, Numbered(), title="Caption 3 pictures", total=3)
    studio.jobs.submit("caption", anna.id, Numbered(), title="Caption 4 pictures", total=4)
    shown = status.strip(studio)
    assert "22.5 GiB" in shown
    assert "queue 2" in shown
    assert 'data-act="up"' in shown


def test_the_strip_says_what_is_where(studio: Workplace) -> None:
    """A part on the card has its master in RAM; what was unloaded is read from disk next time."""
    parts = [Component(f"fake/{name}", 1 << 20, lambda: FakeWeights("x")) for name in ("vae", "transformer")]
    for part in parts:
        with studio.gpu.lease(Plan("draw", (Stage("go", (part,)),))) as lease, lease.stage("go"):
            pass
    assert "card: fake/vae, fake/transformer · RAM: fake/vae, fake/transformer" in status.strip(studio)
    studio.gpu.unload_all()
    assert "disk: fake/vae, fake/transformer" in status.strip(studio)


def test_a_queued_job_can_be_cancelled_and_moved_from_the_strip(studio: Workplace, anna: Character) -> None:
    """The buttons act on the job they stand beside."""
    first = studio.jobs.submit("caption", anna.id, Numbered(), title="first")
    second = studio.jobs.submit("caption", anna.id, Numbered(), title="second")
    status.handle(studio, {"act": "up", "job": second.id, "before": first.id})
    assert [each.id for each in studio.jobs.list()][:2] == [second.id, first.id]
    said = status.handle(studio, {"act": "cancel", "job": second.id})
    assert said and said.words == "It is cancelled."
    assert studio.jobs.get(second.id).state is JobState.CANCELLED


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED])
def test_a_job_that_ended_before_the_click_is_not_called_cancelled(
    studio: Workplace, anna: Character, state: JobState
) -> None:
    """The page may show it as running a moment longer."""
    studio.jobs._jobs["j1"] = Job(id="j1", kind="generate", character=anna.id, state=state)
    said = status.handle(studio, {"act": "cancel", "job": "j1"})
    assert said and said.words == "It had ended already."


def test_a_cancelled_job_that_still_runs_says_so_and_is_not_cancelled_twice(studio: Workplace) -> None:
    """Strip and tab show that it stops, instead of the time left, and no button to cancel it."""
    job = Job(id="j", kind="generate", character="anna", state=JobState.RUNNING, title="Draw 4", eta_s=12.0)
    for shown in (status.running(job), progress_line(job)):
        assert "12 s left" in shown and 'data-act="cancel"' in shown
    stopping = job.replace(message=CANCELLING, waits_for="the card")
    for shown in (status.running(stopping), progress_line(stopping)):
        assert CANCELLING in shown and "left" not in shown and "the card" not in shown
        assert 'data-act="cancel"' not in shown


def test_a_failed_job_is_offered_until_it_is_dismissed(studio: Workplace, anna: Character) -> None:
    """Its cause is in sight; a dismissed one stays away."""
    failed = studio.library.records(Job).put(
        Job(id="j1", kind="train", character=anna.id, title="Train Anna", state=JobState.INTERRUPTED)
    )
    studio.jobs._jobs[failed.id] = failed
    assert "was interrupted" in status.strip(studio)
    status.handle(studio, {"act": "dismiss", "job": failed.id})
    assert "was interrupted" not in status.strip(studio)


def test_every_failure_can_be_dismissed(studio: Workplace, anna: Character) -> None:
    """However many there are; what is kept of it goes with the jobs."""
    for number in range(103):
        made = Job(id=f"j{number}", kind="train", character=anna.id, state=JobState.FAILED, ended=f"2026-01-{number}")
        studio.jobs._jobs[made.id] = made
    studio.library.set_setting(status.DISMISSED, ["long-gone", "j0"])
    for number in range(1, 103):
        assert 'data-act="dismiss"' in status.strip(studio)
        status.handle(studio, {"act": "dismiss", "job": f"j{number}"})
    assert 'data-act="dismiss"' not in status.strip(studio)
    assert len(studio.library.setting(status.DISMISSED, list) or ()) == 103


def test_a_dismissed_job_that_fails_once_more_is_offered_again(studio: Workplace, anna: Character) -> None:
    """What was dismissed is one end of it, not all that follow."""
    failed = Job(id="j1", kind="train", character=anna.id, state=JobState.FAILED, ended="2026-01-01")
    studio.jobs._jobs["j1"] = failed
    status.handle(studio, {"act": "dismiss", "job": "j1"})
    assert 'data-act="dismiss"' not in status.strip(studio)
    studio.jobs._jobs["j1"] = failed.replace(ended="2026-01-02")
    assert 'data-act="dismiss"' in status.strip(studio)


def test_an_unknown_button_is_refused(studio: Workplace) -> None:
    """A forged act changes nothing."""
    with pytest.raises(UserError):
        status.handle(studio, {"act": "format_disk", "job": "x"})
