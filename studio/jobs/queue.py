"""The persisted job queue and its one worker: states, progress, cancel, recovery. Holds the only broad except."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engines.api.errors import BadInput, Busy, Cancelled, DiskFull, NotAllowed, NotFound, RanOut, UserError
from studio.jobs.events import EventLog
from studio.records.base import now
from studio.records.event import Event, RanShort
from studio.records.job import CANCELLING, Artifacts, Job, JobError, JobState
from studio.records.payload import Payload
from studio.records.words import demand_text, mended
from studio.store import Library
from studio.store.durable import disk_refusal

Runner = Callable[[Job], None]
Rows = list[Job]  # `list` is a method inside the class
Events = tuple[list[Event], int]
_LOG = logging.getLogger(__name__)
_RESUMABLE = (JobState.INTERRUPTED, JobState.FAILED, JobState.CANCELLED)
_SAVE_S = 1.0
_RETRY_S = 2.0


class Jobs:
    """Represents the job queue: jobs are submitted from any thread, run one at a time in order, and survive a crash.

    A job's state and results are stored on the disk before a call returns, its progress at most once a second. When the
    disk is full, a job's end, a cancel or progress is kept in memory, and storing it is tried every `retry_s` seconds;
    until then no new job starts. `runners` maps a kind of job to its function; `log` is the path of the log file."""

    def __init__(
        self,
        library: Library,
        runners: Mapping[str, Runner],
        *,
        clock: Callable[[], float] = time.monotonic,
        log: str = "the studio's log",
        retry_s: float = _RETRY_S,
    ) -> None:
        self.clock = clock
        self._library = library
        self._rows = library.records(Job)
        self._runners = runners
        self._log = log
        self._retry_s = retry_s
        self._events = EventLog(lambda job: library.folder(job.character) / "runs" / job.id if job.character else None)
        self._wake = threading.Condition()
        self._jobs: dict[str, Job] = {job.id: job for job in self._rows.all()}
        self._saved_at: dict[str, float] = {}
        self._unsaved: set[str] = set()  # ids of jobs with changes that are not stored yet
        self._cancelling: set[str] = set()
        self._live: set[str] = set()
        self._closing = False
        self._thread: threading.Thread | None = None
        # Jobs that a crash left running become interrupted: a user may resume them, they never restart by themselves.
        for job in [each for each in self._jobs.values() if each.state is JobState.RUNNING]:
            self._note(self._ended(job, _End(JobState.INTERRUPTED)))

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def get(self, job_id: str) -> Job:
        """Returns a job with its present progress. Raises: NotFound."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFound(f"There is no job {job_id}.", "Take an id from the job list.") from None

    def list(self, character: str | None = None) -> Rows:
        """Returns jobs: the running one, the queued ones in order, then the ended ones, newest first.

        `character` is an id; None returns the jobs of all characters, "" those without a character."""
        with self._wake:
            jobs = [job for job in self._jobs.values() if character in (None, job.character)]
        running = [job for job in jobs if job.state is JobState.RUNNING]
        queued = sorted((job for job in jobs if job.state is JobState.QUEUED), key=_place)
        # Reversed, so that of two jobs that ended in the same millisecond the later one comes first.
        rest = [job for job in reversed(jobs) if not job.state.is_under_way]
        rest.sort(key=lambda job: (job.ended_as, job.ended or job.created), reverse=True)
        return [*sorted(running, key=lambda job: job.started), *queued, *rest]

    def running(self) -> Job | None:
        """Returns the job that runs now; None when none does."""
        first = next(iter(self.list()), None)
        return first if first is not None and first.state is JobState.RUNNING else None

    def events(self, job_id: str, since: int = 0) -> Events:
        """Returns a job's events from index `since` on, and the index to pass in the next call. Raises: NotFound."""
        return self._events.since(self.get(job_id), since)

    # ── submitting and changing ──────────────────────────────────────────────────────────────────

    def submit(
        self,
        kind: str,
        character_id: str,
        payload: Payload,
        *,
        title: str,
        total: int = 0,
        key: str = "",
        here: bool = False,
    ) -> Job:
        """Queues a job and returns it; where one of the same kind, character and non-empty `key` exists, returns that.

        `character_id` is "" for a job of no character; `title` is the job's name on the page, `total` its number of
        items or steps. With `here` it runs at once in the calling thread. Raises: NotFound for an unknown kind,
        BadInput for control characters in `payload` or `key`."""
        if kind not in self._runners:
            raise NotFound(f"There is no job of kind {kind}.", f"Known: {', '.join(sorted(self._runners))}.")
        asked = json.loads(json.dumps(payload.to_json()))
        demand_text("The job", asked)
        demand_text("The key", key)
        with self._wake:
            if known := self.known(kind, character_id, key):
                return known
            job = Job(
                id=f"{kind}-{secrets.token_hex(5)}",
                kind=kind,
                character=character_id,
                title=mended(title),
                payload=asked,
                total=total,
                key=key,
                position=self._last_position() + 1,
                state=JobState.RUNNING if here else JobState.QUEUED,
                started=now() if here else "",
            )
            self._keep(job)
            if here:
                self._live.add(job.id)
            self._wake.notify_all()
        if here:
            self._run(job)
        return self.get(job.id)

    def known(self, kind: str, character_id: str, key: str) -> Job | None:
        """Returns the job of one kind and character that was submitted with a non-empty `key`; None without one."""
        with self._wake:
            same = (each for each in self._jobs.values() if (each.kind, each.character) == (kind, character_id))
            return next((each for each in same if key and each.key == key), None)

    def cancel(self, job_id: str) -> Job:
        """Cancels a job and returns it: a running one ends after its present step. Raises: NotFound."""
        with self._wake:
            job = self.get(job_id)
            if job.state is JobState.RUNNING:
                self._cancelling.add(job_id)
                return self._note(job.replace(message=CANCELLING))
            if job.state in (JobState.QUEUED, JobState.INTERRUPTED):
                return self._note(self._ended(job, _End(JobState.CANCELLED)))
            return job

    def resume(self, job_id: str) -> Job:
        """Queues an interrupted, failed or cancelled job again with the same payload, and returns it.

        Raises: NotFound, BadInput for a job that is done or whose kind is unknown."""
        with self._wake:
            job = self.get(job_id)
            if job.state.is_under_way:
                return job
            if job.state not in _RESUMABLE:
                raise BadInput(f"{job.title or job.kind} is {job.state}.", "Submit a new job instead.")
            return self._note(self._queued_again(job))

    def extend(self, job_id: str, payload: Payload, total: int) -> Job:
        """Queues an ended job again with a new payload and total, stored in one write, and returns it.

        Raises: NotFound, BadInput for an unknown kind, Busy while the job has not ended."""
        with self._wake:
            job = self.get(job_id)
            if job.state.is_under_way:
                raise Busy(f"{job.title or job.kind} has not ended.", "Stop it, or wait; then extend it.")
            asked = json.loads(json.dumps(payload.to_json()))
            return self._keep(self._queued_again(job.replace(payload=asked, total=total)))

    def _queued_again(self, job: Job) -> Job:
        if job.kind not in self._runners:
            raise BadInput(f"No job of kind {job.kind} can be run.", "It was made by another version.")
        self._wake.notify_all()
        again = {"state": JobState.QUEUED, "position": self._last_position() + 1, "ended": "", "message": ""}
        kept = job.artifacts.replace(left_out=None, not_compared=None, again=None)
        return job.replace(**again, error=JobError(), artifacts=kept)

    def move(self, job_id: str, before_id: str | None = None) -> None:
        """Moves a queued job before another, None for the end. Raises: NotFound; BadInput where one is not queued."""
        with self._wake:
            job = self.get(job_id)
            queue = [other for other in self.list() if other.state is JobState.QUEUED and other.id != job_id]
            places = [other.id for other in queue]
            if job.state is not JobState.QUEUED:
                raise BadInput(f"{job.title or job.kind} is {job.state}.", "Only queued jobs can be moved.")
            if before_id is not None and self.get(before_id).id not in places:
                raise BadInput("A job can only be moved before another queued one.", "Reload the queue.")
            queue.insert(places.index(before_id) if before_id is not None else len(queue), job)
            moved = [other.replace(position=float(index)) for index, other in enumerate(queue, 1)]
            self._rows.put_many(moved)
            self.take_in(moved)

    # ── the worker ───────────────────────────────────────────────────────────────────────────────

    def take_in(self, stored: Rows) -> None:
        """Adds jobs to the queue's list that are stored on the disk already, such as those of a restored character."""
        with self._wake:
            self._jobs.update({job.id: job for job in stored})

    def start(self) -> None:
        """Starts the worker thread; a second call does nothing."""
        with self._wake:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
                self._thread.start()

    def close(self, patience_s: float = 60.0) -> None:
        """Stops the queue after the running job's present step; that job becomes interrupted and can be resumed.

        Raises: Busy when it does not stop within `patience_s` seconds; the store must not be closed then."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
            if not self._wake.wait_for(lambda: not self._live, patience_s):
                raise Busy("The running job has not stopped yet.", "Wait for its step to end, then try again.")
            self._store_unsaved()
        if self._thread is not None:
            self._thread.join(patience_s)

    def _work(self) -> None:
        while job := self._take():
            self._run(job)

    def _take(self) -> Job | None:
        """Waits for the next job and returns it once its running state is stored; None when the queue closes."""
        with self._wake:
            while True:
                patience = self._retry_s if self._unsaved else None
                self._wake.wait_for(lambda: self._closing or self._next() is not None, patience)
                self._store_unsaved()
                job = self._next()
                if self._closing:
                    return None
                if job is None:
                    continue
                started = {"state": JobState.RUNNING, "started": now(), "rate": 0.0, "eta_s": 0.0, "waits_for": ""}
                try:
                    job = self._keep(job.replace(**started))
                except UserError as error:
                    if job.waits_for != error.cause:
                        _LOG.warning("job %s cannot begin yet: %s", job.id, error)
                    self._jobs[job.id] = job.replace(waits_for=error.cause)
                    self._wake.wait(self._retry_s)
                    continue
                self._live.add(job.id)
                return job

    def _run(self, job: Job) -> None:
        end = _End(JobState.INTERRUPTED)
        try:
            self._persist(job)
            done = self.get(job.id)
            end = _End(JobState.DONE, message=done.summary() or None)
        except Cancelled as stop:
            end = self._stopped(job, str(stop) or None)
        except UserError as error:
            refused = isinstance(error, DiskFull | NotAllowed) and self.stopping(job.id)
            end = self._stopped(job) if refused else _failed(job, error)
        except SystemExit as error:
            end = self._bug(error)
        except Exception as error:  # noqa: BLE001  the worker survives any error of a runner, and the job reports it
            told = disk_refusal(error, self._library.root)
            _LOG.error("job %s (%s) hit %s", job.id, job.kind, "a disk" if told else "a bug", exc_info=error)
            stopped = told and self.stopping(job.id)
            end = self._stopped(job) if stopped else _failed(job, told) if told else self._bug(error)
        finally:
            self._end(job.id, end)

    def _stopped(self, job: Job, words: str | None = None) -> _End:
        """Returns the end of a job that was asked to stop: interrupted when the studio closes, else cancelled."""
        closing = self._closing and job.id not in self._cancelling
        return _End(JobState.INTERRUPTED if closing else JobState.CANCELLED, message=words)

    def _bug(self, error: BaseException) -> _End:
        told = JobError(code="bug", message=mended(f"{type(error).__name__}: {error}"))
        return _End(JobState.FAILED, told.replace(hint=f"The traceback is in {self._log}."))

    def _persist(self, job: Job) -> None:
        """Runs a job, and runs it again after each RanOut, when memory was freed for what is left of it."""
        while True:
            try:
                return self._runners[job.kind](job)
            except RanOut as error:
                traceback.clear_frames(error.__traceback__)
                _LOG.info("job %s goes on: %s", job.id, error)
                self.add_event(job.id, RanShort(ran_out=error.cause, remedy=error.hint))

    def _end(self, job_id: str, end: _End) -> None:
        with self._wake:
            self._cancelling.discard(job_id)
            self._note(self._ended(self.get(job_id), end))
            self._saved_at.pop(job_id, None)
            self._live.discard(job_id)
            self._wake.notify_all()

    def _ended(self, job: Job, end: _End) -> Job:
        """Returns a job with its end recorded; `ended_as` keeps the order even when the clock is set back."""
        last = max((each.ended_as for each in self._jobs.values()), default=0)
        error = JobError() if end.state is JobState.DONE else end.error or job.error
        message = ("" if job.stopping else job.message) if end.message is None else mended(end.message)
        told = {"state": end.state, "error": error, "message": message}
        return job.replace(**told, ended=now(), ended_as=last + 1, waits_for="", eta_s=0.0)

    # ── reports of a running job ──────────────────────────────────────────────────────────────────

    def stopping(self, job_id: str) -> bool:
        """Returns whether a running job has to stop now, because it was cancelled or the studio closes."""
        return self._closing or job_id in self._cancelling

    def progress(self, job_id: str, **changes: Any) -> None:
        """Sets fields of a running job, such as its step, and stores them on the disk at most once a second."""
        with self._wake:
            was = self.get(job_id)
            told = {**mended(changes), "message": CANCELLING} if was.stopping else mended(changes)
            job = self._jobs[job_id] = was.replace(**told)
            if self.clock() - self._saved_at.get(job_id, float("-inf")) >= _SAVE_S:
                self._note(job)

    def waits(self, job_id: str, words: str) -> None:
        """Sets the text that says what a job waits for, "" when the wait is over; it is not stored on the disk."""
        with self._wake:
            self._jobs[job_id] = self.get(job_id).replace(waits_for=mended(words))

    def keep_artifacts(self, job_id: str, **found: Any) -> None:
        """Sets fields of a job's Artifacts, the results so far, such as ids of pictures, and stores them at once."""
        with self._wake:
            job = self.get(job_id)
            kept = mended(job.artifacts.replace(**found).to_json())
            self._keep(job.replace(artifacts=Artifacts.from_json(kept)))

    def add_event(self, job_id: str, event: Event) -> None:
        """Appends an event to a job's log."""
        self._events.add(self.get(job_id), event)

    def _keep(self, job: Job) -> Job:
        """Stores a job together with all unstored changes. Raises: UserError; then nothing has changed."""
        waiting = [self._jobs[each] for each in self._unsaved if each != job.id]
        self._rows.put_many([*waiting, job])
        self._unsaved.clear()
        self._jobs[job.id] = job
        self._saved_at[job.id] = self.clock()
        return job

    def _note(self, job: Job) -> Job:
        """Updates a job in memory and stores it; when the disk refuses it, it is stored later."""
        try:
            return self._keep(job)
        except UserError as error:
            if job.id not in self._unsaved:
                _LOG.warning("job %s is %s, which could not be stored yet: %s", job.id, job.state, error)
            self._jobs[job.id] = job
            self._unsaved.add(job.id)
            self._saved_at[job.id] = self.clock()
            return job

    def _store_unsaved(self) -> None:
        if self._unsaved:
            self._note(self._jobs[next(iter(self._unsaved))])

    def _next(self) -> Job | None:
        queued = [job for job in self._jobs.values() if job.state is JobState.QUEUED]
        return min(queued, key=_place, default=None)

    def _last_position(self) -> float:
        return max((job.position for job in self._jobs.values()), default=0.0)


def _place(job: Job) -> tuple[float, str, str]:
    return (job.position, job.created, job.id)


@dataclass(frozen=True)
class _End:
    """The end of a job: its state, error and message; with None the job's last message stays."""

    state: JobState
    error: JobError | None = None
    message: str | None = None


def _failed(job: Job, error: UserError) -> _End:
    _LOG.info("job %s failed: %s", job.id, mended(str(error)))
    return _End(JobState.FAILED, JobError.from_json(mended(error.to_json())))
