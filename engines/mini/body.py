"""Draws the bodies of people: clothes, limbs, poses."""

from __future__ import annotations

from engines.mini.head import hair_behind, head
from engines.mini.pen import CLOTH, SKIN, TURN, Colour, Pen, Point, oval, shade
from engines.mini.scene import Scene


def bust(pen: Pen, scene: Scene, x: float, y: float, r: float) -> None:
    """Draws head and shoulders of the person in a scene; the head has its centre at (x, y) and the radius `r`.

    `x`, `y`, `r`: in units of 1/64 of the picture's side.
    """
    turn = TURN[scene.angle]
    wide = (1.0, 0.9, 0.68)[abs(turn)]
    top, side = 1.35, 1.5 * wide
    skin, (cloth, _) = SKIN[scene.person.skin], CLOTH[scene.outfit]
    hair_behind(pen.at(x, y, r), scene)
    pen.polygon([(-0.36, 0.7), (0.36, 0.7), (0.4, 1.6), (-0.4, 1.6)], shade(skin, 0.88))
    torso = [(-0.45, top), (0.45, top), (side * 0.86, top + 0.18), (side, top + 0.5), (side * 1.1, 4), (-side * 1.1, 4)]
    pen.polygon([*torso, (-side, top + 0.5), (-side * 0.86, top + 0.18)], cloth)
    _outfit(pen, scene.outfit, turn * 0.16, top, side, skin)
    if r < 15:
        for arm in (-1, 1):
            pen.line([(arm * side * 0.62, top + 1.0), (arm * side * 0.66, 4)], shade(cloth, 0.72), 0.07)
    head(pen, scene)


def _outfit(pen: Pen, outfit: str, shift: float, top: float, side: float, skin: Colour) -> None:
    cloth = CLOTH[outfit][0]
    s = shift
    if outfit == "black suit":
        pen.polygon([(s - 0.34, top - 0.04), (s + 0.34, top - 0.04), (s, top + 1.1)], (250, 250, 250), ink=False)
        pen.polygon(
            [(s - 0.11, top), (s + 0.11, top), (s + 0.08, top + 0.9), (s - 0.08, top + 0.9)], (200, 36, 44), False
        )
    elif outfit == "striped sweater":
        for i in range(6):
            y = top + 0.2 + 0.42 * i
            pen.polygon(
                [(-side * 0.98, y), (side * 0.98, y), (side, y + 0.2), (-side, y + 0.2)], (44, 64, 140), ink=False
            )
    elif outfit == "green hoodie":
        pen.line([(-0.55, top), (s, top + 0.3), (0.55, top)], shade(cloth, 0.7), 0.24)
        for cord in (-0.14, 0.14):
            pen.line([(s + cord, top + 0.3), (s + cord, top + 0.75)], (245, 245, 245), 0.07)
    elif outfit == "orange jacket":
        pen.polygon(
            [(s - 0.24, top - 0.02), (s + 0.24, top - 0.02), (s + 0.2, 4), (s - 0.2, 4)], (245, 245, 240), ink=False
        )
    elif outfit == "yellow dress":
        pen.polygon(oval(s, top - 0.06, 0.5, 0.42, 2, 0, 180), shade(skin, 0.97), ink=False)
    else:
        pen.polygon([(s - 0.4, top - 0.02), (s + 0.4, top - 0.02), (s, top + 0.42)], shade(skin, 0.88), ink=False)
        pen.line([(s - 0.42, top), (s, top + 0.45), (s + 0.42, top)], shade(cloth, 0.72), 0.09)


def figure(pen: Pen, scene: Scene, x: float, y: float, r: float) -> None:
    """Draws the whole body of the person in a scene; the head has its centre at (x, y) and the radius `r`.

    `x`, `y`, `r`: in units of 1/64 of the picture's side.
    """
    turn = TURN[scene.angle]
    side = (0.95, 0.85, 0.62)[abs(turn)]
    hair_behind(pen.at(x, y, r), scene)
    skin, (cloth, trouser) = SKIN[scene.person.skin], CLOTH[scene.outfit]
    dress = scene.outfit == "yellow dress"
    leg = skin if dress else trouser
    sitting = scene.pose == "sitting"
    hip = 3.1
    if sitting:
        seat = 0.9 if abs(turn) == 2 else 1.25
        pen.polygon([(-seat, 3.2), (seat, 3.2), (seat, 6.0), (-seat, 6.0)], (150, 104, 64))
    _legs(pen, turn, side, hip, leg, sitting)
    if dress:
        flare, low = (1.15, 3.75) if sitting else (1.35, 4.5)
        pen.polygon([(-side * 0.7, 2.5), (side * 0.7, 2.5), (side * flare, low), (-side * flare, low)], cloth)
    _arms(pen, scene, turn, side, skin, cloth, behind=True)
    pen.polygon([(-0.3, 0.8), (0.3, 0.8), (0.3, 1.4), (-0.3, 1.4)], shade(skin, 0.88), ink=False)
    pen.polygon([(-side, 1.3), (side, 1.3), (side * 0.86, hip + 0.2), (-side * 0.86, hip + 0.2)], cloth)
    _belly(pen, scene.outfit, turn * 0.2, side, skin, hip)
    _arms(pen, scene, turn, side, skin, cloth, behind=False)
    head(pen, scene)


