"""Views: Jinja templates in tabs/views, autoescaped; Python gives them values and never writes markup."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from studio.records.words import mended

FOLDER = Path(__file__).resolve().parent.parent / "views"


def view(template: str, name: str, /, **values: Any) -> Markup:
    """Return what a macro of a template makes of values: `view("curate", "detail", record=...)`."""
    macro = getattr(_environment().get_template(f"{template}.html").module, name)
    return Markup(macro(**values))


@cache
def _environment() -> Environment:
    from tabs.common import looks  # the templates use the small views, which are templates themselves

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals["looks"] = looks
    return environment


def _shown(value: Any) -> Any:
    """Return a value as a template prints it: nothing for None, `?` for what is no text."""
    if value is None:
        return ""
    return mended(value) if isinstance(value, str) and not isinstance(value, Markup) else value
