"""The Train tab's handlers."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from engines.api.errors import BadInput, Busy, UserError
from studio.flywheel import generate as drawing
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job, JobState
from studio.workplace.desk import Desk, Workplace
from tabs import train
from tabs.app import open_folders
from tabs.common import looks, run
from tests.tabs.waiting import ended


def preflight(desk: Desk, *values: Any) -> str:
    """The words of the panel."""
    return str(train.draw_preflight(desk, *values)[0])


def test_the_preset_of_the_model_is_in_sight(studio: Workplace, anna: Character) -> None:
    """The widgets hold the values that will be used."""
    _, own = train.settle(studio.desk(anna.id), None)
    shown = dict(zip(train.KNOBS, train.preset(studio.desk(anna.id), None), strict=True))
    assert shown["steps"] > 0 and shown["learning_rate"] > 0
    assert {name: value for name, value in shown.items() if name != "resolutions"} == {
        name: getattr(own, name) for name in train.KNOBS if name != "resolutions"
    }


def test_the_values_can_be_read_with_the_fold_closed(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The pre-flight says what will be used, of what is off nothing; each knob that is set shows there."""
    add()
    plain = preflight(studio.desk(anna.id), "all", "best", None, None)
    for words in ("20 steps", "rank 4", "alpha 4", "batch 2", "64 px", "checkpointing on", "saved every 5"):
        assert words in plain
    assert not any(words in plain for words in ("batches a step", "mirrored", "DOP", "also at"))
    given = {
        "gradient_accumulation": 3, "resolution": 128, "gradient_checkpointing": False, "caption_dropout": 0.2,
        "max_grad_norm": 0, "save_every": 7, "sample_every": 9, "resolutions": [96], "flip": True, "dop_weight": 1,
    }  # fmt: skip
    told = preflight(studio.desk(anna.id), "all", "best", None, None, *(given.get(knob) for knob in train.KNOBS))
    for words in (
        "3 batches a step", "128 px", "checkpointing off", "captions dropped 20%", "gradients not clipped",
        "saved every 7", "samples every 9", "also at 96 px", "half of the pictures mirrored", "DOP 1",
    ):  # fmt: skip
        assert words in told


def test_smaller_sizes_follow_the_resolution(studio: Workplace, anna: Character) -> None:
    """Half and three quarters of it; what was chosen stays where it is still smaller."""
    shown = train.fill_sizes(studio.desk(anna.id), 512, [512, 256])
    assert ([value for _, value in shown["choices"]], shown["value"]) == ([256, 384], [256])
    assert train.fill_sizes(studio.desk(anna.id), None, [])["choices"] == []


def test_what_the_user_sets_lies_on_the_preset(studio: Workplace, anna: Character) -> None:
    """Widgets answer floats, lists and words; each becomes what its knob is, and an empty one stays the preset."""
    given = {"steps": 7.0, "rank": None, "resolutions": [32], "optimizer": "prodigy", "ema_decay": 0.9, "base": ""}
    _, own = train.settle(studio.desk(anna.id), None)
    _, params = train.settle(studio.desk(anna.id), None, *(given.get(knob) for knob in train.KNOBS))
    assert params == own.replace(steps=7, resolutions=(32,), optimizer="prodigy", ema_decay=0.9)


def test_nothing_can_be_asked_for(studio: Workplace, anna: Character) -> None:
    """A slider at 0 means 0, whatever the preset says; a number that is 0 where it cannot be is an empty field."""
    given = {"mask_outside": 0, "dop_weight": 0, "steps": 0, "rank": 0, "flip": False}
    _, own = train.settle(studio.desk(anna.id), None)
    _, params = train.settle(studio.desk(anna.id), None, *(given.get(knob) for knob in train.KNOBS))
    assert own.mask_outside > 0
    assert params == own.replace(mask_outside=0.0)


