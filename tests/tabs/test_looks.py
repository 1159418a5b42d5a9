"""How things look."""

import re
from pathlib import Path
from typing import Any

import assets
from engines.api.errors import BadInput
from studio.records.image import ImageRecord, Kind, Verdict
from tabs.common import looks


def record(**fields: Any) -> ImageRecord:
    """A picture's record without a file."""
    plain = ImageRecord(id="a" * 32, kind=Kind.SOURCE, file="x.png", width=1, height=1)
    return plain.replace(**fields)


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


def contrast(one: str, other: str) -> float:
    """How far two colours of a style sheet lie apart, as WCAG reckons it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_words_stand_out_from_what_they_stand_on() -> None:
    """At least 4.5 to 1 for every pair of colours in which words are shown, light and dark."""
    css = (Path(assets.__file__).parent / "ui" / "flen.css").read_text(encoding="utf-8")
    grounds = {"text": ("bg", "panel", "sunk"), "dim": ("bg", "panel", "sunk"), "accent": ("bg", "panel")}
    grounds |= {tone: ("bg", "panel", f"{tone}-soft") for tone in ("good", "warn", "bad")} | {"on-accent": ("accent",)}
    for place in (":root", ".dark"):
        block = re.search(rf"^{re.escape(place)} {{(.*?)^}}", css, re.M | re.S)
        assert block
        colours = dict(re.findall(r"--fl-([\w-]+): (#[0-9a-f]{6})", block.group(1)))
        pairs = [(word, ground) for word, under in grounds.items() for ground in under]
        faint = [pair for pair in pairs if contrast(colours[pair[0]], colours[pair[1]]) < 4.5]
        assert faint == [], place


def test_a_count_agrees_with_its_words() -> None:
    """One waits, two wait."""
    assert [looks.plural(count, "edit waits", "edits wait") for count in (0, 1, 2)] == [
        "0 edits wait",
        "1 edit waits",
        "2 edits wait",
    ]
    assert looks.plural(1, "picture") == "1 picture"
