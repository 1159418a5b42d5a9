"""Tests the whole training of the embedded models, at a tiny scale."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engines.api.errors import NotFound
from engines.mini.build import Build, main
from engines.mini.options import parser
from engines.mini.specialists import COMIC, SPECIALISTS
from engines.mini.stages import SCHEDULES, STAGES, Size, later_stages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning"),  # torch's, of autocast
]

SIZE = Size(
    scenes=40, empty_prompts=16, paths=4, lessons=4, vae_pictures=8, reader_pictures=16, identity_pictures=16,
    generated=4, generator_steps=2, edits_a_task=1, editor_steps=2,
)  # fmt: skip
PLANS = {stage: replace(plan, steps=2, batch=4) for stage, plan in SCHEDULES.items()}
TRAINED = [stage for stage in STAGES if stage in PLANS]
EDITOR = "qwen_edit/transformer/diffusion_pytorch_model.safetensors"
FEW_STEPS = "qwen_edit/few_steps/adapter.safetensors"
OF_THE_EDITOR = {"few_steps", *SPECIALISTS}  # the stages that train a LoRA of the editor


def tiny(out: Path, cache: Path, scale: float = 1.0) -> Build:
    """Returns a build that takes seconds."""
    return Build(out, cache, scale, compiled=False, schedules=PLANS, size=SIZE)


def weights(out: Path) -> dict[str, bytes]:
    """Returns all weights that a build has written."""
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*.safetensors"))}


def manifest(out: Path) -> dict[str, Any]:
    """Returns a build's manifest, which has no NaN and so is JSON."""
    return dict(json.loads((out / "manifest.json").read_text(encoding="utf-8"), parse_constant=pytest.fail))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Trains all models for two steps a stage."""
    folder = tmp_path_factory.mktemp("family")
    build = tiny(folder / "assets" / "mini", folder / "cache")
    for stage in STAGES:
        build.run(stage)
    return build


@pytest.fixture
def copied(built: Build, tmp_path: Path) -> Path:
    """Returns a copy of those weights without the cache of their training."""
    return Path(shutil.copytree(built.out, tmp_path / "assets" / "mini"))


def test_the_command_needs_no_argument() -> None:
    """All arguments are optional, and no default has the path of one machine."""
    options = parser().parse_args([])
    assert options.cache.is_relative_to(Path.home()) and options.out == Path("assets/mini")
    assert options.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_command_runs_the_stage_that_it_is_told(tmp_path: Path) -> None:
    """The sample character alone is drawn beside the weights' folder, and nothing else is written."""
    out, cache = tmp_path / "mini", tmp_path / "cache"
    threads = str(torch.get_num_threads())
    main(["--stage", "sample", "--out", str(out), "--cache", str(cache), "--threads", threads])
    assert len(list((tmp_path / "sample").glob("*.png"))) == 12
    assert not out.exists() and not cache.exists()


def test_what_has_to_be_learned_anew_follows_from_what_is_learned_from() -> None:
    """A new captioner needs a new editor, and that new LoRAs, and is taught questions anew."""
    assert later_stages("captioner") == {"edit", "questions", *OF_THE_EDITOR}
    assert later_stages("vae_flux") == {"flux", "flux_poses", "polish_flux", "lora_comic"}
    assert later_stages("few_steps") == set()


def test_one_run_makes_everything(built: Build) -> None:
    """Every stage is in the manifest with its steps and figures, and the sample character is drawn."""
    told = manifest(built.out)
    assert {told["stages"][stage]["steps"] for stage in TRAINED} == {2}
    assert told["stages"]["measure_flux"]["captions"] == 4 and told["stages"]["measure_edit"]["per_task"] == 1
    assert told["stages"].keys() == set(STAGES) and told["stages"]["draw"]["pictures"] == 80
    assert len(list((built.out.parent / "sample").glob("*.png"))) == 12
    names = [*(own.name for own in SPECIALISTS.values()), COMIC.name]
    assert {file.stem for file in built.loras.glob("*.safetensors")} == set(names)
    assert (built.out / FEW_STEPS).exists() and (built.out / "oracle" / "oracle.json").exists()


