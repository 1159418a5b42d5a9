"""The search of the Curate gallery: by kind, by words, by filters, and in an order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby

import gradio as gr

from engines.api.axes import AROUND, ELEVATIONS, EXPRESSIONS, FRAMINGS
from studio.flywheel.curate.captions import BY_PEOPLE
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from tabs.common import looks

SHOWN: Mapping[str, tuple[Kind, ...] | None] = {
    "All pictures": None,
    "My pictures": (Kind.SOURCE,),
    "Enriched": (Kind.ENRICHED, Kind.CORRECTION),
    "Generated": (Kind.SYNTHETIC,),
    "Trash": (),
}
USABLE = (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)
ADVICE = ("blurred", "dark", "bright", "small", "duplicate", "cut")
_PARTS = re.compile(r"(\d+)")

Test = Callable[[ImageRecord], bool]


def _says(axis: str, value: str, image: ImageRecord) -> bool:
    return value in image.advice if axis == "advice" else image.tags.get(axis) == value


# Choices of one group (the words before the colon) widen the search, those of different groups narrow it.
FILTERS: Mapping[str, Test] = {
    "★ starred": lambda image: image.star,
    "verdict: to review": lambda image: image.state is Verdict.PENDING and image.kind is not Kind.SOURCE,
    "verdict: good": lambda image: image.state is Verdict.GOOD,
    "verdict: needs correction": lambda image: image.state is Verdict.NEEDS_CORRECTION,
    "verdict: rejected": lambda image: image.state is Verdict.REJECT,
    "verdict: set aside": lambda image: image.filtered,
    "caption: missing": lambda image: not image.caption.strip(),
    "caption: by people": lambda image: bool(image.caption) and image.caption_by in BY_PEOPLE,
    "caption: by a model": lambda image: bool(image.caption) and image.caption_by not in BY_PEOPLE,
    **{f"angle: {each}": partial(_says, "angle", each) for each in AROUND},
    **{f"expression: {each}": partial(_says, "expression", each) for each in EXPRESSIONS},
    **{f"framing: {each}": partial(_says, "framing", each) for each in FRAMINGS},
    **{f"elevation: {each}": partial(_says, "elevation", each) for each in ELEVATIONS},
    **{f"advice: {each}": partial(_says, "advice", each) for each in ADVICE},
    "part: cropped": lambda image: bool(image.crop),
    "part: masked": lambda image: bool(image.mask),
}


def _likeness(image: ImageRecord) -> float:
    return -1.0 if image.likeness is None else image.likeness


def _sharpness(image: ImageRecord) -> float:
    return float(image.measures.get("sharpness", 0.0))


def by_name(image: ImageRecord) -> tuple[bool, list[tuple[bool, int, str]]]:
    """Returns a sort key by which `a_2` comes before `a_10`, and pictures without a name come last."""
    parts = _PARTS.split(image.name.lower())
    return not image.name, [(not part.isdigit(), int(part) if part.isdecimal() else 0, part) for part in parts]


_ORDERS: Mapping[str, Callable[[list[ImageRecord]], list[ImageRecord]]] = {
    "oldest first": lambda found: found,
    "newest first": lambda found: found[::-1],
    "name": lambda found: sorted(found, key=by_name),
    "most like": lambda found: sorted(found, key=_likeness, reverse=True),
    "least like": lambda found: sorted(found, key=_likeness),
    "sharpest first": lambda found: sorted(found, key=_sharpness, reverse=True),
    "softest first": lambda found: sorted(found, key=_sharpness),
}
SORTS = tuple(_ORDERS)


class Widgets:
    """Holds the fields of the search; its constructor lays them out in the current Gradio block.

    `fields` are the widgets in the order of the parameters of `find`, from `kind` on. `changes` are their events on
    which the gallery is rendered again.
    """

    def __init__(self) -> None:
        with gr.Row():
            self.kind = gr.Dropdown(list(SHOWN), value="My pictures", label="Show", min_width=130)
            order = gr.Dropdown(list(SORTS), value=SORTS[0], label="Order", min_width=130, elem_id="curate-order")
            self.words = gr.Textbox(
                label="Find", placeholder="words, tags, names", min_width=180, elem_id="curate-find"
            )
            self.only = gr.Dropdown(
                list(FILTERS), multiselect=True, label="Filter", min_width=180, elem_id="curate-only"
            )
        self.fields = [self.kind, self.words, order, self.only]
        self.changes = [self.kind.change, self.words.change, order.change, self.only.change]


def find(
    store: Store, kind: str, words: str, order: str = SORTS[0], only: Sequence[str] | None = None
) -> list[ImageRecord]:
    """Returns the pictures of a kind that match all words and pass the filters, sorted.

    `kind` is one of SHOWN and `order` one of SORTS. Each of the `words` has to occur in one of the picture's texts,
    such as its caption, name, tags or model; case does not matter. `only` are names of FILTERS, None for no filter.
    Filters form groups, such as those of the verdict. In every group that occurs in `only`, a picture has to pass at
    least one of the chosen filters.
    """
    found = of_kind(store, kind)
    wanted = words.lower().split()
    chosen = sorted(label for label in only or () if label in FILTERS)
    tests = [list(same) for _, same in groupby(chosen, key=lambda label: label.split(":")[0])]
    versions = {each.id: each.name for each in store.versions.all()}
    matching = []
    for image in found:
        told = [image.caption, image.name, image.model, versions.get(image.version, ""), looks.WORDS[image.state]]
        searched = " ".join([*told, *image.tags.values(), *image.asked.values(), *image.advice]).lower()
        passes = all(any(FILTERS[label](image) for label in same) for same in tests)
        if passes and all(word in searched for word in wanted):
            matching.append(image)
    return _ORDERS.get(order, _ORDERS[SORTS[0]])(matching)


def of_kind(store: Store, kind: str) -> list[ImageRecord]:
    """Returns all pictures of a kind, oldest first; `kind` is a choice of the gallery, one of SHOWN."""
    kinds = SHOWN[kind]
    return store.select(trashed=True) if kinds == () else store.select(kinds or USABLE)
