"""How a page is wired: state lives in the store, a pulse says that it moved, acts come back as plain calls.

Which character and which tab a page shows stands in its address and nowhere else; the browser sends both with every
call, so that no handler depends on which listener of the page woke first.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import NotFound, UserError
from studio.records.character import CHARACTER_SETTING
from studio.records.job import Job, JobState
from studio.workplace.desk import Desk, Workplace
from tabs.common import looks
from tabs.common.looks import view

_LOG = logging.getLogger(__name__)
_HANDS = "window.flen.attach(element, (data) => trigger('act', data), watch)"
_SAY = "watch('value', () => window.flen.say(props.value))"

Handler = Callable[..., Any]
Inputs = Sequence[Any]
Drawing = tuple[Handler, Inputs, Inputs]  # what draws, from which inputs, into which outputs


def html(value: str = "", elem_id: str | None = None, **more: Any) -> gr.HTML:
    """A block of our own markup; elements with `data-act` in it reach Python through `Page.act`."""
    return gr.HTML(value, elem_id=elem_id, js_on_load=_HANDS, apply_default_css=False, **more)


def current(workplace: Workplace, asked: str) -> str:
    """The character a page stands on: the one asked for, else the last one chosen, else the first; or "".

    A damaged one only where it is asked for, or where there is no other.
    """
    known = [character.id for character in workplace.library.characters()]
    if asked in known:
        return asked
    last = workplace.library.setting(CHARACTER_SETTING, str)
    order = [*(each for each in known if each == last), *known]
    return next((each for each in order if workplace.library.trouble(each) is None), next(iter(order), ""))


def fingerprint(desk: Desk) -> str:
    """Changes whenever a page of this character should be drawn again."""
    library = desk.workplace.library
    jobs = ",".join(f"{job.id}{job.state}" for job in desk.workplace.jobs.list())
    names = ",".join(f"{each.id}{each.name}" for each in library.characters())
    revision = desk.store.revision if desk.id and library.trouble(desk.id) is None else 0
    return f"{desk.id}|{revision}|{hash(jobs)}|{hash(names)}"


def heartbeat(workplace: Workplace) -> str:
    """Changes with every step of the running job."""
    job = workplace.jobs.running()
    return f"{job.id}|{job.step}" if job else ""


def jobs_of(desk: Desk, *kinds: str) -> list[Job]:
    """A character's jobs of some kinds, newest first."""
    jobs = [job for job in desk.workplace.jobs.list(desk.id) if job.kind in kinds]
    return sorted(jobs, key=lambda job: job.created, reverse=True)


def active_job(desk: Desk, *kinds: str) -> Job | None:
    """The running or queued job of some kinds, if there is one."""
    busy = (JobState.RUNNING, JobState.QUEUED)
    return next((job for job in jobs_of(desk, *kinds) if job.state in busy), None)


def progress_line(job: Job | None) -> Markup:
    """Returns where a job stands, in one line with its bar; nothing when there is no job."""
    if job is None:
        return Markup()
    return view(
        "common",
        "progress",
        state=job.state.value,
        tone="accent" if job.state is JobState.RUNNING else "",
        words=f"{job.title or job.kind}: {job.step} of {job.total or '?'}",
        part=job.step,
        whole=job.total,
        rest=f"{looks.duration(job.eta_s)} left" if job.eta_s else (job.waits_for or job.message),
        job=job.id,
    )


@dataclass(frozen=True)
class Said:
    """A handler's answer with words to show beside what was clicked; `values` are what goes into its outputs."""

    words: str
    values: Any = None


def notices() -> gr.HTML:
    """Return the block through which handlers say something; the browser shows it beside what was clicked."""
    return gr.HTML(None, elem_id="fl-said", html_template="", js_on_load=_SAY, apply_default_css=False)


def refusal(error: UserError) -> dict[str, str]:
    """Return an expected failure as the page shows it: its cause, and what to do next."""
    return _notice("bad", error.cause, error.hint)


def _notice(tone: str, words: str, hint: str = "") -> dict[str, str]:
    """A notice with a number of its own, so that the same words twice are shown twice."""
    return {"tone": tone, "words": words, "hint": hint, "number": secrets.token_hex(4)}


# Outside Gradio's queue: a page that was loaded before the studio's restart goes on, and nothing waits for a stream.
QUIET: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}


def _from_address(how: str, count: int) -> str:
    """The browser's part of a call: `count` inputs, of which the first stand in the page's address."""
    return f"(...values) => window.flen.{how}(values.slice(0, {count}))"


