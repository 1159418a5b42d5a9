"""The models on the Settings page: what each is for, its licence, what of it is here, and its download."""

from __future__ import annotations

from typing import Any, Final

import gradio as gr
from markupsafe import Markup

from engines.api.errors import NotFound
from engines.api.forms import FULL_WIDTH, ROWS
from studio.housekeeping import models, pulling
from studio.workplace.desk import Desk
from tabs.common import looks, missing
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, html

ROLES: Final = (("generator", "Draws"), ("editor", "Edits"), ("scorer", "Recognises"), ("detector", "Finds faces"))
FORMS: Final = (*((row.download, form) for form, row in ROWS.items()), ("full width (bf16)", FULL_WIDTH))
_TONES: Final = {
    models.Here.EMBEDDED: ("", "built in"),
    models.Here.READY: ("good", "ready"),
    models.Here.RAW: ("good", "ready, not quantised yet"),
    models.Here.PARTLY: ("warn", "partly here"),
    models.Here.MISSING: ("", "not on this machine"),
}


def lay_out(page: Page) -> list[Render]:
    """Lays out the models with their downloads and connects them.

    Returns the render functions to run with every step of a job, because they show the progress of a download.
    """
    form = gr.Radio(list(FORMS), value=FORMS[0][1], label="Keep the large parts of a download as", elem_id="pull-form")
    shown = html(looks.waiting(), elem_id="settings-models")
    with gr.Accordion("I have the files of a model already", open=False, elem_id="pull-given"):
        with gr.Row():
            which = gr.Dropdown([], label="Model", elem_id="pull-model")
            told = (
                "a folder in diffusers layout, ComfyUI's models folder, or the transformer's safetensors or GGUF file"
            )
            place = gr.Textbox(label="Folder or file on this machine", info=told, elem_id="pull-path")
        with gr.Row():
            told = "only where it is not in that folder or file; FLUX.1 has two, one path a line"
            encoders = gr.Textbox(label="Text encoder", info=told, lines=2, elem_id="pull-encoders")
            vae = gr.Textbox(label="VAE", info="only where it is not in that folder or file", elem_id="pull-vae")
        take = gr.Button("Use these files", elem_id="pull-take")
    page.act(shown, models_act, [form], anywhere=True)
    given = [place, encoders, vae]
    page.on(take.click, take_files, [which, form, *given], given, anywhere=True)
    page.redraw([page.tab.select], (fill_models, [which], [which]), anywhere=True)
    return [(draw_models, [], [shown])]


def draw_models(desk: Desk) -> Markup:
    """Returns all models in the registry as HTML, grouped by role: generators, editors and scorers."""
    found = models.models(desk.workplace)
    roles = [(words, [draw_model(each) for each in found if each.spec.role == role]) for role, words in ROLES]
    return view("models", "roles", roles=roles)


def draw_model(found: models.Model) -> Markup:
    """Returns one model as HTML: its licence and size, how much of it is on this machine, and its download."""
    tone, state = _TONES[found.presence.here]
    return view(
        "models",
        "model",
        model=found,
        tone=tone,
        state=state,
        forms=", ".join(found.presence.forms),
        size=models.download_bytes(found.spec),
        download=missing.download(found),
    )


def fill_models(desk: Desk, chosen: str | None) -> Any:
    """Returns an update of a drop-down: the models whose weights can be taken from files of this machine.

    `chosen` is the name of the chosen model, which stays chosen.
    """
    rows = [each.spec for each in models.models(desk.workplace) if each.pullable]
    return gr.update(choices=[(spec.label, spec.name) for spec in rows], value=chosen or None)


def models_act(desk: Desk, data: dict[str, Any], form: str) -> Said | None:
    """Handles a button of a model's download: queues, stops or resumes it; returns a notice.

    `data` is what the button sent. `form` is the format to store the weights in, such as nf4. Raises: UserError
    for an unknown button, and where the download cannot be queued.
    """
    return missing.act(desk, data, form)


def take_files(desk: Desk, name: str | None, form: str, place: str, encoders: str = "", vae: str = "") -> Said:
    """Queues a job that makes a model's weights from files of this machine.

    `name` is the model's name. `place` is the path of a folder or file, `encoders` are those of text encoders, one a
    line, `vae` is that of the VAE; `form` is the format to store the weights in, such as nf4. Returns a notice, and ""
    for each field of a path, which empties it. Raises: NotFound without a model or a path; BadInput for files that
    cannot be used.
    """
    if not name:
        raise NotFound("No model is chosen.", "Choose which model these files are.")
    paths = [path.strip() for path in (place, *encoders.splitlines(), vae) if path.strip()]
    if not paths:
        raise NotFound("There is no folder or file.", "Paste the path of the model's files.")
    job = pulling.submit(desk.workplace, name, form, place, encoders.splitlines(), vae)
    return Said(f"{job.title} from {', '.join(paths)} is in the queue.", ["", "", ""])
