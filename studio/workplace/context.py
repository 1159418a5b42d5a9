"""The context of a running job: its store and workplace, and the methods to report, save pictures and lease the GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engines.api.errors import BadInput, Cancelled, UserError
from engines.api.params import Params
from engines.api.protocols import EditItem, Plan
from studio.gpu.lease import CardLease
from studio.jobs.progress import Breaks, Meter, Work
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
    """Holds the methods by which the function that runs a job reports progress, saves pictures and leases the GPU.

    It is made anew for each run of a job, and used only by the thread that runs the job.
    """

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
        """Returns the job's present record, with its progress and results so far."""
        return self._jobs.get(self._id)

    @property
    def store(self) -> Store:
        """Returns the store of the job's character. Raises: NotFound where the character is gone or in the trash."""
        return self.desk.store

    def step(
        self,
        step: int,
        total: int,
        message: str = "",
        *,
        work: Work | None = None,
        repeats_count: bool = True,
        unit: str = "",
    ) -> None:
        """Reports that `step` of `total` steps are done; it is also the callback that engines get for their progress.

        `message` is a text for the user. `work` is the progress in forward passes, a finer unit than steps. With
        `repeats_count` false, time between two reports of the same step does not count in the seconds per step. `unit`
        is the unit of the steps, such as bytes; "" for items. Raises: Cancelled when the job should stop.
        """
        if self.cancelled():
            raise Cancelled
        rate, eta_s = self._meter.step(step, total, work=work, repeats_count=repeats_count)
        self._jobs.progress(self._id, step=step, total=total, unit=unit, message=message, rate=rate, eta_s=eta_s)

    def expect(self, breaks: Breaks) -> None:
        """Announces regular interruptions between the job's steps, such as previews, to estimate the time left."""
        self._meter.breaks = breaks

    def say(self, message: str) -> None:
        """Sets the text that tells the user what the job does now; its step stays as it is."""
        self._jobs.progress(self._id, message=message)

    def cancelled(self) -> bool:
        """Returns whether this run should stop; raises nothing."""
        return self._jobs.stopping(self._id)

    def tell(self, event: Event) -> None:
        """Appends an event to the job's log."""
        self._jobs.add_event(self._id, event)

    def warn(self, words: str) -> None:
        """Appends a warning to the job's log; `words` is the text for the user."""
        self.tell(Warned(warning=words))

    def keep(self, **artifacts: Any) -> None:
        """Sets fields of the job's results (`Artifacts`) by name, and stores them on the disk at once."""
        self._jobs.keep_artifacts(self._id, **artifacts)

    def leave_out(self, image_id: str, error: UserError, *, what: Without = Without.LEFT_OUT, items: int = 1) -> None:
        """Records in the job's log and results that a picture cannot be used; `error` is the reason.

        `what` is the kind of omission: the picture was left out, or not compared with. `items` is the number of the
        job's items that are not done because of it; those of several calls for one picture add up.
        """
        named = self._named(what, image_id, error.cause, items)
        self.warn(f"{named.name} was {WITHOUT_WORDS[what]}: {error}")

    def demand_some(self, done: Collection[object]) -> None:
        """Raises BadInput when the job has no results because its pictures had to be left out.

        `done` are the results. The error names the first picture left out, with its reason. Without any such picture
        nothing is raised.
        """
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
        if image_id in found and what is not Without.NOT_COMPARED:  # an original counts once, whoever compares
            items += found[image_id].items
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
        """Stores a picture together with the job, model, LoRA version and parameters that made it; returns its record.

        `kind` is its origin, `parent` the id of the picture it was made from, "" for none. `item` holds the parameters,
        `likeness` the similarity to the originals; `fields` are other fields of ImageRecord. Where the same picture is
        stored already, only `likeness` changes in its record, and unless it is a preview, the job's results name it in
        `again`.
        """
        job = self.job
        asked = ModelPayload.of(job)
        made: dict[str, Any] = {"job": job.id, "parent": parent, "model": asked.model, "version": asked.version or ""}
        params = item.params if isinstance(item, EditItem) else item
        if params is not None:
            made["params"] = json.loads(json.dumps(params.to_json()))
            made["params_kind"] = type(params).__name__
            made["seed"] = made["params"].get("seed", 0)
        if likeness is not None:
            made |= likeness.replacing({})
        record = self.store.add_image(image, kind=kind, **{**made, **fields})
        if likeness is not None:  # a picture that was stored before has the scores of then
            record = self.store.update_image(record.id, **likeness.replacing(record.scores))
        self.tell(PictureKept(image=record.id))
        again = record.id in self._saved or record.job != job.id  # known content returns its old record
        if again and kind is not Kind.PREVIEW:
            where = "it is in the trash" if record.trashed else "it was there before"
            self._named(Without.AGAIN, record.id, where)
        self._saved.add(record.id)
        return record

    @contextmanager
    def lease(self, plan: Plan, key: str = "") -> Iterator[CardLease]:
        """Yields a lease: exclusive use of the GPU for the stages of `plan`. Waits while another job has the GPU.

        During the wait the job's record says what it waits for; cancelling the job ends the wait. Measured memory peaks
        are stored under `key`; with "" under a key made from each stage. Raises: OutOfMemory when a stage can never
        fit, Cancelled.
        """
        with self.workplace.gpu.lease(plan, cancelled=self.cancelled, key=key, waiting=self._waiting) as lease:
            yield lease

    def _waiting(self, words: str) -> None:
        if words:
            self._meter.pause()
        else:
            self._meter.resume()
        self._jobs.waits(self._id, words)
