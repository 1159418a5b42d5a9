"""Pressing whatever can be pressed, and seeing that it is answered."""

from __future__ import annotations

from contextlib import suppress

from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as Silence

from tests.browser.conftest import PATIENCE_MS

# What a person can press in the open tab, numbered: no fold, no way to another tab, no file chooser.
BUTTONS = """
() => [...document.querySelectorAll('[role="tabpanel"] button')].filter((node) => delete node.dataset.nth
    && node.offsetParent && !node.disabled && node.innerText.trim()
    && !node.matches('.label-wrap, .reset-button, [data-tab], [aria-label*="pload"]')
    && !node.closest('.tab-wrapper, #curate-folder, #generate-drop, #restore-choose, #plan-upload')
).map((node, at) => { node.dataset.nth = at; return node.innerText.trim(); })
"""
FOLDS = """
() => [...document.querySelectorAll('[role="tabpanel"] :is(.label-wrap:not(.open), details:not([open]) > summary)')]
    .filter((node) => node.offsetParent && !node.dataset.unfolded)
    .map((node) => { node.dataset.unfolded = "yes"; node.click(); }).length
"""
SHOWN = """
() => document.body.className + [...document.querySelectorAll('[role="tabpanel"], .fl-rail, dialog[open], .fl-sheet')]
    .map((node) => node.innerHTML.replace(/ data-(nth|calling|unfolded)="[^"]*"/g, "")
        + [...node.querySelectorAll("input, textarea")].map((field) => `${field.value} ${field.checked}`)).join()
"""
ANSWERED = f"(before) => document.querySelector('.fl-say') || ({SHOWN})() !== before"


def quiet(page: Page) -> None:
    """Wait until everything is drawn and nothing is called any more, and close what was said or opened."""
    expect(page.locator("[data-calling], .fl-waiting:visible")).to_have_count(0)
    shown = expect(page.locator(".fl-say, .fl-sheet, dialog[open]"))
    for patience in (2000, 2000, 2000, PATIENCE_MS):  # what comes after the key is closed by the next one
        page.keyboard.press("Escape")
        with suppress(*([] if patience == PATIENCE_MS else [AssertionError])):
            return shown.to_have_count(0, timeout=patience)


def unfold(page: Page) -> None:
    """Open every fold of the open tab, those within another too."""
    while page.evaluate(FOLDS):
        quiet(page)


def press(page: Page, words: str) -> bool:
    """Click the button of these words; False where a part that was drawn anew has it no more."""
    for patience in (3000, PATIENCE_MS):
        shown = page.evaluate(BUTTONS)  # a part that is drawn anew has lost its numbers
        if words not in shown:
            return False
        try:
            page.locator(f'[data-nth="{shown.index(words)}"]').click(timeout=patience)
            return True
        except Silence:
            if patience == PATIENCE_MS:
                raise
    return False


def press_all(page: Page) -> tuple[list[str], list[str]]:
    """Open all folds of the open tab and press each button once, those that come too; all, and the silent."""
    unfold(page)
    pressed: list[str] = []
    silent: list[str] = []
    while left := [words for words in page.evaluate(BUTTONS) if words not in pressed]:
        pressed.append(left[0])
        if not any(is_answered(page, left[0], patience) for patience in (PATIENCE_MS // 8, PATIENCE_MS)):
            silent.append(left[0])
        quiet(page)
    return pressed, silent


def is_answered(page: Page, words: str, patience: int) -> bool:
    """Press the button of these words; whether anything is said or shown. Where it has gone, nothing has to be."""
    before = page.evaluate(SHOWN)
    if not press(page, words):
        return True
    try:
        page.wait_for_function(ANSWERED, arg=before, timeout=patience, polling=100)  # not at each frame: it reads all
    except Silence:  # a part that is drawn anew in the moment of a click loses it
        return False
    return True
