"""Finds a character's place on the two flywheels and its next step, with the reason for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studio.flywheel import card
from studio.records.base import Part
from studio.records.card import CardRun
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.outcome import Goal
from studio.records.version import Version, VersionState
from studio.store import Store
from studio.workplace.desk import Desk

ENOUGH_SOURCES = 10
ENOUGH_LESSONS = 5
_TAUGHT_BY = frozenset({Kind.ENRICHED, Kind.CORRECTION, Kind.SYNTHETIC})


@dataclass(frozen=True)
class Stop(Part):
    """Holds one stage of the work on a character, which has a tab of its own on the page."""

    label: str
    """The stage: the name of a tab."""
    figure: str
    """How far it is, in short words."""
    done: bool = False
    """Whether it is complete."""
    part: str = ""
    """The part of the tab to open; "" for none."""


@dataclass(frozen=True, kw_only=True)
class NextStep(Part):
    """Holds what the person should do next with a character."""

    step: str
    """What to do next, such as Train."""
    words: str
    """Why."""
    at: int
    """The place of its stage in `stops`."""
    stops: tuple[Stop, ...]
    """All stages of the work."""
    version: str = ""
    """The id of the version to run a model card of next; "" for none."""


def next_step(desk: Desk) -> NextStep:
    """Returns what the person should do next with the character, with the reason and all stages. Raises: NotFound.

    It is computed from the character's pictures, versions and model cards.
    """
    seen = _look(desk.store)
    wants = [*_first_turn(seen), *_judging(seen), *_next_turn(seen)]  # most urgent first; the last always applies
    step, words = next((step, words) for wanted, step, words in wants if wanted)
    carded = ((seen.candidate, seen.candidate_card), (seen.in_use, seen.card)) if step is CARD else ()
    version = next((each.id for each, run in carded if each is not None and run is None), "")
    return NextStep(step=step.name, words=words, at=step.at, stops=_stops(seen, step), version=version)


def is_next(desk: Desk, step: str) -> bool:
    """Returns whether the character's next step is the one named `step`, such as "Train"."""
    return next_step(desk).step == step


def trains_next(desk: Desk, role: Role) -> bool:
    """Returns whether the next step is to train a LoRA of this role, for the character or for the editor.

    Returns False while a newly trained version of the role is neither adopted nor retired.
    """
    seen = _look(desk.store)
    step, candidate = (TRAIN, seen.candidate) if role is Role.CHARACTER else (REFINE, seen.editor_candidate)
    return candidate is None and next_step(desk).step == step.name


@dataclass(frozen=True)
class _Seen:
    """Holds the counts, versions and model cards of a character from which the next step is chosen."""

    sources: int
    bare: int  # sources without a caption
    enriched: int
    good_edits: int
    left_edits: int
    drawn: int
    drawn_in_use: int  # pictures drawn by the version in use
    left_drawn: int
    versions: tuple[Version, ...]
    in_use: Version | None
    candidate: Version | None  # trained after the version in use, and neither adopted nor retired
    card: CardRun | None  # of the version in use
    candidate_card: CardRun | None
    answered: bool  # edits were made after the card
    edited_with: bool  # the editor version in use, if there is one, has made edits
    approved_since: int  # pictures approved since the newest version was trained
    golden: int
    golden_since: int  # golden triplets since the newest editor version was trained
    editor: Version | None
    editor_candidate: Version | None


