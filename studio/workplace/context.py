"""What a running job sees: its records, the studio's engines, and the ways to report, save and lease."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engines.api.errors import BadInput, Cancelled, UserError
from engines.api.params import Params
from engines.api.protocols import EditItem, Plan
from studio.gpu.lease import CardLease
from studio.jobs.progress import Meter
from studio.records.event import Event, PictureKept, Warned
from studio.records.image import ImageRecord, Kind, Likeness
from studio.records.job import WITHOUT_WORDS, Job, Omission, Without
from studio.records.payload import ModelPayload
from studio.store import Store
from studio.workplace.desk import Workplace

if TYPE_CHECKING:
    from PIL.Image import Image


Runner = Callable[["Context"], None]


class Context:
    """One job's way to the studio; made by the queue for each run, used by its runner's thread alone."""

    def __init__(self, job: Job, workplace: Workplace) -> None:
        self._id = job.id
        self._jobs = workplace.jobs
        self._meter = Meter(self._jobs.clock)
        self._saved: set[str] = set()
        self._without: dict[Without, dict[str, Omission]] = {what: {} for what in Without}
        self.workplace = workplace
        self.desk = workplace.desk(job.character)

    @property
    def job(self) -> Job:
        """The job as it stands, artifacts and all."""
        return self._jobs.get(self._id)

    @property
    def store(self) -> Store:
        """The store of the job's character. Raises: NotFound."""
        return self.desk.store

    def step(self, step: int, total: int, message: str = "", *, repeats_count: bool = True) -> None:
        """Report progress; engines take this as their OnStep. Raises: Cancelled when the user wants out.

        Without `repeats_count` the time between two reports of one step counts for nothing.
        """
        if self.cancelled():
            raise Cancelled
        rate, eta_s = self._meter.step(step, total, repeats_count=repeats_count)
        self._jobs.progress(self._id, step=step, total=total, message=message, rate=rate, eta_s=eta_s)

    def say(self, message: str) -> None:
        """Say where the job stands, its step as it is; for its last words."""
        self._jobs.progress(self._id, message=message)

    def cancelled(self) -> bool:
        """Whether this run should end; `step` asks it, and so does a wait for the card."""
        return self._jobs.stopping(self._id)

    def tell(self, event: Event) -> None:
        """Add to the job's events."""
        self._jobs.add_event(self._id, event)

    def warn(self, words: str) -> None:
        """Add a warning to the job's events."""
        self.tell(Warned(warning=words))

    def keep(self, **artifacts: Any) -> None:
        """Keep results with the job, durably; their names are fields of Artifacts."""
        self._jobs.keep_artifacts(self._id, **artifacts)

    def leave_out(self, image_id: str, error: UserError, *, what: Without = Without.LEFT_OUT, items: int = 1) -> None:
        """Go on without a picture that cannot be used: an event names it, and the job's result does.

        `items`: how many of the job's items are not done for it.
        """
        named = self._named(what, image_id, error.cause, items)
        self.warn(f"{named.name} was {WITHOUT_WORDS[what]}: {error}")

    def demand_some(self, done: Collection[object]) -> None:
        """Refuse to call a job done of which nothing could be done. Raises: BadInput naming the first trouble."""
        bad = list(self._without[Without.LEFT_OUT].values())
        if bad and not done:
            raise BadInput(
                f"None of the pictures can be used. {bad[0].name}: {bad[0].why}",
                "Put the files back from a backup, or trash their records in Curate.",
            )

    def _named(self, what: Without, image_id: str, why: str, items: int = 1) -> Omission:
        record = self.store.images.peek(image_id)
        name = (record and record.name) or image_id[:12]
        found = self._without[what]
        found[image_id] = Omission(image=image_id, name=name, why=why, items=items)
        self.keep(**{what: tuple(found.values())})
        return found[image_id]

    def save(
        self,
        image: Image | bytes,
        *,
        kind: Kind,
        parent: str = "",
        item: Params | EditItem | None = None,
        likeness: Likeness | None = None,
        **fields: Any,
    ) -> ImageRecord:
        """Keep a picture with all that made it: the job, the model, the version, the parameters verbatim."""
        job = self.job
        asked = ModelPayload.of(job)
        made: dict[str, Any] = {"job": job.id, "parent": parent, "model": asked.model, "version": asked.version or ""}
        params = item.params if isinstance(item, EditItem) else item
        if params is not None:
            made["params"] = json.loads(json.dumps(params.to_json()))
            made["params_kind"] = type(params).__name__
            made["seed"] = made["params"].get("seed", 0)
        if likeness is not None:
            made |= {"scores": likeness.scores, "nearest": likeness.nearest}
        record = self.store.add_image(image, kind=kind, **{**made, **fields})
        self.tell(PictureKept(image=record.id))
        again = record.id in self._saved or record.job != job.id  # the same content answers the record that it has
        if again and kind is not Kind.PREVIEW:
            where = "it is in the trash" if record.trashed else "it was there before"
            self._named(Without.AGAIN, record.id, where)
        self._saved.add(record.id)
        return record

    @contextmanager
    def lease(self, plan: Plan, key: str = "") -> Iterator[CardLease]:
        """Exclusive use of the card; the job says what it waits for, and a cancel ends the wait.

        Raises: OutOfMemory, Cancelled.
        """
        with self.workplace.gpu.lease(plan, cancelled=self.cancelled, key=key, waiting=self._waiting) as lease:
            yield lease

    def _waiting(self, words: str) -> None:
        if words:
            self._meter.pause()
        else:
            self._meter.resume()
        self._jobs.waits(self._id, words)
