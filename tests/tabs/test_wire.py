"""What a script sends over HTTP is refused by the very sentence that a direct call gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
from gradio_client import Client
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from studio.api.api import API_NAMES, Api
from studio.records.base import Json
from tabs.sharing import ReviewLink
from tests.studio.api.wrong import annotations, arguments, misfits
from tests.tabs.conftest import House

pytestmark = pytest.mark.slow
SAMPLE = settings(
    derandomize=True, database=None, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck)
)
_HEADERS = {"content-type": "application/json"}
_UNREAD = (400, 413, 422)  # a body that is no JSON, too large, or not of the protocol's form


class Wire:
    """A script that speaks HTTP by itself."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=60)

    def post(self, name: str, body: bytes, how: str = "") -> httpx.Response:
        """Sends a body for a call; with `how` "v2/" its arguments are given by names."""
        return self.http.post(f"/gradio_api/call/{how}{name}", content=body, headers=_HEADERS)

    def answer(self, name: str, body: bytes, how: str = "") -> Json:
        """Returns what a call answers in the end."""
        sent = self.post(name, body, how)
        assert sent.status_code == 200, (name, body[:200], sent.text)
        event = sent.json()["event_id"]
        told = self.http.get(f"/gradio_api/call/{name}/{event}")
        assert told.status_code == 200 and told.text.startswith("event: complete\n"), (name, body[:200], told.text)
        (found,) = json.loads(told.text.partition("data: ")[2])
        return dict(found)


@pytest.fixture
def wire(house: House) -> Iterator[Wire]:
    """A script of a studio that runs on fakes."""
    opened = Wire(house.url)
    yield opened
    opened.http.close()


def directly(house: House) -> Api:
    """Returns the surface of the same studio, called without a wire."""
    return Api(house.studio, ReviewLink(house.studio))


def written(value: Any) -> bytes | None:
    """Returns a value as JSON with every letter escaped; None for what JSON cannot hold."""
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError, RecursionError):  # bytes, numbers of thousands of digits, a thousand levels
        return None


def test_a_wrong_argument_is_refused_as_by_a_direct_call(house: House, wire: Wire) -> None:
    """By place and by name; code, message and hint are the same to the letter."""
    direct = directly(house)

    @SAMPLE
    @hypothesis.given(st.sampled_from([name for name in API_NAMES if arguments(name)]), st.data())
    def same(name: str, data: st.DataObject) -> None:
        argument = data.draw(st.sampled_from(sorted(arguments(name))))
        wrong = data.draw(misfits(annotations(name)[argument]))
        given = {
            each: "x" if found.default is found.empty else found.default for each, found in arguments(name).items()
        }
        given[argument] = wrong
        by_place, by_name = written({"data": list(given.values())}), written(given)
        assume(by_place is not None)
        assert by_place and by_name
        expected = getattr(direct, name)(**json.loads(by_name))  # in JSON all names of an object are text
        assert expected["ok"] is False
        assert wire.answer(name, by_place) == expected
        assert wire.answer(name, by_name, "v2/") == expected

    same()


@pytest.mark.parametrize("name", API_NAMES)
def test_a_missing_or_unknown_argument_is_refused_as_by_a_direct_call(house: House, wire: Wire, name: str) -> None:
    """Gradio answers such a request before the call is made; it says what the call would."""
    needed = [each for each, found in arguments(name).items() if found.default is found.empty]
    for given in ({}, {"colour": "red"}, dict.fromkeys(needed[1:], "x"), {**dict.fromkeys(needed, "x"), "a\0b": 1}):
        expected = getattr(directly(house), name)(**given)
        if expected["ok"]:
            continue
        body = json.dumps(given).encode()
        if set(needed) <= set(given) <= set(arguments(name)):
            assert wire.answer(name, body, "v2/") == expected
        else:
            refused = wire.post(name, body, "v2/")
            assert (refused.status_code, refused.json()) == (422, expected)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"data": 5}',
        b'{"data": {}}',
        b"\xff\xfe",
        b'{"data": [' + b"[" * 5000,
        b"[" * 10**5,
    ],
)
def test_what_is_no_call_is_turned_away(wire: Wire, body: bytes) -> None:
    """A body that cannot be read is answered as one, and by no traceback."""
    for how in ("", "v2/"):
        answer = wire.post("job_status", body, how)
        assert answer.status_code in _UNREAD, (body[:50], answer.text)
        assert "Traceback" not in answer.text


def test_values_at_the_rim_of_json_are_refused_in_words(house: House, wire: Wire) -> None:
    """Numbers that are none, half letters, and deep lists come through to the call."""
    for text in (b"NaN", b"-Infinity", b'"\\ud800"', b'"a\\u0000b"', b"[" * 600 + b"]" * 600, b"9" * 4000):
        expected = directly(house).job_status(json.loads(text))
        answer = wire.answer("job_status", b'{"data": [' + text + b", 0]}")
        assert answer == expected and answer["error"]["code"] == "bad_input"


def test_the_client_library_gets_the_same_sentence(house: House) -> None:
    """gradio_client hands on what a call says."""
    client = Client(house.url, verbose=False)
    for name, given in (
        ("job_status", {"job_id": 7}),
        ("character_create", {"name": " "}),
        ("character_create", {"name": "Ada", "params": {"notes": 5}}),
        ("image_import", {"character_id": "nobody", "files": "a.png"}),
        ("mask_set", {"character_id": "nobody", "image_id": "x", "file": ["a.png"]}),
    ):
        assert client.predict(api_name=f"/{name}", **given) == getattr(directly(house), name)(**given)
    client.close()
