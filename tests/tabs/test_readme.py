"""The README's turn by script, run as it is written: a base as GGUF, a LoRA from the community, and ComfyUI."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from engines.catalogue.models import MODELS
from engines.catalogue.registry import Registry
from engines.fake.hub import FakeHub
from frontdoor.cli import parser
from frontdoor.pull import pull
from studio.open import open_workplace
from studio.settings import Settings
from studio.workplace.desk import Workplace
from tabs import app
from tests.engines.weights.test_published import write_gguf
from tests.tabs.conftest import ASSETS

pytestmark = pytest.mark.slow
README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## By script\n")[2].partition("\n## ")[0]
COMMAND, SCRIPT = re.findall(r"^```\w*\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
EMBEDDED = ASSETS / "mini" / "flux"
BASE = "small-flux"  # FLUX.1-dev itself takes weights of its own size alone


@dataclass(frozen=True)
class Served:
    """A studio on the embedded models, one of which takes FLUX.1-dev's place, and what the README's script names."""

    studio: Workplace
    url: str
    style: Path
    comfyui: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The base is pulled by the README's command from a GGUF file of the embedded FLUX."""
    folder = tmp_path_factory.mktemp("readme")
    (mini,) = (each for each in MODELS if each.name == "mini-flux")
    options = {**mini.options, "nf4": ("transformer",)}
    drawing = {**mini.defaults, "GenerateParams": {**mini.defaults["GenerateParams"], "steps": 2}}
    base = replace(mini, name=BASE, label=BASE, source="maker/flux", options=options, defaults=drawing)
    settings = Settings(data_root=folder / "home", assets=ASSETS, device="cpu", models_dir=folder / "models")
    registry = Registry(ASSETS, settings.models_dir, [*MODELS, base])
    swap = {"flux1-dev-Q8_0.gguf": str(_gguf(folder)), "FLUX.1-dev": BASE}
    asked = parser().parse_args([swap.get(each, each) for each in COMMAND.split()[2:]])
    assert pull(asked, registry, FakeHub(EMBEDDED), lambda _: "") == 0
    (folder / "ComfyUI" / "models" / "loras").mkdir(parents=True)
    with open_workplace(settings, registry=registry) as studio:
        running = app.launch(studio)
        httpx.get(f"{running.url}/gradio_api/info", trust_env=False, timeout=60)  # a busy machine's first takes long
        yield Served(studio, running.url, _style(folder), folder / "ComfyUI")
        running.close()


def _gguf(folder: Path) -> Path:
    """The transformer of the embedded FLUX in 8-bit blocks."""
    from safetensors.torch import load_file

    (weights,) = (EMBEDDED / "transformer").glob("*.safetensors")
    return write_gguf(load_file(weights), folder / "flux1-dev-Q8_0.gguf", "Q8_0", arch="flux")


def _style(folder: Path) -> Path:
    """A LoRA of the embedded FLUX with ai-toolkit's names, and nothing of ours in its metadata."""
    import torch
    from safetensors.torch import load_file, save_file

    (weights,) = (EMBEDDED / "transformer").glob("*.safetensors")
    numbers, state = torch.Generator().manual_seed(0), {}
    for name, weight in load_file(weights).items():
        if re.fullmatch(r"(single_)?transformer_blocks\.\d+\.attn\.to_[qkv]\.weight", name):
            wide_out, wide_in = weight.shape
            module = f"transformer.{name.removesuffix('.weight')}"
            state[f"{module}.lora_A.weight"] = torch.randn(4, wide_in, generator=numbers) * 0.1
            state[f"{module}.lora_B.weight"] = torch.randn(wide_out, 4, generator=numbers) * 0.1
    save_file(state, folder / "style.safetensors", {"format": "pt"})
    return folder / "style.safetensors"


def _replaced(text: str, changes: dict[str, str]) -> str:
    """Returns a text with other words; each that is to be replaced has to be in it."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_the_readmes_turn_by_script(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with a LoRA and a workflow in ComfyUI's folder; the pictures were drawn with the LoRA from outside.

    Seconds of CPU: it is the only test that goes the whole way on real models by script, with one edit, one picture and
    two steps of each.
    """
    (tmp_path / "mira").mkdir()
    for file in sorted((ASSETS / "sample").glob("*.png"))[:2]:
        shutil.copy(file, tmp_path / "mira")
    changes = {"http://127.0.0.1:7860": served.url, "/pictures/mira": str(tmp_path / "mira")}
    changes |= {"/loras/style.safetensors": str(served.style), "/apps/ComfyUI": str(served.comfyui)}
    changes |= {
        "limit=40": 'limit=1, params={"steps": 2}',
        '"generator": "FLUX.1-dev"': f'"generator": "{BASE}"',
        '"steps": 1500': '"steps": 2, "batch_size": 1',
        "count=8": "count=1",
    }
    names: dict[str, Any] = {}
    exec(compile(_replaced(SCRIPT, {**changes, "time.sleep(1)": "time.sleep(0.1)"}), "<README>", "exec"), names)
    names["studio"].close()

    store = served.studio.store(names["mira"])
    (drawn,) = (each for each in store.images.all() if each.version == names["version"] and each.kind == "synthetic")
    assert str(served.style) in [each["file"] for each in drawn.params["loras"]]
    (lora,) = (served.comfyui / "models" / "loras").glob("*.safetensors")
    (saved,) = (served.comfyui / "user" / "default" / "workflows").glob("*.json")
    assert lora.name in json.dumps(json.loads(saved.read_text()))
    assert str(lora) in capsys.readouterr().out
