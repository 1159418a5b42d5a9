"""Text that no page can show: refused where it enters, and shown with marks where an older home holds it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest

from engines.api.errors import BadInput, UserError
from studio.api.api import API_NAMES, Api
from studio.flywheel.curate import captions
from studio.records.event import Warned
from studio.records.image import Kind, Verdict
from studio.records.job import Artifacts, Job, JobState
from studio.records.payload import CaptionPayload
from studio.records.words import DEEPEST, demand_text, mended
from studio.store import Library
from studio.store.journal import Journal
from studio.workplace.context import Context
from tests.studio.jobs.queueing import Bench

BAD = ("a\0b", "Mira\ud800", "\udce9", "\x1b[31m", "\x7f", "\x85")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("inside", ["{}", ["{}"], {"a": {"b": ["{}"]}}, {"{}": 1}])
def test_text_that_no_page_can_show_is_refused_wherever_it_stands(bad: str, inside: Any) -> None:
    """In a value, a list, an object or a name; what is said of it can be shown. Mended, it passes."""
    value = json.loads(json.dumps(inside).replace("{}", json.dumps(bad)[1:-1]))
    with pytest.raises(BadInput) as caught:
        demand_text("The notes", value)
    str(caught.value).encode()
    demand_text("The notes", mended(value))


def test_values_that_are_nested_too_deep_are_refused() -> None:
    """However deep they are, the answer is words that name the place; what calls take lies far above that."""
    for levels in (DEEPEST + 1, 100_000):
        lists: Any = 1
        names: Any = 1
        for _ in range(levels):
            lists, names = [lists], {"a name of some length": names}
        for value in (lists, names):
            with pytest.raises(BadInput, match=r"^the notes.* is nested too deep") as caught:
                demand_text("the notes", value)
            assert len(str(caught.value)) < 200
    demand_text("the notes", [[[[[{"a": [[[[1]]]]}]]]]])


@pytest.mark.parametrize("good", ["", "Zoë, 微笑 \U0001f600", "two\nlines\tand\r\nmore", "\u200d", "\u00a0"])
def test_all_other_text_passes_as_it_is(good: str) -> None:
    """Every alphabet, emoji, lines and tabs."""
    demand_text("The notes", {good: [good]})
    assert mended({good: [good]}) == {good: [good]}


@pytest.mark.parametrize("bad", BAD)
def test_no_call_takes_such_text(world: Any, bad: str) -> None:
    """Every name of the surface refuses it for every text, list of texts and object that it takes; nothing changes."""
    api = Api(world.studio)
    given = {"str": bad, "list": [bad], "dict": {"notes": bad}}
    before = (world.store.revision, world.studio.library.characters(), world.studio.jobs.list())
    tried = 0
    for name in API_NAMES:
        parameters = inspect.signature(getattr(api, name)).parameters
        plain = {
            key: world.id if key == "character_id" else "x" for key, p in parameters.items() if p.default is p.empty
        }
        for key, hint in get_type_hints(getattr(api, name)).items():
            kind = getattr(get_origin(hint) or hint, "__name__", "")
            if key in parameters and kind in given:
                answer = getattr(api, name)(**{**plain, key: given[kind]})
                assert (answer["ok"], answer["error"]["code"]) == (False, "bad_input"), (name, key, answer)
                assert key in answer["error"]["message"]
                json.dumps(answer, ensure_ascii=False).encode()
                tried += 1
    assert tried > 60
    assert before == (world.store.revision, world.studio.library.characters(), world.studio.jobs.list())


def test_no_record_holds_such_text(world: Any) -> None:
    """What does not come through the surface is refused by the store: a tab's words, tags, reviewers and settings."""
    image, store, library = world.sources[0], world.store, world.studio.library
    edit = world.review(approved=1)[0]
    before = store.revision
    good = CaptionPayload(ids=(image,), model="", params={})
    for attempt in (
        lambda: captions.set_caption(world.studio.desk(world.id), image, "ohwx \ud800"),
        lambda: captions.set_tags(world.studio.desk(world.id), image, {"outfit": "red\ud800"}),
        lambda: store.decide(edit, Verdict.GOOD, reviewer="\ud800"),
        lambda: store.decide(edit, Verdict.REJECT, reasons=["\ud800"]),
        lambda: library.create("Mira\ud800"),
        lambda: library.create("Mira", trigger="a\0"),
        lambda: library.update(world.id, notes="\ud800"),
        lambda: library.set_setting("character", "\ud800"),
        lambda: world.studio.jobs.submit("caption", world.id, good.replace(params={"prompt": "\ud800"}), title="x"),
        lambda: world.studio.jobs.submit("caption", world.id, good, title="x", key="\ud800"),
    ):
        with pytest.raises(BadInput):
            attempt()
    assert (store.revision, world.studio.jobs.list()) == (before, [])


