"""The HTML of the page: pure functions that turn values into markup that is safe to show.

Views are autoescaped Jinja templates in tabs/views; Python passes values to them and writes no markup itself. The name
`looks` in a template is this module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from engines.api.errors import UserError
from engines.api.params import Params
from engines.api.protocols import ModelSpec
from studio.gpu.budget import Fit
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import BYTES, Job
from studio.records.outcome import Outcome
from studio.records.words import mended
from studio.store import Store

VIEWS = Path(__file__).resolve().parent.parent / "views"
MARKS: Mapping[Outcome, tuple[str, str]] = {
    Outcome.PASS: ("✓", "good"),
    Outcome.FAIL: ("✗", "bad"),
    Outcome.UNKNOWN: ("?", "warn"),
}
TONES: Mapping[Verdict, str] = {
    Verdict.GOOD: "good",
    Verdict.NEEDS_CORRECTION: "warn",
    Verdict.REJECT: "bad",
    Verdict.PENDING: "",
}
WORDS: Mapping[Verdict, str] = {
    Verdict.GOOD: "good",
    Verdict.NEEDS_CORRECTION: "needs correction",
    Verdict.REJECT: "rejected",
    Verdict.PENDING: "to review",
}
_KEYS = {" ": "space", "Backspace": "⌫", "Escape": "Esc", "Delete": "Del"}
KIND_WORDS: Mapping[Kind, str] = {
    Kind.SOURCE: "source",
    Kind.ENRICHED: "enriched",
    Kind.SYNTHETIC: "generated",
    Kind.CORRECTION: "correction",
    Kind.PAIR: "imported edit",
    Kind.CARD: "model card",
    Kind.PREVIEW: "training sample",
    Kind.GUIDE: "guide",
}


GONE = "The file of this picture is missing or damaged. Put it back from a backup, or trash the picture."


def view(template: str, name: str, /, **values: Any) -> Markup:
    """Returns a template's macro as HTML, with `values` as the macro's arguments.

    `template` is the name of a file in tabs/views without `.html`, `name` that of the macro.
    """
    macro = getattr(_environment().get_template(f"{template}.html").module, name)
    return Markup(macro(**values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(VIEWS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals["looks"] = sys.modules[__name__]
    return environment


def _shown(value: Any) -> Any:
    """Returns a value as a template prints it: "" for None, and `?` for control characters."""
    if value is None:
        return ""
    return mended(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def esc(value: object) -> Markup:
    """Returns any value as escaped text, which cannot become markup."""
    return escape(mended(str(value)))


def attributes(values: Mapping[str, object]) -> Markup:
    """Returns a mapping such as `{"data-act": "open"}` as HTML attributes; empty values are left out."""
    return view("looks", "attributes", values=values)


def file_url(path: Path) -> str:
    """Returns the URL under which Gradio serves a file of an allowed folder."""
    return f"/gradio_api/file={quote(path.as_posix())}"


def duration(seconds: float) -> str:
    """Returns seconds as text: `12 s`, `3 min 20 s`, `45 min` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(nbytes: float) -> str:
    """Returns bytes as text in GiB, MiB or KiB."""
    if nbytes >= 1 << 30:
        return f"{nbytes / (1 << 30):.1f} GiB"
    if nbytes >= 1 << 20:
        return f"{nbytes / (1 << 20):.0f} MiB"
    return f"{max(nbytes, 0) / 1024:.0f} KiB"


def why(spec: ModelSpec, kind: type[Params]) -> Markup:
    """Returns as HTML a note on the source of a model's default values; empty where the registry names no source.

    `kind` is the class of parameters whose defaults are meant, such as `TrainParams`.
    """
    words = spec.why.get(kind.__name__, "")
    return view("looks", "why", words=words) if words else Markup()


def counted(job: Job) -> str:
    """Returns how far a job is as text: `17/60`, or `1.2 GiB of 23.8 GiB` for a download."""
    if job.unit == BYTES:
        return f"{amount(job.step)} of {amount(job.total)}"
    return f"{job.step}/{job.total or '?'}"


def pace(job: Job) -> str:
    """Returns how fast a job is as text: `1.9 s each`, or `12 MiB a second`; "" where it is not known."""
    if not job.rate:
        return ""
    if job.unit == BYTES:
        return f"{amount(1 / job.rate)} a second"
    return f"{job.rate:.1f} s each" if job.rate >= 0.1 else f"{job.rate * 1000:.0f} ms each"


