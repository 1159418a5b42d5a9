"""Cuts faces out of whole pictures for a recogniser, and embeds all people whom a picture shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from engines.api.faces import Face
from engines.api.protocols import Embedding, NoFace
from engines.faces.geometry import of_size, pose_of
from engines.pictures import to_rgb

_TURNED = 0.5  # the share of a face's size around it that is turned with it, so that no corner is empty


def upright_face(picture: Image.Image, face: Face) -> Image.Image:
    """Returns a face at its full size, cut out of the whole picture and turned so that the head is upright.

    A face without landmarks is not turned.
    """
    near = to_rgb(picture.crop(face.around(_TURNED)))
    roll = pose_of(face.points).roll if face.points else 0.0
    turned = near.rotate(roll, Image.Resampling.BICUBIC)
    share = _TURNED / (1 + 2 * _TURNED)
    left, top = round(share * near.width), round(share * near.height)
    return turned.crop((left, top, near.width - left, near.height - top))


def embedding_of(
    picture: Image.Image, faces: Sequence[Face], vector: Callable[[Image.Image, Face], tuple[float, ...]]
) -> Embedding | NoFace:
    """Returns the embedding of a picture's people: all faces of like size, the largest first; NoFace without one.

    `faces`: what a detector found, the largest first; `vector`: returns the unit vector of one of them.
    """
    if not faces:
        return NoFace()
    first, *others = (vector(picture, face) for face in of_size(faces))
    return Embedding(first, kind="face", others=tuple(others))
