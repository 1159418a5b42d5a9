"""A version goes into another program's folder and comes out again; what is not ours there is never touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.api.errors import BadInput, NotFound
from studio.flywheel.export import deploy
from studio.flywheel.train import character as train
from studio.records.version import Version
from tests.studio.conftest import World


@pytest.fixture
def version(world: World) -> Version:
    """Anna's first version, with its previews."""
    world.finish(train.submit(world.desk))
    (made,) = world.store.versions.all()
    return made


@pytest.fixture
def loras(world: World, tmp_path: Path) -> Path:
    """The folder of LoRAs of an InvokeAI that the studio knows."""
    (tmp_path / "invoke" / "loras").mkdir(parents=True)
    deploy.set_folder(world.studio, "invokeai", f"  '{tmp_path / 'invoke'}' ")
    return tmp_path / "invoke" / "loras"


def test_what_goes_in_comes_out(world: World, version: Version, loras: Path) -> None:
    """LoRA, preview and trigger word lie there under one name that no other character has; afterwards nothing does."""
    (loras / "mine.safetensors").write_bytes(b"mine")
    files = deploy.deploy(world.desk, version.id, "invokeai")
    stems = {Path(file).stem for file in files}
    assert len(stems) == 1 and stems.pop().startswith(world.desk.id)
    assert sorted(Path(file).suffix for file in files) == [".json", ".png", ".safetensors"]
    told = json.loads(next(Path(file) for file in files if file.endswith(".json")).read_text())
    assert (told["activation text"], told["preferred weight"]) == ("ohwx person", 1.0)
    assert deploy.programs(world.desk, version.id) == {"invokeai": True}

    assert deploy.withdraw(world.desk, version.id, "invokeai") == []
    assert [each.name for each in loras.iterdir()] == ["mine.safetensors"]
    assert deploy.programs(world.desk, version.id) == {"invokeai": False}
    with pytest.raises(NotFound, match="Nothing of v1 is in InvokeAI"):
        deploy.withdraw(world.desk, version.id, "invokeai")


def test_it_may_be_put_there_again(world: World, version: Version, loras: Path) -> None:
    """A second time replaces our own files and counts them once."""
    first = deploy.deploy(world.desk, version.id, "invokeai")
    assert deploy.deploy(world.desk, version.id, "invokeai") == first
    assert len(list(loras.iterdir())) == 3


def test_what_is_not_ours_is_not_replaced(world: World, version: Version, loras: Path) -> None:
    """A file of the same name that somebody else made stays, and nothing is written beside it."""
    (lora,) = [file for file in deploy.deploy(world.desk, version.id, "invokeai") if file.endswith(".safetensors")]
    deploy.withdraw(world.desk, version.id, "invokeai")
    Path(lora).write_bytes(b"somebody's")
    with pytest.raises(BadInput, match="is there already"):
        deploy.deploy(world.desk, version.id, "invokeai")
    assert [each.read_bytes() for each in loras.iterdir()] == [b"somebody's"]


def test_what_was_changed_there_stays(world: World, version: Version, loras: Path) -> None:
    """The notes that a person wrote into the file beside the LoRA are not deleted with it."""
    files = deploy.deploy(world.desk, version.id, "invokeai")
    (told,) = [Path(file) for file in files if file.endswith(".json")]
    told.write_text("{}")
    assert deploy.withdraw(world.desk, version.id, "invokeai") == [str(told)]
    assert [each.name for each in loras.iterdir()] == [told.name]


@pytest.mark.parametrize(("program", "inside"), [("comfyui", "models/loras"), ("forge", "models/Lora")])
def test_the_programs_own_folder_or_that_of_its_loras_is_taken(
    world: World, tmp_path: Path, program: str, inside: str
) -> None:
    """A folder that holds no place for LoRAs is refused by name; "" forgets the folder."""
    with pytest.raises(BadInput, match="There is no folder"):
        deploy.set_folder(world.studio, program, str(tmp_path / "gone"))
    with pytest.raises(BadInput, match=f"holds no {inside}"):
        deploy.set_folder(world.studio, program, str(tmp_path))
    (tmp_path / inside).mkdir(parents=True)
    for folder in (tmp_path, tmp_path / inside):
        assert deploy.set_folder(world.studio, program, str(folder)) == str(folder)
        assert deploy.folder_of(world.studio, program) == str(folder)
    deploy.set_folder(world.studio, program, " ")
    assert deploy.folder_of(world.studio, program) == ""


def test_nothing_is_written_where_it_cannot_be(world: World, version: Version) -> None:
    """An unknown program, one without a folder, and a version in the trash are refused in words."""
    with pytest.raises(NotFound, match="no program named photoshop"):
        deploy.deploy(world.desk, version.id, "photoshop")
    with pytest.raises(BadInput, match="The folder of ComfyUI is not set"):
        deploy.deploy(world.desk, version.id, "comfyui")
