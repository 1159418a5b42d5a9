"""The viewer's handlers: what is told of a picture, what is laid beside it, and what can be done with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from engines.api.errors import BadInput, UserError
from studio.records.card import CardRun, Cell
from studio.records.character import Character
from studio.records.dataset import Entry, Role, frozen
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.outcome import Outcome
from studio.records.version import Version
from studio.workplace.desk import Desk, Workplace
from tabs import generate, viewer
from tabs.common import asking, looks

Add = Callable[..., ImageRecord]
PROMPT = "ohwx person, smiling"
DRAWN = {"model": "fake-flux", "params": {"prompt": PROMPT, "steps": 4, "seed": 7}, "params_kind": "GenerateParams"}
EDITED = {"model": "fake-edit", "params": {"instruction": "smile", "seed": 1}, "params_kind": "EditParams", "seed": 1}


@pytest.fixture
def desk(studio: Workplace, anna: Character) -> Desk:
    """Anna's desk."""
    return studio.desk(anna.id)


def version(desk: Desk, name: str, *images: str, role: Role = Role.CHARACTER) -> str:
    """A version that learned from these pictures."""
    entries = [Entry(image=each, caption="ohwx", kind=Kind.SOURCE) for each in images]
    dataset = desk.store.datasets.put(frozen(role, entries))
    made = Version(id=f"id-{name}", role=role, name=name, model="fake-flux", adapter="a", dataset=dataset.id)
    return desk.store.versions.put(made).id


def drawn(add: Add, by: str = "", **more: object) -> str:
    """A picture of PROMPT with seed 7, drawn by a version."""
    return add(Kind.SYNTHETIC, **{**DRAWN, "seed": 7, "version": by, **more}).id


def press(desk: Desk, act: str, image: str, **more: str) -> str:
    """A click in the viewer; the markup that comes back."""
    return str(viewer.act(desk, {"act": act, "id": image, "n": "1", **more})[0])


def undo(desk: Desk, image: str, shown: str) -> str:
    """A click on the undo that is offered."""
    found = re.search(r'<button type="button" class="fl-link"([^>]*)>Undo', shown)
    assert found
    given: dict[str, Any] = dict(re.findall(r'data-([\w-]+)="([^"]*)"', found.group(1)))
    return press(desk, given.pop("act"), image, **given)


def state(desk: Desk, image: str) -> Verdict:
    """The verdict that stands."""
    return desk.store.images.get(image).state


def test_all_that_is_known_of_a_picture_is_told(desk: Desk, add: Add) -> None:
    """Prompt, every setting, version, seed, likeness, verdict, caption, tags, name and size."""
    by = version(desk, "v1")
    image = drawn(add, by, scores={"fake": 0.5}, state=Verdict.GOOD, tags={"angle": "front"}, caption="ohwx, a hat")

    shown = str(viewer.draw(desk, image, "", "3"))
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", shown))

    assert f'data-id="{image}" data-n="3"' in shown
    assert f">{PROMPT}</p>" in shown
    told = {
        "caption": "ohwx, a hat",
        "tags": "front",
        "drawn by": "v1",
        "model": "fake-flux",
        "steps": "4",
        "seed": "7",
    }
    assert told.items() <= facts.items()
    assert facts.keys() >= {"likeness", "size", "file", "made", "id"}
    assert 'aria-pressed="true"><kbd>a</kbd>Good' in shown


def test_lineage_goes_up_and_down_and_says_what_it_taught(desk: Desk, add: Add) -> None:
    """Every child is counted and can be opened; so can the source."""
    source = add()
    edits = [add(Kind.ENRICHED, parent=source.id, **EDITED).id for _ in range(14)]
    version(desk, "v1", source.id)
    version(desk, "e1", source.id, role=Role.EDITOR)

    above, below = viewer.draw(desk, edits[0], "", ""), viewer.draw(desk, source.id, "", "")

    assert f'data-view="{source.id}"' in above and "Made from" in above
    assert "14 pictures made from this one" in below
    assert all(f'data-view="{each}"' in below for each in edits)
    assert "taught v1" in below and "taught editor e1" in below


