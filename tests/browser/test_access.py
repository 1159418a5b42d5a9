"""The page for everybody: what axe finds, and what a narrow or wide window leaves in sight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from engines.api.params import EditParams, GenerateParams
from studio.records.image import Kind, Verdict
from tests.browser.gate import Gated, gated
from tests.tabs.colour_blocks import picture, png

pytestmark = pytest.mark.browser
PLACES = ("Curate", "Enrich", "Review", "Train", "Generate", "Editor Refinement", "Character", "Settings")
GRAVE = ("serious", "critical")
PAINT = """
(dark) => {
    document.body.classList.toggle('dark', dark);
    document.documentElement.style.colorScheme = dark ? 'dark' : 'light';
}
"""
# Visible elements that reach beyond the right edge of the window, but for what scrolls inside a box of its own.
BEYOND = """
() => [...document.querySelectorAll('body *')].filter((node) => {
    if (!node.offsetParent || node.closest('.fl-prefetch, svg')) return false;
    for (let at = node.parentElement; at && at !== document.body; at = at.parentElement)
        if (/auto|scroll|hidden/.test(getComputedStyle(at).overflowX)) return false;
    return node.getBoundingClientRect().right > innerWidth + 1;
}).map((node) => `${node.tagName}.${node.className} ${Math.round(node.getBoundingClientRect().right)}`).slice(0, 5)
"""
# Buttons and fields in sight that cover one another; a label and its own field are one.
COVERED = """
() => {
    const controls = ['button', 'input', 'textarea'].map((tag) => `[role="tabpanel"] ${tag}`);
    const nodes = [...document.querySelectorAll([...controls, '#fl-head button', '.fl-rail button'].join())]
        .filter((node) => node.offsetParent && node.getBoundingClientRect().width > 4)
        .filter((node) => !node.closest('.fl-stick, .fl-tile, label, .wrap'));
    const boxes = nodes.map((node) => [node, node.getBoundingClientRect()]);
    const found = [];
    boxes.forEach(([one, a], at) => boxes.slice(at + 1).forEach(([two, b]) => {
        if (one.contains(two) || two.contains(one)) return;
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        const name = (node) => node.innerText || node.id || node.className;
        if (wide > 3 && high > 3) found.push(`${name(one)} × ${name(two)}`);
    }));
    return found.slice(0, 5);
}
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gated]:
    """A studio whose character has sources, edits in every state, and drawn pictures."""
    with gated(tmp_path) as made:
        made.gate.open()
        first, *_ = made.store.select(Kind.SOURCE)
        for at, verdict in enumerate((None, Verdict.GOOD, Verdict.NEEDS_CORRECTION, Verdict.REJECT, None)):
            params = EditParams(instruction=f"make the person smile, number {at}", seed=at).to_json()
            edit = made.store.add_image(
                png(picture(40 + at)), kind=Kind.ENRICHED, parent=first.id, params=params, params_kind="EditParams"
            )
            if verdict:
                made.store.decide(edit.id, verdict)
        for at in range(3):
            params = GenerateParams(prompt=f"ohwx person at the sea, number {at}", seed=at).to_json()
            made.store.add_image(
                png(picture(60 + at)), kind=Kind.SYNTHETIC, params=params, params_kind="GenerateParams", seed=at
            )
        yield made


def stand(page: Page, house: Gated, place: str) -> None:
    """Open one place of the page, drawn whole."""
    page.goto(f"{house.url}/?character=anna&tab={place}&__theme=dark")
    expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()
    page.wait_for_function("() => ![...document.querySelectorAll('.fl-waiting')].some((node) => node.offsetParent)")
    page.add_style_tag(content="* { transition: none !important; }")  # colours are measured once they stand


def test_axe_finds_nothing_grave(house: Gated, page: Page) -> None:
    """On every tab and page, in the dialogs and with pictures opened, in both themes."""
    found: list[str] = []

    def check(place: str) -> None:
        for theme in ("dark", "light"):
            page.evaluate(PAINT, theme == "dark")
            for each in Axe().run(page).response["violations"]:
                if each["impact"] in GRAVE:
                    what = f"{each['id']} ×{len(each['nodes'])}: {each['nodes'][0]['html'][:160]}"
                    found.append(f"{place}, {theme}: {what}")

    for place in PLACES:
        stand(page, house, place)
        check(place)
    opened: dict[str, Callable[[], None]] = {
        "keys": lambda: page.keyboard.press("?"),
        "new character": lambda: page.click("#new-character"),
        "share": lambda: page.click("#share-review"),
    }
    for name, open_it in opened.items():
        stand(page, house, "Curate")
        open_it()
        check(name)
    assert found == []


def test_nothing_is_cut_off_or_covered(house: Gated, page: Page) -> None:
    """At four widths no element reaches beyond the window, and no button or field covers another."""
    wrong = {}
    for place in PLACES:
        stand(page, house, place)
        for width in (900, 1100, 1440, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("(width) => innerWidth === width", arg=width)
            if trouble := [*page.evaluate(BEYOND), *page.evaluate(COVERED)]:
                wrong[place, width] = trouble
    assert wrong == {}
