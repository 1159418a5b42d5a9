"""One small turn of both flywheels with the embedded models, through the demo's own code."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from frontdoor.demo import Scale, Turn
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
@pytest.mark.parametrize("seed", [None, 3])
def test_a_small_turn_runs_to_its_report(tmp_path: Path, seed: int | None) -> None:
    """Every step of the turn runs on the real embedded models, and the report holds its figures."""
    scale = replace(SMALL, control=seed is not None)
    with closing(open_studio(tmp_path / "home")) as workplace:
        turned = Turn(workplace, tmp_path, scale).run(seed=seed)
        opens_on = workplace.library.setting(CHARACTER_SETTING, str)
        assert opens_on is not None
        assert workplace.store(opens_on).character.name == ("Robin (demo)" if seed is None else "Character 3 (demo)")

    assert Report.read(tmp_path / "report.json") == turned
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"]["source"] == 12
    assert report["counts"]["enriched"] == 6
    assert sum(report["counts"][name] for name in ("good", "needs_correction", "reject")) == 6
    assert report["counts"]["synthetic"] == 4
    control = {"v1 longer"} if scale.control else set()
    assert set(report["card"]) == {"base", "v1", "v2"} | control
    assert report["decisions"]["shown"] == SMALL.shown
    assert report["card"]["v1"]["n"] == 23
    assert report["identity"]["n"] == 23
    assert set(report["editor"]) >= {"base", "v1"}
    assert report["editor"]["never_asked_before"] == report["editor"]["v1"]["n"] == 3
    assert report["decisions"]["enriched"] == 6
    assert "stand-in" in report["reviewer"] and "no human" in report["reviewer"]
    assert "corrections are drawn from that truth" in report["reviewer"]
    assert {file.name for file in tmp_path.glob("*.png")} >= {"enriched.png", "card-v1.png", "loss.png"}
