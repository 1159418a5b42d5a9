"""The panel of a model that is not on this machine, with its licence, its size and its download; for any tab."""

from __future__ import annotations

from typing import Any

import gradio as gr
from markupsafe import Markup

from engines.api.errors import UserError
from studio.housekeeping import models, pulling
from studio.housekeeping.models import Here, Model
from studio.records.job import JobState
from studio.workplace.desk import Desk, Workplace
from tabs.common.looks import view
from tabs.common.shell import Page, Said, progress_line

PULL, RESUME, CANCEL = "pull", "pull-resume", "cancel"


def card(workplace: Workplace, *names: str) -> Markup:
    """Returns as HTML a small panel with a download for each model whose weights are not on this machine.

    `names` are the models to look at; the HTML is empty where all of them are here.
    """
    gone = [name for name in dict.fromkeys(names) if name and not workplace.registry.here(name)]
    return Markup("").join(
        view("missing", "card", model=found, size=models.download_bytes(found.spec), download=download(found))
        for found in (models.model(workplace, name) for name in gone)
    )


def wire(page: Page, block: gr.HTML) -> None:
    """Connects the download buttons in a block of HTML that has no other buttons."""
    page.act(block, act, anywhere=True)


def download(found: Model) -> Markup:
    """Returns a model's download as HTML: its button with licence and size, its progress, or why it stopped.

    It is empty for a model that is ready on this machine, and for one that does not come from the Hugging Face hub.
    """
    if not found.pullable or (found.presence.here is Here.READY and not found.running):
        return Markup()
    if found.running:
        return progress_line(found.job)
    size = models.download_bytes(found.spec)
    stopped = found.job if found.job is not None and found.job.state is not JobState.DONE else None
    return view(
        "missing",
        "download",
        model=found,
        size=size,
        tight=bool(found.presence.missing) and found.presence.missing > found.free,
        raw=found.presence.here is Here.RAW,
        stopped=stopped,
        resume=RESUME,
        pull=PULL,
    )


def act(desk: Desk, data: dict[str, Any], form: str = pulling.FORMS[0]) -> Said | None:
    """Handles a click on a download button: queues the download, resumes it or stops it; returns a notice.

    `data` is what the button sent. `form` is the format of the stored weights, such as nf4. Raises: UserError
    for an unknown button, and where the download cannot be queued.
    """
    jobs, name = desk.workplace.jobs, str(data.get("act"))
    if name == PULL:
        job = pulling.submit(desk.workplace, str(data.get("model", "")), form)
        return Said(f"{job.title} is in the queue. It goes on when this page is closed, not when the studio is.")
    if name == RESUME:
        job = jobs.resume(str(data.get("job", "")))
        return Said(f"{job.title} goes on where it stopped.")
    if name == CANCEL:
        jobs.cancel(str(data.get("job", "")))
        return Said("It stops; what has come stays, and the download can go on later.")
    raise UserError("There is no such button.", "Reload the page.")
