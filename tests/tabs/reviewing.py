"""Uses a review link as a guest does: raw HTTP against its port."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from studio.records.character import Character
from studio.records.image import Kind
from tests.tabs.colour_blocks import picture, png
from tests.tabs.conftest import House, character_on_fakes


@contextmanager
def login(link: dict[str, Any]) -> Iterator[httpx.Client]:
    """A reviewer who knows the password."""
    with httpx.Client(base_url=link["local_url"], trust_env=False) as client:
        answer = client.post("/login", data={"username": link["user"], "password": link["password"]})
        assert answer.status_code == 200
        yield client


def vote_of(act: str, image: str = "") -> dict[str, Any]:
    """A vote as the page sends it, in a message of its own."""
    keys = {"act": "keys", "token": secrets.token_hex(4), "n": 1, "keys": [{"act": act, "id": image}]}
    return {"data": [[], []], "fn_index": 1, "event_data": keys, "session_hash": "page"}


def send_vote(client: httpx.Client, act: str, image: str = "") -> int:
    """Send it; the answer's status."""
    said = vote_of(act, image)
    return client.post("/gradio_api/run/predict", json=said).status_code


def edits_of(house: House, name: str, count: int) -> tuple[Character, list[str]]:
    """A character of the test's own with edits that wait."""
    who = character_on_fakes(house.studio, name)
    store = house.studio.store(who.id)
    source = store.add_image(png(picture(1)), kind=Kind.SOURCE)
    pictures = [png(picture(2 + number)) for number in range(count)]
    return who, [store.add_image(each, kind=Kind.ENRICHED, parent=source.id).id for each in pictures]
