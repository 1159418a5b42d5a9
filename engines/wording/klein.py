"""Defines the wording for FLUX.2 [klein]: prompts as for photographs, edits as its makers advise.

An edit is one sentence that says what changes, and names what is kept exactly the same. The person is turned, not the
camera. Source: the guides on editing at docs.bfl.ml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engines.wording.photographs import PHOTOGRAPHS

_KEPT: Mapping[str, str] = {
    "background": "the person's face, hair, pose, clothes and the framing",
    "lighting": "the person's face, hair, pose, clothes and the background",
    "outfit": "the person's face, hair, pose, the background and the light",
    "style": "the person's face, hair, pose, clothes and the composition",
    "angle": "the person's face, hair, clothes, the background and the light",
    "expression": "the person's face, hair, head angle, clothes, the background and the light",
    "pose": "the person's face, hair, clothes, the background and the light",
}
_TURNS: Mapping[str, str] = {
    "front": "Turn the person to face the camera straight on",
    "half-left": "Turn the person's head to a three-quarter view, facing the left side of the image",
    "profile-left": "Turn the person's head to a strict side profile, facing the left side of the image",
    "half-right": "Turn the person's head to a three-quarter view, facing the right side of the image",
    "profile-right": "Turn the person's head to a strict side profile, facing the right side of the image",
}

KLEIN = replace(
    PHOTOGRAPHS,
    edits={
        task: replace(kind, keep=_KEPT[task], requests=_TURNS if task == "angle" else kind.requests)
        for task, kind in PHOTOGRAPHS.edits.items()
    },
    one_edit="{request} while keeping {keep} exactly the same.",
    two_edits="{first}. {second}. Keep the person's face, hair and identity exactly the same.",
    stays=(*PHOTOGRAPHS.stays, "exactly the same", "keeping the person", "keep the face"),
)
