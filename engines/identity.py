"""Who is this? Pictures to unit vectors, on the CPU, so that scoring never waits for the card."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from PIL.Image import Image as Picture

from engines.api.errors import BadInput, ModelMissing
from engines.api.protocols import Embedding, ModelSpec, NoFace
from engines.pictures import to_rgb

_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}


class ImageScorer:
    """An image encoder through transformers: for drawn characters, profiles and bodies.

    Pictures are padded to a square and resized, never cropped. Thread-safe.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._lock = threading.Lock()
        self._batch = int(spec.options.get("batch", 16))

    @cached_property
    def version(self) -> str:
        """The row's name and the hash of its weights. Raises: ModelMissing."""
        digest = hashlib.sha256()
        for file in self._weights():
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        return f"{self.spec.name}:{digest.hexdigest()[:12]}"

    @property
    def threshold(self) -> float | None:
        """As the encoder's own settings say, if they do."""
        said = self._settings.get("verification_threshold")
        return None if said is None else float(said)

    def embed(self, images: Sequence[Picture]) -> list[Embedding | NoFace]:
        """One unit vector a picture. Raises: ModelMissing."""
        found: list[Embedding | NoFace] = []
        for start in range(0, len(images), self._batch):
            pixels = np.stack([self._pixels(image) for image in images[start : start + self._batch]])
            vectors = self._forward(pixels)
            found += [Embedding(tuple(row)) for row in _unit(vectors).tolist()]
        return found

    def _forward(self, pixels: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) to (B, width): the pooled output where the encoder has one, else its class token."""
        import torch

        with self._lock, torch.inference_mode():
            out = self._model(pixel_values=torch.from_numpy(pixels))
            pooled = getattr(out, "pooler_output", None)
            vectors = out.last_hidden_state[:, 0] if pooled is None else pooled
        return vectors.flatten(1).float().numpy()

    def _pixels(self, image: Picture) -> np.ndarray:
        """(3, H, W) float32, normalised as the encoder's own settings say."""
        mean, std = (np.array(self._settings.get(key, _IMAGENET[key]), np.float32) for key in _IMAGENET)
        around = tuple((mean * 255).round().astype(int).tolist())
        fitted = ImageOps.pad(to_rgb(image), self.spec.size, Image.Resampling.BICUBIC, color=around)
        return ((np.asarray(fitted, np.float32) / 255 - mean) / std).transpose(2, 0, 1).astype(np.float32)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        file = self._folder / "preprocessor_config.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}

    @cached_property
    def _model(self) -> Any:
        import torch
        from safetensors import SafetensorError, safe_open
        from transformers import AutoModel

        for file in self._weights():
            try:
                with safe_open(file, framework="pt"):
                    pass
            except SafetensorError as error:
                raise ModelMissing(
                    f"{self.spec.name} cannot read {file}: it is damaged, or stands for a file that was not fetched.",
                    f"Download {self.spec.source} to that folder again.",
                ) from error
        model = AutoModel.from_pretrained(self._folder, local_files_only=True, dtype=torch.float32)
        return model.eval().requires_grad_(False)

    def _weights(self) -> list[Path]:
        files = sorted(self._folder.glob("*.safetensors"))
        if not files:
            raise ModelMissing(
                f"There is no safetensors file in {self._folder}.", f"Download {self.spec.source} to that folder."
            )
        return files


# The weight files that deepface's ONNX back end opens, and the projects that publish them; opencv's are built in.
_DEEPFACE_FILES = {
    "Facenet512": ("facenet512_weights.onnx", "github.com/serengil/deepface_models"),
    "ArcFace": ("arcface_weights.onnx", "github.com/serengil/deepface_models"),
    "yunet": ("face_detection_yunet_2023mar.onnx", "github.com/opencv/opencv_zoo"),
}
_DETECT_SIDE = 512  # detectors slow down and see false faces above it
_deepface_lock = threading.Lock()  # deepface's model cache and OpenCV's detectors are shared by the process


