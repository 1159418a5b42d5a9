"""The character itself, changed, deleted and taken back on its page."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engines.api.errors import BadInput, Busy
from studio.flywheel.train import character as training
from studio.records.character import Character
from studio.records.image import ImageRecord
from studio.workplace.desk import Desk, Workplace
from tabs.common import identity
from tests.tabs.conftest import character_on_fakes
from tests.tabs.telling import tell


@pytest.fixture(autouse=True)
def alone(studio: Workplace) -> None:
    """Without the sample, which a new studio brings."""
    for each in studio.library.characters():
        if each.name != "Anna":
            studio.library.trash(each.id)


def values(desk: Desk, **changes: str) -> list[str]:
    """What stands in the fields, with changes."""
    now = {name: getattr(desk.store.character, name) for name in identity.FIELDS}
    return [str({**now, **changes}[name]) for name in identity.FIELDS]


def test_the_fields_hold_the_character_and_keep_what_is_typed(studio: Workplace, anna: Character) -> None:
    """They are filled once, and again only when the character has changed elsewhere."""
    desk = studio.desk(anna.id)
    stamp, *shown = identity.fill_fields(desk, "")
    assert [each["value"] if isinstance(each, dict) else each for each in shown] == values(desk)
    assert all("value" not in each for each in identity.fill_fields(desk, stamp))
    studio.library.update(anna.id, name="Anne")
    assert identity.fill_fields(studio.desk(anna.id), stamp)[1] == "Anne"


def test_what_follows_is_said_before_it_is_saved(studio: Workplace, anna: Character) -> None:
    """Which versions know another word or model, and how many captions would change; nothing for no change."""
    tell(studio, anna)
    desk = studio.desk(anna.id)
    words, box = identity.draw_effects(desk, *values(desk))
    assert (words, box["visible"]) == ("", False)

    words, box = identity.draw_effects(desk, *values(desk, trigger="mira7"))
    assert "When you save:" in words and "v1 and v2 learned “ohwx”" in words
    assert "13 captions say the old words" in words
    assert box["visible"] is True and "13 captions" in box["label"]

    words, box = identity.draw_effects(desk, *values(desk, name="Mira"))
    assert "stay in the folder anna" in words and box["visible"] is False
    assert "no model named nobody" in identity.draw_effects(desk, *values(desk, generator="nobody"))[0]
    assert "needs a name" in identity.draw_effects(desk, *values(desk, name=" "))[0]
    assert studio.store(anna.id).character == anna


def test_a_change_is_saved_with_its_captions_or_without(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """As the box says; saying nothing new changes nothing, and what cannot be is refused."""
    image, desk = add(), studio.desk(anna.id)
    assert "Nothing differs" in identity.save_fields(desk, True, *values(desk)).words
    done = identity.save_fields(desk, True, *values(desk, name="Mira", trigger="mira7"))
    assert done.words == "Mira is saved. 1 caption changed with it."
    assert studio.store(anna.id).images.get(image.id).caption.startswith("mira7 person")

    desk = studio.desk(anna.id)
    identity.save_fields(desk, False, *values(desk, trigger="other"))
    assert studio.store(anna.id).images.get(image.id).caption.startswith("mira7 person")
    with pytest.raises(BadInput):
        identity.save_fields(desk, True, *values(desk, trigger=" "))


def test_a_character_goes_into_the_trash_and_comes_back(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """What goes is said before; the next one is shown with the way back, and the trash lists it until then."""
    add()
    bea = character_on_fakes(studio, "Bea")
    assert "Anna with 1 picture and 0 versions" in identity.draw_danger(studio.desk(anna.id))

    done = identity.delete(studio.desk(anna.id), {"act": "delete"})
    shown, back = done.values
    assert shown == bea.id and 'data-act="revive"' in back
    assert "Anna" in identity.draw_thrown(studio.desk(bea.id))

    again = identity.restore(studio.desk(bea.id), {"act": "revive", "character": anna.id})
    assert again.values == (anna.id, "")
    assert len(studio.store(anna.id).select()) == 1
    assert anna.id not in [each.id for each in studio.library.trashed()]
    assert identity.restore(studio.desk(bea.id), {"act": "quiet"})[1] == ""


def test_without_a_character_the_trash_is_still_there(studio: Workplace, anna: Character) -> None:
    """The last one can be taken back as well, and the page says that there is none."""
    shown, _ = identity.delete(studio.desk(anna.id), {"act": "delete"}).values
    assert shown == ""
    listed = identity.draw_thrown(studio.desk(""))
    assert "There is no character" in listed and "take one back" in listed
    assert f'data-character="{anna.id}"' in listed


def test_a_character_at_work_stays(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """While a job of it waits or runs, neither its words nor its place change; its name may."""
    add()
    training.submit(studio.desk(anna.id))
    desk = studio.desk(anna.id)
    with pytest.raises(Busy):
        identity.delete(desk, {"act": "delete"})
    with pytest.raises(Busy):
        identity.save_fields(desk, True, *values(desk, trigger="mira7"))
    assert identity.save_fields(desk, True, *values(desk, name="Mira")).words == "Mira is saved."