def share(part: float | None) -> str:
    """Returns a rate of 0…1 as text in percent; `?` for None, an unknown rate."""
    return "?" if part is None else f"{part:.0%}"


def chance(p: float) -> str:
    """Returns a p-value as text: `p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def plural(count: int, one: str, many: str = "") -> str:
    """Returns a count with its noun: `1 picture`, `2 pictures`; `many` is the plural if it is not `one` with an s."""
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"


def chip(text: object, tone: str = "", title: str = "") -> Markup:
    """Returns a small rounded label as HTML.

    `tone` is its colour (good, warn, bad, accent, "" for grey), `title` its tooltip.
    """
    return view("looks", "chip", text=text, tone=tone, title=title)


def fit(found: Fit) -> Markup:
    """Returns a memory check as HTML: whether the job fits into GPU memory, and what each of its stages needs.

    It also names the idle models that will be unloaded for the job. Where a needed model is not on this machine, the
    HTML is empty.
    """
    return view("looks", "fit", found=found, tone={"fits": "good", "tight": "warn"}.get(found.level, "bad"))


def button(
    text: str, act: str = "", *, tone: str = "", key: str = "", hint: str = "", off: bool = False, **data: object
) -> Markup:
    """Returns a button as HTML; a click sends `act` and `data` to the page's handler in Python.

    `act` names the action. `key` is the keyboard key that also triggers the button, `hint` its tooltip, `tone` its CSS
    classes; `off` disables it.
    """
    values: dict[str, object] = {
        "data-act": act,
        "data-key": key,
        "data-keylabel": hint or text if key else "",
        "title": hint,
    }
    values |= {f"data-{name.replace('_', '-')}": value for name, value in data.items()}
    return view("looks", "button", text=text, tone=tone, values=values, key=_KEYS.get(key, key), off=off)


def close() -> Markup:
    """Returns as HTML a small × that closes the panel around it."""
    return button("✕", "quiet", tone="small fl-x", hint="close")


def go(text: str, tab: str, accent: bool = True) -> Markup:
    """Returns as HTML a button that opens a tab by its name; with `accent` it is highlighted as the next step."""
    return view("looks", "go", text=text, tab=tab, accent=accent)


def empty(sentence: str, extra: str = "") -> Markup:
    """Returns the placeholder of an empty block as HTML: a sentence on the next step, and `extra`, HTML below it."""
    return view("looks", "empty", sentence=sentence, extra=extra)


def waiting() -> Markup:
    """Returns as HTML the text “One moment …”, the placeholder of a block that was not rendered yet."""
    return view("looks", "waiting")


def trouble(error: UserError) -> Markup:
    """Returns an expected failure as HTML: its cause and what to do about it."""
    return view("looks", "trouble", error=error)


def bar(part: float, whole: float, tone: str = "accent", title: str = "") -> Markup:
    """Returns as HTML a bar that is filled by `part` of `whole`; `tone` is its colour, `title` its tooltip."""
    width = 0.0 if whole <= 0 else min(max(part / whole, 0.0), 1.0) * 100
    return view("looks", "bar", width=f"{width:.1f}", tone=tone, title=title)


def check(label: str, ok: bool, hint: str = "") -> Markup:
    """Returns one line of a checklist as HTML, with a mark for `ok`; `hint` says what to do where it is not."""
    return view("looks", "check", label=label, ok=ok, hint=hint)


def score(value: float | None, floor: float | None = None, ceiling: float | None = None) -> Markup:
    """Returns a similarity as HTML: a bar with a mark at `floor` and one at `ceiling`.

    From `floor` on a picture counts as showing the character, from `ceiling` on as a mere copy of an original; None
    draws no mark. For a `value` of None, which means that no face was found, the HTML is a label instead.
    """
    if value is None:
        return chip("no face", "warn", "The scorer found nothing to compare.")
    tone = "" if floor is None else ("good" if value >= floor else "bad")
    marks = [
        (f"{min(max(at, 0), 1) * 100:.0f}", f"{name} {at:.2f}")
        for at, name in ((floor, "floor"), (ceiling, "copy ceiling"))
        if at is not None
    ]
    width = f"{min(max(value, 0), 1) * 100:.0f}"
    return view("looks", "score", value=f"{value:.2f}", tone=tone, width=width, marks=marks)


def latest_score(record: ImageRecord) -> tuple[bool, float | None]:
    """Returns whether a picture was scored, and its similarity to the originals, None where no face was found."""
    return bool(record.scores), record.likeness


def describe(record: ImageRecord) -> str:
    """Returns a picture's description as text, for screen readers: its caption, else its tags, its name or its kind."""
    tags = ", ".join(str(value) for value in record.tags.values() if value)
    return record.caption or tags or record.name or f"{KIND_WORDS[record.kind]} picture"


