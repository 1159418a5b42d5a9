"""Advises on originals that are almost the same picture; the best of them gets no advice."""

from __future__ import annotations

from studio.judging import quality
from studio.records.image import ImageRecord, Kind
from studio.store import Store

TWIN = "duplicate"  # the name of the advice


def renew(store: Store) -> list[ImageRecord]:
    """Recomputes and stores the duplicate warnings in the records of originals; returns the records that changed.

    Of originals that look alike the best one gets no warning; the warnings of the others name the best one. Large
    enough originals rank first, then the sharpest, the largest and the oldest. Originals in the trash do not count.
    """
    sources = store.select(Kind.SOURCE)
    measured = [(image, quality.Measures.kept(image.measures)) for image in sources]
    known = [(image, measures) for image, measures in measured if measures is not None]
    ranked = sorted(
        known, key=lambda each: ("small" in each[0].advice, -each[1].sharpness, -each[1].width * each[1].height)
    )
    best = quality.LookAlikes()
    names = {image.id: image.name or image.id[:8] for image in sources}
    changes = {}
    for image, measures in ranked:
        twin, how = best.closest(measures)
        advice = {name: words for name, words in image.advice.items() if name != TWIN}
        if twin:
            advice[TWIN] = f"{how} {names[twin]}"
        else:
            best.add(image.id, measures)
        if advice != image.advice:
            changes[image.id] = {"advice": advice}
    return store.update_images(changes) if changes else []
