"""The settings page: models, folders, budget, what they take on the disk."""

from __future__ import annotations

from markupsafe import Markup

from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, html


def build(page: Page) -> None:
    """Lays the page out."""
    folders = html(looks.waiting(), elem_id="settings-folders")
    page.show([(draw_folders, [], [folders])])


def draw_folders(desk: Desk) -> Markup:
    """Returns where characters and models lie, and the memory budget of the GPU."""
    settings = desk.workplace.settings
    rows = [("characters", settings.data_root), ("models", settings.models_dir)]
    return looks.panel("Folders", view("settings", "folders", rows=rows))
