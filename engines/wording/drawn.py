"""The words of the drawn world, as plain data that captions, instructions and tokenizers share (stdlib only)."""

from __future__ import annotations

ANGLES: tuple[str, ...] = ("front", "half-left", "profile-left", "half-right", "profile-right")
EXPRESSIONS: tuple[str, ...] = ("neutral", "smiling", "angry", "sad")
FRAMINGS: tuple[str, ...] = ("head", "bust", "full body")
POSES: tuple[str, ...] = ("standing", "sitting", "T-pose")
OUTFITS: tuple[str, ...] = (
    "red shirt", "blue shirt", "green hoodie", "yellow dress", "black suit", "striped sweater", "orange jacket",
)  # fmt: skip
BACKGROUNDS: tuple[str, ...] = ("white studio", "forest", "beach", "city", "mountains", "night", "room")
LIGHTS: tuple[str, ...] = ("soft", "warm", "cold", "side")
STYLES: tuple[str, ...] = ("flat", "comic")

HAIR_STYLES: tuple[str, ...] = ("short", "long", "bob", "bun", "curly", "spiky", "bald")
HAIR_COLOURS: tuple[str, ...] = ("black", "brown", "blond", "red", "grey", "blue", "pink", "green")
SKINS: tuple[str, ...] = ("pale", "light", "tan", "brown", "dark")
EYES: tuple[str, ...] = ("brown", "blue", "green", "grey")
FEATURES: tuple[str, ...] = ("none", "glasses", "freckles", "beard")

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
PERSON_VALUES: dict[str, tuple[str, ...]] = {
    "hair_style": HAIR_STYLES,
    "hair_colour": HAIR_COLOURS,
    "skin": SKINS,
    "eyes": EYES,
    "feature": FEATURES,
}
IDENTITY_WORDS: frozenset[str] = frozenset(
    {"hair", "skin", "eyes", "eye", "face", "nose", "brow", "jaw", "glasses", "freckles", "beard", "bald"}
    | set(HAIR_STYLES)
    | {colour for colour in HAIR_COLOURS if all(colour not in outfit.split() for outfit in OUTFITS)}
    | (set(SKINS) - {"light"})
)

TASKS: tuple[str, ...] = ("background", "lighting", "outfit", "style", "angle", "expression", "pose")
TASK_ATTRIBUTE: dict[str, str] = {
    "background": "background",
    "lighting": "light",
    "outfit": "outfit",
    "style": "style",
    "angle": "angle",
    "expression": "expression",
    "pose": "pose",
}

PHRASES: dict[str, dict[str, str]] = {
    "background": {
        "white studio": "a white studio", "forest": "a forest", "beach": "a beach", "city": "a city",
        "mountains": "the mountains", "night": "the night sky", "room": "a room",
    },
    "light": {"soft": "soft light", "warm": "warm light", "cold": "cold light", "side": "side light"},
    "outfit": {name: f"a {name}" if name[0] != "o" else f"an {name}" for name in OUTFITS},
    "style": {"flat": "a flat drawing", "comic": "a comic drawing"},
    "angle": {
        "front": "the front", "half-left": "half-left", "profile-left": "profile-left",
        "half-right": "half-right", "profile-right": "profile-right",
    },
    "expression": {"neutral": "look neutral", "smiling": "smile", "angry": "look angry", "sad": "look sad"},
    "pose": {"standing": "stand", "sitting": "sit down", "T-pose": "hold a T-pose"},
}  # fmt: skip

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
RARE_WORDS: tuple[str, ...] = ("ohwx", "sks", "zwx")
