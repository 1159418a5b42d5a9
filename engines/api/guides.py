"""The kinds of second pictures that an edit can be given beside its source, and the lights of a light map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Guide = Literal["", "figure", "light", "character", "style", "lit"]  # "" and the keys of `GUIDES`
GUIDES: Mapping[str, str] = {  # kind -> what it is
    "figure": "a grey figure at the wanted angle",
    "light": "a map of the wanted light",
    "character": "another picture of the character",
    "style": "a picture in a style",
    "lit": "a picture with its own light",
}
LIGHTS: Mapping[str, tuple[float, float, float]] = {  # from where -> the way to the light: right, up, to the viewer
    "front": (0.0, 0.25, 1.0),
    "front-left": (-0.8, 0.3, 0.7),
    "left": (-1.0, 0.2, 0.1),
    "back-left": (-0.9, 0.3, -0.6),
    "back": (0.0, 0.5, -1.0),
    "back-right": (0.9, 0.3, -0.6),
    "right": (1.0, 0.2, 0.1),
    "front-right": (0.8, 0.3, 0.7),
    "above": (0.0, 1.0, 0.2),
    "below": (0.0, -1.0, 0.3),
}
