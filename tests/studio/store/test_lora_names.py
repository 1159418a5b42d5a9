"""What a drawn picture says of itself: read as other programs read it, and nothing of this machine in it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import save_file

from engines.api.params import EditParams, GenerateParams, LoraUse
from engines.infotext import NamedLora, parameters_text
from studio.api.api import Api
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.provenance import LoraName, Provenance
from studio.records.version import Version
from studio.store import Store
from studio.store.lora_names import version_lora_name, without_places
from studio.store.pictures import png_info, read_provenance, to_png

_PAIR = re.compile(r'\s*([\w -]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def read(text: str) -> dict[str, Any]:
    """As AUTOMATIC1111's infotext is documented: words, then a line "Negative prompt:", the last line pairs."""
    *lines, last = text.split("\n")
    pairs = {key: json.loads(value) if value[:1] == '"' else value.strip() for key, value in _PAIR.findall(last)}
    assert len(pairs) >= 3, "without three pairs the last line is taken for words"
    negative = next((at for at, line in enumerate(lines) if line.startswith("Negative prompt:")), len(lines))
    words = "\n".join(lines[:negative])
    return {
        "prompt": re.sub(r"\s*<lora:[^>]+>", "", words),
        "loras": re.findall(r"<lora:([^:>]+):([^:>]+)>", words),
        "negative": "\n".join(lines[negative:]).removeprefix("Negative prompt:").strip(),
        **pairs,
    }


def test_a_drawn_picture_is_read_by_other_programs() -> None:
    """Words, steps, size, both scales, model and LoRAs with their hashes, each where it is looked for."""
    words = 'ohwx, smiling: a "portrait"'
    params = GenerateParams(prompt=words, steps=7, guidance=3.5, seed=4, width=640, height=480)
    told = {"model": "FLUX.1-dev", "loras": [{"name": "mine", "weight": 0.8, "hash": "abc123abc123"}]}
    found = read(parameters_text(told, params, (640, 480)))

    expected = {"Steps": "7", "Size": "640x480", "CFG scale": "1", "Distilled CFG Scale": "3.5", "Seed": "4"}
    assert {key: found[key] for key in expected} == expected
    assert (found["prompt"], found["negative"], found["Model"]) == (params.prompt, "", "FLUX.1-dev")
    assert found["loras"] == [("mine", "0.8")] and found["Lora hashes"] == "mine: abc123abc123"
    assert "Loras" not in found


def test_an_edit_is_read_by_other_programs() -> None:
    """What it must not be stands in a line of its own, and in none where there is nothing; guidance is CFG."""
    params = EditParams(instruction="turn left", negative="blurry, dark", true_cfg=4.0, few_steps=True)
    found = read(parameters_text({"model": "Qwen-Image-Edit-2511"}, params, (64, 32)))
    assert (found["prompt"], found["negative"], found["CFG scale"]) == ("turn left", "blurry, dark", "4.0")
    assert (found["Size"], found["Few steps"]) == ("64x32", "True") and "Distilled CFG Scale" not in found

    plain = parameters_text({}, params.replace(negative=" "), (64, 32))
    assert "Negative" not in plain and read(plain)["negative"] == ""


def test_true_guidance_is_told_as_such() -> None:
    """FLUX.2 klein's guidance is classifier-free: a program that draws it again must not take it for a number."""
    found = read(parameters_text({"model": "FLUX.2-klein-base-4B"}, GenerateParams(prompt="x", guidance=4.0), (8, 8)))
    assert found["CFG scale"] == "4.0" and "Distilled CFG Scale" not in found


@pytest.mark.parametrize("file", ["/home/ada/loras/mine.safetensors", r"C:\Users\Ada\loras\mine.safetensors"])
def test_a_file_is_told_by_its_name_alone(file: str) -> None:
    """Of either system's paths; what is left is still a stack that can be read."""
    params = GenerateParams(loras=(LoraUse(file=file, weight=0.5),)).to_json()
    told = without_places(Provenance(params=params), [NamedLora("mine", 0.5)])
    assert GenerateParams.from_json(told.params).loras == (LoraUse(file="mine.safetensors", weight=0.5),)
    assert "Ada" not in json.dumps(told.to_json()) and "/home" not in json.dumps(told.to_json())


