"""A grey figure of our own: superellipsoids as data, turned to a view and drawn without a window.

OpenCV fills the triangles, the farthest first; a ray tracer or OpenGL would be a library more for one grey figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engines.api.axes import BUST, FULL_BODY, HEAD
from engines.api.guides import LIGHTS
from engines.api.views import PITCH, View

Vectors = NDArray[np.float64]  # (…, 3): to the viewer's right, up, to the viewer
SIDE = 768  # pixels
_FINER = 2  # pixels are drawn so many times smaller, then averaged
_ROUND, _HIGH = 44, 26  # facets around and along a part
_FARNESS = 3.5  # the camera's distance, in heights of what it sees
_GROUND, _AMBIENT = 200, 0.35


@dataclass(frozen=True)
class Part:
    """Holds a part of the figure: a superellipsoid, in heights of the head, with the eyes at the origin.

    `sides` are its half sizes, `edge` is 1 for an ellipsoid and lower for a box with round edges, `grey` how light it
    is, 0…1. A `paired` part has its mirror image on the other side.
    """

    at: tuple[float, float, float]
    sides: tuple[float, float, float]
    paired: bool = False
    edge: float = 1.0
    grey: float = 0.78


PARTS: tuple[Part, ...] = (
    Part((0, 0.10, -0.07), (0.37, 0.44, 0.46)),  # skull
    Part((0, -0.20, 0.07), (0.285, 0.335, 0.315), edge=0.9),  # face
    Part((0, -0.10, 0.41), (0.065, 0.14, 0.10)),  # nose
    Part((0.145, 0.02, 0.315), (0.085, 0.045, 0.07), paired=True, grey=0.45),  # eyes
    Part((0, -0.31, 0.355), (0.115, 0.026, 0.045), grey=0.45),  # mouth
    Part((0.375, -0.05, -0.06), (0.05, 0.13, 0.085), paired=True, grey=0.68),
    Part((0, -0.62, -0.10), (0.19, 0.34, 0.20)),  # neck
    Part((0, -1.42, -0.08), (0.66, 0.62, 0.34), edge=0.75),  # chest
    Part((0.66, -1.10, -0.08), (0.27, 0.25, 0.26), paired=True),  # shoulders
    Part((0, -2.15, -0.06), (0.50, 0.62, 0.29), edge=0.8),  # waist
    Part((0, -2.80, -0.06), (0.56, 0.44, 0.34), edge=0.85),  # hips
    Part((0.87, -1.62, -0.08), (0.17, 0.60, 0.18), paired=True),  # arms
    Part((0.93, -2.52, -0.02), (0.13, 0.54, 0.14), paired=True),
    Part((0.94, -3.15, 0.04), (0.10, 0.22, 0.13), paired=True),  # hands
    Part((0.29, -3.65, -0.05), (0.26, 0.86, 0.29), paired=True),  # legs
    Part((0.30, -5.05, -0.09), (0.18, 0.84, 0.20), paired=True),
    Part((0.31, -5.92, 0.06), (0.14, 0.13, 0.34), paired=True),  # feet
)
_SEEN = {HEAD: (-0.30, 2.1), BUST: (-1.05, 3.9), FULL_BODY: (-2.75, 7.4)}  # framing -> the middle's height, how much


def grey_figure(view: View) -> Image.Image:
    """Returns a picture of a grey figure that is seen so, lit from the front."""
    return _drawn(view, LIGHTS["front-left"], _AMBIENT, _GROUND)


def light_map(light: str, view: View) -> Image.Image:
    """Returns a map of light: a figure on black, as bright as the light falls on it; `light` is a key of `LIGHTS`."""
    return _drawn(view, LIGHTS[light], 0.0, 0, white=True)


def _drawn(
    view: View, light: tuple[float, float, float], ambient: float, ground: int, white: bool = False
) -> Image.Image:
    """Returns the figure on an even ground; `white` gives all of its parts one lightness."""
    import cv2  # not at start-up

    middle, height = _SEEN[view.framing]
    mirrors = [(part, np.array((side, 1, 1))) for part in PARTS for side in ((1, -1) if part.paired else (1,))]
    parts = [_faces(part) + np.asarray(part.at) * mirror for part, mirror in mirrors]
    corners = np.concatenate(parts)  # (faces, 4, 3)
    greys = np.concatenate([np.full(len(each), part.grey) for each, (part, _) in zip(parts, mirrors, strict=True)])
    yaw, pitch = np.radians(view.yaw), np.radians(PITCH[view.elevation])
    around = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    over = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    seen = (corners - np.array((0, middle, 0))) @ (over @ around).T  # (faces, 4, 3), as the camera sees them
    across = np.cross(seen[:, 2] - seen[:, 0], seen[:, 3] - seen[:, 1])
    facing = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    lit = np.clip(facing @ (np.asarray(light) / np.linalg.norm(light)), 0, 1)
    shades = 255 * (np.ones_like(greys) if white else greys) * (ambient + (1 - ambient) * lit)
    near = seen * (_FARNESS * height / (_FARNESS * height - seen[..., 2:]))
    side = SIDE * _FINER
    pixels = side / 2 + near[..., :2] * np.array((1, -1)) * (side / height)
    drawn: NDArray[np.uint8] = np.full((side, side), ground, np.uint8)
    for face in np.argsort(seen[..., 2].mean(axis=1)):
        if facing[face, 2] > -0.2:  # near the edge, perspective still shows what looks away
            cv2.fillConvexPoly(drawn, pixels[face].round().astype(np.int32), int(shades[face]))
    return Image.fromarray(np.repeat(cv2.resize(drawn, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., None], 3, 2))


def _faces(part: Part) -> Vectors:
    """Returns the faces of a part around the origin, (faces, 4 corners, 3)."""
    up, around = np.linspace(-np.pi / 2, np.pi / 2, _HIGH + 1), np.linspace(0, 2 * np.pi, _ROUND + 1)

    def bent(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sign(values) * np.abs(values) ** part.edge

    ring = bent(np.cos(up))[:, None]
    x, z = ring * bent(np.sin(around)), ring * bent(np.cos(around))
    y = np.broadcast_to(bent(np.sin(up))[:, None], x.shape)
    points = np.stack((x, y, z), axis=-1) * np.asarray(part.sides)
    corners = np.stack((points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]), axis=2)
    return corners.reshape(-1, 4, 3)
