"""Turns the person in a picture into a unit vector, to compare people; runs on the CPU and never waits for the GPU."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.Image import Image as Picture

from engines.api.errors import BadInput, ModelMissing
from engines.api.params import Json
from engines.api.protocols import Embedding, Loaded, ModelSpec, NoFace
from engines.pictures import to_rgb

DeepFace: TypeAlias = Any  # the class of deepface's, which has no types

_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}


class ImageScorer:
    """Embeds whole pictures as unit vectors, to compare the people in them.

    Unlike models for faces, it can take drawings, profiles and bodies. It runs an image encoder of transformers.
    Pictures are padded to a square and resized, never cropped. Thread-safe.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._lock = threading.Lock()
        self._batch = int(spec.options.get("batch", 16))

    @cached_property
    def version(self) -> str:
        """Returns the model's name and the first 12 hex digits of its weights' SHA-256, to store beside each score.

        Raises: ModelMissing where the weights are not on this machine.
        """
        digest = hashlib.sha256()
        for file in self._weights():
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        return f"{self.spec.name}:{digest.hexdigest()[:12]}"

    @property
    def threshold(self) -> float | None:
        """Returns the cosine similarity above which two pictures show one person; None where the model states none."""
        threshold = self._settings.get("verification_threshold")
        return None if threshold is None else float(threshold)

    def embed(self, images: Sequence[Picture]) -> list[Embedding | NoFace]:
        """Returns one unit vector for each picture, in order, and never NoFace.

        Raises: ModelMissing where the weights are not on this machine or damaged.
        """
        mean, std = (np.array(self._settings.get(key, _IMAGENET[key]), np.float32) for key in _IMAGENET)
        border = tuple((mean * 255).round().astype(int).tolist())
        found: list[Embedding | NoFace] = []
        for start in range(0, len(images), self._batch):
            batch = []
            for image in images[start : start + self._batch]:
                fitted = ImageOps.pad(to_rgb(image), self.spec.size, Image.Resampling.BICUBIC, color=border)
                pixels = (np.asarray(fitted, np.float32) / 255 - mean) / std
                batch.append(pixels.transpose(2, 0, 1).astype(np.float32))
            vectors = self._forward(np.stack(batch))
            found += [Embedding(tuple(row)) for row in _unit(vectors).tolist()]
        return found

    def _forward(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Runs the encoder on pixels (B, 3, H, W); returns (B, width): its pooled output, or else its class token."""
        import torch

        with self._lock, torch.inference_mode():
            out = self._model(pixel_values=torch.from_numpy(pixels))
            pooled = getattr(out, "pooler_output", None)
            vectors = out.last_hidden_state[:, 0] if pooled is None else pooled
        embedded: NDArray[np.float32] = vectors.flatten(1).float().numpy()
        return embedded

    @cached_property
    def _settings(self) -> Json:
        file = self._folder / "preprocessor_config.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}

    @cached_property
    def _model(self) -> Loaded:
        import torch
        from safetensors import SafetensorError, safe_open
        from transformers import AutoModel

        for file in self._weights():
            try:
                with safe_open(file, framework="pt"):
                    pass
            except SafetensorError as error:
                raise ModelMissing(
                    f"{self.spec.name} cannot read {file}: it is damaged, or only a pointer to the real file.",
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


# The weight files that deepface's ONNX back end opens, and their publishers; those of opencv are built in.
_DEEPFACE_FILES = {
    "Facenet512": ("facenet512_weights.onnx", "github.com/serengil/deepface_models"),
    "ArcFace": ("arcface_weights.onnx", "github.com/serengil/deepface_models"),
    "yunet": ("face_detection_yunet_2023mar.onnx", "github.com/opencv/opencv_zoo"),
}
_DETECT_SIDE = 512  # pixels; on larger pictures detectors are slow and find false faces
_deepface_lock = threading.Lock()  # deepface's model cache and OpenCV's detectors are shared by the process
_opened: dict[Path, dict[str, DeepFace]] = {}  # folder -> what deepface caches of the files in it: its models by task


class DeepFaceScorer:
    """Embeds the faces in photographs with one of deepface's recognition models; a picture without a face gives NoFace.

    The face detector is set by the option `detector` of the model's registry row: "yunet", which needs its weight file,
    or "opencv", which is built in but misses many faces. Thread-safe. Runs on the CPU only, with ONNX Runtime.
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
        """Returns the model's name, deepface's version and the face detector, to store beside each score."""
        from importlib.metadata import version

        return f"{self.spec.name}:deepface-{version('deepface')}-{self._detector}"

    def embed(self, images: Sequence[Picture]) -> list[Embedding | NoFace]:
        """Returns for each picture the unit vector of its largest face, or NoFace.

        Raises: ModelMissing where a weight file is not on this machine or damaged.
        """
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
        """Checks that all files are here, since deepface would download them without asking and without a check.

        Raises: ModelMissing.
        """
        for name in (self._recogniser, self._detector):
            if name in _DEEPFACE_FILES and not self._path(name).is_file():
                file, page = _DEEPFACE_FILES[name]
                raise ModelMissing(
                    f"{self.spec.name} needs {file}, which is not on this machine.",
                    f"Get it from the project at {page} and put it at {self._path(name)}.",
                )

    def _open_weights(self, deepface: DeepFace) -> None:
        """Opens the models, which deepface caches, so that a damaged file is not reported as a picture's fault."""
        for task, name in (("face_detector", self._detector), ("facial_recognition", self._recogniser)):
            if name not in _DEEPFACE_FILES:
                continue
            try:
                deepface.build_model(name, task)
            except ValueError as error:
                file, page = _DEEPFACE_FILES[name]
                raise ModelMissing(
                    f"{self.spec.name} cannot read {file}: it is damaged, or only a pointer to the real file.",
                    f"Get the complete file from the project at {page} (with git: `git lfs pull`) and put it at "
                    f"{self._path(name)}.",
                ) from error

    def _path(self, name: str) -> Path:
        return self._folder / ".deepface" / "weights" / _DEEPFACE_FILES[name][0]


def _deepface(home: Path) -> tuple[DeepFace, tuple[type[Exception], ...]]:
    """Imports deepface; returns its class and its errors for pictures without a face that can be cut out.

    `home`: the folder whose weight files deepface then uses. It would use an open file of the same name in another
    folder, so each folder gets a cache of its own. deepface chooses its back end at import, for the whole
    process: ONNX here, or it would use TensorFlow or the GPU. The import also turns all warnings off, so the caller
    must hold `warnings.catch_warnings()`.
    """
    os.environ["DEEPFACE_BACKEND_ENGINE"] = "onnx"
    os.environ["DEEPFACE_ONNX_PROVIDERS"] = "cpu"
    os.environ["DEEPFACE_HOME"] = str(home)
    from deepface import DeepFace
    from deepface.modules import modeling
    from deepface.modules.exceptions import FaceNotDetected, ImgNotFound

    modeling.cached_models = _opened.setdefault(home, {task: {} for task in modeling.AVAILABLE_MODELS})
    return DeepFace, (FaceNotDetected, ImgNotFound)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales rows to length 1."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(length, 1e-12)
    return unit
