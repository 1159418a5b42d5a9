"""What is always in sight: the rail with the next step, and the strip with the card and the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil

from engines.errors import UserError
from studio.flywheel import card, runs
from studio.nouns import ImageRecord, Job, JobState, Kind, Role, Verdict
from studio.store import Store
from studio.studio import Studio
from tabs.common import looks

ENOUGH_SOURCES = 10
DISMISSED = "dismissed"


@dataclass(frozen=True)
class RailStep:
    """One stop of the flywheels: what it is called, how far it is, where it leads."""

    label: str
    figure: str
    tab: str
    done: bool = False


def rail_steps(studio: Studio, cid: str) -> tuple[list[RailStep], int, str]:
    """The stops, which one is next, and the sentence that says why."""
    store = studio.store(cid)
    sources = store.select(Kind.SOURCE)
    captioned = [each for each in sources if each.caption]
    enriched = store.select(Kind.ENRICHED)
    drawn = store.select(Kind.SYNTHETIC)
    pending = store.pending()
    left_enriched = sum(each.kind is not Kind.SYNTHETIC for each in pending)
    left_drawn = len(pending) - left_enriched
    good = sum(each.state is Verdict.GOOD for each in enriched)
    versions = [each for each in store.versions.all() if each.role is Role.CHARACTER]
    adopted = store.adopted(Role.CHARACTER)
    golden = sum(each.golden for each in store.triplets.all())
    right, cells = card_tally(studio, cid)
    met = right >= card.TARGET * cells
    curated = len(sources) >= ENOUGH_SOURCES and len(captioned) == len(sources)
    version = adopted or (versions[-1] if versions else None)
    steps = [
        RailStep("Curate", str(len(sources)), "Curate", curated),
        RailStep("Enrich", str(len(enriched)), "Enrich", bool(enriched)),
        RailStep("Review", f"{left_enriched} left", "Review", bool(enriched) and not left_enriched),
        RailStep("Train", version.name if version else "–", "Train", bool(adopted)),
        RailStep("Generate", str(len(drawn)), "Generate", bool(drawn)),
        RailStep("Review", f"{left_drawn} left", "Review", bool(drawn) and not left_drawn),
        RailStep("Card", f"{right}/{cells}" if cells else "–", "Generate", bool(cells) and met),
        RailStep("Refine", f"{golden} golden", "Editor Refinement", store.adopted(Role.EDITOR) is not None),
    ]
    wants = [
        (len(sources) < ENOUGH_SOURCES, 0, _few_sources(len(sources))),
        (len(captioned) < len(sources), 0, f"{len(sources) - len(captioned)} pictures have no caption yet."),
        (
            not enriched,
            1,
            "A dozen pictures teach too little; edits of them fill the missing angles and scenes.",
        ),
        (
            left_enriched > 0,
            2,
            f"{looks.plural(left_enriched, 'edit')} wait for your verdict; only good ones teach.",
        ),
        (not versions, 3, f"{looks.plural(good, 'edit')} approved: train the first version."),
        (not adopted, 3, "A version is trained; look at its samples and adopt it."),
        (not cells, 6, "Run the model card to see what this version can do."),
        (
            not met and _unanswered(store, enriched),
            6,
            f"The card has {right} of {cells} right: let the editor show what it missed, so that the next learns it.",
        ),
        (not drawn, 4, "Let the version draw new scenes; the best of them teach the next one."),
        (left_drawn > 0, 5, f"{looks.plural(left_drawn, 'new scene')} wait for your verdict."),
        (golden > 0 and store.adopted(Role.EDITOR) is None, 7, "Your corrections can teach the editor."),
    ]
    index, why = next(
        ((at, words) for wanted, at, words in wants if wanted),
        (3, "Another turn: train on what you approved since."),
    )
    return steps, index, why


def _few_sources(count: int) -> str:
    if not count:
        return "Drop 10 to 20 pictures of your character to begin."
    return f"{looks.plural(count, 'picture')} so far; {ENOUGH_SOURCES} or more give a usable start."


def card_tally(studio: Studio, cid: str) -> tuple[int, int]:
    """How many of the newest model card's cells are right on the first try, out of how many."""
    runs = studio.store(cid).cards.all()
    if not runs:
        return 0, 0
    cells = [cell for cell in runs[-1].cells if cell["seed"] == runs[-1].seeds[0]]
    return sum(card.verdict_of(cell) == card.PASS for cell in cells), len(cells)


def _unanswered(store: Store, enriched: list[ImageRecord]) -> bool:
    """Whether nothing was edited since the newest card."""
    made = store.cards.all()[-1].created
    return all(each.created <= made for each in enriched)


def rail(studio: Studio, cid: str) -> str:
    """The rail as markup; the next step stands out, with a sentence why."""
    if not cid:
        return looks.empty("Create your first character with the button above.")
    if trouble := studio.library.trouble(cid):
        return looks.trouble(trouble)
    steps, index, why = rail_steps(studio, cid)
    parts = []
    for at, step in enumerate(steps):
        classes = "next" if at == index else ""
        tick = ' <span class="good">✓</span>' if step.done else ""
        parts.append(
            f'<button type="button" class="{classes}" data-tab="{looks.esc(step.tab)}"'
            f"{' aria-current=step' if at == index else ''}>"
            f"<b>{looks.esc(step.label)}</b><span>{looks.esc(step.figure)}{tick}</span></button>"
        )
    return (
        f'<nav class="fl-rail" aria-label="the flywheels" data-character="{looks.esc(cid)}">'
        f"{'<i>→</i>'.join(parts)}</nav>"
        f'<p class="fl-why">Next: <b>{looks.esc(steps[index].label)}</b>. {looks.esc(why)}</p>'
    )


