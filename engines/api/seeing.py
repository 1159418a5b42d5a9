"""Defines what models say about pictures: captions, and answers to multiple-choice questions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from engines.api.params import CaptionParams
from engines.api.protocols import Lease, ModelSpec, OnStep, Plan

if TYPE_CHECKING:
    from PIL.Image import Image

SURE = 0.6  # the least probability with which an answer counts; below it the answer is unknown
OTHER = ""  # the value of the option that says that no other option is right


@dataclass(frozen=True)
class Caption:
    """Holds a picture's caption and, as `tags`, the attributes that were read from it, such as pose -> sitting."""

    text: str
    tags: Mapping[str, str] = field(default_factory=dict)


class Captioner(Protocol):
    """Interface of the engines that describe pictures in words."""

    spec: ModelSpec

    def plan(self, count: int, params: CaptionParams) -> Plan:
        """Returns the stages, with their memory, that `count` captions take."""

    def caption(
        self, images: Sequence[Image], params: CaptionParams, lease: Lease, on_step: OnStep
    ) -> Iterator[Caption]:
        """Yields each picture's caption, in order: the trigger word, then the pose, clothes and the like."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Describes the multiple-choice question on one axis, such as the expression.

    `options`: from each value of the axis to its words in the question; the value `OTHER` stands for none of them.
    `of_face`: the question is asked about the face, cut out of the picture, where there is one. `mirrored`: the picture
    and its mirror image have the same answer, so both are asked about, and the mean of their logarithms counts.
    """

    axis: str
    words: str
    options: Mapping[str, str]
    of_face: bool = False
    mirrored: bool = False

    def with_value(self, value: str) -> Question:
        """Returns the question with an option for `value`, in its own words; the same question where it has one."""
        if value in self.options:
            return self
        return replace(self, options={value: value, **self.options})


@dataclass(frozen=True)
class Sight:
    """Holds a picture, the questions to answer about it, and its face, cut out, where one is known."""

    picture: Image
    questions: tuple[Question, ...]
    face: Image | None = None


@dataclass(frozen=True)
class Answer:
    """Holds how likely each option of a question is: from value to the natural logarithm of its probability."""

    logs: Mapping[str, float]

    def probabilities(self, temperature: float = 1.0) -> dict[str, float]:
        """Returns the probability of each value; a `temperature` above 1 makes them more alike."""
        most = max(self.logs.values())
        weights = {value: math.exp((log - most) / temperature) for value, log in self.logs.items()}
        return {value: weight / sum(weights.values()) for value, weight in weights.items()}

    def value(self, temperature: float = 1.0, sure: float = SURE) -> str | None:
        """Returns the most probable value; None, which means unknown, where its probability is below `sure`."""
        value, probability = max(self.probabilities(temperature).items(), key=lambda each: each[1])
        return value if probability >= sure else None


def mean(answers: Sequence[Answer]) -> Answer:
    """Returns one answer for several to the same question: the mean of their logarithms, as probabilities again."""
    logs = {value: sum(each.logs[value] for each in answers) / len(answers) for value in answers[0].logs}
    total = math.log(sum(map(math.exp, logs.values())))
    return Answer({value: log - total for value, log in logs.items()})


Answers = Mapping[str, Answer]  # axis -> answer


class Asker(Protocol):
    """Interface of the engines that answer multiple-choice questions about pictures by the likelihood of each option.

    `version` names what answers: the model, and the form of the questions. Stored answers have it beside them.
    """

    spec: ModelSpec
    version: str
    questions: tuple[Question, ...]  # those that the model's wording has

    def plan(self, count: int) -> Plan:
        """Returns the stages, with their memory, that the questions about `count` pictures take."""

    def ask(self, sights: Sequence[Sight], lease: Lease, on_step: OnStep) -> Iterator[Answers]:
        """Yields the answers about each picture, in order, as axis -> answer."""
