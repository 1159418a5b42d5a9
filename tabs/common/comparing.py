"""Two versions side by side on the same cells and seeds of the model card, and charts of all versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup

from studio.flywheel import history
from studio.flywheel.history import Chapter, Difference
from studio.records.outcome import Rate
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, Render, html

BASE = "base"
CHANGED, FIRST, ALL = "What changed", "First try", "All seeds"
_CHANGES = ("gained", "lost")  # in the order in which they are shown
_WIDTH, _HEIGHT, _LEFT, _FOOT = 260.0, 130.0, 34.0, 20.0


def build(page: Page) -> tuple[list[Render], list[gr.Dropdown]]:
    """Lays out the charts of all versions and the comparison of two.

    Returns the list of their render functions, and the two drop-downs that choose the versions to compare.
    """
    drift = html(elem_id="story-drift")
    with gr.Row(equal_height=True, elem_id="story-pick") as pick:
        before = gr.Dropdown([], label="Compare", elem_id="compare-before", scale=2)
        after = gr.Dropdown([], label="with", elem_id="compare-after", scale=2)
        which = gr.Radio([CHANGED, FIRST, ALL], value=FIRST, label="Show", elem_id="compare-which", scale=3)
    cells = html(elem_id="story-compared")
    asked = [before, after]
    widgets: list[Any] = [*asked, which]
    table: Render = (draw_compared, [*asked, which], [cells])
    page.redraw([each.change for each in widgets], table)
    return [(draw_drift, [], [drift]), (fill, asked, [pick, *asked]), table], asked


def fill(desk: Desk, before: str | None, after: str | None) -> list[object]:
    """Returns three updates: of the row of fields for the comparison, and of its drop-downs `before` and `after`.

    `before` and `after` are the chosen ids, of the older and the newer version. The row is visible once two versions
    have a model card, that is evaluation pictures to compare. A missing choice, or one without a model card, is
    replaced: `after` by the LoRA version in use, or else the newest with a model card; `before` by the next older one,
    or else any other.
    """
    known = [each for each in history.story(desk) if each.card]
    choices = [(each.name, each.id or BASE) for each in known]
    ids = [value for _, value in choices]
    used = [each.id for each in known if each.version and each.version.state.value == "adopted"]
    now = after if after in ids else next(iter([*used, *ids]), None)
    older = ids[ids.index(now) + 1 :] if now else []
    others = [*older, *(each for each in ids if each != now)]
    was = before if before in ids and before != now else next(iter(others), None)
    shown = gr.update(visible=len(known) > 1)
    return [shown, gr.update(choices=choices, value=was), gr.update(choices=choices, value=now)]


def draw_compared(desk: Desk, before: str | None, after: str | None, which: str) -> Markup:
    """Returns two versions' evaluation pictures side by side as HTML, with counts and a paired test in words.

    A pair shows the same cell, one of the model card's standard prompts, with the same seed. `before` and `after` are
    ids of versions, `base` for the base model. `which` is CHANGED for the pairs that only one version got right, FIRST
    for all pairs of the first seed, or ALL. The test says whether the difference may be chance.
    """
    found = {each.id or BASE: each for each in history.story(desk)}
    was, now = found.get(before or ""), found.get(after or "")
    if len(found) < 2:
        return Markup()
    if was is None or now is None or was.card is None or now.card is None:
        return looks.empty("Two versions can be compared once each has a model card. Run it in the rows above.")
    if was is now:
        return looks.empty("Choose two different versions.")
    seen = history.difference(desk.store, was.card, now.card)
    first = seen.first if seen.first in seen.seeds else seen.seeds[0]
    changed = sorted((each for each in seen.twins if each.turn in _CHANGES), key=lambda each: _CHANGES.index(each.turn))
    twins = changed if which == CHANGED else [each for each in seen.twins if which == ALL or each.seed == first]
    tiles = [
        (
            each,
            [
                looks.picture(looks.thumb(desk.store, cell.image), f"{each.cell}, {name}", enlarge=cell.image)
                for cell, name in ((each.before, "before"), (each.after, "after"))
            ],
        )
        for each in twins
    ]
    return view(
        "character",
        "compared",
        before=was,
        after=now,
        seen=seen,
        counts=[(turn, sum(each.turn == turn for each in seen.twins)) for turn in ("gained", "lost", "right", "wrong")],
        unknown=sum(each.turn == "unknown" for each in seen.twins),
        words=plain(seen, was, now),
        tiles=tiles,
        several=len(seen.seeds) > 1,
        marks=looks.MARKS,
    )


def plain(seen: Difference, was: Chapter, now: Chapter) -> list[str]:
    """Returns the comparison of two versions in words, as a list of one or two texts.

    The first says how often each version alone was right, and whether that may be chance, by the paired test in `seen`.
    The second explains why the test counts the pictures of all seeds, while the rates elsewhere on the page count the
    first seed only; it is left out where the two versions have only one seed in common. `was` is the older version,
    `now` the newer.
    """
    pair, many = seen.paired, len(seen.twins)
    better, worse = max(pair.only_a, pair.only_b), min(pair.only_a, pair.only_b)
    winner = now if pair.only_b > pair.only_a else was
    if not pair.judged:
        told = "No pair could be judged on both sides, so nothing can be said."
    elif not pair.only_a + pair.only_b:
        told = f"{now.name} and {was.name} are right and wrong in the same cells."
    elif pair.p < history.SURE:
        told = (
            f"Where the two differ, {winner.name} is right {better} times and the other {worse} times. If both were "
            f"equally good, luck would split them as unevenly in {_odds(pair.p)}: {winner.name} is better."
        )
    else:
        told = (
            f"Where the two differ, {winner.name} is right {better} times and the other {worse} times. Luck alone "
            f"does that in {_odds(pair.p)}, so neither is shown to be better."
        )
    firsts = looks.plural(now.first_try.n if now.first_try else 0, "cell")
    why = (
        f"The figure in the rows counts {firsts} of the first seed, what you get at the first try; the "
        f"comparison counts every picture that both cards drew with the same words and seed, {many} pairs, because "
        "more pairs tell a difference from luck."
    )
    return [told, why] if len(seen.seeds) > 1 else [told]


def _odds(p: float) -> str:
    share = f"{p:.0%}" if p >= 0.01 else f"{p:.1%}"
    return "less than 1 of 1000 cases (p < 0.001)" if p < 0.001 else f"{share} of all cases (p = {p:.3f})"


# ── drift ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Dot:
    """Holds one point of a chart, with its coordinates in SVG units.

    `name` is the version's name, `told` its value as text. `low` and `high` are the y coordinates of the ends of its
    confidence interval.
    """

    name: str
    told: str
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Value:
    """Holds a version's value in a chart, and the ends of its confidence interval; `name` is the version's name.

    Without an interval `low` and `high` are the value itself.
    """

    name: str
    value: float
    low: float
    high: float


def draw_drift(desk: Desk) -> Markup:
    """Returns as HTML how quality changed from version to version: in words, and as up to four small charts.

    Each chart has a point for each version. They show the share of evaluation pictures of the first seed that are
    right, the similarity to the originals, the share of near copies of an original, and the share of originals among
    the training examples. The HTML is empty while there are fewer than two versions beside the base model.
    """
    chapters = history.story(desk)
    if sum(each.version is not None for each in chapters) < 2:
        return Markup()
    ordered = list(reversed(chapters))
    spreads = [(each.name, each.likeness) for each in ordered if each.likeness]
    likeness = [Value(name, spread.middle, spread.low, spread.high) for name, spread in spreads]
    originals = [Value(each.name, each.real, each.real, each.real) for each in ordered if each.real is not None]
    charts = [
        ("right on the first try", _rates(ordered, [each.first_try for each in ordered]), True),
        ("likeness to the originals", likeness, False),
        ("near copies of an original", _rates(ordered, [each.copies for each in ordered]), True),
        ("originals among what it learned from", originals, True),
    ]
    drawn = [(title, *_placed(values, shares)) for title, values, shares in charts if values]
    return view(
        "character", "drift", charts=drawn, signs=history.drift(desk.store, chapters), width=_WIDTH, height=_HEIGHT
    )


def _rates(chapters: Sequence[Chapter], rates: Sequence[Rate | None]) -> list[Value]:
    pairs = zip(chapters, rates, strict=True)
    return [Value(each.name, rate.rate, rate.low, rate.high) for each, rate in pairs if rate and rate.rate is not None]


def _placed(values: Sequence[Value], shares: bool) -> tuple[list[Dot], str, tuple[str, str]]:
    """Returns a chart's points, its line as an SVG path, and the labels of the scale's lower and upper end.

    `shares`: the values are shares, shown in percent on a scale of 0 to 1.
    """
    low = 0.0 if shares else min(0.0, *(each.low for each in values))
    high = 1.0 if shares else max(1.0, *(each.high for each in values))
    wide = (_WIDTH - _LEFT - 44) / max(1, len(values) - 1)

    def place(value: float) -> float:
        return 16 + (_HEIGHT - _FOOT - 22) * (1 - (value - low) / ((high - low) or 1.0))

    dots = [
        Dot(
            each.name,
            f"{each.value:.0%}" if shares else f"{each.value:.2f}",
            _LEFT + at * wide,
            place(each.value),
            place(each.low),
            place(each.high),
        )
        for at, each in enumerate(values)
    ]
    line = "M" + " L".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in dots)
    return dots, line, (f"{low:.0%}", f"{high:.0%}") if shares else (f"{low:.1f}", f"{high:.1f}")
