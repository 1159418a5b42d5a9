"""Reads tags such as angle and expression from pictures with the editor's own captioner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engines.api.errors import ModelMissing
from engines.api.params import CaptionParams
from studio.judging import faces
from studio.judging.gallery import open_each
from studio.records.image import ImageRecord
from studio.workplace.context import Context

_IN_MEMORY = 8  # the number of pictures that are opened at once


def read_pictures(ctx: Context, images: Sequence[ImageRecord]) -> list[Mapping[str, str]]:
    """Returns for each picture, in order, the tags that the captioner model reads from it, such as angle -> front.

    For a character whose scorer compares faces, the face in a picture decides its angle and framing. The tags are an
    empty dict where the captioner's weights are missing or the picture's file cannot be read. Nothing is stored.
    """
    character, reader = ctx.store.character, faces.reader_of(ctx.workplace, ctx.store.character)
    try:
        spec = ctx.workplace.captioner_of(character.editor)
        captioner = ctx.workplace.captioner(spec.name)
    except ModelMissing as error:
        ctx.warn(f"Angle, expression and pose are not read: {error}")
        return [{} for _ in images]
    params = spec.params(CaptionParams, trigger=character.trigger)
    read: list[Mapping[str, str]] = []

    def on_step(step: int, total: int, message: str = "") -> None:
        ctx.step(ctx.job.total, ctx.job.total, message or f"reading picture {len(read) + step} of {len(images)}")

    with ctx.lease(captioner.plan(len(images), params), f"caption|{spec.name}") as lease:
        for start in range(0, len(images), _IN_MEMORY):
            part = [image.id for image in images[start : start + _IN_MEMORY]]
            opened = open_each(dict.fromkeys(part), ctx.store.open_image, ctx.leave_out)
            captions = captioner.caption(list(opened.values()), params, lease, on_step)
            tags = {
                image: faces.measured(reader, opened[image], caption.tags)
                for image, caption in zip(opened, captions, strict=True)
            }
            read += [tags.get(image, {}) for image in part]
    return read
