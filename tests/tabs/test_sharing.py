"""The review link: how it opens, what it answers, and how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio import tunneling
from gradio_client import Client, handle_file

from engines.api.errors import BadInput
from studio.records.character import Character
from studio.records.image import Verdict
from studio.workplace.desk import Workplace
from tabs.serving import network_address
from tabs.sharing import ReviewLink, local_time, qr_code
from tests.tabs.colour_blocks import picture
from tests.tabs.conftest import House, no_way_out
from tests.tabs.reviewing import edits_of, login, vote_of

pytestmark = pytest.mark.slow


def test_offline_the_link_says_so_and_works_locally(link: dict[str, Any]) -> None:
    """No tunnel is no failure: the local address, and a sentence."""
    assert link["public"] is False
    assert link["url"].startswith("http://127.0.0.1:")
    assert "No public link" in link["message"]


def test_the_password_is_long_and_new_each_time(house: House, vera: Character) -> None:
    """At least 128 bits, never the same."""
    opened = ReviewLink(house.studio)
    with no_way_out():
        first = opened.start(vera.id, 1.0)["password"]
        second = opened.start(vera.id, 1.0)["password"]
    opened.stop()
    assert first != second
    assert len(first) * 6 >= 128


def test_no_vote_counts_after_the_stop(house: House) -> None:
    """Not one that was half sent before it; and the stop ends, though pages beat."""
    who, edits = edits_of(house, "Xenia", 1)
    opened = ReviewLink(house.studio)
    with no_way_out():
        link = opened.start(who.id, 1.0)
    body = json.dumps(vote_of("good", edits[0])).encode()
    with login(link) as client, client.stream("GET", "/gradio_api/heartbeat/page"):
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        head = f"POST /gradio_api/run/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(link["local_url"].rpartition(":")[2]))) as half:
            half.sendall(head.encode() + body[:-9])
            stopping = threading.Thread(target=opened.stop)
            stopping.start()
            while opened.live():
                threading.Event().wait(0.005)
            with contextlib.suppress(OSError):
                half.sendall(body[-9:])
                half.recv(1000)
            stopping.join(120)
            assert not stopping.is_alive()
    assert house.studio.store(who.id).images.get(edits[0]).state is Verdict.PENDING


def test_uploads_go_on_while_links_open(house: House, tmp_path: Path) -> None:
    """The studio's own uploads are taken at every moment, whatever the review app is doing."""
    who, _ = edits_of(house, "Yrsa", 1)
    opened, done = ReviewLink(house.studio), threading.Event()

    def links() -> None:
        for _ in range(4):
            opened.start(who.id, 1.0)
        done.set()

    with no_way_out():
        client = Client(house.url, verbose=False)
        opening = threading.Thread(target=links)
        opening.start()
        answers: list[dict[str, Any]] = []
        while not done.is_set():
            picture(50 + len(answers)).save(tmp_path / "one.png")
            file = [handle_file(str(tmp_path / "one.png"))]
            answers.append(client.predict(who.id, file, "", api_name="/image_import"))
        opening.join()
        client.close()
    opened.stop()
    assert answers
    assert all(each["ok"] for each in answers), answers


def test_a_closed_link_leaves_no_thread_and_no_file(house: House, vera: Character) -> None:
    """What was opened for a link is closed with it, however many there were."""
    opened = ReviewLink(house.studio)
    with no_way_out():
        for number in range(4):
            opened.start(vera.id, 1.0)
            opened.stop()
            if number == 0:
                before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    assert threading.active_count() <= before[0]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before[1]


def test_in_this_network_alone_the_rules_are_those_of_the_tunnel(house: House, vera: Character) -> None:
    """It listens on the network's address and no other, answers under that name only, and asks for the password."""
    opened, address = ReviewLink(house.studio), network_address()
    if not address:
        with pytest.raises(BadInput, match="local network"):
            opened.start(vera.id, 1.0, network=True)
        return
    link = opened.start(vera.id, 1.0, network=True)
    port = int(link["url"].rpartition(":")[2])
    try:
        assert (link["url"], link["network"], link["public"]) == (f"http://{address}:{port}", True, False)
        assert "not encrypted" in link["message"] or "Nothing is encrypted" in link["message"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
        with httpx.Client(base_url=link["url"], trust_env=False) as client:
            assert client.get("/config").status_code == 401
            assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
            assert client.get("/", headers={"Origin": "http://evil.example"}).status_code == 403
        with login(link) as client:
            assert client.get("/config").status_code == 200
            assert client.get("/gradio_api/file=/etc/hostname").status_code == 404
            assert client.post("/gradio_api/run/predict", content=bytes(65 << 10)).status_code == 413
    finally:
        opened.stop()


def test_the_studio_itself_stays_on_this_machine(house: House) -> None:
    """Whatever a review link does."""
    address = network_address()
    assert house.running.url.startswith("http://127.0.0.1:")
    if address:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, house.running.port), 5)


def test_one_text_and_one_code_invite(house: House, link: dict[str, Any]) -> None:
    """The text says all that is needed; the code holds the password where no server sees it."""
    for part in (f"{link['url']}/#{link['password']} ", link["user"], link["until"]):
        assert part in link["invitation"]
    assert link["until"] in link["message"] or "Wi-Fi" in link["message"]
    assert qr_code(link).startswith("data:image/svg+xml")
    assert qr_code(link) != qr_code({**link, "password": "another"})


def test_the_end_is_told_in_plain_local_time() -> None:
    """As the user's own clock will show it."""
    moment = datetime(2026, 12, 1, 3, 4).astimezone()
    assert local_time(moment.astimezone(UTC)) == "Tuesday 1 December, 03:04"


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


def test_a_link_has_an_end(studio: Workplace, anna: Character) -> None:
    """Neither for ever nor for no time."""
    for hours in (0.0, 1000.0):
        with pytest.raises(BadInput):
            ReviewLink(studio).start(anna.id, hours)


def test_a_link_whose_time_is_over_is_not_open(house: House, vera: Character) -> None:
    """By the clock, also where the machine slept and the app still stands."""
    opened = ReviewLink(house.studio)
    with no_way_out():
        opened.start(vera.id, 1.0)
    assert opened._open and opened.live()
    opened._open.term._expires = datetime.now(UTC)
    try:
        assert not opened.live()
        assert opened.state() == {"live": False}
    finally:
        opened.stop()


def test_each_app_keeps_to_its_own_cache(house: House, link: dict[str, Any]) -> None:
    """The two folders differ, and the variable is their parent for the upload check."""
    root = house.studio.settings.data_root / "cache" / "pages"
    assert {each.name for each in root.iterdir()} >= {"studio", "review"}
    assert os.environ["GRADIO_TEMP_DIR"] == str(root)


def test_running_is_a_value(house: House) -> None:
    """What `launch` answers cannot be changed by accident."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        house.running.url = "elsewhere"  # type: ignore[misc]
