"""From a hub to a folder that the engines can read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput, DiskFull, ModelGated, ModelMissing, Unreachable
from engines.api.protocols import FewSteps, ModelSpec
from engines.catalogue.given import Given, Source
from engines.catalogue.hub import FolderHub, Listing, RemoteFile
from engines.catalogue.models import MODELS
from engines.catalogue.pulling import Pull, missing_bytes
from engines.catalogue.registry import Registry
from engines.catalogue.weights import held_forms, is_pulling, pulled_form
from engines.fake.hub import FakeHub

SPEC = ModelSpec(
    name="toy", label="toy", role="generator", family="flux", engine="engines.families.flux.engine:Flux",
    source="maker/toy",
    licence="Toy Licence", options={"nf4": ("transformer",)},
)  # fmt: skip
SHARD = "transformer/model-00002-of-00002.safetensors"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository in diffusers layout, with what a pull should leave alone."""
    folder = tmp_path / "repository"
    files = {
        "model_index.json": b"{}",
        "transformer/config.json": b"{}",
        "transformer/model-00001-of-00002.safetensors": b"a" * 4000,
        SHARD: b"b" * 6000,
        "vae/model.safetensors": b"c" * 900,
        "tokenizer/merges.txt": b"m",
        "toy.safetensors": b"x" * 9999,
        "vae/model.fp16.safetensors": b"x" * 450,
        "transformer/model.bin": b"x",
        "README.md": b"x",
    }
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@pytest.fixture
def pull(tmp_path: Path) -> Callable[..., Pull]:
    """How a pull of the toy is made; what it quantises is written down instead."""

    def make(hub: Any, spec: ModelSpec = SPEC, free: int = 1 << 40, **more: Any) -> Pull:
        def write(spec: ModelSpec, home: Path, name: str, form: str, source: Source, *, on_tensor: Any) -> None:
            assert source.path.exists()
            on_tensor(1, 1)
            target = home / (name if form == "bf16" else f"{name}.{form}")
            target.mkdir(exist_ok=True)
            (target / "quantised.json").write_text(json.dumps({"bytes": 7, "source": str(source.path)}))

        return Pull(spec, tmp_path / "home", hub, write=write, free=lambda _: free, **more)

    return make


def _quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def test_what_engines_read_comes_and_nothing_else(pull, repository: Path, tmp_path: Path) -> None:
    """Parts in diffusers layout are fetched; whole checkpoints, variants and other formats stay where they are."""
    work = pull(FakeHub(repository))
    home = work.run(work.survey("bf16"), _quiet)
    there = {file.relative_to(home).as_posix() for file in home.rglob("*") if file.is_file()}
    assert there == {
        "model_index.json", "pulled.json", "tokenizer/merges.txt", "transformer/config.json",
        "transformer/model-00001-of-00002.safetensors", SHARD, "vae/model.safetensors",
    }  # fmt: skip
    assert not is_pulling(home)


def test_quantised_once(pull, repository: Path) -> None:
    """A second pull has nothing to do; another form is quantised beside the first, without a download."""
    work = pull(FakeHub(repository))
    home = work.run(work.survey("nf4"), _quiet)
    assert (held_forms(home), pulled_form(home)) == (["nf4"], "nf4")
    assert work.survey("nf4").nothing_to_do

    again = work.survey("int8")
    assert (again.download, again.to_quantise) == (0, ("transformer",))
    work.run(again, _quiet)
    assert (held_forms(home), pulled_form(home)) == (["nf4", "int8"], "int8")


def test_what_was_deleted_once_it_was_quantised_is_not_missing(pull, repository: Path) -> None:
    """Neither for a second pull nor in what a page shows of one that broke off; linked files free nothing."""
    work = pull(FakeHub(repository))
    home = work.run(work.survey("nf4"), _quiet)
    kept = home / "elsewhere"
    kept.hardlink_to(home / SHARD)
    whole = sum(file.stat().st_size for file in (home / "transformer").glob("*.safetensors"))
    assert work.forget_originals("nf4") == whole - kept.stat().st_size
    assert missing_bytes(home) == 0