def test_what_lies_beside_is_named_and_stays_chosen_where_it_can(desk: Desk, add: Add) -> None:
    """Source, twin of another version, nearest original; a picture without the chosen one stands alone."""
    source, near = add().id, add().id
    edit = add(Kind.ENRICHED, parent=source, nearest=near, **EDITED).id
    add(Kind.PREVIEW, parent=source, version=version(desk, "e1", role=Role.EDITOR), **EDITED)

    alone, beside = viewer.draw(desk, edit, "", ""), viewer.draw(desk, edit, "parent", "")

    assert re.findall(r'data-beside="([^"]*)"', alone) == ["", "parent", "twin id-e1", "nearest"]
    assert "same seed, editor e1" in alone and "fl-compare" not in alone
    assert "<span>source</span><span>this one</span>" in beside
    assert "fl-compare" in viewer.draw(desk, edit, "twin", "")
    assert "fl-compare" not in viewer.draw(desk, source, "parent", "")


@pytest.mark.parametrize(
    ("act", "verdict"),
    [("good", Verdict.GOOD), ("correct", Verdict.NEEDS_CORRECTION), ("reject", Verdict.REJECT)],
)
def test_a_verdict_is_reviews_own_and_can_be_taken_back(desk: Desk, add: Add, act: str, verdict: Verdict) -> None:
    """It stands among the decisions; undo restores what was there before."""
    image = drawn(add)

    shown = press(desk, act, image)
    assert state(desk, image) is verdict
    assert [each.image for each in desk.store.decisions.all()] == [image]

    assert "taken back" in undo(desk, image, shown)
    assert state(desk, image) is Verdict.PENDING


def test_undo_never_takes_back_another_pictures_verdict(desk: Desk, add: Add) -> None:
    """Where somebody gave one meanwhile, it is said."""
    first, second = drawn(add), drawn(add)
    shown = press(desk, "good", first)
    press(desk, "good", second)

    with pytest.raises(BadInput):
        undo(desk, first, shown)
    assert state(desk, second) is Verdict.GOOD


def test_pictures_of_cards_and_trainings_have_no_verdict_and_no_trash(desk: Desk, add: Add) -> None:
    """They belong to their card or training; an original is not reviewed either."""
    for kind in (Kind.CARD, Kind.PREVIEW):
        shown = viewer.draw(desk, add(kind).id, "", "")
        assert not re.search(r'data-act="(good|trash|star)"', shown)
    original = viewer.draw(desk, add().id, "", "")
    assert 'data-act="good"' not in original and 'data-act="trash"' in original


def test_the_trash_can_be_undone(desk: Desk, add: Add) -> None:
    """What was thrown away stays open, says so, and comes back."""
    image = drawn(add)

    shown = press(desk, "trash", image)
    assert desk.store.images.get(image).trashed
    assert "in the trash" in shown and 'data-act="good"' not in shown

    assert "in the trash" not in undo(desk, image, shown)
    assert not desk.store.images.get(image).trashed


def test_a_star_comes_and_goes(desk: Desk, add: Add) -> None:
    """The same key sets and removes it."""
    image = drawn(add)
    assert "★" in press(desk, "star", image)
    assert "★" not in press(desk, "star", image)


def test_a_cell_is_overruled_by_a_switch_with_undo(desk: Desk, add: Add) -> None:
    """Right, wrong, or as the scorer has it; the mark says who spoke, and undo goes one step back."""
    image = add(Kind.CARD, **DRAWN).id
    cell = Cell(cell="T-pose", seed=0, image=image, axes={"pose": Outcome.FAIL}, verdict=Outcome.FAIL)
    cards = desk.store.cards
    cards.put(CardRun(id="c1", version="", job="j", seeds=(0,), cells=(cell,), originals=4))
    place = {"card": "c1", "cell": "T-pose", "seed": "0"}
    assert "by you" not in viewer.draw(desk, image, "", "")

    right = press(desk, "overrule", image, says="right", **place)
    assert cards.get("c1").cells[0].human is True
    assert "by you" in right and "T-pose, model card of base model" in right
    wrong = press(desk, "overrule", image, says="wrong", **place)
    assert cards.get("c1").cells[0].human is False
    undo(desk, image, wrong)
    assert cards.get("c1").cells[0].human is True
    undo(desk, image, right)
    assert cards.get("c1").cells[0].human is None
    assert press(desk, "overrule", image, says="own", **place).count("Undo") == 0


