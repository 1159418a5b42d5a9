"""Face detectors: OpenCV's YuNet from its file, the same network compiled into a package, and OpenCV's cascade."""

from __future__ import annotations

import hashlib
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engines.api.errors import ModelMissing
from engines.api.faces import Face
from engines.api.protocols import ModelSpec
from engines.faces import geometry
from engines.pictures import to_rgb

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3), BGR
Row: TypeAlias = Sequence[float]  # left, top, width, height, then x and y of each landmark, then the confidence

_SIDE = 640  # pixels: YuNet was trained on faces of 10 to 300
_CONFIDENT = 0.7  # the least confidence of a face; a motorcycle's lamp has 0.62 (docs/measured.md)


class _Detector(ABC):
    """Finds faces in a reduced picture, and returns them in pixels of the whole one. Thread-safe."""

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._lock = threading.Lock()

    def faces(self, picture: Image.Image) -> tuple[Face, ...]:
        """Returns the faces in a picture, the largest first. Raises: ModelMissing for a missing or wrong file."""
        small = to_rgb(picture)
        small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        scale = picture.width / small.width
        with self._lock:
            rows = self.rows(np.ascontiguousarray(np.asarray(small)[:, :, ::-1]))
        found = []
        for *places, confidence in rows:
            left, top, width, height, *points = (scale * each for each in places)
            if confidence >= _CONFIDENT:
                pairs = tuple(zip(points[::2], points[1::2], strict=True))
                found.append(Face(left, top, width, height, pairs, confidence))
        return tuple(sorted(found, key=lambda face: -face.width * face.height))

    def people(self, picture: Image.Image) -> tuple[Face, ...]:
        """Returns the largest face in a picture and those of like size. Raises: ModelMissing as `faces` does."""
        return geometry.of_size(self.faces(picture))

    def read(self, face: Face, height: int) -> dict[str, str]:
        """Returns what a face in a picture of `height` pixels shows, as axis -> value; what is not certain is left out.

        The axes are the head angle, which needs landmarks, and the framing.
        """
        angle = geometry.angle_of(geometry.pose_of(face.points)) if face.points else ""
        told = {"angle": angle, "framing": geometry.framing_of(face, height)}
        return {axis: value for axis, value in told.items() if value}

    @abstractmethod
    def rows(self, pixels: Pixels) -> list[Row]:
        """Returns what the network finds in a picture of at most 640 pixels a side."""


class YuNet(_Detector):
    """OpenCV's YuNet, from the file that its registry row names with its size and hash."""

    @cached_property
    def version(self) -> str:
        """Returns the model's name and the first 12 hex digits of its file's SHA-256.

        Raises: ModelMissing where the file is missing or another than the row's.
        """
        return f"{self.spec.name}:{hashlib.sha256(self._data).hexdigest()[:12]}"

    @cached_property
    def _data(self) -> bytes:
        name, size, digest = (self.spec.options[key] for key in ("file", "bytes", "sha256"))
        file = self._folder / name
        if not file.is_file() and (former := self._folder.parent / self.spec.options["former"] / name).is_file():
            file = former
        remedy = f"python launch.py pull {self.spec.name}, or get it from {self.spec.options['page']} and put it there."
        if not file.is_file():
            raise ModelMissing(f"{self.spec.name} needs {name}, which is not at {file}.", remedy)
        data: bytes = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            told = "it is cut short, or only a pointer to the real file" if len(data) < size else "it is another file"
            raise ModelMissing(
                f"{self.spec.name} cannot read {file}: {told} ({len(data)} bytes; {size} are right).", remedy
            )
        return data

    @cached_property
    def _network(self) -> Any:
        weights = np.frombuffer(self._data, np.uint8)
        return cv2.FaceDetectorYN.create("onnx", weights, np.empty(0, np.uint8), (_SIDE, _SIDE), _CONFIDENT)

    def rows(self, pixels: Pixels) -> list[Row]:
        """Returns what the network finds in a picture of at most 640 pixels a side."""
        self._network.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, found = self._network.detect(pixels)
        return [] if found is None else found.tolist()


class CompiledYuNet(_Detector):
    """libfacedetection, whose network is YuNet's, compiled into the package that the row's source names."""

    @cached_property
    def version(self) -> str:
        """Returns the model's name and the version of the package that holds it. Raises: ModelMissing without it."""
        return f"{self.spec.name}:{version_of(self._package.__name__)}"

    @cached_property
    def _package(self) -> Any:
        name = self.spec.source.partition(":")[2]
        try:
            return import_module(name)
        except ImportError as error:
            raise ModelMissing(
                f"{self.spec.name} needs the package {name}, which has wheels up to Python 3.11.",
                f'Run "{sys.executable}" -m pip install {name}, or take the detector yunet.',
            ) from error

    def rows(self, pixels: Pixels) -> list[Row]:
        """Returns what the network finds in a picture of at most 640 pixels a side."""
        scores, boxes, points = self._package.detect(pixels, conf=_CONFIDENT)
        columns = (boxes.astype(float), points.astype(float), scores.astype(float)[:, None] / 100)
        rows: list[Row] = np.concatenate(columns, axis=1).tolist()
        return rows


class Cascade(_Detector):
    """OpenCV's cascade for frontal faces, which is built in; it finds no landmarks and misses turned heads."""

    @cached_property
    def version(self) -> str:
        """Returns the model's name and OpenCV's version."""
        return f"{self.spec.name}:{cv2.__version__}"

    def rows(self, pixels: Pixels) -> list[Row]:
        """Returns what the network finds in a picture of at most 640 pixels a side."""
        file = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
        grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        found = cv2.CascadeClassifier(str(file)).detectMultiScale(grey, scaleFactor=1.1, minNeighbors=10)
        return [[*map(float, box), 1.0] for box in found]