def test_a_cut_connection_goes_on_where_it_broke(pull, repository: Path, tmp_path: Path) -> None:
    """What had come of a file is kept: the next run asks from that byte on, and no finished file is asked for again."""
    hub = FakeHub(repository, cut={SHARD: 2500})
    work = pull(hub)
    with pytest.raises(Unreachable):
        work.run(work.survey("nf4"), _quiet)
    home = tmp_path / "home"
    assert is_pulling(home)
    assert missing_bytes(home) == 3500
    hub.asked.clear()

    survey = work.survey("nf4")
    assert survey.download == 3500
    work.run(survey, _quiet)
    assert hub.asked == [(SHARD, 2500)]
    assert (home / SHARD).read_bytes() == (repository / SHARD).read_bytes()
    assert missing_bytes(home) == 0


def test_a_wrong_hash_is_thrown_away(pull, repository: Path, tmp_path: Path) -> None:
    """A file whose bytes are not what the hub lists never gets its name; the next run fetches it anew."""
    work = pull(FakeHub(repository, spoilt=(SHARD,)))
    with pytest.raises(ModelMissing, match="damaged"):
        work.run(work.survey("nf4"), _quiet)
    assert not (tmp_path / "home" / SHARD).exists()
    work.run(work.survey("nf4"), _quiet)
    assert (tmp_path / "home" / SHARD).read_bytes() == (repository / SHARD).read_bytes()


def test_no_room_is_said_before_anything_is_fetched(pull, repository: Path, tmp_path: Path) -> None:
    """Too small a disk is refused with needed and free bytes, and nothing was written."""
    hub = FakeHub(repository)
    work = pull(hub, free=1 << 20)
    with pytest.raises(DiskFull, match=r"needs 1\.0 GiB .* 0\.0 GiB is free") as refused:
        work.run(work.survey("nf4"), _quiet)
    assert "--models" in refused.value.hint and "FLENWHEEL_MODELS" in refused.value.hint
    assert hub.asked == []
    assert not (tmp_path / "home").exists()


def test_a_gate_without_a_token_gets_three_steps(pull, repository: Path) -> None:
    """No token for a gated model: licence page, token page, login; nothing is asked for before."""
    hub = FakeHub(repository, gated=True, token=False)
    work = pull(hub)
    with pytest.raises(ModelGated) as refused:
        work.run(work.survey("nf4"), _quiet)
    for words in ("1. Accept", "huggingface.co/maker/toy", "2. Create", "3. Run `hf auth login`", "HF_TOKEN"):
        assert words in refused.value.hint
    assert hub.asked == []


def test_a_licence_not_accepted_is_met_at_the_smallest_file(pull, repository: Path) -> None:
    """With a token but no accepted licence, the hub's refusal comes after one small request, not after gigabytes."""
    hub = FakeHub(repository, gated=True, refused=True)
    work = pull(hub)
    with pytest.raises(ModelGated, match="403"):
        work.run(work.survey("nf4"), _quiet)
    assert hub.asked == [("tokenizer/merges.txt", 0)]


def test_offline_is_said(pull, repository: Path) -> None:
    """Without a network the survey already says so."""
    with pytest.raises(Unreachable, match="cannot be reached"):
        pull(FakeHub(repository, offline=True)).survey("nf4")


def test_an_unknown_form_names_the_known(pull, repository: Path) -> None:
    """A form that does not exist is refused with those that do."""
    with pytest.raises(BadInput, match="int3"):
        pull(FakeHub(repository)).survey("int3")


def test_a_folder_of_this_machine_is_linked(pull, repository: Path, tmp_path: Path) -> None:
    """From a local folder nothing is downloaded and, on one disk, nothing is copied."""
    work = pull(FolderHub(repository))
    survey = work.survey("bf16")
    assert (survey.download, survey.room) == (0, 0)
    home = work.run(survey, _quiet)
    assert (home / SHARD).stat().st_ino == (repository / SHARD).stat().st_ino


def _of_file(file: Path) -> Given:
    """What a user gives as the transformer's own file."""
    return Given(parts={"transformer": Source(file)})


