"""The bench of the judge that asks, on few drawings: its rows, and the embedded judge from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engines.api.axes import ANGLES
from engines.api.seeing import Answer
from engines.wording.drawn import SCENE_VALUES
from frontdoor.bench import ENTRIES
from frontdoor.bench.judge import PHOTOS, drawn, of_axis, photographs
from frontdoor.studio import open_studio
from studio.workplace.desk import Workplace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """The embedded models."""
    with closing(open_studio(tmp_path_factory.mktemp("home"))) as opened:
        yield opened


def test_the_embedded_judge_reads_drawings_of_strangers(workplace: Workplace) -> None:
    """Every axis is asked about, nearly all answers are right, and the time of a picture stands beside a caption's."""
    rows = {row.name: row for row in drawn(workplace, 24)}
    assert [name for name in rows if " right, " in name] == [
        f"asked: {axis} right, 24 drawings" for axis in SCENE_VALUES
    ]
    assert all(row.value >= 0.75 for name, row in rows.items() if " right, " in name), rows
    assert rows["asked: a picture, all axes"].value > 0
    assert "frontdoor.bench.judge:measure" in ENTRIES.values()


def test_right_wrong_and_unknown_are_told_apart() -> None:
    """Three pictures, one of each; what the caption missed is no error of the judge."""
    sure, torn = Answer({"front": -0.1, "half-left": -2.4}), Answer({"front": -0.7, "half-left": -0.69})
    told = [{"angle": answer} for answer in (sure, sure, torn)]
    rows = list(of_axis("angle", ["front", ANGLES[1], "front"], told, [{}, {"angle": ANGLES[1]}, {"angle": ANGLES[1]}]))
    assert [row.value for row in rows[:3]] == [pytest.approx(1 / 3), 1, 1]
    assert rows[0].peer == "caption 0.3333, wrong 1, unread 1"
    assert 0 < rows[3].value < 1


def test_photographs_never_swap_left_and_right(workplace: Workplace) -> None:
    """Faces and mirror images are read by geometry; what only a language model could tell is unknown without one."""
    pytest.importorskip("yuface", reason="yuface has no wheel for this Python")
    rows = {row.name.rpartition(": ")[2]: row for row in photographs(workplace, PHOTOS)}
    assert rows["left and right swapped"].ok
    assert (rows["right"].value, rows["wrong"].value, rows["unknown"].value) == (8, 0, 8)
    assert list(photographs(workplace, Path("nowhere"))) == []
