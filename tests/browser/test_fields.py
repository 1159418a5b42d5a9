"""A field with a wrong value: what is pressed then answers in words, and nothing is queued that must fail."""

from __future__ import annotations

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect

from studio.records.job import JobState
from tests.browser.gate import Gated
from tests.browser.pressing import is_answered, quiet, unfold

pytestmark = pytest.mark.browser
WRONG = ("-1000000000", "1000000000000")
# The number fields of the open tab, numbered: their labels.
FIELDS = """
() => [...document.querySelectorAll('[role="tabpanel"] input[type=number]')]
    .filter((node) => delete node.dataset.field && node.offsetParent && !node.disabled && !node.readOnly)
    .map((node, at) => {
        node.dataset.field = at;
        return node.ariaLabel || node.closest("label")?.innerText || node.id;
    })
"""
PATIENCE_MS = 30_000


def test_a_wrong_number_in_any_field_is_answered(house: Gated, page: Page) -> None:
    """Far too small and far too large in each number field; what was queued meanwhile is done without an error."""
    silent: list[str] = []
    troubles: list[str] = []

    def note(said: ConsoleMessage) -> None:
        if said.type == "error":
            troubles.append(said.text)

    page.on("console", note)
    for tab, go in (("Enrich", "Run plan"), ("Train", "Train"), ("Generate", "Generate")):
        page.goto(f"{house.url}/?character=anna&tab={tab}")
        expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()
        if tab == "Generate":
            page.fill("#generate-prompt textarea", "ohwx person")
        quiet(page)
        unfold(page)
        for at, label in enumerate(page.evaluate(FIELDS)):
            for wrong in WRONG:
                type_into(page, at, wrong)
                if not is_answered(page, go, PATIENCE_MS):
                    silent.append(f"{tab}: {label} {wrong}")
                quiet(page)
            type_into(page, at, "")
    assert silent == []
    assert troubles == []
    house.gate.open()
    house.studio.jobs.start()
    while any(job.state in (JobState.QUEUED, JobState.RUNNING) for job in house.studio.jobs.list()):
        page.wait_for_timeout(50)
    assert [job.error for job in house.studio.jobs.list() if job.state is not JobState.DONE] == []


def type_into(page: Page, at: int, value: str) -> None:
    """Fill a number field of the open tab, leave it, and wait until the page has followed."""
    page.evaluate(FIELDS)
    field = page.locator(f'[data-field="{at}"]')
    field.fill(value)
    field.press("Tab")
    quiet(page)
