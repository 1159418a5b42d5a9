"""The pictures that the demo leaves for people to look at."""

from pathlib import Path

from PIL import Image

from frontdoor import figures
from frontdoor.figures import Tile


def test_a_contact_sheet_shows_every_picture(tmp_path: Path) -> None:
    """Thirteen pictures at five a row make three rows, each framed by its verdict's colour."""
    tiles = [Tile(Image.new("RGB", (64, 64), (n * 9, 0, 0)), f"{n}", "good") for n in range(13)]

    figures.contact_sheet(tiles, tmp_path / "sheet.png", title="thirteen", columns=5)

    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 5 * 136 + 8
        assert sheet.height == 3 * 154 + 40
        assert sheet.getpixel((5, 60)) == (46, 160, 94)


def test_the_loss_plot_is_a_picture(tmp_path: Path) -> None:
    """Curves of several trainings are drawn into one PNG."""
    figures.loss_plot({"v1": [(n, 1 / n) for n in range(1, 40)], "v2": [(1, 0.5)]}, tmp_path / "loss.png")

    with Image.open(tmp_path / "loss.png") as plot:
        assert plot.width > 600
