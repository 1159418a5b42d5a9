"""An editor's training begins with a LoRA of the library, and its licence goes with what is trained."""

from __future__ import annotations

from zipfile import ZipFile

import pytest

from engines.api.errors import BadInput, NotFound
from engines.catalogue.lora_bases import LoraFacts
from engines.training import runfile
from studio.api.api import Api
from studio.flywheel.export.export import export_version
from studio.flywheel.refine import beginning
from studio.flywheel.refine import editor as refine
from studio.housekeeping import loras
from studio.records.job import JobState
from studio.records.lora import BegunWith
from studio.store.lora_library import LoraLibrary
from tests.studio.conftest import World
from tests.studio.flywheel.enrich.test_own_words import kept_lora

FACTS = LoraFacts(naming="diffusers", tensors=2, modules=1, ranks=(2, 8))
BEGUN = BegunWith(lora="own-a", name="own-a", sha256="", licence="MIT", rank=8)


def _library(world: World) -> None:
    """A LoRA that fits the editor, one that does not, and one that nobody has read."""
    library = LoraLibrary(world.studio.library)
    for lora in ("own-a", "own-b", "own-c"):
        kept_lora(world, lora)
    other = LoraFacts(naming="diffusers", tensors=2, modules=1, ranks=(2, 8), base="FLUX.1", family="flux")
    for lora, facts in (("own-a", FACTS), ("own-b", other), ("own-c", None)):
        library.put(library.get(lora).replace(facts=facts, licence="MIT", sha256=""))


def test_the_version_carries_what_it_began_with(world: World) -> None:
    """Rank and alpha follow the file; the run has its own copy; the version, its model card and its licence tell it."""
    _library(world)
    world.review(approved=12)
    job = refine.submit(world.desk, start="own-a")
    loras.remove(world.studio, "own-a")
    run = runfile.read(world.store.run_dir(job.id)).run
    assert (run.origin, run.origin_licence, run.params.rank, run.params.alpha) == ("own-a", "MIT", 8, 8.0)
    assert run.start is not None and run.start.parent == world.store.run_dir(job.id).resolve()

    job = world.finish(job)
    assert job.state is JobState.DONE, job.error
    (version,) = world.store.versions.all()
    assert version.begun == BEGUN
    with ZipFile(export_version(world.desk, version.id, "hub")) as archive:
        card = archive.read("README.md").decode()
    assert "trained on from the LoRA own-a (licence: MIT)" in card
    assert 'license: "other"' in card and "-mit-license" in card


def test_a_script_begins_with_one_too(world: World) -> None:
    """The pre-flight tells licence and rank; a LoRA that does not fit is named there and refused."""
    _library(world)
    world.review(approved=12)
    api = Api(world.studio)
    told = api.refine_preflight(world.id, start="own-a")["preflight"]["checks"]
    assert any("begins with own-a, rank 8; its licence (MIT)" in each["label"] for each in told)
    failed = [each for each in api.refine_preflight(world.id, start="own-b")["preflight"]["musts"] if not each["ok"]]
    assert any("does not fit fake-edit" in each["hint"] for each in failed)
    assert api.refine_submit(world.id, start="own-b")["error"]["code"] == "bad_input"
    queued = api.refine_submit(world.id, start="own-a")
    assert world.studio.jobs.get(queued["job_id"]).payload["begun"]["licence"] == "MIT"


def test_what_cannot_be_begun_with_is_named(world: World) -> None:
    """A LoRA that is not here, one of another base, one that nobody has read; "" is a new LoRA."""
    _library(world)
    with pytest.raises(NotFound, match="fal-angles is not on this machine"):
        beginning.begun_with(world.studio, "fal-angles", "fake-edit")
    with pytest.raises(BadInput, match="own-b does not fit fake-edit"):
        beginning.begun_with(world.studio, "own-b", "fake-edit")
    with pytest.raises(BadInput, match="Nobody has read"):
        beginning.begun_with(world.studio, "own-c", "fake-edit")
    assert beginning.begun_with(world.studio, "", "fake-edit") is None
    assert [each.id for each in beginning.choices(world.studio, "fake-edit")] == ["own-a"]
