"""What the server keeps of pages and calls: a bounded number, and a page that was let go of loads itself again."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest

from tabs.app import SESSIONS
from tabs.sessions import Sessions
from tests.tabs.conftest import House

pytestmark = pytest.mark.slow
PREDICT, CALL = "/gradio_api/run/predict", "/gradio_api/call/character_list"


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    """Plain HTTP."""
    with httpx.Client(base_url=house.url, trust_env=False, timeout=60) as client:
        yield client


def kept(house: House) -> Sessions:
    """The server's memory."""
    found = house.running.demo.app.state_holder
    assert isinstance(found, Sessions)
    return found


def load(client: httpx.Client, house: House, name: str) -> int:
    """A click after which the server remembers something, which is what makes a session a page; the answer's status."""
    clicks = (
        fn
        for fn in house.running.demo.fns.values()
        if isinstance(next(iter(fn.outputs), None), gr.State) and any(event == "click" for _, event in fn.targets)
    )
    for fn in clicks:
        asked = {"data": [""] * len(fn.inputs), "fn_index": fn._id, "session_hash": name}
        answer = client.post(PREDICT, json=asked)
        if answer.status_code == 410 or (answer.status_code == 200 and '"bad"' not in answer.text):
            return answer.status_code
    raise AssertionError("no click of the studio is remembered")


def test_calls_of_scripts_do_not_pile_up(house: House, client: httpx.Client) -> None:
    """Each raw call is a session of its own; the last few are kept, and each one's answer can still be fetched."""
    names = [client.post(CALL, json={"data": []}).json()["event_id"] for _ in range(SESSIONS + 20)]
    assert len(kept(house).session_data) <= SESSIONS
    for name in (names[0], names[-1]):
        answer = client.get(f"{CALL}/{name}").text
        assert answer.startswith("event: complete")
        assert "event: error" not in answer


def test_pages_make_room_for_pages_and_one_that_comes_back_is_told(house: House, client: httpx.Client) -> None:
    """The page used longest ago is let go of; its next request is answered 410, which makes it load again."""
    assert load(client, house, "first-page") == 200
    for number in range(SESSIONS):
        assert load(client, house, f"page-{number}") == 200
    assert len(kept(house).session_data) <= SESSIONS
    assert "first-page" not in kept(house)
    assert load(client, house, "first-page") == 410
    assert load(client, house, f"page-{SESSIONS - 1}") == 200


def test_scripts_never_push_a_page_out(house: House, client: httpx.Client) -> None:
    """However many calls come, a page that was open before them is known after them."""
    assert load(client, house, "lasting") == 200
    for _ in range(2 * SESSIONS):
        client.post(CALL, json={"data": []})
    assert load(client, house, "lasting") == 200


def test_a_session_at_work_stays() -> None:
    """While its call runs it is not let go of, though others need the room; afterwards it is."""
    with gr.Blocks(analytics_enabled=False) as demo:
        gr.State("")
    demo.queue()
    sessions = Sessions(demo, 2)
    demo._queue.event_ids_to_events["its call"] = SimpleNamespace(session_hash="busy")
    for name in ("busy", "a", "b", "c"):
        assert sessions[name]
    assert list(sessions.session_data) == ["busy", "c"]
    del demo._queue.event_ids_to_events["its call"]
    assert sessions["d"]
    assert list(sessions.session_data) == ["c", "d"]
