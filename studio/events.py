"""What happened in each job, in order: kept beside the job's own files, so that a restart loses nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

from studio.nouns import Job, Json
from studio.words import mended


class EventLog:
    """One JSON line an event. `folder` answers a job's run folder, or None for a job that has none."""

    def __init__(self, folder: Callable[[Job], Path | None]) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._events: dict[str, list[Json]] = {}

    def add(self, job: Job, event: Json) -> None:
        """Append; `event` must be JSON."""
        with self._lock:
            events = self._read(job)
            folder = self._folder(job)
            line = json.dumps(mended(event))
            if folder is not None:
                with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
                    # The newline comes first, so that a line which a crash tore spoils no other.
                    file.write(f"\n{line}")
            events.append(json.loads(line))

    def since(self, job: Job, start: int) -> tuple[list[Json], int]:
        """The events from number `start` (0 = the first) on, and the number to ask from next time."""
        with self._lock:
            events = self._read(job)
            return events[max(0, start) :], len(events)

    def _read(self, job: Job) -> list[Json]:
        if job.id not in self._events:
            folder = self._folder(job)
            path = folder / "events.jsonl" if folder is not None else None
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path and path.is_file() else []
            self._events[job.id] = [event for event in map(_parse, lines) if event is not None]
        return self._events[job.id]


def _parse(line: str) -> Json | None:
    try:
        event = mended(json.loads(line))
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
