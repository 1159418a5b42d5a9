"""The whole training of the embedded family, at a toy's toy scale."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engines.mini.build import AT_ONCE, IN_LEGS, Build, main, parser
from engines.mini.plan import SCHEDULES, STAGES, Size, later_stages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning"),  # torch's, of autocast
]

SIZE = Size(
    scenes=40, untold=16, paths=4, looked_at=8, read=16, told_apart=16,
    generated=4, generator_steps=2, edits_a_task=1, editor_steps=2,
)  # fmt: skip
PLANS = {stage: replace(plan, steps=2, batch=4) for stage, plan in SCHEDULES.items()}
TRAINED = [stage for stage in STAGES if stage in PLANS]
EDITOR = "qwen_edit/transformer/diffusion_pytorch_model.safetensors"
FEW_STEPS = "qwen_edit/few_steps/adapter.safetensors"


def tiny(out: Path, cache: Path, scale: float = 1.0) -> Build:
    """A build of some seconds."""
    return Build(out, cache, scale, compiled=False, schedules=PLANS, size=SIZE)


def weights(out: Path) -> dict[str, bytes]:
    """All weights that a build has written."""
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*.safetensors"))}


def manifest(out: Path) -> dict[str, Any]:
    """What a build says of itself."""
    return dict(json.loads((out / "manifest.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A whole family, trained for two steps a stage."""
    folder = tmp_path_factory.mktemp("family")
    build = tiny(folder / "assets" / "mini", folder / "cache")
    for stage in STAGES:
        build.run(stage)
    return build


@pytest.fixture
def copied(built: Build, tmp_path: Path) -> Path:
    """Those weights as somebody else has them: without the cache of their training."""
    return Path(shutil.copytree(built.out, tmp_path / "assets" / "mini"))


def test_the_command_needs_no_argument() -> None:
    """As it stands in the README and the manifest it is understood, and no path of one machine is in it."""
    options = parser().parse_args([])
    assert options.cache.is_relative_to(Path.home()) and options.out == Path("assets/mini")
    assert options.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_what_has_to_be_learned_anew_follows_from_what_is_learned_from() -> None:
    """A captioner's successor asks for another editor, and that for another few-step adapter."""
    assert later_stages("captioner") == {"edit", "few_steps"}
    assert later_stages("vae_flux") == {"flux", "polish_flux"}
    assert later_stages("few_steps") == set()


def test_one_run_makes_everything(built: Build) -> None:
    """Every stage is in the manifest with its steps and figures, the sample character is drawn, nothing went on."""
    told = manifest(built.out)
    assert {told["stages"][stage]["steps"] for stage in TRAINED} == {2}
    assert told["stages"]["measure_flux"]["captions"] == 4 and told["stages"]["measure_edit"]["per_task"] == 1
    assert told["made"] == AT_ONCE and told["pictures"] == 80
    assert len(list((built.out.parent / "sample").glob("*.png"))) == 12
    assert (built.out / FEW_STEPS).exists() and (built.out / "oracle" / "oracle.json").exists()


def test_a_second_run_skips_what_is_done(built: Build) -> None:
    """Not a weight is written again."""
    before = {file: file.stat().st_mtime_ns for file in built.out.rglob("*.safetensors")}
    again = tiny(built.out, built.cache)
    for stage in TRAINED:
        again.run(stage)
    assert {file: file.stat().st_mtime_ns for file in built.out.rglob("*.safetensors")} == before


def test_only_what_is_told_goes_on(built: Build, copied: Path, tmp_path: Path) -> None:
    """The editor learns on, and its adapter is stale; the others stay, however long they would learn now."""
    before, build = weights(copied), tiny(copied, tmp_path / "cache", scale=0.5)
    build.go_on(("edit",))
    for stage in TRAINED:
        if stage != "few_steps":
            build.run(stage)
    after = weights(copied)
    assert {name for name in before if before[name] != after[name]} == {EDITOR}
    told = manifest(copied)
    assert told["made"] == IN_LEGS
    assert (told["stages"]["edit"]["steps"], told["stages"]["edit"]["history"]) == (1, "2 steps")
    assert told["stages"]["reader"]["steps"] == 2 and build.done("reader")
    assert told["stages"]["few_steps"]["stale"] and not build.done("few_steps")
    build.notes.begin("few_steps")
    assert build.notes.read("few_steps") == {}
    start = torch.load(tmp_path / "cache" / "edit.start.pt", weights_only=True)["transformer"]
    shipped = load_file(built.out / EDITOR)
    assert start.keys() == shipped.keys() and all(torch.equal(start[name], shipped[name].float()) for name in start)


def test_another_captioner_makes_the_editor_stale(copied: Path, tmp_path: Path) -> None:
    """What the editor was told by is gone, so it and its adapter say so; told to, it goes on from what it was."""
    build = tiny(copied, tmp_path / "cache")
    build.go_on(("captioner",))
    (build.cache / "edits-of-another-recipe.pt").touch()
    build.run("captioner")
    stages = manifest(copied)["stages"]
    assert {stage for stage in stages if stages[stage].get("stale")} == {"edit", "few_steps"}
    assert not list(build.cache.glob("edits-*.pt"))
    assert build.done("captioner") and build.done("flux") and not build.done("edit")

    build.go_on(("edit",))
    assert build.notes.read("edit") == {"history": "2 steps"}
    assert (build.cache / "edit.start.pt").exists()


def test_two_editors_are_averaged_by_the_command(copied: Path, tmp_path: Path) -> None:
    """The mean is written in the place of the editor's weights alone and told; the adapter is of another editor now."""
    before, ours, other = weights(copied), load_file(copied / EDITOR), tmp_path / "other"
    (other / EDITOR).parent.mkdir(parents=True)
    save_file({name: value + 1 for name, value in ours.items()}, other / EDITOR)
    asked = ["--stage", "edit", "--average", str(other), "0.25", "--out", str(copied)]
    main([*asked, "--cache", str(tmp_path / "cache"), "--threads", str(torch.get_num_threads())])
    mixed = load_file(copied / EDITOR)
    assert all(torch.allclose(mixed[name].float(), ours[name].float() + 0.25, atol=0.02) for name in ours)
    assert {name for name, data in weights(copied).items() if data != before[name]} == {EDITOR}
    stages = manifest(copied)["stages"]
    assert stages["edit"]["averaged"] == "the mean of 0.75 of these weights and 0.25 of others"
    assert stages["few_steps"]["stale"] and not stages["edit"].get("stale")


def test_only_one_stage_that_has_weights_is_averaged(tmp_path: Path) -> None:
    """A mean of several stages, or of drawings, is a usage error."""
    for stages in ([], ["--stage", "draw"], ["--stage", "edit", "--stage", "flux"]):
        with pytest.raises(SystemExit):
            main([*stages, "--average", str(tmp_path), "0.5", "--out", str(tmp_path), "--cache", str(tmp_path)])
