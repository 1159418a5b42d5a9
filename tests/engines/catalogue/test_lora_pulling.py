"""One LoRA file comes from the hub or from this machine, as a model does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from engines.api.errors import BadInput, DiskFull, ModelMissing, NotFound, Unreachable
from engines.catalogue.lora_pulling import FileHub, LoraPull, chosen, demand_lora
from engines.fake.hub import FakeHub


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two LoRAs, one of them with settings beside it."""
    folder = tmp_path / "hub"
    (folder / "deep").mkdir(parents=True)
    (folder / "first.safetensors").write_bytes(b"a" * 40)
    (folder / "deep" / "adapter_model.safetensors").write_bytes(b"b" * 60)
    (folder / "deep" / "adapter_config.json").write_bytes(b"{}")
    (folder / "README.md").write_bytes(b"x")
    return folder


def pulled(work: LoraPull) -> Path:
    """Runs a pull."""
    return work.run(work.survey("bf16"), lambda what, done, total: None)


def test_one_file_comes_with_its_settings(repository: Path, tmp_path: Path) -> None:
    """Nothing else of the repository does; the licence is noted beside it."""
    home = pulled(LoraPull("x", "maker/x", "adapter_model", tmp_path / "x", FakeHub(repository), licence="Toy Licence"))
    assert sorted(each.name for each in home.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "pulled.json",
    ]  # fmt: skip
    assert json.loads((home / "pulled.json").read_text())["licence"] == "Toy Licence"


def test_a_broken_download_goes_on(repository: Path, tmp_path: Path) -> None:
    """No byte is fetched twice, and a spoilt file is refused and deleted."""
    hub = FakeHub(repository, cut={"first.safetensors": 30}, spoilt=("deep/adapter_model.safetensors",))
    with pytest.raises(Unreachable):
        pulled(LoraPull("x", "maker/x", "first", tmp_path / "x", hub))
    pulled(LoraPull("x", "maker/x", "first", tmp_path / "x", hub))
    assert hub.asked == [("first.safetensors", 0), ("first.safetensors", 30)]
    with pytest.raises(ModelMissing, match="damaged"):
        pulled(LoraPull("y", "maker/x", "adapter_model", tmp_path / "y", hub))
    assert not (tmp_path / "y" / "adapter_model.safetensors").exists()


def test_a_full_disk_is_refused_first(repository: Path, tmp_path: Path) -> None:
    """Before a byte is written."""
    with pytest.raises(DiskFull):
        pulled(LoraPull("x", "maker/x", "first", tmp_path / "x", FakeHub(repository), free=lambda _: 10))
    assert not (tmp_path / "x").exists()


def test_a_file_is_named_by_its_path_its_name_or_its_stem(repository: Path) -> None:
    """Several without a name, and a name that is not there, are refused with the names that are."""
    listing = FakeHub(repository).listing("maker/x")
    for name in ("deep/adapter_model.safetensors", "adapter_model.safetensors", "adapter_model"):
        assert chosen(listing, name).path == "deep/adapter_model.safetensors"
    with pytest.raises(BadInput, match="several") as several:
        chosen(listing, "")
    assert "first.safetensors" in several.value.hint
    with pytest.raises(NotFound, match="no file 'second'"):
        chosen(listing, "second")


def test_a_file_of_this_machine_is_copied(tmp_path: Path) -> None:
    """What is written over it later does not change the copy."""
    own = tmp_path / "own.safetensors"
    save_file({"transformer.x.lora_A.weight": np.zeros((2, 4), np.float32)}, own)
    demand_lora(own)
    home = pulled(LoraPull("own", "this machine", own.name, tmp_path / "home", FileHub(own)))
    before = own.read_bytes()
    with own.open("r+b") as stream:
        stream.write(b"changed!")
    assert (home / own.name).read_bytes() == before


def test_a_file_that_is_no_lora_is_refused_by_its_header(tmp_path: Path) -> None:
    """One that is missing, of another kind, or a whole model."""
    with pytest.raises(NotFound):
        demand_lora(tmp_path / "none.safetensors")
    (tmp_path / "a.ckpt").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"a\.ckpt"):
        demand_lora(tmp_path / "a.ckpt")
    save_file({"img_in.weight": np.zeros((2, 4), np.float32)}, tmp_path / "whole.safetensors")
    with pytest.raises(BadInput, match="no tensors of a LoRA"):
        demand_lora(tmp_path / "whole.safetensors")