_FOLDERS = st.lists(
    st.text(st.characters(categories=("L", "Nd", "Zs")), min_size=3, max_size=8), min_size=1, max_size=4
)


@given(
    folders=_FOLDERS, slash=st.sampled_from(["/", "\\"]), drive=st.sampled_from(["", "C:", "//nas"]), edit=st.booleans()
)
@settings(max_examples=100, deadline=None)
def test_no_text_of_a_picture_holds_a_folder(folders: list[str], slash: str, drive: str, edit: bool) -> None:
    """Wherever a LoRA's file lies, on whatever system: both chunks have its name and nothing before it."""
    place = drive + slash + slash.join(f"q{each}q" for each in folders) + slash
    loras = (LoraUse(file=f"{place}mine.safetensors", weight=0.5),)
    params = EditParams(instruction="smile", loras=loras) if edit else GenerateParams(prompt="ohwx", loras=loras)
    made = Provenance(params=params.to_json(), params_kind=type(params).__name__, model="fake-flux")

    info = png_info(without_places(made, [NamedLora("mine", 0.5, "abc")]), (64, 64))

    with Image.open(io.BytesIO(to_png(Image.new("RGB", (64, 64)), info))) as picture:
        texts = {name: str(text) for name, text in picture.info.items()}
    assert set(texts) == {"parameters", "flenwheel"} and all("mine" in text for text in texts.values())
    for text in (*texts.values(), repr(json.loads(texts["flenwheel"]))):
        assert not [each for each in (place, *(f"q{part}q" for part in folders)) if each in text]


@pytest.mark.parametrize("trigger", ['my"tok', "a/b", "C:\\x", "a:b", "x?", "con", "é" * 300, "小红", "..", " "])
def test_a_loras_name_is_a_file_on_every_system(trigger: str) -> None:
    """No character that a system or a prompt gives a meaning, and short enough."""
    version = Version(id="1", role=Role.CHARACTER, name="v1 / final", model="m", adapter="a")
    name = version_lora_name(trigger, version)
    assert not set(name) & set('"\\/:*?<>|,. ') and len(f"{name}-diffusers-hub.safetensors".encode()) < 255
    assert "character" in name and name.partition(".")[0].upper() not in ("CON", "PRN", "AUX", "NUL")


def test_what_drew_a_picture_is_told_with_hashes(store: Store, tmp_path: Path) -> None:
    """The files of its stack, then the version's own LoRA: names, strengths, and the hash that the file has."""
    save_file({"x": np.zeros(3)}, tmp_path / "hers.safetensors", {"modelspec.hash_sha256": "0x" + "ab" * 32})
    save_file({"x": np.ones(3)}, tmp_path / "mine.safetensors")
    version = store.add_version(tmp_path / "mine.safetensors", role=Role.CHARACTER, model="fake-flux")
    params = GenerateParams(prompt="ohwx", loras=(LoraUse(file=str(tmp_path / "hers.safetensors"), weight=0.5),))
    record = store.add_image(
        Image.new("RGB", (8, 8)), kind=Kind.SYNTHETIC, model="fake-flux", version=version.id,
        params=params.to_json(), params_kind="GenerateParams",
    )  # fmt: skip

    hers, own = read_provenance(store.path(record.id)).loras
    assert hers == LoraName(name="hers", weight=0.5, hash="abababababab")
    assert own.name == version_lora_name(store.character.trigger, version) and len(own.hash) == 12
    with Image.open(store.path(record.id)) as picture:
        found = read(picture.info["parameters"])
    assert [name for name, _ in found["loras"]] == ["hers", own.name]
    assert list(record.params["loras"]) == list(params.to_json()["loras"])  # what is kept here can be drawn again


# ── all that leaves ─────────────────────────────────────────────────────────────────────────────


def _all_bytes(file: Path) -> bytes:
    """A file's own, and those of what lies in it: members of archives, texts of pictures."""
    data = file.read_bytes()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = [archive.read(name) for name in archive.namelist()]
            return b"\n".join((data, *(member + _texts(member) for member in members)))
    return data + _texts(data)