def test_a_single_file_stands_for_the_transformer(pull, repository: Path, tmp_path: Path) -> None:
    """With the transformer's own file given, the repository's is not fetched; its configuration is."""
    file = tmp_path / "flux1-dev.safetensors"
    file.write_bytes(b"x")
    hub = FakeHub(repository)
    work = pull(hub, given=_of_file(file))
    home = work.run(work.survey("nf4"), _quiet)
    assert (home / "transformer" / "config.json").is_file()
    assert not list((home / "transformer").glob("*.safetensors"))
    assert held_forms(home) == ["nf4"]


def test_given_weights_replace_those_that_are_here(pull, repository: Path, tmp_path: Path) -> None:
    """A component is quantised anew from a given file, once; a pull without given weights keeps what is here."""
    file = tmp_path / "flux1-dev.safetensors"
    file.write_bytes(b"x")
    hub = FakeHub(repository)
    of_hub, of_file = pull(hub), pull(hub, given=_of_file(file))
    of_hub.run(of_hub.survey("nf4"), _quiet)
    survey = of_file.survey("nf4")
    assert survey.to_quantise == ("transformer",)
    home = of_file.run(survey, _quiet)
    assert json.loads((home / "transformer.nf4" / "quantised.json").read_text())["source"] == str(file)
    assert of_file.survey("nf4").nothing_to_do and of_hub.survey("nf4").nothing_to_do
    os.utime(file, ns=(0, 1))
    assert pull(hub, given=_of_file(file)).survey("nf4").to_quantise == ("transformer",)


def test_a_given_part_gives_way_to_the_hubs(pull, repository: Path, tmp_path: Path) -> None:
    """A part written at full width stays through a pull without it; nothing of it is left beside the hub's."""
    vae = tmp_path / "ae.safetensors"
    vae.write_bytes(b"x")
    hub = FakeHub(repository)
    of_hub, of_file = pull(hub), pull(hub, given=Given(parts={"vae": Source(vae)}))
    home = of_file.run(of_file.survey("nf4"), _quiet)
    assert "vae/model.safetensors" not in {path for path, _ in hub.asked}
    assert of_file.survey("nf4").nothing_to_do and of_hub.survey("nf4").nothing_to_do

    (home / "vae" / "model-00001.safetensors").write_bytes(b"given")
    work = pull(FolderHub(repository), given=Given(folder=repository))
    work.run(work.survey("nf4"), _quiet)
    assert [file.name for file in (home / "vae").iterdir()] == ["model.safetensors"]


def test_a_given_folder_of_other_weights_is_copied(pull, repository: Path, tmp_path: Path) -> None:
    """Files of equal size are compared, those that are equal stay, and shards that only the old weights have go."""
    old = pull(FakeHub(repository))
    home = old.run(old.survey("nf4"), _quiet)
    (repository / SHARD).rename(repository / "transformer" / "rest.safetensors")
    (repository / "transformer" / "model-00001-of-00002.safetensors").write_bytes(b"z" * 4000)
    (home / "transformer" / "model.fp16.safetensors").write_bytes(b"a variant, which nothing reads")
    work = pull(FolderHub(repository), given=Given(folder=repository))
    survey = work.survey("nf4")
    paths = {each.path for each in survey.missing}
    assert paths == {"transformer/model-00001-of-00002.safetensors", "transformer/rest.safetensors"}
    assert survey.to_quantise == ("transformer",)
    work.run(survey, _quiet)
    assert (home / "transformer" / "model-00001-of-00002.safetensors").read_bytes() == b"z" * 4000
    assert not (home / SHARD).exists() and (home / "transformer" / "model.fp16.safetensors").exists()
    assert work.survey("nf4").nothing_to_do


def test_a_damaged_file_in_the_cache_is_downloaded(pull, repository: Path, tmp_path: Path) -> None:
    """A file that the machine has with a wrong hash is downloaded instead, so that the first pull already succeeds."""
    cached = tmp_path / "cached"
    cached.write_bytes(b"!" * 6000)

    class Cached(FakeHub):
        def local(self, listing: Listing, file: RemoteFile) -> Path | None:
            return cached if file.path == SHARD else None

    work = pull(Cached(repository))
    home = work.run(work.survey("bf16"), _quiet)
    assert (home / SHARD).read_bytes() == b"b" * 6000
    assert cached.read_bytes() == b"!" * 6000


