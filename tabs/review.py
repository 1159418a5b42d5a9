"""The Review tab: shows one picture at a time, for a verdict by keyboard or button."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import BadInput, NotFound, UserError
from studio.flywheel import review
from studio.flywheel.next_step import next_step
from studio.flywheel.review import Reason
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.review import Decision
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.mending import Bench, can_mend, draw_bar, words_of
from tabs.common.shell import Page, html

REASONS = {"1": "identity", "2": "edit not done", "3": "artifact", "4": "quality"}
VERDICTS = {
    "good": ("a", "good", Verdict.GOOD),
    "correct": ("c", "warn", Verdict.NEEDS_CORRECTION),
    "reject": ("x", "bad", Verdict.REJECT),
}
SAID = (
    (Verdict.GOOD, "good", "good"),
    (Verdict.NEEDS_CORRECTION, "needs correction", "need correction"),
    (Verdict.REJECT, "rejected", "rejected"),
)
HISTORY = 14
PREFETCH = 5
HEARD = 1000  # pages whose last messages are known
AHEAD = 200  # pictures whose order the page holds, so that no key waits for the studio


def build(page: Page) -> None:
    """Lays out the Review tab and connects its handlers."""
    opened, skipped = gr.State(""), gr.State(())
    reasons, mending = gr.State(()), gr.State("")
    heard, said = gr.State(("", 0)), gr.State("")
    stage = html(looks.waiting(), elem_id="review-stage")
    bench = Bench()

    hand = [opened, skipped, reasons, mending, heard, said]
    scene = (draw, [opened, skipped, reasons, heard, said, mending], [stage])
    usual, live = bench.drawings(mending)
    page.show([scene, *usual], live=live)
    keys = Hearing().keys
    page.act(stage, keys, hand, hand, then=[scene, *usual, *live], mode="once")  # messages come in order
    bench.wire(page, mending, scene)


# ── the stage ───────────────────────────────────────────────────────────────────────────────────


def draw(
    desk: Desk,
    opened: str,
    skipped: tuple[str, ...],
    reasons: tuple[str, ...],
    heard: tuple[str, int] = ("", 0),
    said: str = "",
    mending: str = "",
) -> Markup:
    """Returns as HTML the picture to decide, with its source, instruction and buttons, and the next pictures.

    `opened` is the id of a picture that a person opened again; "" shows the first of the queue. `skipped` are ids of
    pictures, `reasons` the names of the reasons for the next verdict. `heard` names the last handled message of key
    presses: the id of the browser's page, and the message's number. `said` is the text of this message's errors.
    `mending` is the id of a picture that is being corrected; the browser shows it instead of the picture to decide. ""
    and the id of another character's picture mean that none is being corrected.
    """
    store = desk.store
    mended = store.images.peek(mending) if mending else None
    bench = mended.id if mended is not None and not mended.trashed else ""
    queue = upcoming(desk, skipped)
    shown = store.images.peek(opened) if opened else None
    if shown is None or shown.trashed:
        shown = queue[0] if queue else None
    back = standing(store)
    stage = _all_done(desk) if shown is None else _stage(desk, shown, reasons)
    if shown is None and back:
        stage += view("review", "undo_row")
    ahead = [each for each in queue if shown is None or each.id != shown.id]
    order = ([shown] if shown else []) + ahead[: AHEAD - 1]
    files = [looks.full(store, each.id, each.crop) for each in ahead[:PREFETCH]]
    return view(
        "review",
        "desk",
        character=desk.id,
        token=heard[0],
        number=heard[1],
        tally=tally(desk),
        said=said,
        bench=bench,
        bar=draw_bar(desk, bench, review.to_mend(desk)),
        stage=stage,
        soon=[file for file in files if file],
        ahead=_files(store, order),
        back=_files(store, back),
        history=history(store),
    )


def _stage(desk: Desk, shown: ImageRecord, reasons: tuple[str, ...]) -> Markup:
    store = desk.store
    file = looks.full(store, shown.id, shown.crop)
    return view(
        "review",
        "stage",
        id=shown.id,
        url=looks.file_url(file) if file else "",
        words=looks.describe(shown),
        verdicts=[(name, verdict_words(name), tone, key) for name, (key, tone, _) in VERDICTS.items()],
        reasons=[(key, reason, reason in reasons) for key, reason in REASONS.items()],
        possible=bool(standing(store)),
        side=beside(store, shown, review.explain(desk, shown.id)),
    )


def _files(store: Store, pictures: list[ImageRecord]) -> str:
    """Returns pictures in order as JSON for the page's script.

    Each is a list: its id; its URL, "" for a file that cannot be read; and 1 for a picture that can be put on the
    workbench, else 0.
    """
    files = [(each, looks.full(store, each.id, each.crop)) for each in pictures]
    return json.dumps([[each.id, looks.file_url(file) if file else "", int(can_mend(each))] for each, file in files])


def standing(store: Store) -> list[ImageRecord]:
    """Returns the pictures of the owner's last AHEAD verdicts that were not undone, the latest last."""
    last = [each for each in store.decisions.all() if not each.undone and each.reviewer == review.OWNER]
    found = [store.images.peek(each.image) for each in last[-AHEAD:]]
    return [each for each in found if each is not None]


