"""Answers questions about pictures for tests, without a model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from engines.api.protocols import Component, Lease, ModelSpec, OnStep, Plan, Stage
from engines.api.seeing import Answer, Answers, Sight
from engines.fake.device import FakeWeights
from engines.pictures import to_rgb
from engines.wording.registry import vocabulary

_MIB = 1 << 20
_SURE = 0.9  # the probability of the chosen value


class FakeAsker:
    """Answers questions for tests: a hash of the pixels and of the axis chooses each answer."""

    version = "fake-asked-1"

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.questions = vocabulary(spec.wording).questions

    def plan(self, count: int) -> Plan:
        """Returns the plan for the questions about `count` pictures: one stage, with the text encoder."""
        key = f"{self.spec.name}/text_encoder"
        encoder = Component(key, 60 * _MIB, lambda: FakeWeights(key))
        return Plan(f"{self.spec.name}: questions about {count} pictures", (Stage("ask", (encoder,), 8 * _MIB),))

    def ask(self, sights: Sequence[Sight], lease: Lease, on_step: OnStep) -> Iterator[Answers]:
        """Yields the answers about each picture, in order: a chosen value of 90 %, the others alike.

        `lease`: gives access to the text encoder. `on_step`: called with the number of pictures done and their total.
        """
        with lease.stage("ask"):
            for index, sight in enumerate(sights):
                pixels = to_rgb(sight.picture).tobytes()
                told = {}
                for question in sight.questions:
                    values = list(question.options)
                    byte = hashlib.sha256(question.axis.encode() + pixels).digest()[0]
                    logs = dict.fromkeys(values, math.log((1 - _SURE) / (len(values) - 1)))
                    told[question.axis] = Answer({**logs, values[byte % len(values)]: math.log(_SURE)})
                on_step(index + 1, len(sights))
                yield told