@pytest.mark.parametrize(("form", "given", "ready"), [("int8", "", True), ("nf4", "mark", False)])
def test_a_model_stays_ready_while_a_form_is_added(
    form: str, given: str, ready: bool, pull, repository: Path, tmp_path: Path
) -> None:
    """A pull that breaks off leaves the model in the form that was there, unless it was to replace that form."""
    first = pull(FakeHub(repository))
    home = first.run(first.survey("nf4"), _quiet)
    first.forget_originals("nf4")
    second = pull(FakeHub(repository, cut={SHARD: 2500}), given=Given(folder=repository) if given else None)
    with pytest.raises(Unreachable):
        second.run(second.survey(form), _quiet)
    registry = Registry(tmp_path, tmp_path, [SPEC])
    home = home.rename(registry.home(SPEC))
    assert (registry.here("toy"), is_pulling(home), pulled_form(home)) == (ready, not ready, "nf4")


def test_an_unfinished_form_is_not_held(pull, repository: Path) -> None:
    """The form that an unfinished pull adds does not count as held, even if one of its components is here."""
    work = pull(FakeHub(repository))
    home = work.run(work.survey("nf4"), _quiet)
    work.run(work.survey("int8"), _quiet)
    (home / "pulled.json").write_text(json.dumps({"form": "nf4"}))
    (home / "pulling.json").write_text(json.dumps({"form": "int8", "files": {SHARD: 7000}}))
    assert (held_forms(home), pulled_form(home), missing_bytes(home)) == (["nf4"], "nf4", 0)


def test_originals_can_be_forgotten(pull, repository: Path) -> None:
    """Once quantised, full-width weights may go: nothing is fetched again for that form, and they are for another."""
    work = pull(FakeHub(repository))
    home = work.run(work.survey("nf4"), _quiet)
    assert work.forget_originals("nf4") == 10_000
    assert (home / "vae" / "model.safetensors").is_file()
    assert work.survey("nf4").nothing_to_do
    assert work.survey("int8").download == 10_000


def test_the_few_step_adapter_comes_along(pull, repository: Path, tmp_path: Path) -> None:
    """A row's distilled adapter is fetched from its own repository to where the editor looks for it."""
    few = FewSteps(file="few_steps/fast.safetensors", source="other/fast/vae/model.safetensors")
    work = pull(FakeHub(repository), spec=replace(SPEC, few_steps=few))
    home = work.run(work.survey("bf16"), _quiet)
    assert (home / "few_steps" / "fast.safetensors").read_bytes() == b"c" * 900


def test_a_half_pulled_model_is_not_a_model(tmp_path: Path) -> None:
    """The registry does not hand out a folder whose pull never ended, and names the command that ends it."""
    row = next(spec for spec in MODELS if spec.name == "Qwen-Image-Edit-2511")
    registry = Registry(tmp_path, tmp_path / "models")
    home = registry.home(row)
    home.mkdir(parents=True)
    (home / "pulling.json").write_text(json.dumps({"form": "nf4", "files": {"a": 5}}))
    with pytest.raises(ModelMissing, match="only partly") as missing:
        registry.folder(row)
    assert "launch.py pull Qwen-Image-Edit-2511" in missing.value.hint


def test_a_folder_source_is_used_where_it_lies(tmp_path: Path) -> None:
    """A row whose source is a folder is read from there, with no copy; a folder that is gone is named."""
    (tmp_path / "mine" / "vae").mkdir(parents=True)
    (tmp_path / "mine" / "model_index.json").write_text('{"vae": ["diffusers", "AutoencoderKL"]}')
    registry = Registry(tmp_path, tmp_path / "models")
    assert registry.folder(replace(SPEC, source=f"folder:{tmp_path / 'mine'}")) == tmp_path / "mine"
    with pytest.raises(ModelMissing) as missing:
        registry.folder(replace(SPEC, source=f"folder:{tmp_path / 'gone'}"))
    assert missing.value.hint == f"Put its diffusers-layout folder at {tmp_path / 'gone'}."
