"""Draws the heads of people: hair, face, expression."""

from __future__ import annotations

import math

from engines.mini.pen import EYE, HAIR, SKIN, TURN, Colour, Pen, Point, between, oval, shade
from engines.mini.scene import Scene


def hair_behind(pen: Pen, scene: Scene) -> None:
    """Draws the part of the person's hair that lies behind the body, which must be drawn afterwards.

    `pen`: its origin must be the head's centre, and its unit the head's radius.
    """
    person, turn = scene.person, TURN[scene.angle]
    colour, s = shade(HAIR[person.hair_colour], 0.8), (turn > 0) - (turn < 0)
    back = -s * (0.0, 0.2, 0.42)[abs(turn)]
    if person.hair_style == "long":
        pen.polygon(oval(back, 0.62, 1.08 - 0.2 * (abs(turn) == 2), 1.35, 4), colour)
    elif person.hair_style == "bob":
        pen.polygon(oval(back, 0.22, 1.16 - 0.2 * (abs(turn) == 2), 0.92, 4), colour)
    elif person.hair_style == "bun":
        pen.ellipse(back * 1.6, -1.12, 0.46, 0.42, HAIR[person.hair_colour])
    elif person.hair_style == "curly":
        for i in range(11):
            angle = math.radians(150 + i * 24)
            pen.ellipse(back * 0.6 + 0.98 * math.cos(angle), -0.06 + 0.95 * math.sin(angle), 0.4, 0.4, colour)
    elif person.hair_style == "spiky":
        for i in range(7):
            angle = math.radians(195 + i * 25)
            tip = (back * 0.5 + 1.5 * math.cos(angle), -0.05 + 1.42 * math.sin(angle))
            base = [(0.95 * math.cos(angle + d), 0.95 * math.sin(angle + d)) for d in (-0.24, 0.24)]
            pen.polygon([base[0], tip, base[1]], HAIR[person.hair_colour])


def head(pen: Pen, scene: Scene) -> None:
    """Draws the person's head with face and front hair over everything that is already drawn.

    `pen`: its origin must be the head's centre, and its unit the head's radius.
    """
    person, turn = scene.person, TURN[scene.angle]
    k, s = abs(turn), (turn > 0) - (turn < 0)
    skin, hair = complexion(scene), HAIR[person.hair_colour]
    bald = person.hair_style == "bald"
    wide = person.face_width
    pen.ellipse(0, -0.1, (1.0, 1.0, 1.02)[k] * wide, 1.0, skin if bald else hair)
    shift = s * (0.0, 0.2, 0.36)[k] * wide
    face = (0.86, 0.8, 0.66)[k] * wide
    if k == 2:
        tip = shift + s * face
        pen.polygon([(tip * 0.93, -0.02), (tip + s * (0.06 + person.nose_length), 0.34), (tip * 0.9, 0.42)], skin)
    covered = person.hair_style in ("long", "bob", "curly")
    if not covered and k < 2:
        for ear in (-1, 1) if k == 0 else (-s,):
            pen.ellipse(ear * wide * (0.98, 0.8)[k], 0.16, 0.17, 0.24, skin)
    pen.polygon(oval(shift, 0.14, face, 0.9, person.jaw), skin)
    if bald:
        pen.ellipse(0, -0.1, 0.955 * wide, 0.955, skin, ink=False)
    if person.feature == "beard":
        pen.polygon(oval(shift, 0.14, face, 0.9, person.jaw, 38, 142), shade(hair, 0.9), ink=False)
    if not bald:
        _fringe(pen, person.fringe, shift, face, person.jaw, s, hair)
    if not covered and k == 2:
        pen.ellipse(-s * 0.18, 0.2, 0.17, 0.25, shade(skin, 0.92))
    _face(pen, scene, shift, face, k, s)


def complexion(scene: Scene) -> Colour:
    """Returns the colour of the person's face; anger makes the face redder, to be visible even on a small head."""
    skin = SKIN[scene.person.skin]
    return between(skin, (232, 24, 24), 0.45) if scene.expression == "angry" else skin


def _fringe(pen: Pen, amount: float, shift: float, face: float, jaw: float, s: int, hair: Colour) -> None:
    start, stop = (200.0, 340.0) if amount < 0.6 else (188.0, 352.0)
    edge = oval(shift, 0.14, face * 1.02, 0.93, jaw, start, stop)
    if amount < 0.3:
        middle: list[Point] = [(shift - s * face * 0.2, -0.62)]
    elif amount < 0.6:
        middle = [(shift + face * 0.1, -0.48), (shift - face * 0.6, -0.3)]
    else:
        middle = [(shift + face * 0.85, -0.26), (shift, -0.34), (shift - face * 0.85, -0.26)]
    pen.polygon([*edge, *middle], hair, ink=False)


