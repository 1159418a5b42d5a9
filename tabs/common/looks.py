"""One visual language: small pure functions from values to HTML that is safe to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from engines.api.errors import UserError
from engines.api.params import Params
from engines.api.protocols import ModelSpec
from studio.gpu.budget import Fit
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.words import mended
from studio.store import Store

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
    Kind.CARD: "model card",
    Kind.PREVIEW: "training sample",
}


GONE = "The file of this picture is missing or damaged. Put it back from a backup, or trash the picture."


def esc(value: object) -> str:
    """Any value as text that cannot become markup."""
    return escape(mended(str(value)), quote=True)


def attributes(values: Mapping[str, object]) -> str:
    """`{"data-act": "open"}` as attributes; empty values are left out."""
    return "".join(f' {name}="{esc(value)}"' for name, value in values.items() if value not in ("", None, False))


def file_url(path: Path) -> str:
    """Where the page finds a picture that lies in an allowed folder."""
    return f"/gradio_api/file={quote(path.as_posix())}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(nbytes: float) -> str:
    """Bytes as a person says them."""
    if nbytes >= 1 << 30:
        return f"{nbytes / (1 << 30):.1f} GiB"
    if nbytes >= 1 << 20:
        return f"{nbytes / (1 << 20):.0f} MiB"
    return f"{max(nbytes, 0) / 1024:.0f} KiB"


def why(spec: ModelSpec, kind: type[Params]) -> str:
    """Where a model's own values come from; nothing where its row does not say."""
    words = spec.why.get(kind.__name__, "")
    return f'<p class="fl-quiet">Why these values: {esc(words)}</p>' if words else ""


def share(part: float | None) -> str:
    """A rate as a person says it; None is one that nobody could tell."""
    return "?" if part is None else f"{part:.0%}"


def chance(p: float) -> str:
    """A p-value as papers give it: never as 0."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 picture`, `2 pictures`; `many` where it is not the one with an s: `1 needs care`, `2 need care`."""
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"


def chip(text: object, tone: str = "", title: str = "") -> str:
    """A small rounded word."""
    return f'<span class="fl-chip {tone}"{attributes({"title": title})}>{esc(text)}</span>'


def fit(found: Fit) -> str:
    """Whether a job fits in memory, what each stage needs, and what has to go for it."""
    tone = {"fits": "good", "tight": "warn"}.get(found.level, "bad")
    details = f'<small class="fl-quiet">{esc(found.details)}</small>' if found.ok and found.details else ""
    return f"{chip(found.words, tone, found.details)}{details}"


def button(
    text: str, act: str = "", *, tone: str = "", key: str = "", hint: str = "", off: bool = False, **data: object
) -> str:
    """A button whose click reaches Python as an act; `key` is its key on the keyboard, `off` takes no click."""
    values: dict[str, object] = {
        "data-act": act,
        "data-key": key,
        "data-keylabel": hint or text if key else "",
        "title": hint,
    }
    values |= {f"data-{name.replace('_', '-')}": value for name, value in data.items()}
    shown = f"<kbd>{esc(_KEYS.get(key, key))}</kbd>" if key else ""
    state = " disabled" if off else ""
    return f'<button type="button" class="fl-button {tone}"{attributes(values)}{state}>{shown}{esc(text)}</button>'


def close() -> str:
    """A small × that closes what it stands in."""
    return button("✕", "quiet", tone="small fl-x", hint="close")


def go(text: str, tab: str) -> str:
    """A button that opens a tab."""
    return f'<button type="button" class="fl-button accent" data-tab="{esc(tab)}">{esc(text)}</button>'


def empty(sentence: str, extra: str = "") -> str:
    """What stands where nothing is yet: the next step in one sentence."""
    return f'<div class="fl-empty"><p>{esc(sentence)}</p>{extra}</div>'


def waiting() -> str:
    """What stands where something is about to be, while models are looked up for the first time."""
    return '<div class="fl-empty fl-waiting" role="status"><p>One moment …</p></div>'


def trouble(error: UserError) -> str:
    """An expected failure: what is wrong, and what to do about it."""
    return f'<div class="fl-trouble"><b>{esc(error.cause)}</b><span>{esc(error.hint)}</span></div>'


def bar(part: float, whole: float, tone: str = "accent", title: str = "") -> str:
    """How much of a whole."""
    width = 0.0 if whole <= 0 else min(max(part / whole, 0.0), 1.0) * 100
    return f'<span class="fl-bar {tone}"{attributes({"title": title})}><i style="width:{width:.1f}%"></i></span>'


