"""A page that is older than the store: what is pressed on it is answered in words, whatever has gone meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect

from studio.flywheel.curate import changes
from studio.flywheel.train import character as train
from studio.records.dataset import Role
from tests.browser.conftest import PATIENCE_MS
from tests.browser.gate import Gated, gated
from tests.browser.pressing import press_all, quiet
from tests.studio.full_disk import disk_of
from tests.tabs.telling import tell

pytestmark = pytest.mark.browser
PLACES = ("Curate", "Enrich", "Review", "Train", "Generate", "Editor Refinement", "Character", "Settings")
QUEUE = ("Enrich", "Train", "Generate", "Editor Refinement", "Character")  # where jobs begin
# The checks for changes, by their number: every call that sends character and tab.
CHECKS = "() => gradio_config.dependencies.filter((each) => `${each.js}`.includes('flen.whole')).map((each) => each.id)"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gated]:
    """Anna has versions, cards, a stopped training, an editor of her own, and pictures of every kind."""
    with gated(tmp_path) as made:
        made.gate.open()
        tell(made.studio, made.store.character)
        made.gate.shut()
        yield made


@contextmanager
def nothing_left(house: Gated) -> Iterator[None]:
    """All pictures and versions are thrown away."""
    house.store.trash(each.id for each in house.store.select())
    for role in Role:
        while used := house.store.adopted(role):
            house.store.adopt(used.id, on=False)
    for version in house.store.versions.all():
        house.store.trash_version(version.id)
    yield


@contextmanager
def character_gone(house: Gated) -> Iterator[None]:
    """The character is deleted."""
    changes.delete(house.studio, house.anna)
    yield


@contextmanager
def job_running(house: Gated) -> Iterator[None]:
    """A training of hers runs and stands still at its first step."""
    train.submit(house.studio.desk(house.anna))
    yield


@contextmanager
def disk_full(house: Gated) -> Iterator[None]:
    """Nothing more can be written."""
    del house
    with disk_of(0):
        yield


def hold_checks(page: Page) -> None:
    """From now on the page hears of no change in the store."""
    checks = page.evaluate(CHECKS)

    def hold(route: Route) -> None:
        if (route.request.post_data_json or {}).get("fn_index") in checks:
            route.fulfill(json={"data": [], "is_generating": False})
        else:
            route.continue_()

    page.route("**/gradio_api/run/**", hold)


def open_places(house: Gated, browser: Browser, places: Sequence[str]) -> dict[str, Page]:
    """Some tabs and pages, each in a browser of its own, drawn whole, which from now on hears of no change."""
    opened = {}
    for place in places:
        page = opened[place] = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.goto(f"{house.url}/?character=anna&tab={place}")
        expect(page.locator('.fl-rail[data-character="anna"]')).to_be_visible()
        quiet(page)
        hold_checks(page)
    return opened


def is_ours(said: ConsoleMessage) -> bool:
    """Whether it is an error of the page, not a picture that has gone."""
    return said.type == "error" and "Failed to load resource" not in said.text


@pytest.mark.parametrize(
    ("become", "places"),
    [(nothing_left, PLACES), (character_gone, PLACES), (job_running, QUEUE), (disk_full, PLACES)],
)
def test_whatever_has_happened_every_button_answers(
    house: Gated,
    chromium: Browser,
    become: Callable[[Gated], AbstractContextManager[None]],
    places: Sequence[str],
) -> None:
    """Every button of every page is pressed after something has happened that the page has not heard of."""
    expect.set_options(timeout=PATIENCE_MS)
    windows = open_places(house, chromium, places)
    silent: dict[str, list[str]] = {}
    troubles: list[str] = []
    with become(house):
        for place, window in windows.items():
            window.set_default_timeout(PATIENCE_MS)
            window.on("console", lambda said: troubles.append(said.text) if is_ours(said) else None)
            window.on("pageerror", lambda error: troubles.append(str(error)))
            _, silent[place] = press_all(window)
            window.context.close()
    assert not any(silent.values()), silent
    assert troubles == []
