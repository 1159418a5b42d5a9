"""Face detectors on real photographs, and what they say of a file that is missing or wrong."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from engines.api.errors import ModelMissing
from engines.api.faces import Face, FaceDetector
from engines.catalogue.models import MODELS
from engines.faces.detectors import Cascade, CompiledYuNet, YuNet
from engines.faces.geometry import angle_of, framing_of, pose_of
from engines.pictures import open_picture

ROWS = {spec.name: spec for spec in MODELS if spec.role == "detector"}


@pytest.fixture(scope="module")
def yunet() -> FaceDetector:
    """YuNet's network, from its package, which has no wheel for Python 3.12 and later."""
    pytest.importorskip("yuface", reason="yuface has no wheel for this Python")
    return CompiledYuNet(ROWS["yuface"], Path())


def face(detector: FaceDetector, picture: Image.Image) -> Face:
    """The only face in a picture."""
    (found,) = detector.faces(picture)
    return found


def test_faces_are_found_in_portraits_and_nowhere_else(yunet, photos) -> None:
    """Three photographs of people have one face each, a profile among them; a cat, a cup and a rocket have none."""
    counts = {
        name: len(yunet.faces(open_picture(photos / name)))
        for name in ("astronaut.png", "grace_hopper.jpg", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")
    }
    assert list(counts.values()) == [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "angle", "mirrored"),
    [
        ("astronaut.png", "front", "front"),
        ("grace_hopper.jpg", "front", "front"),
        ("camera.png", "profile-right", "profile-left"),
    ],
)
def test_angles_are_those_of_the_photographs(yunet, photos, name: str, angle: str, mirrored: str) -> None:
    """Checked by eye; the mirrored photograph has the mirrored angle."""
    picture = open_picture(photos / name)
    assert angle_of(pose_of(face(yunet, picture).points)) == angle
    assert angle_of(pose_of(face(yunet, ImageOps.mirror(picture)).points)) == mirrored


def test_a_face_lies_in_pixels_of_the_whole_picture(yunet, photos) -> None:
    """At three times the size the same face is found at three times the place."""
    small = open_picture(photos / "astronaut.png")
    first, large = face(yunet, small), face(yunet, small.resize((1536, 1536)))
    assert (large.left, large.top, large.height) == pytest.approx(
        (3 * first.left, 3 * first.top, 3 * first.height), rel=0.05
    )
    assert framing_of(first, 512) == framing_of(large, 1536) == "bust"


def test_two_people_are_two_faces(yunet, photos) -> None:
    """The larger of two people beside each other comes first."""
    left = open_picture(photos / "astronaut.png")
    both = Image.new("RGB", (1024, 512))
    both.paste(left, (0, 0))
    both.paste(open_picture(photos / "grace_hopper.jpg").resize((437, 512)), (512, 0))
    assert [found.left > 512 for found in yunet.faces(both)] == [True, False]


def test_the_built_in_cascade_finds_a_frontal_face(photos) -> None:
    """It has no landmarks, and finds nothing in a profile."""
    cascade = Cascade(ROWS["opencv"], Path())
    assert face(cascade, open_picture(photos / "astronaut.png")).points == ()
    assert cascade.faces(open_picture(photos / "camera.png")) == ()
    assert cascade.version.startswith("opencv:4")


def test_yunets_file_is_asked_for_by_name(tmp_path) -> None:
    """Without the file its name, its place, the command and its page are told."""
    with pytest.raises(ModelMissing, match=r"face_detection_yunet_2023mar\.onnx") as caught:
        YuNet(ROWS["yunet"], tmp_path / "yunet").faces(Image.new("RGB", (64, 64)))
    assert "pull yunet" in caught.value.hint
    assert "huggingface.co/opencv/face_detection_yunet" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pointer"),
        (b"", "cut short"),
        (bytes(232_589), "another file"),
    ],
)
@pytest.mark.parametrize("place", ["yunet", "deepface/.deepface/weights"])
def test_a_wrong_or_half_file_says_so(tmp_path, content: bytes, said: str, place: str) -> None:
    """A pointer of Git LFS, an empty file and another file of the right size are refused before they are opened."""
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "face_detection_yunet_2023mar.onnx").write_bytes(content)
    with pytest.raises(ModelMissing, match=said) as caught:
        _ = YuNet(ROWS["yunet"], tmp_path / "yunet").version
    assert str(folder) in caught.value.cause


def test_the_hash_of_the_file_is_in_the_version(tmp_path) -> None:
    """Another file under the same name would be another version, so that no scores are mixed."""
    digest = hashlib.sha256(b"weights").hexdigest()
    spec = replace(ROWS["yunet"], options={**ROWS["yunet"].options, "bytes": 7, "sha256": digest})
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"weights")
    assert YuNet(spec, tmp_path).version == f"yunet:{digest[:12]}"


def test_a_package_that_is_not_here_is_named() -> None:
    """The row of a compiled detector says which package it needs."""
    absent = CompiledYuNet(replace(ROWS["yuface"], source="package:no_such_package"), Path())
    with pytest.raises(ModelMissing, match="no_such_package"):
        absent.faces(Image.new("RGB", (64, 64)))
