"""What a user should know before a training takes the card, drawn alike in every tab that trains."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from engines.api.params import TrainParams
from engines.api.protocols import ModelSpec
from studio.flywheel.train import timing
from studio.flywheel.train.preflight import Preflight
from tabs.common import looks


def panel(found: Preflight, spec: ModelSpec, learned: str, facts: Sequence[str], knobs: str) -> str:
    """`learned` says how much is learned from, `facts` what else is to be said of it, `knobs` how it is trained."""
    checks = "".join(looks.check(each.label, each.ok, each.hint) for each in found.checks)
    disk = f"{looks.amount(found.disk)} of {looks.amount(found.free)} free disk"
    line = "".join(f"<span>{looks.esc(each)}</span>" for each in (*facts, _time(found), disk))
    said = (
        f'<div class="fl-line"><b class="fl-big">{looks.esc(learned)}</b>{line}</div>'
        f'<p class="fl-quiet">{looks.esc(knobs)} · licence {looks.esc(spec.licence)}</p>{looks.why(spec, TrainParams)}'
    )
    toy = looks.chip("embedded toy world", "", spec.note) if spec.toy else ""
    fit = looks.fit(found.fit)
    return looks.panel("Pre-flight", f'{said}<ul class="fl-checks">{checks}</ul>', f"<span>{toy} {fit}</span>")


def _time(found: Preflight) -> str:
    """A guess is told in whole minutes, and by what it was judged."""
    if not found.seconds:
        return "time not measured yet"
    if found.timed_by != timing.DRAWING:
        return f"about {looks.duration(found.seconds)}"
    minutes = ceil(found.seconds / 60)
    told = f"{minutes} min" if minutes < 60 else looks.duration(60 * minutes)
    return f"about {told}, judged by how fast it draws here"