def test_the_base_model_is_compared_with_when_it_is_chosen(desk: Desk, add: Add) -> None:
    """Its name begins those of all other versions; only a wish for any version takes the newest."""
    base, newest = drawn(add), drawn(add, version(desk, "v2"))
    shown = drawn(add, version(desk, "v1"))
    assert looks.file_url(desk.store.view(base)) in viewer.draw(desk, shown, "twin ", "")
    assert looks.file_url(desk.store.view(newest)) in viewer.draw(desk, shown, "twin", "")


def test_settings_go_to_generate(desk: Desk, add: Add) -> None:
    """One value for each of its widgets, and the page is told to go there; other acts leave them alone."""
    by = version(desk, "v1")
    image = drawn(add, by)

    shown, *values = viewer.act(desk, {"act": "use", "id": image})
    assert 'data-go="Generate"' in shown
    assert len(values) == len(generate.SETTINGS_WIDGETS)
    assert PROMPT in values
    assert by in [each["value"] for each in values if isinstance(each, dict) and "value" in each]
    assert asking.kept_fields(desk)["version"] == by  # a tab that was never opened fills itself from these

    _, *left = viewer.act(desk, {"act": "see", "id": image})
    assert len(left) == len(generate.SETTINGS_WIDGETS)
    assert PROMPT not in left


def test_settings_of_an_edit_are_not_offered(desk: Desk, add: Add) -> None:
    """Generate has no instruction; an original has nothing at all."""
    edit = viewer.draw(desk, add(Kind.ENRICHED, parent=add().id, **EDITED).id, "", "")
    assert 'data-act="use"' not in edit and ">Instruction <" in edit
    assert 'data-act="use"' in viewer.draw(desk, drawn(add), "", "")


def test_a_picture_that_is_gone_is_said_in_its_place(desk: Desk) -> None:
    """Not in an endless wait."""
    assert "There is no ImageRecord" in viewer.draw(desk, "nothing", "", "2")


def test_a_picture_whose_file_is_gone_can_still_be_thrown_away(desk: Desk, add: Add) -> None:
    """It says what is the matter, and offers no download."""
    image = add()
    desk.store.path(image.id).unlink()

    shown = viewer.draw(desk, image.id, "", "")

    assert "missing or damaged" in shown
    assert 'data-act="trash"' in shown and "Download" not in shown


def test_a_download_has_a_name_that_says_what_it_is(desk: Desk, add: Add) -> None:
    """An original its own; what was made the character's, the kind and the id."""
    own, made = add(name="anna at sea.png"), drawn(add)
    assert 'download="anna at sea.png"' in viewer.draw(desk, own.id, "", "")
    assert f'download="Anna-generated-{made[:8]}.png"' in viewer.draw(desk, made, "", "")


def test_an_act_on_nothing_is_refused(desk: Desk, add: Add) -> None:
    """In words."""
    with pytest.raises(UserError):
        viewer.act(desk, {"act": "star", "id": "nothing"})
    with pytest.raises(UserError):
        press(desk, "overrule", add(Kind.CARD).id, says="right", card="c1", cell="T-pose", seed="0")


def test_answers_are_told_with_their_probability(desk: Desk, add: Add) -> None:
    """The likeliest value of each axis that the picture was asked about, none of the values being `other`."""
    logs = {"angle": {"front": -0.05, "": -3.02}, "pose": {"sitting": -2.3, "": -0.105}}
    record = add(Kind.SOURCE, answers={"model:asked-1": logs})
    assert viewer.answered(record) == "angle front 95%, pose other 90%"
    assert viewer.answered(add(Kind.SYNTHETIC)) == ""
