"""A field whose value is refused: it is called by its label, and marked until it is changed."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from engines.api.params import GenerateParams
from studio.records.payload import DrawPayload
from tests.browser.conftest import number, open_tab
from tests.browser.gate import Gated
from tests.browser.pressing import quiet, unfold

pytestmark = pytest.mark.browser
FAR = 1_000_000_000_000


@pytest.mark.parametrize(
    ("tab", "field", "name", "label", "go"),
    [
        ("Enrich", "#enrich-limit", "limit", "Edits at most", "#enrich-run"),
        ("Enrich", "#enrich-true-cfg", "true_cfg", "True CFG", "#enrich-run"),
        ("Train", "#train-save-every", "save_every", "Checkpoint every", "#train-start"),
        ("Generate", "#generate-count", "count", "Pictures", "#generate-go"),
    ],
)
def test_a_refused_field_is_called_by_its_label(
    house: Gated, page: Page, tab: str, field: str, name: str, label: str, go: str
) -> None:
    """In the block that shows the cost and beside the button; the field is marked, and is not once it is right."""
    page.goto(f"{house.url}/?character=anna&tab={tab}")
    expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()
    open_tab(page, tab)
    quiet(page)
    unfold(page)
    typed = page.locator(f"{field} input[type=number]")
    right = typed.input_value()
    number(page, field, FAR)
    drawn = page.locator(".fl-trouble:visible")
    expect(drawn).to_contain_text(f"“{label}” cannot be {FAR}")
    expect(typed).to_have_attribute("aria-invalid", "true")
    page.click(go)
    said = page.locator(".fl-say.bad")
    expect(said).to_contain_text(f"“{label}” cannot be {FAR}")
    assert name not in f"{drawn.inner_text()} {said.inner_text()}".split()
    typed.fill(right)
    expect(page.locator('[aria-invalid="true"]')).to_have_count(0)


def test_a_number_typed_beside_a_slider_breaks_nothing(house: Gated, page: Page) -> None:
    """Beyond its end it counts as the end."""
    page.goto(f"{house.url}/?character=anna&tab=Generate")
    expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()
    quiet(page)
    unfold(page)
    page.fill("#generate-prompt textarea", "ohwx person")
    field = page.locator("#generate-first-block-cache input[type=number]")
    field.fill(str(FAR))
    page.click("#generate-go")
    expect(page.locator("#fl-strip [data-running]")).to_have_count(1)
    (job,) = house.studio.jobs.list("anna")
    assert DrawPayload.of(job).items[0]["first_block_cache"] == GenerateParams.bounds("first_block_cache")[1]
