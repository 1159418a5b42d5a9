"""The pictures beside the report of `launch.py demo`: contact sheets and a plot of the losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from engines.pictures import to_rgb

_TILE = 128
_LABEL = 18
_INK = (30, 32, 38)
_FRAMES = {"good": (46, 160, 94), "needs_correction": (222, 155, 40), "reject": (205, 66, 70)}


@dataclass(frozen=True)
class Tile:
    """Holds a picture of a contact sheet, its label, and the name of the verdict that colours its frame.

    The verdict is "good", "needs_correction" or "reject"; "" draws no frame.
    """

    picture: Image.Image
    label: str
    verdict: str = ""


def contact_sheet(tiles: Sequence[Tile], path: Path, *, title: str, columns: int = 10) -> None:
    """Writes one image file to `path` that shows all pictures with their labels, under a title.

    The pictures stand in rows of `columns`.
    """
    rows = max(1, -(-len(tiles) // columns))
    sheet = Image.new("RGB", (columns * (_TILE + 8) + 8, rows * (_TILE + _LABEL + 8) + 40), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((10, 10), title, fill=_INK, font=ImageFont.load_default(size=17))
    small = ImageFont.load_default(size=11)
    for n, tile in enumerate(tiles):
        x, y = 8 + n % columns * (_TILE + 8), 40 + n // columns * (_TILE + _LABEL + 8)
        if tile.verdict in _FRAMES:
            pen.rectangle((x - 3, y - 3, x + _TILE + 2, y + _TILE + 2), fill=_FRAMES[tile.verdict])
        sheet.paste(to_rgb(tile.picture).resize((_TILE, _TILE), Image.Resampling.LANCZOS), (x, y))
        pen.text((x, y + _TILE + 2), tile.label[:22], fill=_INK, font=small)
    sheet.save(path)


def loss_plot(curves: Mapping[str, Sequence[tuple[int, float]]], path: Path) -> None:
    """Writes a plot of training losses as an image file to `path`: a curve for each training.

    Each curve is averaged over twenty steps; the raw losses are drawn pale behind it. `curves` maps a training's name
    to its points (step, loss).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), dpi=110)
    for name, points in curves.items():
        steps = [step for step, _ in points]
        losses = [loss for _, loss in points]
        smooth = [sum(losses[max(0, n - 19) : n + 1]) / len(losses[max(0, n - 19) : n + 1]) for n in range(len(losses))]
        (line,) = axes.plot(steps, smooth, label=name)
        axes.plot(steps, losses, color=line.get_color(), alpha=0.15, linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss (mean squared error of the velocity)", title="LoRA trainings of this turn")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
