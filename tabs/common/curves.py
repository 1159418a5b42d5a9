"""The loss curve of a training, as a whole and by noise level, and the figures of its last step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from studio.flywheel.train.pace import slowdown
from studio.flywheel.train.runs import Point
from tabs.common import looks
from tabs.common.looks import view

BANDS = (
    ("low noise", "var(--fl-curve-low)", "details: what is learned where little noise is left"),
    ("middle", "var(--fl-curve-middle)", "features: faces, clothes"),
    ("high noise", "var(--fl-curve-high)", "composition: what is learned where there is little but noise"),
)
_SLOWER = (
    "Close what else uses the GPU. On Windows the driver lets what does not fit spill into RAM, many times slower: "
    "forbid it (NVIDIA Control Panel, CUDA - Sysmem Fallback Policy), and train at a lower resolution or batch."
)
_WIDTH, _HEIGHT, _LEFT, _FOOT, _TOP = 640.0, 210.0, 44.0, 34.0, 14.0
_ROWS = 12  # of the table of figures


def loss_plot(points: Sequence[Point], total: int = 0) -> Markup:
    """Returns as HTML a plot of the loss over steps, the numbers of the last step, and the curve as a table.

    The lines are each step's loss, its running mean, and the running mean within each band of noise levels. `total` is
    the number of steps that the training will have; with 0 the axis ends at the last step so far.
    """
    if len(points) < 2:
        return looks.empty("The loss curve starts with the first steps.")
    bands = [_line(points, index) for index in range(max(len(point.bands) for point in points))]
    smooth = [(point.step, point.smooth) for point in points]
    raw = sorted(point.loss for point in points)
    shown = [value for line in (smooth, *bands) for _, value in line]
    low, high = min(*shown, raw[int(len(raw) * 0.02)]), max(*shown, raw[int(len(raw) * 0.98)])
    frame = _Frame(max(total, points[-1].step, 1), low, (high - low) or 1.0)
    plot = view(
        "common",
        "plot",
        width=f"{_WIDTH:.0f}",
        height=f"{_HEIGHT:.0f}",
        left=_LEFT,
        marks=frame.marks(),
        raw=frame.path((point.step, point.loss) for point in points),
        bands=[(name, colour, frame.path(line)) for (name, colour, _), line in zip(BANDS, bands, strict=False) if line],
        smooth=frame.path(smooth),
    )
    return plot + _figures(points[-1], slowdown(points)) + figures(points)


def _line(points: Sequence[Point], band: int) -> list[tuple[int, float]]:
    """Returns the (step, running mean) points of one band of noise levels, from its first example on."""
    found = ((point.step, point.bands[band]) for point in points if band < len(point.bands))
    return [(step, value) for step, value in found if value is not None]


def _figures(point: Point, slower: float | None) -> Markup:
    """Returns as HTML the figures of the last step in one line, each band in the colour of its curve.

    `slower` is by what factor the steps have become slower, which is warned of; None for no slowdown.
    """
    bands = [
        (name, colour, about, f"{value:.4f}")
        for (name, colour, about), value in zip(BANDS, point.bands, strict=False)
        if value is not None
    ]
    words = f"{slower:.1f} × as slow as before" if slower else ""
    memory = looks.amount(point.memory) if point.memory else ""
    return view("common", "figures", point=point, bands=bands, slower=words, advice=_SLOWER, memory=memory)


def figures(points: Sequence[Point]) -> Markup:
    """Returns the loss curve as an HTML table of about a dozen steps, collapsed at first; for screen readers."""
    every = max(1, -(-len(points) // _ROWS))
    shown = [*points[every - 1 :: every]]
    shown = shown if shown[-1:] == [points[-1]] else [*shown, points[-1]]
    names = [name for (name, _, _), _ in zip(BANDS, points[-1].bands, strict=False)]
    rows = [
        [
            str(point.step),
            f"{point.smooth:.4f}",
            *("–" if value is None else f"{value:.4f}" for value in point.bands),
            f"{point.learning_rate:.3g}",
            f"{point.seconds:.2f} s",
        ]
        for point in shown
    ]
    return view("common", "as_table", headers=["step", "loss (smoothed)", *names, "learning rate", "a step"], rows=rows)


@dataclass(frozen=True)
class _Frame:
    """Holds the scale of the plot: the last step, the lowest loss, and the range of losses."""

    last: int
    low: float
    span: float

    def place(self, part: float) -> float:
        """Returns the y coordinate of a share of the plot's height, 0 at the bottom, 1 at the top."""
        return _TOP + (_HEIGHT - _FOOT) * (1 - part)

    def path(self, spots: Iterable[tuple[int, float]]) -> str:
        """Returns (step, loss) points as an SVG path; losses outside the range are put on its edge."""
        placed = (
            f"{_LEFT + (_WIDTH - _LEFT) * step / self.last:.1f},"
            f"{self.place(min(max((value - self.low) / self.span, 0.0), 1.0)):.1f}"
            for step, value in spots
        )
        return "M" + " L".join(placed)

    def marks(self) -> list[tuple[float, str, str, bool]]:
        """Returns the labels of the axes as (x, y, text, whether the text ends at x)."""
        losses = [
            (_LEFT - 6, f"{self.place(part) + 4:.0f}", f"{self.low + self.span * part:.3f}", True)
            for part in (0, 0.5, 1)
        ]
        foot = str(_HEIGHT - 4)
        return [*losses, (_LEFT, foot, "0", False), (_WIDTH, foot, f"step {self.last}", True)]


def elsewhere(commands: Sequence[str]) -> Markup:
    """Returns as HTML the shell commands that do a training outside the studio, for the user to copy.

    `commands` are two, for one GPU and for all GPUs of the machine; without any the HTML is empty. When the training is
    done, the user resumes its job in the studio, which then makes the version.
    """
    if not commands:
        return Markup()
    about = ("this run, alone or in a terminal elsewhere", "the same on all cards of the machine")
    return view("common", "commands", lines=list(zip(about, commands, strict=True)))
