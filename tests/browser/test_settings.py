"""Settings in a real browser: a model that comes, breaks off and goes on; the trash, with a second word; backups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import assets
from engines.catalogue.registry import Registry
from engines.fake import FAKE_MODELS, FakeDevice
from engines.fake.hub import FakeHub
from studio.open import open_workplace
from studio.records.image import Kind
from studio.settings import Settings
from studio.workplace.desk import Workplace
from tabs import app
from tests.browser.conftest import open_tab
from tests.studio.housekeeping.conftest import FAR, GATED, WEIGHTS
from tests.tabs.colour_blocks import picture, png

pytestmark = pytest.mark.browser


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Workplace]:
    """On fakes, with two models that are not here and a hub whose download breaks off once."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "hub" / "config.json").write_bytes(b"{}")
    models_dir = tmp_path / "models"
    settings = Settings(
        data_root=tmp_path / "home", assets=Path(assets.__file__).parent, device="fake", models_dir=models_dir
    )
    registry = Registry(settings.assets, models_dir, (*FAKE_MODELS, FAR, GATED))
    made = open_workplace(settings, registry=registry, device=FakeDevice(24 << 30))
    made.hub = FakeHub(tmp_path / "hub", cut={"model.safetensors": 3}, token=False)
    yield made
    made.close()


@pytest.fixture
def url(studio: Workplace) -> Iterator[str]:
    """Where it is served."""
    running = app.launch(studio)
    yield running.url
    running.close()


def character(studio: Workplace, name: str, pictures: int) -> str:
    """A character with captioned pictures. Returns its id."""
    models = {role: studio.registry.role(role)[0].name for role in ("generator", "editor", "scorer")}
    made = studio.library.create(name, **models).id
    for n in range(pictures):
        studio.store(made).add_image(png(picture(n)), kind=Kind.SOURCE, name=f"{n}.png", caption=f"ohwx person, {n}")
    return made


def test_a_model_comes_breaks_off_and_goes_on(studio: Workplace, url: str, page: Page) -> None:
    """Licence and space are told first; a reload in the middle shows why it stopped, and resumes."""
    page.goto(f"{url}/?tab=Settings")
    far = page.locator("article[data-model=far]")
    expect(far).to_contain_text("Far Licence")
    far.get_by_text("Download …").click()
    expect(far).to_contain_text("free there")
    page.locator("#pull-form").get_by_text("full width").click()
    far.get_by_role("button", name="Accept the licence and download").click()
    expect(far).to_contain_text("continues where it stopped")

    page.reload()
    far.get_by_role("button", name="Resume the download").click()
    expect(far).to_contain_text("ready")
    expect(far.get_by_role("button")).to_have_count(0)

    gated = page.locator("article[data-model=gated]")
    gated.get_by_text("Download …").click()
    expect(gated).to_contain_text("HF_TOKEN")
    expect(gated.get_by_role("button", name="Accept the licence and download")).to_be_disabled()


def test_files_that_are_here_become_the_model(studio: Workplace, url: str, page: Page) -> None:
    """A wrong path is refused where it was typed; from the right one the model is ready, and the fields are empty."""
    page.goto(f"{url}/?tab=Settings")
    page.locator("#pull-form").get_by_text("full width").click()
    page.click("#pull-given .label-wrap")
    page.locator("#pull-model input").fill(FAR.label)
    page.get_by_role("option", name=FAR.label).click()
    path, vae = (page.locator(f"#{name} textarea, #{name} input") for name in ("pull-path", "pull-vae"))
    path.fill("/nowhere/at/all")
    page.click("#pull-take")
    expect(page.locator(".fl-say.bad")).to_contain_text("nothing at")
    expect(path).to_have_value("/nowhere/at/all")
    path.fill(str(studio.hub._folder))
    vae.fill(__file__)
    page.click("#pull-take")
    expect(page.locator(".fl-say.bad")).to_contain_text("no part that --vae could give")
    vae.fill("")
    page.click("#pull-take")
    expect(page.locator("article[data-model=far]")).to_contain_text("ready")
    expect(path).to_have_value("")


