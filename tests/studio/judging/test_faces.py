"""What faces tell of a character's pictures: advice on imports, and tags that no words decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from engines.api.faces import FaceDetector
from engines.catalogue.models import MODELS
from engines.catalogue.registry import Registry
from engines.fake.device import FakeDevice
from engines.fake.models import FAKE_MODELS
from engines.pictures import open_picture
from studio.flywheel.curate import changes, coverage, importing
from studio.judging import faces
from studio.open import open_workplace
from studio.settings import Settings
from studio.workplace.desk import Desk

DETECTORS = tuple(spec for spec in MODELS if spec.role == "detector")
SCORERS = tuple(
    replace(FAKE_MODELS[2], name=f"fake-{name}", options={"detector": name, "faceless": "fake-identity"})
    for name in ("yuface", "yunet", "nobody")
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A character whose scorer compares faces that libfacedetection finds, on fakes for all else."""
    pytest.importorskip("yuface", reason="yuface has no wheel for this Python")
    registry = Registry(tmp_path / "assets", tmp_path / "models", (*FAKE_MODELS, *SCORERS, *DETECTORS))
    settings = Settings(data_root=tmp_path / "home", assets=tmp_path / "assets", device="fake")
    models = {"generator": "fake-flux", "editor": "fake-edit", "scorer": "fake-yuface"}
    with open_workplace(settings, registry=registry, device=FakeDevice(24 << 30)) as workplace:
        yield workplace.desk(workplace.library.create("Mira", **models).id)


@pytest.fixture
def reader(desk: Desk) -> FaceDetector:
    """The detector that the scorer's row names."""
    found = faces.reader_of(desk.workplace, desk.store.character)
    assert found is not None
    return found


def two_people(photos: Path) -> Image.Image:
    """Two portraits side by side."""
    both = Image.new("RGB", (1024, 512))
    both.paste(open_picture(photos / "astronaut.png"), (0, 0))
    both.paste(open_picture(photos / "grace_hopper.jpg").resize((437, 512)), (512, 0))
    return both


def test_two_people_nobody_and_a_tiny_face_are_told(reader: FaceDetector, photos: Path) -> None:
    """A portrait and a profile need no advice; a picture of two, a cup and a far portrait do."""
    portrait = open_picture(photos / "astronaut.png")
    far = Image.new("RGB", (900, 1600), "grey")
    far.paste(portrait.resize((256, 256)), (300, 900))
    shown = {
        "portrait": portrait,
        "profile": open_picture(photos / "camera.png"),
        "two": two_people(photos),
        "cup": open_picture(photos / "coffee.png"),
        "far": far,
    }
    told = {name: set(faces.advise(reader, picture)) for name, picture in shown.items()}
    assert told == {"portrait": set(), "profile": set(), "two": {"people"}, "cup": {"no_face"}, "far": {"tiny_face"}}
    assert faces.advise(None, portrait) == {}


def test_an_import_advises_by_the_face(desk: Desk, photos: Path, tmp_path: Path) -> None:
    """The advice stands in the records of a character whose scorer compares faces."""
    two_people(photos).save(tmp_path / "two.png")
    importing.submit_import(desk, [tmp_path / "two.png", photos / "camera.png"])
    assert ["people" in image.advice for image in desk.store.images.all()] == [True, False]
    assert not any("no_face" in image.advice for image in desk.store.images.all())


def test_left_and_right_are_the_faces_never_the_words(reader: FaceDetector, photos: Path) -> None:
    """A profile that was called the other side is read from its face, and its mirror image the other way round."""
    words = {"angle": "profile-left", "pose": "standing", "framing": "head"}
    profile = open_picture(photos / "camera.png")
    read = [faces.measured(reader, picture, words) for picture in (profile, ImageOps.mirror(profile))]
    assert [tags["angle"] for tags in read] == ["profile-right", "profile-left"]
    assert read[0]["pose"] == "standing"


def test_without_a_face_a_side_is_unknown(reader: FaceDetector, photos: Path) -> None:
    """Words keep what they say of the front, and lose what they say of a side; without a detector they keep all."""
    cup = open_picture(photos / "coffee.png")
    assert faces.measured(reader, cup, {"angle": "half-left", "pose": "sitting"}) == {"pose": "sitting"}
    assert faces.measured(reader, cup, {"angle": "front"}) == {"angle": "front"}
    assert faces.measured(None, cup, {"angle": "half-left"}) == {"angle": "half-left"}


@pytest.mark.parametrize("scorer", ["fake-identity", "fake-yunet", "fake-nobody", "gone"])
def test_without_a_detector_nothing_is_read(desk: Desk, scorer: str) -> None:
    """A scorer of whole pictures has none, a missing file and an unknown row have none to offer."""
    assert faces.reader_of(desk.workplace, desk.store.character.replace(scorer=scorer)) is None


def test_a_drawn_character_is_told_which_scorer_sees_it(desk: Desk) -> None:
    """Its face is not looked for, and the row that compares whole pictures is named; a photo needs no other row."""
    drawn = desk.store.character.replace(medium="drawing")

    assert faces.reader_of(desk.workplace, drawn) is None
    assert "let fake-identity (colour fields" in faces.blind(desk.workplace, drawn)
    assert faces.blind(desk.workplace, drawn.replace(scorer="fake-identity")) == ""
    assert faces.blind(desk.workplace, desk.store.character) == ""


def test_originals_without_faces_are_told_in_the_checklist(desk: Desk, photos: Path) -> None:
    """Most originals without a face ask whether they are drawings; of a drawing, the fitting scorer is named."""
    pictures = [photos / name for name in ("coffee.png", "camera.png")]
    importing.submit_import(desk, pictures[:1])
    (check,) = [each for each in coverage.coverage(desk).checklist if "finds a face" in each.label]
    assert not check.ok and "drawings" in check.hint

    importing.submit_import(desk, pictures[1:])
    (check,) = [each for each in coverage.coverage(desk).checklist if "finds a face" in each.label]
    assert check.ok

    changes.update(desk, changes.Asked(medium="drawing"))
    (check,) = [each for each in coverage.coverage(desk).checklist if "finds a face" in each.label]
    assert not check.ok and "let fake-identity (colour fields" in check.hint
