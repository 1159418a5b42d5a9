"""The report of `doctor`, above all its table of models."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from engines.catalogue.models import MODELS
from engines.catalogue.registry import Registry
from frontdoor import doctor, models


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry over an empty folder of models."""
    return Registry(tmp_path / "assets", tmp_path / "models")


def _lines(registry: Registry, name: str, *, token: bool = True) -> tuple[str, str]:
    """Returns a model's line of the table, and the line below it."""
    lines = models.table(registry, token=token).splitlines()
    index = next(number for number, line in enumerate(lines) if line.split()[0] == name)
    return lines[index], [*lines, ""][index + 1]


def test_the_whole_report_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Machine, packages and models are shown, each licence with its model; a missing real model is no failure."""
    code = doctor.main(argparse.Namespace())
    printed = capsys.readouterr().out
    assert code == 0
    for words in ("RAM", "disk", "GPU", "mini-flux", "FLUX.1 [dev] Non-Commercial", "Qwen-Image-Edit-2511"):
        assert words in printed


def test_what_is_absent_comes_with_its_size_and_command(registry: Registry) -> None:
    """A model that is not here is shown with its download size and the command."""
    line, remedy = _lines(registry, "Qwen-Image-Edit-2511")
    assert "not here, 53.7 GiB to download" in line
    assert remedy.strip() == "→ python launch.py pull Qwen-Image-Edit-2511"


def test_a_gate_without_a_token_is_shown_with_its_steps(registry: Registry) -> None:
    """Without a token the table says so, and shows the three steps before the command."""
    line, remedy = _lines(registry, "FLUX.1-dev", token=False)
    assert "NO TOKEN" in line
    assert remedy.index("1. Accept") < remedy.index("3. Run") < remedy.index("launch.py pull FLUX.1-dev")
    assert "token found" in _lines(registry, "FLUX.1-dev", token=True)[0]


def test_half_a_download_shows_what_is_missing(registry: Registry) -> None:
    """A pull that broke off is shown with the bytes that are missing."""
    home = registry.home(registry.spec("Qwen-Image-Edit-2509"))
    (home / "vae").mkdir(parents=True)
    (home / "vae" / "a.safetensors.part").write_bytes(b"x" * 1000)
    files = {"vae/a.safetensors": (1 << 30) + 1000, "vae/b.safetensors": 1 << 30}
    (home / "pulling.json").write_text(json.dumps({"form": "nf4", "files": files}))
    line, remedy = _lines(registry, "Qwen-Image-Edit-2509")
    assert "partly, 2.0 GiB missing" in line
    assert "launch.py pull" in remedy


def test_quantised_forms_are_shown(registry: Registry) -> None:
    """A ready model shows its quantised forms and no remedy; one that was never quantised shows the command."""
    home = registry.home(registry.spec("Qwen-Image-Edit"))
    home.mkdir(parents=True)
    assert "ready" not in _lines(registry, "Qwen-Image-Edit")[0]  # an empty folder holds no model
    (home / "model_index.json").write_text("{}")
    line, remedy = _lines(registry, "Qwen-Image-Edit")
    assert "ready" in line
    assert "quantises it once" in remedy
    for form in ("nf4", "int8", "fp8"):
        (home / f"transformer.{form}").mkdir()
        (home / f"transformer.{form}" / "quantised.json").write_text("{}")
    line, remedy = _lines(registry, "Qwen-Image-Edit")
    assert "nf4, int8, fp8" in line
    assert "→" not in remedy


def test_a_folder_of_the_user_is_found(tmp_path: Path) -> None:
    """A model whose source is a folder is shown with that folder."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"")
    row = replace(next(spec for spec in MODELS if spec.name == "dinov2-small"), source=f"folder:{tmp_path / 'mine'}")
    line, _ = _lines(Registry(tmp_path, tmp_path / "models", [row]), "dinov2-small")
    assert f"found in {tmp_path / 'mine'}" in line


def test_a_folder_of_the_user_that_is_gone_is_asked_for(tmp_path: Path) -> None:
    """Its line names the folder, not the command that fetches from the hub, for it takes no such model."""
    row = replace(next(spec for spec in MODELS if spec.name == "FLUX.1-dev"), source=f"folder:{tmp_path / 'mine'}")
    line, remedy = _lines(Registry(tmp_path, tmp_path / "models", [row]), "FLUX.1-dev")
    assert "not here" in line and "gated" not in line
    assert remedy == f"   → Put its diffusers-layout folder at {tmp_path / 'mine'}."
