"""The wiring of a page: events and clicks call plain handlers, and tabs render again when the store changes.

The character and the tab that a page shows are held in its address alone. The browser sends both with every call, so
that no handler depends on the order in which listeners of the page run.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import NotFound, UserError
from studio.flywheel.next_step import is_next
from studio.records.character import CHARACTER_SETTING
from studio.records.job import Job, JobState
from studio.records.settings import DEPLOYED_SETTING
from studio.workplace.desk import Desk, Workplace
from tabs.common import looks
from tabs.common.looks import view

_LOG = logging.getLogger(__name__)
_HANDS = "window.flen.attach(element, (data) => trigger('act', data), watch)"
_SAY = "watch('value', () => window.flen.say(props.value))"

Handler = Callable[..., Any]
Inputs = Sequence[Any]
Render = tuple[Handler, Inputs, Inputs]  # a render function, the widgets that it reads, those that it fills


def html(value: str = "", elem_id: str | None = None, **more: Any) -> gr.HTML:
    """Returns a `gr.HTML` block that is connected to the page's script.

    A click on an element of the block with the attribute `data-act` calls the handler that `Page.act` connected.
    `value` is the first content; `more` goes to `gr.HTML`.
    """
    return gr.HTML(value, elem_id=elem_id, js_on_load=_HANDS, apply_default_css=False, **more)


def current(workplace: Workplace, asked: str) -> str:
    """Returns the id of the character that a page shows, "" where there is none.

    It is `asked`, the id in the page's address, if it exists; else the one chosen last; else the first. A damaged
    character is returned only where its id is asked for, or where there is no other.
    """
    known = [character.id for character in workplace.library.characters()]
    if asked in known:
        return asked
    last = workplace.library.setting(CHARACTER_SETTING, str)
    order = [*(each for each in known if each == last), *known]
    return next((each for each in order if workplace.library.trouble(each) is None), next(iter(order), ""))


def fingerprint(desk: Desk) -> str:
    """Returns a text that changes whenever the character's page has to be rendered again.

    It depends on the character's store, on all jobs, on the names of all characters, and on what is in other programs.
    """
    library = desk.workplace.library
    jobs = ",".join(f"{job.id}{job.state}" for job in desk.workplace.jobs.list())
    names = ",".join(f"{each.id}{each.name}" for each in library.characters())
    revision = desk.store.revision if desk.id and library.trouble(desk.id) is None else 0
    return f"{desk.id}|{revision}|{hash(jobs)}|{hash(names)}|{library.setting(DEPLOYED_SETTING, str)}"


def heartbeat(workplace: Workplace) -> str:
    """Returns a text that names the running job and its step, so that it changes with every step; "" without a job."""
    job = workplace.jobs.running()
    return f"{job.id}|{job.step}" if job else ""


def queued(job: Job, values: Any = None) -> Said:
    """Returns the notice that a job is in the queue, with the values of the handler's outputs."""
    return Said(f"{job.title}: in the queue." if job.state is JobState.QUEUED else f"{job.title} has begun.", values)


def jobs_of(desk: Desk, *kinds: str) -> list[Job]:
    """Returns the character's jobs whose kind is one of `kinds`, newest first."""
    jobs = [job for job in desk.workplace.jobs.list(desk.id) if job.kind in kinds]
    return sorted(jobs, key=lambda job: job.created, reverse=True)


def active_job(desk: Desk, *kinds: str) -> Job | None:
    """Returns the character's running job of one of `kinds`, else the oldest queued one; None where there is none."""
    jobs = list(reversed(jobs_of(desk, *kinds)))
    states = (JobState.RUNNING, JobState.QUEUED)
    return next((job for state in states for job in jobs if job.state is state), None)


def stop(workplace: Workplace, job: str) -> Said:
    """Cancels a job by its id, and returns a notice of when it stops, or that it had ended. Raises: NotFound."""
    found = workplace.jobs.cancel(job)
    if found.stopping:
        return Said("It stops after its present step; what is finished stays.")
    return Said("It is cancelled." if found.state is JobState.CANCELLED else "It had ended already.")


def cancel(desk: Desk, data: dict[str, Any]) -> Said:
    """Cancels the job whose button was clicked, and returns a notice. Raises: NotFound."""
    return stop(desk.workplace, str(data.get("job", "")))


def marking(step: str) -> Handler:
    """Returns a render function for a tab's main button, which highlights it while `step` is the character's next step.

    `step` is the name of the tab.
    """
    return lambda desk: gr.update(variant="primary" if is_next(desk, step) else "secondary")


def progress_line(job: Job | None, stage: str = "") -> Markup:
    """Returns a job's progress as HTML, in one line with a bar and a cancel button; empty for None.

    `stage` replaces the job's title.
    """
    if job is None:
        return Markup()
    left = f"{looks.duration(job.eta_s)} left" if job.eta_s else job.waits_for or job.message
    return view(
        "common",
        "progress",
        state=job.state.value,
        tone="accent" if job.state is JobState.RUNNING else "",
        words=f"{stage or job.title or job.kind}: {looks.counted(job).replace('/', ' of ')}",
        part=job.step,
        whole=job.total,
        rest=job.message if job.stopping else left,
        job="" if job.stopping else job.id,
    )


