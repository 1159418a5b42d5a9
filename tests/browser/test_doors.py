"""The doors in a real browser: pages that the server let go of, the studio under both names, a reviewer."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tabs.app import SESSIONS
from tests.browser.conftest import Served, draw_pictures, new_character, serve

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A studio on stand-in models."""
    with serve(tmp_path_factory.mktemp("doors"), "--fake") as served:
        yield served


def forget_pages(served: Served) -> None:
    """So many other pages remember something that those which are open lose their place."""
    with httpx.Client(base_url=served.url, trust_env=False) as client:
        config = client.get("/config").json()
        remembered = {each["id"] for each in config["components"] if each["type"] == "state"}
        clicks = [
            each
            for each in config["dependencies"]
            if each["outputs"][:1] and each["outputs"][0] in remembered and "click" in str(each["targets"])
        ]

        def call(click: dict[str, Any]) -> httpx.Response:
            asked = {"data": [""] * len(click["inputs"]), "fn_index": click["id"], "session_hash": secrets.token_hex(4)}
            return client.post("/gradio_api/run/predict", json=asked)

        taken = next(each for each in clicks if (told := call(each)).status_code == 200 and '"bad"' not in told.text)
        for _ in range(SESSIONS + 1):
            assert call(taken).status_code == 200


def test_a_page_that_was_let_go_of_goes_on(fake: Served, page: Page) -> None:
    """What it stands on is its own: it shows what is new, without a reload."""
    page.goto(f"{fake.url}/?character=robin&tab=Generate")
    expect(page.locator("#generate-go")).to_be_visible()
    page.evaluate("window.beforeTheFlood = true")
    forget_pages(fake)
    client = Client(fake.url, verbose=False)
    client.predict("robin", ["ohwx person"], 2, api_name="/generate_submit")
    client.close()
    expect(page.locator("#generate-results .fl-tile")).to_have_count(2)
    assert page.evaluate("window.beforeTheFlood")


def test_a_page_whose_memory_was_let_go_of_loads_itself_again(fake: Served, page: Page) -> None:
    """Where the server remembered what was opened, the page comes back by itself, where it stood, and works."""
    page.clock.install()
    page.goto(f"{fake.url}/?character=robin&tab=Curate")
    page.locator("#curate-gallery .fl-open").first.click()
    expect(page.locator("#curate-caption textarea")).to_have_value(re.compile("ohwx"))
    page.evaluate("window.beforeTheFlood = true")
    page.clock.pause_at(time.time() + 3)  # as a tab that the browser puts to sleep
    forget_pages(fake)
    page.clock.resume()
    page.wait_for_function("!window.beforeTheFlood")
    expect(page.get_by_role("tab", name="Curate", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#curate-gallery .fl-tile").first).to_be_visible()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_studio_takes_uploads_under_both_names(fake: Served, page: Page, tmp_path: Path, name: str) -> None:
    """The page's own requests carry its own address."""
    new_character(page, fake.url.replace("127.0.0.1", name), draw_pictures(tmp_path / "pictures", 2))
    expect(page.locator(".fl-tile")).to_have_count(2)


def test_a_reviewer_logs_in_votes_and_is_told_the_end(
    fake: Served, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login is a form with its fields; behind it are the character, the picture and buttons for thumbs."""
    client = Client(fake.url, verbose=False)
    who = client.predict(api_name="/character_list")["characters"][0]["id"]
    link = client.predict(who, 1.0, api_name="/share_start")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(link["local_url"])
    for field in page.locator("input").all():
        box = field.bounding_box()
        assert box
        assert box["height"] >= 44
    page.fill("input[name=password]", "wrong")
    page.get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("not right")
    page.fill("input[name=password]", link["password"])
    page.get_by_role("button").click()
    expect(page.locator("#review-stage")).to_contain_text(re.compile("left"))
    client.predict(api_name="/share_stop")
    client.close()
