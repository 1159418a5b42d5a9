"""The studio's app: what is served, what is published, and to whom."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from engines.api.errors import UserError
from studio.api.api import API_NAMES
from studio.records.image import Kind
from studio.workplace.desk import Workplace
from tabs import app
from tabs.common.shell import current
from tabs.scripted import local_path
from tests.tabs.colour_blocks import picture, png
from tests.tabs.conftest import House, character_on_fakes


def test_it_listens_on_this_machine_alone(house: House) -> None:
    """Bound to 127.0.0.1; another host's name is turned away, so that no website can reach in."""
    assert house.url.startswith("http://127.0.0.1:")
    assert httpx.get(house.url, trust_env=False).status_code == 200
    answer = httpx.get(house.url, headers={"Host": "evil.example"}, trust_env=False)
    assert answer.status_code == 400


def test_exactly_the_scripted_names_are_published(house: House) -> None:
    """No handler of a widget shows up in the API."""
    info = httpx.get(f"{house.url}/gradio_api/info", trust_env=False).json()
    assert {name.lstrip("/") for name in info["named_endpoints"]} == set(API_NAMES)
    assert info["unnamed_endpoints"] == {}


def test_no_handler_shows_its_progress(house: House) -> None:
    """Gradio writes no handler's progress into any widget, which it would do three times a call, hidden or not."""
    config = httpx.get(f"{house.url}/config", trust_env=False).json()
    private = [each for each in config["dependencies"] if each["api_visibility"] == "private"]
    assert private
    assert all(each["show_progress_on"] == [] for each in private)


def test_the_list_of_handlers_is_fixed_before_gradio_reads_it(house: House) -> None:
    """The script that does it stands behind the list and in the head, whatever the browser can unpack."""
    page = httpx.get(house.url, headers={"Accept-Encoding": "br"}, trust_env=False).text
    assert page.index("window.gradio_config = ") < page.index("class Fixed extends Array") < page.index("</head>")


def test_a_script_can_call_and_upload(house: House, tmp_path: Path) -> None:
    """gradio_client reaches the same functions as the tabs, with files from another machine."""
    dora = character_on_fakes(house.studio, "Dora")
    picture(5).save(tmp_path / "five.png")
    client = Client(house.url, verbose=False)
    names = [each["name"] for each in client.predict(api_name="/character_list")["characters"]]
    assert "Dora" in names
    answer = client.predict(dora.id, [handle_file(str(tmp_path / "five.png"))], "", api_name="/image_import")
    assert answer["ok"], answer
    assert len(house.studio.store(dora.id).images.all()) == 1
    client.close()


def test_only_pictures_are_served(house: House) -> None:
    """The database and the rest of the machine are not, even on this machine."""
    store = house.studio.store(character_on_fakes(house.studio, "Emma").id)
    image = store.add_image(png(picture(1)), kind=Kind.SOURCE)
    allowed = [str(each) for each in app.open_folders(house.studio)]
    assert str(store.thumb(image.id).resolve()).startswith(tuple(allowed))
    assert not any(str(store.folder / "flenwheel.json").startswith(each) for each in allowed)
    for path in (store.folder / "flenwheel.json", "/etc/hostname"):
        assert httpx.get(f"{house.url}/gradio_api/file={path}", trust_env=False).status_code in (403, 404)


def test_a_forged_upload_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that was never uploaded cannot pretend that it was."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with pytest.raises(UserError):
        local_path({"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}})
    assert local_path({"path": str(tmp_path / "a.png")}) == str((tmp_path / "a.png").resolve())


@pytest.mark.parametrize("file", [5, None, [], {}, {"path": 5}, {"path": None}, {"path": "a\0b"}, {"path": "\ud800"}])
def test_what_is_no_file_is_refused(file: object) -> None:
    """Whatever a script sends in a file's place ends in words."""
    with pytest.raises(UserError):
        local_path(file)


def test_the_page_itself_keeps_what_it_was_drawn_from(studio: Workplace) -> None:
    """No drawing of a whole tab writes a state of the server, which cannot know of an answer that the browser drops."""
    config = app.build(studio).config
    kinds = {each["id"]: each["type"] for each in config["components"]}
    stamps = {
        each["id"] for each in config["components"] if str(each["props"].get("elem_id") or "").startswith("drawn-")
    }
    whole = [each for each in config["dependencies"] if stamps & set(each["outputs"])]
    assert len(whole) >= len(stamps) >= 8
    assert [each["api_name"] for each in whole if "state" in {kinds[output] for output in each["outputs"]}] == []


def test_six_tabs_in_the_order_of_the_wheel() -> None:
    """Their names are those that everything else calls them by."""
    assert [name for name, _ in app.TABS] == ["Curate", "Enrich", "Review", "Train", "Generate", "Editor Refinement"]


def test_a_character_needs_a_name_and_becomes_the_current_one(studio: Workplace) -> None:
    """The next page load stands on it."""
    for name, trigger in ((" ", "ohwx"), ("Bea", " "), ("Bea\ud800", "ohwx")):
        with pytest.raises(UserError):
            app.create_character(studio, name, trigger, "person")
    made = app.create_character(studio, "Bea", "ohwx", "robot")
    assert current(studio, "") == made
    assert studio.library.open(made).character.subject == "robot"


def test_the_share_panel_shows_address_and_password() -> None:
    """What has to be sent, and until when."""
    state = {"live": True, "url": "http://x", "user": "reviewer", "password": "p4ss", "message": "until Monday"}
    told = app.share_panel(state)
    for words in ("http://x", "p4ss", "Monday"):
        assert words in told
    assert "No review link" in app.share_panel({"live": False})
