"""Which edits are asked for, and in what order."""

from __future__ import annotations

from collections import Counter

import pytest

from engines.api.axes import ANGLES, EXPRESSIONS
from engines.mini import world
from engines.wording.drawn import DRAWN
from engines.wording.reading import read_tags
from studio.flywheel.enrich import plan as planning
from studio.records.image import ImageRecord, Kind

EDITS = DRAWN.edit_tasks()


def record(name: str, **tags: str) -> ImageRecord:
    """A source that shows something."""
    return ImageRecord(id=name, kind=Kind.SOURCE, file="", width=1, height=1, tags=tags)


def drawn(seed: int = 3) -> list[ImageRecord]:
    """The twelve pictures of a drawn character, tagged from their captions."""
    scenes = world.sample_scenes(seed)
    return [record(f"s{i}", **read_tags(world.caption(scene))) for i, scene in enumerate(scenes)]


def test_twelve_sources_get_a_balanced_plan() -> None:
    """Every task is asked for, and no source weighs much more than another."""
    sources = drawn()
    asks = planning.asks(sources, sources, EDITS, 54, True, DRAWN)
    assert len(asks) == 54
    assert len({(ask.source, ask.edit.words) for ask in asks}) == 54
    uses = Counter(ask.source for ask in asks)
    assert set(uses) == {source.id for source in sources}
    assert max(uses.values()) - min(uses.values()) <= 2
    assert {ask.edit.task for ask in asks} == {edit.task for edit in EDITS}


def test_empty_cells_come_first() -> None:
    """The first edits are those that fill what the grid lacks, each cell once."""
    sources = drawn()
    tags = {source.id: source.tags for source in sources}
    asks = planning.asks(sources, sources, EDITS, 54, True, DRAWN)
    shown = {(t.get("angle"), t.get("expression")) for t in tags.values()}
    missing = [(a, e) for a in ANGLES for e in EXPRESSIONS if (a, e) not in shown]
    reached = [{**tags[ask.source], **ask.edit.expects} for ask in asks[: len(missing)]]
    assert [(cell["angle"], cell["expression"]) for cell in reached] == missing


def test_one_step_is_preferred_to_two() -> None:
    """A smiling front view is turned to smile at half-left; nothing else is asked of it."""
    sources = [record("a", angle="front", expression="smiling")]
    existing = [record(f"{a} {e}", angle=a, expression=e) for a in ANGLES for e in EXPRESSIONS]
    existing = [image for image in existing if image.id != "half-left smiling"]
    (ask,) = planning.asks(sources, existing, EDITS, 1, True, DRAWN)
    assert ask.edit.words == "turn the head to half-left"


def test_the_nearest_head_is_turned() -> None:
    """Of two smiling pictures, the one that has to turn less is chosen."""
    sources = [record("far", angle="profile-right", expression="sad"), record("near", angle="front", expression="sad")]
    existing = [record(f"{a} {e}", angle=a, expression=e) for a in ANGLES for e in EXPRESSIONS]
    existing = [image for image in existing if image.id != "half-left sad"]
    (ask,) = planning.asks(sources, existing, EDITS, 1, True, DRAWN)
    assert ask.source == "near"


def test_untagged_sources_are_asked_for_both_at_once() -> None:
    """Nothing known of a picture: angle and expression are both named."""
    asks = planning.asks([record("a"), record("b")], [], EDITS, 20, True, DRAWN)
    assert {len(ask.edit.expects) for ask in asks} == {2}
    assert {ask.source for ask in asks} == {"a", "b"}


def test_no_edit_asks_for_what_is_there() -> None:
    """A forest isn't changed into a forest."""
    sources = drawn()
    tags = {source.id: source.tags for source in sources}
    for ask in planning.asks(sources, sources, EDITS, 200, False, DRAWN):
        assert any(tags[ask.source].get(name) != value for name, value in ask.edit.expects.items())


@pytest.mark.parametrize("task", ["background", "angle"])
def test_chosen_tasks_alone_are_planned(task: str) -> None:
    """With one task chosen, gaps that it can't fill stay empty."""
    edits = [edit for edit in EDITS if edit.task == task]
    asks = planning.asks(drawn(), drawn(), edits, 30, True, DRAWN)
    assert {ask.edit.task for ask in asks} == {task}


def test_a_plan_ends_when_there_is_nothing_left_to_ask() -> None:
    """One source and one edit make one row, however many are wanted."""
    edits = [edit for edit in EDITS if edit.value == "forest"]
    assert len(planning.asks([record("a")], [], edits, 50, True, DRAWN)) == 1


def test_seeds_differ_and_repeat() -> None:
    """A row's seed is its own, the same in every plan, and fits 31 bits."""
    seeds = [planning.seed_of(source, "words", n) for source in ("a", "b") for n in range(3)]
    assert len(set(seeds)) == 6
    assert seeds[0] == planning.seed_of("a", "words", 0)
    assert all(0 <= seed < 1 << 31 for seed in seeds)


T_POSE = {"pose": "T-pose", "framing": "full body"}
SAD = {"angle": "half-left", "expression": "sad", "framing": "head"}


def test_what_is_aimed_at_is_reached_and_nothing_else_is_asked() -> None:
    """Every edit leads from its source to one of the aims, both come in turn, and no source is asked twice alike."""
    sources = drawn()
    tags = {source.id: source.tags for source in sources}
    asks = planning.aimed(sources, [T_POSE, SAD], EDITS, 16, DRAWN)
    assert len({(ask.source, ask.edit.words) for ask in asks}) == 16
    for number, ask in enumerate(asks):
        shown = {**tags[ask.source], **ask.edit.expects}
        wanted = [{"pose": "T-pose"}, {"angle": "half-left", "expression": "sad"}][number % 2]
        assert wanted.items() <= shown.items()


def test_the_nearest_source_is_aimed_from_first() -> None:
    """Who is sad already turns the head, the less the sooner; who is not is asked for both."""
    sources = [
        record("happy", angle="front", expression="smiling"),
        record("far", angle="profile-right", expression="sad"),
        record("near", angle="front", expression="sad"),
        record("there", angle="half-left", expression="sad"),
    ]
    asks = planning.aimed(sources, [SAD], EDITS, 9, DRAWN)
    assert [(ask.source, len(ask.edit.expects)) for ask in asks] == [("near", 1), ("far", 1), ("happy", 2)]


def test_an_aim_that_was_asked_for_comes_after_new_ones() -> None:
    """The same words for the same picture are a last resort."""
    sources = [record("a"), record("b")]
    (first, *_) = planning.aimed(sources, [T_POSE], EDITS, 9, DRAWN)
    asks = planning.aimed(sources, [T_POSE], EDITS, 9, DRAWN, asked={(first.source, first.edit.words)})
    assert [ask.source for ask in asks] == ["b", "a"]


def test_what_the_chosen_edits_do_not_reach_is_not_asked() -> None:
    """Turning heads alone makes nobody sad."""
    edits = [edit for edit in EDITS if edit.task == "angle"]
    asks = planning.aimed(
        [record("a", expression="sad"), record("b", expression="angry")], [SAD, T_POSE], edits, 9, DRAWN
    )
    assert [ask.source for ask in asks] == ["a"]
