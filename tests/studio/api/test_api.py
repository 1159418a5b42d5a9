"""The scripted surface: every name answers, expected failures are told, and one turn runs through it alone."""

import inspect
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from studio.api.api import API_NAMES, Api
from studio.api.surface import calls
from studio.flywheel.next_step import NextStep, next_step
from studio.flywheel.train import character as train
from tests.studio.conftest import World

MODELS = {"generator": "fake-flux", "editor": "fake-edit", "scorer": "fake-identity"}


class _Link:
    """A sharing that only remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []

    def start(self, character_id: str, hours: float) -> dict[str, Any]:
        self.asked.append((character_id, hours))
        words = ("url", "local_url", "user", "password", "expires", "until", "message", "invitation")
        return {"live": True, "public": False, "network": False, **dict.fromkeys(words, "x")}

    def stop(self) -> dict[str, Any]:
        return {"live": False, "was_live": bool(self.asked)}


SCHEMAS = {call.name: Draft202012Validator(call.returns) for call in calls()}


class _Script:
    """A caller that insists on `ok`, on JSON, and on what is said of the call's answer."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def __call__(self, name: str, /, *args: object, **kwargs: object) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(json.dumps(getattr(self._api, name)(*args, **kwargs)))
        assert answer["ok"], answer
        SCHEMAS[name].validate(answer)
        return answer

    def wait(self, submitted: dict[str, Any]) -> dict[str, Any]:
        """Poll a job to its end."""
        while (status := self("job_status", submitted["job_id"]))["state"] in ("queued", "running"):
            time.sleep(0.005)
        assert status["state"] == "done", status["error"]
        return status


