"""A new wording is one file and one row, and a new model is one row."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from engines.api.errors import NotFound
from engines.catalogue.models import MODELS
from engines.catalogue.registry import Registry
from engines.fake.models import FAKE_MODELS
from engines.wording.registry import VOCABULARIES, vocabulary

ROOT = Path(__file__).resolve().parents[3]
SOURCES = [
    path.relative_to(ROOT)
    for room in ("engines", "studio", "tabs", "frontdoor")
    for path in (ROOT / room).rglob("*.py")
]
TRAINED_AND_MEASURED = ("engines/mini/", "frontdoor/bench/")  # of certain models, by name


def _nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))))


def _remakes(call: ast.Call) -> bool:
    """Returns whether a call copies a vocabulary, which the file that defines it names in capitals."""
    made = [ast.unparse(each) for each in (call.func, *call.args[:1])]
    return made[0] == "replace" and made[-1].isupper()


def test_an_unknown_wording_is_refused() -> None:
    """A row that names no vocabulary fails with the names that there are, before any model is asked."""
    with pytest.raises(NotFound, match=r"no wording named runes.*photographs, klein, drawn"):
        vocabulary("runes")


@pytest.mark.parametrize("spec", [*MODELS, *FAKE_MODELS], ids=lambda spec: spec.name)
def test_every_row_names_a_wording_and_a_width(spec) -> None:
    """Models that ship with the program are asked in the drawn world's words, all others as for photographs.

    A model that edits by a grammar of its own is asked for its prompts as for photographs, too.
    """
    embedded = spec.source.startswith("assets:")
    assert spec.toy is embedded
    if spec.role != "scorer":
        told, photographs = vocabulary(spec.wording), VOCABULARIES["drawn" if embedded else "photographs"]
        own = {"edits": told.edits, "one_edit": told.one_edit, "two_edits": told.two_edits, "stays": told.stays}
        assert told == (replace(photographs, **own) if spec.editor else photographs)
        assert spec.dtype == ("float32" if embedded else "bfloat16")


def test_a_new_vocabulary_is_one_file_and_one_row() -> None:
    """Each file that makes a vocabulary has one row in the registry, and nobody but the registry imports it.

    One may be made of another, whose file it imports.
    """
    rooms = (path.relative_to(ROOT) for path in (ROOT / "engines" / "wording").glob("*.py"))
    made = {
        path.stem
        for path in rooms
        for node in _nodes(path)
        if isinstance(node, ast.Call) and (ast.unparse(node.func) == "Vocabulary" or _remakes(node))
    }
    assert made == set(VOCABULARIES)

    files = {f"engines.wording.{name}" for name in made}
    importers = {
        path.as_posix()
        for path in SOURCES
        if not path.as_posix().startswith(TRAINED_AND_MEASURED)
        for node in _nodes(path)
        if isinstance(node, ast.ImportFrom)
        and files & {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    }
    assert importers == {"engines/wording/registry.py", "engines/wording/klein.py"}


def test_a_new_model_is_one_row() -> None:
    """No file but the catalogue's names a model, and whether a model is the toy decides on labels alone.

    A new character's record names the embedded models, those that it begins with.
    """
    names = {spec.name for spec in MODELS}
    named = {
        path.parent.as_posix()
        for path in SOURCES
        if not path.as_posix().startswith(TRAINED_AND_MEASURED)
        for node in _nodes(path)
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert named == {"engines/catalogue", "studio/records"}

    asks_for_toy = {
        path.as_posix()
        for path in SOURCES
        for node in _nodes(path)
        if isinstance(node, ast.Attribute) and node.attr == "toy"
    }
    labels = {"frontdoor/models.py", "studio/housekeeping/machine.py", "tabs/common/adding.py", "tabs/generate.py"}
    assert asks_for_toy <= labels


def test_a_row_alone_decides_how_a_model_is_asked(tmp_path: Path) -> None:
    """The same model under another row is asked in other words, without a line of code."""
    row = next(spec for spec in MODELS if spec.name == "FLUX.1-dev")
    rows = Registry(tmp_path, tmp_path, (row, replace(row, name="FLUX.1-dev-drawings", wording="drawn")))
    said = [vocabulary(spec.wording).describe({}, "ohwx") for spec in rows.role("generator")]
    assert said == ["photo of ohwx person", "ohwx person"]
