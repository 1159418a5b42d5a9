"""Scorers: unit vectors, and "no face" as an outcome."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.api.errors import BadInput, ModelMissing
from engines.api.protocols import Embedding, ModelSpec, NoFace

pytestmark = pytest.mark.slow

ENCODER = ModelSpec(
    name="tiny-identity",
    label="tiny-identity",
    role="scorer",
    family="image-encoder",
    engine="engines.identity:ImageScorer",
    source="assets:none",
    licence="Apache-2.0",
    toy=True,
    size=(32, 32),
)
FACES = ModelSpec(
    name="facenet512",
    label="facenet512",
    role="scorer",
    family="deepface",
    engine="engines.identity:DeepFaceScorer",
    source="deepface:Facenet512",
    licence="MIT",
    options={"detector": "opencv"},
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image encoder with random weights."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("identity")
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=32, patch_size=8
    )
    Dinov2Model(config).save_pretrained(folder)
    settings = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def _pictures(*sizes: tuple[int, int]) -> list[Image.Image]:
    numbers = np.random.default_rng(1)
    return [Image.fromarray(numbers.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def test_embeddings_are_unit_and_batch_free(encoder) -> None:
    """Pictures of any size become vectors of length 1 that don't depend on what they are embedded with."""
    from engines.identity import ImageScorer

    images = _pictures((32, 32), (70, 20), (20, 70))
    scorer = ImageScorer(ENCODER, encoder)
    found = scorer.embed(images)
    vectors = np.array([one.vector for one in found])
    assert vectors.shape == (3, 24)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    alone = np.array([scorer.embed([image])[0].vector for image in images])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)
    assert scorer.embed([]) == []


def test_preprocessing_is_the_encoders_own(encoder) -> None:
    """A square picture of the encoder's size goes in as (x − mean) / std, untouched otherwise."""
    import torch
    from transformers import AutoModel

    from engines.identity import ImageScorer

    (image,) = _pictures((32, 32))
    pixels = (np.asarray(image, np.float32) / 255 - np.float32([0.5, 0.4, 0.3])) / 0.5
    model = AutoModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels).permute(2, 0, 1)[None]).pooler_output[0].numpy()
    (found,) = ImageScorer(ENCODER, encoder).embed([image])
    np.testing.assert_allclose(found.vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_version_names_the_weights(encoder, tmp_path) -> None:
    """Other weights are another version; without weights the missing folder is named."""
    from engines.identity import ImageScorer

    (tmp_path / "model.safetensors").write_bytes(b"other")
    versions = {ImageScorer(ENCODER, folder).version for folder in (encoder, encoder, tmp_path)}
    assert len(versions) == 2
    assert all(version.startswith("tiny-identity:") for version in versions)
    with pytest.raises(ModelMissing, match="nowhere"):
        ImageScorer(ENCODER, tmp_path / "nowhere").embed(_pictures((8, 8)))


# ── faces ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser that answers 512 of a face's own pixels, in the file that deepface opens for Facenet512."""
    home = tmp_path_factory.mktemp("deepface")
    file = home / ".deepface" / "weights" / "facenet512_weights.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(_cropping_model())
    return home


def _cropping_model(top: int = 40) -> bytes:
    """An ONNX graph (n, 160, 160, 3) → crop (n, 16, 32, 1) → (n, 512), field by field, so without an exporter."""

    def field(number: int, value: bytes | int | str) -> bytes:
        if isinstance(value, int):
            return _varint(number << 3) + _varint(value)
        data = value.encode() if isinstance(value, str) else value
        return _varint(number << 3 | 2) + _varint(len(data)) + data

    def constant(name: str, numbers: list[int]) -> bytes:
        data = np.array(numbers, np.int64).tobytes()
        return field(5, field(1, len(numbers)) + field(2, 7) + field(8, name) + field(9, data))

    def tensor(name: str, *sides: int | str) -> bytes:
        dims = b"".join(field(1, field(1 if isinstance(side, int) else 2, side)) for side in sides)
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))

    def node(kind: str, inputs: list[str], output: str) -> bytes:
        return field(1, b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, kind))

    graph = (
        node("Slice", ["face", "starts", "ends", "axes"], "crop")
        + node("Reshape", ["crop", "shape"], "embedding")
        + field(2, "cropping")
        + constant("starts", [top, 40, 0])
        + constant("ends", [top + 16, 72, 1])
        + constant("axes", [1, 2, 3])
        + constant("shape", [-1, 512])
        + field(11, tensor("face", "n", 160, 160, 3))
        + field(12, tensor("embedding", "n", 512))
    )
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _photo() -> Image.Image:
    import matplotlib

    return Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")


