"""All that the vocabularies say and all that is read from it, in a form that a file can hold and a test can compare.

`python -m tests.engines.wording.golden` writes the file anew: only where a wording is meant to change, for models were
trained with these words, and a seed is to give the same scenes for ever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engines.wording.cells import CARD_CELLS
from engines.wording.reading import read_tags
from engines.wording.registry import VOCABULARIES
from engines.wording.vocabulary import EditTask, Vocabulary

FILE = Path(__file__).with_name("golden.json")
CAPTIONS = (
    "ohwx, profile view facing left, wearing a red coat",
    "close-up, looking at the camera and smiling",
    "three-quarter view to the right, seated",
    "under warm lighting",
    "ohwx man outstanding in his field",
    "waist-up shot against a brick wall background",
    "Full-length picture of ohwx person standing in a forest, soft light, comic drawing",
    "head turned slightly to the left, grinning, dressed in an orange rain jacket with a hood",
    "right side profile, scowling, t pose, head to toe, in the mountains",
    "LEFT PROFILE, expressionless, headshot, on a sandy beach with the sea behind",
    "frontal view, laughing, upper body, wearing striped sweater and jeans",
    "a photograph of a person in a black suit, under the bright studio lighting, in the room",
    "three quarters facing left, melancholic, sits on a chair, city",
    "a very long and winded dark blue velvet curtain background",
    "--- background, x light",
    "wearing a",
)
_AIMS: tuple[Mapping[str, str], ...] = (
    {"pose": "sitting", "framing": "full body"},
    {"angle": "front", "expression": "sad", "framing": "head"},
    {"outfit": "umbrella", "odd": "tag"},
)
_DESCRIBED: dict[str, tuple[str, ...]] = {
    "framing": ("", "head", "bust", "full body", "odd"),
    "pose": ("standing", "sitting", "T-pose", "walking"),
    "angle": ("front", "half-left", "profile-right", "upside-down", "", ""),
    "expression": ("neutral", "smiling", "", "angry", "sad", "puzzled", ""),
    "outfit": ("orange jacket", "red shirt", "", "Ugly hat", "plain grey shirt", "umbrella", "", ""),
    "background": ("", "forest", "white studio", "café", "mountains", "", "night", "", ""),
    "light": ("soft", "", "side", "strong side", "", "", "warm", "", "", ""),
    "style": ("", "flat", "", "comic", "", "watercolour", "", "", "", "", ""),
    "other": ("x", ""),
}


def spoken() -> dict[str, Any]:
    """Returns every vocabulary's words and the tags read from them: some to the letter, all of them as hashes."""
    result: dict[str, Any] = {name: _words(vocabulary) for name, vocabulary in VOCABULARIES.items()}
    said = [text for vocabulary in VOCABULARIES.values() for text in _texts(vocabulary)]
    result["read"] = {caption: _listed(read_tags(caption)) for caption in CAPTIONS}
    result["read of all texts"] = _hash([[text, _listed(read_tags(text))] for text in said])
    return result


def _words(vocabulary: Vocabulary) -> dict[str, Any]:
    edits = vocabulary.edit_tasks()
    return {
        "edits": [_edit(edit) for edit in edits],
        "all pairs": _hash([_edit(vocabulary.combined(one, other)) for one in edits for other in edits]),
        "card": {cell.name: vocabulary.card_prompt(cell, "ohwx", "person") for cell in CARD_CELLS},
        "scenes": {str(seed): _scenes(vocabulary, seed, 4) for seed in (0, 1, 77)},
        "50 scenes a seed": _hash([_scenes(vocabulary, seed, 50) for seed in (0, 1, 77)]),
        "50 aimed scenes a seed": _hash([_scenes(vocabulary, seed, 50, _AIMS) for seed in (0, 1, 77)]),
        "captions": _hash(list(_captions(vocabulary))),
        "caption request": vocabulary.caption_request,
    }


def _edit(edit: EditTask) -> str:
    return f"{edit.task} | {edit.value} | {edit.words} | {_listed(edit.expects)}"


def _scenes(vocabulary: Vocabulary, seed: int, n: int, aims: tuple[Mapping[str, str], ...] = ()) -> list[str]:
    scenes = vocabulary.scene_prompts("ohwx", "woman", n, seed, aims)
    return [f"{prompt} | {_listed(asked)}" for prompt, asked in scenes]


def _listed(tags: Mapping[str, str]) -> str:
    """Returns tags in their order, for that decides what a seed draws."""
    return ", ".join(f"{axis}={value}" for axis, value in tags.items())


def _captions(vocabulary: Vocabulary) -> Iterator[str]:
    """Yields captions of many different sets of tags, unknown values and axes among them."""
    for n in range(300):
        tags = {axis: value for axis, values in _DESCRIBED.items() if (value := values[n % len(values)]) or n % 2}
        yield vocabulary.describe(tags, ("ohwx", "Ann")[n % 2], ("person", "cat", "")[n % 3])


def _texts(vocabulary: Vocabulary) -> Iterator[str]:
    yield from (edit.words for edit in vocabulary.edit_tasks())
    yield from (vocabulary.card_prompt(cell, "ohwx") for cell in CARD_CELLS)
    yield from (prompt for seed in (0, 1, 77) for prompt, _ in vocabulary.scene_prompts("ohwx", "cat", 50, seed))
    yield from _captions(vocabulary)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()


if __name__ == "__main__":
    FILE.write_text(json.dumps(spoken(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
