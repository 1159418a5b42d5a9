"""How the apps are served: whatever the environment says, on the port that was asked for, and to an end."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from engines.api.errors import BadInput, Busy
from studio.records.image import Kind
from studio.workplace.desk import Workplace
from tabs import app
from tabs.serving import HERE, Running, listen
from tests.tabs.colour_blocks import picture, png
from tests.tabs.conftest import House, character_on_fakes

PROXIES = ("http://127.0.0.1:9", "socks5://127.0.0.1:9", "garbage", "http://:::")
NAMES = ("http_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture(params=PROXIES)
def running(request: pytest.FixtureRequest, studio: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A studio that is launched behind a proxy which leads nowhere."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in NAMES:
        monkeypatch.setenv(name, request.param)
    served = app.launch(studio)
    yield served
    served.close()


@pytest.mark.slow
def test_a_proxy_in_the_environment_keeps_nobody_out(running: Running) -> None:
    """The studio serves its page on this machine; nothing of it asks a proxy."""
    assert httpx.get(running.url, trust_env=False).status_code == 200


def test_a_taken_port_is_told_by_its_number() -> None:
    """Two lines say which port it is and what to give instead."""
    with socket.create_server((HERE, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Busy, match=f"Port {port} is in use") as told:
            listen(port)
    assert "--port" in told.value.hint


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_does_not_exist_is_told(port: int) -> None:
    """A number out of range is no bug."""
    with pytest.raises(BadInput, match=f"There is no port {port}") as told:
        listen(port)
    assert "1024 to 65535" in told.value.hint


@pytest.mark.slow
def test_an_open_page_does_not_hold_up_the_end(studio: Workplace) -> None:
    """Closing takes about as long as without pages, though they beat and a request is half sent; the port is silent."""
    idle = app.launch(studio)
    started = time.monotonic()
    idle.close()
    usual = time.monotonic() - started
    served = app.launch(studio)
    client = httpx.Client(base_url=served.url, trust_env=False)
    with socket.create_connection((HERE, served.port)) as half, client.stream("GET", "/gradio_api/heartbeat/p"):
        half.sendall(b"POST /gradio_api/run/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{")
        started = time.monotonic()
        served.close()
        assert time.monotonic() - started < 3 + 3 * usual
        assert half.recv(1000) == b""
    with pytest.raises(httpx.TransportError):
        client.get("/")


def test_a_picture_of_a_new_character_is_served_at_once(house: House) -> None:
    """No page has to be opened first: a script gets the file it was told of; nothing else of the folder is served."""
    store = house.studio.store(character_on_fakes(house.studio, "Nova").id)
    image = store.add_image(png(picture(7)), kind=Kind.SOURCE)
    with httpx.Client(base_url=house.url, trust_env=False) as client:
        assert client.get(f"/gradio_api/file={store.folder / 'flenwheel.json'}").status_code == 403
        assert client.get(f"/gradio_api/file={store.path(image.id)}").content == store.path(image.id).read_bytes()
        assert client.get(f"/gradio_api/file={store.thumb(image.id)}").status_code == 200


def test_each_app_keeps_to_its_own_folder(house: House) -> None:
    """Uploads and what widgets cache lie in the studio's folder, nothing of it in the parent."""
    folder = str(house.studio.settings.data_root / "cache" / "pages" / "studio")
    assert house.running.demo.app.uploaded_file_dir == folder
    assert {block.GRADIO_CACHE for block in house.running.demo.blocks.values()} == {folder}
