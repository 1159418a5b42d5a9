"""A tournament in a real browser, drawn by the embedded editor: held, judged blind, and its winner used."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, number, open_tab, serve
from tests.browser.test_loras import lora

pytestmark = pytest.mark.browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """With the embedded models and the sample character."""
    with serve(tmp_path / "home") as studio:
        yield studio


def test_a_tournament_is_held_judged_and_routed(served: Served, page: Page, tmp_path: Path) -> None:
    """Three editors, two tasks; a script judges blind by the seed's truth; the plan's rows take the winner."""
    studio = Client(served.url, verbose=False, httpx_kwargs={"timeout": 300})

    def call(name: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = studio.predict(**arguments, api_name=f"/{name}")
        assert answer["ok"], answer
        return answer

    robin = call("character_list")["characters"][0]["id"]
    call("lora_add", place=str(lora(tmp_path / "Soft light.safetensors")), task="lighting")

    page.goto(f"{served.url}/?tab=Enrich")
    expect.set_options(timeout=45_000)
    for at in range(3):
        page.locator("#enrich-sources [data-act=source]").nth(at).click()
        expect(page.locator("#enrich-sources")).to_contain_text(f"{at + 1} picture")
    page.get_by_role("button", name="Tournament: which editor for which task").click()
    page.locator("#tournament-tasks").get_by_label("angle").uncheck()
    page.locator("#tournament-tasks").get_by_label("background").check()
    page.locator("#tournament-few").get_by_role("checkbox").check()
    page.click("#tournament-add")
    expect(page.locator("#tournament-entered")).to_contain_text("few steps")
    page.locator("#tournament-loras input").click()
    page.get_by_role("option", name="Soft light").click()
    page.keyboard.press("Escape")
    page.click("#tournament-add")
    expect(page.locator("#tournament-entered")).to_contain_text("Soft light 1")
    number(page, "#tournament-seeds", 2)
    expect(page.locator("#tournament-cost")).to_contain_text("too few for anyone to win")
    number(page, "#tournament-seeds", 3)
    expect(page.locator("#tournament-cost")).to_contain_text("54 looks at most, about")
    page.click("#tournament-start")
    table = page.locator("#tournament-matrix")
    expect(table).to_contain_text("not judged yet")
    expect(table.get_by_role("button", name="in Review")).to_be_visible()

    # While it is drawn, a script passes few steps at expressions and everybody at backgrounds. It learns the key after
    # its verdict, and changes a wrong one.
    keys = {each["key"]: each for each in call("tournament_get", character_id=robin)["tournament"]["contestants"]}
    few = next(key for key, each in keys.items() if each["few_steps"] and not each["loras"])
    job, looks = call("tournament_get", character_id=robin)["job_id"], 0
    while (shown := call("review_next", character_id=robin, count=6)["images"]) or (
        call("job_status", job_id=job)["state"] == "running"
    ):
        time.sleep(0 if shown else 1)
        for each in shown:
            assert each["model"] == "" and each["params"].keys() == {"instruction"}
            given = {"character_id": robin, "image_id": each["id"]}
            call("review_decide", **given, verdict="reject" if "expression" in each["asked"] else "good")
            if "expression" in each["asked"]:
                trial = call("image_get", **given)["image"]["trial"]
                if trial["contestant"] == few:
                    call("review_decide", **given, verdict="good")
            looks += 1
    assert looks < 54

    open_tab(page, "Review")
    open_tab(page, "Enrich")
    won = table.locator(f'[data-cell="expression {few}"]')
    expect(won).to_contain_text("7 of 7")
    expect(won).to_contain_text("won")
    expect(table.locator('[data-route="expression"]')).to_contain_text("It won the task")
    won.locator("[data-view]").first.click()
    expect(page.locator("dialog[data-viewer]")).to_contain_text("1 of 7")
    page.keyboard.press("Escape")
    table.get_by_role("button", name="Save as CSV").click()
    expect(page.locator("#tournament-written")).to_contain_text(".csv")

    for task in ("angle", "lighting", "outfit", "style", "pose"):
        page.locator("#enrich-tasks").get_by_label(task).uncheck()
    plan = page.locator("#enrich-plan")
    expect(plan.locator("tr", has_text="It won the task").first).to_contain_text("few steps")
    page.reload()
    page.get_by_role("button", name="Tournament: which editor for which task").click()
    expect(won).to_contain_text("won")
    table.locator('[data-route="expression"]').get_by_role("button", name="Overrule").click()
    expect(table.locator('[data-route="expression"]')).to_contain_text("You chose it")
    expect(plan.locator("tr", has_text="It won the task")).to_have_count(0)
    table.locator('[data-route="expression"]').get_by_role("button", name="Undo").click()
    expect(plan.locator("tr", has_text="It won the task").first).to_be_visible()
