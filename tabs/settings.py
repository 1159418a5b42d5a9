"""The Settings page: models, disk, backups, and the settings of the whole studio; it works without a character."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from markupsafe import Markup

from studio.flywheel.export import deploy
from studio.flywheel.export.deploy import PROGRAMS
from studio.housekeeping import kept, machine
from studio.workplace.desk import Desk
from tabs import disk, models
from tabs.common import looks
from tabs.common.knobs import Slider
from tabs.common.looks import view
from tabs.common.shell import Page, Render, Said, html


def build(page: Page) -> None:
    """Lays out the Settings page and connects its handlers."""
    workplace = page.shell.workplace
    on_cpu = workplace.gpu.raw_device.name == "cpu"
    with gr.Row(elem_classes="fl-two"):
        with gr.Column(scale=4, elem_classes="fl-side"):
            gr.HTML(view("settings", "title", words="Models"), apply_default_css=False)
            live = models.lay_out(page)
        with gr.Column(scale=5):
            drawn, moving = disk.lay_out(page)
            with gr.Column():
                budget = gr.Number(
                    kept.budget_gib(workplace),
                    label="GPU memory that may be used, in GiB",
                    visible=not on_cpu,
                    elem_id="settings-budget",
                )
                floor = Slider(
                    0,
                    1,
                    value=kept.identity_floor(workplace),
                    step=0.01,
                    label="Set new pictures aside below this likeness",
                    info="0: each character's own originals decide. Generate can set it for one character.",
                    elem_id="settings-floor",
                )
            with gr.Accordion("Other programs: where a finished LoRA is put", open=False, elem_id="settings-programs"):
                elsewhere = {
                    name: gr.Textbox(
                        label=f"Folder of {program.label}",
                        placeholder=f"the folder that holds {program.folders[0]}",
                        elem_id=f"settings-{name}",
                    )
                    for name, program in PROGRAMS.items()
                }
            browser = html(view("settings", "browser"), elem_id="settings-browser")
            folders = html(looks.waiting(), elem_id="settings-folders")
            check = gr.Button("Check this machine", elem_id="settings-check")
            findings = html(elem_id="settings-findings")
    known: Render = (read_kept, [], [budget, floor, *elsewhere.values()])
    page.show([*drawn, (draw_folders, [], [folders]), known], live=[*live, *moving], anywhere=True)
    page.on(budget.submit, set_budget, [budget], anywhere=True)
    page.on(budget.blur, set_budget, [budget], anywhere=True)
    page.on(floor.release, set_floor, [floor], anywhere=True)
    for name, field in elsewhere.items():
        for event in (field.submit, field.blur):
            page.on(event, set_program(name), [field], anywhere=True)
    page.on(check.click, check_machine, [], [findings], anywhere=True)
    page.act(browser, lambda desk, data: None, anywhere=True)


def draw_folders(desk: Desk) -> Markup:
    """Returns as HTML the paths of the folders of characters and models, and of the log file."""
    settings = desk.workplace.settings
    rows = [("characters", settings.data_root), ("models", settings.models_dir), ("log", settings.log_file)]
    return looks.panel("Folders", view("settings", "folders", rows=rows))


def read_kept(desk: Desk) -> list[Any]:
    """Returns a list with the stored values of the settings, for their widgets.

    They are the memory budget of the GPU in GiB, the likeness below which new pictures are set aside, 0…1, and the
    folder of each of PROGRAMS, "" where it is not set.
    """
    places = [deploy.folder_of(desk.workplace, name) for name in PROGRAMS]
    return [round(kept.budget_gib(desk.workplace), 2), kept.identity_floor(desk.workplace), *places]


def set_budget(desk: Desk, gib: float | None) -> Said | None:
    """Stores how much GPU memory in GiB jobs may use; returns a notice, None where the value is the present one.

    Raises: BadInput for None and for a value out of range.
    """
    if gib is not None and abs(gib - kept.budget_gib(desk.workplace)) < 0.01:
        return None
    kept.set_budget(desk.workplace, gib)
    return Said(f"Jobs keep to {gib:g} GiB of GPU memory from now on.")


def set_floor(desk: Desk, value: float | None) -> Said:
    """Stores the likeness to the originals below which new pictures are set aside, and returns a notice.

    `value` is from 0 to 1; 0 means that the threshold is computed for each character from its own originals. Raises:
    BadInput for None and for a value out of range.
    """
    kept.set_identity_floor(desk.workplace, value)
    if not value:
        return Said("Each character's own originals decide what is set aside.")
    return Said(f"New pictures below a likeness of {value:.2f} are set aside.")


def set_program(name: str) -> Callable[[Desk, str], Said | None]:
    """Returns a handler that stores the folder of another program, a key of PROGRAMS, and returns a notice.

    It returns None where the folder is the present one, and raises BadInput for a folder that is not the program's.
    """

    def store(desk: Desk, folder: str) -> Said | None:
        if folder.strip() == deploy.folder_of(desk.workplace, name):
            return None
        where = deploy.set_folder(desk.workplace, name, folder)
        label = PROGRAMS[name].label
        return Said(f"Versions can be put into {label} now." if where else f"The folder of {label} is forgotten.")

    return store


def check_machine(desk: Desk) -> Markup:
    """Returns as HTML what this machine has and lacks for the studio, each lack with its remedy."""
    found = machine.look(desk.workplace.settings, desk.workplace.registry)
    return looks.panel("This machine", view("settings", "findings", findings=found))
