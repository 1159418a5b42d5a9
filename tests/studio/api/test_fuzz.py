"""Whatever the arguments of a call are, it is answered in words, and what is refused leaves nothing behind."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file

from engines.catalogue.lora_bases import LoraFacts
from engines.fake import FakeDevice
from engines.fake.hub import FakeHub
from studio.api.api import API_NAMES, Api
from studio.flywheel.enrich import saved_plans
from studio.flywheel.export import deploy
from studio.open import open_workplace
from studio.records.base import Json
from studio.records.card import CardRun, Cell
from studio.records.image import Kind
from studio.records.job import Job, JobState
from studio.records.lora import LibraryLora
from studio.records.outcome import Outcome
from studio.records.payload import (
    BackupPayload,
    CaptionPayload,
    DrawPayload,
    EnrichPayload,
    ImportPayload,
    LoraPayload,
    Payload,
    PullPayload,
    TournamentPayload,
    TrainPayload,
)
from studio.records.plan import OwnEdit
from studio.records.tournament import Asked, Contestant, Contested, Tournament, Trial
from studio.settings import Settings
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Workplace
from tests.studio.api.wrong import annotations, arguments, is_structured, kinds_of, misfits, oddities
from tests.studio.conftest import WatchedRegistry, World

FEW = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=12,
    phases=(Phase.generate,),  # a value that fails is shown as it is: what was taken before it has changed the home
    suppress_health_check=list(HealthCheck),
)
SOME = settings(FEW, max_examples=35)  # of a call that takes lists or objects
MANY = settings(FEW, max_examples=400)
_NOT_KEPT = (".log", ".lock")  # endings of files that may change whatever is asked
LONGEST = 3000  # letters of a refusal
RUN = 6  # jobs of a name that are run to their end
SMALL = 100  # steps of a job that is run to its end
CODES = frozenset({"bad_input", "not_found", "busy", "model_missing", "lora_mismatch", "out_of_memory", "not_allowed"})
# What a refusal may call an argument, beside its own name.
ALSO_CALLED: Mapping[str, tuple[str, ...]] = {
    "character_id": ("character",),
    "image_id": ("image", "picture", "mask"),
    "image_ids": ("image", "picture", "caption"),
    "sources": ("image", "picture"),
    "job_id": ("job", "training"),
    "version_id": ("version",),
    "start": ("version", "lora"),
    "card_id": ("card",),
    "against": ("card",),
    "text": ("caption",),
    "file": ("picture", "path", "no file", "is not there"),
    "files": ("import", "path", "data folder"),
    "tasks": ("task",),
    "prompts": ("prompt", "pictures"),
    "count": ("pictures",),
    "gaps": ("card",),
    "missed": ("card",),
    "seeds": ("seed",),
    "on": ("in use",),
    "rows": ("row", "nothing to edit"),
    "format": ("lora form", "tournament"),
    **dict.fromkeys(("find", "whole_words", "match_case", "preview", "replacement"), ("caption",)),
    "box": ("not a part of", "crop leaves"),
    "reviewer": ("decision",),
    **dict.fromkeys(("generator", "editor", "scorer"), ("no model named",)),
    "params": ("parameter", "a character has no", "no model named"),
    "lora_id": ("lora",),
    "place": ("file", "repository"),
    "plan_id": ("plan",),
    "name": ("plan",),
    "tournament_id": ("tournament",),
    "contestants": ("contestant",),
    "contestant": ("tournament",),
    "originals": ("image", "picture"),
    "follow": ("routechoice",),
    "task": ("route",),
    "stack": ("lora",),
}
PAYLOADS: Mapping[str, type[Payload]] = {
    "import": ImportPayload,
    "caption": CaptionPayload,
    "enrich": EnrichPayload,
    "generate": DrawPayload,
    "card": DrawPayload,
    "train": TrainPayload,
    "refine": TrainPayload,
    "pull": PullPayload,
    "lora": LoraPayload,
    "merge": LoraPayload,
    "backup": BackupPayload,
    "restore": BackupPayload,
    "tournament": TournamentPayload,
}


class Link:
    """A review link that opens nothing."""

    def start(self, character_id: str, hours: float) -> Json:
        """Returns the state of an open link, with the character's id for its address."""
        words = ("local_url", "user", "password", "expires", "until", "message", "invitation")
        told = {"live": True, "public": False, "network": False, "url": character_id}
        return {**told, **dict.fromkeys(words, f"{hours}")}

    def stop(self) -> Json:
        """Returns that none was open."""
        return {"live": False, "was_live": False}


