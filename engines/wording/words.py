"""The words that models are asked with, and the tags read back from words: the one place that spells them.

Left and right are the viewer's everywhere. Standard library only. The toy world's wordings are exactly those
that the embedded models were trained with (`engines.wording.drawn`); real models get plain sentences that name
what must stay.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engines.api.params import EditParams, GenerateParams
from engines.api.protocols import ModelSpec
from engines.wording import drawn

Tags = dict[str, str]


# ── edits ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class EditTask:
    """One thing an editor can be asked for: its words, and the tags that the result should then have."""

    task: str
    value: str
    words: str
    expects: Mapping[str, str] = field(default_factory=dict)


# task -> (what stays, value -> words)
_REAL_EDITS: dict[str, tuple[str, dict[str, str]]] = {
    "background": (
        "Keep the same person, pose, clothes and framing",
        {
            "white studio": "Change the background to a plain white studio",
            "forest": "Change the background to a sunlit forest",
            "beach": "Change the background to a sandy beach with the sea behind",
            "city": "Change the background to a busy city street",
            "mountains": "Change the background to a mountain landscape",
            "night": "Change the background to a city at night with blurred lights",
            "room": "Change the background to a cosy living room",
        },
    ),
    "lighting": (
        "Keep the same person, pose, clothes and background",
        {
            "soft": "Relight the picture with soft, even daylight",
            "warm": "Relight the picture with warm, low evening sun",
            "cold": "Relight the picture with cold, bluish light",
            "side": "Relight the picture with strong light from the left side (the viewer's left)",
        },
    ),
    "outfit": (
        "Keep the same person, pose, background and light",
        {
            "red shirt": "Dress the person in a plain red shirt",
            "blue shirt": "Dress the person in a plain blue shirt",
            "green hoodie": "Dress the person in a green hoodie",
            "black suit": "Dress the person in a black suit",
            "striped sweater": "Dress the person in a striped sweater",
            "orange jacket": "Dress the person in an orange rain jacket",
        },
    ),
    "style": (
        "Keep the same person, pose, clothes and composition",
        {
            "comic": "Redraw the picture as an inked comic panel",
            "watercolour": "Redraw the picture as a watercolour painting",
            "pencil": "Redraw the picture as a pencil drawing",
        },
    ),
    "angle": (
        "Keep the same person, clothes, background and light",
        {
            "front": "Turn the head to face the camera straight on",
            "half-left": "Turn the head to half-left (the viewer's left)",
            "profile-left": "Turn the head to a full side profile facing left (the viewer's left)",
            "half-right": "Turn the head to half-right (the viewer's right)",
            "profile-right": "Turn the head to a full side profile facing right (the viewer's right)",
        },
    ),
    "expression": (
        "Keep the same person, head angle, clothes, background and light",
        {
            "neutral": "Give the person a relaxed, neutral expression",
            "smiling": "Make the person smile",
            "angry": "Make the person look angry",
            "sad": "Make the person look sad",
        },
    ),
    "pose": (
        "Keep the same person, clothes, background and light",
        {
            "standing": "Show the whole person from head to feet, standing upright",
            "sitting": "Show the whole person from head to feet, sitting on a simple chair",
            "T-pose": "Show the whole person from head to feet in a T-pose, both arms stretched out sideways",
        },
    ),
}


def edit_tasks(toy: bool) -> tuple[EditTask, ...]:
    """All edits that a plan is made of; `toy` picks the drawn world's wordings."""
    tasks = []
    for task in drawn.TASKS:
        values = drawn.SCENE_VALUES[drawn.TASK_ATTRIBUTE[task]] if toy else tuple(_REAL_EDITS[task][1])
        tasks += [_edit_task(task, value, toy) for value in values]
    return tuple(tasks)


def combined(first: EditTask, second: EditTask, toy: bool) -> EditTask:
    """Two edits in one instruction, for a picture that no single edit reaches."""
    expects = {**first.expects, **second.expects}
    task, value = f"{first.task}+{second.task}", f"{first.value}, {second.value}"
    if toy:
        return EditTask(task, value, f"{first.words} and {second.words}", expects)
    words = (_REAL_EDITS[part.task][1][part.value] for part in (first, second))
    return EditTask(task, value, f"{'. '.join(words)}. Keep the same person.", expects)


def edit_params(spec: ModelSpec, words: str, **knobs: Any) -> EditParams:
    """A model's own edit defaults, with these words and knobs."""
    return spec.params(EditParams, instruction=words, **knobs)


def generate_params(spec: ModelSpec, words: str, **knobs: Any) -> GenerateParams:
    """A model's own generation defaults, with these words and knobs."""
    return spec.params(GenerateParams, prompt=words, **knobs)


