"""How well the judge that asks reads pictures: against drawings whose truth is known, and by today's captions."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import torch
from PIL import Image, ImageOps

from engines.api.faces import FaceDetector
from engines.api.params import CaptionParams, GenerateParams
from engines.api.seeing import OTHER, Answers, Sight
from engines.mini import world
from engines.mini.dataset import held_out_scene
from engines.mini.oracle import Oracle
from engines.mini.scene import Scene
from engines.pictures import open_picture
from engines.wording.drawn import SCENE_VALUES
from frontdoor.bench import progress
from frontdoor.bench.mini import THREADS, at_least, at_most
from frontdoor.bench.rows import Row
from frontdoor.studio import open_studio
from studio.judging import faces
from studio.judging.statistics import calibration_error
from studio.workplace.desk import Workplace

EDITOR, GENERATOR = "mini-qwen-edit", "mini-flux"
FIRST = 150_000  # the first scene of the people that the drawings show; weights were chosen by none of them
DRAWN, GENERATED = 400, 32
RIGHT, ERROR = 0.97, 0.03
PHOTOS = Path(__file__).resolve().parents[2] / "tests" / "photos"
LABELS: Mapping[str, Mapping[str, str]] = {  # by eye; the cameraman is seen to the thighs, which is no value
    "astronaut.png": {"angle": "front", "expression": "smiling", "framing": "bust"},
    "grace_hopper.jpg": {"angle": "front", "expression": "neutral", "framing": "bust"},
    "camera.png": {"angle": "profile-right", "pose": "standing"},
}
DETECTOR = "yuface"
CERTAIN = 0.95  # the least probability with which the oracle's reading counts as the truth


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures the embedded judge on drawn people and on generated ones; returns the rows, with goals for the former.

    `options` is not used.
    """
    del options
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder, closing(open_studio(Path(folder) / "home")) as workplace:
        return [*drawn(workplace, DRAWN), *generated(workplace, GENERATED), *photographs(workplace, PHOTOS)]


def truth(scene: Scene) -> dict[str, str]:
    """Returns what a drawing shows, as axis -> value; a pose that the framing hides is `OTHER`."""
    hidden = {"pose": OTHER} if scene.framing != "full body" else {}
    return {each: str(getattr(scene, each)) for each in SCENE_VALUES} | hidden


def drawn(workplace: Workplace, count: int) -> Iterator[Row]:
    """Yields rows for drawings of people whom no model was trained on: for each axis, asked and by the caption."""
    scenes = [held_out_scene(FIRST + i) for i in range(count)]
    pictures, truths = [world.draw(scene) for scene in scenes], [truth(scene) for scene in scenes]
    started = time.process_time()
    answers = asked(workplace, pictures)
    halfway = time.process_time()
    tags = captioned(workplace, pictures)
    ended = time.process_time()
    for axis in truths[0]:
        yield from of_axis(axis, [told[axis] for told in truths], answers, tags)
    of_captions = (ended - halfway) / count
    yield Row(
        name="asked: a picture, all axes",
        value=(halfway - started) / count,
        unit="CPU s",
        peer=f"a caption {of_captions:.3f}",
        ratio=(halfway - started) / (ended - halfway),
    )


def of_axis(
    axis: str, truths: Sequence[str], answers: Sequence[Answers], tags: Sequence[Mapping[str, str]]
) -> Iterator[Row]:
    """Yields the rows of one axis: the shares right, wrong and unknown, and the calibration error.

    `answers` and `tags` are what was read from each picture, asked and out of its caption.
    """
    count, values = len(truths), [told[axis].value() for told in answers]
    right = sum(value == true for value, true in zip(values, truths, strict=True))
    unknown = values.count(None)
    read = [told.get(axis, OTHER) for told in tags]
    by_caption = sum(value == true for value, true in zip(read, truths, strict=True))
    missed = sum(value == OTHER != true for value, true in zip(read, truths, strict=True))
    peer = f"caption {by_caption / count:.4f}, wrong {count - by_caption - missed}, unread {missed}"
    row = at_least(f"asked: {axis} right, {count} drawings", right / count, RIGHT)
    yield Row(**{**row.to_json(), "peer": peer})  # type: ignore[arg-type]  # a row's own fields
    yield Row(name=f"asked: {axis} wrong", value=count - right - unknown, unit="")
    yield Row(name=f"asked: {axis} unknown", value=unknown, unit="")
    most = [max(told[axis].probabilities().items(), key=lambda each: each[1]) for told in answers]
    told = [(probability, value == true) for (value, probability), true in zip(most, truths, strict=True)]
    yield at_most(f"asked: {axis}, calibration error", calibration_error(told), ERROR)