def test_no_face_is_an_outcome(weights) -> None:
    """In one call a photograph gets a unit vector and a blank picture gets NoFace; neither stops the other."""
    from engines.identity import DeepFaceScorer

    blank = Image.new("RGB", (200, 200), "grey")
    outcomes = DeepFaceScorer(FACES, weights).embed([blank, _photo(), blank])
    assert [type(one) for one in outcomes] == [NoFace, Embedding, NoFace]
    assert outcomes[1].kind == "face"
    assert np.linalg.norm(outcomes[1].vector) == pytest.approx(1)


def test_each_folder_has_its_own_weights(weights, tmp_path) -> None:
    """Two scorers of one process, whose files have the same name in two folders, compute with their own."""
    from engines.identity import DeepFaceScorer

    (tmp_path / ".deepface" / "weights").mkdir(parents=True)
    (tmp_path / ".deepface" / "weights" / "facenet512_weights.onnx").write_bytes(_cropping_model(top=80))
    first, other, again = (DeepFaceScorer(FACES, home).embed([_photo()])[0] for home in (weights, tmp_path, weights))

    assert first == again != other


def test_importing_deepface_keeps_warnings_on(weights) -> None:
    """deepface's import switches all warnings of the process off; ours leaves the filters as they were."""
    script = (
        "import sys, warnings; from pathlib import Path; from PIL import Image; "
        "from tests.engines.test_identity import FACES; from engines.identity import DeepFaceScorer; "
        "before = list(warnings.filters); "
        f"DeepFaceScorer(FACES, Path({str(weights)!r})).embed([Image.new('RGB', (64, 64))]); "
        "assert 'deepface' in sys.modules and 'tensorflow' not in sys.modules; "
        "assert warnings.filters[0] != ('ignore', None, Warning, None, 0), warnings.filters; "
        "assert list(warnings.filters) == before"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_missing_weights_name_the_file_and_its_project(tmp_path) -> None:
    """Nothing is downloaded unasked: the file, where to put it and who publishes it are named."""
    from engines.identity import DeepFaceScorer

    with pytest.raises(ModelMissing, match=r"facenet512_weights\.onnx") as error:
        DeepFaceScorer(FACES, tmp_path).embed(_pictures((8, 8)))
    assert "serengil/deepface_models" in error.value.hint
    assert str(tmp_path) in error.value.hint


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", b""])
def test_weights_that_cannot_be_read_are_named_as_missing(tmp_path, content) -> None:
    """A pointer of Git LFS and a file cut short stand for weights that are not here: which, and where to get them."""
    script = (
        "import sys; from pathlib import Path; from PIL import Image; "
        "from engines.api.errors import ModelMissing; from engines.identity import DeepFaceScorer; "
        "from tests.engines.test_identity import FACES\n"
        f"try: DeepFaceScorer(FACES, Path({str(tmp_path)!r})).embed([Image.new('RGB', (64, 64))])\n"
        "except ModelMissing as error: print(error.cause, '|', error.hint)"
    )
    folder = tmp_path / ".deepface" / "weights"
    folder.mkdir(parents=True)
    file = "facenet512_weights.onnx"
    (folder / file).write_bytes(content)
    # What deepface has opened it keeps for the process, so a process of its own meets the file.
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    cause, _, hint = done.stdout.rpartition("|")
    assert f"cannot read {file}" in cause, done.stderr[-2000:]
    assert str(folder / file) in hint


def test_an_encoder_whose_weights_are_a_pointer_is_missing(encoder, tmp_path) -> None:
    """The file is there by name, and what it should hold was never fetched."""
    import shutil

    from engines.identity import ImageScorer

    folder = Path(shutil.copytree(encoder, tmp_path / "encoder"))
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelMissing, match=r"cannot read .*model\.safetensors"):
        ImageScorer(ENCODER, folder).embed(_pictures((8, 8)))


def test_refuses_a_detector_it_does_not_know(tmp_path) -> None:
    """deepface would fetch any detector's weights by itself; only those whose files we can name are allowed."""
    from dataclasses import replace

    from engines.identity import DeepFaceScorer

    with pytest.raises(BadInput, match="mediapipe"):
        DeepFaceScorer(replace(FACES, options={"detector": "mediapipe"}), tmp_path)
