"""The settings' widgets, as a browser meets them."""

from __future__ import annotations

import gradio as gr
import httpx
import pytest

from studio.housekeeping import kept
from tabs.common.knobs import Slider
from tests.tabs.conftest import House

pytestmark = pytest.mark.slow


def test_a_number_beside_a_slider_counts_as_the_nearest_in_its_range(house: House) -> None:
    """Whatever is typed into the field, also nothing, comes to the handler as a number that the slider can show."""
    with httpx.Client(base_url=house.url, trust_env=False) as client:
        config = client.get("/config").json()
        (floor,) = [each["id"] for each in config["components"] if each["props"].get("elem_id") == "settings-floor"]
        (released,) = [each for each in config["dependencies"] if [floor, "release"] in each["targets"]]
        held = []
        for typed in (1e12, -5, 0.25, None):
            call = {"fn_index": released["id"], "data": ["", typed], "session_hash": "a-page"}
            answer = client.post("/gradio_api/run/predict", json=call)
            assert answer.status_code == 200, answer.text
            held.append(kept.identity_floor(house.studio))
    assert held == [1.0, 0.0, 0.25, 0.0]


def test_every_slider_is_the_studios(house: House) -> None:
    """Gradio's own bounds, of a slider or a number, end in an error where a number outside them is typed."""
    sliders = [each for each in house.running.demo.blocks.values() if isinstance(each, gr.Slider)]
    assert len(sliders) > 5
    assert {type(each) for each in sliders} == {Slider}
    assert {each.get_block_name() for each in sliders} == {"slider"}
    numbers = [each for each in house.running.demo.blocks.values() if isinstance(each, gr.Number)]
    assert [each.label for each in numbers if each.minimum is not None or each.maximum is not None] == []
