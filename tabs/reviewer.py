"""The review-only app: a queue and three verdicts behind a password, without the studio's paths or endpoints."""

from __future__ import annotations

import base64
import io
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.crops import Crop, cut
from engines.api.errors import UserError
from studio.flywheel import review
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import html
from tabs.entrance import Term
from tabs.review import REASONS, nearest, upcoming

TITLE = "Review"
SIDE = 1024
REFERENCES = 3
VERDICTS = {
    "good": ("a", "good", Verdict.GOOD, "Good"),
    "correct": ("c", "warn", Verdict.NEEDS_CORRECTION, "Needs correction"),
    "reject": ("x", "bad", Verdict.REJECT, "Reject"),
}
_MEANING = (
    ("Good", "it is the same {subject}, all that was asked for is there, and nothing looks broken."),
    ("Needs correction", "nearly: one thing is wrong that somebody could mend."),
    ("Reject", "it is not the same {subject}, or much is wrong."),
)
Heard = tuple[str, int]  # the token of a page, and the number of its last message


@dataclass(frozen=True)
class Hand:
    """Holds the state of a guest's page: the ids of skipped pictures, and the reasons for the next vote."""

    skipped: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


_QUIET: dict[str, Any] = {
    "api_visibility": "private",
    "queue": False,
    "show_progress": "hidden",
    "show_progress_on": [],
}


def build(desk: Desk, alive: Term) -> gr.Blocks:
    """Returns the page on which a guest reviews pictures, as a Gradio app.

    `alive` is called to learn whether the review link is open; once the link has ended, the page says only that.
    """
    demo = gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True)
    with demo:
        hand, heard = gr.State(Hand()), gr.State(("", 0))
        stage = html(elem_id="review-stage")

        def show(held: Hand, last: Heard, request: gr.Request) -> str:
            return page(desk, str(request.username), held, last) if alive() else closed()

        def act(event: gr.EventData, held: Hand, last: Heard, request: gr.Request) -> tuple[str, Hand, Heard]:
            name, data = str(request.username), dict(event._data or {})
            number, pressed = data.get("n", 0), data.get("keys")
            here = str(data.get("token", "")), number if isinstance(number, int) else 0
            keys = [key for key in pressed if isinstance(key, dict)] if isinstance(pressed, list) else []
            with alive.lock:
                if not alive():
                    return closed(), Hand(), last
                for key in keys if here != last else ():
                    held = press(desk, name, key, held)
            return page(desk, name, held, here), held, here

        demo.load(show, [hand, heard], [stage], **_QUIET)
        stage.act(act, [hand, heard], [stage, hand, heard], **_QUIET)
        demo.api_open = False
    return demo


def is_call(body: bytes) -> bool:
    """Returns whether the body of an HTTP request is a valid call of an event handler of the guest's page.

    The page has two event handlers, and each takes two input values.
    """
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
    """Returns as HTML the text that the page shows after the review link has ended."""
    return looks.empty("This review link has ended. Thank you for your help.")


def page(desk: Desk, reviewer: str, hand: Hand, heard: Heard = ("", 0)) -> Markup:
    """Returns as HTML the guest's page: pictures that show the character, the next picture to judge, and the buttons.

    The page also tells what the picture to judge was asked to show. `reviewer` is the guest's name in the records,
    `hand` the state of the guest's page. `heard` holds the id of the browser's page and the number of its last handled
    message; the HTML repeats both, which tells the browser what was handled.
    """
    return view("reviewer", "page", token=heard[0], number=heard[1], stage=_queue(desk, reviewer, hand))


