"""The axes on which pictures of a character vary, and the values of those axes that the whole program shares.

Left and right are the viewer's everywhere. Standard library only.
"""

from __future__ import annotations

from typing import Literal, get_args

Tags = dict[str, str]  # axis -> value
Medium = Literal["photo", "drawing", "3D render"]  # what all pictures of a character are
MEDIA: tuple[Medium, ...] = get_args(Medium)

ANGLES: tuple[str, ...] = ("front", "half-left", "profile-left", "half-right", "profile-right")
ANGLES_LEFT_TO_RIGHT: tuple[str, ...] = (*reversed(ANGLES[:3]), *ANGLES[3:])
EXPRESSIONS: tuple[str, ...] = ("neutral", "smiling", "angry", "sad")
FRAMINGS: tuple[str, ...] = ("head", "bust", "full body")
HEAD, BUST, FULL_BODY = FRAMINGS
POSES: tuple[str, ...] = ("standing", "sitting", "T-pose")
STANDING, SITTING, T_POSE = POSES
TAGS: tuple[str, ...] = ("angle", "expression", "pose", "framing", "background", "light", "outfit", "style")