def generated(workplace: Workplace, count: int) -> Iterator[Row]:
    """Yields a row for each axis of generated pictures: the share read as the oracle does where that is certain."""
    spec, engine = workplace.registry.spec(GENERATOR), workplace.engine(GENERATOR)
    scenes = [held_out_scene(FIRST + 8 * i) for i in range(count)]
    prompts = [world.caption(scene, identity=True) for scene in scenes]
    items = [spec.params(GenerateParams, prompt=words, seed=i) for i, words in enumerate(prompts)]
    with workplace.gpu.lease(engine.plan(items)) as lease:
        pictures = list(engine.generate(items, lease, progress.ignore))
    answers = asked(workplace, pictures)
    tags = captioned(workplace, pictures)
    oracle = Oracle.load(workplace.settings.assets / "mini" / "oracle").read(pictures)
    for axis in SCENE_VALUES:
        sure = [at for at, told in enumerate(oracle) if told[axis][1] >= CERTAIN]
        seen = [at for at in sure if axis != "pose" or oracle[at]["framing"][0] == "full body"]
        alike = [answers[at][axis].value() == oracle[at][axis][0] for at in seen]
        words = [tags[at].get(axis) == oracle[at][axis][0] for at in seen]
        yield Row(
            name=f"asked: {axis} as the oracle, {len(seen)} generated",
            value=sum(alike) / max(len(alike), 1),
            unit="",
            peer=f"caption {sum(words) / max(len(words), 1):.4f}",
        )


def photographs(workplace: Workplace, folder: Path) -> Iterator[Row]:
    """Yields rows for the photographs in `folder` and their mirror images, against labels by eye, reader by reader.

    The readers are the face's geometry alone, and each editor whose weights are here with it. A side that was swapped
    misses the goal.
    """
    if not (folder.is_dir() and workplace.registry.here(DETECTOR)):
        return
    editors = [each.name for each in workplace.registry.role("editor") if each.wording != "drawn"]
    for editor in ("", *filter(workplace.registry.here, editors)):
        told = [pair for name, labels in LABELS.items() for pair in _read(workplace, editor, folder / name, labels)]
        counts = Counter("unknown" if not read else "right" if read == true else "wrong" for read, true in told)
        swapped = sum({*read.split("-"), *true.split("-")} >= {"left", "right"} for read, true in told)
        who = editor or "face alone"
        for outcome in ("right", "wrong", "unknown"):
            yield Row(name=f"photographs, {who}: {outcome}", value=counts[outcome], unit="")
        yield at_most(f"photographs, {who}: left and right swapped", swapped, 0)


def _read(workplace: Workplace, editor: str, file: Path, labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields (what was read, the label) on each labelled axis of a photograph and of its mirror image."""
    detector: FaceDetector = workplace.engine(DETECTOR)
    turned = str.maketrans({"<": "right", ">": "left"})
    marked = {axis: value.replace("left", "<").replace("right", ">") for axis, value in labels.items()}
    mirrored = {axis: value.translate(turned) for axis, value in marked.items()}
    picture = open_picture(file)
    for shown, truths in ((picture, labels), (ImageOps.mirror(picture), mirrored)):
        answers = asked(workplace, [shown], editor, detector)[0] if editor else {}
        values = {axis: answer.value() or "" for axis, answer in answers.items()}
        tags = faces.measured(detector, shown, values)
        yield from ((tags.get(axis, ""), true) for axis, true in truths.items())


def asked(
    workplace: Workplace,
    pictures: Sequence[Image.Image],
    editor: str = EDITOR,
    detector: FaceDetector | None = None,
) -> list[Answers]:
    """Returns the answers of an editor to all questions about each picture; `detector` finds the faces, if any."""
    asker = workplace.asker(editor)
    sights = [Sight(picture, asker.questions, faces.largest(detector, picture)) for picture in pictures]
    with workplace.gpu.lease(asker.plan(len(sights))) as lease:
        return list(asker.ask(sights, lease, progress.ignore))


def captioned(workplace: Workplace, pictures: Sequence[Image.Image]) -> list[Mapping[str, str]]:
    """Returns the tags that are read from each picture's caption, as axis -> value."""
    captioner, params = workplace.captioner(EDITOR), CaptionParams(trigger="ohwx")
    with workplace.gpu.lease(captioner.plan(len(pictures), params)) as lease:
        return [each.tags for each in captioner.caption(pictures, params, lease, progress.ignore)]
