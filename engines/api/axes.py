"""The axes on which pictures of a character vary, and the values of those axes that the whole program shares.

Left and right are the viewer's everywhere. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Tags = dict[str, str]  # axis -> value
Medium = Literal["photo", "drawing", "3D render"]  # what all pictures of a character are

ANGLES: tuple[str, ...] = ("front", "half-left", "profile-left", "half-right", "profile-right")
BACK_ANGLES: tuple[str, ...] = ("back-left", "back", "back-right")  # no face is seen from there
AROUND: tuple[str, ...] = (*ANGLES[:3], *BACK_ANGLES, "profile-right", "half-right")  # one eighth of a turn apart
ANGLES_LEFT_TO_RIGHT: tuple[str, ...] = (*reversed(ANGLES[:3]), *ANGLES[3:])
EXPRESSIONS: tuple[str, ...] = ("neutral", "smiling", "angry", "sad")
FRAMINGS: tuple[str, ...] = ("head", "bust", "full body")
HEAD, BUST, FULL_BODY = FRAMINGS
ELEVATIONS: tuple[str, ...] = ("eye level", "low", "elevated", "high")  # where the camera is
POSES: tuple[str, ...] = ("standing", "sitting", "T-pose")
STANDING, SITTING, T_POSE = POSES
TAGS: tuple[str, ...] = (
    "angle", "expression", "pose", "framing", "background", "light", "outfit", "style", "elevation",
)  # fmt: skip


def shows_face(tags: Mapping[str, str]) -> bool:
    """Returns whether a picture with these tags can show a face: from behind it cannot, else it may."""
    return tags.get("angle", "") not in BACK_ANGLES


def shown_after(tags: Mapping[str, str], asked: Mapping[str, str]) -> Tags:
    """Returns the tags of an edit's result: those of its source, changed as asked; from behind it has no expression."""
    found = {**tags, **asked}
    return found if shows_face(found) else {axis: value for axis, value in found.items() if axis != "expression"}