def test_a_second_run_skips_what_is_done(built: Build) -> None:
    """No weight is written again."""
    before = {file: file.stat().st_mtime_ns for file in built.out.rglob("*.safetensors")}
    again = tiny(built.out, built.cache)
    for stage in TRAINED:
        again.run(stage)
    assert {file: file.stat().st_mtime_ns for file in built.out.rglob("*.safetensors")} == before


def test_another_folder_gets_its_weights(built: Build, tmp_path: Path) -> None:
    """With the cache of another folder's training nothing counts as done; a run writes the same weights there."""
    cache = Path(shutil.copytree(built.cache, tmp_path / "cache"))
    other = tiny(tmp_path / "mini", cache)
    assert not any(other.done(stage) for stage in TRAINED)
    other.run("reader")
    assert other.done("reader") and weights(other.out) == {
        name: data for name, data in weights(built.out).items() if name == "oracle/reader.safetensors"
    }


def test_another_number_of_scenes_makes_every_stage_undone(built: Build) -> None:
    """Neither a record nor a checkpoint of other training pictures counts."""
    more = replace(built, size=replace(SIZE, scenes=48))
    assert all(built.done(stage) and not more.done(stage) for stage in TRAINED)
    assert more.work != built.work


@pytest.mark.parametrize("stage", ["measure_flux", "measure_edit"])
def test_nothing_is_measured_without_a_record(stage: str, copied: Path, tmp_path: Path) -> None:
    """Weights whose manifest is gone are not measured, and the missing stage is named."""
    (copied / "manifest.json").unlink()
    with pytest.raises(NotFound, match=r"the stage (flux|edit)\."):
        tiny(copied, tmp_path / "cache").run(stage)


def test_one_stage_is_learned_anew_beside_what_ships(built: Build, copied: Path, tmp_path: Path) -> None:
    """Without the other stages' cache only the editor is written; its LoRAs become stale, and the rest stays."""
    before, told, build = weights(copied), manifest(copied)["stages"], tiny(copied, tmp_path / "cache", scale=0.5)
    build.run("edit")
    after, stages = weights(copied), manifest(copied)["stages"]
    assert {name for name in before if before[name] != after[name]} == {EDITOR}
    assert stages["edit"]["steps"] == 1 and build.done("edit")
    assert stages["few_steps"] == told["few_steps"] | {"stale": True} and not build.done("few_steps")
    assert {stage for stage in STAGES if stages[stage] != told[stage]} == {"edit", *OF_THE_EDITOR}
    build.run("few_steps")
    assert "stale" not in manifest(copied)["stages"]["few_steps"] and build.done("few_steps")


def test_another_captioner_makes_the_editor_stale(copied: Path, tmp_path: Path) -> None:
    """The editor and its LoRAs become stale, and the cached states of the old captioner are deleted."""
    build = tiny(copied, tmp_path / "cache")
    build.work.mkdir(parents=True)
    build.cached("edits").touch()
    build.run("captioner")
    stages = manifest(copied)["stages"]
    assert {stage for stage in stages if stages[stage].get("stale")} == {"edit", "questions", *OF_THE_EDITOR}
    assert not build.cached("edits").exists()
    assert build.done("captioner") and not build.done("edit")


def test_what_questions_teach_is_added_to_the_captioner(built: Build) -> None:
    """The LoRA changes every layer that it names, in the copy that answers and in no file of the editor's own."""
    from engines.api.protocols import Component
    from engines.weights.taught import taught

    plain = built.text_encoder().state_dict()
    file = built.out / "qwen_edit" / "questions" / "adapter.safetensors"
    answering = taught(Component("mini/text_encoder", 0, built.text_encoder), file).load().state_dict()
    changed = {name for name in plain if not torch.equal(plain[name], answering[name])}
    assert len(changed) == 50
    assert {name.partition("model.")[2].partition(".")[0] for name in changed} == {"visual", "language_model"}
