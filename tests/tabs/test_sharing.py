"""The review link, from the outside: raw HTTP against its port."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from gradio import tunneling

from engines.errors import BadInput
from studio.nouns import Character, ImageRecord, Kind, Verdict
from studio.studio import Studio
from tabs import reviewer
from tabs.sharing import Door, ReviewLink
from tests.tabs.colour_blocks import picture, png
from tests.tabs.conftest import House, character_on_fakes

pytestmark = pytest.mark.slow


@contextmanager
def no_way_out() -> Iterator[None]:
    """No way to the tunnel's server, whatever this machine's network is."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment.setenv(name, "http://127.0.0.1:9")
        for name in ("no_proxy", "NO_PROXY"):
            environment.setenv(name, "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="module")
def vera(house: House) -> Character:
    """Whose pictures are shared."""
    return character_on_fakes(house.studio, "Vera")


@pytest.fixture(scope="module")
def link(house: House, vera: Character) -> Iterator[dict[str, Any]]:
    """An open review link beside the studio's app, and what it answers."""
    opened = ReviewLink(house.studio)
    with no_way_out():
        told = opened.start(vera.id, 1.0)
    yield told
    opened.stop()


@contextmanager
def login(link: dict[str, Any]) -> Iterator[httpx.Client]:
    """A reviewer who knows the password."""
    with httpx.Client(base_url=link["local_url"], trust_env=False) as client:
        answer = client.post("/login", data={"username": link["user"], "password": link["password"]})
        assert answer.status_code == 200
        yield client


def refused(client: httpx.Client, path: str) -> bool:
    """Whether a call is answered with an error, or with a closed door."""
    try:
        return client.post(path, json={"data": []}).status_code >= 400
    except httpx.TransportError:
        return True


def test_offline_the_link_says_so_and_works_locally(link: dict[str, Any]) -> None:
    """No tunnel is no failure: the local address, and a sentence."""
    assert link["public"] is False
    assert link["url"].startswith("http://127.0.0.1:")
    assert "No tunnel" in link["message"]


def test_the_password_is_long_and_new_each_time(house: House, vera: Character) -> None:
    """At least 128 bits, never the same."""
    opened = ReviewLink(house.studio)
    with no_way_out():
        first = opened.start(vera.id, 1.0)["password"]
        second = opened.start(vera.id, 1.0)["password"]
    opened.stop()
    assert first != second
    assert len(first) * 6 >= 128


WAYS_IN = (
    "/config",
    "/gradio_api/info",
    "/gradio_api/openapi.json",
    "/gradio_api/run/character_list",
    "/gradio_api/call/character_list",
    "/gradio_api/queue/join",
    "/gradio_api/upload",
    "/gradio_api/component_server",
    "/monitoring",
)


def test_without_the_password_nothing_answers(link: dict[str, Any]) -> None:
    """Every way in is shut, whether it is asked or told."""
    with httpx.Client(base_url=link["local_url"], trust_env=False) as client:
        for path in WAYS_IN:
            assert client.get(path).status_code in (401, 404, 405), path
            assert client.post(path, json={"data": []}).status_code in (401, 404, 405, 422), path


def test_before_login_the_page_says_nothing_of_the_studio(link: dict[str, Any], vera: Character, house: House) -> None:
    """No character, no path, no endpoint in what a stranger receives."""
    with httpx.Client(base_url=link["local_url"], trust_env=False) as client:
        text = "".join(client.get(path).text for path in ("/", "/manifest.json", "/robots.txt", "/theme.css"))
    home = str(house.studio.settings.data_root)
    for secret in ("FLENwheel", vera.name, vera.id, home, "character_list", "review_decide"):
        assert secret not in text


def test_a_reviewer_finds_no_endpoint_of_the_studio(link: dict[str, Any]) -> None:
    """The names of the scripted surface mean nothing on this port."""
    with login(link) as client:
        known = client.get("/gradio_api/info").text + client.get("/config").text
        for name in ("character_list", "image_import", "train_submit", "share_stop", "job_list"):
            assert name not in known
            for way in ("run", "call"):
                assert refused(client, f"/gradio_api/{way}/{name}"), name


def test_a_reviewer_reads_no_file_of_the_studio(link: dict[str, Any], house: House, vera: Character) -> None:
    """Neither pictures nor database nor the studio's cache nor anything else of the machine."""
    store = house.studio.store(vera.id)
    image = store.add_image(png(picture(1)), kind=Kind.SOURCE)
    cached = house.studio.settings.data_root / "cache" / "pages" / "studio" / "seen.txt"
    cached.write_text("secret")
    wanted = [store.path(image.id), store.thumb(image.id), store.folder / "flenwheel.json", cached, "/etc/hostname"]
    with login(link) as client:
        for path in wanted:
            assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_the_page_holds_pictures_but_no_path_and_no_metadata(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """What a reviewer sees lies in the page itself."""
    source = add()
    add(Kind.ENRICHED, parent=source.id, asked={"expression": "smiling"}, params={"instruction": "secret words"})
    shown = reviewer.page(studio, anna.id, "guest:reviewer", ())
    assert shown.count("data:image/webp;base64,") == 2
    assert "smiling" in shown
    for secret in (str(studio.settings.data_root), "file=", anna.name, "secret words", source.name):
        assert secret not in shown


def test_a_reviewer_votes_in_their_own_name_and_only_on_the_queue(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A source, or a picture that is decided already, cannot be voted on."""
    source = add()
    edit = add(Kind.ENRICHED, parent=source.id)
    reviewer.vote(studio, anna.id, "guest:reviewer", {"act": "good", "id": edit.id}, ())
    reviewer.vote(studio, anna.id, "guest:reviewer", {"act": "reject", "id": source.id}, ())
    reviewer.vote(studio, anna.id, "guest:reviewer", {"act": "trash", "id": edit.id}, ())
    store = studio.store(anna.id)
    assert store.images.get(edit.id).state is Verdict.GOOD
    assert store.images.get(edit.id).reviewer == "guest:reviewer"
    assert store.images.get(source.id).state is Verdict.PENDING


def test_a_reviewer_undoes_only_their_own_votes(
    studio: Studio, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The owner's verdict stays."""
    edit = add(Kind.ENRICHED, parent=add().id)
    studio.store(anna.id).decide(edit.id, Verdict.REJECT, reviewer="owner")
    reviewer.vote(studio, anna.id, "guest:reviewer", {"act": "undo"}, ())
    assert studio.store(anna.id).images.get(edit.id).state is Verdict.REJECT


def test_the_door_lets_in_the_right_one_until_it_ends() -> None:
    """Right name, right password, still open; after many wrong guesses, nobody."""
    open_for = [True]
    door = Door("secret", lambda: open_for[0])
    assert door("reviewer", "secret")
    assert not door("reviewer", "wrong")
    assert not door("owner", "secret")
    open_for[0] = False
    assert not door("reviewer", "secret")
    open_for[0] = True
    for _ in range(100):
        door("reviewer", "guess")
    assert not door("reviewer", "secret")


def test_closing_takes_app_and_tunnel_down(house: House, vera: Character) -> None:
    """After `stop` the port is silent; stopping twice is stopping once."""
    opened = ReviewLink(house.studio)
    with no_way_out():
        url = opened.start(vera.id, 1.0)["local_url"]
    assert opened.stop()["was_live"] is True
    assert opened.stop()["was_live"] is False
    with pytest.raises(httpx.TransportError):
        httpx.get(url, trust_env=False, timeout=5)
    assert [each for each in tunneling.CURRENT_TUNNELS if str(each.local_port) in url] == []


def test_a_link_has_an_end(studio: Studio, anna: Character) -> None:
    """Neither for ever nor for no time."""
    for hours in (0.0, 1000.0):
        with pytest.raises(BadInput):
            ReviewLink(studio).start(anna.id, hours)


def test_each_app_keeps_to_its_own_cache(house: House, link: dict[str, Any]) -> None:
    """The two folders differ, and the variable is left at their parent for the upload check."""
    root = house.studio.settings.data_root / "cache" / "pages"
    assert {each.name for each in root.iterdir()} >= {"studio", "review"}
    assert os.environ["GRADIO_TEMP_DIR"] == str(root)


def test_running_is_a_value(house: House) -> None:
    """What `launch` answers cannot be changed by accident."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        house.running.url = "elsewhere"  # type: ignore[misc]