def _belly(pen: Pen, outfit: str, s: float, side: float, skin: Colour, hip: float) -> None:
    cloth = CLOTH[outfit][0]
    if outfit == "black suit":
        pen.polygon([(s - 0.3, 1.3), (s + 0.3, 1.3), (s, 2.4)], (250, 250, 250), ink=False)
        pen.line([(s, 1.4), (s, 2.1)], (200, 36, 44), 0.14)
    elif outfit == "striped sweater":
        for i in range(3):
            top = 1.5 + 0.6 * i
            pen.polygon(
                [(-side * 0.95, top), (side * 0.95, top), (side * 0.92, top + 0.3), (-side * 0.92, top + 0.3)],
                (44, 64, 140),
                False,
            )
    elif outfit == "green hoodie":
        pen.line([(-0.5, 1.35), (s, 1.6), (0.5, 1.35)], shade(cloth, 0.7), 0.24)
    elif outfit == "orange jacket":
        pen.polygon(
            [(s - 0.22, 1.3), (s + 0.22, 1.3), (s + 0.2, hip + 0.2), (s - 0.2, hip + 0.2)], (245, 245, 240), False
        )
    else:
        pen.polygon([(s - 0.3, 1.28), (s + 0.3, 1.28), (s, 1.65)], shade(skin, 0.88), ink=False)


def _legs(pen: Pen, turn: int, side: float, hip: float, colour: Colour, sitting: bool) -> None:
    shoe: Colour = (70, 52, 48)
    s = (turn > 0) - (turn < 0)
    for leg in (-1, 1):
        lx = leg * side * 0.48
        if not sitting:
            pen.limb([(lx, hip), (lx, 6.1)], colour, 0.66)
            pen.ellipse(lx + s * 0.2, 6.4, 0.5, 0.3, shoe)
        elif abs(turn) == 2:
            pen.limb([(0, hip + 0.2), (s * 1.75, hip + 0.3), (s * 1.75, 6.0)], colour, 0.7)
            pen.ellipse(s * 1.98, 6.3, 0.52, 0.3, shoe)
        else:
            knee = lx * 1.75 + turn * 0.5
            pen.limb([(lx, hip + 0.1), (knee, hip + 0.75), (knee, 6.0)], colour, 0.7)
            pen.ellipse(knee + s * 0.2, 6.3, 0.5, 0.3, shoe)


def _arms(pen: Pen, scene: Scene, turn: int, side: float, skin: Colour, cloth: Colour, behind: bool) -> None:
    bare = scene.outfit == "yellow dress"
    sleeve = skin if bare else shade(cloth, 0.86)
    for arm in (-1, 1):
        if behind != (abs(turn) == 2 and arm == 1):
            continue
        x0 = arm * side * (0.92 if abs(turn) < 2 else 0.1)
        if scene.pose == "T-pose":
            reach = (3.0, 2.7, 2.2)[abs(turn)] * arm
            points: list[Point] = [(arm * side * 0.8, 1.62), (reach, 1.62)]
        elif scene.pose == "sitting" and abs(turn) == 2:
            points = [(x0, 1.6), (x0 + turn * 0.15, 2.5), (x0 + turn * 0.5, 2.85)]
        elif scene.pose == "sitting":
            points = [(x0, 1.65), (x0 * 1.3, 2.5), (x0 * 0.75 + turn * 0.3, 3.1)]
        else:
            points = [(x0, 1.65), (x0 * 1.28, 3.2)]
        pen.limb(points, sleeve, 0.5)
        pen.ellipse(*points[-1], 0.3, 0.3, skin)
