"""The walls of the house, held at run time; import-linter holds the static ones."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("assets", "engines", "frontdoor", "studio", "tabs")
SOURCES = [ROOT / "launch.py", *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]


def test_the_studio_starts_without_torch() -> None:
    """Importing the door, the app and the studio leaves every heavy package alone."""
    heavy = "{'torch', 'diffusers', 'transformers', 'peft', 'deepface', 'bitsandbytes'}"
    code = f"import sys, launch, tabs.app, studio.open; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_fast_suite_is_collected_without_torch() -> None:
    """`launch.py test --fast` imports no file of which every test is left out."""
    given = ["--collect-only", "-qq", "-m", "not slow and not browser", "tests"]
    code = f"import pytest, sys; status = pytest.main({given}); print(int(status), 'torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "0 False"


def test_help_imports_nothing_heavy() -> None:
    """`--help` answers without gradio, torch or matplotlib."""
    code = (
        "import sys, frontdoor.cli; frontdoor.cli.parser().format_help();"
        "print(sorted({'gradio', 'torch', 'matplotlib'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_one_broad_except() -> None:
    """Only the job worker may catch everything."""
    broad = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and _is_broad(node)
    ]

    assert [place for place in broad if not place.startswith("studio/jobs/queue.py")] == []
    assert len(broad) == 1


def test_no_global_statements() -> None:
    """State lives on disk or in an object, never in a module."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Global)
    ]

    assert found == []


def test_a_model_is_data_not_a_branch() -> None:
    """No code outside the registry compares anything with a model's name or family; the toy world builds its own."""
    from engines.catalogue.models import MODELS

    names = {name for spec in MODELS for name in (spec.name, spec.family)}
    own = (ROOT / "engines" / "catalogue" / "registry.py", *(ROOT / "engines" / "mini").rglob("*.py"))
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path not in own
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and any(isinstance(side, ast.Constant) and side.value in names for side in [node.left, *node.comparators])
    ]

    assert found == []


def test_pictures_are_read_in_one_place() -> None:
    """Nobody else opens picture files or drops what is no RGB of them; an import looks at headers first."""
    own = (ROOT / "engines" / "pictures.py", ROOT / "studio" / "flywheel" / "curate" / "intake.py")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path not in own
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) in ("Image.open", "ImageOps.exif_transpose", "cv2.imread", "cv2.imdecode")
            or ast.unparse(node).endswith(".convert('RGB')")
        )
    ]

    assert found == []


def test_the_studio_never_spells_a_knob_of_an_engine() -> None:
    """`instruction` is known to engines and tabs alone: adding a knob stays three edits."""
    words = {"instruction", "true_cfg", "negative"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "studio").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in words)
        or (isinstance(node, ast.keyword) and node.arg in words)
        or (isinstance(node, ast.Constant) and node.value in words)
    ]

    assert found == []


def test_every_test_says_its_truth() -> None:
    """Each test function carries a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert silent == []


def test_files_stay_readable() -> None:
    """No source file is longer than 400 lines, no function longer than 100."""
    long_files = [str(p.relative_to(ROOT)) for p in SOURCES if len(p.read_text().splitlines()) > 400]
    long_functions = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 100
    ]

    assert (long_files, long_functions) == ([], [])


def _is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (
        isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}
    )
