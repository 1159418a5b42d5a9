"""Settings: models with their downloads, this machine's findings, folders, memory budget and floor."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.api.errors import BadInput, ModelGated, NotFound, UserError
from engines.fake import FAKE_MODELS
from engines.fake.hub import FakeHub
from studio.flywheel.train import character as train
from studio.housekeeping import kept, machine
from studio.housekeeping import models as known
from studio.housekeeping.machine import Finding
from studio.records.character import Character
from studio.records.image import Kind
from studio.records.job import JobState
from studio.workplace.desk import Desk, Workplace
from tabs import models, settings
from tabs.common import exports, missing
from tabs.common.looks import view
from tests.studio.housekeeping.conftest import FAR, hub, place
from tests.tabs.colour_blocks import picture, png
from tests.tabs.waiting import ended

__all__ = ["hub", "place"]  # fixtures


@pytest.fixture
def nobody(place: Workplace) -> Desk:
    """The desk of a page without a character."""
    return place.desk("")


def test_each_model_says_licence_gate_size_and_what_is_here(nobody: Desk) -> None:
    """A download has licence, bytes, free space, place and command; a gated one the steps to a token."""
    shown = models.draw_models(nobody)
    for words in ("Far Licence", "https://huggingface.co/maker/far", "not on this machine", "free there", "goes to"):
        assert words in shown
    assert 'data-copy="python launch.py pull far"' in shown
    assert "gated" in shown and "not enough" in shown  # the gated one is larger than any disk
    assert "built in" in shown


def test_a_download_breaks_off_goes_on_and_is_ready(nobody: Desk, place: Workplace, hub: FakeHub) -> None:
    """What is said follows it: queued, why it stopped, resumed, ready; the one way on has the accent."""
    assert (
        "in the queue"
        in (models.models_act(nobody, {"act": missing.PULL, "model": "far"}, "bf16") or settings.Said("")).words
    )
    assert 'data-act="cancel"' in models.draw_models(nobody)
    place.jobs.start()
    job = next(each for each in place.jobs.list("") if each.kind == "pull")
    assert ended(place, job).state is JobState.FAILED
    shown = missing.card(place, "far")
    assert "only partly on this machine" in shown and "Resume the download" in shown
    assert shown.count("accent") == 1
    missing.act(nobody, {"act": missing.RESUME, "job": job.id})
    assert ended(place, job).state is JobState.DONE
    assert missing.card(place, "far") == ""
    row = models.draw_model(known.model(place, "far"))
    assert "ready" in row and "Download" not in row


def test_a_download_is_stopped_and_keeps_what_came(nobody: Desk, place: Workplace) -> None:
    """The stop is confirmed in words, and the card offers to go on."""
    missing.act(nobody, {"act": missing.PULL, "model": "far"}, "bf16")
    job = place.jobs.list("")[-1]
    assert "downloading" in missing.card(place, "far")
    said = missing.act(nobody, {"act": missing.CANCEL, "job": job.id})
    assert said is not None and "can go on later" in said.words
    assert "The download was stopped." in missing.card(place, "far")
    with pytest.raises(UserError, match="no such button"):
        missing.act(nobody, {"act": "nonsense"})


def test_without_a_token_a_gated_model_is_not_queued(nobody: Desk, place: Workplace, hub: FakeHub) -> None:
    """The button is off, the steps are beside it, and a call is refused with them."""
    place.hub = FakeHub(hub._folder, token=False)
    shown = models.draw_model(known.model(place, "gated"))
    assert "HF_TOKEN" in shown and "huggingface.co/maker/gated" in shown and " disabled" in shown
    with pytest.raises(ModelGated):
        models.models_act(nobody, {"act": missing.PULL, "model": "gated"}, "nf4")


def test_given_files_need_a_model_and_a_place(nobody: Desk) -> None:
    """Each refusal says what to do."""
    for name, path, words in ((None, "x", "No model"), ("far", " ", "no folder"), ("far", "/nowhere", "nothing at")):
        with pytest.raises(NotFound, match=words):
            models.take_files(nobody, name, "bf16", path)
    with pytest.raises(NotFound, match="nothing at"):
        models.take_files(nobody, "far", "bf16", "", "/nowhere", "")
    with pytest.raises(BadInput, match="no part that --vae could give"):
        models.take_files(nobody, "far", "bf16", "", "", __file__)
    offered = models.fill_models(nobody, None)["choices"]
    assert (FAR.label, "far") in offered


def test_findings_carry_the_command_to_copy(nobody: Desk) -> None:
    """A remedy that is a command can be copied, a sentence is a sentence; no GPU is called a card."""
    shown = settings.check_machine(nobody)
    assert "GPU" in shown and " card" not in shown
    absent, *_ = machine.check_packages(["no-such-package"])
    shown = view("settings", "findings", findings=[absent])
    assert "no-such-package" in shown and shown.count('data-copy="python launch.py doctor"') == 2
    plain = view("settings", "findings", findings=[Finding("disk", "1 GiB", ok=False, remedy="Free some.")])
    assert "Free some." in plain and plain.count("data-copy") == 1


def test_budget_and_floor_are_kept_and_refused(nobody: Desk, place: Workplace) -> None:
    """Each change is said with its value; a value that is the same says nothing."""
    assert "12 GiB" in (settings.set_budget(nobody, 12.0) or settings.Said("")).words
    assert settings.set_budget(nobody, 12.0) is None
    assert settings.read_kept(nobody)[0] == kept.budget_gib(place) == 12.0
    with pytest.raises(BadInput, match="budget"):
        settings.set_budget(nobody, None)
    assert "0.30" in settings.set_floor(nobody, 0.3).words
    assert settings.read_kept(nobody)[1] == 0.3
    assert "originals decide" in settings.set_floor(nobody, 0).words
    with pytest.raises(BadInput, match="likeness"):
        settings.set_floor(nobody, 2)


def test_folders_are_shown_to_be_copied(nobody: Desk, place: Workplace) -> None:
    """Characters, models and log."""
    shown = settings.draw_folders(nobody)
    for folder in (place.settings.data_root, place.settings.models_dir, place.settings.log_file):
        assert f'data-copy="{folder}"' in shown


def test_a_model_that_is_here_needs_no_card(place: Workplace) -> None:
    """The fakes are built in."""
    assert missing.card(place, *(spec.name for spec in FAKE_MODELS)) == ""


def test_a_version_goes_into_another_program_and_out_again(studio: Workplace, anna: Character, tmp_path: Path) -> None:
    """The folder is named in Settings; then every version has a button for it, which turns round once it is there."""
    studio.jobs.start()
    desk = studio.desk(anna.id)
    for n in range(2):
        desk.store.add_image(png(picture(n)), kind=Kind.SOURCE, caption=f"ohwx person {n}")
    version = str(ended(studio, train.submit(desk)).artifacts.version)
    assert "InvokeAI" not in exports.buttons(desk, version)
    set_place = settings.set_program("invokeai")
    assert set_place(desk, "") is None
    with pytest.raises(BadInput, match="There is no folder"):
        set_place(desk, str(tmp_path / "gone"))
    said = set_place(desk, str(tmp_path))
    assert said is not None and "Versions can be put into InvokeAI now" in said.words
    assert str(tmp_path) in settings.read_kept(desk)

    assert "Put into InvokeAI" in exports.buttons(desk, version)
    shown = exports.export(desk, {"version": version, "program": "invokeai", "way": "in"})
    assert "In InvokeAI now" in shown and str(tmp_path) in shown
    assert "Take out of InvokeAI" in exports.buttons(desk, version)
    shown = exports.export(desk, {"version": version, "program": "invokeai", "way": "out"})
    assert "Taken out of InvokeAI" in shown
    assert "Put into InvokeAI" in exports.buttons(desk, version)
