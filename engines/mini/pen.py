"""Draws the shapes of which the toy world's pictures consist, and defines their colours."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

INK: Colour = (38, 28, 44)
HAIR: dict[str, Colour] = {
    "black": (40, 36, 44), "brown": (112, 68, 36), "blond": (240, 204, 92), "red": (204, 72, 28),
    "grey": (168, 168, 176), "blue": (52, 96, 216), "pink": (244, 120, 180), "green": (56, 160, 84),
}  # fmt: skip
SKIN: dict[str, Colour] = {
    "pale": (255, 232, 214), "light": (250, 206, 170), "tan": (224, 170, 122), "brown": (168, 112, 72),
    "dark": (110, 70, 48),
}  # fmt: skip
EYE: dict[str, Colour] = {
    "brown": (104, 60, 24),
    "blue": (36, 112, 232),
    "green": (32, 152, 72),
    "grey": (120, 130, 140),
}
CLOTH: dict[str, tuple[Colour, Colour]] = {
    "red shirt": ((220, 44, 48), (60, 72, 120)),
    "blue shirt": ((44, 104, 220), (90, 80, 70)),
    "green hoodie": ((48, 150, 80), (70, 74, 96)),
    "yellow dress": ((250, 208, 44), (250, 208, 44)),
    "black suit": ((48, 48, 58), (48, 48, 58)),
    "striped sweater": ((245, 245, 250), (60, 60, 80)),
    "orange jacket": ((244, 128, 32), (64, 84, 150)),
}
TURN = {"front": 0, "half-left": -1, "half-right": 1, "profile-left": -2, "profile-right": 2}


class Pen:
    """Draws shapes on a picture, in units of 1/64 of its side; `at` sets another origin and unit.

    `ink`: draw dark outlines around the shapes.
    """

    def __init__(self, image: Image.Image, ink: bool) -> None:
        self._draw = ImageDraw.Draw(image)
        self._unit = image.width / 64
        self._ink = ink
        self.x = self.y = 0.0
        self.r = 1.0

    def at(self, x: float, y: float, r: float = 1.0) -> Pen:
        """Moves the origin of the coordinates to (x, y) and makes `r` the new unit; returns this pen itself.

        `x`, `y` and `r` are in 1/64 of the picture's side, whatever origin and unit were set before.
        """
        self.x, self.y, self.r = x, y, r
        return self

    def _map(self, points: list[Point]) -> list[Point]:
        """Converts points from the present frame to pixels."""
        return [((self.x + px * self.r) * self._unit, (self.y + py * self.r) * self._unit) for px, py in points]

    def polygon(self, points: list[Point], fill: Colour, ink: bool = True) -> None:
        """Draws a filled polygon, outlined if the pen has ink; `ink` False leaves the outline out."""
        mapped = self._map(points)
        self._draw.polygon(mapped, fill=fill)
        if self._ink and ink:
            self._draw.line([*mapped, mapped[0], mapped[1]], fill=INK, width=round(0.85 * self._unit), joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour, ink: bool = True) -> None:
        """Draws a filled ellipse with centre (x, y) and radii rx, ry.

        It is outlined if the pen has ink; `ink` False leaves the outline out.
        """
        outline = INK if self._ink and ink else None
        box = self._map([(x - rx, y - ry), (x + rx, y + ry)])
        self._draw.ellipse(box, fill=fill, outline=outline, width=round(0.85 * self._unit))

    def line(self, points: list[Point], fill: Colour, width: float) -> None:
        """Draws a line through the points, with round ends; `width` is in the pen's present unit."""
        mapped = self._map(points)
        thick = max(1, round(width * self.r * self._unit))
        self._draw.line(mapped, fill=fill, width=thick, joint="curve")
        for px, py in (mapped[0], mapped[-1]):
            self._draw.ellipse((px - thick / 2, py - thick / 2, px + thick / 2, py + thick / 2), fill=fill)

    def limb(self, points: list[Point], fill: Colour, width: float) -> None:
        """Draws an arm or a leg as a thick line through the points, outlined if the pen has ink.

        `width` is in the pen's present unit.
        """
        if self._ink:
            self.line(points, INK, width + 1.5 / self.r)
        self.line(points, fill, width)


def oval(x: float, y: float, rx: float, ry: float, jaw: float, start: float = 0.0, stop: float = 360.0) -> list[Point]:
    """Returns 41 points of the outline of a head with centre (x, y) and radii rx, ry.

    The upper half is an ellipse; the lower half is squarer for a larger `jaw` (2 gives an ellipse). `start`, `stop`:
    the part of the outline to return, in degrees clockwise from the right.
    """
    points = []
    for i in range(41):
        angle = math.radians(start + (stop - start) * i / 40)
        c, s = math.cos(angle), math.sin(angle)
        power = 2 / jaw if s > 0 else 1.0
        points.append((x + rx * math.copysign(abs(c) ** power, c), y + ry * math.copysign(abs(s) ** power, s)))
    return points


def shade(colour: Colour, factor: float) -> Colour:
    """Returns a colour with each channel multiplied by `factor`: darker below 1, lighter above."""
    r, g, b = (min(255, max(0, round(part * factor))) for part in colour)
    return r, g, b


def between(one: Colour, other: Colour, share: float) -> Colour:
    """Returns a mixture of two colours; `share` 0 gives `one`, 1 gives `other`."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(one, other, strict=True))
    return r, g, b
