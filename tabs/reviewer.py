"""The review-only app: a queue and three verdicts behind a password; no path, name or endpoint of the studio."""

from __future__ import annotations

import base64
import io
import json
from contextlib import suppress
from typing import Any

import gradio as gr

from engines.api.crops import Crop, cut
from engines.api.errors import UserError
from studio.flywheel import review
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.shell import html
from tabs.entrance import Term
from tabs.review import nearest

TITLE = "Review"
SIDE = 1024
REFERENCES = 3
VERDICTS = {
    "good": ("a", "good", Verdict.GOOD, "Good"),
    "correct": ("c", "warn", Verdict.NEEDS_CORRECTION, "Needs correction"),
    "reject": ("x", "bad", Verdict.REJECT, "Reject"),
}
Heard = tuple[str, int]  # a page, and the number of the last message that came from it
_QUIET: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}


def build(desk: Desk, alive: Term) -> gr.Blocks:
    """The page that a reviewer sees; after the link has ended (`alive` is false) it answers nothing more."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as demo:
        skipped, heard = gr.State(()), gr.State(("", 0))
        stage = html(elem_id="review-stage")

        def show(skips: tuple[str, ...], last: Heard, request: gr.Request) -> str:
            return page(desk, str(request.username), skips, last) if alive() else closed()

        def act(
            event: gr.EventData, skips: tuple[str, ...], last: Heard, request: gr.Request
        ) -> tuple[str, tuple[str, ...], Heard]:
            name, data = str(request.username), dict(event._data or {})
            here = _heard(data)
            with alive.lock:
                if not alive():
                    return closed(), (), last
                for key in _keys(data) if here != last else ():
                    skips = vote(desk, name, key, skips)
            return page(desk, name, skips, here), skips, here

        demo.load(show, [skipped, heard], [stage], **_QUIET)
        stage.act(act, [skipped, heard], [stage, skipped, heard], **_QUIET)
        demo.queue(api_open=False)
    return demo


def is_call(body: bytes) -> bool:
    """Whether this is what the page sends: one of its two handlers, its two inputs, and what was clicked."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return False
    match asked:
        case {"fn_index": 0 | 1, "data": [_, _]}:
            clicked = asked.get("event_data")
            return clicked is None or isinstance(clicked, dict)
    return False


def closed() -> str:
    """What is left when the link has ended."""
    return looks.empty("This review link has ended. Thank you for your help.")


def _heard(data: dict[str, Any]) -> Heard:
    """Which page a message came from, and its number there."""
    number = data.get("n", 0)
    return str(data.get("token", "")), number if isinstance(number, int) else 0


