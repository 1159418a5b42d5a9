"""How a page is wired: state lives in the store, a pulse says that it moved, acts come back as plain calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from engines.errors import NotFound, UserError
from studio.nouns import CHARACTER_SETTING, Job, JobState
from studio.studio import Studio
from tabs.common import looks

_HANDS = "window.flen.attach(element, (data) => trigger('act', data), watch)"

Handler = Callable[..., Any]
Inputs = Sequence[Any]
Drawing = tuple[Handler, Inputs, Inputs]  # what draws, from which inputs, into which outputs


def html(value: str = "", elem_id: str | None = None, **more: Any) -> gr.HTML:
    """A block of our own markup; elements with `data-act` in it reach Python through `Page.act`."""
    return gr.HTML(value, elem_id=elem_id, js_on_load=_HANDS, apply_default_css=False, **more)


def current(studio: Studio, cid: str) -> str:
    """The character a page stands on: the one asked for, else the last one chosen, else the first; or "".

    A damaged one only where it is asked for, or where there is no other.
    """
    known = [character.id for character in studio.library.characters()]
    if cid in known:
        return cid
    last = studio.library.settings().get(CHARACTER_SETTING, "")
    order = [*(each for each in known if each == last), *known]
    return next((each for each in order if studio.library.trouble(each) is None), next(iter(order), ""))


def fingerprint(studio: Studio, cid: str) -> str:
    """Changes whenever a page of this character should be drawn again."""
    jobs = ",".join(f"{job.id}{job.state}" for job in studio.jobs.list())
    names = ",".join(f"{each.id}{each.name}" for each in studio.library.characters())
    revision = studio.store(cid).revision if cid and studio.library.trouble(cid) is None else 0
    return f"{cid}|{revision}|{hash(jobs)}|{hash(names)}"


def heartbeat(studio: Studio) -> str:
    """Changes with every step of the running job."""
    job = studio.jobs.running()
    return f"{job.id}|{job.step}" if job else ""


def jobs_of(studio: Studio, cid: str, *kinds: str) -> list[Job]:
    """A character's jobs of some kinds, newest first."""
    jobs = [job for job in studio.jobs.list(cid) if job.kind in kinds]
    return sorted(jobs, key=lambda job: job.created, reverse=True)


def active_job(studio: Studio, cid: str, *kinds: str) -> Job | None:
    """The running or queued job of some kinds, if there is one."""
    busy = (JobState.RUNNING, JobState.QUEUED)
    return next((job for job in jobs_of(studio, cid, *kinds) if job.state in busy), None)


def progress_line(job: Job | None) -> str:
    """Where a job stands, in one line with its bar; nothing when there is no job."""
    if job is None:
        return ""
    words = f"{job.title or job.kind}: {job.step} of {job.total or '?'}"
    rest = f"{looks.duration(job.eta_s)} left" if job.eta_s else (job.waits_for or job.message)
    cancel = looks.button("Cancel", "cancel", tone="small", job=job.id)
    state = looks.chip(job.state.value, "accent" if job.state is JobState.RUNNING else "")
    return (
        f'<div class="fl-line">{state}<span>{looks.esc(words)}</span>'
        f"{looks.bar(job.step, job.total)}<small>{looks.esc(rest)}</small>{cancel}</div>"
    )


def told(error: UserError) -> gr.Error:
    """An expected failure as the message that pops up: its cause, and what to do next."""
    words = f"{looks.esc(error.cause)}<br><small>{looks.esc(error.hint)}</small>"
    return gr.Error(words, title="That did not work", duration=12, print_exception=False)


@dataclass(frozen=True)
class Shell:
    """What all pages share: the studio, and the few values a browser session holds."""

    studio: Studio
    cid: gr.State
    tick: Callable[[Any], None]  # looks at the store after an event, and moves the open page's pulse