def _files(folder: Path) -> list[str]:
    folder.mkdir()
    for n in range(12):
        grid = Image.new("RGB", (4, 4), (200, 90, 40))
        grid.putpixel((n % 4, n // 4), (0, 250, 10 * n))
        grid.resize((64, 64), Image.Resampling.NEAREST).save(folder / f"{n:02d}.png")
    return [str(file) for file in sorted(folder.iterdir())]


def test_every_name_is_there_typed_and_explained() -> None:
    """Names, annotations and one-line docstrings are what gradio shows to a script."""
    for name in API_NAMES:
        function = getattr(Api, name)
        signature = inspect.signature(function)
        assert (inspect.getdoc(function) or "").count("\n") == 0 and inspect.getdoc(function), name
        assert all(p.annotation is not p.empty for n, p in signature.parameters.items() if n != "self"), name
    public = {name for each in Api.__mro__ for name in vars(each) if not name.startswith("_")}
    assert public == set(API_NAMES)


def _mask(call: _Script, who: str, image: str, folder: Path) -> None:
    """Give a mask, and take it away again."""
    record = call("image_get", who, image)["image"]
    Image.new("L", (record["width"], record["height"]), 255).save(folder / "mask.png")
    assert call("mask_set", who, image, str(folder / "mask.png"))["image"]["mask"].startswith("masks/")
    assert call("mask_clear", who, image)["image"]["mask"] == ""


def _crop(call: _Script, who: str, image: str) -> None:
    """Let a part count, all of it, and the part again."""
    assert call("crop_set", who, image, [0, 0.25, 1, 1])["image"]["crop"] == [0, 0.25, 1, 1]
    assert call("crop_clear", who, image)["image"]["crop"] == []
    assert call("crop_undo", who, image)["image"]["crop"] == [0, 0.25, 1, 1]


def _trash(call: _Script, who: str, image: str) -> None:
    """Into the trash, and out again."""
    assert call("image_trash", who, [image])["images"][0]["trashed"]
    assert call("image_list", who, trashed=True)["total"] == 1
    assert call("image_restore", who, [image])["images"][0]["trashed"] == ""


def _later(call: _Script, who: str, version: str) -> None:
    """Note, throw away and take back a version; rename, re-word, delete and take back the character."""
    assert call("version_note", who, version, " soft eyes ")["version"]["notes"] == "soft eyes"
    assert call("version_trash", who, version)["version"]["trashed"]
    assert [each["id"] for each in call("version_trashed", who)["versions"]] == [version]
    assert "trashed" not in call("version_restore", who, version)["version"]
    changed = call("character_update", who, name="Ada Two", trigger="ada2")
    assert (changed["character"]["name"], changed["character"]["trigger"]) == ("Ada Two", "ada2")
    assert changed["captions"] > 0
    assert call("character_update", who, trigger="ohwx")["captions"] == changed["captions"]
    assert call("character_delete", who)["character"]["trashed"]
    assert [each["id"] for each in call("character_trashed")["characters"]] == [who]
    assert who not in [each["id"] for each in call("character_list")["characters"]]
    assert "trashed" not in call("character_restore", who)["character"]


def _many(call: _Script, who: str, images: list[str]) -> None:
    """Words and tags of many, told before, and taken back."""
    would = call("captions_replace", who, "ohwx", "ohwx, drawn", image_ids=images, preview=True)["captions"]
    assert would and call("image_get", who, images[0])["image"]["caption"] != would.get(images[0])
    assert call("captions_replace", who, "ohwx", "ohwx, drawn", image_ids=images)["captions"] == would
    assert len(call("tags_set", who, images, {"light": "soft"})["images"]) == len(images)
    assert call("changes_undo", who) == {"ok": True, "undone": "light: soft", "count": len(images)}
    assert call("changes_undo", who)["count"] == len(would)


def test_a_whole_turn_of_both_flywheels(world: World, tmp_path: Path) -> None:
    """A script takes a new character from files to an adopted editor, with ids and JSON alone."""
    link = _Link()
    call = _Script(Api(world.studio, link))
    world.studio.jobs.start()
    who = call("character_create", "Ada", params=MODELS)["character"]["id"]
    assert who in [character["id"] for character in call("character_list")["characters"]]

    imported = call("image_import", who, _files(tmp_path / "upload"))
    assert (imported["state"], len(imported["imported"])) == ("done", 12), imported
    call.wait(call("caption_submit", who))
    first = imported["imported"][0]
    assert call("caption_set", who, first, "ohwx person with blue eyes")["leaks"]
    call("caption_set", who, first, "ohwx person, front view")
    _mask(call, who, imported["imported"][1], tmp_path)
    _crop(call, who, imported["imported"][1])
    _trash(call, who, imported["imported"][1])
    _many(call, who, imported["imported"][:3])
    assert sum(cell["count"] for cell in call("coverage", who)["cells"]) > 0

    plan = call("enrich_plan", who, limit=24)
    assert plan["count"] == len(plan["rows"]) == 24
    call.wait(call("enrich_submit", who, plan["rows"]))
    _review(call, who, tmp_path)

    trained = call.wait(call("train_submit", who, {"steps": 10, "flip": True}))
    v1 = trained["artifacts"]["version"]
    assert [version["params"]["flip"] for version in call("version_list", who)["versions"]] == [True]
    assert Path(call("dataset_export", who, "onetrainer")["file_path"]).is_file()
    base = call.wait(call("card_submit", who, seeds=[0]))["artifacts"]["card"]
    ours = call.wait(call("card_submit", who, version=v1, seeds=[0]))["artifacts"]["card"]
    card = call("card_get", who, ours, against=base)
    assert card["summary"]["first_try"]["n"] == card["compared"]["pairs"] == 23

    shown = call("enrich_plan", who, limit=2, missed=True)["rows"]
    assert [bool({"angle", "expression", "pose"} & set(row["asked"])) for row in shown] == [True, True]

    drawn = call.wait(call("generate_submit", who, count=8, version=v1))
    assert len(drawn["artifacts"]["images"]) == 8
    assert call("image_list", who, kind="synthetic", limit=3)["total"] == 8

    practised = call("practice_plan", who, 4)
    assert sum(each["accepted"] < each["reviewed"] for each in practised["standings"])
    call.wait(call("enrich_submit", who, practised["rows"]))
    refined = call.wait(call("refine_submit", who, {"steps": 10}))
    editor = refined["artifacts"]["version"]
    _later(call, who, editor)
    assert call("version_adopt", who, editor)["version"]["state"] == "adopted"
    states = {v["id"]: v["state"] for v in call("version_list", who)["versions"]}
    assert states == {v1: "adopted", editor: "adopted"}
    assert Path(call("lora_export", who, v1)["file_path"]).is_file()
    assert {job["state"] for job in call("job_list", who)["jobs"]} == {"done"}
    assert call("gpu_status")["budget"] > 0
    assert call("share_start", who, 2.0)["password"] == "x"
    assert (link.asked, call("share_stop")["was_live"]) == ([(who, 2.0)], True)


def _review(call: _Script, who: str, folder: Path) -> None:
    """Approve all but one, which is mended; one verdict is taken back and given again."""
    left = call("review_next", who, count=1)["left"]
    mended = call("review_next", who)["images"][0]
    with Image.open(mended["file_path"]) as picture:
        picture.rotate(90).save(folder / "mended.png")
    triplet = call("correction_add", who, mended["id"], str(folder / "mended.png"), reason="artifact")["triplet"]
    assert triplet["golden"]
    image = call("review_next", who)["images"][0]["id"]
    call("review_decide", who, image, "reject", reasons=["quality"])
    assert call("review_undo", who)["decision"]["image"] == image
    for _ in range(left - 1):
        waiting = call("review_next", who)["images"][0]["id"]
        assert call("review_decide", who, waiting, "good")["decision"]["verdict"] == "good"
    assert call("review_next", who)["images"] == []
    assert call("image_get", who, image)["image"]["state"] == "good"


def test_a_submit_is_answered_at_once_and_only_once_a_key(world: World) -> None:
    """The same key gives the same job; the position says how many go first."""
    api = Api(world.studio)

    first = api.train_submit(world.id, {"steps": 5}, key="a")
    second = api.train_submit(world.id, {"steps": 6}, key="b")
    again = api.train_submit(world.id, {"steps": 5}, key="a")

    assert (first["state"], first["position"], second["position"]) == ("queued", 0, 1)
    assert again["job_id"] == first["job_id"]


def test_status_answers_what_is_new(world: World) -> None:
    """Events come once: `next` of one answer is `since` of the next."""
    api = Api(world.studio)
    job = world.finish(world.studio.jobs.get(api.train_submit(world.id, {"steps": 5})["job_id"]))

    whole = api.job_status(job.id)
    rest = api.job_status(job.id, since=whole["next"])

    assert [event["step"] for event in whole["events"] if "loss" in event] == [1, 2, 3, 4, 5]
    assert (rest["events"], rest["state"], rest["step"], rest["total"]) == ([], "done", 5, 5)


def test_a_script_is_told_what_comes_next(world: World) -> None:
    """The same as the rail shows: the step, its reason, its place among all stops, and how far each stop is."""
    call = _Script(Api(world.studio))

    found = call("next_step", world.id)

    assert (found["step"], found["at"]) == ("Curate", 0)
    assert found["words"] == "4 pictures so far; 10 or more give a usable start."
    assert [stop["label"] for stop in found["stops"]] == [
        *("Curate", "Enrich", "Review", "Train", "Generate", "Editor Refinement"),
    ]
    assert found["stops"][0] == {"label": "Curate", "figure": "4", "done": False, "part": ""}
    told = {name: found[name] for name in ("step", "words", "at", "stops", "version")}
    assert NextStep.from_json(told) == next_step(world.desk)


def test_a_cancel_can_be_asked_twice(world: World) -> None:
    """Cancelling is idempotent."""
    api = Api(world.studio)
    job = api.train_submit(world.id)["job_id"]

    refused = api.train_extend(job, "many")  # type: ignore[arg-type]  # what no number is
    assert refused["error"]["hint"] == "It is a whole number."
    assert [api.job_cancel(job)["state"], api.job_cancel(job)["state"]] == ["cancelled", "cancelled"]


def test_a_new_character_begins_with_the_first_models_of_the_registry(world: World) -> None:
    """Whoever names no models gets those that this studio has."""
    made = Api(world.studio).character_create("Nora")["character"]

    assert (made["generator"], made["editor"], made["scorer"]) == ("fake-flux", "fake-edit", "fake-identity")


def test_a_training_is_looked_at_stopped_resumed_kept_and_extended(world: World) -> None:
    """All that the tab can do with a run, by its id; each answer is JSON and says where the job stands."""
    call = _Script(Api(world.studio))
    before = call("train_preflight", world.id, {"steps": 30})["preflight"]
    assert before["ok"] and not before["fit"]["evicts"]
    assert {check["label"]: check["ok"] for check in before["checks"]}["every picture has a caption"]
    asked = call("train_submit", world.id, {"steps": 20})["job_id"]
    world.cancel_at(world.studio.jobs.get(asked), step=7)

    kept = call("train_keep", asked)
    assert (kept["state"], kept["version"]["metrics"]["steps"]) == ("cancelled", 6)
    world.finish(world.studio.jobs.get(call("job_resume", asked)["job_id"]))
    longer = call("train_extend", asked, 30)
    assert (longer["job_id"], longer["state"]) == (asked, "queued")
    call.wait(longer)

    assert [version["metrics"]["steps"] for version in call("version_list", world.id)["versions"]] == [6, 20, 30]
    assert str(world.store.run_dir(asked)) in call("train_command", asked)["alone"]
    assert "accelerate" in call("train_command", asked)["all_cards"]


def test_keeping_a_running_training_by_script_stops_it(world: World) -> None:
    """There is no version yet when it is asked for, and one when the job has ended."""
    call = _Script(Api(world.studio))
    job = train.submit(world.desk)
    answered: list[dict[str, Any]] = []

    def keep(step: int) -> None:
        if step == 7:
            answered.append(call("train_keep", job.id))

    world.watch(keep)

    world.finish_cancelled(job)

    assert [(each["state"], each["version"]) for each in answered] == [("running", {})]
    assert [version["metrics"]["steps"] for version in call("version_list", world.id)["versions"]] == [6]


def test_an_editors_training_is_looked_at_before(world: World) -> None:
    """The same checks as in the tab: without lessons it is not ok, and says where they come from."""
    found = _Script(Api(world.studio))("refine_preflight", world.id)["preflight"]

    assert not found["ok"]
    assert "Review" in " ".join(check["hint"] for check in found["checks"])


@pytest.mark.parametrize(
    ("name", "arguments", "code", "words"),
    [
        ("image_get", ("mira", "nothing"), "not_found", "nothing"),
        ("image_list", ("nobody",), "not_found", "nobody"),
        ("image_list", ("mira", "portrait"), "bad_input", "source"),
        ("train_submit", ("mira", {"stepz": 5}), "bad_input", "learning_rate"),
        ("train_submit", ("mira", {"steps": "many"}), "bad_input", "whole number"),
        ("train_submit", ("mira", {"steps": True}), "bad_input", "whole number"),
        ("train_submit", ("mira", {}, "fake-edit"), "bad_input", "fake-flux"),
        ("train_preflight", ("mira", {"stepz": 5}), "bad_input", "learning_rate"),
        ("train_preflight", ("mira", {}, "", "all", "", "worst"), "bad_input", "best, all, none"),
        ("train_submit", ("mira", {}, "", "", "all", "", "worst"), "bad_input", "best, all, none"),
        ("train_extend", ("no-job", 5), "not_found", "no-job"),
        ("train_keep", ("no-job",), "not_found", "no-job"),
        ("train_command", ("no-job",), "not_found", "no-job"),
        ("job_resume", ("no-job",), "not_found", "no-job"),
        ("generate_submit", ("mira", ["x"], 1, "", 0, {"loras": [{"where": "a"}]}), "bad_input", "loras[0]"),
        ("generate_submit", ("mira", [], 0), "bad_input", "count cannot be 0"),
        ("card_get", ("mira",), "not_found", "card_submit"),
        ("character_create", ("A", "ohwx", "person", {"colour": 1}), "bad_input", "notes"),
        ("character_create", ("A", "ohwx", "person", {"editor": "fake-flux"}), "bad_input", "no editor"),
        ("enrich_submit", ("mira", [{"picture": "x"}]), "bad_input", "source"),
        ("enrich_submit", ("mira", [{"source": "x"}]), "bad_input", "lacks params"),
        ("correction_add", ("mira", "x", "/nowhere/a.png"), "not_found", "a.png"),
        ("job_status", ("no-job",), "not_found", "no-job"),
        ("refine_submit", ("mira",), "bad_input", "Review"),
        ("share_start", ("mira",), "not_found", "launch.py"),
        ("generate_submit", ("mira", [{"prompt": "a"}]), "bad_input", "prompts[0] cannot be {'prompt': 'a'}"),
        ("generate_submit", ("mira", "a person"), "bad_input", "a list"),
        ("generate_submit", ("mira", ["a"], "three"), "bad_input", "count cannot be 'three'"),
        ("crop_set", ("mira", "x", [0, 0, "wide", 1]), "bad_input", "box[2] cannot be 'wide'"),
        ("job_status", (7,), "bad_input", "job_id cannot be 7"),
        ("job_status", (), "bad_input", "job_id is missing"),
    ],
)
def test_expected_failures_are_told(world: World, name: str, arguments: tuple[Any, ...], code: str, words: str) -> None:
    """What a caller gets wrong comes back as code, message and hint, not as a crash."""
    answer = getattr(Api(world.studio), name)(*arguments)

    assert answer["ok"] is False
    assert answer["error"]["code"] == code
    assert words in f"{answer['error']['message']} {answer['error']['hint']}"


def test_a_number_may_come_as_a_script_has_it(world: World) -> None:
    """A whole number written as 2.0 or "2" is 2; JSON knows no other kind of number than such."""
    api = Api(world.studio)
    for count in (2, 2.0, "2"):
        queued = api.generate_submit("mira", ["a person"], count)  # type: ignore[arg-type]  # as scripts send it
        assert world.studio.jobs.get(queued["job_id"]).total == 2


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_given_as_a_picture_is_looked_at_first(world: World, tmp_path: Path) -> None:
    """A pipe, a device and far too many pixels are refused by mask and correction alike, and nothing changes."""
    os.mkfifo(tmp_path / "pipe.png")
    Image.new("1", (13_000, 13_000)).save(tmp_path / "big.png")
    (edit,) = world.review(corrected=1)
    api, before = Api(world.studio), (world.store.images.all(), world.store.triplets.all())
    for file, words in ((tmp_path / "pipe.png", "pipe.png"), ("/dev/zero", "zero"), (tmp_path / "big.png", "13000")):
        for answer in (api.mask_set("mira", edit, str(file)), api.correction_add("mira", edit, str(file))):
            assert answer["error"]["code"] == "bad_input" and words in answer["error"]["message"]
    assert (world.store.images.all(), world.store.triplets.all()) == before


def test_a_script_crops_with_the_same_advice_as_the_page(world: World) -> None:
    """A crop too long to be learned whole says so at once; cleared or taken back, it does not."""
    api, image = Api(world.studio), world.sources[0]
    advice = [
        answer["image"]["advice"]
        for answer in (
            api.crop_set("mira", image, [0, 0, 0.25, 1]),
            api.crop_undo("mira", image),
            api.crop_set("mira", image, [0, 0, 0.25, 1]),
            api.crop_clear("mira", image),
        )
    ]
    assert [list(each) for each in advice] == [["cut"], [], ["cut"], []]