def _edit_task(task: str, value: str, toy: bool) -> EditTask:
    attribute = drawn.TASK_ATTRIBUTE[task]
    expects = {attribute: value}
    if task == "pose":
        expects["framing"] = "full body"
    if toy:
        words = drawn.INSTRUCTIONS[task][0].format(phrase=drawn.PHRASES[attribute][value], value=value)
    else:
        keep, wordings = _REAL_EDITS[task]
        words = f"{wordings[value]}. {keep}."
    return EditTask(task, value, words, expects)


# ── captions and the model card ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class CardCell:
    """One cell of the model card: what it asks for, and so what its picture is judged by."""

    name: str
    axes: Mapping[str, str]
    framing: str = "head"

    @property
    def asked(self) -> Tags:
        """Tags that the cell's picture is asked to have."""
        return {**self.axes, "framing": self.framing}


_CARD_ANGLES = ("front", "half-left", "profile-left", "half-right", "profile-right")
_CARD_EXPRESSIONS = ("neutral", "smiling", "angry", "sad")
_CARD_POSES = ("T-pose", "standing", "sitting")
CARD_CELLS: tuple[CardCell, ...] = (
    *(CardCell(f"{a} {e}", {"angle": a, "expression": e}) for a in _CARD_ANGLES for e in _CARD_EXPRESSIONS),
    *(CardCell(pose, {"pose": pose}, "full body") for pose in _CARD_POSES),
)
_CARD_SETTING = {
    "angle": "front",
    "expression": "neutral",
    "outfit": "red shirt",
    "background": "white studio",
    "light": "soft",
    "style": "flat",
}
_REAL_SETTING = {
    "angle": "front",
    "expression": "neutral",
    "outfit": "plain grey shirt",
    "background": "plain white studio",
    "light": "soft",
}
_REAL_WORDS: dict[str, dict[str, str]] = {
    "framing": {"head": "head-and-shoulders portrait", "bust": "waist-up shot", "full body": "full-body shot"},
    "angle": {
        "front": "facing the camera",
        "half-left": "head turned half-left (the viewer's left)",
        "profile-left": "side profile facing left (the viewer's left)",
        "half-right": "head turned half-right (the viewer's right)",
        "profile-right": "side profile facing right (the viewer's right)",
    },
    "expression": {
        "neutral": "neutral expression",
        "smiling": "smiling",
        "angry": "angry expression",
        "sad": "sad expression",
    },
    "pose": {"T-pose": "in a T-pose with both arms stretched out sideways"},
}


def card_prompt(cell: CardCell, trigger: str, subject: str = "person", toy: bool = False) -> str:
    """The standardised prompt of a card cell: a clean background, the same clothes and light for all."""
    setting = _CARD_SETTING if toy else _REAL_SETTING
    return describe({**setting, **cell.asked}, trigger, subject, toy)


def describe(tags: Mapping[str, str], trigger: str, subject: str = "person", toy: bool = False) -> str:
    """A caption or prompt out of tags: the trigger first, then what varies, never what is constant."""
    if toy:
        return _describe_toy(tags, trigger, subject)
    parts = [f"photo of {trigger} {subject}"]
    for name in ("framing", "pose", "angle", "expression"):
        if value := tags.get(name, ""):
            parts.append(_REAL_WORDS[name].get(value, value))
    if outfit := tags.get("outfit", ""):
        parts.append(f"wearing {_article(outfit)} {outfit}")
    if background := tags.get("background", ""):
        parts.append(f"{background} background")
    if light := tags.get("light", ""):
        parts.append(f"{light} light")
    if style := tags.get("style", ""):
        parts[0] = f"{style} picture of {trigger} {subject}"
    return ", ".join(parts)


def _describe_toy(tags: Mapping[str, str], trigger: str, subject: str) -> str:
    parts = [f"{trigger} {subject}"]
    for name in ("expression", "angle", "framing", "pose", "outfit", "background", "light", "style"):
        value = tags.get(name, "")
        if value and not (name == "pose" and tags.get("framing") != "full body"):
            parts.append(drawn.CAPTION_WORDS.get(name, {}).get(value, value))
    return ", ".join(parts)


def _article(words: str) -> str:
    return "an" if words[:1].lower() in "aeiou" else "a"


# ── scenes ──────────────────────────────────────────────────────────────────────────────────────

_REAL_SCENES: dict[str, tuple[str, ...]] = {
    "angle": drawn.ANGLES,
    "expression": drawn.EXPRESSIONS,
    "framing": drawn.FRAMINGS,
    "pose": ("standing", "sitting", "walking"),
    "outfit": ("red shirt", "denim jacket", "green hoodie", "black suit", "striped sweater", "raincoat"),
    "background": ("forest", "beach", "city street", "mountain", "café", "library", "night market", "living room"),
    "light": ("soft", "warm evening", "cold morning", "strong side"),
}
_FRAMING_CYCLE = ("head", "bust", "head", "full body")