@dataclass(frozen=True)
class Page:
    """One tab's wiring. Handlers are plain functions `(studio, character id, *inputs)`.

    `pulse` moves when the store has moved while the tab is open, `beat` also with every step of a job.
    """

    shell: Shell
    tab: gr.Tab
    name: str
    pulse: gr.Textbox
    beat: gr.Textbox

    def on(
        self,
        trigger: Any,
        fn: Handler,
        inputs: Inputs = (),
        outputs: Inputs = (),
        *,
        then: Sequence[Drawing] = (),
        slow: bool = False,
    ) -> None:
        """Run a handler on an event and draw what depends on it, in one round trip; then look at the store.

        A `slow` one goes through Gradio's queue: it shows that it works, and what it says with `gr.Info` pops up.
        """
        call = _composed(self.shell.studio, fn, list(inputs), list(outputs), then)

        def handle(cid: str, *values: Any) -> Any:
            return call(cid, (), values)

        self.shell.tick(trigger(handle, [self.shell.cid, *call.inputs], call.outputs or None, **_quiet(slow)))

    def act(
        self,
        block: gr.HTML,
        fn: Handler,
        inputs: Inputs = (),
        outputs: Inputs = (),
        *,
        then: Sequence[Drawing] = (),
        slow: bool = False,
    ) -> None:
        """The same for clicks inside a block of markup: the handler is `(studio, character id, data, *inputs)`."""
        call = _composed(self.shell.studio, fn, list(inputs), list(outputs), then)

        def handle(event: gr.EventData, cid: str, *values: Any) -> Any:
            return call(cid, (dict(event._data or {}),), values)

        self.shell.tick(block.act(handle, [self.shell.cid, *call.inputs], call.outputs or None, **_quiet(slow)))

    def show(self, drawings: Sequence[Drawing], live: Sequence[Drawing] = ()) -> None:
        """Draw when the tab opens and whenever the store moves; `live` ones also with every step of a job."""
        self.redraw([self.tab.select, self.pulse.change], *drawings, *live)
        if live:
            self.redraw([self.beat.change], *live)

    def redraw(self, triggers: Sequence[Any], *drawings: Drawing) -> None:
        """Draw again on these events, say a widget's change. (A `gr.State` has none outside Gradio's queue.)"""
        call = _composed(self.shell.studio, _nothing, [], [], drawings)

        def draw(cid: str, *values: Any) -> Any:
            return call(cid, (), values)

        for trigger in triggers:
            trigger(draw, [self.shell.cid, *call.inputs], call.outputs, **_quiet(False))


def _nothing(studio: Studio, cid: str) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class _Call:
    """A handler and the drawings that follow it, as one function of all their inputs."""

    studio: Studio
    fn: Handler
    own: tuple[Inputs, Inputs]
    then: Sequence[Drawing]
    inputs: list[Any]
    outputs: list[Any]

    def __call__(self, cid: str, data: tuple[Any, ...], values: Sequence[Any]) -> Any:
        known = {id(block): value for block, value in zip(self.inputs, values, strict=True)}
        found: dict[int, Any] = {}
        try:
            here = _here(self.studio, cid)
            done = self.fn(self.studio, here, *data, *(known[id(block)] for block in self.own[0]))
            found.update(_by_block(self.own[1], done))
            known.update(found)
        except UserError as error:
            raise told(error) from error
        for fn, inputs, outputs in self.then:
            try:
                found.update(_by_block(outputs, fn(self.studio, here, *(known[id(block)] for block in inputs))))
            except UserError as error:
                place = next((block for block in outputs if isinstance(block, gr.HTML)), None)
                found.update({id(block): looks.trouble(error) if block is place else gr.skip() for block in outputs})
        values = [found[id(block)] for block in self.outputs]
        return values[0] if len(values) == 1 else values or None


def _composed(studio: Studio, fn: Handler, inputs: list[Any], outputs: list[Any], then: Sequence[Drawing]) -> _Call:
    needed = [*inputs, *(block for drawing in then for block in drawing[1])]
    drawn = [*outputs, *(block for drawing in then for block in drawing[2])]
    unique = [list({id(block): block for block in blocks}.values()) for blocks in (needed, drawn)]
    return _Call(studio, fn, (inputs, outputs), then, *unique)


def _by_block(outputs: Inputs, values: Any) -> dict[int, Any]:
    each = [values] if len(outputs) == 1 else list(values or ())
    return {id(block): value for block, value in zip(outputs, each, strict=True)}


def _quiet(slow: bool) -> dict[str, Any]:
    shown = "minimal" if slow else "hidden"
    return {"api_visibility": "private", "queue": slow, "show_progress": shown}


def _here(studio: Studio, cid: str) -> str:
    here = current(studio, cid)
    if not here:
        raise NotFound("There is no character yet.", "Create one with the button at the top.")
    return here
