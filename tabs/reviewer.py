"""The review-only app: a queue and three verdicts behind a password; no path, name or endpoint of the studio."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from engines.crops import Crop, cut
from engines.errors import UserError
from studio.flywheel import review
from studio.nouns import ImageRecord, Verdict
from studio.store import Store
from studio.studio import Studio
from tabs.common import looks
from tabs.common.shell import html

TITLE = "Review"
SIDE = 1024
VERDICTS = {
    "good": ("a", "good", Verdict.GOOD, "Good"),
    "correct": ("c", "warn", Verdict.NEEDS_CORRECTION, "Needs correction"),
    "reject": ("x", "bad", Verdict.REJECT, "Reject"),
}
Heard = tuple[str, int]  # a page, and the number of the last message that came from it
_QUIET: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}


def build(studio: Studio, character_id: str, alive: Callable[[], bool]) -> gr.Blocks:
    """The page that a reviewer sees; after the link has ended (`alive` is false) it answers nothing more."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as demo:
        skipped, heard = gr.State(()), gr.State(("", 0))
        stage = html(elem_id="review-stage")

        def show(skips: tuple[str, ...], last: Heard, request: gr.Request) -> str:
            return page(studio, character_id, reviewer_name(request), skips, last) if alive() else closed()

        def act(
            event: gr.EventData, skips: tuple[str, ...], last: Heard, request: gr.Request
        ) -> tuple[str, tuple[str, ...], Heard]:
            if not alive():
                return closed(), (), last
            name, data = reviewer_name(request), dict(event._data or {})
            here = (str(data.get("token", "")), int(data.get("n", 0)))
            for key in data.get("keys", ()) if here != last else ():
                skips = vote(studio, character_id, name, key, skips)
            return page(studio, character_id, name, skips, here), skips, here

        demo.load(show, [skipped, heard], [stage], **_QUIET)
        stage.act(act, [skipped, heard], [stage, skipped, heard], **_QUIET)
        demo.queue(api_open=False)
    return demo


def reviewer_name(request: gr.Request) -> str:
    """Who is voting: the name that was logged in with."""
    return f"guest:{request.username or 'unknown'}"


def closed() -> str:
    """What is left when the link has ended."""
    return looks.empty("This review link has ended. Thank you for your help.")


def page(studio: Studio, character_id: str, reviewer: str, skipped: tuple[str, ...], heard: Heard = ("", 0)) -> str:
    """The next picture beside its source, what was asked, and the buttons."""
    token, number = heard
    desk = f'<div data-desk data-of="guest" data-token="{looks.esc(token)}" data-n="{number}">'
    return f'{desk}<p class="fl-said" data-said role="alert"></p>{_desk(studio, character_id, reviewer, skipped)}</div>'


def _desk(studio: Studio, character_id: str, reviewer: str, skipped: tuple[str, ...]) -> str:
    store = studio.store(character_id)
    queue = waiting(studio, character_id, reviewer, skipped)
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
    source = _picture(store, shown.parent, shown.source_crop, "source")
    side = f'<figure data-hold="s" data-keylabel="compare with the source">{source}'
    side += "<figcaption>made from this (hold s)</figcaption></figure>" if shown.parent else "</figure>"
    asked = "".join(f"<dt>{looks.esc(name)}</dt><dd>{looks.esc(value)}</dd>" for name, value in shown.asked.items())
    main = _picture(store, shown.id, shown.crop, "the picture to judge", 'class="fl-main" data-main')
    return (
        f"{head}{back}{_ids('data-ahead', [shown.id])}"
        f'<div class="fl-stage" data-stage data-id="{looks.esc(shown.id)}"><div>{main}'
        f'<div class="fl-verdicts">{buttons}{skip}{undo}</div></div>'
        f'<div><div class="fl-beside">{side}</div><p class="fl-quiet">asked for</p>'
        f'<dl class="fl-facts">{asked}</dl></div></div>'
    )


def _ids(name: str, ids: list[str]) -> str:
    """Pictures as the page's desk takes them, here without an address: a reviewer sees only what was sent."""
    return f'<i hidden {name}="{looks.esc(json.dumps([[each, ""] for each in ids]))}"></i>'


def waiting(studio: Studio, character_id: str, reviewer: str, skipped: tuple[str, ...]) -> list[ImageRecord]:
    """What this reviewer sees next; skipped ones last."""
    found = review.next(studio, character_id, reviewer=reviewer, count=len(skipped) + 1)
    return [each for each in found if each.id not in skipped] or found


def vote(
    studio: Studio, character_id: str, reviewer: str, data: dict[str, Any], skipped: tuple[str, ...]
) -> tuple[str, ...]:
    """One vote, skip or undo; only a picture that waits in the queue can be voted on."""
    act, image = str(data.get("act")), str(data.get("id", ""))
    try:
        if act == "undo":
            review.undo(studio, character_id, reviewer=reviewer)
        elif image in {each.id for each in studio.store(character_id).pending()}:
            if act in VERDICTS:
                review.decide(studio, character_id, image, VERDICTS[act][2], reviewer=reviewer)
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
    data = base64.b64encode(kept.getvalue()).decode("ascii")
    return f'<img {more} alt="{looks.esc(alt)}" src="data:image/webp;base64,{data}">'
