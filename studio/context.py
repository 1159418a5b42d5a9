"""What a running job sees: its records, the studio's engines, and the ways to report, save and lease."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engines.api import EditItem, Params, Plan
from engines.errors import Cancelled
from studio.lease import CardLease
from studio.meter import Meter
from studio.nouns import ImageRecord, Job, Json, Kind, now

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.jobs import Jobs
    from studio.store import Store
    from studio.studio import Studio


class Context:
    """One job's way to the studio; made by the queue for each run, used by its runner's thread alone."""

    def __init__(self, job: Job, jobs: Jobs, studio: Studio) -> None:
        self._id = job.id
        self._jobs = jobs
        self._meter = Meter(jobs.clock)
        self.studio = studio

    @property
    def job(self) -> Job:
        """The job as it stands, artifacts and all."""
        return self._jobs.get(self._id)

    @property
    def store(self) -> Store:
        """The store of the job's character. Raises: NotFound."""
        return self.studio.store(self.job.character)

    def step(self, step: int, total: int, message: str = "") -> None:
        """Report progress; engines take this as their OnStep. Raises: Cancelled when the user wants out."""
        if self.cancelled():
            raise Cancelled
        rate, eta_s = self._meter.step(step, total)
        self._jobs.progress(self._id, step=step, total=total, message=message, rate=rate, eta_s=eta_s)

    def cancelled(self) -> bool:
        """Whether this run should end; `step` asks it, and so does a wait for the card."""
        return self._jobs.stopping(self._id)

    def event(self, **data: Any) -> None:
        """Tell whoever follows the job of something that happened; `data` must be JSON."""
        self._jobs.add_event(self._id, {"at": now(), **data})

    def artifact(self, name: str, value: Any) -> None:
        """Keep a result with the job, durably; `value` must be JSON."""
        self._jobs.keep_artifact(self._id, name, value)

    def save(
        self,
        image: Image | bytes,
        *,
        kind: Kind,
        parent: str = "",
        item: Params | EditItem | None = None,
        **fields: Any,
    ) -> ImageRecord:
        """Keep a picture with all that made it: the job, the model, the version, the parameters verbatim."""
        job = self.job
        made: Json = {"job": job.id, "parent": parent}
        for name in ("model", "version"):
            made[name] = job.payload.get(name) or ""
        params = item.params if isinstance(item, EditItem) else item
        if params is not None:
            made["params"] = json.loads(json.dumps(params.to_json()))
            made["params_kind"] = type(params).__name__
            made["seed"] = made["params"].get("seed", 0)
        record = self.store.add_image(image, kind=kind, **{**made, **fields})
        self.event(image=record.id)
        return record

    @contextmanager
    def lease(self, plan: Plan, key: str = "") -> Iterator[CardLease]:
        """Exclusive use of the card; the job says what it waits for, and a cancel ends the wait.

        Raises: OutOfMemory, Cancelled.
        """
        with self.studio.gpu.lease(plan, cancelled=self.cancelled, key=key, waiting=self._waiting) as lease:
            yield lease

    def _waiting(self, words: str) -> None:
        if words:
            self._meter.pause()
        else:
            self._meter.resume()
        self._jobs.waits(self._id, words)
