"""How things look."""

from pathlib import Path

from engines.errors import BadInput
from studio.nouns import ImageRecord, Kind, Verdict
from tabs.common import looks


def record(**fields: object) -> ImageRecord:
    """A picture's record without a file."""
    return ImageRecord(**{"id": "a" * 32, "kind": Kind.SOURCE, "file": "x.png", "width": 1, "height": 1, **fields})


def test_nothing_a_user_types_becomes_markup() -> None:
    """Words from files, captions and errors are shown as words."""
    bad = '<img src=x onerror="alert(1)">'
    shown = [
        looks.chip(bad, title=bad),
        looks.button(bad, bad, hint=bad, id=bad),
        looks.empty(bad),
        looks.trouble(BadInput(bad, bad)),
        looks.check(bad, False, bad),
        looks.tile(record(caption=bad, id=bad), Path("/t.webp")),
    ]
    assert not any("<img src=x" in each for each in shown)


def test_durations_and_sizes_read_as_a_person_says_them() -> None:
    """No figure asks the reader to convert it."""
    assert [looks.duration(each) for each in (9, 82, 1800, 5400)] == ["9 s", "1 min 22 s", "30 min", "1 h 30 min"]
    assert [looks.amount(each) for each in (2048, 5 << 20, 3 << 30)] == ["2 KiB", "5 MiB", "3.0 GiB"]


def test_no_face_is_said_and_not_drawn_as_zero() -> None:
    """A picture that could not be compared has no bar."""
    assert "no face" in looks.score(None)
    assert "fl-score" not in looks.score(None)


def test_a_score_is_green_from_the_floor_on() -> None:
    """The floor decides the colour, and is marked."""
    assert "good" in looks.score(0.7, 0.6)
    assert "bad" in looks.score(0.5, 0.6)
    assert "60%" in looks.score(0.5, 0.6)


def test_pictures_are_asked_for_by_a_quoted_path() -> None:
    """A space or a hash in a folder's name does not break the address."""
    assert looks.file_url(Path("/my data/#1.webp")) == "/gradio_api/file=/my%20data/%231.webp"


def test_a_verdict_has_its_colour_wherever_it_shows() -> None:
    """Green, amber and red are for verdicts."""
    tones = [looks.TONES[each] for each in (Verdict.GOOD, Verdict.NEEDS_CORRECTION, Verdict.REJECT, Verdict.PENDING)]
    assert tones == ["good", "warn", "bad", ""]


def test_a_picture_is_described_for_those_who_cannot_see_it() -> None:
    """The caption, else the tags, else the file's name, else its kind."""
    assert looks.describe(record(caption="a hat")) == "a hat"
    assert looks.describe(record(tags={"angle": "front"})) == "front"
    assert looks.describe(record()) == "source picture"
