"""The pull command, before it downloads."""

import argparse
from pathlib import Path

import pytest

from engines.api import ModelSpec
from engines.errors import BadInput
from engines.fake_hub import FakeHub
from engines.registry import Registry
from frontdoor.cli import parser
from frontdoor.pull import pull

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


def _options(*more: str) -> argparse.Namespace:
    return parser().parse_args(["pull", "toy", *more])


def _registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path, tmp_path / "models", [SPEC])


def test_the_licence_comes_first(hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Licence and size are shown and asked about; who says no has downloaded nothing."""
    asked: list[str] = []
    code = pull(_options(), _registry(tmp_path), hub, lambda words: asked.append(words) or "n")
    assert code == 1
    assert "Toy Licence" in asked[0]
    assert "huggingface.co/maker/toy" in capsys.readouterr().out
    assert hub.asked == []


@pytest.mark.parametrize(("more", "answer"), [((), "y"), (("--yes",), "")])
def test_accepted_it_is_pulled(more: tuple[str, ...], answer: str, hub: FakeHub, tmp_path: Path) -> None:
    """Whoever accepts, by word or by --yes, has a folder that the registry hands out."""
    registry = _registry(tmp_path)
    assert pull(_options("--to", "bf16", *more), registry, hub, lambda _: answer) == 0
    assert (registry.folder(SPEC) / "model.safetensors").read_bytes() == b"weights"


def test_what_ships_with_us_is_not_pulled(tmp_path: Path, hub: FakeHub) -> None:
    """An embedded model is refused with a reason."""
    options = parser().parse_args(["pull", "mini-flux"])
    with pytest.raises(BadInput, match="mini-flux is not pulled"):
        pull(options, Registry(tmp_path, tmp_path), hub, lambda _: "y")
