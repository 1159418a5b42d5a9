"""Acts that follow each other faster than they are answered."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from studio.records.payload import EnrichPayload
from tests.browser.gate import Gated

pytestmark = pytest.mark.browser
# Both clicks in one breath: no answer can come between.
_PICK_TWO_AND_ADD = """() => {
  const [first, second] = document.querySelectorAll("#enrich-sources [data-act=source]");
  first.click();
  second.click();
  document.querySelector("#enrich-add").click();
}"""
_CHANGE_AND_RUN = """() => {
  const words = document.querySelector("textarea[data-change=words]");
  words.value = "put a red hat on the person";
  words.dispatchEvent(new Event("change", { bubbles: true }));
  document.querySelector("#enrich-run").click();
}"""


def test_each_act_builds_on_the_one_before(house: Gated, page: Page) -> None:
    """Two pictures clicked at once are both chosen, and a button pressed right after a change takes it along."""
    page.goto(f"{house.url}/?character={house.anna}&tab=Enrich")
    expect(page.locator("textarea[data-change=words]")).not_to_have_count(0)
    page.locator("#enrich-own").get_by_role("textbox").fill("make the {subject} wink")

    page.evaluate(_PICK_TWO_AND_ADD)
    expect(page.locator(".fl-own-row")).to_have_count(1)
    expect(page.locator('#enrich-sources [aria-pressed="true"]')).to_have_count(2)
    expect(page.locator(".fl-own-row")).to_contain_text("2 edits")

    page.evaluate(_CHANGE_AND_RUN)
    expect(page.get_by_text("edits queued.")).to_be_visible()
    (job,) = house.studio.jobs.list(house.anna)
    said = [row.params["instruction"] for row in EnrichPayload.of(job).rows]
    assert said.count("make the person wink") == 2
    assert said.count("put a red hat on the person") == 1
