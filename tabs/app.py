"""The studio's page: the choice of the character, the rail of stages, six tabs, and the status strip."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup
from starlette.middleware.trustedhost import TrustedHostMiddleware

from engines.api.axes import Medium
from studio.api.api import Api
from studio.flywheel.curate import characters
from studio.flywheel.curate.characters import NewCharacter
from studio.records.base import Json
from studio.records.character import CHARACTER_SETTING
from studio.workplace.desk import Desk, Workplace
from tabs import character as character_page
from tabs import curate, enrich, generate, refine, review, scripted, settings, status, train, viewer
from tabs.common import looks, missing
from tabs.common.knobs import MEDIA_CHOICES, MEDIUM_INFO, models
from tabs.common.looks import view
from tabs.common.shell import QUIET, Logged, Page, Said, Shell, current, fingerprint, heartbeat, html, notices, ticking
from tabs.common.theme import head, inline, theme
from tabs.glossary import GLOSSARY
from tabs.guard import MIB, Guard
from tabs.serving import HERE, First, Latest, Running, listen, serve
from tabs.sharing import ReviewLink, qr_code

TABS: tuple[tuple[str, Callable[[Page], None]], ...] = (
    ("Curate", curate.build),
    ("Enrich", enrich.build),
    ("Review", review.build),
    ("Train", train.build),
    ("Generate", generate.build),
    ("Editor Refinement", refine.build),
)
PAGES: tuple[tuple[str, Callable[[Page], None]], ...] = (  # opened by buttons at the top; they have no tab button
    ("Character", character_page.build),
    ("Settings", settings.build),
)
ROLES = (
    ("generator", "Draws", "Makes the pictures; your character is trained into it."),
    ("editor", "Edits", "Turns a dozen pictures into many, and writes their captions."),
    ("scorer", "Recognises", "Tells how much a picture looks like the character."),
)
BEAT_S = 1.5
RETRY_S = 2.0
_UPLOADS = "GRADIO_TEMP_DIR"
SESSIONS = 48  # sessions of pages and calls that are kept, about 0.7 MiB each: a person's windows, and scripts' calls
UPLOAD_BYTES = 8 << 30  # the largest uploaded file: a large dataset's zip
# The limits fit a call of the page or of a script, a painted picture of 100 megapixels, and a dataset's upload.
LIMITS = {"": 8 * MIB, "/gradio_api/component_server": 512 * MIB, "/gradio_api/upload": 2 * UPLOAD_BYTES}


def build(workplace: Workplace, sharing: ReviewLink | None = None) -> gr.Blocks:
    """Returns the studio's page as one Gradio app, which also publishes the API endpoints for scripts.

    `sharing` is the review link, by which others can review pictures; the page opens and closes it. None makes a new
    one. The page's own handlers are not published as endpoints.
    """
    link = sharing or ReviewLink(workplace)
    demo = scripted.Described(title="FLENwheel", analytics_enabled=False, fill_width=True)
    with demo:
        cid, tab, seen = (_hidden() for _ in range(3))
        places = (*TABS, *PAGES)
        pulses, beats = ([_hidden() for _ in places] for _ in range(2))
        drawn = [
            gr.Textbox(visible="hidden", elem_id=f"drawn-{name.lower().replace(' ', '-')}") for name, _ in places
        ]  # see place.js
        with gr.Row(elem_id="fl-head"):
            gr.HTML(view("frame", "brand"), elem_id="fl-brand", apply_default_css=False)
            character = gr.Dropdown([], show_label=False, container=False, elem_id="fl-character", label="Character")
            gr.HTML(view("frame", "story"), apply_default_css=False)
            gr.Button("New character", size="sm", elem_id="new-character")
            share = gr.Button("Share review", size="sm", elem_id="share-review")
            gr.HTML(view("frame", "icons", words=GLOSSARY), apply_default_css=False)
        forms = _Forms(workplace)
        rail, strip, said = html(elem_id="fl-rail"), html(elem_id="fl-strip"), notices()
        tick = _ticker(workplace, link, demo)
        inputs, outputs = [cid, tab, seen, *drawn], [seen, strip, rail, character, *pulses, *beats]

        def look(trigger: Any) -> Any:
            return ticking(trigger, tick, inputs, outputs)

        def follow(event: Any) -> None:
            look(event.then)

        shell = Shell(workplace, cid, said, follow)
        with gr.Tabs():
            for (name, build_tab), pulse, beat, shown in zip(places, pulses, beats, drawn, strict=True):
                with gr.Tab(name, elem_id=f"page-{name.lower()}" if (name, build_tab) in PAGES else None) as item:
                    build_tab(Page(shell, item, name, pulse, beat, shown))
                look(item.select)
        by_name = {getattr(each, "elem_id", None): each for each in demo.blocks.values()}
        viewer.build(shell, [by_name[name] for name in generate.SETTINGS_WIDGETS])
        look(demo.load)
        look(gr.Timer(BEAT_S).tick)
        follow(character.input(_switch(workplace), [character], [cid], js="(id) => window.flen.go(id)", **QUIET))
        forms.wire(link, shell, share, look)
        shell.act(strip, strip_act, anywhere=True)
        scripted.register(Api(workplace, link))
    return demo


def _hidden() -> gr.Textbox:
    """Returns a hidden text field; the browser holds its value, so that it survives a restart of the studio."""
    return gr.Textbox(visible="hidden")


def launch(workplace: Workplace, port: int = 0) -> Running:
    """Serves the studio's page on this machine, starts the job queue, and returns the running server.

    `port` 0 takes the port of the settings. Closing the returned object also closes an open review link. Raises: Busy
    for a port that another program uses, BadInput for one that cannot be opened.
    """
    listener = listen(port or workplace.settings.port)
    pages = workplace.settings.data_root / "cache" / "pages"
    leave = _upload_below(pages)
    sharing = ReviewLink(workplace)
    demo = build(workplace, sharing)
    fixed = inline(workplace.settings.assets, "fixed.js")
    demo.api_open = False  # not by queue(), which makes the whole app once more
    running = serve(
        demo,
        listener,
        pages / "studio",
        lambda app: TrustedHostMiddleware(
            Guard(First(Latest(app, demo, partial(open_folders, workplace)), fixed), LIMITS), [HERE, "localhost"]
        ),
        sessions=SESSIONS,
        handlers={TypeError: scripted.by_names(Api(workplace, sharing))},
        theme=theme(),
        head=head(workplace.settings.assets),
        allowed_paths=[str(folder) for folder in open_folders(workplace)],
        show_error=True,
        max_file_size=UPLOAD_BYTES,
    )
    workplace.jobs.start()
    return dataclasses.replace(running, ends=(sharing.stop, leave))


def _upload_below(pages: Path) -> Callable[[], None]:
    """Sets Gradio's folder for uploads; returns a function that restores the former one."""
    before = os.environ.get(_UPLOADS)
    os.environ[_UPLOADS] = str(pages)

    def leave() -> None:
        if before is None:
            os.environ.pop(_UPLOADS, None)
        else:
            os.environ[_UPLOADS] = before

    return leave


