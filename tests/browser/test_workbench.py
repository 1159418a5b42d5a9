"""Review's workbench in a real browser: a wrong edit is mended by words, by paint, and in a marked area."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from engines.api.params import EditParams
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.review import Triplet
from studio.store import Store
from tests.browser.conftest import serve_here
from tests.browser.test_review_keys import to_the_stage
from tests.tabs.colour_blocks import picture, png
from tests.tabs.conftest import character_on_fakes, studio_on_fakes

pytestmark = pytest.mark.browser

WORDS = "make the person smile"


def edits_to_judge(folder: Path, count: int) -> Character:
    """A home with edits that wait for a verdict, as the editor makes them."""
    studio = studio_on_fakes(folder)
    anna = character_on_fakes(studio, "Anna")
    store = studio.store(anna.id)
    source = store.add_image(png(picture(0)), kind=Kind.SOURCE, caption="ohwx person").id
    params = EditParams(instruction=WORDS, steps=2).to_json()
    made = {"params_kind": "EditParams", "asked": {"expression": "smiling"}, "model": anna.editor, "params": params}
    for at in range(1, count + 1):
        store.add_image(png(picture(at)), kind=Kind.ENRICHED, parent=source, **made)
    studio.close()
    return anna


def stored(folder: Path) -> tuple[list[Triplet], list[ImageRecord]]:
    """The lessons and the edits of a home that is no longer open."""
    studio = studio_on_fakes(folder)
    store = studio.store("anna")
    found = store.triplets.all(), store.select(Kind.ENRICHED)
    studio.close()
    return found


def opened(folder: Path) -> Store:
    """The store of a home that is no longer open, for its pictures."""
    return studio_on_fakes(folder).store("anna")


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a line over the canvas, in shares of it."""
    box = page.locator("[data-canvas]").bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=5)
    page.mouse.up()


def to_the_bench(page: Page) -> str:
    """Press c and wait for the workbench. Returns the picture that is on it."""
    page.keyboard.press("c")
    canvas = page.locator("[data-canvas]")
    expect(canvas).to_be_visible()
    return str(canvas.get_attribute("data-canvas"))


def test_other_words_mend_an_edit_to_a_golden_lesson(page: Page, tmp_path: Path) -> None:
    """c opens the workbench at once and in sight, a key that means nothing there is refused, a good try closes it."""
    edits_to_judge(tmp_path, 2)
    with serve_here(studio_on_fakes(tmp_path)) as served:
        to_the_stage(page, served, 2)
        wrong = to_the_bench(page)
        for part in ("[data-canvas]", "#mend-words textarea", "#mend-again"):
            box = page.locator(part).bounding_box()
            assert box and box["y"] + box["height"] < 900, part
        page.keyboard.press("a")
        expect(page.locator("[data-said]")).to_contain_text("the workbench is open")
        expect(page.locator("#mend-words textarea")).to_have_value(WORDS)
        page.fill("#mend-words textarea", "smile with closed lips")
        page.click("#mend-again")
        expect(page.locator(".fl-easel .try")).to_be_visible()
        page.locator(".fl-easel .try figcaption").click()
        page.keyboard.press("a")
        expect(page.locator("[data-canvas]")).not_to_be_visible()
        expect(page.locator("[data-stage]")).to_be_visible()
        expect(page.locator("#review-tally")).not_to_contain_text("to mend")
        expect(page.locator(".fl-say")).to_contain_text("golden 1 of 50")
    (lesson,), _ = stored(tmp_path)
    assert (lesson.golden, lesson.wrong) == (True, wrong)
    assert lesson.params["instruction"] == "smile with closed lips"


def test_paint_mends_an_edit_and_changes_only_what_was_painted(page: Page, tmp_path: Path) -> None:
    """In a colour of the picture until another is picked; a stroke can be taken back; the rest stays to the bit."""
    edits_to_judge(tmp_path, 2)
    with serve_here(studio_on_fakes(tmp_path)) as served:
        to_the_stage(page, served, 2)
        wrong = to_the_bench(page)
        expect(page.locator("[data-colour]")).not_to_have_value("#808080")
        first = page.locator("[data-colour]").input_value()
        page.keyboard.press("i")
        drag(page, (0.9, 0.9), (0.9, 0.9))
        assert page.locator("[data-colour]").input_value() != first
        page.locator("[data-colour]").fill("#ff0000")
        drag(page, (0.1, 0.9), (0.9, 0.9))
        page.keyboard.press("z")
        drag(page, (0.1, 0.2), (0.9, 0.2))
        page.get_by_role("button", name="Save what I painted").click()
        expect(page.locator("#review-tally")).not_to_contain_text("to mend")
        expect(page.locator("[data-stage]")).to_be_visible()
    (lesson,), _ = stored(tmp_path)
    assert (lesson.golden, lesson.wrong) == (True, wrong)
    store = opened(tmp_path)
    before, after = (np.asarray(store.open_whole(each)).astype(int) for each in (wrong, lesson.result))
    changed = np.argwhere((before != after).any(axis=2))
    assert tuple(after[13, 32]) == (255, 0, 0)
    assert changed[:, 0].min() > 0 and changed[:, 0].max() < 24