def _look(store: Store) -> _Seen:
    sources, enriched, drawn = (store.select(kind) for kind in (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC))
    sources = [each for each in sources if each.state is not Verdict.REJECT]
    pending = store.pending()
    left_drawn = sum(each.kind is Kind.SYNTHETIC for each in pending)
    versions, editors = (tuple(store.kept_versions(role)) for role in (Role.CHARACTER, Role.EDITOR))
    in_use, editor = store.adopted(Role.CHARACTER), store.adopted(Role.EDITOR)
    candidate = _candidate(versions, in_use)
    shown = card.newest(store, in_use.id if in_use else "")
    newest, newest_editor = _created(versions), _created(editors)
    golden = [each for each in store.triplets.all() if each.golden]
    taught = [each for each in store.images.all() if each.kind in _TAUGHT_BY and not each.trashed]
    return _Seen(
        sources=len(sources),
        bare=sum(not each.caption.strip() for each in sources),
        enriched=len(enriched),
        good_edits=sum(each.state is Verdict.GOOD for each in enriched),
        left_edits=len(pending) - left_drawn,
        drawn=len(drawn),
        drawn_in_use=sum(each.version == in_use.id for each in drawn) if in_use else len(drawn),
        left_drawn=left_drawn,
        versions=versions,
        in_use=in_use,
        candidate=candidate,
        card=shown,
        candidate_card=card.newest(store, candidate.id) if candidate else None,
        answered=shown is not None and any(each.created > shown.created for each in enriched),
        approved_since=sum(each.state is Verdict.GOOD and each.decided > newest for each in taught),
        golden=len(golden),
        golden_since=sum(each.created > newest_editor for each in golden),
        editor=editor,
        edited_with=editor is None or any(each.version == editor.id for each in enriched),
        editor_candidate=_candidate(editors, editor),
    )


def _created(versions: Sequence[Version]) -> str:
    return max((each.created for each in versions), default="")


def _candidate(versions: Sequence[Version], in_use: Version | None) -> Version | None:
    """Returns the newest candidate version that is newer than the version in use; None without one."""
    since = in_use.created if in_use else ""
    waiting = [each for each in versions if each.state is VersionState.CANDIDATE and each.created > since]
    return max(waiting, key=lambda each: each.created, default=None)


@dataclass(frozen=True)
class _Step:
    """A step that a person can be asked for: the index of its stop, its name, and the part of the tab to open."""

    at: int
    name: str
    part: str = ""


CURATE, ENRICH, REVIEW, TRAIN = (_Step(at, name) for at, name in enumerate(("Curate", "Enrich", "Review", "Train")))
GENERATE, CARD = _Step(4, "Generate", "Pictures"), _Step(4, "Model card", "Model card")
REFINE = _Step(5, "Editor Refinement")


def _stops(seen: _Seen, step: _Step) -> tuple[Stop, ...]:
    version = seen.in_use or (seen.versions[-1] if seen.versions else None)
    curated = seen.sources >= ENOUGH_SOURCES and not seen.bare
    met = seen.card is not None and card.summary(seen.card).met
    unknown = card.summary(seen.card).first_try.unknown if seen.card is not None else 0
    tally = "" if seen.card is None else f" · card {_tally(seen.card)}" + (f" · {unknown} ?" if unknown else "")
    left = seen.left_edits + seen.left_drawn
    editor = seen.editor.name if seen.editor else f"{seen.golden} golden"
    return (
        Stop("Curate", str(seen.sources), curated),
        Stop("Enrich", str(seen.enriched), seen.enriched > 0),
        Stop("Review", f"{left} left", seen.enriched > 0 and not left),
        Stop("Train", version.name if version else "–", seen.in_use is not None and seen.candidate is None),
        Stop("Generate", f"{seen.drawn}{tally}", met, step.part),
        Stop("Editor Refinement", editor, seen.editor is not None and seen.editor_candidate is None),
    )


Want = tuple[bool, _Step, str]  # whether it applies, the step, the reason in words


def _first_turn(seen: _Seen) -> list[Want]:
    """Returns the wants up to a first version, most urgent first; most apply to later turns, too."""
    edits = _count(seen.left_edits, "edit waits", "edits wait")
    pictures = _count(seen.sources, "picture", "pictures")
    few = f"{pictures} so far; {ENOUGH_SOURCES} or more give a usable start."
    return [
        (not seen.sources, CURATE, "Drop 10 to 20 pictures of your character to begin."),
        (seen.sources < ENOUGH_SOURCES and not seen.versions, CURATE, few),
        (seen.bare > 0, CURATE, _count(seen.bare, "picture has no caption yet.", "pictures have no caption yet.")),
        (
            not seen.enriched,
            ENRICH,
            "A dozen pictures teach too little; edits of them fill the missing angles and scenes.",
        ),
        (seen.left_edits > 0, REVIEW, f"{edits} for your verdict; only good ones teach."),
        (
            not seen.versions,
            TRAIN,
            _count(seen.good_edits, "edit approved", "edits approved") + ": train the first version.",
        ),
    ]