def full(store: Store, image_id: str, crop: Sequence[float] = ()) -> Path | None:
    """Returns the path of the file that shows a picture in full size; None where the picture cannot be read.

    `crop` selects a part of it (left, top, right, bottom, 0…1); empty for the whole picture.
    """
    try:
        return store.view(image_id, crop)
    except UserError:
        return None


def thumb(store: Store, image_id: str, crop: Sequence[float] = ()) -> Path | None:
    """Returns the path of a picture's thumbnail; None where the picture cannot be read.

    `crop` selects a part of it (left, top, right, bottom, 0…1); empty for the whole picture.
    """
    try:
        if store.images.get(image_id).emptied:  # of some the thumbnail is kept
            return store.thumb(image_id)
        return store.thumb(image_id, crop) if store.path(image_id) else None
    except UserError:
        return None


def picture(path: Path | None, alt: str, *, classes: str = "", lazy: bool = True, enlarge: str = "") -> Markup:
    """Returns a picture as HTML; for a `path` of None a note that the file is missing.

    `alt` is the text for screen readers, `classes` are CSS classes. With `lazy` the browser loads the picture only when
    it scrolls into view. `enlarge` is the id of the picture that a click opens in the viewer, "" for none.
    """
    if path is None:
        shown = view("looks", "gone", alt=alt, classes=classes, words=GONE)
    else:
        shown = view("looks", "picture", url=file_url(path), alt=alt, classes=classes, lazy=lazy)
    return view("looks", "enlarge", id=enlarge, shown=shown) if enlarge else shown


def compare(before: Path | None, after: Path | None, alt: str, names: tuple[str, str] = ("source", "result")) -> Markup:
    """Returns two pictures on top of each other as HTML, with a slider that sets how much of each is visible.

    `alt` describes the second picture; `names` are the words under both. For a path of None a note says that the file
    is missing.
    """
    shown = picture(before, names[0], lazy=False), picture(after, alt, lazy=False)
    return view("looks", "compare", before=shown[0], after=shown[1], names=names)


def tile(
    record: ImageRecord,
    thumb: Path | None,
    *,
    badges: str = "",
    act: str = "",
    chosen: bool = False,
    pick: bool = True,
) -> Markup:
    """Returns a picture of a gallery as HTML.

    A click sends `act` to Python, and a button in one corner enlarges the picture; for an `act` of "" a click enlarges
    it. With `pick` a button in another corner selects the picture for changes of many at once. `thumb` is the
    thumbnail's path, `badges` the HTML under the picture; `chosen` marks it as open.
    """
    classes = f"fl-tile {TONES[record.state]}{' chosen' if chosen else ''}{' dim' if record.filtered else ''}"
    shown = picture(thumb, describe(record))
    return view(
        "looks",
        "tile",
        id=record.id,
        classes=classes,
        title=record.name,
        act=act,
        shown=shown,
        badges=badges,
        pick=pick,
    )


def grid(tiles: Iterable[str], size: str = "") -> Markup:
    """Returns tiles as HTML in a grid with as many columns as fit.

    `size` is that of the tiles: `small`, `large`, or "" for medium.
    """
    return view("looks", "grid", tiles=list(tiles), size=size)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """Returns a table as HTML; a cell of the type `Markup` is inserted as HTML, any other cell is escaped."""
    return view("looks", "table", headers=headers, rows=list(rows))


def panel(title: str, body: str, aside: str = "") -> Markup:
    """Returns a titled block as HTML; `body` is the content below the title, `aside` what stands beside the title."""
    return view("looks", "panel", title=title, body=body, aside=aside)
