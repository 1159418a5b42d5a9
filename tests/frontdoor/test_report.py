"""What the demo leaves behind for people to look at."""

import json
from pathlib import Path

from PIL import Image

from frontdoor import report


def test_a_contact_sheet_shows_every_picture(tmp_path: Path) -> None:
    """Thirteen pictures at five a row make three rows, each framed by its verdict's colour."""
    tiles = [(Image.new("RGB", (64, 64), (n * 9, 0, 0)), f"{n}", "good") for n in range(13)]

    report.contact_sheet(tiles, tmp_path / "sheet.png", title="thirteen", columns=5)

    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 5 * 136 + 8
        assert sheet.height == 3 * 154 + 40
        assert sheet.getpixel((5, 60)) == (46, 160, 94)


def test_the_loss_plot_is_a_picture(tmp_path: Path) -> None:
    """Curves of several trainings land in one PNG."""
    report.loss_plot({"v1": [(n, 1 / n) for n in range(1, 40)], "v2": [(1, 0.5)]}, tmp_path / "loss.png")

    with Image.open(tmp_path / "loss.png") as plot:
        assert plot.width > 600


def test_the_report_is_whole_or_not_there(tmp_path: Path) -> None:
    """Writing again replaces the report in one move and leaves no draft."""
    report.write(tmp_path / "report.json", {"n": 1})
    report.write(tmp_path / "report.json", {"n": 2})

    assert json.loads((tmp_path / "report.json").read_text()) == {"n": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]
