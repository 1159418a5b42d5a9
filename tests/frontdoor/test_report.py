"""The demo's `report.json`: its form, and that it is read back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engines.api.errors import BadInput
from frontdoor.report import CardRates, Counts, EditorReport, EditRates, Identity, Margin, Report

CARD = CardRates(first_try_rate=0.9, n=23, interval=(0.8, 1.0), all_seeds_rate=0.85, all_seeds_n=69)
EDITS = EditRates(acceptance=0.5, n=40, interval=(0.4, 0.6), edit_done=0.7, identity_kept=0.8)
REPORT = Report(
    seed=3,
    counts=Counts(
        source=12, enriched=56, good=30, needs_correction=20, reject=6, synthetic=56, filtered=4, accepted=40
    ),
    card={"base": CARD, "v1": CARD, "v2": CARD},
    identity=Identity(
        medians={"base": 0.1, "v1": 0.8, "v2": 0.9},
        n=69,
        margin_v1_over_base=Margin(median_of_pairs=0.7, interval_95=(0.6, 0.8)),
        threshold=0.42,
    ),
    editor=EditorReport(
        never_asked_before=40, base=EDITS, v1=EDITS, triplets={"positive": 30, "golden": 20}, adopted=True
    ),
    decisions={"sources": 12},
    seconds=607.0,
    seconds_per_stage={"import": 1.5},
    peak_rss_gib=1.25,
    reviewer="a stand-in",
)


def test_the_file_keeps_its_form() -> None:
    """Names and their order are those of earlier reports: the judge's medians stand beside the other figures."""
    data = REPORT.to_json()

    assert list(data) == [
        "seed", "counts", "card", "identity", "editor", "decisions", "seconds", "seconds_per_stage", "peak_rss_gib",
        "reviewer",
    ]  # fmt: skip
    assert list(data["identity"]) == ["base", "v1", "v2", "n", "margin_v1_over_base", "threshold"]
    assert list(data["editor"]) == ["never_asked_before", "base", "v1", "triplets", "adopted"]
    assert list(data["counts"]) == [
        "source", "enriched", "good", "needs_correction", "reject", "synthetic", "filtered", "accepted",
    ]  # fmt: skip
    assert list(data["card"]["v1"]) == ["first_try_rate", "n", "interval", "all_seeds_rate", "all_seeds_n"]
    assert list(data["editor"]["v1"]) == ["acceptance", "n", "interval", "edit_done", "identity_kept"]


def test_the_report_is_whole_or_not_there(tmp_path: Path) -> None:
    """Writing again replaces the report in one move and leaves no draft; what is read equals what was written."""
    path = tmp_path / "report.json"
    REPORT.write(path)
    later = replace(REPORT, seconds=1.0)
    later.write(path)

    assert Report.read(path) == later
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("harm", ["seconds", "identity", "card"])
def test_another_file_is_refused(tmp_path: Path, harm: str) -> None:
    """A report without one of its parts is refused with its path."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps({name: value for name, value in REPORT.to_json().items() if name != harm}))

    with pytest.raises(BadInput, match=r"report\.json is no report"):
        Report.read(path)


def test_the_summary_names_the_reviewer() -> None:
    """The lines on the terminal say that no human reviewed, and show rates and identity of each version."""
    words = REPORT.summary()

    assert "The reviewer was a stand-in, not a human" in words
    assert "base 0.10 → v1 0.80 → v2 0.90" in words
    assert "(of 23 cells)" in words