def test_a_job_may_say_anything(bench: Bench) -> None:
    """What a machine says (an error with a file's name) never stops the queue: it is shown with marks."""

    def does(ctx: Context) -> None:
        ctx.step(1, 2, "caf\udce9.png")
        ctx.keep(imported=("caf\udce9.png",))
        ctx.warn("caf\udce9.png")
        raise UserError("caf\udce9.png is broken.", "\0")

    ended = bench.here(does)
    assert (ended.state, ended.error.message) == (JobState.FAILED, "caf?.png is broken.")
    assert ended.artifacts == bench.stored(ended).artifacts == Artifacts(imported=("caf?.png",))
    (warned,) = bench.jobs.events(ended.id)[0]
    assert isinstance(warned, Warned)
    assert warned.warning == "caf?.png"
    assert bench.here(lambda ctx: None).state is JobState.DONE


def test_a_home_that_holds_such_text_opens_and_answers(tmp_path: Path, world: Any) -> None:
    """A home of before: names, captions and jobs with half letters are listed with marks, and can be mended."""
    root, studio = world.studio.settings.data_root, world.studio
    image = world.store.images.get(world.sources[0])
    job = Job(id="import-old", kind="import", character=world.id, title="Import caf\udce9.png").to_json()
    job |= {"artifacts": {"refused": [{"file": "caf\udce9.png", "reason": "x", "hint": ""}]}, "state": "done"}
    who = studio.library.characters()[0].to_json() | {"name": "Mira\ud800"}
    studio.close()
    _append(root, [["characters", world.id, who], ["jobs", job["id"], job], ["settings", "x", {"value": "\ud800"}]])
    picture = image.to_json() | {"name": "caf\udce9.png", "caption": "a\0\ud800"}
    _append(root / "characters" / world.id, [["images", image.id, picture]])
    world.reopen()
    api = Api(world.studio)
    answers = [api.character_list(), api.image_list(world.id), api.job_list(), api.job_status("import-old")]
    answers += [api.image_get(world.id, image.id), api.coverage(world.id)]
    assert all(answer["ok"] for answer in answers)
    json.dumps(answers, ensure_ascii=False).encode()
    assert (answers[0]["characters"][0]["name"], answers[1]["images"][0]["name"]) == ("Mira?", "caf?.png")
    assert world.studio.library.setting("x", str) == "?"
    assert captions.set_caption(world.studio.desk(world.id), image.id, "ohwx").name == "caf?.png"
    assert len(world.store.select(Kind.SOURCE)) == 4


def _append(folder: Path, ops: list[Any]) -> None:
    """Write records as the journal of an older studio holds them."""
    journal = Journal(folder, schema=1, compact_bytes=1 << 30)
    journal.load()
    journal.append([(table, key, doc) for table, key, doc in ops])
    journal.close()


def test_one_rule_for_a_characters_words(library: Library) -> None:
    """A name, a trigger and a subject show something on one line, spaces around them are nothing; changed ones too."""
    for wrong in ({"name": " "}, {"name": "\u200b"}, {"trigger": ""}, {"trigger": " \t"}, {"trigger": "a\nb"}):
        with pytest.raises(BadInput):
            library.create(**{"name": "Mira", **wrong})
    assert library.characters() == []
    made = library.create(" Mira ", trigger=" anna smith ", subject=" ")
    assert (made.name, made.trigger, made.subject) == ("Mira", "anna smith", "person")
    with pytest.raises(BadInput, match="trigger word"):
        library.update(made.id, trigger=" ")
    assert library.update(made.id, trigger=" ohwx ").trigger == "ohwx"