def test_nothing_goes_for_good_without_a_second_word(studio: Workplace, url: str, page: Page) -> None:
    """Pictures and a whole character leave the disk after “Yes”; another comes back by “Restore”."""
    anna, bea, cleo = character(studio, "Anna", 3), character(studio, "Bea", 2), character(studio, "Cleo", 1)
    store = studio.store(anna)
    gone = store.select(Kind.SOURCE)[0].id
    file = store.path(gone)
    store.trash([gone])
    for who in (bea, cleo):
        studio.library.trash(who)
    page.goto(f"{url}/?character=anna&tab=Settings")

    row = page.locator("[data-disk=anna]")
    row.get_by_text("Free some space …").click()
    yes = row.get_by_role("button", name="Yes, delete 1 picture for good")
    expect(yes).to_be_hidden()
    row.get_by_text("Delete for good …").click()
    yes.click()
    expect(page.locator(".fl-say")).to_contain_text("are free now")
    assert not file.exists()

    page.locator("[data-thrown=bea]").get_by_text("Delete for good …").click()
    page.get_by_role("button", name="Yes, delete Bea for good").click()
    expect(page.locator("[data-thrown=bea]")).to_have_count(0)
    assert not studio.library.trash_folder(bea).exists()
    page.locator("[data-thrown=cleo]").get_by_role("button", name="Restore").click()
    expect(page.locator("[data-disk=cleo]")).to_be_visible()
    expect(page.locator("[data-thrown]")).to_have_count(0)


def test_a_backup_is_written_and_restored_by_buttons(studio: Workplace, url: str, page: Page) -> None:
    """The file is told with its path; a wrong path is refused where it was typed; the restored one opens."""
    character(studio, "Anna", 3)
    page.goto(f"{url}/?character=anna&tab=Settings")
    page.locator("[data-disk=anna]").get_by_role("button", name="Back up").click()
    written = page.locator("#settings-backups .fl-written code")
    expect(written).to_contain_text(".zip")
    place = written.inner_text()
    assert Path(place).is_file()

    page.click("#restore .label-wrap")
    field = page.locator("#restore-path textarea, #restore-path input")
    field.fill(f"{place}.gone")
    page.click("#restore-start")
    expect(page.locator(".fl-say.bad")).to_contain_text("There is no file")
    expect(field).to_have_value(f"{place}.gone")
    field.fill(place)
    page.click("#restore-start")
    page.locator("#settings-backups").get_by_role("link", name="Open").click()
    expect(page.locator(".fl-rail[data-character=anna-2]")).to_be_visible()
    open_tab(page, "Curate")
    expect(page.locator("#curate-gallery .fl-tile")).to_have_count(3)


def test_the_machine_the_memory_and_the_desktop(studio: Workplace, url: str, page: Page) -> None:
    """Findings with a command to copy, a budget that is refused and kept, and a notice that is asked for."""
    page.context.grant_permissions(["notifications"], origin=url)
    page.goto(f"{url}/?tab=Settings")
    page.click("#settings-check")
    expect(page.locator("#settings-findings")).to_contain_text("GPU")
    expect(page.locator("#settings-findings [data-copy='python launch.py doctor']").last).to_be_visible()
    expect(page.locator("#settings-folders")).to_contain_text(str(studio.settings.models_dir))

    budget = page.locator("#settings-budget input")
    budget.fill("900")
    budget.press("Enter")
    expect(page.locator(".fl-say.bad")).to_contain_text("cannot be 900 GiB")
    budget.fill("12")
    budget.press("Enter")
    expect(page.locator(".fl-say.good")).to_contain_text("12 GiB")
    page.reload()
    expect(budget).to_have_value("12")

    expect(page.locator("[data-notify-state]")).to_have_text("Off.")
    page.click("[data-notify]")
    expect(page.locator("[data-notify-state]")).to_contain_text("On: jobs of more than")
    expect(page).to_have_title(re.compile("FLENwheel"))
