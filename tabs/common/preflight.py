"""The pre-flight panel of a training, the same in every tab that trains."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from markupsafe import Markup

from engines.api.params import TrainParams
from engines.api.protocols import ModelSpec
from studio.flywheel.train import timing
from studio.flywheel.train.preflight import Preflight
from tabs.common import looks
from tabs.common.looks import view


def panel(found: Preflight, spec: ModelSpec, learned: str, facts: Sequence[str], knobs: str) -> Markup:
    """Returns the pre-flight panel.

    `learned` is the number of examples as text, `facts` are further notes, `knobs` the settings in one line."""
    disk = f"{looks.amount(found.disk)} of {looks.amount(found.free)} free disk"
    said = view(
        "common",
        "preflight",
        learned=learned,
        facts=[*facts, _time(found), disk],
        knobs=knobs,
        licence=spec.licence,
        why=looks.why(spec, TrainParams),
        checks=found.checks,
    )
    return looks.panel("Pre-flight", said, view("common", "fitting", spec=spec, fit=found.fit))


def _time(found: Preflight) -> str:
    """Returns the training time as text; an estimate from the drawing speed is in whole minutes and says so."""
    if not found.seconds:
        return "time not measured yet"
    if found.timed_by != timing.DRAWING:
        return f"about {looks.duration(found.seconds)}"
    minutes = ceil(found.seconds / 60)
    told = f"{minutes} min" if minutes < 60 else looks.duration(60 * minutes)
    return f"about {told}, judged by how fast it draws here"