@dataclass(frozen=True)
class Said:
    """Holds a handler's result together with a notice, which the browser shows beside the clicked element.

    `words` is the notice; `values` are the values of the handler's outputs.
    """

    words: str
    values: Any = None


def notices() -> gr.HTML:
    """Returns the invisible block that carries notices to the browser; a script shows them at the clicked element."""
    return gr.HTML(None, elem_id="fl-said", html_template="", js_on_load=_SAY, apply_default_css=False)


def refusal(error: UserError) -> dict[str, str]:
    """Returns the notice of an expected failure as a dict for the page's script: its cause, and what to do next."""
    return _notice("bad", error.cause, error.hint)


def _notice(tone: str, words: str, hint: str = "") -> dict[str, str]:
    """Returns a notice with a unique number, so that the same words are shown again when they are sent again."""
    return {"tone": tone, "words": words, "hint": hint, "number": secrets.token_hex(4)}


_NOTHING = Markup()
# Outside Gradio's queue a page that was loaded before a restart still works, and no call waits for a stream. Without a
# widget to show progress on, Gradio does not write the hidden progress into every output three times a call.
QUIET: dict[str, Any] = {
    "api_visibility": "private",
    "queue": False,
    "show_progress": "hidden",
    "show_progress_on": [],
}


def _from_address(how: str, count: int) -> str:
    """Returns the JavaScript of a call with `count` inputs, the first of which come from the page's address.

    `how` names the function of the page's script that fills them in.
    """
    return f"(...values) => window.flen.{how}(values.slice(0, {count}))"