def open_folders(workplace: Workplace) -> list[Path]:
    """Returns the folders whose files the page may serve: the pictures, thumbnails and exports of all characters.

    Characters whose store cannot be opened are left out.
    """
    folders = [workplace.store(each.id).folder.resolve() for each in workplace.library.sound()]
    return [folder / name for folder in folders for name in ("images", "thumbs", "runs/exports")]


# ── updates of the page ─────────────────────────────────────────────────────────────────────────


def _ticker(workplace: Workplace, link: ReviewLink, demo: gr.Blocks) -> Callable[..., list[Any]]:
    """Returns the timer's handler, which returns updates of the widgets that no longer show the store's state.

    The page sends what it shows (`seen` of the head, `drawn` of each tab), so that a lost update is sent again. While a
    tab shows an older state, it is told to render again every RETRY_S seconds.
    """
    names = [name for name, _ in (*TABS, *PAGES)]

    def tick(cid: str, tab: str, seen: str, *drawn: str) -> list[Any]:
        with Logged():
            here = current(workplace, cid)
            stamp, beat, shown = fingerprint(workplace.desk(here)), heartbeat(workplace), status.strip(workplace, link)
            now = _Seen(stamp, hashlib.sha256(shown.encode()).hexdigest()[:16], beat)
            before = _Seen.read(seen)
            moved = stamp != before.stamp
            if moved:
                allowed = set(demo.allowed_paths)
                demo.allowed_paths += [str(each) for each in open_folders(workplace) if str(each) not in allowed]
            at = names.index(tab) if tab in names else 0
            stale = drawn[at] != stamp
            pulse = f"{stamp}|{time.monotonic() // RETRY_S:.0f}"
            return [
                now.written(),
                shown if now.strip != before.strip else gr.skip(),
                status.rail(workplace.desk(here), cid) if moved else gr.skip(),
                gr.update(choices=known_characters(workplace), value=here or None) if moved else gr.skip(),
                *(pulse if stale and each == at else gr.skip() for each in range(len(names))),
                *(beat if beat != before.beat and each == at else gr.skip() for each in range(len(names))),
            ]

    return tick


