"""Draws, captions and edits scenes of the toy world; each picture is a pure function of named attributes."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from typing import Any

from PIL import Image

from engines.api.axes import ANGLES, EXPRESSIONS, POSES
from engines.mini.paint import paint
from engines.mini.scene import Person as Person
from engines.mini.scene import Scene as Scene
from engines.mini.scene import changed as changed
from engines.mini.scene import held_out_person as held_out_person
from engines.mini.scene import is_held_out as is_held_out
from engines.mini.scene import train_person as train_person
from engines.wording import drawn as vocab


def sample_scenes(seed: int, n: int = 12) -> list[Scene]:
    """Returns `n` varied scenes of one person, which stand for the pictures that a user brings.

    `seed` decides the scenes and the person, who is in no training data.
    """
    rng = random.Random(f"sample {seed}")
    person = held_out_person(seed)
    framings = ("head", "head", "bust", "full body")
    scenes = []
    for i in range(n):
        pose = POSES[(i // 4) % 2] if framings[i % 4] == "full body" else "standing"
        fixed: dict[str, str] = {
            "angle": ANGLES[(i * 2) % 5],
            "expression": EXPRESSIONS[(i + i // 4) % 4],
            "framing": framings[i % 4],
            "pose": pose,
            "outfit": vocab.OUTFITS[(i * 3) % 7],
            "background": vocab.BACKGROUNDS[(i * 4 + 1) % 7],
            "light": "soft" if i % 3 else rng.choice(vocab.LIGHTS),
            "style": "comic" if i % 6 == 5 else "flat",
        }
        scenes.append(Scene.random(rng, person, **fixed))
    return scenes


def truth(scene: Scene) -> dict[str, Any]:
    """Returns the attributes of a scene as a JSON object, which is the ground truth of its picture."""
    record = asdict(scene)
    record["jitter"] = list(scene.jitter)
    return record


def from_truth(record: dict[str, Any]) -> Scene:
    """Creates a scene from the JSON object that `truth` returned."""
    fields = dict(record, person=Person(**record["person"]), jitter=tuple(record["jitter"]))
    return Scene(**fields)


def draw(scene: Scene, size: int = 64) -> Image.Image:
    """Draws a scene and returns it as an RGB picture of `size` × `size` pixels, antialiased.

    Equal scenes give equal pictures, to the byte.
    """
    return paint(scene, size)


def identity_words(person: Person) -> str:
    """Returns words for a person's visible traits: hair, skin, eyes, and a feature such as glasses if there is one."""
    hair = "bald head" if person.hair_style == "bald" else f"{person.hair_style} {person.hair_colour} hair"
    words = [hair, f"{person.skin} skin", f"{person.eyes} eyes"]
    return ", ".join(words + ([person.feature] if person.feature != "none" else []))


def caption(scene: Scene, trigger: str = "person", identity: bool = False) -> str:
    """Returns the caption of a scene: the trigger word, then all attributes that the scene shows.

    `identity`: whether the caption also names the person's traits (hair, skin, eyes).
    """
    who = trigger if trigger.split()[-1:] == ["person"] else f"{trigger} person"
    parts = [f"{who} with {identity_words(scene.person)}" if identity else who, scene.expression]
    parts.append(vocab.CAPTION_WORDS["angle"][scene.angle])
    parts.append(vocab.CAPTION_WORDS["framing"][scene.framing])
    if scene.framing == "full body":
        parts.append(scene.pose)
    parts.append(scene.outfit)
    parts += [vocab.CAPTION_WORDS[name][getattr(scene, name)] for name in ("background", "light", "style")]
    return ", ".join(parts)


def edit_options(scene: Scene, task: str) -> list[str]:
    """Returns the values that an edit of the kind `task` (such as "pose") can give to the attribute that it changes.

    The attribute's present value is left out. There is one exception: if the framing hides the pose, the task "pose"
    can also ask for the present pose.
    """
    name = vocab.TASK_ATTRIBUTE[task]
    unseen = task == "pose" and scene.framing != "full body"  # standing too is yet to be shown
    return [value for value in vocab.SCENE_VALUES[name] if unseen or value != getattr(scene, name)]


def apply_edit(scene: Scene, task: str, value: str) -> Scene:
    """Returns a copy of the scene as it is after a perfect edit, with one attribute changed to `value`.

    `task`: the kind of edit (such as "pose"), which decides the attribute. An edit of the pose also changes the framing
    to full body.
    """
    if task == "pose":
        return replace(scene, pose=value, framing="full body")
    changes: dict[str, Any] = {vocab.TASK_ATTRIBUTE[task]: value}
    return replace(scene, **changes)


def edit_instruction(task: str, value: str, rng: random.Random | None = None) -> str:
    """Returns the words that ask an image editor for one change, such as another pose.

    `task`: the kind of edit, which decides the attribute to change; `value`: the attribute's new value; `rng`: chooses
    one of several wordings at random; None takes the first wording.
    """
    templates = vocab.INSTRUCTIONS[task]
    template = rng.choice(templates) if rng else templates[0]
    return template.format(phrase=vocab.PHRASES[vocab.TASK_ATTRIBUTE[task]][value], value=value)


def instruction(before: Scene, after: Scene, rng: random.Random | None = None) -> str:
    """Returns the words that ask an image editor to change the scene `before` to the scene `after` of the same person.

    `rng`: chooses the wordings at random, and also words for what must stay, such as "keep everything else". None takes
    the first wordings, and says nothing of what must stay.
    """
    tasks = [task for task in vocab.TASKS if getattr(before, vocab.TASK_ATTRIBUTE[task]) != _after(after, task)]
    if before.framing != after.framing and "pose" not in tasks:
        tasks.append("pose")
    words = [edit_instruction(task, _after(after, task), rng) for task in tasks]
    keep = rng.choice(vocab.KEEP) if rng else ""
    return " and ".join(words) + keep


def _after(scene: Scene, task: str) -> str:
    """Returns a scene's value of the attribute that an edit of the kind `task` changes."""
    return str(getattr(scene, vocab.TASK_ATTRIBUTE[task]))
