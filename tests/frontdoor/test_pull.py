"""The pull command, before it downloads."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from engines.api.errors import BadInput, ModelMissing
from engines.api.protocols import ModelSpec
from engines.catalogue.models import MODELS
from engines.catalogue.pulling import Pull
from engines.catalogue.registry import Registry
from engines.fake.hub import FakeHub
from frontdoor.cli import parser
from frontdoor.pull import pull
from tests.engines.conftest import TOY_QWEN, _build_qwen

pytestmark = pytest.mark.slow

SPEC = ModelSpec(
    name="toy", label="toy", role="scorer", family="image-encoder", engine="engines.identity:ImageScorer",
    source="maker/toy", licence="Toy Licence",
)  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> FakeHub:
    """A hub with one small model."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "hub" / "config.json").write_bytes(b"{}")
    return FakeHub(tmp_path / "hub")


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny editor of the engines' tests, built once."""
    return _build_qwen(tmp_path_factory.mktemp("tiny-qwen"))


@pytest.fixture
def tiny() -> ModelSpec:
    """The row of that editor, as if it lay on the hub."""
    return replace(TOY_QWEN, source="maker/tiny", options={**TOY_QWEN.options, "nf4": ("transformer",)})


def _options(*more: str) -> argparse.Namespace:
    return parser().parse_args(["pull", "toy", *more])


def _registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path, tmp_path / "models", [SPEC])