@dataclass(frozen=True)
class _Seen:
    """Holds the state that a page's head shows: the store's fingerprint, the status strip's digest, the job's step."""

    stamp: str = ""
    strip: str = ""
    beat: str = ""

    def written(self) -> str:
        """Returns the state as JSON text, which the page keeps in a hidden field."""
        return json.dumps(dataclasses.astuple(self))

    @classmethod
    def read(cls, text: str) -> _Seen:
        """Returns the state from the text that `written` made; an empty text is the state of a new page."""
        return cls(*json.loads(text)) if text else cls()


def known_characters(workplace: Workplace) -> list[tuple[str, str]]:
    """Returns a (name, id) choice for each character, for the drop-down at the top of the page.

    The name of a character whose data cannot be read has the addition “damaged”.
    """
    sound = {each.id for each in workplace.library.sound()}
    known = workplace.library.characters()
    return [(each.name if each.id in sound else f"{each.name} (damaged)", each.id) for each in known]


def _switch(workplace: Workplace) -> Callable[[str], str]:
    def switch(chosen: str) -> str:
        workplace.library.set_setting(CHARACTER_SETTING, chosen)
        return chosen

    return switch


def strip_act(desk: Desk, data: dict[str, Any]) -> Said | None:
    """Handles a click in the status strip (the bar with GPU and jobs): cancels, resumes, moves or dismisses a job.

    `data` comes from the clicked button: `act` names the action, `job` is the job's id. Returns a notice where the
    effect takes a while, None where the status strip shows it at once.
    """
    return status.handle(desk.workplace, data)


# ── the two forms at the top ─────────────────────────────────────────────────────────────────────


class _Forms:
    """Holds the widgets of two forms, of a new character and of the review link; the browser opens and closes both."""

    def __init__(self, workplace: Workplace) -> None:
        self.made = _hidden()
        with gr.Column(elem_id="new-form"), gr.Column(elem_id="new-fields"):
            gr.HTML(view("frame", "new_head"), apply_default_css=False)
            self.name = gr.Textbox(label="Name", info="What you call the character here.", elem_id="new-name")
            with gr.Row():
                self.trigger = gr.Textbox(
                    "ohwx",
                    label="Trigger word",
                    info="Calls the character in prompts: letters that mean nothing else.",
                    min_width=200,
                )
                self.subject = gr.Textbox(
                    "person", label="Kind", info="The plain word for it: person, woman, robot, dog …", min_width=200
                )
                self.medium = gr.Dropdown(
                    MEDIA_CHOICES,
                    value="photo",
                    label="Its pictures are",
                    info=MEDIUM_INFO,
                    min_width=200,
                    elem_id="new-medium",
                )
            self.models = [gr.Dropdown(models(workplace, role), label=label, info=info) for role, label, info in ROLES]
            self.absent = html(elem_id="new-missing")
            self.create = gr.Button("Create", variant="primary", elem_id="new-create")
        with gr.Column(elem_classes="fl-form", elem_id="share-form"):
            with gr.Row():
                self.hours = gr.Number(24, label="Open for how many hours")
                self.reach = gr.Radio(
                    [("by a public link", False), ("only in this network (same Wi-Fi)", True)],
                    value=False,
                    label="Who can open it",
                    elem_id="share-reach",
                )
                self.open = gr.Button("Open the link", variant="primary", elem_id="share-open")
                self.shut = gr.Button("Close the link", elem_id="share-close", visible=False)
            self.told = html(elem_id="share-told")

    def wire(self, link: ReviewLink, shell: Shell, share: gr.Button, look: Callable[[Any], Any]) -> None:
        """Connects the buttons of both forms with their handlers.

        `share` is the button that opens the form of the review link; `look` takes an event and updates the page after
        it.
        """

        def shared(state: dict[str, Any]) -> tuple[str, Any]:
            return share_panel(state), gr.update(visible=state["live"])

        def start(desk: Desk, hours: float | None, network: bool) -> tuple[str, Any]:
            return shared(open_link(link, desk, hours, network))

        def near(desk: Desk, data: dict[str, Any], hours: float | None) -> tuple[str, Any]:
            return start(desk, hours, True)

        def stop(desk: Desk) -> tuple[str, Any]:
            return shared(link.stop())

        def state(desk: Desk) -> tuple[str, Any]:
            return shared(link.state())

        told = [self.told, self.shut]
        fields = [self.name, self.trigger, self.subject, self.medium, *self.models]
        shell.on(self.create.click, create, fields, [self.made, self.name], anywhere=True)
        arrived = self.made.change(None, [self.made], None, js="(id) => window.flen.go(id)", **QUIET)
        look(arrived.then)
        for each in self.models:
            shell.redraw([each.change], (draw_missing, self.models, [self.absent]), anywhere=True)
        shell.act(self.absent, missing.act, anywhere=True)
        shell.on(share.click, state, [], told, anywhere=True)
        shell.on(self.open.click, start, [self.hours, self.reach], told)
        shell.act(self.told, near, [self.hours], told)
        shell.on(self.shut.click, stop, [], told, anywhere=True)