def scene_prompts(
    trigger: str, subject: str, n: int, seed: int, toy: bool, aims: Sequence[Mapping[str, str]] = ()
) -> list[tuple[str, Tags]]:
    """n varied prompts with the tags that each asks for: every value of a tag comes up before one repeats.

    Each of `aims` is asked for in turn; only what it leaves open varies.
    """
    rng = random.Random(f"scenes {seed}")
    values: Mapping[str, Sequence[str]] = drawn.SCENE_VALUES if toy else _REAL_SCENES
    columns = {name: _shuffled_rounds(rng, choices, n) for name, choices in values.items()}
    columns["framing"] = _shuffled_rounds(rng, _FRAMING_CYCLE, n)
    scenes = []
    for i in range(n):
        asked = {name: column[i] for name, column in columns.items()} | dict(aims[i % len(aims)] if aims else {})
        if asked["framing"] != "full body":
            del asked["pose"]
        scenes.append((describe(asked, trigger, subject, toy), asked))
    return scenes


def _shuffled_rounds(rng: random.Random, values: Sequence[str], n: int) -> list[str]:
    column: list[str] = []
    while len(column) < n:
        column += rng.sample(values, len(values))
    return column[:n]


# ── tags out of words ───────────────────────────────────────────────────────────────────────────

_TOWARDS = r"(?:view )?(?:facing|to|looking) (?:the )?"
# What stands before a word: its last three words, each begun once, so that no text takes long to look through.
_BEFORE = r"(?<![a-z-])-*+((?:[a-z][a-z-]*+ ++){0,2}?[a-z][a-z-]*+) ++"
# tag -> (pattern, value), the first that matches wins; an empty value means "what the group caught"
_READERS: dict[str, tuple[tuple[str, str], ...]] = {
    "angle": (
        (rf"profile[- ]left|left[- ](?:side )?profile|profile {_TOWARDS}left", "profile-left"),
        (rf"profile[- ]right|right[- ](?:side )?profile|profile {_TOWARDS}right", "profile-right"),
        (r"half[- ]left|three[- ]quarters? (?:view )?(?:facing |to |from )?(?:the )?left", "half-left"),
        (r"half[- ]right|three[- ]quarters? (?:view )?(?:facing |to |from )?(?:the )?right", "half-right"),
        (r"(?:head )?(?:turned|looking|facing) (?:slightly |half )?(?:to )?(?:the )?left", "half-left"),
        (r"(?:head )?(?:turned|looking|facing) (?:slightly |half )?(?:to )?(?:the )?right", "half-right"),
        (r"front(?:al)?(?: view)?|(?:facing|looking (?:straight )?(?:at|into)) the (?:camera|viewer)", "front"),
    ),
    "expression": (
        (r"(?<!not )(?:smil(?:e|es|ing)|grin(?:s|ning)?|laugh(?:s|ing)?|happy)", "smiling"),
        (r"(?<!not )(?:angry|anger|scowl(?:s|ing)?|furious|glaring)", "angry"),
        (r"(?<!not )(?:sad|crying|unhappy|sorrowful|melanchol(?:y|ic))", "sad"),
        (r"neutral|expressionless|calm expression|relaxed expression", "neutral"),
    ),
    "pose": (
        (r"t[- ]pose", "T-pose"),
        (r"sit(?:s|ting)?|seated", "sitting"),
        (r"stand(?:s|ing)?", "standing"),
    ),
    "framing": (
        (r"full[- ]body|full[- ]length|head to (?:toe|feet)", "full body"),
        (r"bust(?: shot)?|waist[- ]up|upper[- ]body|half[- ]body|medium shot", "bust"),
        (r"head[- ]?shot|head[- ]and[- ]shoulders|close[- ]up|face portrait", "head"),
    ),
    "outfit": (
        (rf"({'|'.join(drawn.OUTFITS)})", ""),
        (r"(?:wearing|dressed in) (?:an? )?([a-z][a-z -]*)", ""),
    ),
    "background": (
        (rf"{_BEFORE}background", ""),
        (rf"in (?:an? |the )?({'|'.join(drawn.BACKGROUNDS)})", ""),
    ),
    "light": ((rf"{_BEFORE}light(?:ing)?", ""),),
    "style": ((rf"({'|'.join(drawn.STYLES)}) (?:drawing|picture|style)", ""),),
}


def read_tags(caption: str) -> Tags:
    """The tags that a caption names, in the studio's values; what it doesn't name is left out."""
    text = caption.lower()
    found: Tags = {}
    for name, readers in _READERS.items():
        for pattern, value in readers:
            if match := re.search(rf"\b(?:{pattern})\b", text):
                found[name] = value or _last_words(match.group(1))
                break
    return found


def _last_words(words: str) -> str:
    """At most three words, articles and joints dropped from the front."""
    kept = words.split()[-3:]
    while len(kept) > 1 and kept[0] in ("a", "an", "the", "in", "with", "and", "on", "of", "under", "against"):
        kept.pop(0)
    return " ".join(kept)
