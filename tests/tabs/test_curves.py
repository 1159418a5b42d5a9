"""How a training's curve looks."""

import dataclasses

from studio.flywheel.train.runs import Point
from tabs.common import curves


def points(*bands: tuple[float | None, ...]) -> list[Point]:
    """A step for each row of running means by band."""
    return [Point(step, 1 / step, 1 / step, 0.5, 1e-4, 0.3, 0.25, row, 3 << 30) for step, row in enumerate(bands, 1)]


def test_the_plot_needs_two_steps() -> None:
    """One point is no curve."""
    assert "fl-empty" in curves.loss_plot(points((1.0, None, None)))


def test_bands_get_a_line_of_their_own_once_something_fell_into_them() -> None:
    """The raw loss, the smooth one, and one line for each band that has a value."""
    plot = curves.loss_plot(points((0.5, None, None), (0.4, None, 0.9), (0.3, None, 0.8)), 100)

    assert plot.count("<path") == 4
    assert "low noise 0.3000" in plot and "high noise 0.8000" in plot
    assert "middle" not in plot.split("<details", 1)[0]
    assert "step 100" in plot


def test_the_last_step_is_told_in_figures() -> None:
    """Learning rate, gradient norm, seconds and memory stand beside the loss."""
    plot = curves.loss_plot(points((), ()))

    for words in ("0.5000</b> at step 2", "learning rate 0.0001", "gradient norm 0.3", "0.25 s a step", "3.0 GiB"):
        assert words in plot


def test_commands_are_shown_as_they_are() -> None:
    """A path with a space keeps its quotes, and is no markup."""
    shown = curves.elsewhere(("cd '/my <home>' && python", "accelerate"))

    assert "&#39;/my &lt;home&gt;&#39;" in shown
    assert curves.elsewhere(()) == ""


def test_a_training_that_has_slowed_down_is_marked() -> None:
    """What it costs stands beside the seconds, and why it may be and what helps is one hover away."""
    quick = points(*[(None,)] * 40)
    slow = [dataclasses.replace(point, seconds=3 * point.seconds) for point in points(*[(None,)] * 60)[40:]]

    assert "as slow as before" not in curves.loss_plot(quick)
    plot = curves.loss_plot([*quick, *slow])
    assert "3.0 × as slow as before" in plot and "Sysmem Fallback" in plot
