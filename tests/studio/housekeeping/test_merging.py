"""LoRAs of the library are merged into one file, which the library keeps with its parts and their licences."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.api.errors import BadInput, Busy, NotFound
from studio.housekeeping import loras, merging
from studio.records.job import JobState
from studio.records.lora import LibraryLora
from studio.records.plan import StackedLora
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Workplace
from tests.studio.housekeeping.test_loras import ended, lora_file


def _kept(place: Workplace, lora: str, licence: str, width: int = 192, module: str = "attn.to_q") -> StackedLora:
    """A LoRA in the library; its place in a stack."""
    library = LoraLibrary(place.library)
    library.folder(lora).mkdir(parents=True)
    path = lora_file(library.folder(lora) / "a.safetensors", module=module, width=width)
    facts = place.registry.lora_facts(path)
    library.put(LibraryLora(id=lora, name=lora, file=path.name, facts=facts, licence=licence, task="lighting"))
    return StackedLora(lora=lora, weight=0.5)


@pytest.mark.slow
def test_a_merged_file_is_a_lora_of_the_library(place: Workplace) -> None:
    """Its record tells the parts, the strengths, all licences and the error; it outlives its parts."""
    stack = [_kept(place, "own-a", "MIT"), _kept(place, "own-b", "unknown", module="attn.to_v")]
    job = ended(place, merging.merge(place, stack, "both", words="do it"))
    assert job.state is JobState.DONE, job.error
    library = LoraLibrary(place.library)
    found = library.get("own-both")
    assert [(part.lora, part.weight, part.licence) for part in found.parts] == [
        ("own-a", 0.5, "MIT"),
        ("own-b", 0.5, "unknown"),
    ]
    assert (found.licence, found.task, found.words, found.merge_error) == ("MIT + unknown", "lighting", "do it", 0.0)
    assert found.facts is not None and (found.facts.base, found.facts.modules) == ("mini-qwen-edit", 2)
    for part in stack:
        loras.remove(place, part.lora)
    assert library.path("own-both").is_file()


@pytest.mark.slow
def test_a_rank_is_kept_and_its_error_told(place: Workplace) -> None:
    """Two random updates of rank 2 on one layer, cut to rank 1, lose most of their effect."""
    stack = [_kept(place, "own-a", "MIT"), _kept(place, "own-b", "MIT")]
    ended(place, merging.merge(place, stack, "small", rank=1))
    found = LoraLibrary(place.library).get("own-small")
    assert found.facts is not None and found.facts.ranks == (1, 1)
    assert 0 < found.merge_error < 1
    assert found.licence == "MIT"


@pytest.mark.slow
def test_a_merge_that_fails_leaves_nothing(place: Workplace) -> None:
    """A part that was removed before the job ran is named; the library has no new record and no new folder."""
    stack = [_kept(place, "own-a", "MIT"), _kept(place, "own-b", "MIT")]
    job = merging.merge(place, stack, "late")
    with pytest.raises(Busy, match="uses own-b"):
        loras.remove(place, "own-b")
    LoraLibrary(place.library).remove("own-b")
    job = ended(place, job)
    assert (job.state, job.error.code) == (JobState.FAILED, "not_found")
    library = LoraLibrary(place.library)
    assert [each.id for each in library.all()] == ["own-a"]
    assert not library.folder("own-late").exists()


def test_what_cannot_be_merged_is_refused_before_it_is_queued(place: Workplace) -> None:
    """One LoRA alone, one twice, one that is not here, two bases, no strength, a rank out of bounds."""
    one, other = _kept(place, "own-a", "MIT"), _kept(place, "own-b", "MIT", width=3072)
    for stack in ([one], [one, one]):
        with pytest.raises(BadInput, match="two LoRAs or more"):
            merging.merge(place, stack)
    with pytest.raises(BadInput, match="not all of one known base"):
        merging.merge(place, [one, other])
    with pytest.raises(NotFound):
        merging.merge(place, [one, StackedLora(lora="fal-angles")])
    with pytest.raises(BadInput, match="rank is -1"):
        merging.merge(place, [one, other], rank=-1)
    still = [StackedLora(lora=lora, weight=0.0) for lora in ("own-a", _kept(place, "own-c", "MIT").lora)]
    with pytest.raises(BadInput, match="strengths are 0"):
        merging.merge(place, still)
    assert place.jobs.list() == [] and not list(Path(place.settings.data_root).glob("loras/own-late"))
