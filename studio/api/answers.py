"""The results of the scripted surface: plain JSON, with expected failures returned rather than raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_type_hints

from pydantic import ValidationError, validate_call

from engines.api.errors import BadInput, UserError, from_disk
from engines.api.params import Params
from engines.api.protocols import ModelSpec
from engines.api.values import misfit, shortened, shown
from studio.api.results import JobRow, Picture, Queued
from studio.records.base import Json, Part
from studio.records.character import Character
from studio.records.image import ImageRecord
from studio.records.job import Job
from studio.records.payload import ModelPayload
from studio.records.words import demand_text, mended
from studio.store import Store
from studio.workplace.desk import Workplace

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

P = ParamSpec("P")
K = TypeVar("K", bound=Params)
E = TypeVar("E", bound=StrEnum)
T = TypeVar("T", bound=Part)

Answer = Json  # the result of a scripted call as it is sent to the client

_FEW = 5  # the number of unknown names that an error message lists


def answers(function: Callable[P, Part]) -> Callable[P, Json]:
    """Wraps a function of the scripted API: checks its arguments, and returns result and failures as JSON.

    A result gets `ok` true. A UserError, a wrong argument and an error of the disk, such as a full one, are returned as
    {"ok": false, "error": {code, message, hint}}; any other exception is raised.
    """
    checked = validate_call(function)
    names = tuple(signature(function).parameters)
    kinds = get_type_hints(function, include_extras=True)

    @wraps(function)
    def answer(*args: P.args, **kwargs: P.kwargs) -> Json:
        try:
            for name, value in [*zip(names, args, strict=False), *kwargs.items()]:
                demand_text(name, value)
            told: Json = mended({"ok": True, **checked(*args, **kwargs).to_json()})
        except ValidationError as error:
            return refusal(_misfit(error.errors(include_url=False)[0], names, kinds))
        except UserError as error:
            return refusal(error)
        except OSError as error:
            refused = from_disk(error, Path(str(error.filename or "a file of the data folder")))
            if refused is None:
                raise
            return refusal(refused)
        return told

    answer.__annotations__ = {**function.__annotations__, "return": Json}
    return answer


def refusal(error: UserError) -> Json:
    """Returns an error as the JSON that a script receives: {"ok": false, "error": {code, message, hint}}."""
    return {"ok": False, "error": mended(error.to_json())}


def _misfit(found: ErrorDetails, names: Sequence[str], kinds: Mapping[str, Any]) -> BadInput:
    """Returns the error for a wrong argument, named by its parameter, whether it was passed by name or by position."""
    first, *inner = found["loc"]
    known = [name for name in names if name != "self"]
    if found["type"].startswith("unexpected") or (isinstance(first, int) and first >= len(names)):
        what = f"an argument {shown(first)}" if isinstance(first, str) else f"{first} arguments"
        return BadInput(f"This call does not take {what}.", f"It takes: {', '.join(known) or 'nothing'}.")
    name = names[first] if isinstance(first, int) else str(first)
    if found["type"].startswith("missing"):
        return BadInput(
            f"{name} is missing.", "view_api() of gradio_client says what each call takes, and so does docs/api.md."
        )
    return misfit(name, kinds.get(name, Any), {**found, "loc": tuple(inner)})


def knobs(spec: ModelSpec, kind: type[K], given: Mapping[str, Any] | None) -> K:
    """Returns a model's default parameters of the class `kind`, with the values in `given` set on top.

    `given` maps names of parameters to values; None sets none. Raises: BadInput when a name is unknown, or a value has
    the wrong type or is out of bounds.
    """
    return spec.params(kind, **(given or {}))


def demand_known(what: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises BadInput when `given` holds a name that is not in `known`.

    `what` begins the error's text, as "A character" begins "A character has no age."; its hint lists the known names.
    """
    if unknown := sorted(map(shortened, set(given) - set(known))):
        raise BadInput(f"{what} has no {', '.join(unknown[:_FEW])}.", f"It knows: {', '.join(sorted(known))}.")


def member(name: str, kind: type[E], value: str) -> E:
    """Returns the member of the enum `kind` that has the given value.

    `name` is what the error calls the argument. Raises: BadInput that lists the known values.
    """
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(one.value) for one in kind)
        raise BadInput(f"{name} cannot be {shown(value)}.", f"It is one of: {known}.") from None


def picture(store: Store, image: ImageRecord) -> Picture:
    """Returns a picture's record with the paths of its file and its thumbnail on the studio's machine.

    `trouble` holds the error message when a file cannot be used, else "". No field is named `path`, because
    gradio_client treats any dict with such a key as a file to download. Of a picture that has to be judged blind the
    record does not tell who drew it.
    """
    file = thumb = trouble = ""
    try:
        file = str(store.path(image.id))
        thumb = str(store.thumb(image.id))
    except UserError as error:
        trouble = str(error)
    return Picture(**vars(image.blinded), file_path=file, thumb_path=thumb, trouble=trouble)


def row(job: Job) -> JobRow:
    """Returns what scripts are told of a job: its record with `id` as `job_id`, and without its parameters."""
    told = {name: value for name, value in vars(job).items() if name not in ("id", "payload")}
    return JobRow(job_id=job.id, **told)


def queue_position(jobs: list[Job], job_id: str) -> int:
    """Returns the number of running and queued jobs in `jobs` before the job `job_id`; 0 where it runs or has ended."""
    waiting = [job.id for job in jobs if job.state.is_under_way]
    return waiting.index(job_id) if job_id in waiting else 0


def parts(name: str, kind: type[T], given: Sequence[Mapping[str, Any]]) -> list[T]:
    """Returns objects of a class from the JSON that a script gives. Raises: BadInput that names what does not fit."""
    found = []
    for at, each in enumerate(given):
        try:
            found.append(kind.from_json(each))
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"{name}[{at}] cannot be used: {shortened(str(error))}.", "docs/api.md says what it may hold."
            ) from None
    return found


class Answering:
    """Holds the workplace for its subclasses, whose methods are the functions of the scripted API.

    The workplace gives access to all characters, the queue of jobs, the models and the GPU.
    """

    def __init__(self, workplace: Workplace) -> None:
        self._studio = workplace

    def _character(self, character_id: str) -> Character:
        return self._studio.store(character_id).character

    def _queued(self, job: Job) -> Queued:
        """Returns a submitted job's id, state and queue position; `notes` name what is not used of the LoRA files."""
        return Queued(
            job_id=job.id,
            state=job.state,
            position=queue_position(self._studio.jobs.list(), job.id),
            notes=tuple(ModelPayload.of(job).notes or ()),
        )
