"""The editors' LoRA library: LoRAs are added from the hub and from this machine, noted on, and removed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from engines.api.errors import BadInput, Busy, NotFound, Unreachable
from engines.catalogue.embedded_loras import EMBEDDED_LORAS
from engines.catalogue.weights import record as pull_record
from engines.fake.hub import FakeHub
from studio.housekeeping import loras
from studio.records.job import Job, JobState
from studio.records.lora import LibraryLora
from studio.records.payload import EnrichPayload, PlanRow
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Workplace

DELIGHT = "QIE-2511-Studio-DeLight-5000.safetensors"


def lora_file(path: Path, module: str = "attn.to_q", width: int = 192, rank: int = 2) -> Path:
    """A LoRA of the embedded editor's layers, with random numbers."""
    drawn = np.random.default_rng(0)
    factors = {
        f"transformer.transformer_blocks.0.{module}.lora_A.weight": drawn.normal(size=(rank, width)),
        f"transformer.transformer_blocks.0.{module}.lora_B.weight": drawn.normal(size=(width, rank)),
    }
    save_file({key: value.astype(np.float32) for key, value in factors.items()}, path)
    return path


def ended(place: Workplace, job: Job) -> Job:
    """Lets the queue run until a job has ended."""
    place.jobs.start()
    while (job := place.jobs.get(job.id)).state in (JobState.QUEUED, JobState.RUNNING):
        time.sleep(0.005)
    return job


def shown(place: Workplace, lora: str, editor: str = "Qwen-Image-Edit-2511") -> loras.Shown:
    """One LoRA as the library shows it."""
    return next(each for each in loras.shown(place, editor) if each.record.id == lora)


@pytest.mark.slow
def test_a_row_comes_from_the_hub_and_goes_on_where_it_broke_off(place: Workplace, tmp_path: Path) -> None:
    """Verified by its hash; then it is here with what its file says, and the licence is noted beside it."""
    folder = tmp_path / "delight"
    folder.mkdir()
    lora_file(folder / DELIGHT, width=3072)
    place.hub = FakeHub(folder, cut={DELIGHT: 100})
    assert not shown(place, "studio-delight").here

    first = ended(place, loras.download(place, "studio-delight"))
    assert (first.state, shown(place, "studio-delight").job) == (JobState.FAILED, first)
    again = ended(place, loras.download(place, "studio-delight"))

    assert (again.id, again.state) == (first.id, JobState.DONE)
    assert place.hub.asked == [(DELIGHT, 0), (DELIGHT, 100)]
    found = shown(place, "studio-delight")
    assert (found.here, found.why_not, found.job) == (True, "", None)
    assert found.record.facts is not None and found.record.facts.base == "Qwen-Image, 20B"
    assert pull_record(LoraLibrary(place.library).folder("studio-delight")).licence == "Apache-2.0"
    with pytest.raises(BadInput, match="is here already"):
        loras.download(place, "studio-delight")


@pytest.mark.slow
def test_a_file_of_ones_own_is_added_read_and_removed(place: Workplace, tmp_path: Path) -> None:
    """It is copied; what it is is told; removed it is gone, the user's own file stays."""
    own = lora_file(tmp_path / "My light.safetensors", module="img_mod.1")
    job = ended(place, loras.add(place, str(own), task="lighting", words="{light} light", licence="mine"))
    assert job.state is JobState.DONE, job.error
    found = shown(place, "own-my-light", "mini-qwen-edit")
    facts = found.record.facts
    assert facts is not None and (facts.base, facts.ranks, facts.modulation) == ("mini-qwen-edit", (2, 2), True)
    assert (found.here, found.why_not, found.record.licence, found.record.task) == (True, "", "mine", "lighting")
    assert "mini-qwen-edit" in shown(place, "own-my-light").why_not
    assert LoraLibrary(place.library).same(found.record.sha256) == found.record

    removed = loras.remove(place, "own-my-light")
    assert removed.name == "My light" and own.is_file()
    assert not LoraLibrary(place.library).folder("own-my-light").exists()
    with pytest.raises(NotFound, match="no LoRA"):
        LoraLibrary(place.library).get("own-my-light")


