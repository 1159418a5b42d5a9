"""Versions for the hub: the very LoRA, previews that are its own, and a card whose code runs."""

import ast
import json
import re
import zipfile
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from PIL import Image

from engines.api.params import GenerateParams
from engines.api.protocols import ModelSpec
from engines.catalogue.models import MODELS
from studio.flywheel.export.export import _header, export_hub, snippet
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.flywheel.train import runs
from studio.flywheel.train.checkpoints import keep_at
from studio.records.dataset import Role
from studio.records.version import Version
from tests.studio.conftest import World


def test_a_version_goes_to_the_hub_with_its_card(world: World) -> None:
    """The zip holds the very LoRA, the newest previews, and a card whose header and links name what is in it."""
    world.finish(train.submit(world.desk))
    (version,) = world.store.versions.all()

    with zipfile.ZipFile(export_hub(world.desk, version.id)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    adapter = world.store.adapter_path(version.id)
    assert members["pytorch_lora_weights.safetensors"] == adapter.read_bytes()
    card = members["README.md"].decode()
    header = dict(line.split(": ", 1) for line in card.split("---")[1].strip().splitlines())
    assert json.loads(header["instance_prompt"]) == "ohwx person"
    shown = [each["output"]["url"] for each in json.loads(header["widget"])]
    assert shown and set(shown) == {name for name in members if name.startswith("images/")}
    assert all(f"]({url})" in card for url in shown)
    assert "20" in card and str(version.params["rank"]) in card


def hub(world: World, version: Version) -> tuple[dict[str, bytes], dict[str, Any], str]:
    """The zip's members, the card's header, and what it says below."""
    with zipfile.ZipFile(export_hub(world.desk, version.id)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    _, header, said = members["README.md"].decode().split("---\n", 2)
    return (
        members,
        {name: json.loads(v) for name, v in (line.split(": ", 1) for line in header.splitlines() if line)},
        said,
    )


def previews_at(world: World, job_id: str, step: int) -> set[bytes]:
    """The files of the previews that were drawn at a step."""
    samples = runs.progress(world.studio, job_id).samples
    return {world.store.path(each.image).read_bytes() for each in samples if each.step == step}


def code_of(card: str) -> str:
    """The card's Python."""
    return card.split("```python\n")[1].split("```")[0]


def test_the_card_shows_the_kept_checkpoint(world: World) -> None:
    """A version that was kept at step 10 ships the pictures of step 10, though the run went on to 20."""
    job = train.submit(world.desk, world.train_params(steps=20, save_every=10, sample_every=10))
    world.finish(job)
    early = keep_at(world.studio, job.id, 10)
    last = next(version for version in world.store.versions.all() if version.id != early.id)

    for version, step in ((early, 10), (last, 20)):
        members, _, said = hub(world, version)
        shown = {data for name, data in members.items() if name.startswith("images/")}
        assert shown and shown <= previews_at(world, job.id, step)
        assert f"Drawn at step {step}, by the LoRA that is here" in said
    assert not previews_at(world, job.id, 10) & previews_at(world, job.id, 20)


def test_the_card_says_where_its_pictures_are_of_an_earlier_step(world: World) -> None:
    """Without previews at the kept step the nearest earlier ones are shown, and said to be; without any, none."""
    job = train.submit(world.desk, world.train_params(steps=20, save_every=5, sample_every=10))
    world.finish(job)
    shipped = {step: hub(world, keep_at(world.studio, job.id, step)) for step in (5, 15)}

    members, _, said = shipped[15]
    assert {data for name, data in members.items() if name.startswith("images/")} <= previews_at(world, job.id, 10)
    assert "Drawn at step 10; the LoRA that is here is of step 15" in said
    members, header, said = shipped[5]
    assert not [name for name in members if name.startswith("images/")] and header["widget"] == []
    assert "no previews" in said


def test_previews_in_the_trash_are_not_published(world: World) -> None:
    """Emptied from the trash they stop no export: the ones that are left are shown, or those of an earlier step."""
    job = train.submit(world.desk, world.train_params(steps=20, save_every=10, sample_every=10))
    world.finish(job)
    (version,) = world.store.versions.all()
    early, last = (previews_at(world, job.id, step) for step in (10, 20))
    drawn = [each.image for each in runs.progress(world.studio, job.id).samples if each.step == 20]
    gone = world.store.path(drawn[0]).read_bytes()

    world.store.trash(drawn[:1])
    world.store.discard(drawn[:1])
    some = {data for name, data in hub(world, version)[0].items() if name.startswith("images/")}
    world.store.trash(drawn)
    members, _, said = hub(world, version)

    assert some and some <= last - {gone}
    assert {data for name, data in members.items() if name.startswith("images/")} <= early
    assert "Drawn at step 10; the LoRA that is here is of step 20" in said


def test_an_editors_card_speaks_of_edits(world: World) -> None:
    """No trigger and no share of originals: what it learned is edits, its pictures' words are instructions, and its
    code loads an editing pipeline with a picture to change."""
    world.review(approved=30)
    world.finish(refine.submit(world.desk))
    (version,) = [each for each in world.store.versions.all() if each.role is Role.EDITOR]
    members, header, said = hub(world, version)

    assert "instance_prompt" not in header and "image-to-image" in header["tags"]
    assert "ohwx" not in said and "originals" not in said and "Say `" not in said
    assert f"{version.metrics.pictures} edits" in said
    words = {triplet.params["instruction"] for triplet in world.store.triplets.all()}
    shown = [each["text"] for each in header["widget"]]
    assert shown and set(shown) <= words and all(text in said for text in shown)
    assert {each["output"]["url"] for each in header["widget"]} == {n for n in members if n.startswith("images/")}
    compile(code_of(said), "card", "exec")
    assert "image=load_image(" in code_of(said) and shown[0] in code_of(said)


def test_an_editors_code_asks_for_an_edit_where_nothing_was_drawn(world: World) -> None:
    """Without held-out edits there are no previews: the words are those of an edit that it learned, never a trigger."""
    world.review(corrected=1)
    world.finish(refine.submit(world.desk))
    (version,) = [each for each in world.store.versions.all() if each.role is Role.EDITOR]
    _, header, said = hub(world, version)

    (learned,) = refine.dataset(world.desk)
    assert header["widget"] == []
    assert json.dumps(learned.caption) in code_of(said) and "ohwx" not in said


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "FLUX.1-Krea-dev",
            {
                "license": "other",
                "license_name": "flux-1-dev-non-commercial-license",
                "license_link": "https://huggingface.co/black-forest-labs/FLUX.1-Krea-dev/blob/main/LICENSE.md",
                "base_model": "black-forest-labs/FLUX.1-Krea-dev",
                "pipeline_tag": "text-to-image",
            },
        ),
        ("Qwen-Image-Edit-2511", {"license": "apache-2.0", "pipeline_tag": "image-to-image"}),
        ("mini-flux", {"license": "apache-2.0", "base_model": None, "license_link": None}),
    ],
)
def test_the_header_says_what_the_hub_sorts_by(model: str, expected: dict[str, str | None]) -> None:
    """A licence that the hub does not know has an id and a link; task and library are named."""
    spec = next(each for each in MODELS if each.name == model)
    role = Role.EDITOR if spec.role == "editor" else Role.CHARACTER
    header = _header(spec, role, "", [])
    assert {key: header.get(key) for key in expected} == expected
    assert header["library_name"] == "diffusers"