def strip(studio: Studio, sharing: Any = None) -> str:
    """The card, the running job, the queue, what can be resumed, and whether a review link is open."""
    jobs = studio.jobs.list()
    parts = [_card(studio), _host(), _running(studio, studio.jobs.running())]
    gone = set(studio.library.settings().get(DISMISSED, []))
    offered = [job for job in jobs if job.state in (JobState.INTERRUPTED, JobState.FAILED) and job.id not in gone]
    if offered:
        parts.append(_offered(offered[0]))
    parts.append('<div class="grow"></div>')
    if sharing is not None and sharing.live():
        parts.append('<div><span class="fl-live">● review link is open</span></div>')
    parts.append(_queue([job for job in jobs if job.state is JobState.QUEUED]))
    parts.append('<div><button type="button" class="fl-button small" data-keys="1" title="the keys">?</button></div>')
    return f'<div class="fl-strip">{"".join(parts)}</div>'


def _card(studio: Studio) -> str:
    now = studio.gpu.status()
    tone = "bad" if now.used > now.budget else ("warn" if now.used > 0.9 * now.budget else "accent")
    names = " · ".join(
        f"{where}: {', '.join(key for key, _ in there)}"
        for where, there in (("card", now.residents), ("RAM", now.masters), ("disk", now.on_disk))
        if there
    )
    names = names or "nothing loaded"
    figure = f"{now.used / (1 << 30):.1f} / {looks.amount(now.budget)}"
    meter = looks.bar(now.used, now.budget, tone, names)
    short = names if len(names) <= 46 else f"{names[:44]}…"
    return (
        f"<div><b>{looks.esc(str(now.device).upper())}</b><span>{figure}</span>{meter}"
        f'<small title="{looks.esc(names)}">{looks.esc(short)}</small></div>'
    )


def _host() -> str:
    ours, memory = psutil.Process().memory_info().rss, psutil.virtual_memory()
    tone = "bad" if memory.percent > 95 else "warn" if memory.percent > 85 else ""
    title = f"this studio holds {looks.amount(ours)}; {looks.amount(memory.available)} of the machine's memory are free"
    figure = f"{ours / (1 << 30):.1f} / {looks.amount(memory.total)}"
    return f'<div title="{looks.esc(title)}"><b>RAM</b><span class="{tone}">{figure}</span></div>'


def _running(studio: Studio, job: Job | None) -> str:
    if job is None:
        return "<div><small>no job is running</small></div>"
    figures = [f"{job.step}/{job.total or '?'}"]
    if job.rate:
        figures.append(f"{job.rate:.1f} s each" if job.rate >= 0.1 else f"{job.rate * 1000:.0f} ms each")
    if job.eta_s:
        figures.append(f"{looks.duration(job.eta_s)} left")
    waiting = f"waits for {job.waits_for}" if job.waits_for else job.message
    return (
        f"<div><b>{looks.esc(job.title or job.kind)}</b>{looks.bar(job.step, job.total)}"
        f"<span>{' · '.join(figures)}</span><small>{looks.esc(waiting)}</small>"
        f"{looks.button('Cancel', 'cancel', tone='small', job=job.id)}</div>"
    )


def _offered(job: Job) -> str:
    tone = "bad" if job.state is JobState.FAILED else "warn"
    cause = str(job.error.get("message", "")) if job.error else ""
    hint = str(job.error.get("hint", "")) if job.error else ""
    words = f"{job.title or job.kind} {'failed' if tone == 'bad' else 'was interrupted'}"
    short = cause if len(cause) <= 70 else f"{cause[:68]}…"
    return (
        f'<div title="{looks.esc(f"{cause} {hint}".strip())}">'
        f"{looks.chip(words, tone)}<small>{looks.esc(short)}</small>"
        f"{looks.button(runs.resume_words(job), 'resume', tone='small', job=job.id)}"
        f"{looks.button('Dismiss', 'dismiss', tone='small', job=job.id)}</div>"
    )


def _queue(waiting: list[Job]) -> str:
    if not waiting:
        return "<div><small>queue empty</small></div>"
    rows = []
    for at, job in enumerate(waiting):
        before = waiting[at - 1].id if at else ""
        up = looks.button("↑", "up", tone="small", hint="move up", job=job.id, before=before) if at else ""
        cancel = looks.button("Cancel", "cancel", tone="small", job=job.id)
        waits = f"<small>{looks.esc(job.waits_for)}</small>" if job.waits_for else ""
        rows.append(f"<p><span>{looks.esc(job.title or job.kind)}{waits}</span><span>{up} {cancel}</span></p>")
    return f'<details data-fold="queue"><summary>queue {len(waiting)}</summary><div>{"".join(rows)}</div></details>'


def handle(studio: Studio, data: dict[str, Any]) -> None:
    """A click in the strip.

    Raises: UserError.
    """
    job, act = str(data.get("job", "")), data.get("act")
    if act == "cancel":
        studio.jobs.cancel(job)
    elif act == "dismiss":
        gone = list(studio.library.settings().get(DISMISSED, []))
        studio.library.set_setting(DISMISSED, [*gone, job][-100:])
    elif act == "resume":
        studio.jobs.resume(job)
    elif act == "up":
        studio.jobs.move(job, str(data.get("before", "")) or None)
    else:
        raise UserError("The strip has no such button.", "Reload the page.")
