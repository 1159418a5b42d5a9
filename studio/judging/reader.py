"""Reads tags such as angle and expression from pictures: by questions where these are trusted, else from captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engines.api.errors import ModelMissing
from engines.api.params import CaptionParams
from engines.api.protocols import Lease, OnStep, Plan
from engines.api.seeing import Answers, Asker, Caption, Sight
from studio.judging import faces
from studio.judging.gallery import open_each
from studio.judging.trust import agreements
from studio.records.image import ImageRecord
from studio.records.reading import Agreement, Answered, ReadBy
from studio.workplace.context import Context

if TYPE_CHECKING:
    from PIL.Image import Image

_COVERED = ("angle", "expression", "framing", "pose")  # asked about where a picture was not asked to show anything
_IN_MEMORY = 8  # the number of pictures that are opened at once
_TRUSTED = "trusted_axes"  # a row's option: the axes on which its answers were measured (`launch.py bench judge`)


@dataclass(frozen=True)
class Reading:
    """Holds what was read from a picture.

    `tags` has a value for each axis that could be read; it is "" where the picture shows none of an axis's values.
    `read_by` tells what read each tag, `answers` has all answers by the asker's version, `caption` the caption, None
    where none was needed.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    read_by: Mapping[str, ReadBy] = field(default_factory=dict)
    answers: Mapping[str, Answered] = field(default_factory=dict)
    caption: Caption | None = None

    def fields(self) -> Mapping[str, object]:
        """Returns the fields of the picture's record that hold this."""
        tags = {axis: value for axis, value in self.tags.items() if value}
        return {"tags": tags, "read_by": {axis: self.read_by[axis] for axis in tags}, "answers": self.answers}


class PictureReader:
    """Reads pictures of a character with the text encoder of an editor, under a lease of `plan`.

    Each picture is asked about. An answer counts on the axes on which `trust` says so, else the caption's words do.
    Which side a face is turned to is never taken from either where faces can be found.
    """

    def __init__(self, ctx: Context, editor: str, *, captions: CaptionParams | None = None) -> None:
        """Makes the reader; with the parameters `captions` every picture gets a caption, else only where one is needed.

        Raises: ModelMissing.
        """
        character, registry = ctx.store.character, ctx.workplace.registry
        self._captioner = ctx.workplace.captioner(editor)
        self._params = captions or registry.spec(editor).params(CaptionParams, trigger=character.trigger)
        self._faces = faces.reader_of(ctx.workplace, character)
        self._always = captions is not None
        self.trust: Mapping[str, Agreement] = {}
        self._asker: Asker | None = None
        try:
            asker = ctx.workplace.asker(editor)
            asker.plan(1)  # its files are all here
            measured = registry.spec(editor).options.get(_TRUSTED, ())
            self._asker, self.trust = asker, agreements(ctx.store, asker.version, measured)
        except ModelMissing as error:
            ctx.warn(f"Pictures are read from captions alone: {error}")

    def plan(self, count: int) -> Plan:
        """Returns the stages, with their memory, that reading `count` pictures takes."""
        plan = self._captioner.plan(count, self._params)
        return Plan(plan.what, (*plan.stages, *(self._asker.plan(count).stages if self._asker else ())))

    def read(
        self, opened: Mapping[str, Image], asked: Mapping[str, Mapping[str, str]], lease: Lease, on_step: OnStep
    ) -> Iterator[tuple[str, Reading]]:
        """Yields the id of each picture with what was read from it, in order.

        `opened` are the pictures by id, `asked` the tags that each was asked to show: where a picture has any, these
        are asked about, else what coverage counts. A value that a question lacks becomes one of its options.
        """
        answers = self._answers(opened, asked, lease, on_step)
        axes = {axis for each in asked.values() for axis in each}
        sure = {axis for axis, each in self.trust.items() if each.trusted}
        if self._always or not axes or axes - sure:
            pictures = list(opened.values())
            said: Iterator[Caption | None] = self._captioner.caption(pictures, self._params, lease, on_step)
        else:
            said = iter([None] * len(opened))
        for image, caption in zip(opened, said, strict=True):
            yield image, self._reading(opened[image], asked.get(image, {}), answers.get(image, {}), caption)

    def _answers(
        self, opened: Mapping[str, Image], asked: Mapping[str, Mapping[str, str]], lease: Lease, on_step: OnStep
    ) -> Mapping[str, Answers]:
        """Returns the answers about each picture, by id; none where nothing can be asked."""
        if self._asker is None:
            return {}
        sights = []
        for image, picture in opened.items():
            wanted = asked.get(image, {})
            questions = [each for each in self._asker.questions if each.axis in (wanted or _COVERED)]
            sights.append(
                Sight(
                    picture,
                    tuple(each.with_value(wanted[each.axis]) if wanted else each for each in questions),
                    faces.largest(self._faces, picture) if any(each.of_face for each in questions) else None,
                )
            )
        return dict(zip(opened, self._asker.ask(sights, lease, on_step), strict=True))

    def _reading(self, picture: Image, asked: Mapping[str, str], answers: Answers, caption: Caption | None) -> Reading:
        """Returns what counts of the answers about a picture, of its caption's words and of its largest face."""
        counted = {axis: self.trust[axis] for axis in answers if axis in self.trust and self.trust[axis].trusted}
        values = {axis: answers[axis].value(each.temperature) for axis, each in counted.items()}
        words = {axis: value for axis, value in (caption.tags if caption else {}).items() if axis not in counted}
        told = {axis: value for axis, value in values.items() if value is not None}
        tags = faces.measured(self._faces, picture, {**words, **told}, asked.get("angle", ""))
        by = {
            axis: ReadBy.QUESTION
            if told.get(axis) == value
            else ReadBy.CAPTION
            if words.get(axis) == value
            else ReadBy.FACE
            for axis, value in tags.items()
        }
        kept = {axis: {value: round(log, 4) for value, log in each.logs.items()} for axis, each in answers.items()}
        return Reading(tags, by, {self._asker.version: kept} if self._asker and kept else {}, caption)


@dataclass(frozen=True)
class Readings:
    """Holds what was read from each of several pictures, and how far answers were trusted then, by axis."""

    pictures: Sequence[Reading]
    trust: Mapping[str, Agreement] = field(default_factory=dict)


def read_pictures(ctx: Context, images: Sequence[ImageRecord]) -> Readings:
    """Returns for each picture, in order, the tags that are read from it, such as angle -> front, and what read them.

    For a character whose scorer compares faces, the face in a picture decides its angle and framing. The tags are an
    empty dict where the captioner's weights are missing or the picture's file cannot be read. Nothing is stored.
    """
    try:
        editor = ctx.workplace.captioner_of(ctx.store.character.editor).name
        reader = PictureReader(ctx, editor)
    except ModelMissing as error:
        ctx.warn(f"Angle, expression and pose are not read: {error}")
        return Readings([Reading() for _ in images])
    read: list[Reading] = []

    def on_step(step: int, total: int, message: str = "") -> None:
        ctx.step(ctx.job.total, ctx.job.total, message or f"reading picture {len(read) + step} of {len(images)}")

    with ctx.lease(reader.plan(len(images)), f"read|{editor}") as lease:
        for start in range(0, len(images), _IN_MEMORY):
            part = images[start : start + _IN_MEMORY]
            opened = open_each(dict.fromkeys(each.id for each in part), ctx.store.open_image, ctx.leave_out)
            found = dict(reader.read(opened, {each.id: each.asked for each in part}, lease, on_step))
            read += [found.get(each.id, Reading()) for each in part]
    return Readings(read, reader.trust)
