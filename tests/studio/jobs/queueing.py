"""A queue whose jobs do what a test tells them to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from studio.jobs.queue import Jobs, Runner
from studio.records.job import Job, JobState
from studio.store import Library
from studio.workplace.context import Context
from tests.studio.card import Clock
from tests.studio.drawing import House, Numbered


class Bench:
    """A queue whose jobs do what a test tells them to."""

    def __init__(self, library: Library, character: str) -> None:
        self.library = library
        self.character = character
        self.clock = Clock()
        self.house = House(library)
        self.does: Callable[[Context], object] = lambda ctx: None
        self.jobs = self.open()

    def open(self) -> Jobs:
        """A queue on the same library."""

        def do(job: Job) -> None:
            self.does(Context(job, self.house))  # type: ignore[arg-type]  # it has what a context asks for

        runners: dict[str, Runner] = {"do": do, "say": lambda job: None}
        self.house.jobs = Jobs(self.library, runners, clock=self.clock, log="the-log", retry_s=0.01)
        return self.house.jobs

    def submit(self, title: str = "a job", **more: object) -> Job:
        """Queue a job of kind `do`."""
        return self.jobs.submit("do", self.character, Numbered(n=1), title=title, **more)  # type: ignore[arg-type]

    def here(self, does: Callable[[Context], object]) -> Job:
        """Run one job in this thread."""
        self.does = does
        return self.submit(here=True)

    def stored(self, job: Job) -> Job:
        """What a crash would leave."""
        return self.library.records(Job).get(job.id)

    def until(self, job: Job, *states: JobState) -> Job:
        """Wait for a job to come to a state."""
        done = threading.Event()
        while self.jobs.get(job.id).state not in states:
            done.wait(0.005)
        return self.jobs.get(job.id)


def titles(jobs: Jobs) -> list[str]:
    """The list as a user sees it."""
    return [job.title for job in jobs.list()]
