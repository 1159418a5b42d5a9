"""Turns the person in a picture into a unit vector, to compare people; runs on the CPU and never waits for the GPU."""

from __future__ import annotations

import hashlib
import json
import os
import sys
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
from engines.api.faces import Face, FaceDetector
from engines.api.params import Json
from engines.api.protocols import Embedding, Loaded, ModelSpec, NoFace
from engines.catalogue.registry import MODELS, load_class
from engines.faces.cutting import embedding_of, upright_face
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


# The weight files that deepface's ONNX back end opens.
_DEEPFACE_FILES = {"Facenet512": "facenet512_weights.onnx", "ArcFace": "arcface_weights.onnx"}
_DEEPFACE_PAGE = "github.com/serengil/deepface_models"
_NEAR = 300.0  # pixels of a face that dlib's landmarks are looked for in
_deepface_lock = threading.Lock()  # deepface's model cache and OpenCV's detectors are shared by the process
_opened: dict[Path, dict[str, DeepFace]] = {}  # folder -> what deepface caches of the files in it: its models by task


class DeepFaceScorer:
    """Embeds the faces in photographs with one of deepface's recognition models; a picture without a face gives NoFace.

    The option `detector` of the model's registry row names the face detector's row. Faces are cut out of the whole
    picture, however small they are in it. Thread-safe. Runs on the CPU only, with ONNX Runtime.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._folder = folder
        self._recogniser = spec.source.partition(":")[2]
        if self._recogniser not in _DEEPFACE_FILES:
            raise BadInput(f"{spec.name} asks for {self._recogniser}.", f"Known: {', '.join(_DEEPFACE_FILES)}.")
        self._detector = detector(str(spec.options["detector"]), folder.parent)
        self.threshold: float | None = spec.options.get("verification_threshold")
        self._file = folder / ".deepface" / "weights" / _DEEPFACE_FILES[self._recogniser]

    @cached_property
    def version(self) -> str:
        """Returns the model's name, its file's and the face detector's hash, and deepface's version.

        It is stored beside each score. Raises: ModelMissing where a file is not on this machine.
        """
        from importlib.metadata import version

        self._require_weights()
        digest = hashlib.sha256(self._file.read_bytes()).hexdigest()[:12]
        return f"{self.spec.name}:{digest}:deepface-{version('deepface')}-{self._detector.version}"

    def embed(self, images: Sequence[Picture]) -> list[Embedding | NoFace]:
        """Returns for each picture the unit vectors of its faces of like size, the largest first, or NoFace.

        Raises: ModelMissing where a weight file is not on this machine or damaged.
        """
        self._require_weights()
        with _deepface_lock, warnings.catch_warnings():
            self._open_weights(_deepface(self._folder))
        return [embedding_of(image, self._detector.faces(image), self._vector) for image in images]

    def _vector(self, picture: Picture, face: Face) -> tuple[float, ...]:
        cut = upright_face(picture, face)
        with _deepface_lock, warnings.catch_warnings():
            deepface = _deepface(self._folder)
            found = deepface.represent(
                np.ascontiguousarray(np.asarray(cut)[:, :, ::-1]),  # deepface reads BGR
                model_name=self._recogniser,
                detector_backend="skip",
                enforce_detection=False,
            )
        vector = np.asarray(found[0]["embedding"], np.float32).reshape(1, -1)
        return tuple(_unit(vector)[0].tolist())

    def _require_weights(self) -> None:
        """Checks that the file is here, since deepface would download it without asking and without a check.

        Raises: ModelMissing.
        """
        if not self._file.is_file():
            raise ModelMissing(
                f"{self.spec.name} needs {self._file.name}, which is not on this machine.",
                f"Get it from the project at {_DEEPFACE_PAGE} and put it at {self._file}.",
            )

    def _open_weights(self, deepface: DeepFace) -> None:
        """Opens the model, which deepface caches, so that a damaged file is not reported as a picture's fault."""
        try:
            deepface.build_model(self._recogniser, "facial_recognition")
        except ValueError as error:
            raise ModelMissing(
                f"{self.spec.name} cannot read {self._file.name}: it is damaged, or only a pointer to the real file.",
                f"Get the complete file from the project at {_DEEPFACE_PAGE} (with git: `git lfs pull`) and put it at "
                f"{self._file}.",
            ) from error