def test_the_hubs_own_library_reads_the_card(world: World) -> None:
    """Its typed fields hold what the header says, and written by that library the header stays the same."""
    world.finish(train.submit(world.desk))
    (version,) = world.store.versions.all()
    members, header, _ = hub(world, version)

    data = ModelCard(members["README.md"].decode(), ignore_metadata_errors=False).data

    assert (data.library_name, data.pipeline_tag, data.license) == ("diffusers", "text-to-image", "apache-2.0")
    assert set(data.tags or ()) >= {"lora", "diffusers", "text-to-image"}
    assert yaml.safe_load(ModelCardData(**header).to_yaml()) == header


@pytest.mark.parametrize("spec", [each for each in MODELS if each.trainer], ids=lambda spec: spec.name)
def test_every_licence_is_one_the_hub_takes(spec: ModelSpec) -> None:
    """Either an id of the hub, or `other` with a name in lower case, digits, dots and dashes, and a link to read it."""
    header = _header(spec, Role.EDITOR if spec.role == "editor" else Role.CHARACTER, "ohwx person", [])
    other = header["license"] == "other"
    assert header["license"] in ("apache-2.0", "other")
    assert re.fullmatch(r"[a-z0-9.-]+" if other else "", str(header.get("license_name", "")))
    assert str(header.get("license_link", "")).startswith("https://huggingface.co/") == other