def test_the_licence_comes_first(hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Licence and size are shown before the question; after a refusal nothing was downloaded."""
    asked: list[str] = []
    code = pull(_options(), _registry(tmp_path), hub, lambda words: asked.append(words) or "n")
    assert code == 1
    assert "Toy Licence" in asked[0]
    assert "huggingface.co/maker/toy" in capsys.readouterr().out
    assert hub.asked == []


@pytest.mark.parametrize(("more", "answer"), [((), "y"), (("--yes",), "")])
def test_after_consent_the_model_is_pulled(more: tuple[str, ...], answer: str, hub: FakeHub, tmp_path: Path) -> None:
    """After consent, typed or by --yes, the registry has the model's folder."""
    registry = _registry(tmp_path)
    assert pull(_options("--to", "bf16", *more), registry, hub, lambda _: answer) == 0
    assert (registry.folder(SPEC) / "model.safetensors").read_bytes() == b"weights"


def test_an_embedded_model_is_not_pulled(tmp_path: Path, hub: FakeHub) -> None:
    """An embedded model is refused with a reason."""
    options = parser().parse_args(["pull", "mini-flux"])
    with pytest.raises(BadInput, match="mini-flux is not pulled"):
        pull(options, Registry(tmp_path, tmp_path), hub, lambda _: "y")


def test_given_files_are_checked_before_anything_is_fetched(tmp_path: Path) -> None:
    """A file or a folder that cannot become the model is refused before any request to the hub, offline too."""
    row = next(spec for spec in MODELS if spec.name == "FLUX.1-dev")
    (tmp_path / "flux1-dev-Q8_0.gguf").write_bytes(b"GGUF")
    (tmp_path / "empty").mkdir()
    hub = FakeHub(tmp_path, offline=True)
    for given in ("flux1-dev-Q8_0.gguf", "empty"):
        options = parser().parse_args(["pull", row.name, "--yes", "--from", str(tmp_path / given)])
        with pytest.raises(BadInput, match=given):
            pull(options, Registry(tmp_path, tmp_path / "models", [row]), hub, lambda _: "y")
    assert hub.asked == [] and not (tmp_path / "models").exists()


def test_given_weights_of_another_shape_are_refused_before_weights_are_fetched(
    qwen_folder: Path, tiny: ModelSpec, tmp_path: Path
) -> None:
    """With the configurations every name and shape is compared: no large file is fetched, and no model is ready."""
    import torch
    from safetensors.torch import load_file, save_file

    (file,) = (qwen_folder / "transformer").glob("*.safetensors")
    save_file({**load_file(file), "img_in.weight": torch.ones(32, 384)}, tmp_path / "wide.safetensors")
    registry, hub = Registry(tmp_path, tmp_path / "models", [tiny]), FakeHub(qwen_folder)
    options = parser().parse_args(["pull", tiny.name, "--yes", "--from", str(tmp_path / "wide.safetensors")])
    with pytest.raises(BadInput, match=r"img_in\.weight .*\(32, 384\)"):
        pull(options, registry, hub, lambda _: "y")
    assert hub.asked and not [path for path, _ in hub.asked if path.endswith(".safetensors")]
    with pytest.raises(ModelMissing):
        registry.folder(tiny)


def test_a_model_that_is_ready_stays_so(qwen_folder: Path, tiny: ModelSpec, tmp_path: Path) -> None:
    """A file that does not fit is refused, and the model that was pulled before stays ready."""
    import torch
    from safetensors.torch import load_file, save_file

    (file,) = (qwen_folder / "transformer").glob("*.safetensors")
    registry, hub = Registry(tmp_path, tmp_path / "models", [tiny]), FakeHub(qwen_folder)
    save_file(load_file(file), tmp_path / "good.safetensors")
    save_file({**load_file(file), "img_in.weight": torch.ones(32, 384)}, tmp_path / "wide.safetensors")

    def given(name: str, form: str) -> int:
        options = ["pull", tiny.name, "--yes", "--to", form, "--from", str(tmp_path / name)]
        return pull(parser().parse_args(options), registry, hub, lambda _: "y")

    assert given("good.safetensors", "nf4") == 0
    with pytest.raises(BadInput):
        given("wide.safetensors", "int8")
    assert (registry.folder(tiny) / "transformer.nf4" / "quantised.json").is_file()
    assert not list(registry.folder(tiny).glob("transformer.int8*"))


def test_a_file_in_8_bit_floats_keeps_them(qwen_folder: Path, tiny: ModelSpec, tmp_path: Path) -> None:
    """`--to fp8 --from FILE` stores the very numbers that a scaled file of ComfyUI's holds."""
    import torch
    from safetensors.torch import load_file, save_file

    name = "transformer_blocks.0.attn.to_q.weight"
    (file,) = (qwen_folder / "transformer").glob("*.safetensors")
    state = load_file(file)
    scale = state[name].abs().max() / 448
    codes = (state[name] / scale).to(torch.float8_e4m3fn)
    given = {**state, name: codes, name.replace("weight", "scale_weight"): scale}
    save_file(given, tmp_path / "qwen_fp8_scaled.safetensors")
    registry = Registry(tmp_path, tmp_path / "models", [tiny])
    options = ["pull", tiny.name, "--yes", "--to", "fp8", "--from", str(tmp_path / "qwen_fp8_scaled.safetensors")]

    assert pull(parser().parse_args(options), registry, FakeHub(qwen_folder), lambda _: "y") == 0
    (stored,) = (registry.folder(tiny) / "transformer.fp8").glob("*.safetensors")
    found = load_file(stored)
    assert torch.equal(found[name].view(torch.uint8), codes.view(torch.uint8))
    assert torch.equal(found[f"{name}_scale"], scale)


def test_the_progress_grows_to_its_end(qwen_folder: Path, tiny: ModelSpec, tmp_path: Path) -> None:
    """The progress of a file without an index is counted in tensors; 100 % comes once, at the end."""
    (file,) = (qwen_folder / "transformer").glob("*.safetensors")
    told: list[float] = []
    work = Pull(tiny, tmp_path / "home", FakeHub(qwen_folder), transformer=file)
    work.run(work.survey("nf4"), lambda what, done, of: told.append(done / of) if what == "nf4 transformer" else None)
    assert told == sorted(told) and told.count(1.0) == 1 and told[0] < 0.1
