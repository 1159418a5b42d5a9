"""The drawn world: cartoon people as pure functions of named attributes, so every picture has a ground truth."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from PIL import Image

from engines.api.axes import ANGLES, EXPRESSIONS, FRAMINGS, POSES
from engines.mini.paint import paint
from engines.mini.people import PERSON_VALUES
from engines.wording import drawn as vocab

_HOLD_OUT_SHARE = 8
_TRAITS: dict[str, tuple[float, float]] = {
    "face_width": (0.84, 1.08),
    "eye_spacing": (0.30, 0.44),
    "eye_size": (0.85, 1.25),
    "nose_length": (0.12, 0.34),
    "brow_weight": (0.07, 0.17),
    "jaw": (1.7, 3.2),
    "fringe": (0.0, 1.0),
    "mouth_height": (0.52, 0.66),
}


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who is drawn: traits that stay the same in every picture of one character (lengths in head radii)."""

    hair_style: str = "short"
    hair_colour: str = "brown"
    skin: str = "light"
    eyes: str = "brown"
    feature: str = "none"
    face_width: float = 0.95
    eye_spacing: float = 0.37
    eye_size: float = 1.0
    nose_length: float = 0.22
    brow_weight: float = 0.11
    jaw: float = 2.2
    fringe: float = 0.5
    mouth_height: float = 0.58

    def __post_init__(self) -> None:
        _check(self, PERSON_VALUES)

    @classmethod
    def random(cls, rng: random.Random) -> Person:
        """Draw any person, training and held-out ones alike."""
        words = {name: rng.choice(values) for name, values in PERSON_VALUES.items()}
        floats = {name: round(rng.uniform(low, high), 3) for name, (low, high) in _TRAITS.items()}
        return cls(**words, **floats)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What one picture shows; `jitter` is (right, down, background shift) in pixels of a 64-pixel picture."""

    person: Person
    angle: str = "front"
    expression: str = "neutral"
    framing: str = "head"
    pose: str = "standing"
    outfit: str = "red shirt"
    background: str = "white studio"
    light: str = "soft"
    style: str = "flat"
    jitter: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        _check(self, vocab.SCENE_VALUES)
        if self.pose != "standing" and self.framing != "full body":
            raise ValueError(f"pose {self.pose!r} is only drawn in a full body picture, not {self.framing!r}")

    @classmethod
    def random(cls, rng: random.Random, person: Person | None = None, **fixed: Any) -> Scene:
        """Draw a scene at random, with the given person and the attributes in `fixed`."""
        person = person or train_person(rng.getrandbits(48))
        words: dict[str, Any] = {name: rng.choice(values) for name, values in vocab.SCENE_VALUES.items()}
        words["framing"] = rng.choices(FRAMINGS, (0.45, 0.25, 0.30))[0]
        words["jitter"] = (round(rng.uniform(-1.5, 1.5), 1), round(rng.uniform(-1, 1), 1), round(rng.uniform(-4, 4), 1))
        words.update(fixed)
        if words["framing"] != "full body":
            words["pose"] = "standing"
        return cls(person=person, **words)


def _check(record: Person | Scene, values: dict[str, tuple[str, ...]]) -> None:
    for name, allowed in values.items():
        if getattr(record, name) not in allowed:
            raise ValueError(f"{name}={getattr(record, name)!r} is not one of {allowed}")


def is_held_out(person: Person) -> bool:
    """Say whether a person's named traits belong to the eighth that no model was trained on."""
    index = 0
    for name, values in PERSON_VALUES.items():
        index = index * len(values) + values.index(getattr(person, name))
    return (index * 2654435761 >> 9) % _HOLD_OUT_SHARE == 0


def train_person(seed: int) -> Person:
    """Give the person of a seed among those the models may be trained on."""
    return _person(random.Random(f"train {seed}"), held_out=False)


