"""Paints the backgrounds of the toy world's pictures."""

from __future__ import annotations

from engines.mini.pen import Pen


def paint_place(pen: Pen, place: str) -> None:
    """Paints a background over the whole picture; `place` is its name, such as "beach"."""
    {
        "white studio": _studio, "forest": _forest, "beach": _beach, "city": _city, "mountains": _mountains,
        "night": _night, "room": _room,
    }[place](pen)  # fmt: skip


def _rect(pen: Pen, x0: float, y0: float, x1: float, y1: float, fill: tuple[int, int, int]) -> None:
    pen.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)


def _studio(pen: Pen) -> None:
    _rect(pen, -8, 0, 72, 64, (250, 250, 250))


def _forest(pen: Pen) -> None:
    _rect(pen, -8, 0, 72, 64, (190, 226, 190))
    _rect(pen, -8, 46, 72, 64, (96, 160, 72))
    for x, top in ((3, 10), (15, 2), (29, 12), (45, 4), (57, 9), (67, 3)):
        _rect(pen, x - 1.5, 42, x + 1.5, 52, (104, 70, 44))
        for i in range(3):
            pen.polygon(
                [(x - 5 - i * 1.5, top + 16 + i * 10), (x, top + i * 9), (x + 5 + i * 1.5, top + 16 + i * 10)],
                (30, 104 + 10 * i, 58),
            )


def _beach(pen: Pen) -> None:
    _rect(pen, -8, 0, 72, 34, (150, 214, 250))
    _rect(pen, -8, 30, 72, 46, (32, 140, 200))
    _rect(pen, -8, 44, 72, 64, (244, 220, 150))
    pen.ellipse(10, 9, 6, 6, (255, 226, 80))
    pen.polygon([(50, 33), (62, 33), (60, 37), (52, 37)], (200, 60, 50))
    pen.polygon([(56, 18), (56, 32), (63, 32)], (255, 255, 255))


def _city(pen: Pen) -> None:
    _rect(pen, -8, 0, 72, 64, (200, 208, 220))
    shades = ((108, 112, 132), (136, 124, 124), (92, 104, 124), (124, 128, 144))
    for i, (x, top, width) in enumerate(
        ((-6, 14, 13), (8, 4, 12), (21, 20, 11), (33, 16, 10), (44, 6, 12), (57, 15, 14))
    ):
        _rect(pen, x, top, x + width, 58, shades[i % 4])
        for wy in range(top + 3, 54, 7):
            for wx in (x + 2, x + width - 5):
                _rect(pen, wx, wy, wx + 3, wy + 3.4, (255, 232, 140))
    _rect(pen, -8, 56, 72, 64, (84, 84, 92))


def _mountains(pen: Pen) -> None:
    _rect(pen, -8, 0, 72, 64, (166, 206, 244))
    for x, top, half in ((8, 12, 22), (56, 8, 24), (32, 22, 20)):
        slope = (56 - top) / half
        pen.polygon([(x - half, 56), (x, top), (x + half, 56)], (124, 110, 150))
        pen.polygon([(x - 11 / slope, top + 11), (x, top), (x + 11 / slope, top + 11), (x, top + 8)], (255, 255, 255))
    _rect(pen, -8, 50, 72, 64, (150, 190, 110))


def _night(pen: Pen) -> None:
    _rect(pen, -8, 0, 72, 64, (24, 28, 76))
    _rect(pen, -8, 54, 72, 64, (36, 44, 60))
    for x, y in ((4, 6), (12, 22), (6, 40), (20, 8), (30, 3), (42, 7), (60, 30), (54, 44), (62, 46), (2, 28), (14, 36)):
        pen.ellipse(x, y, 0.9, 0.9, (255, 250, 210))
    pen.ellipse(54, 11, 6, 6, (250, 240, 190))
    pen.ellipse(51.5, 9.5, 5, 5, (24, 28, 76))


def _room(pen: Pen) -> None:
    _rect(pen, -8, 0, 72, 64, (236, 214, 184))
    _rect(pen, -8, 50, 72, 64, (150, 100, 62))
    _rect(pen, -2, 8, 16, 30, (255, 255, 255))
    _rect(pen, 0, 10, 14, 28, (150, 210, 240))
    _rect(pen, 6.4, 10, 7.6, 28, (255, 255, 255))
    _rect(pen, 48, 6, 64, 20, (140, 60, 60))
    _rect(pen, 50, 8, 62, 18, (250, 210, 120))
