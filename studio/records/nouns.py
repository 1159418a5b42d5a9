"""The values of a picture's tags."""

from __future__ import annotations

ANGLES = ("front", "half-left", "profile-left", "half-right", "profile-right")
EXPRESSIONS = ("neutral", "smiling", "angry", "sad")
FRAMINGS = ("head", "bust", "full body")
POSES = ("standing", "sitting", "T-pose")
TAGS = ("angle", "expression", "pose", "framing", "background", "light", "outfit", "style")
