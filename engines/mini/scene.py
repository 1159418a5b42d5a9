"""Describes drawn people and scenes by named attributes, and divides people into training and held-out ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from engines.api.axes import FRAMINGS
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
    """Describes a drawn person by the traits that all pictures of one character share.

    Lengths are in head radii, and `eye_size` is a factor. `jaw`: how square the lower face is; `fringe`: a number in
    0…1 that chooses one of three fringes.
    """

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
        """Returns a random person, who may be held out from training or not."""
        traits: dict[str, Any] = {name: rng.choice(values) for name, values in PERSON_VALUES.items()}
        traits |= {name: round(rng.uniform(low, high), 3) for name, (low, high) in _TRAITS.items()}
        return cls(**traits)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Describes one drawn picture by its attributes: the person, and how and where that person is shown.

    `jitter`: small shifts in pixels of a 64-pixel picture: the person's to the right and down, and the background's to
    the right. Poses other than "standing" are allowed only with the framing "full body".
    """

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
        """Returns a random scene; `fixed`: attributes to set, such as light="warm", while all others are random.

        The pose is always "standing" where the framing is not "full body", even if `fixed` has another. `person`: who
        is shown; None takes a random person who is not held out from training.
        """
        person = person or train_person(rng.getrandbits(48))
        words: dict[str, Any] = {name: rng.choice(values) for name, values in vocab.SCENE_VALUES.items()}
        words["framing"] = rng.choices(FRAMINGS, (0.45, 0.25, 0.30))[0]
        words["jitter"] = (round(rng.uniform(-1.5, 1.5), 1), round(rng.uniform(-1, 1), 1), round(rng.uniform(-4, 4), 1))
        words.update(fixed)
        if words["framing"] != "full body":
            words["pose"] = "standing"
        return cls(person=person, **words)


def _check(record: Person | Scene, values: dict[str, tuple[str, ...]]) -> None:
    """Checks that each attribute has one of its allowed values. Raises: ValueError."""
    for name, allowed in values.items():
        if getattr(record, name) not in allowed:
            raise ValueError(f"{name}={getattr(record, name)!r} is not one of {allowed}")


def is_held_out(person: Person) -> bool:
    """Returns whether a person is held out from all training.

    Only the traits with named values, such as the hair colour, decide this: one in eight of their combinations is held
    out.
    """
    index = 0
    for name, values in PERSON_VALUES.items():
        index = index * len(values) + values.index(getattr(person, name))
    return (index * 2654435761 >> 9) % _HOLD_OUT_SHARE == 0


def train_person(seed: int) -> Person:
    """Returns a random person who is not held out from training; the same seed gives the same person."""
    return _person(random.Random(f"train {seed}"), held_out=False)


def held_out_person(seed: int) -> Person:
    """Returns a random person who is held out from training; the same seed gives the same person."""
    return _person(random.Random(f"held out {seed}"), held_out=True)


def _person(rng: random.Random, held_out: bool) -> Person:
    """Returns a random person who is held out or not, as `held_out` says."""
    while True:
        person = Person.random(rng)
        if is_held_out(person) == held_out:
            return person


def changed(rng: random.Random, person: Person, names: Sequence[str]) -> Person:
    """Returns a copy of a person in which each trait in `names` has another, random value.

    The copy is held out from training exactly if the given person is.
    """
    while True:
        others = {n: [v for v in PERSON_VALUES[n] if v != getattr(person, n)] for n in names}
        traits: dict[str, Any] = {name: rng.choice(values) for name, values in others.items()}
        other = replace(person, **traits)
        if is_held_out(other) == is_held_out(person):
            return other