class DlibScorer:
    """Embeds the faces in photographs with dlib's recogniser, whose files two packages bring: no other download.

    The option `detector` of the model's registry row names the face detector's row. Faces are cut out of the whole
    picture and laid upright by five landmarks of dlib's own. Thread-safe.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self._detector = detector(str(spec.options["detector"]), folder)
        self._lock = threading.Lock()
        self.threshold: float | None = spec.options.get("verification_threshold")
        self._recogniser, self._landmarks = (folder / "models" / spec.options[part] for part in ("file", "landmarks"))

    @cached_property
    def version(self) -> str:
        """Returns the model's name, and its file's and the face detector's hash, to store beside each score."""
        digest = hashlib.sha256(self._recogniser.read_bytes()).hexdigest()[:12]
        return f"{self.spec.name}:{digest}-{self._detector.version}"

    def embed(self, images: Sequence[Picture]) -> list[Embedding | NoFace]:
        """Returns for each picture the unit vectors of its faces of like size, the largest first, or NoFace.

        Raises: ModelMissing where the package dlib is not installed.
        """
        return [embedding_of(image, self._detector.faces(image), self._vector) for image in images]

    def _vector(self, picture: Picture, face: Face) -> tuple[float, ...]:
        near = _NEAR / max(face.width, face.height)  # a large face is reduced: dlib computes with 150 pixels of it
        with self._lock:
            dlib, predictor, network = self._models
            box = face.inside(1.0, picture.size)
            size = [max(1, round(near * (box[at + 2] - box[at]))) for at in (0, 1)]
            pixels = np.asarray(to_rgb(picture.crop(box)).resize((size[0], size[1]), Image.Resampling.LANCZOS))
            x, y = near * (face.left - box[0]), near * (face.top - box[1])
            place = dlib.rectangle(*map(round, (x, y, x + near * face.width, y + near * face.height)))
            found = network.compute_face_descriptor(dlib.get_face_chip(pixels, predictor(pixels, place), size=150))
        return tuple(_unit(np.asarray(found, np.float32).reshape(1, -1))[0].tolist())

    @cached_property
    def _models(self) -> tuple[Any, Any, Any]:
        """Returns the package dlib, its predictor of landmarks and its recogniser."""
        try:
            import dlib
        except ImportError as error:
            raise ModelMissing(
                f"{self.spec.name} needs the package dlib-bin.",
                f'Run "{sys.executable}" -m pip install {self.spec.options["packages"]}.',
            ) from error
        network = dlib.face_recognition_model_v1(str(self._recogniser))
        return dlib, dlib.shape_predictor(str(self._landmarks)), network


def detector(name: str, models_dir: Path) -> FaceDetector:
    """Returns the face detector whose registry row is called `name`; its files lie in a folder below `models_dir`.

    Raises: BadInput for a name that no row has.
    """
    rows = [spec for spec in MODELS if spec.role == "detector"]
    spec = next((spec for spec in rows if spec.name == name), None)
    if spec is None:
        raise BadInput(f"There is no face detector named {name}.", f"Known: {', '.join(each.name for each in rows)}.")
    found: FaceDetector = load_class(spec.engine)(spec, models_dir / spec.source.replace("/", "--"))
    return found


def _deepface(home: Path) -> DeepFace:
    """Imports deepface and returns its class.

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

    modeling.cached_models = _opened.setdefault(home, {task: {} for task in modeling.AVAILABLE_MODELS})
    return DeepFace


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales rows to length 1."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(length, 1e-12)
    return unit
