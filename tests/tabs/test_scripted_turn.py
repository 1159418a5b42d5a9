"""One whole turn of both flywheels through gradio_client alone: ids in, JSON out, no widget touched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file

from tests.tabs.colour_blocks import picture
from tests.tabs.conftest import House

pytestmark = pytest.mark.slow
ENDED = {"done", "failed", "cancelled", "interrupted"}


class Script:
    """What a user's script would look like."""

    def __init__(self, url: str) -> None:
        self.client = Client(url, verbose=False)

    def __call__(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Call one name of the surface; an expected failure fails the test with its words."""
        answer: dict[str, Any] = self.client.predict(api_name=f"/{name}", **arguments)
        assert answer["ok"], answer
        return answer

    def wait(self, submitted: dict[str, Any]) -> dict[str, Any]:
        """Follow a job to its end by its id."""
        while True:
            status = self("job_status", job_id=submitted["job_id"], since=0)
            if status["state"] in ENDED:
                assert status["state"] == "done", status
                return status
            time.sleep(0.05)


@pytest.fixture
def script(house: House) -> Iterator[Script]:
    """A client of a studio that runs on fakes."""
    opened = Script(house.url)
    yield opened
    opened.client.close()


def test_a_whole_turn_by_script(script: Script, tmp_path: Path) -> None:
    """From pictures to an adopted character LoRA and an adopted editor LoRA, by names and ids alone."""
    models = {"generator": "fake-flux", "editor": "fake-edit", "scorer": "fake-identity"}
    who = script("character_create", name="Mira", trigger="ohwx", subject="person", params=models)["character"]["id"]
    uploads = _upload(tmp_path, 10)

    imported = script("image_import", character_id=who, files=uploads)
    assert len(imported["imported"]) == 10
    script.wait(script("caption_submit", character_id=who))
    script("caption_set", character_id=who, image_id=imported["imported"][0], text="ohwx person, front view")
    assert script("coverage", character_id=who)["checklist"]

    plan = script("enrich_plan", character_id=who, limit=14)
    script.wait(script("enrich_submit", character_id=who, rows=plan["rows"], key="first"))
    again = script("enrich_submit", character_id=who, rows=plan["rows"], key="first")
    assert again["state"] == "done"
    _review(script, who, tmp_path)

    v1 = _trained(script, who, script("train_submit", character_id=who, params={"steps": 6, "save_every": 3}))
    script.wait(script("generate_submit", character_id=who, count=5, version=v1["id"], seed=7))
    script.wait(script("card_submit", character_id=who, version=v1["id"], seeds=[0]))
    assert script("card_get", character_id=who)["summary"]["first_try"]["n"] == 23
    exported = script("lora_export", character_id=who, version_id=v1["id"], format="diffusers")
    assert Path(exported["file_path"]).stat().st_size > 0

    editor = _trained(script, who, script("refine_submit", character_id=who, params={"steps": 4, "save_every": 2}))
    adopted = script("version_adopt", character_id=who, version_id=editor["id"])["version"]
    assert (adopted["role"], adopted["state"]) == ("editor", "adopted")
    later = script("enrich_plan", character_id=who, limit=2)
    done = script.wait(script("enrich_submit", character_id=who, rows=later["rows"]))
    made = script("image_get", character_id=who, image_id=done["artifacts"]["images"][0])["image"]
    assert made["version"] == editor["id"]
    assert script("gpu_status")["used"] <= script("gpu_status")["budget"]


def test_a_mistake_is_answered_with_a_remedy(script: Script) -> None:
    """An unknown id or knob comes back as a code, a cause and a hint, not as a traceback."""
    answer = script.client.predict(character_id="nobody", api_name="/caption_submit")

    assert answer["ok"] is False
    assert answer["error"]["code"] == "not_found"
    assert answer["error"]["hint"]


def test_a_job_can_be_cancelled_by_its_id(script: Script, tmp_path: Path) -> None:
    """`job_cancel` ends a training within a step, and asking twice is asking once."""
    models = {"generator": "fake-flux", "editor": "fake-edit", "scorer": "fake-identity"}
    who = script("character_create", name="Mira", trigger="ohwx", subject="person", params=models)["character"]["id"]
    script("image_import", character_id=who, files=_upload(tmp_path, 3))
    script.wait(script("caption_submit", character_id=who))
    job = script("train_submit", character_id=who, params={"steps": 100_000, "save_every": 50_000})

    script("job_cancel", job_id=job["job_id"])
    script("job_cancel", job_id=job["job_id"])
    while (state := script("job_status", job_id=job["job_id"], since=0)["state"]) not in ENDED:
        time.sleep(0.05)

    assert state == "cancelled"
    assert [each["job_id"] for each in script("job_list", character_id=who)["jobs"]][:1] == [job["job_id"]]


def test_a_training_is_cancelled_resumed_and_extended_by_its_id(script: Script, tmp_path: Path) -> None:
    """Looked at before; stopped, gone on with, stopped again, and then let go on for as long as is wanted now."""
    models = {"generator": "fake-flux", "editor": "fake-edit", "scorer": "fake-identity"}
    who = script("character_create", name="Mira", trigger="ohwx", subject="person", params=models)["character"]["id"]
    script("image_import", character_id=who, files=_upload(tmp_path, 3))
    script.wait(script("caption_submit", character_id=who))
    knobs = {"steps": 100_000, "save_every": 50_000}
    found = script("train_preflight", character_id=who, params=knobs)["preflight"]
    assert found["ok"] and all(check["ok"] or check["hint"] for check in found["checks"])

    job = script("train_submit", character_id=who, params=knobs)["job_id"]
    first = _stopped_after(script, job, 5)
    assert script("job_resume", job_id=job)["job_id"] == job
    second = _stopped_after(script, job, first + 5)
    longer = script.wait(script("train_extend", job_id=job, steps=second + 50))

    assert (longer["step"], longer["total"]) == (second + 50, second + 50)
    (made,) = script("version_list", character_id=who)["versions"]
    assert (made["job"], made["metrics"]["steps"]) == (job, second + 50)
    assert script("train_keep", job_id=job)["version"]["id"] == made["id"]
    assert job in script("train_command", job_id=job)["alone"]


def _stopped_after(script: Script, job: str, step: int) -> int:
    """Cancel a training once it has come further than a step; answers how far it came."""
    while script("job_status", job_id=job, since=0)["step"] <= step:
        time.sleep(0.005)
    script("job_cancel", job_id=job)
    while (status := script("job_status", job_id=job, since=0))["state"] not in ENDED:
        time.sleep(0.01)
    assert status["state"] == "cancelled"
    return int(status["step"])


def _upload(folder: Path, count: int) -> list[Any]:
    files = []
    for n in range(count):
        picture(n).save(folder / f"{n}.png")
        files.append(handle_file(str(folder / f"{n}.png")))
    return files


def _review(script: Script, who: str, folder: Path) -> None:
    """Good, good, mended, rejected, and round again, with one verdict taken back."""
    n = 0
    while waiting := script("review_next", character_id=who, count=1)["images"]:
        image = waiting[0]["id"]
        if n % 4 == 2:
            picture(500 + n).save(folder / "mended.png")
            mended = handle_file(str(folder / "mended.png"))
            script("correction_add", character_id=who, image_id=image, file=mended, reason="edit not done")
        else:
            script("review_decide", character_id=who, image_id=image, verdict="reject" if n % 4 == 3 else "good")
        n += 1
        if n == 1:
            script("review_undo", character_id=who)
    assert n == 15


def _trained(script: Script, who: str, submitted: dict[str, Any]) -> dict[str, Any]:
    job = script.wait(submitted)["job_id"]
    versions: list[dict[str, Any]] = script("version_list", character_id=who)["versions"]
    return next(version for version in versions if version["job"] == job)