def _face(pen: Pen, scene: Scene, shift: float, face: float, k: int, s: int) -> None:
    person, expression, skin = scene.person, scene.expression, complexion(scene)
    gap = person.eye_spacing * person.face_width
    centre = shift + s * (0.0, 0.1, 0.0)[k]
    if k == 2:
        eyes = [(shift + s * face * 0.48, s, 0.11)]
    else:
        eyes = [(centre + e * gap * (1.0, 0.88)[k], e, 0.13 if k and e == s else 0.16) for e in (-1, 1)]
    if person.feature == "freckles":
        for ex, _, _ in eyes:
            for px, py in ((-0.13, 0.34), (0.02, 0.4), (0.15, 0.33)):
                pen.ellipse(ex + px, py, 0.045, 0.045, shade(skin, 0.66), ink=False)
    _cheeks(pen, expression, [(ex, e) for ex, e, _ in eyes])
    for ex, e, rx in eyes:
        _eye(pen, scene, ex, e, rx, s if k == 2 else 0)
    _nose(pen, person.nose_length, centre, skin, k, s)
    mouth_x = shift + s * face * (0.0, 0.2, 0.5)[k]
    _mouth(pen, expression, mouth_x, person.mouth_height, (0.38, 0.34, 0.26)[k])


def _eye(pen: Pen, scene: Scene, x: float, side: int, rx: float, ahead: int) -> None:
    person, expression = scene.person, scene.expression
    big = person.eye_size
    pen.ellipse(x, 0.08, rx * big, 0.2 * big, (255, 255, 255), ink=False)
    pen.ellipse(x + ahead * 0.04, 0.09, 0.105 * big, 0.135 * big, EYE[person.eyes], ink=False)
    pen.ellipse(x + ahead * 0.05, 0.09, 0.05 * big, 0.07 * big, (16, 12, 20), ink=False)
    inner = x - side * 0.21 if not ahead else x + ahead * 0.17
    outer = x + side * 0.2 if not ahead else x - ahead * 0.2
    low, high = {"neutral": (-0.26, -0.26), "smiling": (-0.34, -0.36), "angry": (0.0, -0.4), "sad": (-0.46, -0.14)}[
        expression
    ]
    dark = shade(HAIR[person.hair_colour], 0.62) if person.hair_style != "bald" else (70, 50, 44)
    pen.line([(inner, low), (outer, high)], dark, person.brow_weight)
    if person.feature == "glasses":
        ring = [(x + 0.25 * math.cos(a / 8 * math.pi), 0.09 + 0.26 * math.sin(a / 8 * math.pi)) for a in range(17)]
        pen.line(ring, (24, 24, 32), 0.06)
        pen.line([(x - side * 0.24, 0.05), (x - side * 0.4, 0.05)], (24, 24, 32), 0.06)


def _cheeks(pen: Pen, expression: str, eyes: list[tuple[float, int]]) -> None:
    """Draws blushes on a smiling face, or tears on a sad one."""
    for x, side in eyes:
        if expression == "smiling":
            pen.ellipse(x + side * 0.12, 0.42, 0.17, 0.12, (244, 120, 128), ink=False)
        elif expression == "sad":
            stream: list[Point] = [(x - 0.1, 0.12), (x + 0.1, 0.12), (x + 0.15, 0.84), (x - 0.15, 0.84)]
            pen.polygon(stream, (92, 178, 255), ink=False)


def _nose(pen: Pen, length: float, centre: float, skin: Colour, k: int, s: int) -> None:
    dark = shade(skin, 0.72)
    if k == 0:
        pen.line([(centre - 0.07, 0.18 + length), (centre + 0.07, 0.18 + length)], dark, 0.09)
    elif k == 1:
        tip = centre + s * (0.12 + length * 0.5)
        pen.line([(centre + s * 0.04, 0.1), (tip, 0.18 + length), (centre, 0.2 + length)], dark, 0.07)


def _mouth(pen: Pen, expression: str, x: float, y: float, half: float) -> None:
    dark: Colour = (110, 24, 36)
    if expression == "neutral":
        pen.line([(x - half * 0.62, y), (x + half * 0.62, y)], dark, 0.08)
    elif expression == "smiling":
        wide, top = half * 1.2, y - 0.14
        pen.polygon(oval(x, top, wide * 1.06, 0.42, 2, 0, 180), dark, ink=False)
        low, narrow = y + 0.02, wide * 0.88
        teeth: list[Point] = [(x - wide, top), (x + wide, top), (x + narrow, low), (x - narrow, low)]
        pen.polygon(teeth, (255, 255, 255), ink=False)
    elif expression == "angry":
        low, high = y + 0.24, y - 0.1
        shout: list[Point] = [(x - half, low), (x - half * 0.6, high), (x + half * 0.6, high), (x + half, low)]
        pen.polygon(shout, dark, ink=False)
        pen.line([(x - half * 0.5, y - 0.04), (x + half * 0.5, y - 0.04)], (255, 255, 255), 0.09)
    else:
        pen.line(oval(x, y + 0.16, half * 0.8, 0.24, 2, 195, 345), dark, 0.1)
