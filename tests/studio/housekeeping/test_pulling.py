"""Models come as jobs: checked before they are queued, counted in bytes, stopped and resumed."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from engines.api.errors import BadInput, DiskFull, ModelGated, NotFound
from engines.catalogue.registry import Registry
from engines.fake.hub import FakeHub
from studio.housekeeping import models, pulling
from studio.housekeeping.models import Here
from studio.records.job import BYTES, Job, JobState
from studio.records.payload import PullPayload
from studio.workplace.desk import Workplace
from tests.studio.housekeeping.conftest import FAR, WEIGHTS

CASES = ((0.85, {"nf4": ("model",)}), (2.0, {}))  # a download's share of the free disk, what is quantised of it


def ended(place: Workplace, job: Job) -> Job:
    """Lets the queue run until a job has ended."""
    place.jobs.start()
    while (job := place.jobs.get(job.id)).state in (JobState.QUEUED, JobState.RUNNING):
        time.sleep(0.005)
    return job


def test_a_model_comes_as_a_job_that_goes_on_where_it_broke_off(place: Workplace, hub: FakeHub) -> None:
    """Without any character; a break fails the job, a second submit resumes it, and no byte is fetched twice."""
    assert models.model(place, "far").presence.here is Here.MISSING
    first = ended(place, pulling.submit(place, "far", "bf16"))
    assert first.state is JobState.FAILED
    assert (first.character, first.unit, first.total) == ("", BYTES, len(WEIGHTS) + len("{}"))
    assert "continues where it stopped" in first.error.hint
    partly = models.model(place, "far")
    assert (partly.presence.here, partly.presence.missing, partly.job) == (Here.PARTLY, len(WEIGHTS) - 3, first)

    again = ended(place, pulling.submit(place, "far", "bf16"))

    assert (again.id, again.state) == (first.id, JobState.DONE)
    assert hub.asked == [("config.json", 0), ("model.safetensors", 0), ("model.safetensors", 3)]
    found = models.model(place, "far")
    assert (found.presence.here, found.job) == (Here.READY, None)
    assert (found.folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_download_is_queued_once(place: Workplace) -> None:
    """A second click returns the job that waits."""
    assert pulling.submit(place, "far", "bf16").id == pulling.submit(place, "far", "bf16").id
    assert len(place.jobs.list()) == 1


def test_a_queued_download_survives_a_restart(place: Workplace) -> None:
    """A job without a character is stored and read like any other."""
    job = pulling.submit(place, "far", "bf16")
    stored = place.library.records(Job).get(job.id)
    assert PullPayload.of(stored) == PullPayload(model="far", form="bf16")


def test_what_cannot_be_pulled_is_refused_before_it_is_queued(place: Workplace, hub: FakeHub) -> None:
    """An embedded model, an unknown form or path, a gate without a token, and a full disk."""
    with pytest.raises(BadInput, match="is not pulled"):
        pulling.submit(place, "fake-flux")
    with pytest.raises(BadInput, match="no form named"):
        pulling.submit(place, "far", "q4")
    with pytest.raises(NotFound, match="nothing at"):
        pulling.submit(place, "far", "bf16", "/nowhere/at/all")
    with pytest.raises(DiskFull, match="gated needs about"):
        pulling.submit(place, "gated")
    hub._token = False
    with pytest.raises(ModelGated, match="has no token") as refused:
        pulling.submit(place, "gated")
    assert "HF_TOKEN" in refused.value.hint
    assert place.jobs.list() == [] and hub.asked == []


def test_a_model_that_is_here_is_not_pulled_again(place: Workplace) -> None:
    """The refusal names its folder."""
    job = pulling.submit(place, "far", "bf16")
    ended(place, job)
    ended(place, pulling.submit(place, "far", "bf16"))
    with pytest.raises(BadInput, match="is here already"):
        pulling.submit(place, "far", "bf16")


def test_files_of_this_machine_are_taken_without_a_token(place: Workplace, hub: FakeHub) -> None:
    """A folder is read from the disk, and the hub is not asked."""
    job = ended(place, pulling.submit(place, "far", "bf16", str(hub._folder)))
    assert job.state is JobState.DONE, job.error
    assert hub.asked == []
    assert place.registry.here("far")


def test_a_jobs_payload_keeps_every_place(place: Workplace, hub: FakeHub) -> None:
    """A payload of before, without places of parts, is read like one that has none."""
    job = pulling.submit(place, "far", "bf16", str(hub._folder))
    asked = PullPayload.of(job)
    assert (asked.source, asked.text_encoders, asked.vae) == (str(hub._folder), (), "")
    assert PullPayload.from_json({"model": "far", "form": "bf16", "source": str(hub._folder)}) == asked
    assert PullPayload.from_json({**asked.to_json(), "text_encoders": ["a", "b"]}).text_encoders == ("a", "b")


def test_only_what_comes_and_is_made_needs_room(place: Workplace, hub: FakeHub) -> None:
    """A quantised form needs more than the download alone, and a folder of this machine is measured by the job."""
    settings = place.settings
    free = models.model(place, "far").free
    rows = [replace(FAR, component_bytes={"model": int(share * free)}, options=options) for share, options in CASES]
    tight, huge = (Registry(settings.assets, settings.data_root / "models", [row]) for row in rows)

    place.registry = tight
    with pytest.raises(DiskFull, match="far needs about"):
        pulling.submit(place, "far", "nf4")
    place.jobs.cancel(pulling.submit(place, "far", "bf16").id)

    place.registry = huge
    with pytest.raises(DiskFull, match="far needs about"):
        pulling.submit(place, "far", "bf16")
    assert pulling.submit(place, "far", "bf16", str(hub._folder)).state is JobState.QUEUED


def test_a_gate_is_told_with_its_steps(place: Workplace, hub: FakeHub) -> None:
    """Only without a token, and only for a gated model."""
    assert models.model(place, "gated").gate == ""
    hub._token = False
    assert "settings/tokens" in models.model(place, "gated").gate
    assert models.model(place, "far").gate == ""
