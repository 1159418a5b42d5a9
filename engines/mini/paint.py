"""Paints a scene of the toy world as pixels: background, person, light."""

from __future__ import annotations

import numpy as np
from PIL import Image

from engines.mini.body import bust, figure
from engines.mini.pen import Pen
from engines.mini.places import paint_place
from engines.mini.scene import Scene

SUPERSAMPLE = 4


def paint(scene: Scene, size: int) -> Image.Image:
    """Paints a scene as an RGB picture of size × size pixels."""
    image = Image.new("RGB", (size * SUPERSAMPLE, size * SUPERSAMPLE))
    pen = Pen(image, ink=False)
    paint_place(pen.at(scene.jitter[2], 0), scene.background)
    if scene.style == "comic":
        image = Image.blend(image, Image.new("RGB", image.size, (255, 255, 255)), 0.35)
    pen = Pen(image, ink=scene.style == "comic")
    dx, dy, _ = scene.jitter
    if scene.framing == "full body":
        figure(pen, scene, 32 + dx, 12.5 + dy, 7.4)
    elif scene.framing == "bust":
        bust(pen, scene, 32 + dx, 24 + dy, 13.0)
    else:
        bust(pen, scene, 32 + dx, 30 + dy, 19.5)
    return _light(image.reduce(SUPERSAMPLE), scene.light)


def _light(image: Image.Image, light: str) -> Image.Image:
    if light == "soft":
        return image
    pixels = np.asarray(image, dtype=np.float32)
    if light == "side":
        ramp = np.linspace(1.16, 0.46, image.width, dtype=np.float32)[None, :, None]
        pixels = pixels * ramp
    else:
        tint = (1.06, 0.90, 0.66) if light == "warm" else (0.74, 0.90, 1.10)
        pixels = pixels * np.array(tint, dtype=np.float32)
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
