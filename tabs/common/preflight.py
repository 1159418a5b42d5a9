"""What a user should know before a training takes the card, drawn alike in every tab that trains."""

from __future__ import annotations

from collections.abc import Sequence

from engines.api import ModelSpec, TrainParams
from studio.flywheel import timing
from studio.flywheel.preflights import Preflight
from tabs.common import looks

_UNKNOWN = "time not measured yet"
_GUESSED = {timing.DRAWING: ", judged by how fast it draws here"}


def panel(found: Preflight, spec: ModelSpec, learned: str, facts: Sequence[str], knobs: str) -> str:
    """`learned` says how much is learned from, `facts` what else is to be said of it, `knobs` how it is trained."""
    checks = "".join(looks.check(each.label, each.ok, each.hint) for each in found.checks)
    time = f"about {looks.duration(found.seconds)}{_GUESSED.get(found.timed_by, '')}" if found.seconds else _UNKNOWN
    disk = f"{looks.amount(found.disk)} of {looks.amount(found.free)} free disk"
    line = "".join(f"<span>{looks.esc(each)}</span>" for each in (*facts, time, disk))
    said = (
        f'<div class="fl-line"><b class="fl-big">{looks.esc(learned)}</b>{line}</div>'
        f'<p class="fl-quiet">{looks.esc(knobs)} · licence {looks.esc(spec.licence)}</p>{looks.why(spec, TrainParams)}'
    )
    toy = looks.chip("embedded toy world", "", spec.note) if spec.toy else ""
    fit = looks.fit(found.fit)
    return looks.panel("Pre-flight", f'{said}<ul class="fl-checks">{checks}</ul>', f"<span>{toy} {fit}</span>")