def _keys(data: dict[str, Any]) -> list[dict[str, Any]]:
    """What was pressed, in order."""
    keys = data.get("keys", ())
    return [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []


def page(desk: Desk, reviewer: str, skipped: tuple[str, ...], heard: Heard = ("", 0)) -> str:
    """What the character looks like, the next picture, what was asked, and the buttons."""
    token, number = heard
    stage = f'<div data-desk data-of="guest" data-token="{looks.esc(token)}" data-n="{number}">'
    return f'{stage}<p class="fl-said" data-said role="alert"></p>{_queue(desk, reviewer, skipped)}</div>'


def _queue(desk: Desk, reviewer: str, skipped: tuple[str, ...]) -> str:
    store = desk.store
    queue = waiting(desk, reviewer, skipped)
    done = [each for each in store.decisions.all() if each.reviewer == reviewer and not each.undone]
    head = f'<div class="fl-line"><b>{len(store.pending())} left</b><span>{len(done)} by you</span></div>'
    undo = looks.button("Undo", "undo", key="Backspace") if done else ""
    back = _ids("data-back", [each.image for each in done[-1:]])
    if not queue:
        return f'{head}{back}{looks.empty("Nothing is left to review. Thank you!")}<div class="fl-buttons">{undo}</div>'
    shown = queue[0]
    buttons = "".join(
        looks.button(words, name, tone=tone, key=key, id=shown.id) for name, (key, tone, _, words) in VERDICTS.items()
    )
    skip = looks.button("Skip", "skip", key=" ", id=shown.id)
    asked = "".join(f"<dt>{looks.esc(name)}</dt><dd>{looks.esc(value)}</dd>" for name, value in shown.asked.items())
    wanted = f'<p class="fl-quiet">What was asked for</p><dl class="fl-facts">{asked}</dl>' if asked else ""
    subject = looks.esc(store.character.subject)
    main = _picture(store, shown.id, shown.crop, "the picture to judge", 'class="fl-main" data-main')
    return (
        f"{head}{back}{_ids('data-ahead', [shown.id])}"
        f'<div class="fl-review" data-stage data-id="{looks.esc(shown.id)}">'
        f'<div class="fl-known">{_known(store, shown, subject)}</div><div class="fl-judged">{main}</div>'
        f'<div class="fl-wanted">{wanted}{_meaning(subject)}</div>'
        f'<div class="fl-votes">{buttons}</div><div class="fl-more">{skip}{undo}</div></div>'
    )


def _ids(name: str, ids: list[str]) -> str:
    """Pictures as the page's desk takes them, here without an address: a reviewer sees only what was sent."""
    return f'<i hidden {name}="{looks.esc(json.dumps([[each, ""] for each in ids]))}"></i>'


def _known(store: Store, shown: ImageRecord, subject: str) -> str:
    """The picture that an edit was made from; for one that was drawn from nothing, originals of the character."""
    if shown.parent:
        words, pictures = "Made from this picture", [_picture(store, shown.parent, shown.source_crop, "source")]
    else:
        first = nearest(store, shown)
        originals = [each for each in store.select(Kind.SOURCE) if each.state is not Verdict.REJECT]
        starred = sorted(originals, key=lambda each: not each.star)
        chosen = list({each.id: each for each in (*([first] if first else []), *starred)}.values())[:REFERENCES]
        words, pictures = f"This is the {subject}", [_thumbnail(store, each) for each in chosen]
    figures = "".join(
        f'<figure data-hold="s" data-keylabel="compare with this">{each}</figure>' for each in pictures if each
    )
    hint = '<span class="fl-by-key">hold s, or press it, to compare</span>'
    hint += '<span class="fl-by-touch">hold a finger on it to compare</span>'
    return f'<p class="fl-quiet">{words} · {hint}</p><div>{figures}</div>' if figures else ""


def _meaning(subject: str) -> str:
    rows = (
        ("Good", f"it is the same {subject}, all that was asked for is there, and nothing looks broken."),
        ("Needs correction", "nearly: one thing is wrong that somebody could mend."),
        ("Reject", f"it is not the same {subject}, or much is wrong."),
    )
    listed = "".join(f"<dt>{name}</dt><dd>{words}</dd>" for name, words in rows)
    return f'<p class="fl-quiet">What to choose</p><dl class="fl-facts">{listed}</dl>'


def waiting(desk: Desk, reviewer: str, skipped: tuple[str, ...]) -> list[ImageRecord]:
    """What this reviewer sees next; skipped ones last."""
    found = review.next(desk, reviewer=reviewer, count=len(skipped) + 1)
    return [each for each in found if each.id not in skipped] or found


def vote(desk: Desk, reviewer: str, data: dict[str, Any], skipped: tuple[str, ...]) -> tuple[str, ...]:
    """One vote, skip or undo; only a picture that waits in the queue can be voted on."""
    act, image = str(data.get("act")), str(data.get("id", ""))
    try:
        if act == "undo":
            review.undo(desk, reviewer=reviewer)
        elif image in {each.id for each in desk.store.pending()}:
            if act in VERDICTS:
                review.decide(desk, image, VERDICTS[act][2], reviewer=reviewer)
            elif act == "skip":
                return (*(each for each in skipped if each != image), image)
    except UserError:
        # A reviewer is told nothing of the studio's inside; the page simply shows what is left.
        return skipped
    return skipped


def _picture(store: Store, image_id: str, crop: Crop, alt: str, more: str = "") -> str:
    """A part of a picture inside the page, without its metadata: a reviewer can ask the server for no file at all."""
    if not image_id:
        return ""
    try:
        picture = cut(store.open_whole(image_id), crop)
    except UserError:  # a reviewer is told nothing of the studio's folders
        return looks.empty("This picture cannot be shown. Please skip it; the owner can see why.")
    picture.thumbnail((SIDE, SIDE))
    kept = io.BytesIO()
    picture.save(kept, format="WEBP", quality=90)
    return _inline(kept.getvalue(), alt, more)


def _thumbnail(store: Store, original: ImageRecord) -> str:
    """An original as it was cropped, small; nothing for a picture whose file is gone."""
    with suppress(UserError):
        return _inline(store.thumb(original.id, original.crop).read_bytes(), "the character")
    return ""


def _inline(webp: bytes, alt: str, more: str = "") -> str:
    data = base64.b64encode(webp).decode("ascii")
    return f'<img {more} alt="{looks.esc(alt)}" src="data:image/webp;base64,{data}">'
