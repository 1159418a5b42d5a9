"""Defines the wording of the toy world: the instructions and captions that the embedded models were trained with."""

from __future__ import annotations

from engines.api.axes import ANGLES, EXPRESSIONS, FRAMINGS, FULL_BODY, POSES
from engines.api.seeing import OTHER, Question
from engines.wording.vocabulary import CaptionPart, EditKind, Vocabulary

OUTFITS: tuple[str, ...] = (
    "red shirt", "blue shirt", "green hoodie", "yellow dress", "black suit", "striped sweater", "orange jacket",
)  # fmt: skip
BACKGROUNDS: tuple[str, ...] = ("white studio", "forest", "beach", "city", "mountains", "night", "room")
LIGHTS: tuple[str, ...] = ("soft", "warm", "cold", "side")
STYLES: tuple[str, ...] = ("flat", "comic")

SCENE_VALUES: dict[str, tuple[str, ...]] = {
    "angle": ANGLES,
    "expression": EXPRESSIONS,
    "framing": FRAMINGS,
    "pose": POSES,
    "outfit": OUTFITS,
    "background": BACKGROUNDS,
    "light": LIGHTS,
    "style": STYLES,
}

TASK_ATTRIBUTE: dict[str, str] = {
    "background": "background",
    "lighting": "light",
    "outfit": "outfit",
    "style": "style",
    "angle": "angle",
    "expression": "expression",
    "pose": "pose",
}
TASKS: tuple[str, ...] = tuple(TASK_ATTRIBUTE)

PHRASES: dict[str, dict[str, str]] = {
    "background": {
        "white studio": "a white studio", "forest": "a forest", "beach": "a beach", "city": "a city",
        "mountains": "the mountains", "night": "the night sky", "room": "a room",
    },
    "light": {"soft": "soft light", "warm": "warm light", "cold": "cold light", "side": "side light"},
    "outfit": {
        "red shirt": "a red shirt", "blue shirt": "a blue shirt", "green hoodie": "a green hoodie",
        "yellow dress": "a yellow dress", "black suit": "a black suit", "striped sweater": "a striped sweater",
        "orange jacket": "an orange jacket",
    },
    "style": {"flat": "a flat drawing", "comic": "a comic drawing"},
    "angle": {
        "front": "the front", "half-left": "half-left", "profile-left": "profile-left",
        "half-right": "half-right", "profile-right": "profile-right",
    },
    "expression": {"neutral": "look neutral", "smiling": "smile", "angry": "look angry", "sad": "look sad"},
    "pose": {"standing": "stand", "sitting": "sit down", "T-pose": "hold a T-pose"},
}  # fmt: skip

# The studio asks with the first template of a task; the embedded editor was trained with all of them, and with `KEEP`.
INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    "background": (
        "change the background to {phrase}",
        "put the person in front of {phrase}",
        "replace the background with {phrase}",
    ),
    "lighting": ("change the lighting to {phrase}", "use {phrase}", "relight the picture with {phrase}"),
    "outfit": ("dress the person in {phrase}", "change the outfit to {phrase}", "make the person wear {phrase}"),
    "style": ("turn the picture into {phrase}", "change the style to {phrase}", "redraw it as {phrase}"),
    "angle": ("turn the head to {phrase}", "change the view to {value}", "show the person from {value}"),
    "expression": ("make the person {phrase}", "change the expression to {value}", "the person should {phrase}"),
    "pose": ("make the person {phrase}", "change the pose to {value}", "show the full body {value}"),
}

KEEP: tuple[str, ...] = ("", ", keep everything else", ", keep the same person", ", keep the person unchanged")

CAPTION_WORDS: dict[str, dict[str, str]] = {
    "framing": {"head": "head shot", "bust": "bust shot", "full body": "full body"},
    "angle": {angle: f"{angle} view" for angle in ANGLES},
    "light": {light: f"{light} light" for light in LIGHTS},
    "style": {style: f"{style} drawing" for style in STYLES},
    "background": {place: f"{place} background" for place in BACKGROUNDS},
}

HIDDEN: dict[str, dict[str, str]] = {"pose": {OTHER: "no"}}  # what is answered where the framing hides it
MIRRORED = ("expression",)  # hard to see in 64 pixels: asked about the mirror image, too
# Asked in these words, the embedded text encoder was taught to answer with a value.
QUESTIONS: tuple[Question, ...] = tuple(
    Question(
        axis=axis,
        words=f"{axis}?",
        options={**{value: value for value in values}, **HIDDEN.get(axis, {})},
        mirrored=axis in MIRRORED,
    )
    for axis, values in SCENE_VALUES.items()
)

DRAWN = Vocabulary(
    edits={
        task: EditKind(
            axis=axis,
            requests={
                value: INSTRUCTIONS[task][0].format(phrase=PHRASES[axis][value], value=value)
                for value in SCENE_VALUES[axis]
            },
            also={"framing": FULL_BODY} if axis == "pose" else {},
        )
        for task, axis in TASK_ATTRIBUTE.items()
    },
    one_edit="{request}",
    two_edits="{first} and {second}",
    opening="{trigger} {subject}",
    styled_opening="{trigger} {subject}",
    parts=tuple(
        CaptionPart(
            axis=axis,
            words=CAPTION_WORDS.get(axis, {}),
            needs={"framing": FULL_BODY} if axis == "pose" else {},
        )
        for axis in ("expression", "angle", "framing", "pose", "outfit", "background", "light", "style")
    ),
    card={
        "angle": "front",
        "expression": "neutral",
        "outfit": "red shirt",
        "background": "white studio",
        "light": "soft",
        "style": "flat",
    },
    scenes=SCENE_VALUES,
    caption_request="describe the picture",
    known={"outfit": OUTFITS, "background": BACKGROUNDS, "style": STYLES},
    questions=QUESTIONS,
)
