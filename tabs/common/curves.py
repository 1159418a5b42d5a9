"""A training's curve: the loss as a whole and by noise level, and the figures of the step it has come to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from studio.flywheel.train.pace import slowdown
from studio.flywheel.train.runs import Point
from tabs.common import looks

BANDS = (
    ("low noise", "var(--fl-good)", "details: what is learned where little noise is left"),
    ("middle", "var(--fl-warn)", "features: faces, clothes"),
    ("high noise", "var(--fl-bad)", "composition: what is learned where there is little but noise"),
)
_SLOWER = (
    "Close what else uses the card. On Windows the driver lets what does not fit spill into RAM, many times slower: "
    "forbid it (NVIDIA Control Panel, CUDA - Sysmem Fallback Policy), and train at a lower resolution or batch."
)
_WIDTH, _HEIGHT, _LEFT, _FOOT = 640.0, 200.0, 44.0, 24.0


def loss_plot(points: Sequence[Point], total: int = 0) -> str:
    """Loss over steps: each step's faint, the running mean in front, and that of each band of noise levels."""
    if len(points) < 2:
        return looks.empty("The loss curve starts with the first steps.")
    bands = [_line(points, index) for index in range(max(len(point.bands) for point in points))]
    smooth = [(point.step, point.smooth) for point in points]
    raw = sorted(point.loss for point in points)
    shown = [value for line in (smooth, *bands) for _, value in line]
    low, high = min(*shown, raw[int(len(raw) * 0.02)]), max(*shown, raw[int(len(raw) * 0.98)])
    frame = _Frame(max(total, points[-1].step, 1), low, (high - low) or 1.0)
    paths = [f'<path class="raw" d="{frame.path((point.step, point.loss) for point in points)}"/>']
    for (name, colour, _), line in zip(BANDS, bands, strict=False):
        if line:
            style = f"stroke:{colour};stroke-width:1.2"
            paths.append(f'<path style="{style}" d="{frame.path(line)}"><title>{name}</title></path>')
    paths.append(f'<path class="smooth" d="{frame.path(smooth)}"/>')
    return (
        f'<svg class="fl-plot" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="training loss">'
        f"{frame.marks()}{''.join(paths)}</svg>{_figures(points[-1], slowdown(points))}"
    )


def _line(points: Sequence[Point], band: int) -> list[tuple[int, float]]:
    """A band's running mean, from its first example on."""
    found = ((point.step, point.bands[band]) for point in points if band < len(point.bands))
    return [(step, value) for step, value in found if value is not None]


def _figures(point: Point, slower: float | None) -> str:
    """The step that was last done, in a line; each band beside its colour, and a warning when it has slowed down."""
    parts = [f"<span>smoothed loss <b>{point.smooth:.4f}</b> at step {point.step}</span>"]
    for (name, colour, about), value in zip(BANDS, point.bands, strict=False):
        if value is not None:
            dot = f'<i style="color:{colour}">●</i>'
            parts.append(f'<span title="{looks.esc(about)}">{dot} {name} {value:.4f}</span>')
    parts.append(f"<span>learning rate {point.learning_rate:.3g}</span>")
    parts.append(f"<span>gradient norm {point.grad_norm:.3g}</span>")
    parts.append(f"<span>{point.seconds:.2f} s a step</span>")
    if slower:
        parts.append(looks.chip(f"{slower:.1f} × as slow as before", "warn", _SLOWER))
    if point.memory:
        parts.append(f"<span>{looks.amount(point.memory)} in use</span>")
    return f'<div class="fl-line fl-quiet">{"".join(parts)}</div>'


@dataclass(frozen=True)
class _Frame:
    """Where a step and a loss lie in the picture."""

    last: int
    low: float
    span: float

    def place(self, part: float) -> float:
        """From the share of the height, 0 at the bottom."""
        return 4 + (_HEIGHT - _FOOT) * (1 - part)

    def path(self, spots: Iterable[tuple[int, float]]) -> str:
        """(step, loss) pairs as an SVG path; what lies outside is drawn at the edge."""
        placed = (
            f"{_LEFT + (_WIDTH - _LEFT) * step / self.last:.1f},"
            f"{self.place(min(max((value - self.low) / self.span, 0.0), 1.0)):.1f}"
            for step, value in spots
        )
        return "M" + " L".join(placed)

    def marks(self) -> str:
        """The axes' words."""
        losses = "".join(
            f'<text x="{_LEFT - 6}" y="{self.place(part) + 4:.0f}" text-anchor="end">'
            f"{self.low + self.span * part:.3f}</text>"
            for part in (0, 0.5, 1)
        )
        foot = _HEIGHT - 4
        return (
            f'{losses}<text x="{_LEFT}" y="{foot}">0</text>'
            f'<text x="{_WIDTH}" y="{foot}" text-anchor="end">step {self.last}</text>'
        )


def elsewhere(commands: Sequence[str]) -> str:
    """What trains a run without the studio, to be copied; a resume afterwards makes its version."""
    if not commands:
        return ""
    about = ("this run, alone or in a terminal elsewhere", "the same on all cards of the machine")
    lines = "".join(
        f'<p>{words}</p><pre><code style="user-select:all;white-space:pre-wrap">{looks.esc(command)}</code></pre>'
        for words, command in zip(about, commands, strict=True)
    )
    return (
        '<details data-fold="command"><summary>the command that repeats this run</summary>'
        f"{lines}<p>Stop the job here first. When the command has ended, “Resume” makes its version.</p></details>"
    )