class DeepFaceScorer:
    """A face recogniser through deepface: for photographs. A picture without a face is an outcome, not a 0.

    Of the registry row's options it reads `detector` (yunet, which needs its file, or opencv, which is built in and
    misses many faces). Thread-safe; runs on ONNX Runtime's CPU provider, so it never touches the card.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._recogniser = spec.source.partition(":")[2]
        self._detector = str(spec.options.get("detector", "yunet"))
        self.threshold: float | None = spec.options.get("verification_threshold")
        known = {"opencv", *_DEEPFACE_FILES}
        if unknown := {self._recogniser, self._detector} - known:
            raise BadInput(f"{spec.name} asks for {', '.join(unknown)}.", f"Known: {', '.join(sorted(known))}.")

    @cached_property
    def version(self) -> str:
        """The row's name, deepface's version and the detector, which sets the accuracy."""
        from importlib.metadata import version

        return f"{self.spec.name}:deepface-{version('deepface')}-{self._detector}"

    def embed(self, images: Sequence[Picture]) -> list[Embedding | NoFace]:
        """The largest face of each picture as a unit vector, or NoFace. Raises: ModelMissing."""
        self._require_weights()
        return [self._embed(image) for image in images]

    def _embed(self, image: Picture) -> Embedding | NoFace:
        small = to_rgb(image)
        small.thumbnail((_DETECT_SIDE, _DETECT_SIDE), Image.Resampling.LANCZOS)
        with _deepface_lock, warnings.catch_warnings():
            deepface, no_face = _deepface(self._folder)
            self._open_weights(deepface)
            try:
                faces = deepface.represent(
                    np.ascontiguousarray(np.asarray(small)[:, :, ::-1]),  # deepface reads BGR
                    model_name=self._recogniser,
                    detector_backend=self._detector,
                    enforce_detection=True,
                    max_faces=1,
                )
            except no_face:
                return NoFace()
        vector = np.asarray(faces[0]["embedding"], np.float32).reshape(1, -1)
        return Embedding(tuple(_unit(vector)[0].tolist()), kind="face")

    def _require_weights(self) -> None:
        """deepface would download what is missing, unasked and unchecked; we say what is missing instead."""
        for name in (self._recogniser, self._detector):
            if name in _DEEPFACE_FILES and not self._path(name).is_file():
                file, page = _DEEPFACE_FILES[name]
                raise ModelMissing(
                    f"{self.spec.name} needs {file}, which is not on this machine.",
                    f"Get it from the project at {page} and put it at {self._path(name)}.",
                )

    def _open_weights(self, deepface: Any) -> None:
        """deepface keeps what it has opened; what it cannot open is no trouble of the picture's."""
        for task, name in (("face_detector", self._detector), ("facial_recognition", self._recogniser)):
            if name not in _DEEPFACE_FILES:
                continue
            try:
                deepface.build_model(name, task)
            except ValueError as error:
                file, page = _DEEPFACE_FILES[name]
                raise ModelMissing(
                    f"{self.spec.name} cannot read {file}: it is damaged, or stands for a file that was not fetched.",
                    f"Get it whole from the project at {page} (with git, by `git lfs pull`) and put it at "
                    f"{self._path(name)}.",
                ) from error

    def _path(self, name: str) -> Path:
        return self._folder / ".deepface" / "weights" / _DEEPFACE_FILES[name][0]


def _deepface(home: Path) -> tuple[Any, tuple[type[Exception], ...]]:
    """The DeepFace module and its "no face" errors: none was found, or none that can be cut out.

    Its back end is chosen at import, for the whole process: ONNX, or it would take TensorFlow or the card. The import
    also switches all warnings off, so the caller holds `warnings.catch_warnings()`.
    """
    os.environ["DEEPFACE_BACKEND_ENGINE"] = "onnx"
    os.environ["DEEPFACE_ONNX_PROVIDERS"] = "cpu"
    os.environ["DEEPFACE_HOME"] = str(home)
    from deepface import DeepFace
    from deepface.modules.exceptions import FaceNotDetected, ImgNotFound

    return DeepFace, (FaceNotDetected, ImgNotFound)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)