def verdict_words(name: str) -> str:
    """Returns the label of a verdict's button as text; `name` is "good", "correct" or "reject"."""
    return {"good": "Good", "correct": "Needs correction", "reject": "Reject"}[name]


def upcoming(
    desk: Desk, skipped: tuple[str, ...], reviewer: str = review.OWNER, count: int = AHEAD + 1
) -> list[ImageRecord]:
    """Returns the records of the next pictures to review, skipped ones last.

    `skipped` holds the ids of the skipped pictures, in the order in which they were skipped. `reviewer` is the name of
    the person who reviews. At least `count` pictures come before the skipped ones, as far as there are so many.
    """
    found = review.next(desk, reviewer, count + len(skipped))
    fresh = [each for each in found if each.id not in skipped]
    later = sorted((each for each in found if each.id in skipped), key=lambda each: skipped.index(each.id))
    return fresh + later


def tally(desk: Desk) -> Markup:
    """Returns as HTML how many pictures are left, the owner's pace, and how many pictures have each verdict.

    The pace is in verdicts a minute. Of several verdicts on one picture the latest counts, whoever gave it.
    """
    decisions = [each for each in desk.store.decisions.all() if not each.undone]
    said = Counter({each.image: each.verdict for each in decisions}.values())
    speed = per_minute([each for each in decisions if each.reviewer == review.OWNER])
    mend = review.to_mend(desk)
    return view(
        "review",
        "tally",
        left=len(desk.store.pending()),
        speed=f"{speed:.0f}" if speed else "",
        said=[(looks.TONES[verdict], looks.plural(said[verdict], one, many)) for verdict, one, many in SAID],
        mend=len(mend),
        last=mend[-1].id if mend else "",
    )


def per_minute(decisions: list[Decision], window: int = 12, pause_s: float = 60.0) -> float:
    """Returns the pace of review as verdicts a minute, measured over the last `window` of `decisions`.

    `decisions` are in order of time. Pauses of more than `pause_s` seconds are left out. The pace is 0 where too few
    verdicts are left to measure it, or where the last is older than `pause_s` seconds.
    """
    times = [datetime.fromisoformat(each.created) for each in decisions[-window:]]
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    gaps = [gap for gap in gaps if gap <= pause_s]
    if len(gaps) < 2 or (datetime.now(UTC) - times[-1]).total_seconds() > pause_s:
        return 0.0
    return 60.0 * len(gaps) / max(sum(gaps), 0.001)