def ticking(trigger: Any, tick: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Wire a look at the store: the page's character and tab come first among the inputs. Returns the dependency."""
    return trigger(tick, list(inputs), list(outputs), js=_from_address("whole", len(inputs)), **QUIET)


@dataclass(frozen=True)
class Shell:
    """What all pages share: the workplace, where they say things, and what looks at the store after an event.

    Handlers are plain functions `(desk, *inputs)`; `anywhere` are those that need no character.
    """

    workplace: Workplace
    cid: gr.Textbox  # its value comes from the page's address, by the browser
    said: gr.HTML
    tick: Callable[[Any], None]

    def on(
        self,
        trigger: Any,
        fn: Handler,
        inputs: Inputs = (),
        outputs: Inputs = (),
        *,
        then: Sequence[Drawing] = (),
        anywhere: bool = False,
    ) -> None:
        """Run a handler on an event and draw what depends on it, in one round trip; then look at the store."""
        call = self._composed(fn, inputs, outputs, then, anywhere)

        def handle(cid: str, *values: Any) -> Any:
            return call(cid, (), values)

        self.tick(self._listen(trigger, handle, call))

    def act(
        self,
        block: gr.HTML,
        fn: Handler,
        inputs: Inputs = (),
        outputs: Inputs = (),
        *,
        then: Sequence[Drawing] = (),
        anywhere: bool = False,
        mode: str = "multiple",
    ) -> None:
        """The same for clicks inside a block of markup: the handler is `(desk, data, *inputs)`.

        `mode` is Gradio's trigger mode: a second click while the first is under way counts, unless it is "once".
        """
        call = self._composed(fn, inputs, outputs, then, anywhere)

        def handle(event: gr.EventData, cid: str, *values: Any) -> Any:
            return call(cid, (dict(event._data or {}),), values)

        self.tick(self._listen(block.act, handle, call, trigger_mode=mode))

    def redraw(self, triggers: Sequence[Any], *drawings: Drawing) -> None:
        """Draw again on these events, say a widget's change. (A `gr.State` has none outside Gradio's queue.)"""
        call = self._composed(lambda desk: (), (), (), drawings)

        def draw(cid: str, *values: Any) -> Any:
            return call(cid, (), values)

        for trigger in triggers:
            self._listen(trigger, draw, call)

    def _composed(
        self, fn: Handler, inputs: Inputs, outputs: Inputs, then: Sequence[Drawing], anywhere: bool = False
    ) -> _Call:
        needed = [*inputs, *(block for drawing in then for block in drawing[1])]
        drawn = [*outputs, *(block for drawing in then for block in drawing[2]), self.said]
        unique = [list({id(block): block for block in blocks}.values()) for blocks in (needed, drawn)]
        return _Call(self.workplace, self.said, fn, (inputs, outputs), then, anywhere, *unique)

    def _listen(self, trigger: Any, handle: Callable[..., Any], call: _Call, **more: Any) -> Any:
        given = [self.cid, *call.inputs]
        return trigger(handle, given, call.outputs, js=_from_address("here", len(given)), **QUIET, **more)


@dataclass(frozen=True)
class Page:
    """One tab's wiring.

    `pulse` moves when the store has moved while the tab is open, `beat` also with every step of a job; `drawn` holds
    the fingerprint of what the tab shows.
    """

    shell: Shell
    tab: gr.Tab
    name: str
    pulse: gr.Textbox
    beat: gr.Textbox
    drawn: gr.Textbox

    def on(self, trigger: Any, fn: Handler, inputs: Inputs = (), outputs: Inputs = (), **more: Any) -> None:
        """Run a handler on an event; `Shell.on` says how."""
        self.shell.on(trigger, fn, inputs, outputs, **more)

    def act(self, block: gr.HTML, fn: Handler, inputs: Inputs = (), outputs: Inputs = (), **more: Any) -> None:
        """Run a handler on a click inside a block of markup; `Shell.act` says how."""
        self.shell.act(block, fn, inputs, outputs, **more)

    def redraw(self, triggers: Sequence[Any], *drawings: Drawing) -> None:
        """Draw again on these events; `Shell.redraw` says how."""
        self.shell.redraw(triggers, *drawings)

    def show(self, drawings: Sequence[Drawing], live: Sequence[Drawing] = ()) -> None:
        """Draw when the tab opens and whenever the store moves; `live` ones also with every step of a job."""
        whole = [(fingerprint, [], [self.drawn]), *drawings, *live]  # what the store was like when drawing began
        self.redraw([self.tab.select, self.pulse.change], *whole)
        if live:
            self.redraw([self.beat.change], *live)


class Logged:
    """Writes the traceback of a bug to the studio's log and lets the bug pass: the browser shows that one happened."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            _LOG.error("a handler of the page hit a bug", exc_info=error)


@dataclass(frozen=True)
class _Call:
    """A handler and the drawings that follow it, as one function of all their inputs."""

    workplace: Workplace
    said: gr.HTML
    fn: Handler
    own: tuple[Inputs, Inputs]
    then: Sequence[Drawing]
    anywhere: bool
    inputs: list[Any]
    outputs: list[Any]

    def __call__(self, cid: str, data: tuple[Any, ...], values: Sequence[Any]) -> Any:
        with Logged():
            found = self._found(cid, data, values)
            shown = [found.get(id(block), gr.skip()) for block in self.outputs]
            return shown[0] if len(shown) == 1 else shown

    def _found(self, cid: str, data: tuple[Any, ...], values: Sequence[Any]) -> dict[int, Any]:
        known = {id(block): value for block, value in zip(self.inputs, values, strict=True)}
        found: dict[int, Any] = {}
        try:
            here = current(self.workplace, cid)
            if not (here or self.anywhere):
                raise NotFound("There is no character yet.", "Create one with the button at the top.")
            desk = self.workplace.desk(here)
            done = self.fn(desk, *data, *(known[id(block)] for block in self.own[0]))
        except UserError as error:
            # What was typed and chosen stays as it is; nothing is drawn as if it had been done.
            return {id(self.said): refusal(error)}
        if isinstance(done, Said):
            found[id(self.said)] = _notice("good", done.words)
            done = done.values
        own = _by_block(self.own[1], done)
        known.update(own)
        found.update(own)
        for fn, inputs, outputs in self.then:
            try:
                found.update(_by_block(outputs, fn(desk, *(known[id(block)] for block in inputs))))
            except UserError as error:
                place = next((block for block in outputs if isinstance(block, gr.HTML)), self.said)
                found[id(place)] = refusal(error) if place is self.said else looks.trouble(error)
        return found


def _by_block(outputs: Inputs, values: Any) -> dict[int, Any]:
    each = [values] if len(outputs) == 1 else list(values or ())
    return {id(block): value for block, value in zip(outputs, each, strict=True)}
