"""How the scripted surface answers: plain JSON, with expected failures told rather than raised."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pydantic import ValidationError, validate_call

from engines.api import ModelSpec, Params
from engines.errors import BadInput, NotFound, UserError
from studio.nouns import Character, ImageRecord, Job, JobState, Json
from studio.store import Store

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from studio.studio import Studio

P = ParamSpec("P")
K = TypeVar("K", bound=Params)
E = TypeVar("E", bound=StrEnum)

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", tuple: "a list"}
_BEGINNINGS = {"int": int, "float": float, "string": str, "bool": bool, "list": tuple}  # of pydantic's error types


def answers(function: Callable[P, Json]) -> Callable[P, Json]:
    """Check the arguments' types and add `ok`; a UserError becomes {"ok": false, "error": {code, message, hint}}."""
    checked = validate_call(function)
    names = tuple(signature(function).parameters)

    @wraps(function)
    def answer(*args: P.args, **kwargs: P.kwargs) -> Json:
        try:
            return {"ok": True, **checked(*args, **kwargs)}
        except ValidationError as error:
            return {"ok": False, "error": _misfit(error.errors()[0], names).to_json()}
        except UserError as error:
            return {"ok": False, "error": error.to_json()}

    return answer


def _misfit(found: ErrorDetails, names: Sequence[str]) -> BadInput:
    """A wrong argument by its name, whether it came by name or by place."""
    first, *inner = found["loc"]
    name = names[first] if isinstance(first, int) and first < len(names) else first
    where = "".join(f"[{each!r}]" for each in inner)
    if found["type"].startswith("missing"):
        return BadInput(f"{name} is missing.", "The page's API view says what each call takes.")
    wanted = _BEGINNINGS.get(found["type"].partition("_")[0])
    hint = f"It is {_WORDS[wanted]}." if wanted else f"{found['msg']}."
    return BadInput(f"{name}{where} cannot be {found['input']!r:.80}.", hint)


def knobs(spec: ModelSpec, kind: type[K], given: Mapping[str, Any] | None) -> K:
    """A model's defaults with a caller's knobs on top, names and types checked. Raises: BadInput."""
    try:
        params = spec.params(kind, **(given or {}))
    except TypeError as error:
        raise BadInput(f"These parameters cannot be read: {error}.", f"Give an object of {kind.__name__}.") from None
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    for name in given or {}:
        value, wanted = getattr(params, name), type(defaults[name])
        fits = isinstance(value, wanted) or (wanted is float and type(value) is int)
        if not fits or (isinstance(value, bool) and wanted is not bool):
            raise BadInput(f"{name} cannot be {value!r}.", f"It is {_WORDS.get(wanted, wanted.__name__)}.")
    return params


def demand_known(what: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse names that would be ignored. Raises: BadInput naming the known ones."""
    if unknown := sorted(set(given) - set(known)):
        raise BadInput(f"{what} has no {', '.join(unknown)}.", f"It knows: {', '.join(sorted(known))}.")


def member(kind: type[E], value: str) -> E:
    """An enum's member by its value. Raises: BadInput naming the known ones."""
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(one.value) for one in kind)
        raise BadInput(f"{value!r} is no {kind.__name__.lower()}.", f"Known: {known}.") from None


def picture(store: Store, image: ImageRecord) -> Json:
    """A record as scripts see it, with where its files lie on the studio's machine.

    No key is named `path`: gradio_client takes any dict with one for a file to download.
    """
    files = {"file_path": str(store.path(image.id)), "thumb_path": str(store.thumb(image.id))}
    return {**image.to_json(), **files}


def read_upload(file: Path) -> bytes:
    """An uploaded file's bytes. Raises: NotFound, BadInput."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{file.name} is not there.", "Upload it with handle_file, then call again.") from None
    except OSError as error:
        raise BadInput(f"{file.name} cannot be read: {error.strerror}.", "Upload a picture file.") from None


def row(job: Job) -> Json:
    """A job without its payload, which may be long."""
    data = job.to_json()
    del data["payload"]
    return {"job_id": data.pop("id"), **data}


def queue_position(jobs: list[Job], job_id: str) -> int:
    """How many go first: 0 for the running one and for one that has ended."""
    waiting = [job.id for job in jobs if job.state in (JobState.RUNNING, JobState.QUEUED)]
    return waiting.index(job_id) if job_id in waiting else 0


class Answering:
    """What every part of the surface stands on."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def _character(self, character_id: str) -> Character:
        return self._studio.store(character_id).character

    def _queued(self, job: Job) -> Json:
        """What every submit answers at once; `notes` say what of the LoRA files that were named is not used."""
        return {
            "job_id": job.id,
            "state": job.state.value,
            "position": queue_position(self._studio.jobs.list(), job.id),
            "notes": list(job.payload.get("notes", ())),
        }