def beside(store: Store, shown: ImageRecord, why: Reason) -> Markup:
    """Returns as HTML the panel beside the picture `shown`: its source, the nearest original, and facts about it.

    The facts are its instruction, its similarity to the originals and its verdict. For a picture without a verdict the
    panel also tells `why` the queue shows it now; for a corrected picture it also shows the wrong edit.
    """
    source, reference = _get(store, shown.parent), nearest(store, shown)
    shots = [(looks.full(store, source.id, shown.source_crop), "source", "s", source.id)] if source else []
    shots += [(looks.full(store, reference.id, reference.crop), "reference", "r", reference.id)] if reference else []
    shots += [(looks.full(store, shown.mends), "first try", "w", shown.mends)] if _get(store, shown.mends) else []
    asked = " · ".join(f"{name} → {what}" for name, what in shown.asked.items())
    facts = [("what", looks.KIND_WORDS[shown.kind]), ("asked for", asked), ("words", words_of(shown))]
    if shown.scores:
        what = "likeness" if why.whole is None else "likeness of the whole picture"
        facts.append((what, looks.score(why.compared, why.floor, why.ceiling)))
    if shown.state is Verdict.PENDING:
        facts.append(("why now", why.words))
    facts += [("note", looks.chip(words, "warn")) for words in shown.advice.values()]
    if shown.state is not Verdict.PENDING:
        facts.append(("you said", looks.chip(looks.WORDS[shown.state], looks.TONES[shown.state])))
    if shown.reviewer.startswith("guest:"):
        facts.append(("who said so", shown.reviewer.partition(" ")[2] or "a guest"))
    return view("review", "beside", shots=shots, facts=facts)


def nearest(store: Store, shown: ImageRecord) -> ImageRecord | None:
    """Returns the original to compare a picture with, None where there is none.

    It is the most similar original where that is known. Otherwise it is an original that shares as many of the
    picture's tags (angle, framing) as possible. The picture's own source is taken only where there is no other
    original.
    """
    known = _get(store, shown.nearest)
    if known and not known.trashed and known.id != shown.parent:
        return known
    originals = [each for each in store.select(Kind.SOURCE) if each.state is not Verdict.REJECT]
    wanted = {**shown.tags, **shown.asked}

    def alike(each: ImageRecord) -> tuple[bool, int, bool]:
        shared = sum(each.tags.get(name) == value for name, value in wanted.items() if name in ("angle", "framing"))
        return each.id != shown.parent, shared, each.star

    return max(originals, key=alike, default=None)


def history(store: Store) -> Markup:
    """Returns as HTML the pictures that were decided last, each with its verdict; empty without any verdict.

    A click on a picture opens it again.
    """
    said: dict[str, Verdict] = {}
    for each in reversed(store.decisions.all()):
        if len(said) < HISTORY and not each.undone:
            said.setdefault(each.image, each.verdict)
    shots = [(id, looks.TONES[verdict], looks.WORDS[verdict], looks.thumb(store, id)) for id, verdict in said.items()]
    return view("review", "history", shots=shots) if shots else Markup()


def _all_done(desk: Desk) -> Markup:
    store, mend = desk.store, review.to_mend(desk)
    made = store.select((Kind.ENRICHED, Kind.SYNTHETIC))
    if not made:
        return looks.empty("Nothing to review yet: enrich your pictures first.", looks.go("Open Enrich", "Enrich"))
    if mend:
        tiles = looks.grid(
            (looks.tile(each, looks.thumb(store, each.id), act="mend", pick=False) for each in mend), "small"
        )
        words = f"All decided. {looks.plural(len(mend), 'picture')} can be mended: click one."
        return looks.empty(words, tiles)
    step = next_step(desk)
    return looks.empty(f"All decided. {step.words}", looks.go(f"Next: {step.step}", step.stops[step.at].label))


def _get(store: Store, image_id: str) -> ImageRecord | None:
    if not image_id:
        return None
    try:
        return store.images.get(image_id)
    except NotFound:
        return None


# ── deciding ────────────────────────────────────────────────────────────────────────────────────