def test_the_time_says_what_it_is_judged_by(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Unknown at first; after a picture by how fast those are drawn; a training's own is plain."""
    add()
    assert "time not measured yet" in preflight(studio.desk(anna.id), "all", "best", None, None)
    items = drawing.prompt_items(studio.desk(anna.id), ["ohwx person"], 2)
    studio.jobs.start()
    ended(studio, drawing.submit(studio.desk(anna.id), items))
    assert "estimated from how fast it draws" in preflight(studio.desk(anna.id), "all", "best", None, None)


def test_the_preflight_names_what_is_wrong_and_what_to_do(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A missing caption is one line with its remedy."""
    add(caption="")
    shown = preflight(studio.desk(anna.id), "all", "best", None, None, 10, None, None, None, None)
    assert "10 steps" in shown
    assert "✗" in shown
    assert "caption" in shown


def test_flip_is_off_until_it_is_asked_for(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """The preset has it off; ticked, the pre-flight warns of captions that name a side, and the queued run has it."""
    add(caption="ohwx person, half-left view")
    shown, ticked = ([value if knob == "flip" else None for knob in train.KNOBS] for value in (None, True))
    assert dict(zip(train.KNOBS, train.preset(studio.desk(anna.id), None), strict=True))["flip"] is False
    assert "says left or right" not in preflight(studio.desk(anna.id), "all", "best", None, None, *shown)
    assert "1 of 1 do" in preflight(studio.desk(anna.id), "all", "best", None, None, *ticked)
    train.start_training(studio.desk(anna.id), "all", "best", None, None, *ticked)
    (job,) = studio.jobs.list()
    assert job.payload["params"]["flip"] is True


def test_training_runs_with_the_users_steps_and_makes_a_version(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """From the button to a version in the table."""
    for _ in range(3):
        add()
    train.start_training(studio.desk(anna.id), "all", "best", None, None, 4, None, None, None, None)
    (job,) = studio.jobs.list()
    assert (job.total, job.payload["params"]["steps"]) == (4, 4)
    assert "queued" in train.draw_live(studio.desk(anna.id))[0]


def test_no_training_yet_says_how_to_begin(studio: Workplace, anna: Character) -> None:
    """One sentence."""
    assert "No training yet" in train.draw_live(studio.desk(anna.id))[0]
    assert train.draw_versions(studio.desk(anna.id)) == ""


def trained(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> Job:
    """A finished training of twenty steps, with previews on the way."""
    for _ in range(3):
        add()
    train.start_training(studio.desk(anna.id), "all", "best", None, None, 20, None, None, None, None)
    studio.jobs.start()
    (job,) = studio.jobs.list()
    return ended(studio, job)


def test_any_checkpoint_can_become_a_version(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Each row of previews tells what its checkpoint is worth; one is proposed, and a click makes a version of it."""
    job = trained(studio, anna, add)
    _, shown = train.draw_live(studio.desk(anna.id))
    assert "likeness" in shown
    assert shown.count("★ proposed") == 1
    step = (studio.jobs.get(job.id).artifacts.checkpoints or ())[0].step
    train.live_act(studio.desk(anna.id), {"act": "choose", "job": job.id, "step": str(step)})
    assert [each.metrics.steps for each in studio.store(anna.id).versions.all()] == [20, step]


def test_with_too_few_originals_a_checkpoint_says_that_identity_is_unknown(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """No figure, no proposal, and no silence."""
    trained(studio, anna, add)
    studio.store(anna.id).trash([studio.store(anna.id).select(Kind.SOURCE)[0].id])
    _, shown = train.draw_live(studio.desk(anna.id))
    assert "likeness unknown" in shown and "fewer than three originals" in shown
    assert "★ proposed" not in shown


def test_samples_are_numbered_from_one(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """As people count; the numbers are those of the prompts above them, from left to right."""
    trained(studio, anna, add)
    _, shown = train.draw_live(studio.desk(anna.id))
    numbers = [int(each) for each in re.findall(r"sample (\d+) at step", shown)]
    prompts = shown.count('class="fl-prompt"')
    assert prompts and set(numbers) == set(range(1, prompts + 1))


def test_a_finished_training_can_be_trained_longer(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Offered where the newest run has ended well, by half of it unless told otherwise; it ends as a second version."""
    row, more, _ = run.fill_more(studio.desk(anna.id), None, "", kind="train")
    assert (row["visible"], more["__type__"]) == (False, "update")
    with pytest.raises(Busy):
        run.train_longer(studio.desk(anna.id), 10, kind="train")
    job = trained(studio, anna, add)
    row, more, whose = run.fill_more(studio.desk(anna.id), None, "", kind="train")
    assert (row["visible"], more, whose) == (True, 10, job.id)
    assert (
        run.fill_more(studio.desk(anna.id), 700, job.id, kind="train")[1]["__type__"] == "update"
    )  # typed for this run
    assert run.fill_more(studio.desk(anna.id), 700, "another", kind="train")[1:] == (10, job.id)
    with pytest.raises(BadInput, match="20 steps are done"):
        run.train_longer(studio.desk(anna.id), None, kind="train")

    run.train_longer(studio.desk(anna.id), 10, kind="train")
    ended(studio, job)

    assert "30 of 30 steps" in train.draw_live(studio.desk(anna.id))[0]
    assert [each.metrics.steps for each in studio.store(anna.id).versions.all()] == [20, 30]


def test_a_training_goes_on_from_the_version_in_use(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Unless told otherwise: said in the pre-flight, put into the job; nothing where it does not fit or is chosen."""
    assert train.fill_starts(studio.desk(anna.id), None)["value"] == train.USUAL
    assert "a new LoRA" in preflight(studio.desk(anna.id), "all", "best", train.USUAL, None)
    trained(studio, anna, add)
    (version,) = studio.store(anna.id).versions.all()
    other_rank = [8 if knob == "rank" else None for knob in train.KNOBS]

    assert train.fill_starts(studio.desk(anna.id), train.USUAL)["value"] == train.USUAL
    assert "goes on from v1" in preflight(studio.desk(anna.id), "all", "best", train.USUAL, None)
    assert "a new LoRA" in preflight(studio.desk(anna.id), "all", "best", train.USUAL, None, *other_rank)
    assert "a new LoRA" in preflight(studio.desk(anna.id), "all", "best", "", None)
    studio.jobs.close()
    for start in (train.USUAL, ""):
        train.start_training(studio.desk(anna.id), "body", "best", start, None)
    queued = [job.payload["start"] for job in studio.jobs.list() if job.state is JobState.QUEUED]
    assert sorted(queued) == ["", version.id]


def test_the_body_asks_for_a_head_first(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """Without a version to go on from, the pre-flight of the second phase says what to train first."""
    trained(studio, anna, add)
    words, desk = "continues a version that knows the head", studio.desk(anna.id)
    warned = {
        (phase, start): words in preflight(desk, phase, "best", start, None)
        for phase, start in (("body", ""), ("body", train.USUAL), ("head", ""))
    }
    assert warned == {("body", ""): True, ("body", train.USUAL): False, ("head", ""): False}


def test_the_user_says_which_scenes_teach(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """The pre-flight counts what each choice leaves in, and the training learns from just that."""
    add()
    for _ in range(3):
        add(Kind.SYNTHETIC, state=Verdict.GOOD, caption="ohwx person in a park")
    told = {each: preflight(studio.desk(anna.id), "all", each, "", None) for _, each in train.SCENES}

    assert "2 pictures" in told["best"] and "the best 1 of 3 approved scenes teach" in told["best"]
    assert "4 pictures" in told["all"] and "scenes teach" not in told["all"]
    assert "1 picture" in told["none"] and "none of 3 approved scenes teach" in told["none"]
    studio.jobs.close()
    train.start_training(studio.desk(anna.id), "all", "none", "", None)
    (job,) = studio.jobs.list()
    assert len(studio.store(anna.id).datasets.get(job.payload["dataset"]).entries) == 1


def test_a_version_is_saved_where_the_page_can_fetch_it(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The table writes the LoRA under its name, and links to a file that the page may give out."""
    trained(studio, anna, add)
    (version,) = studio.store(anna.id).versions.all()
    assert train.draw_versions(studio.desk(anna.id)).count("data-form=") == 4
    shown = train.versions_act(studio.desk(anna.id), {"act": "export", "version": version.id, "form": "diffusers"})
    (file,) = [each for folder in open_folders(studio) for each in folder.glob("*.safetensors")]
    assert file.name == "ohwx-character-v1-diffusers.safetensors"
    assert isinstance(shown, str)
    assert looks.file_url(file) in shown


def test_the_pictures_are_saved_for_another_trainer(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """One button a trainer; the zip lies where the page may give it out."""
    add()
    shown = train.save_pictures(studio.desk(anna.id), {"act": "export-pictures", "layout": "ai-toolkit"}, "all", "best")
    (file,) = [each for folder in open_folders(studio) for each in folder.glob("*.zip")]
    assert looks.file_url(file) in shown


def test_the_version_table_refuses_forged_acts(studio: Workplace, anna: Character) -> None:
    """No version, or no such button."""
    for data in ({"act": "adopt"}, {"act": "burn", "version": "x"}):
        with pytest.raises(UserError):
            train.versions_act(studio.desk(anna.id), data)


def test_an_earlier_run_can_be_opened_also_one_that_was_stopped(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The newest is shown until another is opened; the list appears with the second run, and a new start closes it."""
    first = trained(studio, anna, add)
    desk = studio.desk(anna.id)
    assert train.draw_runs(desk, "") == ""
    studio.jobs.close()
    assert train.start_training(desk, "all", "best", None, None, 30).values == ""
    (second,) = [job for job in studio.jobs.list() if job.id != first.id]
    studio.jobs.cancel(second.id)

    listed = train.draw_runs(desk, "")
    assert "done: v1" in listed and "stopped" in listed and "0 of 30 steps" in listed
    assert listed.count('data-act="run"') == 1
    assert "0 of 30 steps" in train.draw_live(desk)[0]

    opened = train.open_run(desk, {"act": "run", "job": first.id})
    live, grid = train.draw_live(desk, opened)
    assert "20 of 20 steps" in live and "fl-plot" in live and "Checkpoints" in grid
    assert f'data-job="{second.id}"' in train.draw_runs(desk, opened)
