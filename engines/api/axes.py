"""The axes on which pictures of a character vary, and the values of those axes that the whole program shares.

Left and right are the viewer's everywhere. Standard library only.
"""

from __future__ import annotations

Tags = dict[str, str]  # axis -> value

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