def test_a_marked_area_is_redone_and_skipped_pictures_wait_as_thumbnails(page: Page, tmp_path: Path) -> None:
    """Escape leaves the workbench at once; the next c opens it with both; undo takes the verdict back."""
    edits_to_judge(tmp_path, 3)
    with serve_here(studio_on_fakes(tmp_path)) as served:
        to_the_stage(page, served, 3)
        first = to_the_bench(page)
        page.keyboard.press("Escape")
        expect(page.locator("[data-stage]")).to_be_visible()
        expect(page.locator("#mend")).not_to_be_visible()
        expect(page.locator("#review-tally")).to_contain_text("1 to mend")
        to_the_bench(page)
        expect(page.locator(".fl-cases button")).to_have_count(2)
        page.keyboard.press("Backspace")
        expect(page.locator("[data-stage]")).to_be_visible()
        expect(page.locator("#review-tally")).to_contain_text("1 to mend")
        page.locator("#review-tally [data-act=mend]").click()
        expect(page.locator(f'[data-canvas="{first}"]')).to_be_visible()
        page.keyboard.press("m")
        drag(page, (0.2, 0.2), (0.8, 0.2))
        page.get_by_role("button", name="Redo only the marked area").click()
        expect(page.locator(".fl-easel .try")).to_contain_text("in the marked area")
    lessons, edits = stored(tmp_path)
    (again,) = [each for each in edits if each.mends]
    assert (lessons, again.mends, again.state, bool(again.area)) == ([], first, Verdict.PENDING, True)
    store = opened(tmp_path)
    before, after = (np.asarray(store.open_whole(each)) for each in (first, again.id))
    assert (before[30:] == after[30:]).all()
    assert (before[:24] != after[:24]).any()


def test_a_key_never_falls_on_a_try_at_another_picture(page: Page, tmp_path: Path) -> None:
    """What the workbench showed last is gone at once: c and a in one breath leave another picture's try alone."""
    anna = edits_to_judge(tmp_path, 2)
    studio = studio_on_fakes(tmp_path)
    store = studio.store(anna.id)
    first, second = (each.id for each in store.select(Kind.ENRICHED))
    store.decide(first, Verdict.NEEDS_CORRECTION)
    again = EditParams(instruction="smile with closed lips", steps=2).to_json()
    made = {"params_kind": "EditParams", "model": anna.editor, "params": again, "mends": first}
    tried = store.add_image(png(picture(9)), kind=Kind.ENRICHED, parent=store.select(Kind.SOURCE)[0].id, **made).id
    studio.close()
    with serve_here(studio_on_fakes(tmp_path)) as served:
        to_the_stage(page, served, 2)
        page.locator("#review-tally [data-act=mend]").click()
        expect(page.locator(".fl-easel .try")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("[data-stage]")).to_be_visible()
        if page.locator("[data-stage]").get_attribute("data-id") == tried:
            page.keyboard.press(" ")
        expect(page.locator(f'[data-stage][data-id="{second}"]')).to_be_visible()
        page.evaluate("for (const key of 'ca') document.dispatchEvent(new KeyboardEvent('keydown', {key}))")
        expect(page.locator("[data-said]")).to_contain_text("the workbench is open")
        expect(page.locator(f'[data-canvas="{second}"]')).to_be_visible()
    _, edits = stored(tmp_path)
    assert {each.id: each.state for each in edits} == {
        first: Verdict.NEEDS_CORRECTION,
        second: Verdict.NEEDS_CORRECTION,
        tried: Verdict.PENDING,
    }


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (900, "light")])
def test_the_workbench_is_in_sight_and_axe_finds_nothing_grave(
    page: Page, tmp_path: Path, width: int, theme: str
) -> None:
    """Without a picture to mend nothing of it shows; with one, all of it stands above the strip."""
    edits_to_judge(tmp_path, 1)
    page.set_viewport_size({"width": width, "height": 900})
    with serve_here(studio_on_fakes(tmp_path)) as served:
        page.goto(f"{served.url}/?character=anna&tab=Review&__theme={theme}")
        expect(page.locator("[data-stage]")).to_be_visible()
        expect(page.locator("#mend")).not_to_be_visible()
        expect(page.locator(".fl-benchbar")).not_to_be_visible()
        to_the_bench(page)
        for part in (".fl-benchbar", ".fl-easel", ".fl-tools", "#mend-words", "#mend-again", "#mend-file"):
            box = page.locator(part).bounding_box()
            assert box and box["y"] + box["height"] < 843, part
        found = [each for each in Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
        page.keyboard.press("Escape")
        expect(page.locator("#review-tally")).to_contain_text("1 to mend")
        expect(page.locator("#mend")).not_to_be_visible()
        expect(page.locator(".fl-benchbar")).not_to_be_visible()