def ticking(trigger: Any, tick: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Connects the handler `tick` to an event, and returns Gradio's dependency.

    The handler checks whether the store has changed. Its first two inputs are the page's character and tab, which the
    browser reads from its address.
    """
    return trigger(tick, list(inputs), list(outputs), js=_from_address("whole", len(inputs)), **QUIET)


@dataclass(frozen=True)
class Shell:
    """Holds what all tabs share, and connects handlers to events.

    A handler is a function `(desk, *inputs)`, whose `desk` gives access to the page's character. While there is no
    character, only handlers that were connected with `anywhere` are called; other calls are refused. `cid` is the
    hidden field with the id of the page's character, `said` the block for notices. `tick` takes an event and makes the
    page look for changes in the store after it.
    """

    workplace: Workplace
    cid: gr.Textbox  # the browser fills it from the page's address
    said: gr.HTML
    tick: Callable[[Any], None]

    def on(
        self,
        trigger: Any,
        fn: Handler,
        inputs: Inputs = (),
        outputs: Inputs = (),
        *,
        then: Sequence[Render] = (),
        anywhere: bool = False,
    ) -> None:
        """Connects the handler `fn`, a function `(desk, *inputs)`, to an event.

        The render functions in `then` run after it in the same call; then the page looks for changes in the store. With
        `anywhere` the handler also runs where there is no character.
        """
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
        then: Sequence[Render] = (),
        anywhere: bool = False,
        mode: str = "multiple",
    ) -> None:
        """Connects the handler `fn`, a function `(desk, data, *inputs)`, to clicks inside a block of HTML.

        `data` is the dict that the clicked element sends. The render functions in `then` run after the handler. `mode`
        is Gradio's trigger mode: with "once" a second click is ignored while the first is handled.
        """
        call = self._composed(fn, inputs, outputs, then, anywhere)

        def handle(event: gr.EventData, cid: str, *values: Any) -> Any:
            return call(cid, (dict(event._data or {}),), values)

        self.tick(self._listen(block.act, handle, call, trigger_mode=mode))

    def redraw(
        self, triggers: Sequence[Any], *drawings: Render, anywhere: bool = False, nobody: Markup = _NOTHING
    ) -> None:
        """Connects render functions to events: they run whenever one of `triggers` fires.

        Where there is no character, they run only with `anywhere`; without it, the first block that they fill shows the
        HTML `nobody`. A `gr.State` cannot be a trigger, because its events come only through Gradio's queue.
        """
        call = replace(self._composed(lambda desk: (), (), (), drawings, anywhere), nobody=nobody)

        def draw(cid: str, *values: Any) -> Any:
            return call(cid, (), values)

        for trigger in triggers:
            self._listen(trigger, draw, call)

    def _composed(
        self, fn: Handler, inputs: Inputs, outputs: Inputs, then: Sequence[Render], anywhere: bool = False
    ) -> _Call:
        needed = [*inputs, *(block for drawing in then for block in drawing[1])]
        drawn = [*outputs, *(block for drawing in then for block in drawing[2]), self.said]
        needed, drawn = (list({id(block): block for block in blocks}.values()) for blocks in (needed, drawn))
        return _Call(self.workplace, self.said, fn, (inputs, outputs), then, anywhere, needed, drawn)

    def _listen(self, trigger: Any, handle: Callable[..., Any], call: _Call, **more: Any) -> Any:
        given = [self.cid, *call.inputs]
        return trigger(handle, given, call.outputs, js=_from_address("here", len(given)), **QUIET, **more)


@dataclass(frozen=True)
class Page:
    """Holds one tab of the page and its shell, and connects the tab's handlers.

    `pulse`, `beat` and `drawn` are hidden fields. `pulse` changes when the store has changed while the tab is open,
    `beat` changes with every step of the running job. `drawn` holds the fingerprint of the store's state that the tab
    was rendered from.
    """

    shell: Shell
    tab: gr.Tab
    name: str
    pulse: gr.Textbox
    beat: gr.Textbox
    drawn: gr.Textbox

    def on(self, trigger: Any, fn: Handler, inputs: Inputs = (), outputs: Inputs = (), **more: Any) -> None:
        """Connects the handler `fn` to an event; the arguments are those of `Shell.on`."""
        self.shell.on(trigger, fn, inputs, outputs, **more)

    def act(self, block: gr.HTML, fn: Handler, inputs: Inputs = (), outputs: Inputs = (), **more: Any) -> None:
        """Connects the handler `fn` to clicks inside a block of HTML; the arguments are those of `Shell.act`."""
        self.shell.act(block, fn, inputs, outputs, **more)

    def redraw(self, triggers: Sequence[Any], *drawings: Render, **more: Any) -> None:
        """Connects render functions to events; the arguments are those of `Shell.redraw`."""
        self.shell.redraw(triggers, *drawings, **more)

    def show(self, drawings: Sequence[Render], live: Sequence[Render] = (), *, anywhere: bool = False) -> None:
        """Connects render functions to the opening of the tab and to changes of the store; to be called once per tab.

        Those in `live` also run with every step of a job. With `anywhere` all of them also run where there is no
        character.
        """
        whole = [(fingerprint, [], [self.drawn]), *drawings, *live]  # the store's fingerprint before drawing
        note = looks.empty("There is no character yet. Create one with “New character” at the top.")
        self.redraw([self.tab.select, self.pulse.change], *whole, anywhere=anywhere, nobody=note)
        if live:
            self.redraw([self.beat.change], *live, anywhere=anywhere)


class Logged:
    """Writes the traceback of an exception in its `with` block to the studio's log, and lets the exception pass."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            _LOG.error("a handler of the page hit a bug", exc_info=error)


@dataclass(frozen=True)
class _Call:
    """Combines a handler and the render functions after it into one function of all their inputs.

    `nobody` is what the first block of HTML shows where there is no character; None refuses the call instead.
    """

    workplace: Workplace
    said: gr.HTML
    fn: Handler
    own: tuple[Inputs, Inputs]
    then: Sequence[Render]
    anywhere: bool
    inputs: list[Any]
    outputs: list[Any]
    nobody: Markup | None = None

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
            if self.nobody is None and not self.anywhere and cid not in ("", here):
                # What was meant for one character is never done to another.
                cause = f"{cid} is not here any more: it was deleted, here or in another window."
                raise NotFound(cause, "Nothing was done. The page shows another character in a moment.")
            if not (here or self.anywhere):
                if self.nobody is not None:
                    places = [block for block in self.outputs if isinstance(block, gr.HTML) and block is not self.said]
                    return {id(block): "" if at else self.nobody for at, block in enumerate(places)}
                raise NotFound("There is no character yet.", "Create one with the button at the top.")
            desk = self.workplace.desk(here)
            done = self.fn(desk, *data, *(known[id(block)] for block in self.own[0]))
        except UserError as error:
            # The widgets keep the user's input, and nothing is drawn as if the action had succeeded.
            return {id(self.said): refusal(error)}
        if isinstance(done, Said):
            found[id(self.said)] = _notice("good", done.words)
            done = done.values
        own = _by_block(self.own[1], done)
        known.update((block, value) for block, value in own.items() if value != gr.skip())
        found.update(own)
        for fn, inputs, outputs in self.then:
            try:
                found.update(_by_block(outputs, fn(desk, *(known[id(block)] for block in inputs))))
            except UserError as error:
                places = [block for block in outputs if isinstance(block, gr.HTML)] or [self.said]
                found.update((id(each), "") for each in places[1:])  # what they showed belongs to an earlier drawing
                found[id(places[0])] = refusal(error) if places[0] is self.said else looks.trouble(error)
        return found


def _by_block(outputs: Inputs, values: Any) -> dict[int, Any]:
    each = [values] if len(outputs) == 1 else list(values or ())
    return {id(block): value for block, value in zip(outputs, each, strict=True)}