@dataclass(frozen=True)
class Home:
    """A home in which every call has something to work on, and the arguments with which each does it.

    `strange` holds, by argument, ids of another character or of nothing, and words that no enumeration has.
    """

    studio: Workplace
    usual: Mapping[str, Any]
    strange: Mapping[str, list[Any]]

    def call(self, name: str, /, **given: Any) -> Json:
        """Calls a name with the usual arguments that it needs, and with these."""
        needed = [each for each, found in arguments(name).items() if found.default is found.empty]
        answer: Json = getattr(Api(self.studio, Link()), name)(
            **{**{each: self.usual_of(name, each, "x") for each in needed}, **given}
        )
        return answer

    def usual_of(self, name: str, argument: str, otherwise: Any) -> Any:
        """Returns the usual argument of one call, or else of all."""
        return self.usual.get(f"{name}.{argument}", self.usual.get(argument, otherwise))

    def parameters(self, name: str) -> dict[str, Any]:
        """Returns the names that a call's `params` may have with their annotations, as its refusal of another says."""
        hint = self.call(name, params={"no such name": 1})["error"]["hint"]
        return kinds_of(hint.removeprefix("It knows: ").removesuffix(".").split(", "))

    def digest(self) -> list[Any]:
        """Returns what lies in the home: the jobs, the characters, and all files with their sizes and times."""
        below = os.walk(self.studio.settings.data_root)
        files = [f"{folder}/{file}" for folder, _, names in below for file in names if not file.endswith(_NOT_KEPT)]
        return [list(map(_mark, sorted(files))), self.studio.jobs.list(), self.studio.library.characters()]

    def queued(self) -> list[Job]:
        """Returns the jobs that wait."""
        return [job for job in self.studio.jobs.list() if job.state is JobState.QUEUED]


