"""What a face detector tells of a character's pictures: advice on imports, and the tags that no words decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from engines.api.errors import UserError
from engines.api.faces import Face, FaceDetector
from engines.api.seeing import OTHER
from studio.records.character import Character
from studio.workplace.desk import Workplace

if TYPE_CHECKING:
    from PIL.Image import Image

_TINY = 0.05  # of the picture's height: at 1024 pixels such a face has fewer than 52
_SIDES = ("left", "right")
SIDELESS = ("half", "profile")  # angles whose side only a face tells
_MARGIN = 0.35  # of a face's size, left around it where its expression is read


def reader_of(workplace: Workplace, character: Character) -> FaceDetector | None:
    """Returns what finds and reads faces for a character: the detector that the registry row of its scorer names.

    Returns None for a scorer that compares whole pictures, for a drawn character, whose face it would not find, and
    where the detector's file or package is missing.
    """
    if character.medium == "drawing":
        return None
    try:
        name = workplace.registry.spec(character.scorer).options.get("detector")
        reader: FaceDetector | None = workplace.engine(name) if name else None
    except UserError:
        return None
    return reader


def blind(workplace: Workplace, character: Character) -> str:
    """Returns a sentence that names a fitting scorer, for a drawn character whose own looks for faces; "" for others.

    Detectors of faces are made for photographs. The row of such a scorer names one that compares whole pictures.
    """
    rows = {each.name: each for each in workplace.registry.role("scorer")}
    own = rows.get(character.scorer)
    whole = rows.get(own.options.get("faceless", "")) if own else None
    if character.medium != "drawing" or own is None or whole is None:
        return ""
    return f"{own.label} looks for faces as in photographs and misses most drawn ones: let {whole.label} recognise it."


def advise(reader: FaceDetector | None, picture: Image) -> dict[str, str]:
    """Returns advice on the faces in a picture, as name of the problem -> text; an empty dict for none.

    The problems are that no face was found, that there are several people, and that the face is tiny. Without a
    `reader` there is no advice.
    """
    faces = _found(reader, picture)
    if faces is None:
        return {}
    if not faces:
        return {"no_face": "no face was found: a profile that is hidden, or nobody"}
    advice = {}
    if len(faces) > 1:
        advice["people"] = f"shows {len(faces)} people: crop it to the character"
    if faces[0].height < _TINY * picture.height:
        advice["tiny_face"] = (
            f"the face is {faces[0].height:.0f} pixels high, {_TINY:.0%} or less of the picture: crop it"
        )
    return advice


def measured(
    reader: FaceDetector | None, picture: Image, tags: Mapping[str, str], wanted: str = ""
) -> Mapping[str, str]:
    """Returns tags that were read from words, with angle and framing as the largest face shows them.

    An angle to a side is never taken from words: where no face was found, or its angle lies between two, it is unknown.
    An answer that names no side (half, profile) only denies another angle: it is `OTHER` than the angle `wanted`, or
    else unknown. A framing that the face leaves open stays as read. Without a `reader` the other tags are returned as
    they are.
    """
    if (turned := tags.get("angle", "")) in SIDELESS:
        denied = {"angle": OTHER} if wanted and turned not in wanted else {}
        tags = {axis: value for axis, value in tags.items() if axis != "angle"} | denied
    faces = _found(reader, picture)
    if reader is None or faces is None:
        return tags
    told = reader.read(faces[0], picture.height) if faces else {}
    sided = any(side in tags.get("angle", "") for side in _SIDES)
    kept = {axis: value for axis, value in tags.items() if axis != "angle" or not (faces or sided)}
    return {**kept, **told}


def largest(reader: FaceDetector | None, picture: Image) -> Image | None:
    """Returns the largest face of a picture, cut out with a margin; None without one, or without a `reader`."""
    faces = _found(reader, picture)
    return picture.crop(faces[0].inside(_MARGIN, picture.size)) if faces else None


def _found(reader: FaceDetector | None, picture: Image) -> Sequence[Face] | None:
    """Returns the people in a picture, the largest face first; None without a detector that can be used."""
    try:
        return None if reader is None else reader.people(picture)
    except UserError:
        return None
