"""Defines what a face detector finds: faces with five landmarks each, and how their heads are turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from engines.api.protocols import ModelSpec

if TYPE_CHECKING:
    from PIL.Image import Image

Point = tuple[float, float]  # x, y in pixels


@dataclass(frozen=True)
class Face:
    """Holds a face in a picture, in pixels of the whole picture.

    `points` are the five landmarks, named as the viewer sees a frontal face: left eye, right eye, tip of the nose, left
    and right corner of the mouth. A detector that finds no landmarks leaves them empty. `confidence` is 0…1.
    """

    left: float
    top: float
    width: float
    height: float
    points: tuple[Point, ...] = ()
    confidence: float = 1.0

    def around(self, margin: float) -> tuple[int, int, int, int]:
        """Returns the face's box (left, top, right, bottom) in pixels, wider on each side by a share of its size."""
        wide, high = margin * self.width, margin * self.height
        box = (self.left - wide, self.top - high, self.left + self.width + wide, self.top + self.height + high)
        left, top, right, bottom = map(round, box)
        return left, top, right, bottom

    def inside(self, margin: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Returns the part of the box `around` the face that lies in a picture of the (width, height) `size`."""
        left, top, right, bottom = self.around(margin)
        return max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])


@dataclass(frozen=True)
class Pose:
    """Holds how a head is turned, in degrees; all three are 0 for a face that looks into the camera.

    `yaw` is positive towards the viewer's right, `pitch` upwards, `roll` clockwise. Landmarks that hide behind the nose
    are guessed by a detector, so that a profile reads as 48 to 60 degrees.
    """

    yaw: float
    pitch: float
    roll: float


class FaceDetector(Protocol):
    """Interface of the models that find faces; they run on the CPU and never wait for the GPU."""

    spec: ModelSpec
    version: str  # the model's name and the hash of what it computes with

    def people(self, picture: Image) -> tuple[Face, ...]:
        """Returns the largest face in a picture and those of like size. Raises: ModelMissing as `faces` does."""

    def read(self, face: Face, height: int) -> dict[str, str]:
        """Returns what a face in a picture of `height` pixels shows, as axis -> value; what is not certain is left out.

        The axes are the head angle and the framing.
        """

    def faces(self, picture: Image) -> tuple[Face, ...]:
        """Returns the faces in a picture, the largest first. Raises: ModelMissing for a missing or wrong file."""
