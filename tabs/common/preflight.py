"""The pre-flight panel of a training and the verdict beside its button, for both tabs that train."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.params import TrainParams
from engines.api.protocols import ModelSpec
from studio.flywheel.next_step import trains_next
from studio.flywheel.train import timing
from studio.flywheel.train.preflight import Preflight
from studio.records.dataset import Role
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import active_job


def panel(found: Preflight, spec: ModelSpec, learned: str, facts: Sequence[str], knobs: str) -> Markup:
    """Returns the pre-flight panel of a training as HTML: its checks, the memory check, time, disk and settings.

    `found` is the result of the checks. `learned` is the number of training examples as text, `facts` are further
    notes, `knobs` is the settings as one line of text.
    """
    disk = f"{looks.amount(found.disk)} of {looks.amount(found.free)} free disk"
    said = view(
        "common",
        "preflight",
        learned=learned,
        facts=[*facts, _time(found), disk],
        knobs=knobs,
        licence=spec.licence,
        why=looks.why(spec, TrainParams),
        found=found,
        passed=[each for each in found.checks if each.ok],
    )
    return looks.panel("Pre-flight", said, view("common", "fitting", spec=spec, fit=found.fit))


def launch(desk: Desk, found: Preflight, role: Role, kind: str) -> tuple[Markup, Any]:
    """Returns whether a training can start, as HTML, and an update of the button that starts it.

    The button is disabled while a required check in `found` fails, and highlighted where this training is the
    character's next step. `kind` is the kind of the training's job, `role` what the LoRA is for.
    """
    job = active_job(desk, kind)
    verdict = view("common", "verdict", musts=found.blocking, advice=len(found.advice), job=job)
    wanted = found.ok and job is None and trains_next(desk, role)
    return verdict, gr.update(interactive=found.ok, variant="primary" if wanted else "secondary")


def _time(found: Preflight) -> str:
    """Returns the predicted training time as text.

    A prediction from the speed of generating pictures is given in whole minutes, and says so.
    """
    if not found.seconds:
        return "time not measured yet"
    if found.timed_by != timing.DRAWING:
        return f"about {looks.duration(found.seconds)}"
    minutes = ceil(found.seconds / 60)
    told = f"{minutes} min" if minutes < 60 else looks.duration(60 * minutes)
    return f"about {told}, estimated from how fast it draws"