def held_out_person(seed: int) -> Person:
    """Give the person of a seed among those no model has ever seen."""
    return _person(random.Random(f"held out {seed}"), held_out=True)


def _person(rng: random.Random, held_out: bool) -> Person:
    while True:
        person = Person.random(rng)
        if is_held_out(person) == held_out:
            return person


def changed(rng: random.Random, person: Person, names: Sequence[str]) -> Person:
    """Give somebody of the same kind, training or held out, who differs from a person in all these words."""
    while True:
        words = {n: rng.choice([v for v in PERSON_VALUES[n] if v != getattr(person, n)]) for n in names}
        other = replace(person, **words)
        if is_held_out(other) == is_held_out(person):
            return other


def sample_scenes(seed: int, n: int = 12) -> list[Scene]:
    """Give the n varied pictures a user would bring of the held-out person of a seed."""
    rng = random.Random(f"sample {seed}")
    person = held_out_person(seed)
    framings = ("head", "head", "bust", "full body")
    scenes = []
    for i in range(n):
        pose = POSES[(i // 4) % 2] if framings[i % 4] == "full body" else "standing"
        fixed = {
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
    """Write a scene down as JSON-able ground truth."""
    record = asdict(scene)
    record["jitter"] = list(scene.jitter)
    return record


def from_truth(record: dict[str, Any]) -> Scene:
    """Read back what `truth` wrote."""
    fields = dict(record, person=Person(**record["person"]), jitter=tuple(record["jitter"]))
    return Scene(**fields)


def draw(scene: Scene, size: int = 64) -> Image.Image:
    """Draw a scene as an RGB picture of size × size pixels, antialiased, the same bytes every time."""
    return paint(scene, size)


def identity_words(person: Person) -> str:
    """Name what one sees of a person; only for generic people, whom the base generator should be able to vary."""
    hair = "bald head" if person.hair_style == "bald" else f"{person.hair_style} {person.hair_colour} hair"
    words = [hair, f"{person.skin} skin", f"{person.eyes} eyes"]
    return ", ".join(words + ([person.feature] if person.feature != "none" else []))


def caption(scene: Scene, trigger: str = "person", identity: bool = False) -> str:
    """Describe everything in a scene except who is in it (unless `identity` asks for that too)."""
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
    """List the values an edit task can change this scene to."""
    name = vocab.TASK_ATTRIBUTE[task]
    unseen = task == "pose" and scene.framing != "full body"  # standing too is yet to be shown
    return [value for value in vocab.SCENE_VALUES[name] if unseen or value != getattr(scene, name)]


def apply_edit(scene: Scene, task: str, value: str) -> Scene:
    """Give the scene a perfect editor would draw; a pose other than the present one needs the full body."""
    if task == "pose":
        return replace(scene, pose=value, framing="full body")
    return replace(scene, **{vocab.TASK_ATTRIBUTE[task]: value})


def edit_instruction(task: str, value: str, rng: random.Random | None = None) -> str:
    """Word one edit task; the plainest wording without `rng`, a random one with it."""
    templates = vocab.INSTRUCTIONS[task]
    template = rng.choice(templates) if rng else templates[0]
    return template.format(phrase=vocab.PHRASES[vocab.TASK_ATTRIBUTE[task]][value], value=value)


def instruction(before: Scene, after: Scene, rng: random.Random | None = None) -> str:
    """Word the change between two scenes of one person, and with `rng` sometimes what is to be kept."""
    tasks = [task for task in vocab.TASKS if getattr(before, vocab.TASK_ATTRIBUTE[task]) != _after(after, task)]
    if before.framing != after.framing and "pose" not in tasks:
        tasks.append("pose")
    words = [edit_instruction(task, _after(after, task), rng) for task in tasks]
    keep = rng.choice(vocab.KEEP) if rng else ""
    return " and ".join(words) + keep


def _after(scene: Scene, task: str) -> str:
    return str(getattr(scene, vocab.TASK_ATTRIBUTE[task]))