def open_link(link: ReviewLink, desk: Desk, hours: float | None, network: bool = False) -> Json:
    """Opens the review link, by which others review this character's pictures, and returns its state as JSON.

    `hours` is how long it stays open, None for a day. With `network` only devices in the local network can reach it;
    otherwise it is public, or for this machine alone where no public tunnel can be made. The state is what
    `ReviewLink.state` returns. Raises: BadInput for `hours` that are not allowed, and where there is no local network.
    """
    return link.start(desk.id, 24.0 if hours is None else float(hours), network)


def create(desk: Desk, name: str, trigger: str, subject: str, medium: Medium, *models: str) -> Said:
    """Creates a character from the form; returns a notice for the user with the new values of two widgets.

    The values are the new id, which makes the page open the character, and "", which empties the name field. `trigger`
    is the character's word in prompts, `subject` the plain word for what it is, `medium` what its pictures are.
    `models` are the names of generator, editor and scorer. Raises: BadInput without a name or trigger word, NotFound
    for an unknown model.
    """
    made = create_character(desk.workplace, name, trigger, subject, *models, medium=medium)
    return Said(f"{name.strip()} is here. Drop the first pictures below.", (made, ""))


def create_character(
    workplace: Workplace, name: str, trigger: str, subject: str, *models: str | None, medium: Medium = "photo"
) -> str:
    """Creates a character, makes it the one that the page opens next time, and returns its id.

    `trigger` is its word in prompts, `subject` the plain word for what it is, such as `person`, `medium` what its
    pictures are. `models` are the names of generator, editor and scorer; None or "" takes the default. Raises: BadInput
    without a name or trigger word, NotFound for an unknown model.
    """
    picked = {role: model for (role, *_), model in zip(ROLES, models, strict=False) if model}
    asked = NewCharacter(name=name, trigger=trigger, subject=subject, medium=medium, **picked)
    made = characters.create(workplace, asked)
    workplace.library.set_setting(CHARACTER_SETTING, made.id)
    return made.id


def draw_missing(desk: Desk, *models: str | None) -> Markup:
    """Returns as HTML a panel with a download button for each chosen model whose weights are not on this machine.

    `models` are names of models; None and "" are left out.
    """
    return missing.card(desk.workplace, *(name for name in models if name))


def share_panel(state: dict[str, Any]) -> Markup:
    """Returns as HTML the address, user and password of the open review link, or a note that none is open.

    `state` is what `ReviewLink.state` returns. A QR code is added where other devices can reach the address.
    """
    if not state.get("live"):
        return looks.empty("No review link is open. A reviewer sees the queue and can vote, nothing else.")
    rows = [
        ("address", state["url"]),
        ("user", state["user"]),
        ("password", state["password"]),
    ]
    reached = state.get("public") or state.get("network")  # a phone cannot open an address of this machine alone
    qr, invitation = (qr_code(state), state["invitation"]) if reached else ("", "")
    told = view("frame", "link", message=state["message"], rows=rows, qr=qr, invitation=invitation, near=not reached)
    return looks.panel("The review link is open", told)
