"""The event log of each job, kept in the job's folder so that it survives a restart."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.api.errors import UserError
from studio.records.event import Event, read_event
from studio.records.job import Job
from studio.records.words import mended
from studio.store.durable import make_folder

_NAME = "events.jsonl"
_LOG = logging.getLogger(__name__)


class EventLog:
    """Stores the events of all jobs, such as warnings: one file in each job's folder, one JSON line per event.

    `folder` returns the path of a job's folder, which need not exist, or None for a job whose events stay in memory.
    Events that cannot be written are kept in memory and written with the job's next event.
    """

    def __init__(self, folder: Callable[[Job], Path | None]) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._events: dict[str, list[Event]] = {}
        self._unwritten: dict[str, list[str]] = {}

    def add(self, job: Job, event: Event) -> None:
        """Appends an event to a job's log, in memory and on the disk."""
        with self._lock:
            events, folder = self._read(job), self._folder(job)
            line = json.dumps(mended(event.to_json()))
            events.append(read_event(json.loads(line)))
            if folder is None:
                return
            waiting = self._unwritten.setdefault(job.id, [])
            waiting.append(line)
            try:
                _append(make_folder(folder) / _NAME, waiting)
            except (OSError, UserError) as error:
                if len(waiting) == 1:
                    _LOG.warning("the events of job %s stay in memory for now: %s", job.id, error)
            else:
                waiting.clear()

    def since(self, job: Job, start: int) -> tuple[list[Event], int]:
        """Returns a job's events from index `start` on, and the index to pass as `start` in the next call."""
        with self._lock:
            events = self._read(job)
            return events[max(0, start) :], len(events)

    def _read(self, job: Job) -> list[Event]:
        if job.id not in self._events:
            folder = self._folder(job)
            path = folder / _NAME if folder is not None else None
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path and path.is_file() else []
            self._events[job.id] = [event for event in map(_parse, lines) if event is not None]
        return self._events[job.id]


def _append(path: Path, lines: Sequence[str]) -> None:
    """Appends lines to a file, all of them or none. Raises: OSError."""
    # The newline comes first, so that a line which a crash cut off does not damage the next one.
    left = memoryview("".join(f"\n{line}" for line in lines).encode())
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(size)
            raise


def _parse(line: str) -> Event | None:
    try:
        event = mended(json.loads(line))
    except ValueError:
        return None
    return read_event(event) if isinstance(event, dict) else None
