"""How the house is built: rooms, records, types, the length of things; import-linter holds the floors."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("assets", "engines", "frontdoor", "studio", "tabs")
SOURCES = [ROOT / "launch.py", *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]
TOY_WORLD = "engines.mini."  # the drawn world is one thing in many files
FRIENDS = {"studio.gpu.lease", "studio.gpu.manager"}
LONGEST_FUNCTION, LONGEST_FILE = 60, 400
SMALL, MOST_SMALL = 6, 60  # lines of a private function with one caller, and how many of these there may be
UNTYPED = re.compile(r"\bJson\b|[dD]ict\[str, Any\]")
MAY_BE_UNTYPED = ("studio/records/", "studio/store/journal.py", "studio/api/answers.py")


def parsed() -> Iterator[tuple[Path, ast.Module]]:
    """Every source file and its syntax tree."""
    for path in SOURCES:
        yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules that import one another, directly or by way of others."""
    reach: dict[str, set[str]] = {}
    for start in imports:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for each in imports[waiting.pop()] - seen:
                seen.add(each)
                waiting.append(each)
        reach[start] = seen
    found = [{other for other in reach[each] if each in reach[other]} for each in imports if each in reach[each]]
    return [circle for at, circle in enumerate(found) if circle not in found[:at]]


def test_nothing_imports_in_a_circle() -> None:
    """Imports for types counted; a lease and its manager are friends, and the toy world is one thing."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}

    found = [circle for circle in circles(imports) if not all(each.startswith(TOY_WORLD) for each in circle)]

    assert found == [FRIENDS]


def test_rooms_hold_the_files() -> None:
    """At most three files lie flat in `studio/` and in `engines/`, beside the packages."""
    for package in ("studio", "engines"):
        flat = [path.name for path in (ROOT / package).glob("*.py") if path.name != "__init__.py"]
        assert len(flat) <= 3, (package, flat)


def test_walls_have_few_exceptions() -> None:
    """The walls' lists of ignored imports have at most twelve lines in all."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [line for each in told["tool"]["importlinter"]["contracts"] for line in each.get("ignore_imports", ())]

    assert len(lines) <= 12


def test_types_are_checked_everywhere() -> None:
    """Mypy is strict and sees every package and the door; no module is let off."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]

    assert told["strict"] is True
    assert set(told["files"]) >= {"engines", "frontdoor", "studio", "tabs", "launch.py"}
    assert "exclude" not in told
    for each in told["overrides"]:
        assert each.keys() <= {"module", "ignore_missing_imports", "implicit_reexport"}, each
        assert not any(name.split(".")[0] in PACKAGES for name in each["module"]), each


def test_every_ignore_carries_its_reason() -> None:
    """What is ignored of ruff or mypy in a source file says why, on its line."""
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := re.search(r"# (?:noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])(.*)", line))
        and not re.search(r"\w{3}", found[1])
    ]

    assert bare == []


def test_records_cross_modules_not_dictionaries() -> None:
    """No function of the studio takes or returns a dictionary of anything, but where records are read and answered."""
    found = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in parsed()
        if path.parts[0] == "studio" and not path.as_posix().startswith(MAY_BE_UNTYPED)
        for node in functions(tree)
        if any(UNTYPED.search(ast.unparse(each)) for each in kinds(node)) and node.name != "to_json"
    ]

    assert found == []


def kinds(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    """What a function says of its arguments and of what it returns."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [each for each in (*(one.annotation for one in arguments), node.returns) if each is not None]


def test_records_are_read_by_attribute() -> None:
    """Nobody looks into a payload, an entry, a cell, a checkpoint or artifacts by a string."""
    held = re.compile(
        r"\b(payload|entry|entries|cell|cells|checkpoint|checkpoints|artifacts|metrics|summary)(\[\d\])?$"
    )
    found = [
        f"{path}:{node.lineno}"
        for path, tree in parsed()
        if path.parts[0] in ("studio", "tabs", "frontdoor")
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
            and held.search(ast.unparse(node.value))
        )
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and held.search(ast.unparse(node.func.value))
        )
    ]

    assert found == []


def test_functions_and_files_are_short() -> None:
    """A function fits on a screen, a file can be read in one go."""
    long = [
        f"{path}:{node.name} {node.end_lineno - node.lineno + 1}"
        for path, tree in parsed()
        for node in functions(tree)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}

    assert long == []
    assert {path: count for path, count in lengths.items() if count > LONGEST_FILE} == {}


def test_few_helpers_have_one_caller() -> None:
    """A private function of a few lines that one place calls hides a line; some make their caller readable."""
    small = [name for path, tree in parsed() for name in small_helpers(path, tree)]

    assert len(small) <= MOST_SMALL, small


def small_helpers(path: Path, tree: ast.Module) -> Iterator[str]:
    """Private functions of a file with one caller and few lines, their docstring not counted."""
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    names += [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    uses = Counter(names)
    for node in functions(tree):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        private = node.name.startswith("_") and not node.name.startswith("__")
        if private and uses[node.name] == 1 and body and (body[-1].end_lineno or 0) - body[0].lineno + 2 <= SMALL:
            yield f"{path}:{node.lineno} {node.name}"
