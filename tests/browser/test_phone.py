"""Review by phone: the owner opens the link in the studio, a guest judges with the thumb, the owner closes the link."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from studio.records.image import Kind, Verdict
from tabs.serving import network_address
from tests.browser.gate import gated
from tests.tabs.colour_blocks import picture, png

pytestmark = pytest.mark.browser


def grave(page: Page) -> list[str]:
    """What axe finds that is serious or critical."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]


def test_a_guest_reviews_by_thumb_in_the_same_network(page: Page, tmp_path: Path) -> None:
    """The invitation's address alone logs in; a tap compares; the vote arrives with its reason and the guest's name."""
    if not network_address():
        pytest.skip("This machine has no local network.")
    with gated(tmp_path) as house:
        source = house.store.select(Kind.SOURCE)[0].id
        for at in range(2):
            asked = {"expression": "smiling"}
            house.store.add_image(png(picture(40 + at)), kind=Kind.ENRICHED, parent=source, asked=asked)
        page.goto(f"{house.url}/?character=anna&tab=Review")
        page.click("#share-review")
        expect(page.locator("#share-open")).to_be_visible()
        expect(page.locator("#share-close")).not_to_be_visible()
        page.get_by_label("only in this network").check()
        page.click("#share-open")
        expect(page.locator("#share-told img")).to_be_visible()
        assert grave(page) == []
        invitation = str(page.get_by_role("button", name="Copy the invitation").get_attribute("data-copy"))
        address = re.search(r"http\S+#\S+", invitation)
        assert address
        assert not re.search(r"\d{4}-\d\d-\d\d", page.locator("#share-told").inner_text())

        browser = page.context.browser
        assert browser
        phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True).new_page()
        phone.goto(address.group())
        expect(phone.locator("input[name=called]")).to_be_focused()
        assert grave(phone) == []
        phone.fill("input[name=called]", "Lotte")
        phone.get_by_role("button", name="Open the review").tap()
        stage = phone.locator("[data-stage]")
        expect(stage.locator(".fl-ask")).to_contain_text("the same person, nothing looks broken, and this is done")
        expect(phone.locator(".fl-line")).to_contain_text("0 of 2")
        expect(stage.locator(".fl-known figure")).to_have_count(3)
        for button in stage.locator("button").all():
            box = button.bounding_box()
            assert box and box["height"] >= 44 and box["y"] + box["height"] < 844, button.inner_text()
        assert grave(phone) == []
        main = stage.locator("[data-main]")
        own = main.get_attribute("src")
        stage.locator(".fl-known figure").first.tap()
        expect(main).not_to_have_attribute("src", str(own))
        stage.locator(".fl-known figure").first.tap()
        expect(main).to_have_attribute("src", str(own))
        judged = str(stage.get_attribute("data-id"))
        phone.get_by_role("button", name="artifact").tap()
        phone.get_by_role("button", name="Reject").tap()
        expect(phone.locator(".fl-line")).to_contain_text("1 of 2")
        (vote,) = house.store.decisions.all()
        assert (vote.image, vote.verdict, vote.reasons) == (judged, Verdict.REJECT, ("artifact",))
        assert vote.reviewer.startswith("guest:") and vote.reviewer.endswith(" Lotte")

        page.click("#share-close")
        expect(page.locator("#share-close")).not_to_be_visible()
        phone.get_by_role("button", name="Good").tap()
        expect(phone.locator(".fl-away")).to_contain_text("the review has ended")
        assert len(house.store.decisions.all()) == 1