def _queue(desk: Desk, reviewer: str, hand: Hand) -> Markup:
    store = desk.store
    queue = upcoming(desk, hand.skipped, reviewer, 1)
    done = [each for each in store.decisions.all() if each.reviewer == reviewer and not each.undone]
    counts = {
        "name": reviewer.partition(" ")[2],
        "left": len(store.pending()),
        "done": len(done),
        "back": _ids([each.image for each in done[-1:]]),
    }
    if not queue:
        return view("reviewer", "nothing", **counts)
    shown, subject = queue[0], store.character.subject
    return view(
        "reviewer",
        "stage",
        **counts,
        ahead=_ids([shown.id]),
        id=shown.id,
        known=_known(store, shown, subject),
        subject=subject,
        main=_picture(store, shown.id, shown.crop, "the picture to judge", main=True),
        asked=shown.asked,
        meaning=[(name, words.format(subject=subject)) for name, words in _MEANING],
        reasons=[(reason, reason in hand.reasons) for reason in REASONS.values()],
        verdicts=[(name, words, tone, key) for name, (key, tone, _, words) in VERDICTS.items()],
    )


def _ids(ids: list[str]) -> str:
    """Returns pictures as JSON for the page's script, without URLs, because a reviewer can request no file."""
    return json.dumps([[each, ""] for each in ids])


def _known(store: Store, shown: ImageRecord, subject: str) -> Markup:
    """Returns as HTML the source of an edit and originals of the character, each with what it is."""
    source = _picture(store, shown.parent, shown.source_crop, "source")
    first = nearest(store, shown)
    originals = [each for each in store.select(Kind.SOURCE) if each.state is not Verdict.REJECT]
    starred = sorted(originals, key=lambda each: not each.star)
    likely = {each.id: each for each in (*([first] if first else []), *starred) if each.id != shown.parent}
    chosen = list(likely.values())[: REFERENCES - bool(source)]
    pictures = [("made from this", source), *((f"the {subject}", _thumbnail(store, each)) for each in chosen)]
    found = [each for each in pictures if each[1]]
    return view("reviewer", "known", pictures=found) if found else Markup()


def press(desk: Desk, reviewer: str, data: dict[str, Any], hand: Hand) -> Hand:
    """Handles one key or button of a guest and returns the changed state of the guest's page.

    `reviewer` is the guest's name in the records, `data` holds the name of the action and the picture's id. A click on
    a reason adds it to the reasons for the next vote or takes it back; every other key clears the reasons. A vote or
    skip for a picture outside the queue stores nothing. Errors are not shown to a guest: where one occurs, `hand` is
    returned.
    """
    act, image, given = (str(data.get(name, "")) for name in ("act", "id", "reason"))
    if act == "reason":
        kept = tuple(each for each in hand.reasons if each != given)
        wanted = given in REASONS.values() and given not in hand.reasons
        return replace(hand, reasons=(*kept, given) if wanted else kept)
    try:
        if act == "undo":
            review.undo(desk, reviewer=reviewer)
        elif image in {each.id for each in desk.store.pending()}:
            if act in VERDICTS:
                review.decide(desk, image, VERDICTS[act][2], reviewer=reviewer, reasons=hand.reasons)
            elif act == "skip":
                return Hand((*(each for each in hand.skipped if each != image), image))
    except UserError:
        # A reviewer sees no error of the studio; the page shows the picture and its reasons as before.
        return hand
    return Hand(hand.skipped)


def _picture(store: Store, image_id: str, crop: Crop, alt: str, main: bool = False) -> Markup:
    """Returns a picture's crop as HTML with inline data without metadata, because a reviewer can request no file."""
    if not image_id:
        return Markup()
    try:
        picture = cut(store.open_whole(image_id), crop)
    except UserError:  # the error names folders of the studio
        return looks.empty("This picture cannot be shown. Please skip it; the owner can see why.")
    picture.thumbnail((SIDE, SIDE))
    kept = io.BytesIO()
    picture.save(kept, format="WEBP", quality=90)
    return _inline(kept.getvalue(), alt, main)


def _thumbnail(store: Store, original: ImageRecord) -> Markup:
    """Returns the thumbnail of an original, cropped, as HTML; empty where its file cannot be read."""
    with suppress(UserError):
        return _inline(store.thumb(original.id, original.crop).read_bytes(), "the character")
    return Markup()


def _inline(webp: bytes, alt: str, main: bool = False) -> Markup:
    return view("reviewer", "inline", data=base64.b64encode(webp).decode("ascii"), alt=alt, main=main)
