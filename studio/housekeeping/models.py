"""The models of the registry with their state on this machine: what each is for, its licence, its gate, its weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engines.api.errors import ModelMissing
from engines.api.protocols import ModelSpec
from engines.catalogue.hub import Hub, cached_snapshot, gate_steps
from engines.catalogue.pulling import missing_bytes
from engines.catalogue.registry import Registry
from engines.catalogue.weights import QUANTISED, held_forms, is_pulling
from studio.records.job import Job, JobState
from studio.records.payload import PullPayload
from studio.workplace.desk import Workplace

PULL = "pull"  # the kind of job that brings a model
ROLES = ("generator", "editor", "scorer", "detector")
EMBEDDED, GIVEN, OWN, PACKAGE = "assets:", "folder:", "deepface:", "package:"  # sources that are no repository
_GIB = 1 << 30


class Here(StrEnum):
    """Names how much of a model is on this machine.

    The model is embedded in the project, ready, raw (complete, but not quantised yet), partly downloaded, or missing.
    """

    EMBEDDED = "embedded"
    READY = "ready"
    RAW = "raw"
    PARTLY = "partly"
    MISSING = "missing"


@dataclass(frozen=True)
class Presence:
    """Holds how much of a model is on this machine: `state` in words for the user, `here` as a value of `Here`.

    `forms` are the quantised forms of the weights that are stored. `remedy` is a command or sentence on what to do, ""
    for nothing. `missing` are the bytes still to download, as far as they are known.
    """

    state: str
    forms: tuple[str, ...] = ()
    remedy: str = ""
    here: Here = Here.READY
    missing: int = 0  # bytes that are still to fetch, as far as they are known


def presence(registry: Registry, spec: ModelSpec) -> Presence:
    """Returns how much of a model is on this machine, in its own folder or in the Hugging Face cache."""
    home = registry.home(spec)
    pull, given = f"python launch.py pull {spec.name}", spec.source.startswith(GIVEN)
    if spec.source.startswith(EMBEDDED):
        return Presence("embedded", here=Here.EMBEDDED)
    if spec.source.startswith(OWN):
        folder = registry.folder(spec)
        if folder.is_dir():
            return Presence("ready")
        return Presence("not here", remedy=f"Put its weights into {folder}.", here=Here.MISSING)
    if spec.source.startswith(PACKAGE):
        try:
            registry.folder(spec)
        except ModelMissing as error:
            return Presence("not here", remedy=error.hint, here=Here.MISSING)
        return Presence("ready")
    if is_pulling(home):
        left = missing_bytes(home)
        return Presence(f"partly, {_gib(left)} missing", tuple(held_forms(home)), pull, Here.PARTLY, left)
    try:
        folder = registry.folder(spec)
    except ModelMissing as error:
        return Presence("not here", (), error.hint, Here.MISSING) if given else _in_cache(spec, pull)
    state = "ready"
    if folder != home:
        user = Path(os.path.expanduser("~"))  # noqa: PTH111 - never raises, also for a user without a home folder
        state = f"found in {f'~/{folder.relative_to(user)}' if folder.is_relative_to(user) else folder}"
    forms = tuple(held_forms(folder))
    if any(spec.options.get(form) for form in QUANTISED) and not forms:
        remedy = "" if given else f"{pull}   (quantises it once; otherwise every start quantises it again)"
        return Presence(state, remedy=remedy, here=Here.RAW)
    return Presence(state, forms)


def _in_cache(spec: ModelSpec, pull: str) -> Presence:
    """Returns how much of a model the hub's own cache has begun to hold, or that nothing is here."""
    whole = download_bytes(spec)
    cached = cached_snapshot(spec.source)
    here = sum(file.stat().st_size for file in cached.rglob("*.safetensors")) if cached else 0
    left = max(whole - here, 0)
    if here:
        return Presence(f"partly in the hub's cache, about {_gib(left)} missing", (), pull, Here.PARTLY, left)
    words = f"not here, {_gib(whole)} to download" if whole else "not here"
    return Presence(words, (), pull, Here.MISSING, whole)


def download_bytes(spec: ModelSpec) -> int:
    """Returns the bytes to download for a model's unquantised weights; 0 where they are not known."""
    return sum(size for name, size in spec.component_bytes.items() if "." not in name)


@dataclass(frozen=True)
class Model:
    """Holds a model of the registry with its state on this machine.

    `job` is its newest download that is not done, None without one. `link` is the URL of its page on the Hugging Face
    hub, "" without one. `gate` says how to get access to a gated model, "" where nothing is needed. `held` are the
    bytes in its `folder`, `free` the free bytes on that disk.
    """

    spec: ModelSpec
    presence: Presence
    folder: Path
    held: int
    free: int
    link: str = ""
    gate: str = ""
    job: Job | None = None

    @property
    def pullable(self) -> bool:
        """Returns whether the model can be downloaded from the Hugging Face hub."""
        return bool(self.link)

    @property
    def running(self) -> bool:
        """Returns whether a download of the model runs or waits in the queue."""
        return self.job is not None and self.job.state.is_under_way


def page_of(spec: ModelSpec) -> str:
    """Returns the URL of a model's page on the Hugging Face hub; "" for a model that is not there."""
    if spec.source.startswith((EMBEDDED, GIVEN, OWN, PACKAGE)):
        return ""
    return f"https://huggingface.co/{spec.source}"


def model(workplace: Workplace, name: str) -> Model:
    """Returns the model named `name` with its state on this machine. Raises: NotFound."""
    registry = workplace.registry
    spec = registry.spec(name)
    found, home, link = presence(registry, spec), registry.home(spec), page_of(spec)
    newest = next(iter(pulls(workplace, name)), None)
    if found.here in (Here.READY, Here.RAW, Here.EMBEDDED):
        home = registry.folder(spec)
    return Model(
        spec=spec,
        presence=found,
        folder=home,
        held=folder_bytes(home),
        free=free_bytes(home),
        link=link,
        gate=gate(spec, workplace.hub) if link else "",
        job=newest if newest and newest.state is not JobState.DONE else None,
    )


def models(workplace: Workplace) -> list[Model]:
    """Returns every model of the registry with its state on this machine, by its own role: generators first."""
    rows = [spec for role in ROLES for spec in workplace.registry.role(role) if spec.role == role]
    return [model(workplace, spec.name) for spec in rows]


def gate(spec: ModelSpec, hub: Hub) -> str:
    """Returns as text the steps to get access to a gated model.

    Returns "" for a model that is not gated, and where this machine has a token for the hub.
    """
    return "" if not spec.gated or hub.has_token() else gate_steps(spec.source)


def pulls(workplace: Workplace, name: str) -> Iterator[Job]:
    """Yields the jobs that download the model named `name`: running, queued, then ended ones, newest first."""
    found = (job for job in workplace.jobs.list("") if job.kind == PULL)
    return (job for job in found if PullPayload.of(job).model == name)


def folder_bytes(folder: Path) -> int:
    """Returns the bytes of all files in a folder and its subfolders; files that vanish meanwhile are skipped."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:
                continue
    return total


def free_bytes(folder: Path) -> int:
    """Returns the free bytes of the disk that `folder` is on, or would be on if it existed."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def _gib(count: int) -> str:
    """Returns a number of bytes in GiB, with one decimal."""
    return f"{count / _GIB:.1f} GiB"