State = tuple[str, tuple[str, ...], tuple[str, ...], str]


class Hearing:
    """Handles the messages in which browser pages send the keys pressed on the Review tab, each message once.

    It keeps the number of each page's last message, so that a message that is sent again changes nothing. Of more than
    HEARD pages those that were heard longest ago are forgotten.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}  # token of a page -> number of its last message, the page heard last at the end

    def keys(
        self,
        desk: Desk,
        data: dict[str, Any],
        opened: str,
        skipped: tuple[str, ...],
        reasons: tuple[str, ...],
        mending: str,
        heard: tuple[str, int],
        said: str,
    ) -> tuple[Any, ...]:
        """Handles the keys of one message in order, each for the picture that was shown when it was pressed.

        `data` is the message, the other arguments are the page's state (see `draw`). Returns the changed state, in this
        order: the id of the opened picture, the skipped ids, the reasons for the next verdict, the id of the picture
        being corrected, `heard` for this message, and the errors as one text. A key that fails does not stop the keys
        after it.
        """
        token, number = str(data.get("token", "")), int(data.get("n", 0))
        hand, refused = (opened, skipped, reasons, mending), []
        if number > self._last.get(token, 0):
            for key in data.get("keys", ()):
                try:
                    hand = act(desk.workplace.desk(str(key.get("character") or desk.id)), key, *hand)
                except UserError as error:
                    refused.append(f"{error.cause} {error.hint}")
            self._last.pop(token, None)
            self._last[token] = number
            if len(self._last) > HEARD:
                self._last.pop(next(iter(self._last)), None)
        shown = str(data.get("shown", hand[0]))
        return shown, *hand[1:], (token, number), " ".join(dict.fromkeys(refused))


def act(
    desk: Desk,
    data: dict[str, Any],
    opened: str,
    skipped: tuple[str, ...],
    reasons: tuple[str, ...],
    mending: str,
) -> State:
    """Handles one key or button of the Review tab, such as a verdict, and returns the page's changed state.

    `data` holds the name of the action and the picture's id. The other arguments are the state before, and the result
    is the state after it, in the same order: the id of the opened picture ("" for the first of the queue), the ids of
    skipped pictures, the reasons for the next verdict, and the id of the picture being corrected ("" for none). Raises:
    BadInput for an unknown or impossible action, NotFound for an unknown picture or with nothing to undo.
    """
    name, image = str(data.get("act")), str(data.get("id", ""))
    if name in VERDICTS:
        verdict = VERDICTS[name][2]
        review.decide(desk, image, verdict, reasons=tuple(reasons))
        left = tuple(each for each in skipped if each != image)
        wrong = verdict is Verdict.NEEDS_CORRECTION and can_mend(desk.store.images.get(image))
        return "", left, (), image if wrong else ""
    if name == "skip":
        return "", (*(each for each in skipped if each != image), image), (), ""
    if name == "reason":
        given = str(data.get("reason", ""))
        return (
            opened,
            skipped,
            tuple(r for r in reasons if r != given) if given in reasons else (*reasons, given),
            mending,
        )
    if name == "undo":
        return undo(desk, image), skipped, (), ""
    if name == "open":
        return image, skipped, (), ""
    if name in ("mend", "later"):
        return opened, skipped, reasons, image if name == "mend" else ""
    raise BadInput("The page has no such key.", "Press ? for the keys.")


def undo(desk: Desk, meant: str) -> str:
    """Undoes the owner's last verdict in the store and returns the id of its picture.

    `meant` is the id of the picture whose verdict the user wants to undo, "" for any. Raises: NotFound where there is
    no verdict, BadInput where the last verdict is on another picture than `meant`.
    """
    store = desk.store
    with store.transaction():
        last = standing(store)
        if meant and last and last[-1].id != meant:
            raise BadInput("Another window gave a verdict meanwhile; nothing was taken back.", "Undo once more.")
        return review.undo(desk, reviewer=review.OWNER).image
