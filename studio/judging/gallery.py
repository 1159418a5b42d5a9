"""The identity score: a picture's similarity to the originals, calibrated by their similarity to each other."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from engines.api.axes import shows_face
from engines.api.crops import cut
from engines.api.errors import ModelMissing, UserError
from engines.api.protocols import Embedding, NoFace, Scorer
from studio.judging.statistics import median, percentile
from studio.records.image import ImageRecord, Kind, Likeness, Verdict
from studio.store import Store
from studio.workplace.desk import Desk

if TYPE_CHECKING:
    from PIL.Image import Image

ENOUGH = 3  # the fewest originals from which a floor and a ceiling are computed
_TOP = 3
_FLOOR_PERCENTILE = 10.0
_BATCH = 8
_CACHE = "embeddings"
_ANYTHING, _NOTHING = -1.0, 1.0

_LOG = logging.getLogger(__name__)

Vectors = NDArray[np.float64]
_Part = TypeVar("_Part", bound=Hashable)
_Opened = TypeVar("_Opened")
LeaveOut = Callable[[str, UserError], object]  # called with a picture's id and the error that kept it from being opened


def _quietly(image: object, error: UserError) -> None:
    """Ignores a picture that cannot be opened."""


@dataclass(frozen=True)
class Gallery:
    """Holds the embeddings of a character's originals, and the limits of similarity that follow from them.

    A picture below `floor` does not pass as the character; one above `ceiling` is nearly a copy of an original. These
    limits come from the similarity of each original to the others: `floor` is a low percentile of these values, but
    never above the scorer's own threshold; `middle` is their median, `ceiling` their maximum. With too few originals
    `calibrated` is False, and no picture is judged. `ids` and `vectors` have the same order; `version` is the scorer's.
    """

    version: str
    ids: tuple[str, ...]
    vectors: Vectors = field(repr=False, compare=False)
    floor: float = _ANYTHING
    ceiling: float = _NOTHING
    middle: float = 0.0
    calibrated: bool = False

    def nearest(self, embedding: Embedding) -> str:
        """Returns the id of the original that is most similar to an embedding; "" without originals."""
        if not self.ids:
            return ""
        people = [self.vectors @ np.asarray(vector) for vector in (embedding.vector, *embedding.others)]
        return self.ids[int(np.argmax(max(people, key=_top_mean)))]


def gallery(desk: Desk, leave_out: LeaveOut = _quietly, name: str = "") -> Gallery:
    """Returns the identity embeddings of a character's originals, with the likeness above which a picture passes as it.

    Generated pictures are never part of them, so that they are not judged by each other. Embeddings are cached in the
    store. An original that cannot be opened is left out, and `leave_out` is called with its id and the error. `name` is
    the scorer's, "" for the character's own. Raises: ModelMissing.
    """
    scorer = desk.workplace.scorer(name or desk.store.character.scorer)
    known = embeddings(desk.store, scorer, [image.id for image in originals(desk.store)], leave_out)
    found = {image: vector for image, vector in known.items() if vector is not None}
    return make_gallery(scorer.version, found, scorer.threshold)


def gallery_if_any(desk: Desk, name: str = "") -> Gallery:
    """Returns a character's gallery, the embeddings of its originals; an empty one without the scorer's weights.

    `name` is the scorer's, "" for the character's own.
    """
    try:
        return gallery(desk, name=name)
    except ModelMissing:
        return make_gallery("", {})


def faceless(desk: Desk) -> str:
    """Returns the name of the scorer that compares pictures in which a character's own scorer finds no face.

    The registry row of the character's scorer names it in its options; "" where it names none.
    """
    return str(desk.workplace.registry.spec(desk.store.character.scorer).options.get("faceless", ""))


def originals(store: Store) -> list[ImageRecord]:
    """Returns a character's originals: the imported pictures that no human has marked as wrong.

    A gallery is made of them: other pictures are scored by their similarity to these. One that is tagged as seen from
    behind shows no face to compare with, and is left out.
    """
    kept = (image for image in store.select(Kind.SOURCE) if image.state in (Verdict.PENDING, Verdict.GOOD))
    return [image for image in kept if shows_face(image.tags)]


def make_gallery(version: str, found: dict[str, tuple[float, ...]], threshold: float | None = None) -> Gallery:
    """Returns a gallery made of the unit vectors in `found`, a dict of picture id -> vector.

    A gallery holds the embeddings of a character's originals, and limits of similarity computed from them. `version` is
    the scorer's version. `threshold` is the similarity at which the scorer itself takes two pictures for the same
    person, None where it has none; the gallery's floor, the lowest similarity that passes, is never above it.
    """
    vectors = np.asarray(list(found.values()), dtype=np.float64)
    ids = tuple(found)
    if len(ids) < ENOUGH:
        return Gallery(version, ids, vectors)
    among = vectors @ vectors.T
    usual = [_top_mean(np.delete(row, i)) for i, row in enumerate(among)]
    lowest = percentile(usual, _FLOOR_PERCENTILE)
    return Gallery(
        version,
        ids,
        vectors,
        floor=lowest if threshold is None else min(lowest, threshold),
        ceiling=max(usual),
        middle=median(usual),
        calibrated=True,
    )


def similarity(embedding: Embedding, reference: Gallery) -> float | None:
    """Returns the similarity of an embedding to the originals in a gallery: the mean of its highest cosines with them.

    Of several people in a picture the one most like the originals counts. Returns None for a gallery without originals.
    """
    if not reference.ids:
        return None
    people = (embedding.vector, *embedding.others)
    return max(_top_mean(reference.vectors @ np.asarray(vector, dtype=np.float64)) for vector in people)


def score_pictures(scorer: Scorer, reference: Gallery, pictures: Sequence[Image]) -> list[Likeness]:
    """Returns the likeness of each picture, in order: its similarity to the originals, and the nearest one's id.

    `reference` is the gallery of originals. Without originals, and for a picture without a face, the similarity is None
    and the id "".
    """
    found = []
    for outcome in scorer.embed(pictures):
        value = None if isinstance(outcome, NoFace) else similarity(outcome, reference)
        nearest = "" if isinstance(outcome, NoFace) else reference.nearest(outcome)
        found.append(Likeness({scorer.version: None if value is None else round(value, 4)}, nearest))
    return found


def score_images(desk: Desk, ids: Iterable[str]) -> dict[str, float | None]:
    """Scores stored pictures against the originals, writes the scores to their records, and returns id -> score.

    A score is None without a face, as from behind, and without originals. Scores of other versions of the scorer are
    kept. Pictures that cannot be opened are left out.
    """
    scorer = desk.workplace.scorer(desk.store.character.scorer)
    reference = gallery(desk)
    every = list(ids)
    known_ones = filter(None, map(desk.store.images.peek, every))
    done: dict[str, float | None] = {image.id: None for image in known_ones if not shows_face(image.tags)}
    waiting = [image for image in every if image not in done]
    for start in range(0, len(waiting), _BATCH):
        opened = open_each(waiting[start : start + _BATCH], desk.store.open_image)
        found = dict(zip(opened, score_pictures(scorer, reference, list(opened.values())), strict=True))
        known = desk.store.images.get
        desk.store.update_images({image: each.replacing(known(image).scores) for image, each in found.items()})
        done.update((image, each.scores[scorer.version]) for image, each in found.items())
    return done


def score_of(image: ImageRecord, version: str) -> float | None:
    """Returns the similarity to the originals that a picture's record holds, as scored by one version of the scorer.

    `version` names that version. Returns None where it has not scored the picture, or found no face.
    """
    value = image.scores.get(version)
    return None if value is None else float(value)


def open_each(
    ids: Iterable[_Part], read: Callable[[_Part], _Opened], leave_out: Callable[[_Part, UserError], object] = _quietly
) -> dict[_Part, _Opened]:
    """Opens pictures with `read` and returns what it makes of them as a dict of id -> result.

    An id may be of any type that `read` takes, so that it can also stand for a part of a picture. What cannot be opened
    is left out, and `leave_out` is called with the id and the error.
    """
    opened: dict[_Part, _Opened] = {}
    for image in ids:
        try:
            opened[image] = read(image)
        except UserError as error:
            leave_out(image, error)
    return opened


def embeddings(
    store: Store, scorer: Scorer, ids: Sequence[str], leave_out: LeaveOut = _quietly
) -> dict[str, tuple[float, ...] | None]:
    """Returns the embeddings of stored pictures as a dict of id -> unit vector, None for one without a face.

    A picture is embedded as cropped in its record, and the result is cached. Pictures that cannot be opened are left
    out, and `leave_out` is called with the id and the error.
    """
    cache = store.run_dir(_CACHE) / f"{hashlib.sha256(scorer.version.encode()).hexdigest()[:16]}.json"
    cached = _read_cache(cache)
    shown = {image: store.images.get(image) for image in ids}
    missing = [image for image, record in shown.items() if _seen(record) not in cached]

    def seen(image: str) -> Image:
        return cut(store.open_whole(image), shown[image].crop)

    for start in range(0, len(missing), _BATCH):
        opened = open_each(missing[start : start + _BATCH], seen, leave_out)
        for image, outcome in zip(opened, scorer.embed(list(opened.values())), strict=True):
            cached[_seen(shown[image])] = None if isinstance(outcome, NoFace) else list(outcome.vector)
    if missing:
        _write_cache(cache, cached)
    found = {image: cached[_seen(record)] for image, record in shown.items() if _seen(record) in cached}
    return {image: None if vector is None else tuple(vector) for image, vector in found.items()}


def _seen(image: ImageRecord) -> str:
    """Returns the cache key of a picture as cropped: its id, followed by the crop's box where it has one."""
    return " ".join([image.id, *map(str, image.crop)])


def _read_cache(cache: Path) -> dict[str, list[float] | None]:
    """Returns the cached vectors; an empty dict when the file is missing or damaged, as it can be made again."""
    try:
        data = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_cache(cache: Path, cached: Mapping[str, list[float] | None]) -> None:
    """Writes the cached vectors; when writing fails, they are computed again next time."""
    part = cache.with_name(f"{cache.stem}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        part.write_text(json.dumps(cached), encoding="utf-8")
        part.replace(cache)
    except OSError as error:
        _LOG.warning("%s could not be written: %s", cache, error)
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _top_mean(values: Vectors) -> float:
    return float(np.sort(values)[-_TOP:].mean())
