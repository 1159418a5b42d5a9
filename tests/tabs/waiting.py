"""Waiting for what a tab has started."""

from __future__ import annotations

import threading

from studio.records.job import Job, JobState
from studio.workplace.desk import Workplace


def ended(studio: Workplace, job: Job) -> Job:
    """A job, once it has ended."""
    while studio.jobs.get(job.id).state in (JobState.QUEUED, JobState.RUNNING):
        threading.Event().wait(0.02)
    return studio.jobs.get(job.id)