def check(label: str, ok: bool, hint: str = "") -> str:
    """One line of a checklist."""
    mark = '<b class="good">✓</b>' if ok else '<b class="warn">✗</b>'
    more = f"<small>{esc(hint)}</small>" if hint and not ok else ""
    return f'<li class="fl-check">{mark}<span>{esc(label)}{more}</span></li>'


def score(value: float | None, floor: float | None = None, ceiling: float | None = None) -> str:
    """Likeness as a bar; the mark is the lowest that the originals reach among themselves."""
    if value is None:
        return chip("no face", "warn", "The scorer found nothing to compare.")
    tone = "" if floor is None else ("good" if value >= floor else "bad")
    marks = "".join(
        f'<u style="left:{min(max(at, 0), 1) * 100:.0f}%" title="{esc(name)} {at:.2f}"></u>'
        for at, name in ((floor, "floor"), (ceiling, "copy ceiling"))
        if at is not None
    )
    width = min(max(value, 0), 1) * 100
    return f'<span class="fl-score {tone}"><i style="width:{width:.0f}%"></i>{marks}</span><small>{value:.2f}</small>'


def latest_score(record: ImageRecord) -> tuple[bool, float | None]:
    """Whether a picture was scored at all, and the likeness (None: nothing to compare)."""
    return bool(record.scores), record.likeness


def describe(record: ImageRecord) -> str:
    """A picture in words, for those who cannot see it."""
    tags = ", ".join(str(value) for value in record.tags.values() if value)
    return record.caption or tags or record.name or f"{KIND_WORDS[record.kind]} picture"


def full(store: Store, image_id: str, crop: Sequence[float] = ()) -> Path | None:
    """A picture in full size, or a part of it; None where it cannot be read."""
    try:
        return store.view(image_id, crop)
    except UserError:
        return None


def thumb(store: Store, image_id: str, crop: Sequence[float] = ()) -> Path | None:
    """A picture's thumbnail, or that of a part of it; None where its file cannot be read."""
    try:
        return store.thumb(image_id, crop) if store.path(image_id) else None
    except UserError:
        return None


def picture(path: Path | None, alt: str, *, classes: str = "", lazy: bool = True) -> str:
    """One image element; words where there is no file to show."""
    if path is None:
        return f'<span class="fl-empty {classes}" role="img" aria-label="{esc(alt)}">{GONE}</span>'
    return f'<img class="{classes}" src="{file_url(path)}" alt="{esc(alt)}"{" loading=lazy" if lazy else ""}>'


def compare(before: Path | None, after: Path | None, alt: str) -> str:
    """Two pictures in one frame, the first left of a handle and the second right of it."""
    return (
        f'<div class="fl-compare">{picture(before, "source", lazy=False)}{picture(after, alt, lazy=False)}'
        '<input type="range" min="0" max="100" value="50" aria-label="how much of the source to show">'
        "<span>source</span><span>result</span></div>"
    )


def tile(
    record: ImageRecord,
    thumb: Path | None,
    *,
    badges: str = "",
    act: str = "open",
    chosen: bool = False,
    pick: bool = True,
) -> str:
    """A picture in a gallery: click opens it, its corner selects it."""
    classes = f"fl-tile {TONES[record.state]}{' chosen' if chosen else ''}{' dim' if record.filtered else ''}"
    corner = (
        f'<button type="button" class="fl-pick" data-pick="{esc(record.id)}" aria-label="select this picture"></button>'
    )
    return (
        f'<figure class="{classes}" data-id="{esc(record.id)}"{attributes({"title": record.name})}>'
        f'<button type="button" class="fl-open" data-act="{act}" data-id="{esc(record.id)}">'
        f"{picture(thumb, describe(record))}</button>{corner if pick else ''}"
        f"<figcaption>{badges}</figcaption></figure>"
    )


def grid(tiles: Iterable[str], size: str = "") -> str:
    """Tiles in as many columns as fit."""
    return f'<div class="fl-grid {size}">{"".join(tiles)}</div>'


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A quiet table; cells are HTML already."""
    head = "".join(f"<th>{esc(name)}</th>" for name in headers)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="fl-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def panel(title: str, body: str, aside: str = "") -> str:
    """A titled block."""
    return f'<section class="fl-panel"><header><h2>{esc(title)}</h2>{aside}</header>{body}</section>'
