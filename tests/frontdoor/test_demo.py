"""One small turn of both flywheels with the embedded models, through the demo's own code."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import assets
from frontdoor.demo import Scale, Turn, drawn_character
from frontdoor.report import Report
from frontdoor.studio import open_studio
from studio.records.character import CHARACTER_SETTING

SMALL = Scale(
    edits=6,
    shown=2,
    synthetic=4,
    card_seeds=(0,),
    practice=2,
    later_edits=3,
    train={"steps": 4, "save_every": 4, "sample_every": 4, "batch_size": 2},
    refine={"steps": 3, "save_every": 3, "sample_every": 3, "batch_size": 2},
)


@pytest.mark.slow
def test_a_small_turn_runs_to_its_report(tmp_path: Path) -> None:
    """Every step of the turn runs on the real embedded models, and the report holds its figures."""
    scale = replace(SMALL, control=True)
    with closing(open_studio(tmp_path / "home")) as workplace:
        turned = Turn(workplace, tmp_path, scale).run(seed=None)
        opens_on = workplace.library.setting(CHARACTER_SETTING, str)
        assert opens_on is not None
        assert workplace.store(opens_on).character.name == "Robin (demo)"

    assert Report.read(tmp_path / "report.json") == turned
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"]["source"] == 12
    assert report["counts"]["enriched"] == 6
    assert sum(report["counts"][name] for name in ("good", "needs_correction", "reject")) == 6
    assert report["counts"]["synthetic"] == 4
    assert set(report["card"]) == {"base", "v1", "v2", "v1 longer"}
    assert report["decisions"]["shown"] == SMALL.shown
    assert report["card"]["v1"]["n"] == 23
    assert report["identity"]["n"] == 23
    assert set(report["editor"]) >= {"base", "v1"}
    assert report["editor"]["never_asked_before"] == report["editor"]["v1"]["n"] == 3
    assert report["decisions"]["enriched"] == 6
    assert "stand-in" in report["reviewer"] and "no human" in report["reviewer"]
    assert "corrections are drawn from that truth" in report["reviewer"]
    assert {file.name for file in tmp_path.glob("*.png")} >= {"enriched.png", "card-v1.png", "loss.png"}


@pytest.mark.slow
def test_a_seed_draws_another_character(tmp_path: Path) -> None:
    """Its twelve pictures are the same for the same seed, and none of them is the sample's or another seed's."""
    drawn = {}
    for name, seed in (("sample", None), ("three", 3), ("again", 3), ("four", 4)):
        (tmp_path / name).mkdir()
        folder, truths = drawn_character(Path(assets.__file__).parent, tmp_path / name, seed)
        drawn[name] = [file.read_bytes() for file in sorted(folder.glob("*.png"))]
        assert len(drawn[name]) == len(truths) == 12
    assert drawn["three"] == drawn["again"]
    assert len({*drawn["sample"], *drawn["three"], *drawn["four"]}) == 36
