"""A field with a wrong value: what is pressed then answers in words, and nothing is queued that must fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.gate import Gated, gated
from tests.tabs.telling import tell

pytestmark = pytest.mark.browser
WRONG = {"number": ("-1000000000", "1000000000000", ""), "text": ("", "\u0007", "x" * 20_000)}
# The fields of the open tab, numbered: their kinds and labels.
FIELDS = """
() => [...document.querySelectorAll('[role="tabpanel"] :is(input, textarea)')]
    .filter((node) => !node.type || ["number", "text", "textarea"].includes(node.type))
    .filter((node) => delete node.dataset.field && node.offsetParent && !node.disabled && !node.readOnly
        && !node.matches('[role="listbox"], [role="combobox"]') && !node.closest('[role="listbox"]'))
    .map((node, at) => {
        node.dataset.field = at;
        const label = node.ariaLabel || node.closest("label")?.innerText || node.id;
        return [node.type === "number" ? "number" : "text", label];
    })
"""
GO = {
    "Curate": ["Save words"],
    "Enrich": ["#enrich-run"],
    "Train": ["#train-start"],
    "Generate": ["#generate-go"],
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gated]:
    """Anna has versions, cards, and pictures of every kind; her jobs stand still."""
    with gated(tmp_path) as made:
        made.gate.open()
        tell(made.studio, made.store.character)
        made.gate.shut()
        yield made