def test_a_model_in_a_folder_of_this_machine_is_told_by_its_name() -> None:
    """Where somebody keeps a model is nobody's business: neither the header nor the code names the folder."""
    spec = replace(next(each for each in MODELS if each.name == "FLUX.1-dev"), source="folder:/home/ada/FLUX")
    assert "ada" not in json.dumps(_header(spec, Role.CHARACTER, "", []))
    code = snippet(spec, Role.CHARACTER, {}, "ohwx", "images/0.png")
    assert "ada" not in code and '"FLUX.1-dev"' in code


_SNIPPETS = {
    "FLUX.1-dev": (Role.CHARACTER, "FluxPipeline"),
    "FLUX.2-klein-base-4B": (Role.CHARACTER, "Flux2KleinPipeline"),
    "Qwen-Image-Edit-2511": (Role.EDITOR, "QwenImageEditPlusPipeline"),
    "Qwen-Image-Edit-2509": (Role.EDITOR, "QwenImageEditPlusPipeline"),
    "Qwen-Image-Edit": (Role.EDITOR, "QwenImageEditPipeline"),
    "mini-flux": (Role.CHARACTER, "FluxPipeline"),
    "mini-qwen-edit": (Role.EDITOR, "QwenImageEditPlusPipeline"),
}


@pytest.mark.parametrize("name", _SNIPPETS)
def test_a_cards_code_compiles_and_names_the_pipeline(name: str) -> None:
    """Whole Python, quotes in the words and all, for every row that can be trained."""
    role, pipeline = _SNIPPETS[name]
    spec = next(each for each in MODELS if each.name == name)
    code = snippet(spec, role, {}, 'ohwx "person"', "images/0.png")
    names = {node.attr if isinstance(node, ast.Attribute) else node.id for node in _names(code)}

    compile(code, "card", "exec")
    assert {pipeline, "from_pretrained", "load_lora_weights"} <= names


def _names(code: str) -> list[ast.Attribute | ast.Name]:
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute | ast.Name)]


@pytest.mark.slow
@pytest.mark.parametrize("name", _SNIPPETS)
def test_a_cards_code_calls_what_diffusers_has(name: str) -> None:
    """The pipeline is diffusers', has LoRAs, and takes every argument by that name."""
    import inspect

    import diffusers

    role, pipeline = _SNIPPETS[name]
    code = snippet(next(each for each in MODELS if each.name == name), role, {}, "ohwx person", "images/0.png")
    (call,) = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "pipeline"
    ]
    found = getattr(diffusers, pipeline)

    assert hasattr(found, "load_lora_weights")
    assert {each.arg for each in call.keywords} <= inspect.signature(found.__call__).parameters.keys()


@pytest.mark.slow
def test_a_characters_code_runs_as_it_stands(tmp_path: Path) -> None:
    """In a folder with the LoRA under its name, the card's Python draws the picture."""
    import torch

    from engines.training.export import Info, write_adapter

    root = Path(__file__).resolve().parents[3]
    spec = next(each for each in MODELS if each.name == "mini-flux")
    (tmp_path / "assets").symlink_to(root / "assets")
    state = {
        "transformer_blocks.0.attn.to_q.lora_A.weight": torch.randn(4, 192),
        "transformer_blocks.0.attn.to_q.lora_B.weight": torch.randn(192, 4),
    }
    info = Info(
        family="flux",
        base_model="mini-flux",
        trigger="ohwx",
        dataset="",
        targets=r"transformer_blocks\.0\.attn\.to_q",
        rank=4,
        alpha=4.0,
        step=1,
    )
    write_adapter(tmp_path / "pytorch_lora_weights.safetensors", state, info)
    drawn = spec.params(GenerateParams, prompt="ohwx person", steps=2).to_json()

    with chdir(tmp_path):
        exec(compile(snippet(spec, Role.CHARACTER, drawn, "", ""), "card", "exec"), {})
    with Image.open(tmp_path / "drawn.png") as picture:
        assert picture.size == (64, 64)
