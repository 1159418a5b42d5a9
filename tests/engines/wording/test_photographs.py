"""Real models are asked in plain sentences."""

from __future__ import annotations

from engines.api.axes import ANGLES
from engines.wording.photographs import PHOTOGRAPHS


def test_edits_name_what_stays_and_whose_left() -> None:
    """An editor is told what to keep, and that left and right are the viewer's."""
    edits = PHOTOGRAPHS.edit_tasks()
    for edit in edits:
        assert "Keep the same person" in edit.words
        for side in ("left", "right"):
            assert side not in edit.words.split() or f"the viewer's {side}" in edit.words
    angle, smile = (next(edit for edit in edits if edit.value == value) for value in ("half-left", "smiling"))
    both = PHOTOGRAPHS.combined(angle, smile).words
    assert both == "Turn the head to half-left (the viewer's left). Make the person smile. Keep the same person."


def test_the_style_leads_and_the_article_fits() -> None:
    """A style takes the place of "photo", and an outfit has the article that its first letter wants."""
    tags = {"style": "watercolour", "outfit": "orange jacket", "light": "soft"}
    assert PHOTOGRAPHS.describe(tags, "ohwx") == (
        "watercolour picture of ohwx person, wearing an orange jacket, soft light"
    )
    assert PHOTOGRAPHS.describe({"outfit": "raincoat"}, "ohwx", "cat") == "photo of ohwx cat, wearing a raincoat"


def test_a_caption_is_requested_in_the_studios_values() -> None:
    """The request names every head angle as the studio does, so that the answer can be read."""
    assert all(angle in PHOTOGRAPHS.caption_request for angle in ANGLES)
