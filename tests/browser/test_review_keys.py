"""Review by keys, as fast as a hand can press them, in a real browser on a busy machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from studio.flywheel import review
from studio.records.image import Kind, Verdict
from tests.browser.conftest import Served, open_tab, serve
from tests.tabs.colour_blocks import picture, png
from tests.tabs.conftest import character_on_fakes, studio_on_fakes

pytestmark = pytest.mark.browser

PAUSE_MS = 50
VERDICTS = {"a": Verdict.GOOD, "c": Verdict.NEEDS_CORRECTION, "x": Verdict.REJECT}


@contextmanager
def two_busy_loops() -> Iterator[None]:
    """Two processes that leave little of this machine to others."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def edits_that_wait(folder: Path, count: int) -> list[str]:
    """A home with edits to review, and the order in which Review shows them."""
    studio = studio_on_fakes(folder)
    anna = character_on_fakes(studio, "Anna")
    store = studio.store(anna.id)
    source = store.add_image(png(picture(0)), kind=Kind.SOURCE, caption="ohwx person").id
    made = {"params": {"instruction": "smile"}, "params_kind": "EditParams", "asked": {"expression": "smiling"}}
    for at in range(1, count + 1):
        store.add_image(png(picture(at)), kind=Kind.ENRICHED, parent=source, **made)
    order = [each.id for each in review.next(studio.desk(anna.id), count=count)]
    studio.close()
    return order


def decided(folder: Path) -> list[tuple[str, Verdict, tuple[str, ...]]]:
    """The verdicts that stand with their reasons, in the order in which they were given."""
    studio = studio_on_fakes(folder)
    found = studio.store("anna").decisions.all()
    studio.close()
    return [(each.image, each.verdict, each.reasons) for each in found if not each.undone]


def to_the_stage(page: Page, served: Served, left: int) -> None:
    """Open Review and wait for its first picture."""
    page.goto(f"{served.url}/?character=anna")
    expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()
    open_tab(page, "Review")
    expect(page.locator("#review-tally")).to_contain_text(f"{left} left")


def press(page: Page, *keys: str) -> None:
    """Press keys one after the other, without a look at what they do."""
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(PAUSE_MS)


def test_two_hundred_fast_keys_are_two_hundred_verdicts(page: Page, tmp_path: Path) -> None:
    """Each key falls on the picture that the order shows at its turn; none is lost, none falls on another."""
    order = edits_that_wait(tmp_path, 204)
    keys = ["x" if at % 3 == 0 or at % 7 == 2 else "a" for at in range(200)]
    with serve(tmp_path / "home", "--fake") as served:
        to_the_stage(page, served, 204)
        with two_busy_loops():
            press(page, *keys)
            expect(page.locator("#review-tally")).to_contain_text("4 left")
            expect(page.locator(f'[data-stage][data-id="{order[200]}"] .fl-main')).to_be_visible()
    assert decided(tmp_path) == [(image, VERDICTS[key], ()) for image, key in zip(order, keys, strict=False)]


def test_undo_skip_and_reasons_keep_their_place_among_fast_keys(page: Page, tmp_path: Path) -> None:
    """Backspace takes back the verdict before it, a reason goes with the next verdict, a skipped picture comes last."""
    order = edits_that_wait(tmp_path, 12)
    with serve(tmp_path / "home", "--fake") as served:
        to_the_stage(page, served, 12)
        with two_busy_loops():
            press(page, "a", "x", "Backspace", "a", "3", "x", "a", "Backspace", "Backspace", "x", " ", "a", "a", "c")
            expect(page.locator("#review-tally")).to_contain_text("6 left")
    first, second, third, _, fifth, sixth, seventh = order[:7]
    assert decided(tmp_path) == [
        (first, Verdict.GOOD, ()),
        (second, Verdict.GOOD, ()),
        (third, Verdict.REJECT, ()),
        (fifth, Verdict.GOOD, ()),
        (sixth, Verdict.GOOD, ()),
        (seventh, Verdict.NEEDS_CORRECTION, ()),
    ]


def test_a_key_without_a_picture_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    """Undo with nothing to undo, and a verdict when all is decided, are said on the page."""
    edits_that_wait(tmp_path, 2)
    with serve(tmp_path / "home", "--fake") as served:
        to_the_stage(page, served, 2)
        expect(page.get_by_role("button", name="Undo")).to_be_disabled()
        page.keyboard.press("Backspace")
        expect(page.locator("[data-said]")).to_contain_text("no verdict of yours")
        press(page, "a", "x", "a")
        expect(page.locator("[data-said]")).to_contain_text("no picture on the screen")
        expect(page.locator("#review-tally")).to_contain_text("0 left")
    assert [verdict for _, verdict, _ in decided(tmp_path)] == [Verdict.GOOD, Verdict.REJECT]


def test_keys_that_were_on_their_way_survive_a_reload(page: Page, tmp_path: Path) -> None:
    """A reload in the middle of a burst loses none of its keys, and counts none twice."""
    order = edits_that_wait(tmp_path, 30)
    with serve(tmp_path / "home", "--fake") as served:
        to_the_stage(page, served, 30)
        with two_busy_loops():
            page.evaluate("for (const key of 'aaaaaaaaaa') document.dispatchEvent(new KeyboardEvent('keydown', {key}))")
            page.reload()
            open_tab(page, "Review")
            expect(page.locator("#review-tally")).to_contain_text("20 left")
        press(page, "x")
        expect(page.locator("#review-tally")).to_contain_text("19 left")
    found = decided(tmp_path)
    assert found[:10] == [(image, Verdict.GOOD, ()) for image in order[:10]]
    assert (len(found), found[-1][1]) == (11, Verdict.REJECT)