@pytest.mark.slow
def test_a_file_that_turns_out_to_be_no_plain_lora_is_put_away(place: Workplace, tmp_path: Path) -> None:
    """The job says why, and neither a record nor a file is left."""
    path = tmp_path / "lora.safetensors"
    save_file({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": np.zeros((2, 192), np.float32)}, path)
    job = ended(place, loras.add(place, str(path)))
    assert (job.state, job.error.code) == (JobState.FAILED, "lora_mismatch")
    assert LoraLibrary(place.library).all() == []
    assert not LoraLibrary(place.library).folder("own-lora").exists()


def test_what_cannot_be_added_is_refused_before_it_is_queued(place: Workplace, tmp_path: Path) -> None:
    """A row that does not fit or is not on the hub, no file, no LoRA, an unknown task, no network."""
    with pytest.raises(BadInput, match="ControlNet"):
        loras.download(place, "controlnet-union")
    with pytest.raises(BadInput, match="not on the hub") as elsewhere:
        loras.download(place, "consistence-2509")
    assert "Civitai" in elsewhere.value.hint
    with pytest.raises(NotFound):
        loras.download(place, "nobody")
    with pytest.raises(NotFound):
        loras.add(place, str(tmp_path / "none.safetensors"))
    with pytest.raises(BadInput, match="no task"):
        loras.add(place, str(lora_file(tmp_path / "a.safetensors")), task="dance")
    with pytest.raises(BadInput, match="no file and no repository"):
        loras.add(place, " ")
    with pytest.raises(NotFound, match="no file 'b'"):
        loras.add(place, "maker/x", "b")
    place.hub = FakeHub(tmp_path, offline=True)
    with pytest.raises(Unreachable):
        loras.download(place, "studio-delight")
    assert place.jobs.list() == []


def test_two_files_of_one_name_get_two_places(place: Workplace, tmp_path: Path) -> None:
    """Also while both still wait in the queue."""
    path = lora_file(tmp_path / "same.safetensors")
    titles = [loras.add(place, str(path)).payload["lora"] for _ in range(2)]
    assert titles == ["own-same", "own-same-2"]


def test_notes_and_a_star_outlive_a_file(place: Workplace) -> None:
    """They are kept for a row that is not here, too, and a starred LoRA stands first among its kind."""
    loras.note(place, "dx8152-angles", "turns too far")
    loras.note(place, "dx8152-angles", star=True)
    found = [each.record for each in loras.shown(place, "Qwen-Image-Edit-2511")]
    assert (found[0].id, found[0].notes, found[0].star) == ("dx8152-angles", "turns too far", True)
    library = LoraLibrary(place.library)
    library.put(found[0].replace(file="x.safetensors"))
    library.remove("dx8152-angles")
    assert (library.get("dx8152-angles").notes, library.get("dx8152-angles").file) == ("turns too far", "")


def test_a_lora_that_a_job_needs_stays(place: Workplace) -> None:
    """Removing it is refused until the job is done."""
    library = LoraLibrary(place.library)
    library.put(LibraryLora(id="own-a", name="a", file="a.safetensors"))
    library.folder("own-a").mkdir(parents=True)
    path = lora_file(library.folder("own-a") / "a.safetensors")
    row = PlanRow(source="x", params={"loras": [{"file": str(path), "weight": 1.0}]})
    place.jobs.submit("enrich", "", EnrichPayload(rows=(row,)), title="Enrich")
    with pytest.raises(Busy, match="Enrich uses a"):
        loras.remove(place, "own-a")
    assert path.is_file()


def test_what_ships_is_here_at_once_and_stays(place: Workplace) -> None:
    """For the editor that it ships with alone; it is noted on and starred, and neither downloaded nor removed."""
    assert not {row.name for row in EMBEDDED_LORAS} & {each.record.id for each in loras.shown(place, "fake-edit")}
    angles, library = shown(place, "mini-angles", "mini-qwen-edit"), LoraLibrary(place.library)
    assert (angles.here, angles.why_not, angles.record.licence) == (True, "", "Apache-2.0")
    with pytest.raises(BadInput, match="ships with this program"):
        loras.remove(place, "mini-angles")
    with pytest.raises(BadInput, match="is here already"):
        loras.download(place, "mini-angles")
    path = library.path("mini-angles")
    loras.note(place, "mini-angles", "turns well", star=True)
    library.put(library.get("mini-angles").replace(file="old.safetensors", sha256="0"))
    found = library.get("mini-angles")
    assert (found.notes, found.star, found.file, found.sha256) == ("turns well", True, path.name, angles.record.sha256)
    assert library.path("mini-angles") == path and library.is_here(found)


def test_one_that_ships_for_another_model_says_why_it_does_not_fit(place: Workplace) -> None:
    """It is shown, with the reason; in a plan it is refused with the names of both models."""
    reason = shown(place, "mini-flux-comic", "mini-qwen-edit").why_not
    assert "mini-flux" in reason
    facts = LoraLibrary(place.library).get("mini-flux-comic").facts
    assert facts is not None
    assert facts.why_not("mini-qwen-edit") == "It changes the layers of mini-flux; those of mini-qwen-edit are others."


def test_an_id_never_leaves_the_library(place: Workplace) -> None:
    """A path is no id."""
    for bad in ("../x", "", "a/b", "."):
        with pytest.raises(NotFound):
            LoraLibrary(place.library).folder(bad)
