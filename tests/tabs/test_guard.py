"""What the studio takes from whom, from the outside: raw HTTP against its port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers

from tabs.app import LIMITS
from tabs.guard import foreign
from tests.tabs.conftest import House

CALL = "/gradio_api/call/character_list"
FILE = {"files": ("a.txt", b"hello", "text/plain")}
ELSEWHERE = ("https://evil.example", "http://localhost:3000", "http://127.0.0.1:1", "null")


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    """Plain HTTP, without an Origin, as curl speaks it."""
    with httpx.Client(base_url=house.url, trust_env=False) as client:
        yield client


def uploads(house: House) -> set[Path]:
    """What lies where uploads go."""
    folder = house.studio.settings.data_root / "cache" / "pages"
    return {each for each in folder.rglob("*") if each.is_file()}


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_another_website_uploads_and_calls_nothing(house: House, client: httpx.Client, origin: str) -> None:
    """Whatever page a browser shows, only the studio's own may write into the studio."""
    before, headers = uploads(house), {"Origin": origin}
    assert client.post("/gradio_api/upload", files=FILE, headers=headers).status_code == 403
    assert client.post(CALL, json={"data": []}, headers=headers).status_code == 403
    assert client.get("/config", headers=headers).status_code == 403
    assert uploads(house) == before


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_the_browser_marks_as_foreign_is_turned_away(house: House, client: httpx.Client, site: str) -> None:
    """A form of another page, or of another port of this machine, is sent without an Origin by some."""
    before = uploads(house)
    assert client.post("/gradio_api/upload", files=FILE, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert uploads(house) == before


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_page_itself_is_heard_under_both_names(house: House, name: str) -> None:
    """Its own address is the one that it was opened by."""
    own = f"http://{name}:{house.running.port}"
    headers = {"Origin": own, "Sec-Fetch-Site": "same-origin", "Host": own.removeprefix("http://")}
    with httpx.Client(base_url=house.url, trust_env=False, headers=headers) as page:
        assert page.post(CALL, json={"data": []}).status_code == 200
        assert page.post("/gradio_api/upload", files=FILE).status_code == 200


def test_a_script_without_an_origin_is_heard(client: httpx.Client) -> None:
    """curl goes on working, for calls and uploads."""
    assert client.post(CALL, json={"data": []}).status_code == 200
    assert client.post("/gradio_api/upload", files=FILE).status_code == 200


def test_a_link_from_elsewhere_opens_the_page(client: httpx.Client) -> None:
    """Following a link is no writing."""
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_a_huge_call_is_refused_by_what_it_announces_and_by_what_comes(client: httpx.Client) -> None:
    """With a length and without one, before it lies in memory."""
    size = LIMITS[""] + 1
    assert client.post(CALL, content=bytes(size)).status_code == 413
    pieces = (bytes(1 << 20) for _ in range(size // (1 << 20) + 1))
    headers = {"Content-Type": "application/json"}
    with contextlib.suppress(httpx.WriteError):  # when it hangs up on the rest
        assert client.post(CALL, content=pieces, headers=headers).status_code == 413


def test_unknown_names_are_a_line_not_a_traceback(client: httpx.Client, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody floods the terminal by asking for what is not there."""
    for path in ("/gradio_api/run/nothing", "/gradio_api/call/nothing", "/gradio_api/call/v2/nothing"):
        assert client.post(path, json={"data": []}).status_code == 404, path
    assert client.post("/gradio_api/run/predict", json={"data": [], "fn_index": 99999}).status_code == 404
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


def test_a_default_port_and_letters_make_no_stranger() -> None:
    """Names of hosts have no case, and an address of port 443 does not say it."""
    headers = {"host": "AbC.gradio.live", "origin": "https://abc.gradio.live"}
    assert not foreign("POST", Headers(headers))
    assert foreign("POST", Headers({**headers, "origin": "https://abc.gradio.live.evil.example"}))
    assert foreign("POST", Headers({**headers, "host": "127.0.0.1:5"}))
    assert not foreign("POST", Headers({**headers, "host": "127.0.0.1:5"}), {"abc.gradio.live"})
