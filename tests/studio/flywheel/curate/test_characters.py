"""Making a character."""

from __future__ import annotations

from typing import Any

import pytest

from engines.api.errors import BadInput, NotFound
from studio.flywheel.curate.characters import NewCharacter, create


def test_models_that_are_not_named_are_the_first_of_the_registry(world: Any) -> None:
    """Those that are named stay, and so do the notes."""
    made = create(world.studio, NewCharacter(name="Ada", generator="far-away", notes="with a hat"))

    assert (made.generator, made.editor, made.scorer) == ("far-away", "fake-edit", "fake-identity")
    assert (made.name, made.trigger, made.subject, made.notes) == ("Ada", "ohwx", "person", "with a hat")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"name": " "}, BadInput, "needs a name"),
        ({"trigger": ""}, BadInput, "needs a trigger word"),
        ({"name": 5}, BadInput, "name cannot be 5"),
        ({"notes": ["a"]}, BadInput, "notes cannot be"),
        ({"notes": "a\0b"}, BadInput, "notes holds a character that is no text"),
        ({"editor": True}, BadInput, "editor cannot be True"),
        ({"editor": "far-away"}, BadInput, "no editor"),
        ({"scorer": "nobody"}, NotFound, "no model named nobody"),
    ],
    ids=str,
)
def test_what_no_character_can_be_is_refused(
    world: Any, given: dict[str, Any], error: type[Exception], words: str
) -> None:
    """In words that name the field; nobody is made, and every character can still be read."""
    before = world.studio.library.characters()
    with pytest.raises(error, match=words):
        create(world.studio, NewCharacter(**{"name": "Ada", **given}))
    assert world.studio.library.characters() == before
