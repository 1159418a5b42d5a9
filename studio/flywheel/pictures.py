"""Finds what one picture was made from and how, what was made from it, and which versions were trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from engines.api.errors import UserError
from engines.api.params import params_class
from studio.flywheel import card
from studio.records.card import Cell
from studio.records.image import ImageRecord, Kind
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Desk


@dataclass(frozen=True)
class Placed:
    """Holds a picture's place on a model card.

    `card` is the model card's id, `version` the id of the version that it judges ("" for the base model), and `cell`
    the cell with its outcomes.
    """

    card: str
    version: str
    cell: Cell


@dataclass(frozen=True)
class About:
    """Holds what is known of one picture beyond its own record.

    `version` is the LoRA version that drew it. `parents` are the pictures that it was made from: its source, the
    source's source, up to the original. `children` were made from it; those in the trash are left out. `taught` are the
    versions that were trained on it. `nearest` is the original that is most similar to it.

    `twins` have the same words, seed and source, but were drawn by other versions or models, one picture for each.
    `words` are its prompt or instruction, `params` its other parameters as (name, value) texts. `cells` are its places
    on model cards.
    """

    picture: ImageRecord
    version: Version | None
    parents: tuple[ImageRecord, ...]
    children: tuple[ImageRecord, ...]
    taught: tuple[Version, ...]
    nearest: ImageRecord | None
    twins: tuple[ImageRecord, ...]
    words: str
    params: tuple[tuple[str, str], ...]
    cells: tuple[Placed, ...]


def about(desk: Desk, image_id: str) -> About:
    """Returns what is known of a picture: its origin, what was made from it, and its uses. Raises: NotFound."""
    store = desk.store
    picture = store.images.get(image_id).blinded
    every = store.images.all()
    words, params = settings(picture)
    return About(
        picture=picture,
        version=store.versions.peek(picture.version) if picture.version else None,
        parents=parents(store, picture),
        children=tuple(each for each in every if each.parent == image_id and not each.trashed and each.id != image_id),
        taught=taught(store, image_id),
        nearest=store.images.peek(picture.nearest) if picture.nearest else None,
        twins=() if picture.is_blind else twins(store, picture, every),
        words=words,
        params=params,
        cells=placed(store, image_id),
    )


def settings(picture: ImageRecord) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Returns (words, parameters) of a picture: its prompt or instruction, and its other parameters as (name, value).

    All are texts for the page. A parameter without a value is left out; a LoRA is given by the name of its file.
    """
    try:
        worded = params_class(picture.params_kind).worded
    except UserError:  # a picture without parameters, or with those of another FLENwheel
        worded = ""
    named = {name: _told(value) for name, value in picture.params.items() if name != worded}
    pairs = tuple((name.replace("_", " "), value) for name, value in named.items() if value.strip())
    return str(picture.params.get(worded, "")), pairs


def twins(store: Store, picture: ImageRecord, among: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Returns the pictures with the same prompt, seed and source that other versions or models drew, one of each.

    An edit's prompt is its instruction. `among` are the pictures to search. The base model's picture comes first, then
    those of the versions in their order. Of several pictures by one version the newest is taken. Samples of a training
    are left out.
    """
    words, _ = settings(picture)
    if not words or picture.kind is Kind.CORRECTION:
        return ()
    found: dict[tuple[str, str], ImageRecord] = {}
    for each in among:
        same = (each.seed, each.params_kind, each.parent) == (picture.seed, picture.params_kind, picture.parent)
        other = (each.version, each.model) != (picture.version, picture.model) or _is_sample(picture)
        finished = not (each.trashed or each.is_blind or each.kind is Kind.CORRECTION or _is_sample(each))
        if same and other and finished and each is not picture and settings(each)[0] == words:
            found[each.version, each.model] = each
    order = ["", *(version.id for version in store.versions.all())]
    return tuple(sorted(found.values(), key=lambda each: order.index(each.version) if each.version in order else 0))


def _is_sample(picture: ImageRecord) -> bool:
    return picture.kind is Kind.PREVIEW and not picture.parent


def _told(value: object) -> str:
    """Returns a parameter's value as text: on or off, a short number, or the LoRAs of a stack with their weights."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ", ".join(_told(each) for each in value)
    if isinstance(value, Mapping):
        return f"{PurePath(str(value.get('file', '?'))).name} × {_told(value.get('weight', 1.0))}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def parents(store: Store, picture: ImageRecord) -> tuple[ImageRecord, ...]:
    """Returns the pictures that a picture was made from: its source, then the source's source, up to the original."""
    found: dict[str, ImageRecord] = {}
    step = store.images.peek(picture.parent)
    while step is not None and step.id not in {*found, picture.id}:
        found[step.id] = step
        step = store.images.peek(step.parent)
    return tuple(found.values())


def taught(store: Store, image_id: str) -> tuple[Version, ...]:
    """Returns the versions that were trained on a picture, as a target or as the source of an edit."""
    found = []
    for version in store.versions.all():
        dataset = store.datasets.peek(version.dataset)
        if dataset and any(image_id == entry.image or image_id in entry.references for entry in dataset.entries):
            found.append(version)
    return tuple(found)


def placed(store: Store, image_id: str) -> tuple[Placed, ...]:
    """Returns the model card cells that show a picture, each with its model card and version."""
    runs = [run for run in store.cards.all() if any(cell.image == image_id for cell in run.cells)]
    judged = [card.get(store, run.id) for run in runs]
    return tuple(Placed(run.id, run.version, cell) for run in judged for cell in run.cells if cell.image == image_id)
