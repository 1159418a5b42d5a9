"""Edits again only a painted area of a result: outside the area the pixels stay identical."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from engines.api.crops import Crop
from engines.api.errors import BadInput
from engines.pictures import open_picture, to_grey
from studio.records.payload import PlanRow
from studio.store import Store

_FEATHER = 0.03  # the width of the soft edge, as a share of the picture's longer side
_STORED = re.compile(r"masks/[0-9a-f]{2}/[0-9a-f]+\.png")


def demand_stored(store: Store, row: PlanRow) -> None:
    """Checks the area of a planned edit before it is queued; a row without an area passes.

    `row.area` is the path of a mask, `row.mends` the id of an earlier result; only the masked area of that result is
    edited again. Raises: BadInput where the area is no stored mask of that result's size; NotFound where the file of
    either is missing.
    """
    if not row.area:
        return
    if not (row.mends and _STORED.fullmatch(row.area)):
        raise BadInput("An area is a stored mask of the result that the row mends.", "Paint it in Review.")
    wrong, mask = store.open_whole(row.mends), open_picture(store.file(row.area))
    if mask.size != wrong.size:
        raise BadInput(
            f"The area is {mask.width}×{mask.height}, the result that the row mends {wrong.width}×{wrong.height}.",
            "Paint it on that result, in Review.",
        )


def crop_of(store: Store, row: PlanRow) -> Crop:
    """Returns the part of the source picture that a planned edit works on, as a crop.

    Usually that is the source's present crop. A row with an `area`, a mask, edits only this area of an earlier result
    again, and takes the crop with which that result was made.
    """
    return store.images.get(row.mends).source_crop if row.area else store.images.get(row.source).crop


def kept(store: Store, row: PlanRow, result: Image.Image) -> Image.Image:
    """Returns the picture to store for a planned edit, given `result`, which the editor drew.

    Usually that is `result`. A row with an `area`, a mask, edits only this area of an earlier result again; there it is
    the earlier result with `result` pasted inside the area.
    """
    if not row.area:
        return result
    return within(store.open_whole(row.mends), result, to_grey(open_picture(store.file(row.area))))


def within(wrong: Image.Image, redone: Image.Image, area: Image.Image) -> Image.Image:
    """Returns the picture `wrong` with the pixels of `redone` inside an area; `area` is a grey mask, white inside.

    The edge is blended inside the area only, so that no pixel outside the area changes. In a narrow area the blend is
    narrower, so that the middle is taken from `redone` alone. `redone` is scaled to the size of `wrong` where it has
    another.
    """
    import cv2  # not at start-up

    painted = (np.asarray(area) >= 128).astype(np.uint8)
    walled = np.pad(painted, 1, mode="edge")  # the picture's own border is no edge of the area
    depth = cv2.distanceTransform(walled, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    width = min(max(1.0, _FEATHER * max(wrong.size)), float(depth.max()) or 1.0)
    share = Image.fromarray((np.clip(depth / width, 0, 1) * 255).round().astype(np.uint8))
    fitting = redone if redone.size == wrong.size else redone.resize(wrong.size, Image.Resampling.LANCZOS)
    return Image.composite(fitting, wrong, share)