def _mark(file: str) -> tuple[str, int, int]:
    """Returns a file's path, size and time of its last change."""
    stat = os.stat(file)  # noqa: PTH116  to make a Path of every file takes longer than the call
    return file, stat.st_size, stat.st_mtime_ns


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, list[Any]]]:
    """A closed home with two characters, reviewed and waiting edits, stopped trainings, versions and cards."""
    folder = tmp_path_factory.mktemp("fuzz")
    registry = WatchedRegistry(folder / "assets")
    world = World(_opened(folder, folder / "home", registry), registry)
    api, store = Api(world.studio), world.store
    (edit, *_) = world.review(approved=2, corrected=1)
    made = {"params": store.images.get(edit).params, "params_kind": "EditParams", "asked": {"expression": "smiling"}}
    waiting = world.picture(Kind.ENRICHED, 99, parent=world.sources[0], **made)
    store.set_crop(waiting, (0, 0, 0.5, 1))
    asked = api.train_submit(world.id, {"steps": 9, "save_every": 3})["job_id"]
    trained = world.cancel_at(world.studio.jobs.get(asked), 5)
    version = api.train_keep(asked)["version"]["id"]
    editor = world.finish(world.studio.jobs.get(api.refine_submit(world.id, {"steps": 3})["job_id"])).artifacts.version
    cell = Cell(cell="T-pose", seed=0, image=waiting, axes={"pose": Outcome.FAIL}, verdict=Outcome.FAIL)
    both = tuple(Contestant(key=key, model="fake-edit", few_steps=key == "b") for key in "ab")
    asked_for = Asked(task="pose", source=world.sources[0], words="sit", seed=1)
    task = (Contested(task="pose"),)
    world.store.tournaments.put(
        Tournament(id="t", contestants=both, tasks=task, asks=(asked_for,), defenders={"pose": "a"})
    )
    world.picture(
        Kind.ENRICHED, 99, parent=world.sources[0], trial=Trial(tournament="t", contestant="b", ask=0, read={})
    )
    for name, of in (("card-a", ""), ("card-b", version)):
        store.cards.put(CardRun(id=name, version=of, job="", seeds=(0,), cells=(cell,), originals=4))
    other = world.studio.library.create("Other", generator="fake-flux", editor="fake-edit", scorer="fake-identity").id
    stranger = world.studio.store(other).add_image(Image.new("RGB", (64, 64), (1, 2, 3)), kind=Kind.SOURCE).id
    rows = api.enrich_plan(world.id, limit=2)["rows"]
    api.tags_set(world.id, [world.sources[0]], {"light": "soft"})
    written = api.character_export(world.id)
    world.finish(world.studio.jobs.get(written["job_id"]))
    backed_up = shutil.copy(written["file_path"], folder)
    Image.new("L", (64, 64), 255).save(folder / "white.png")
    deploy.set_folder(world.studio, "invokeai", str(folder))
    deploy.deploy(world.desk, editor, "invokeai")
    lora, kept = folder / "hub" / "QIE-2511-Studio-DeLight-5000.safetensors", LoraLibrary(world.studio.library)
    lora.parent.mkdir()
    save_file({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": np.zeros((1, 192), np.float32)}, lora)
    facts = LoraFacts(naming="diffusers", tensors=1, modules=1, ranks=(1, 1), base="mini-qwen-edit", family="qwen-edit")
    for name in ("own-light", "own-dark"):
        kept.folder(name).mkdir(parents=True, exist_ok=True)
        copied = shutil.copy(lora, kept.folder(name) / "own.safetensors").name
        kept.put(LibraryLora(id=name, file=copied, facts=facts))
    saved_plans.save(world.studio, "plan", [OwnEdit(key="a", words="wave")])
    shared = shutil.copy(saved_plans.share(world.desk, saved_plans.get(world.studio, "plan")), folder)
    world.studio.close()
    shutil.rmtree(world.store.folder / "thumbs")
    checkpoints = trained.artifacts.checkpoints
    assert checkpoints
    usual = {
        **{"character_id": world.id, "image_id": waiting, "image_ids": [world.sources[1]]},
        **{"sources": [world.sources[0]], "text": "ohwx person, smiling", "name": "Ada", "rows": rows},
        **{"files": [str(folder / "white.png")], "file": str(folder / "white.png"), "box": [0.0, 0.0, 0.5, 1.0]},
        **{"verdict": "good", "job_id": asked, "version": version, "version_id": editor, "card_id": "card-a"},
        **{"steps": 50, "step": checkpoints[-1].step, "layout": "kohya", "tasks": ["pose"], "seeds": [0, 1]},
        **{"prompts": ["ohwx person"], "find": "ohwx", "tags": {"light": "hard"}},
        **{"character_import.file": str(backed_up), "program": "invokeai", "folder": str(folder)},
        **{"lora_id": "own-light", "lora_pull.lora_id": "studio-delight", "lora_pull.file": "", "place": str(lora)},
        **{"lora_add.file": "", "plan_id": "plan", "plan_import.file": str(shared)},
        **{"task": "outfit", "lora_add.task": "angle", "value": "cape", "words": "Dress the person in a cape"},
        **{f"tournament_{each}.tasks": [{"task": "pose"}] for each in ("plan", "submit")},
        **{f"tournament_{each}.seeds": 3 for each in ("plan", "submit")},
        **{"contestants": [{"few_steps": True}], "originals": world.sources[:3], "tournament_export.format": "csv"},
        **{"template_keep.words": "", "stack": [{"lora": "own-light"}, {"lora": "own-dark", "weight": 0.5}]},
        **{"lora_merge.task": "angle", "rank": 8},
        **{"plan_save.rows": [{"words": "make the {subject} wave"}], "plan_save.name": "Mine"},
    }
    nothing = ["", "nobody", other, stranger, "x" * 200]
    listed = [*([each] for each in nothing), [world.sources[1], stranger]]
    plain = ("job_id", "card_id", "against", "model", "verdict", "role", "kind", "state", "layout", "format", "scenes")
    strange = {
        **dict.fromkeys((*plain, "phase"), nothing),
        **{"character_id": ["", "nobody", stranger, version], "image_id": [*nothing, version]},
        **{
            "program": nothing,
            "folder": [str(folder / "nowhere")],
            "image_ids": listed,
            "sources": listed,
            "version_id": [*nothing, waiting],
        },
        **{"version": [*nothing, editor], "start": [*nothing, editor]},
        **{"enrich_submit.version": [*nothing, version]},
    }
    return folder, usual, strange


def _opened(folder: Path, home: Path, registry: WatchedRegistry) -> Workplace:
    there = Settings(data_root=home, assets=folder / "assets", device="fake")
    made = open_workplace(there, registry=registry, device=FakeDevice(24 << 30))
    made.hub = FakeHub(folder / "hub")
    return made


@pytest.fixture
def home(template: tuple[Path, dict[str, Any], dict[str, list[Any]]], tmp_path: Path) -> Iterator[Home]:
    """A copy of the template, open; its queue does not run."""
    folder, usual, strange = template
    shutil.copytree(folder / "home", tmp_path / "home")
    studio = _opened(folder, tmp_path / "home", WatchedRegistry(folder / "assets"))
    yield Home(studio, usual, strange)
    studio.close()


@contextmanager
def no_traceback() -> Iterator[None]:
    """Fails where an error is logged meanwhile."""
    found: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info or record.levelno >= logging.ERROR:
                found.append(record.getMessage())

    handler = Listening()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert found == []


def demand_readable(studio: Workplace) -> None:
    """Fails where a record or a job's payload is not what its class says."""
    tables: list[Any] = [studio.library.characters(), studio.jobs.list()]
    for character in studio.library.characters():
        store = studio.store(character.id)
        kept = (store.images, store.decisions, store.triplets, store.versions, store.cards, store.datasets)
        tables += [table.all() for table in kept]
    for record in (each for table in tables for each in table):
        assert type(record).from_json(json.loads(json.dumps(record.to_json()))) == record
    for job in studio.jobs.list():
        PAYLOADS[job.kind].of(job)


def check(home: Home, name: str, given: Mapping[str, Any], *, must_refuse: bool = False) -> Json:
    """Makes one call and returns its answer; fails where that is no answer in words, or leaves something behind."""
    before = home.digest()
    with no_traceback():
        answer = home.call(name, **given)
    json.dumps(answer, allow_nan=False).encode()
    if answer["ok"]:
        assert not must_refuse, (name, given, answer)
        demand_readable(home.studio)
        for job in home.queued():
            home.studio.jobs.cancel(job.id)
        return answer
    error = answer["error"]
    assert set(error) == {"code", "message", "hint"} and error["code"] in CODES, (name, given, answer)
    assert error["message"].strip() and error["hint"].strip() and len(str(error)) < LONGEST, (name, given, answer)
    assert home.digest() == before, (name, given, answer)
    if len(given) == 1:
        ((argument, value),) = given.items()
        inside = [str(each).lower() for each in value] if isinstance(value, Mapping) else []
        told = f"{error['message']} {error['hint']}".lower()
        named = (argument, *ALSO_CALLED.get(argument, ()), *inside)
        assert any(each in told for each in named), (name, given, answer)
    return answer


@dataclass(frozen=True)
class Values:
    """What a call is given, as strategies by argument: wrong values, and odd ones, which it may take."""

    wrong: Mapping[str, st.SearchStrategy[Any]]
    odd: Mapping[str, st.SearchStrategy[Any]]
    ways: Sequence[tuple[str, str]]  # (argument, "wrong" or "odd"), or ("", "several")


def values_of(home: Home, name: str) -> Values:
    """Returns the values for a call; to make them takes longer than the call, so that they are made once."""
    kinds, known = annotations(name), arguments(name)
    parameters = home.parameters(name) if "params" in known else {}
    wrong = {each: misfits(kinds[each]) for each in known}
    for each in known if not name.endswith("_preflight") else ():  # it reports what a submit refuses
        known_wrong = home.strange.get(f"{name}.{each}", home.strange.get(each, ()))
        if strange := [value for value in known_wrong if value != known[each].default]:
            wrong[each] |= st.sampled_from(strange)
    odd = {
        each: oddities(kinds[each], home.usual_of(name, each, found.default), parameters)
        for each, found in known.items()
    }
    ways = [(each, how) for each in known for how in ("wrong", *["odd"] * (6 if is_structured(kinds[each]) else 1))]
    return Values(wrong, odd, [*ways, ("", "several"), ("", "several")])


def fuzz(home: Home, name: str, values: Values, data: st.DataObject) -> None:
    """Draws arguments for a call and checks it: one that is wrong, one that is odd, or several odd ones."""
    argument, how = data.draw(st.sampled_from(values.ways), "argument and how")
    if how == "several":
        some = data.draw(st.lists(st.sampled_from(sorted(values.odd)), min_size=1, unique=True), "arguments")
        check(home, name, {each: data.draw(values.odd[each], each) for each in some})
        return
    given = data.draw((values.wrong if how == "wrong" else values.odd)[argument], argument)
    check(home, name, {argument: given}, must_refuse=how == "wrong")


def run(home: Home, name: str, how: settings) -> None:
    """Checks a call with its usual arguments, which it has to take where they are known, and then with drawn ones."""
    answer = check(home, name, {})
    needed = {each for each, found in arguments(name).items() if found.default is found.empty}
    assert answer["ok"] or needed - home.usual.keys(), (name, answer)

    if not arguments(name):
        return
    values = values_of(home, name)

    @how
    @given(st.data())
    def drawn(data: st.DataObject) -> None:
        fuzz(home, name, values, data)

    drawn()


@pytest.mark.parametrize("name", API_NAMES)
def test_whatever_a_call_is_given_is_answered_in_words(home: Home, name: str) -> None:
    """A value is taken, and then all that is stored can be read; or it is refused by its name, and nothing changes."""
    run(home, name, SOME if any(is_structured(annotations(name)[each]) for each in arguments(name)) else FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", API_NAMES)
def test_far_more_is_answered_in_words_and_what_is_taken_is_no_bug(home: Home, name: str) -> None:
    """The same with many more values; and the jobs that were taken end, none of them as a bug."""
    run(home, name, MANY)
    jobs = [job for job in home.studio.jobs.list() if job.state is JobState.CANCELLED and 0 < job.total <= SMALL]
    for job in jobs[:RUN]:
        home.studio.jobs.resume(job.id)
    home.studio.jobs.start()
    while home.queued() or home.studio.jobs.running():
        time.sleep(0.005)
    assert [job.error for job in home.studio.jobs.list() if job.error.code == "bug"] == []
