"""The look of the page: Gradio's theme in the studio's colours, its style sheet and scripts, from this machine."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

_SCRIPTS = (
    "field.js",
    "angles.js",
    "place.js",
    "dialog.js",
    "desk.js",
    "words.js",
    "viewer.js",
    "story.js",
    "gallery.js",
    "crop.js",
    "bench.js",
    "turns.js",
    "flen.js",
    "again.js",
    "generate.js",
    "notice.js",
    "foot.js",
)
_FONT = ["ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.Base:
    """Returns the page's Gradio theme, whose colours are the CSS variables of `flen.css`, for dark and light mode."""
    base = gr.themes.Base(
        font=_FONT,
        font_mono=_MONO,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
    )
    colours = {
        "body_background_fill": "var(--fl-bg)",
        "body_text_color": "var(--fl-text)",
        "body_text_color_subdued": "var(--fl-dim)",
        "background_fill_primary": "var(--fl-panel)",
        "background_fill_secondary": "var(--fl-sunk)",
        "block_background_fill": "var(--fl-panel)",
        "block_border_color": "var(--fl-line)",
        "block_label_background_fill": "var(--fl-panel)",
        "block_label_text_color": "var(--fl-dim)",
        "block_title_text_color": "var(--fl-dim)",
        "block_info_text_color": "var(--fl-dim)",
        "border_color_primary": "var(--fl-line)",
        "border_color_accent": "var(--fl-accent)",
        "color_accent_soft": "var(--fl-sunk)",
        "input_background_fill": "var(--fl-sunk)",
        "input_border_color": "var(--fl-line)",
        "input_border_color_focus": "var(--fl-accent)",
        "input_placeholder_color": "var(--fl-dim)",
        "button_primary_background_fill": "var(--fl-accent)",
        "button_primary_background_fill_hover": "var(--fl-accent)",
        "button_primary_text_color": "var(--fl-on-accent)",
        "button_secondary_background_fill": "var(--fl-panel)",
        "button_secondary_background_fill_hover": "var(--fl-sunk)",
        "button_secondary_text_color": "var(--fl-text)",
        "button_secondary_border_color": "var(--fl-line)",
        "checkbox_background_color": "var(--fl-sunk)",
        "checkbox_background_color_selected": "var(--fl-accent)",
        "checkbox_border_color": "var(--fl-dim)",
        "checkbox_border_color_selected": "var(--fl-accent)",
        "checkbox_label_background_fill": "var(--fl-panel)",
        "checkbox_label_background_fill_selected": "var(--fl-sunk)",
        "checkbox_label_text_color": "var(--fl-text)",
        "checkbox_label_border_color": "var(--fl-line)",
        "slider_color": "var(--fl-accent)",
        "panel_background_fill": "var(--fl-panel)",
        "link_text_color": "var(--fl-accent)",
        "error_background_fill": "var(--fl-bad-soft)",
        "error_text_color": "var(--fl-bad)",
        "error_border_color": "var(--fl-bad)",
    }
    both = {**colours, **{f"{name}_dark": value for name, value in colours.items()}}
    return base.set(color_accent="var(--fl-accent)", block_padding="10px 12px", **both)


def head(assets: Path, *more: str) -> str:
    """Returns the studio's styles and scripts as inline HTML for the page's head.

    They are read from the folder `ui` in `assets`; `more` are the names of further style sheets or scripts there.
    """
    return "".join(inline(assets, name) for name in ("flen.css", *more, *_SCRIPTS))


def inline(assets: Path, name: str) -> str:
    """Returns a style sheet or a script of the folder `ui` in `assets` as inline HTML."""
    tag = "style" if name.endswith(".css") else "script"
    return f"<{tag}>{(assets / 'ui' / name).read_text(encoding='utf-8')}</{tag}>"