def _texts(data: bytes) -> bytes:
    if not data.startswith(b"\x89PNG"):
        return b""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return repr(picture.info).encode()


def test_nothing_that_leaves_names_a_place_on_this_machine(world: Any, tmp_path: Path) -> None:
    """Drawn pictures, LoRAs and repositories, datasets in every layout: no path of the home is in them."""
    save_file({"fake.mean": np.zeros((4, 4, 3), dtype=np.uint8)}, tmp_path / "hers.safetensors")
    uses = [{"file": str(tmp_path / "hers.safetensors"), "weight": 0.5}]
    api = Api(world.studio)
    world.finish(train.submit(world.desk))
    (version,) = world.store.versions.all()
    plan = enrich.plan(world.desk, limit=3, knobs={"loras": uses})
    world.finish(enrich.submit(world.desk, plan.rows))
    drawn = api.generate_submit(world.id, ["ohwx"], 2, version.id, params={"loras": uses})
    world.finish(world.studio.jobs.get(drawn["job_id"]))
    for image in world.store.select((Kind.ENRICHED, Kind.SYNTHETIC)):
        api.review_decide(world.id, image.id, "good")
    world.finish(refine.submit(world.desk))

    left = [world.store.path(image.id) for image in world.store.select()]
    for each in world.store.versions.all():
        left += [Path(api.lora_export(world.id, each.id, form)["file_path"]) for form in ("diffusers", "hub")]
    for layout in ("kohya", "ai-toolkit", "musubi-tuner", "onetrainer"):
        left.append(Path(api.dataset_export(world.id, layout)["file_path"]))
    left += [
        Path(api.dataset_export(world.id, layout, "editor")["file_path"]) for layout in ("ai-toolkit", "musubi-tuner")
    ]

    places = {str(tmp_path), str(Path.home()), str(world.store.folder), str(world.studio.settings.data_root)}
    assert len(left) > 12 and any(b"hers" in _all_bytes(file) for file in left)
    for file in left:
        assert not [place for place in places if place != "/" and place.encode() in _all_bytes(file)], file.name


def test_a_picture_of_before_leaves_without_the_place_of_its_loras(world: Any, tmp_path: Path) -> None:
    """Earlier versions wrote whole paths into pictures: what is exported has names, and the same pixels."""
    params = {"prompt": "ohwx", "loras": [{"file": str(tmp_path / "hers.safetensors"), "weight": 0.5}]}
    told = {"params": params, "params_kind": "GenerateParams"}
    chunks = PngInfo()
    chunks.add_text("parameters", f"ohwx\nLoras: {tmp_path}")
    chunks.add_text("flenwheel", json.dumps(told))
    picture = Image.linear_gradient("L").convert("RGB")
    old = world.store.add_image(to_png(picture, chunks), kind=Kind.SYNTHETIC, caption="ohwx")
    world.store.decide(old.id, Verdict.GOOD)
    assert str(tmp_path).encode() in _all_bytes(world.store.path(old.id))

    file = Path(Api(world.studio).dataset_export(world.id, "kohya")["file_path"])

    assert str(tmp_path).encode() not in _all_bytes(file)
    with zipfile.ZipFile(file) as archive:
        leaving = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist() if name.endswith(".png")]
    (same,) = [each for each in leaving if each.size == picture.size]
    assert same.tobytes() == picture.tobytes() and "<lora:hers:0.5>" in same.info["parameters"]


@pytest.mark.parametrize("chunk", ["{", "[5]", '{"params": {"loras": 5}}'])
def test_a_picture_whose_chunk_cannot_be_read_leaves_without_it(world: Any, chunk: str) -> None:
    """It stops no export, and its pixels are the same."""
    chunks = PngInfo()
    chunks.add_text("flenwheel", chunk)
    picture = Image.radial_gradient("L").convert("RGB")
    world.store.add_image(to_png(picture, chunks), kind=Kind.SOURCE, caption="ohwx")

    file = Path(Api(world.studio).dataset_export(world.id, "kohya")["file_path"])

    with zipfile.ZipFile(file) as archive:
        leaving = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist() if name.endswith(".png")]
    (same,) = [each for each in leaving if each.size == picture.size]
    assert same.tobytes() == picture.tobytes() and "flenwheel" not in same.info
