"""The words stay as they are, to the letter."""

from __future__ import annotations

import json

from tests.engines.wording import golden


def test_every_word_is_as_it_was() -> None:
    """Edits, pairs, card prompts, scenes of three seeds, captions and the tags read from them are those on file."""
    kept, said = json.loads(golden.FILE.read_text(encoding="utf-8")), golden.spoken()
    for name, words in kept.items():
        assert said[name] == words, name
    assert said == kept
