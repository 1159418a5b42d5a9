"""What a page shows is what the store holds: after a reload, by a deep link, in a second window, after a restart."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from studio.flywheel.enrich import edits as enrich
from studio.flywheel.next_step import next_step
from studio.flywheel.train import character as train
from studio.records.image import Kind
from studio.records.job import Job
from tests.browser.conftest import PATIENCE_MS, free_port, open_tab, serve
from tests.browser.gate import Gated

pytestmark = pytest.mark.browser
RELOADS = 25


def expect_truth(page: Page, house: Gated, tab: str, job: Job) -> None:
    """The rail, the strip and the open tab show what the store holds, which is read anew where it moved on."""
    patience = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            return compare(page, house, tab, job)
        except AssertionError:
            if time.monotonic() > patience:
                raise


def compare(page: Page, house: Gated, tab: str, job: Job, within: int = 2000) -> None:
    """Compares the page with the store as it is now; it has two seconds to follow."""
    for at, stop in enumerate(next_step(house.studio.desk(house.anna)).stops):
        shown = page.locator(".fl-rail button").nth(at)
        expect(shown).to_contain_text(f"{stop.label}{stop.figure}", timeout=within)
    seen = house.studio.jobs.get(job.id)
    expect(page.locator(".fl-strip")).to_contain_text(f"{seen.step}/{seen.total}", timeout=within)
    edits = len(house.store.select(Kind.ENRICHED))
    if tab == "Enrich":
        expect(page.locator("#enrich-results .fl-pair")).to_have_count(min(edits, 24), timeout=within)
        if edits:
            expect(page.locator("#enrich-results")).to_contain_text(f"{edits} edit", timeout=within)
    if tab == "Review" and edits:
        left = f"{len(house.store.pending())} left"
        expect(page.locator("#review-tally")).to_contain_text(left, timeout=within)
    if tab == "Curate":
        expect(page.locator("#curate-gallery .fl-tile")).to_have_count(10, timeout=within)


@pytest.mark.parametrize("seed", [18, 20])
def test_after_a_reload_at_any_moment_the_page_shows_the_store(house: Gated, page: Page, seed: int) -> None:
    """Twice 25 reloads while a job runs, in whichever tab: rail, strip and tab equal the store, and stay live."""
    plan = enrich.plan(house.studio.desk(house.anna), limit=80, fill_gaps=False, seeds=2)
    job = enrich.submit(house.studio.desk(house.anna), plan.rows)
    moments = random.Random(seed)
    page.goto(f"{house.url}/?character=anna&tab=Enrich")
    waited = []
    for _ in range(RELOADS):
        tab = moments.choice(["Enrich", "Review", "Curate", "Generate"])
        open_tab(page, tab)
        house.gate.let(moments.randint(1, 4))
        page.reload()
        expect(page.locator(".fl-rail")).to_be_visible()
        began = time.monotonic()
        house.gate.settled()
        expect(page.get_by_role("tab", name=tab, exact=True)).to_have_attribute("aria-selected", "true")
        expect_truth(page, house, tab, job)
        waited.append(time.monotonic() - began)
        house.gate.let(2)  # without a reload: the same page goes on
        house.gate.settled()
        expect_truth(page, house, tab, job)
    print(
        "seconds from the first rail after a reload to the store's state:",
        " ".join(f"{each:.2f}" for each in sorted(waited)),
    )


def test_a_deep_link_shows_one_character(house: Gated, page: Page) -> None:
    """While Anna trains, a link to another character's training shows nothing of hers, in a second window too."""
    house.character("Dora", 10)
    job = train.submit(house.studio.desk(house.anna))
    house.gate.let(2)
    house.gate.settled()
    page.goto(f"{house.url}/?character=anna&tab=Train")
    expect(page.locator("#train-live")).to_contain_text(job.title)
    other = page.context.new_page()
    other.goto(f"{house.url}/?character=dora&tab=Train")
    expect(other.locator('.fl-rail[data-character="dora"]')).to_be_visible()
    expect(other.locator("#train-live")).to_contain_text("No training yet")
    other.locator("#fl-character input").click()
    other.get_by_role("option", name="Anna").click()
    expect(other.locator("#train-live")).to_contain_text(job.title)
    expect(other).to_have_url(re.compile("character=anna"))
    page.reload()
    expect(page.locator("#train-live")).to_contain_text(job.title)


