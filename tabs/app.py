"""The studio on one screen: who is being grown, the rail, six tabs, and the strip that is always in sight."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from starlette.middleware.trustedhost import TrustedHostMiddleware

from engines.errors import BadInput, UserError
from studio.api import Api
from studio.nouns import CHARACTER_SETTING
from studio.studio import Studio
from tabs import curate, enrich, generate, refine, review, scripted, status, train
from tabs.common import looks
from tabs.common.shell import Page, Shell, current, fingerprint, heartbeat, html, told
from tabs.common.theme import head, theme
from tabs.guard import MIB, Guard
from tabs.serving import HERE, Running, listen, serve
from tabs.sharing import ReviewLink

TABS: tuple[tuple[str, Callable[[Page], None]], ...] = (
    ("Curate", curate.build),
    ("Enrich", enrich.build),
    ("Train", train.build),
    ("Generate", generate.build),
    ("Review", review.build),
    ("Editor Refinement", refine.build),
)
ROLES = (("generator", "Draws"), ("editor", "Edits"), ("scorer", "Recognises"))
BEAT_S = 1.5
SESSIONS = 48  # pages and calls that are remembered, about 0.7 MiB each: a person's windows, and what scripts ask
UPLOAD_BYTES = 8 << 30  # one file: a large dataset's zip
# A call, by the page or by script; a painted picture of 100 megapixels; a dataset in one request.
LIMITS = {"": 8 * MIB, "/gradio_api/component_server": 512 * MIB, "/gradio_api/upload": 2 * UPLOAD_BYTES}
_QUIET: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
_BRAND = '<div class="fl-brand"><b>FLENwheel</b><span>grow a character from a dozen pictures</span></div>'
_ICONS = (
    '<div class="fl-icons"><button type="button" class="fl-button" data-theme-toggle title="dark or light">◐</button>'
    '<button type="button" class="fl-button" data-keys="1" title="the keys of this page">?</button></div>'
)


def build(studio: Studio, sharing: ReviewLink | None = None) -> gr.Blocks:
    """The whole studio as one Blocks app; all its handlers are private, the scripted surface is not."""
    link = sharing or ReviewLink(studio)
    with gr.Blocks(title="FLENwheel", analytics_enabled=False, fill_width=True) as demo:
        cid, tab, seen = gr.State(""), gr.State(TABS[0][0]), gr.State(("", "", "", ""))
        pulses = [gr.Textbox(visible="hidden") for _ in TABS]
        beats = [gr.Textbox(visible="hidden") for _ in TABS]
        with gr.Row(elem_id="fl-head"):
            gr.HTML(_BRAND, elem_id="fl-brand", apply_default_css=False)
            character = gr.Dropdown([], show_label=False, container=False, elem_id="fl-character", label="Character")
            new = gr.Button("New character", size="sm", elem_id="new-character")
            share = gr.Button("Share review", size="sm", elem_id="share-review")
            gr.HTML(_ICONS, apply_default_css=False)
        forms = _Forms(studio)
        rail, strip = html(elem_id="fl-rail"), html(elem_id="fl-strip")
        tick = _ticker(studio, link, demo)
        inputs, outputs = [cid, tab, seen], [seen, strip, rail, character, *pulses, *beats]

        def follow(event: Any) -> None:
            event.then(tick, inputs, outputs, **_QUIET)

        shell = Shell(studio=studio, cid=cid, tick=follow)
        with gr.Tabs():
            for (name, build_tab), pulse, beat in zip(TABS, pulses, beats, strict=True):
                with gr.Tab(name) as item:
                    build_tab(Page(shell, item, name, pulse, beat))
                item.select(_named(name), None, [tab], **_QUIET)
        search = gr.Textbox(visible="hidden", elem_id="fl-search")
        loading = demo.load(_opened(studio), [search], [cid], js="() => location.search", **_QUIET)
        follow(loading)
        gr.Timer(BEAT_S).tick(tick, inputs, outputs, **_QUIET)
        follow(character.input(_switch(studio), [character], [cid], **_QUIET))
        forms.wire(studio, link, cid, new, share, follow)
        follow(strip.act(_strip_act(studio), None, None, **_QUIET))
        scripted.register(Api(studio, link))
    return demo


def launch(studio: Studio, port: int = 0) -> Running:
    """Serve the studio on this machine; `close()` also takes a review link down.

    Raises: Busy and BadInput for a port that cannot be had.
    """
    listener = listen(port or studio.settings.port)
    pages = studio.settings.data_root / "cache" / "pages"
    os.environ["GRADIO_TEMP_DIR"] = str(pages)  # where uploads may lie; each app has a folder of its own in it
    sharing = ReviewLink(studio)
    demo = build(studio, sharing)
    demo.queue(api_open=False)
    running = serve(
        demo,
        listener,
        pages / "studio",
        lambda app: TrustedHostMiddleware(Guard(app, LIMITS), [HERE, "localhost"]),
        sessions=SESSIONS,
        theme=theme(),
        head=head(studio.settings.assets),
        allowed_paths=[str(folder) for folder in open_folders(studio)],
        show_error=True,
        max_file_size=UPLOAD_BYTES,
    )
    studio.jobs.start()
    return dataclasses.replace(running, ends=(sharing.stop,))


def open_folders(studio: Studio) -> list[Path]:
    """The only folders that the page may give files from: pictures, and the LoRAs that were written for other tools."""
    folders = [studio.store(each.id).folder.resolve() for each in studio.library.characters()]
    return [folder / name for folder in folders for name in ("images", "thumbs", "runs/exports")]


# ── what moves the page ─────────────────────────────────────────────────────────────────────────


def _named(name: str) -> Callable[[], str]:
    def named() -> str:
        return name

    return named


def _ticker(studio: Studio, link: ReviewLink, demo: gr.Blocks) -> Callable[..., list[Any]]:
    """What looks at the store: it answers only what has changed since this page last looked."""
    names = [name for name, _ in TABS]

    def tick(cid: str, tab: str, seen: tuple[str, str, str, str]) -> list[Any]:
        here = current(studio, cid)
        pulse, beat, shown = fingerprint(studio, here), heartbeat(studio), status.strip(studio, link)
        known, last_pulse, last_beat, last_shown = seen
        elsewhere = known != here
        moved = elsewhere or pulse != last_pulse
        if moved:
            allowed = set(demo.allowed_paths)
            demo.allowed_paths += [str(each) for each in open_folders(studio) if str(each) not in allowed]
        open_page = names.index(tab)
        return [
            (here, pulse, beat, shown),
            shown if shown != last_shown else gr.skip(),
            status.rail(studio, here) if moved else gr.skip(),
            gr.update(choices=_names(studio), value=here or None) if moved else gr.skip(),
            *(pulse if moved and at == open_page else gr.skip() for at in range(len(TABS))),
            *(beat if beat != last_beat and at == open_page else gr.skip() for at in range(len(TABS))),
        ]

    return tick


def _names(studio: Studio) -> list[tuple[str, str]]:
    return [(each.name, each.id) for each in studio.library.characters()]


def _opened(studio: Studio) -> Callable[[str], str]:
    def opened(search: str) -> str:
        asked = parse_qs((search or "").lstrip("?")).get("character", [""])[0]
        return current(studio, asked)

    return opened


def _switch(studio: Studio) -> Callable[[str], str]:
    def switch(chosen: str) -> str:
        studio.library.set_setting(CHARACTER_SETTING, chosen)
        return chosen

    return switch


def _strip_act(studio: Studio) -> Callable[[gr.EventData], None]:
    def act(event: gr.EventData) -> None:
        try:
            status.handle(studio, dict(event._data or {}))
        except UserError as error:
            raise told(error) from error

    return act


# ── the two forms of the head ───────────────────────────────────────────────────────────────────


class _Forms:
    """New character, and the review link; both closed until asked for."""

    def __init__(self, studio: Studio) -> None:
        with gr.Column(visible=False, elem_classes="fl-form") as self.new_box, gr.Row():
            self.name = gr.Textbox(label="Name", elem_id="new-name")
            self.trigger = gr.Textbox("ohwx", label="Trigger word (means nothing else)")
            self.subject = gr.Textbox("person", label="Kind (person, robot …)")
            self.models = [gr.Dropdown(_models(studio, role), label=label) for role, label in ROLES]
            self.create = gr.Button("Create", variant="primary", elem_id="new-create")
        with gr.Column(visible=False, elem_classes="fl-form") as self.share_box:
            with gr.Row():
                self.hours = gr.Number(24, label="Open for how many hours", minimum=0.1, maximum=72)
                self.open = gr.Button("Open the link", variant="primary", elem_id="share-open")
                self.shut = gr.Button("Close the link", elem_id="share-close", visible=False)
            self.told = html(elem_id="share-told")

    def wire(
        self, studio: Studio, link: ReviewLink, cid: gr.State, new: gr.Button, share: gr.Button, follow: Any
    ) -> None:
        """Connect the buttons."""

        def create(name: str, trigger: str, subject: str, *models: str) -> list[Any]:
            made = create_character(studio, name, trigger, subject, *models)
            return [made, gr.update(visible=False), ""]

        def shared(state: dict[str, Any]) -> tuple[str, Any]:
            return share_panel(state), gr.update(visible=state["live"])

        def start(here: str, hours: float) -> tuple[str, Any]:
            return shared(link.start(current(studio, here), float(hours or 24)))

        def toggle(shown: bool) -> tuple[bool, Any]:
            return not shown, gr.update(visible=not shown)

        for button, box in ((new, self.new_box), (share, self.share_box)):
            shown = gr.State(False)
            button.click(toggle, [shown], [shown, box], **_QUIET)
        told = [self.told, self.shut]
        share.click(lambda: shared(link.state()), None, told, **_QUIET)
        fields = [self.name, self.trigger, self.subject, *self.models]
        for trigger in (self.create.click, self.name.submit):
            follow(trigger(_safely(create), fields, [cid, self.new_box, self.name], **_QUIET))
        follow(self.open.click(_safely(start), [cid, self.hours], told, **{**_QUIET, "queue": True}))
        follow(self.shut.click(_safely(lambda: shared(link.stop())), None, told, **_QUIET))


def _safely(fn: Callable[..., Any]) -> Callable[..., Any]:
    def handle(*values: Any) -> Any:
        try:
            return fn(*values)
        except UserError as error:
            raise told(error) from error

    return handle


def _models(studio: Studio, role: str) -> list[tuple[str, str]]:
    return [(spec.label, spec.name) for spec in studio.registry.role(role)]


def create_character(studio: Studio, name: str, trigger: str, subject: str, *models: str | None) -> str:
    """Make a character and stand on it; `models` are its generator, editor and scorer.

    Raises: BadInput without a name or trigger word.
    """
    if not name.strip() or not trigger.strip():
        raise BadInput("A character needs a name and a trigger word.", "The usual trigger word is ohwx.")
    picked = {role: model for (role, _), model in zip(ROLES, models, strict=False) if model}
    chosen = {**studio.registry.first(), **picked}
    words = {"trigger": trigger.strip(), "subject": subject.strip() or "person"}
    made = studio.library.create(name.strip(), **words, **chosen)
    studio.library.set_setting(CHARACTER_SETTING, made.id)
    return made.id


def share_panel(state: dict[str, Any]) -> str:
    """What to send to a reviewer, or that nothing is open."""
    if not state.get("live"):
        return looks.empty("No review link is open. A reviewer sees the queue and can vote, nothing else.")
    rows = [
        ("address", state["url"]),
        ("user", state["user"]),
        ("password", state["password"]),
        ("until", state.get("until") or state["expires"]),
    ]
    facts = "".join(
        f"<dt>{name}</dt><dd><code>{looks.esc(value)}</code> "
        f'<button type="button" class="fl-button small" data-copy="{looks.esc(value)}">copy</button></dd>'
        for name, value in rows
    )
    return looks.panel(
        "The review link is open",
        f'<p class="fl-quiet">{looks.esc(state["message"])}</p><dl class="fl-facts">{facts}</dl>',
    )