def _judging(seen: _Seen) -> list[Want]:
    """Returns the wants that compare a new version with the one in use, and decide between the two.

    The last of them is a model card of the version in use.
    """
    new = _name(seen.candidate)
    now = _name(seen.in_use)
    return [
        (
            bool(new) and seen.candidate_card is None,
            CARD,
            f"{new} is trained. Run its model card to see whether it is better than {now or 'the base model'}.",
        ),
        (
            bool(new and now) and seen.card is None,
            CARD,
            f"{now} has no model card yet; with it, {new} and {now} can be compared.",
        ),
        (bool(new), TRAIN, _decision(seen)),
        (not now, TRAIN, "No version is in use. Adopt one of them, or train another."),
        (seen.card is None, CARD, f"Run the model card to see what {now} can do."),
    ]


def _next_turn(seen: _Seen) -> list[Want]:
    """Returns the wants that improve the next version and the editor; the last of them always applies."""
    now = _name(seen.in_use)
    met = seen.card is not None and card.summary(seen.card).met
    tally = _tally(seen.card) if seen.card else ""
    editor = _name(seen.editor_candidate)
    scenes = _count(seen.left_drawn, "new scene waits", "new scenes wait")
    taught = _count(seen.golden_since, "correction", "corrections")
    approved = _count(seen.approved_since, "picture was", "pictures were")
    return [
        (bool(editor), REFINE, f"Editor {editor} is trained. Look at its edits before and after; adopt or leave it."),
        (not met and not seen.answered, CARD, _unmet(now, seen.card)),
        (not seen.drawn_in_use, GENERATE, f"Let {now} draw new scenes; the best of them teach the next version."),
        (seen.left_drawn > 0, REVIEW, f"{scenes} for your verdict."),
        (
            not seen.edited_with,
            ENRICH,
            f"Editor {_name(seen.editor)} is in use and has made no edit yet. Let it fill the gaps.",
        ),
        (
            seen.golden_since >= (ENOUGH_LESSONS if seen.editor else 1),
            REFINE,
            f"{taught} of yours can teach the editor.",
        ),
        (seen.approved_since > 0, TRAIN, f"Another turn: {approved} approved since the last training."),
        (met, GENERATE, f"{now} meets the goal: {tally} of its model card is right. Draw with it, or save its LoRA."),
        (True, ENRICH, f"{now} has {tally} cells right. Edits of what it missed, once approved, teach the next one."),
    ]


def _decision(seen: _Seen) -> str:
    new, now = seen.candidate, seen.in_use
    if new is None or seen.candidate_card is None:
        return ""
    got = f"{new.name} has {_tally(seen.candidate_card)} cells right"
    if now is None or seen.card is None:
        return f"{got}. Adopt it to draw with it, or leave it."
    return f"{got}, {now.name} {_tally(seen.card)}. Adopt {new.name}, or leave it and keep {now.name}."


def _tally(run: CardRun) -> str:
    """Returns how many cells are right on the first try, of those that could be judged, as `right/judged`."""
    first = card.summary(run).first_try
    return f"{first.k}/{first.judged}"


def _unmet(now: str, run: CardRun | None) -> str:
    """Returns the advice for a model card that does not meet the goal; "" without a model card."""
    if run is None:
        return ""
    found = card.summary(run)
    first = found.first_try
    if found.goal is Goal.OPEN:
        return f"The card leaves {first.unknown} of {first.n} cells open: look at them and say right or wrong."
    return f"{now} has {_tally(run)} cells right: let the editor show what it missed, so that the next one learns it."


def _name(version: Version | None) -> str:
    return version.name if version else ""


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