@pytest.mark.parametrize("width", [1440, 900, 520])
def test_a_link_opens_its_tab_at_any_width(house: Gated, page: Page, width: int) -> None:
    """Also where the tab stands in a menu; the address follows each tab that is opened."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{house.url}/?character=anna&tab=Generate")
    expect(page.locator("#generate-go")).to_be_visible()
    page.locator(".fl-rail button", has_text="Review").first.click()
    expect(page).to_have_url(re.compile("tab=Review"))
    page.reload()
    expect(page.get_by_role("tab", name="Review", exact=True)).to_have_attribute("aria-selected", "true")


def test_a_page_goes_on_after_the_studio_was_restarted(tmp_path: Path, page: Page) -> None:
    """The page says that the studio is away, and shows what is new once it is back, without a reload."""
    port = free_port()
    with serve(tmp_path / "home", "--fake", "--port", str(port)) as served:
        page.goto(served.url)
        expect(page.locator('.fl-rail[data-character="robin"]')).to_be_visible()
        open_tab(page, "Generate")
    expect(page.locator(".fl-away")).to_be_visible()
    with serve(tmp_path / "home", "--fake", "--port", str(port)) as served:
        expect(page.locator(".fl-away")).to_be_hidden()
        client = Client(served.url, verbose=False)
        client.predict("robin", ["ohwx person"], 2, api_name="/generate_submit")
        expect(page.locator("#generate-results .fl-tile")).to_have_count(2)
        client.close()


def test_generate_follows_the_version_in_use(house: Gated, page: Page) -> None:
    """Adopted elsewhere, it is the one that draws next; a version that was chosen stays chosen."""
    house.gate.open()
    page.goto(f"{house.url}/?character=anna&tab=Generate")
    version = page.locator("#generate-version input")
    expect(version).to_have_value("in use: the base model")
    for name in ("v1", "v2"):
        train.submit(house.studio.desk(house.anna))
        wait_for_version(page, house, name)
    expect(version).to_have_value("in use: v1")
    two = next(each for each in house.store.versions.all() if each.name == "v2")
    house.store.adopt(two.id)
    expect(version).to_have_value("in use: v2")
    version.click()
    page.get_by_role("option", name="v1 (retired)").click()
    house.store.adopt(next(each for each in house.store.versions.all() if each.name == "v1").id)
    expect(version).to_have_value("v1 (adopted)")


def wait_for_version(page: Page, house: Gated, name: str) -> None:
    """Wait until a training has made it."""
    house.studio.jobs.start()
    while all(each.name != name for each in house.store.versions.all()):
        page.wait_for_timeout(50)


HELD = """
const answer = window.fetch;
window.fetch = async (...given) => {
  const response = await answer(...given);
  const held = window.holdWith && typeof given[1]?.body === "string" && given[1].body.includes(window.holdWith);
  if (held) { window.holdWith = ""; await new Promise((go) => { window.letGo = go; }); window.wasLate = true; }
  return response;
};
"""


def test_a_late_answer_does_not_overwrite_a_newer_one(house: Gated, page: Page) -> None:
    """The first of two changes is answered last: the plan stays that of the second, and what was typed stays."""
    page.add_init_script(HELD)
    page.goto(f"{house.url}/?character=anna&tab=Enrich")
    expect(page.locator("#enrich-cost .fl-big")).to_be_visible()
    plan = page.locator("table.fl-plan")
    expect(plan).to_contain_text("pose")
    page.evaluate("() => { window.holdWith = 'Variety'; }")
    page.get_by_label("Variety").click()
    page.wait_for_function("() => window.letGo")
    page.get_by_role("checkbox", name="pose").click()
    expect(plan).not_to_contain_text("pose")

    page.evaluate("() => window.letGo()")
    page.wait_for_function("() => window.wasLate")
    open_tab(page, "Curate")
    open_tab(page, "Enrich")

    expect(plan).not_to_contain_text("pose")
