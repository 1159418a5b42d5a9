"""What it takes to add a knob: three places in three files, and page, script, record and picture have it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("engines", "studio", "tabs", "frontdoor")
PLACES = {  # file -> the line before, and what a knob adds there
    "engines/api/params.py": (
        '    instruction: Words = ""\n',
        "    sharpness: Annotated[float, Ge(0), Le(4)] = 1.0\n",
    ),
    "tabs/planning.py": (
        "KNOBS = (  # fields of EditParams in the order of the layout\n",
        '    (Knob("sharpness", number("Sharpness (0: the model\'s own)")),),\n',
    ),
    "engines/families/qwen_edit/engine.py": (
        '                pictures = qwen.to_images(parts["vae"], latents)\n',
        "                pictures = [ImageEnhance.Sharpness(each).enhance(params.sharpness) for each in pictures]\n",
    ),
}
IMPORTS = {"engines/families/qwen_edit/engine.py": "from PIL import ImageEnhance\n"}
USE = """
import json, sys
from pathlib import Path

from engines.api.params import EditParams
from studio.api.api import Api
from studio.open import open_workplace
from studio.settings import Settings
from tabs import app, planning

home, face = map(Path, sys.argv[1:])
with open_workplace(Settings(data_root=home, assets=Path("assets").resolve(), device="cpu")) as studio:
    api = Api(studio)
    models = {"generator": "mini-flux", "editor": "mini-qwen-edit", "scorer": "mini-identity"}
    made = api.character_create("Anna", params=models)["character"]["id"]
    studio.jobs.start()
    def ended(job):
        while (state := api.job_status(job["job_id"]))["state"] in ("queued", "running"):
            pass
        return state
    ended(api.image_import(made, [str(face)]))
    desk = studio.desk(made)
    names = [knob.name for row in planning.KNOBS for knob in row]
    def planned(value):
        values = [value if name == "sharpness" else 2 if name == "steps" else 0 for name in names]
        return planning.make_plan(desk, ["expression"], 1, 1, planning.VARIETY, "[]", None, *values)
    for value in (0, 3.5):
        rows = [row.to_json() for row in planned(value).rows]
        ended(api.enrich_submit(made, rows, key=str(value)))
    kept = api.image_list(made, kind="enriched")["images"]
    pictures = [desk.store.images.get(each["id"]) for each in kept]
    refused = api.enrich_plan(made, params={"sharpness": 9})
    old = EditParams.kept({"instruction": "written before", "steps": 4})
    widgets = [part["props"].get("elem_id") for part in app.build(studio).config["components"]]
    print(json.dumps({
        "widget": "enrich-sharpness" in widgets,
        "recorded": [each.params["sharpness"] for each in pictures],
        "differ": len({desk.store.open_image(each.id).tobytes() for each in pictures}) == len(pictures) == 2,
        "refused": "{message} {hint}".format_map(refused["error"]),
        "old": old.sharpness,
    }))
"""


@pytest.mark.slow
def test_a_knob_is_three_places(tmp_path: Path) -> None:
    """One line in each of three files: the page shows it, a script is held to its bounds, the picture obeys it."""
    for room in (*ROOMS, "assets"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file, (before, added) in PLACES.items():
        path = tmp_path / file
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{file} has moved on: this test no longer adds its line there"
        text = text.replace(before, before + added)
        text = text.replace("import torch\n", IMPORTS.get(file, "") + "import torch\n", 1)
        path.write_text(text, encoding="utf-8")
    face = next((ROOT / "assets" / "sample").glob("*.png"))

    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path / "home"), str(face)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "widget": True,
        "recorded": [1.0, 3.5],
        "differ": True,
        "refused": "sharpness cannot be 9. It is a number from 0 to 4.",
        "old": 1.0,
    }
    assert len(PLACES) == 3
