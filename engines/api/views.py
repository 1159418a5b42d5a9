"""The views of a person that a camera can take: which way the head points, how high the camera is, how much is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from engines.api.axes import AROUND, ELEVATIONS, Tags

# The values of `AROUND`, `ELEVATIONS` and `FRAMINGS`, as types that a field can have.
Angle = Literal[
    "front", "half-left", "profile-left", "back-left", "back", "back-right", "profile-right", "half-right"
]  # fmt: skip
Elevation = Literal["eye level", "low", "elevated", "high"]
Framing = Literal["head", "bust", "full body"]

DISTANCES: Mapping[str, str] = {"head": "close-up", "bust": "medium", "full body": "wide"}  # framing -> distance
PITCH: Mapping[str, float] = dict(zip(ELEVATIONS, (0.0, -30.0, 30.0, 60.0), strict=True))  # the camera's, in degrees


@dataclass(frozen=True)
class View:
    """Holds a view of a person; left and right are the viewer's."""

    angle: Angle = "front"
    """Which way the head points."""
    elevation: Elevation = "eye level"
    """How high the camera is: 30 degrees below the eyes, at their level, 30 or 60 degrees above."""
    framing: Framing = "bust"
    """How much is seen: the head (a close-up), down to the waist (a medium shot), or the full body (a wide shot)."""

    @property
    def tags(self) -> Tags:
        """Returns the tags of a picture that is taken so, as axis -> value."""
        return {"angle": self.angle, "elevation": self.elevation, "framing": self.framing}

    @property
    def yaw(self) -> float:
        """Returns by how many degrees the head is turned towards the viewer's right, -180…180 (see `Pose`)."""
        turned = -45.0 * AROUND.index(self.angle)
        return turned if turned >= -180 else turned + 360

    def __str__(self) -> str:
        return f"{self.angle}, {self.elevation}, {DISTANCES[self.framing]}"


def turn(wanted: Angle, source: str) -> Angle:
    """Returns the angle to which a frontal head would come by the turn that brings `source` to `wanted`.

    A source whose angle is not known counts as frontal.
    """
    start = AROUND.index(source) if source in AROUND else 0
    return cast(Angle, AROUND[(AROUND.index(wanted) - start) % len(AROUND)])
