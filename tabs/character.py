"""The character's page: its versions, what each learned from, and the character's own settings."""

from __future__ import annotations

from markupsafe import Markup

from studio.workplace.desk import Desk
from tabs.common import looks
from tabs.common.looks import view
from tabs.common.shell import Page, html


def build(page: Page) -> None:
    """Lays the page out."""
    versions = html(looks.waiting(), elem_id="character-versions")
    page.show([(draw_versions, [], [versions])])


def draw_versions(desk: Desk) -> Markup:
    """Returns the versions of the character, newest first."""
    versions = list(reversed(desk.store.versions.all()))
    if not versions:
        return looks.empty("Versions appear here once the first training has ended.", looks.go("Train", "Train"))
    return view("character", "versions", versions=versions)
