"""Classifies the attributes and the person of a drawing, so that results can be measured against their prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from engines.mini.nets import Judge, Reader
from engines.pictures import to_rgb
from engines.wording import drawn as vocab

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 64
Reading = dict[str, tuple[str, float]]  # attribute -> (value, probability)


class Oracle:
    """Holds two nets that measure drawings: `reader` classifies attributes (angle, outfit…), `judge` embeds the person.

    `threshold`: the cosine similarity of the judge's vectors above which two pictures show one person.
    """

    def __init__(self, reader: Reader, judge: Judge, threshold: float) -> None:
        self.reader = reader
        self.judge = judge
        self.threshold = threshold

    @classmethod
    def load(cls, root: str | Path) -> Oracle:
        """Loads both nets and the judge's threshold from a folder such as assets/mini/oracle."""
        from safetensors.torch import load_file

        root = Path(root)
        reader, judge = Reader(), Judge()
        for net, name in ((reader, "reader"), (judge, "judge")):
            net.load_state_dict(load_file(root / f"{name}.safetensors"))
            net.eval()
        card = json.loads((root / "oracle.json").read_text(encoding="utf-8"))
        return cls(reader, judge, float(card["threshold"]))

    def read(self, images: list[Image.Image]) -> list[Reading]:
        """Returns a dictionary for each picture: attribute -> (its most probable value, that value's probability).

        Attributes are `angle`, `outfit` and so on.
        """
        import torch

        with torch.no_grad():
            scores = {name: torch.softmax(part.float(), dim=1) for name, part in self.reader(_pixels(images)).items()}
        best = {name: part.max(dim=1) for name, part in scores.items()}
        return [
            {name: (vocab.SCENE_VALUES[name][int(b.indices[i])], float(b.values[i])) for name, b in best.items()}
            for i in range(len(images))
        ]

    def embed(self, images: list[Image.Image]) -> np.ndarray:
        """Returns a unit vector for the person in each picture, (N, D) float32.

        Two pictures show one person where the dot product of their vectors is above `threshold`.
        """
        import torch

        with torch.no_grad():
            return np.asarray(self.judge(_pixels(images)), dtype=np.float32)


def _pixels(images: list[Image.Image]) -> Tensor:
    """Resizes pictures and converts them to pixels (N, 3, 64, 64) in −1…1."""
    import torch

    size = (SIDE, SIDE)
    small = [to_rgb(i) if i.size == size else to_rgb(i).resize(size, Image.Resampling.BICUBIC) for i in images]
    stack = np.array([np.asarray(picture) for picture in small], np.uint8).reshape(-1, SIDE, SIDE, 3)  # of none, too
    pixels: Tensor = torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels
