"""The views: templates that escape what people typed, and no markup written in Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader, nodes

from engines.api.errors import BadInput
from studio.records.character import Character
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind
from studio.records.job import Advised, Artifacts, Job, JobError, JobState, Refused
from studio.records.review import Triplet
from studio.records.version import Comparison, Pair, Version
from studio.workplace.desk import Workplace
from tabs import app, curate, enrich, generate, refine, review, reviewer, status, train, viewer
from tabs.common import adding, curves, looks, mending, shell, wording

TABS = Path(app.__file__).parent
TEMPLATES = sorted(looks.VIEWS.glob("*.html"))
BAD = """<b onclick="x('y')">&"""
MARKUP = re.compile(r"</?[a-zA-Z][a-zA-Z0-9-]*[\s>/]|&[a-z]+;")
# Files whose strings look like markup and are none, or are no view of a page's.
EXCEPTIONS = {"common/theme.py": "wraps the scripts and styles of assets/ui in their tags"}


def parsed(template: Path) -> nodes.Template:
    """A template's syntax tree."""
    return Environment(loader=FileSystemLoader(looks.VIEWS), autoescape=True).parse(template.read_text("utf-8"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_compiles_and_holds_macros_alone(template: Path) -> None:
    """What is drawn is drawn by a macro that Python names; nothing stands between the macros."""
    tree = parsed(template)
    loose = [
        each.data.strip()
        for output in tree.body
        if isinstance(output, nodes.Output)
        for each in output.nodes
        if isinstance(each, nodes.TemplateData)
    ]

    assert [each for each in loose if each] == []
    assert list(tree.find_all(nodes.Macro))


def test_every_macro_is_called() -> None:
    """By Python as `view("template", "macro", …)`, or by another macro of its template."""
    source = "\n".join(path.read_text("utf-8") for path in TABS.rglob("*.py"))
    called = set(re.findall(r"""view\(\s*"(\w+)",\s*"(\w+)\"""", source))
    for template in TEMPLATES:
        tree = parsed(template)
        inner = {call.node.name for call in tree.find_all(nodes.Call) if isinstance(call.node, nodes.Name)}
        named = {macro.name for macro in tree.find_all(nodes.Macro)}
        assert named == {name for place, name in called if place == template.stem} | (inner & named), template.stem


def test_python_writes_no_markup() -> None:
    """No string of a tab holds a tag or an entity; docstrings may name them."""
    found = []
    for path in sorted(TABS.rglob("*.py")):
        if path.relative_to(TABS).as_posix() in EXCEPTIONS:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        told = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
        found += [
            f"{path.relative_to(TABS)}:{each.lineno}"
            for each in ast.walk(tree)
            if isinstance(each, ast.Constant)
            and isinstance(each.value, str)
            and id(each) not in told
            and MARKUP.search(each.value)
        ]

    assert found == []


def a_job(**more: object) -> Job:
    """A job whose every word tries to be markup."""
    told = {
        "id": "j",
        "title": BAD,
        "message": BAD,
        "waits_for": BAD,
        "error": JobError(code="x", message=BAD, hint=BAD),
    }
    return Job(kind="train", character="c", **{**told, **more})  # type: ignore[arg-type]  # words of a test


def a_record(**more: object) -> ImageRecord:
    """A picture whose every word tries to be markup."""
    told = {"name": BAD, "caption": BAD, "caption_by": BAD, "advice": {"x": BAD}, "asked": {"angle": BAD}}
    fields = {"id": "i", "kind": Kind.ENRICHED, "file": "f", "width": 8, "height": 8}
    return ImageRecord(**{**fields, **told, **more})  # type: ignore[arg-type]  # words of a test


def a_version() -> Version:
    """A version with a bad name."""
    return Version(id="v", role=Role.EDITOR, name=BAD, model=BAD, adapter="a")


IMPORTED = Artifacts(imported=("i",), refused=(Refused(BAD, BAD, BAD),), advice=(Advised(file=BAD, id="i", words=BAD),))
LINK = ("url", "user", "password", "until", "message")
VIEWS: dict[str, Callable[[], str]] = {
    "chip": lambda: looks.chip(BAD, title=BAD),
    "button": lambda: looks.button(BAD, "act", hint=BAD, key="x", data=BAD),
    "empty": lambda: looks.empty(BAD),
    "trouble": lambda: looks.trouble(BadInput(BAD, BAD)),
    "check": lambda: looks.check(BAD, False, BAD),
    "panel": lambda: looks.panel(BAD, BAD, BAD),
    "table": lambda: looks.table([BAD], [[BAD]]),
    "tile": lambda: looks.tile(a_record(), None, badges=BAD),
    "picture": lambda: looks.picture(None, BAD, enlarge=BAD),
    "compare": lambda: looks.compare(None, None, BAD, (BAD, BAD)),
    "progress": lambda: shell.progress_line(a_job(state=JobState.RUNNING)),
    "failed run": lambda: looks.view("common", "ended", state=BAD, tone="bad", words=BAD, trouble=BAD),
    "running": lambda: status.running(a_job(state=JobState.RUNNING)),
    "offered": lambda: status._offered(a_job(state=JobState.FAILED)),
    "queue": lambda: looks.view("frame", "queue", jobs=[a_job(), a_job(id="k")]),
    "import": lambda: adding.import_report(a_job(artifacts=IMPORTED, error=JobError())),
    "failed import": lambda: adding.import_report(a_job()),
    "sign": lambda: wording.sign(BAD, BAD, BAD),
    "badges": lambda: curate.badges(a_record()) + generate._badges(a_record(), BAD),
    "commands": lambda: curves.elsewhere((BAD, BAD)),
    "exports": lambda: looks.view(
        "common", "forms", act=BAD, version=BAD, forms={BAD: BAD}, programs={BAD: (BAD, False), "out": (BAD, True)}
    ),
    "moved": lambda: looks.view("common", "moved", label=BAD, files=[BAD], is_out=True),
    "compared": lambda: looks.view(
        "refine",
        "compared",
        name=BAD,
        edits=Comparison(),
        pairs=[(Pair(triplet="t", task=BAD, before="a", after="b"), None, None)],
    ),
    "not compared": lambda: looks.view("refine", "not_compared", words=BAD),
    "version": lambda: looks.view("train", "name", version=a_version(), state=("in use", "good")),
    "link": lambda: app.share_panel(
        {"live": True, **dict.fromkeys(("url", "user", "password", "until", "message"), BAD)}
    ),
    "invitation": lambda: app.share_panel({"live": True, "network": True, **dict.fromkeys((*LINK, "invitation"), BAD)}),
    "workbench": lambda: looks.view("bench", "bar", golden=BAD, made=0, enough=1, shots=[("i", BAD, None, True)] * 2),
    "reviewer": lambda: reviewer._inline(b"x", BAD),
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_people_typed_is_no_markup(name: str) -> None:
    """Names, captions, titles and errors stand in a page as they were typed."""
    shown = VIEWS[name]()

    assert "<b onclick" not in shown
    assert "&lt;b onclick=&#34;x(&#39;y&#39;)&#34;&gt;&amp;" in shown


def test_a_characters_words_are_no_markup_anywhere(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Captions, names and tags of real records, in every tab that draws them."""
    source = add(name=BAD, caption=BAD, tags={"angle": BAD})
    edit = add(Kind.ENRICHED, parent=source.id, name=BAD, caption=BAD, asked={"angle": BAD}, advice={"x": BAD})
    add(Kind.SYNTHETIC, name=BAD, caption=BAD, advice={"x": BAD})
    desk = studio.desk(anna.id)
    studio.library.update(anna.id, name=BAD)
    drawn = [
        *curate.draw_gallery(desk, "All pictures", "", "", [], 9, ""),
        *curate.draw_detail(desk, edit.id),
        *enrich.draw_results(desk, "", 9),
        enrich.large(desk.store, desk.store.images.get(edit.id)),
        *generate.draw_results(desk, 9),
        generate.draw_history(desk),
        generate.draw_pairs(desk),
        review.draw(desk, "", (), (), said=BAD),
        review.draw(desk, edit.id, (), ()),
        review.draw(desk, "", (), (), mending=edit.id),
        mending.draw_easel(desk, edit.id),
        refine.triplet_card(desk.store, Triplet(id="t", source=source.id, result=edit.id, params={}, task=BAD)),
        reviewer.page(desk, BAD, reviewer.Hand()),
        status.rail(desk, BAD),
        train.draw_versions(desk),
        viewer.draw(desk, edit.id, "parent", BAD, viewer.Note(BAD, {"data-act": BAD}), BAD),
    ]

    assert all("<b onclick" not in each for each in drawn)
    assert any("&lt;b onclick" in each for each in drawn)


def test_text_that_no_page_can_show_is_marked() -> None:
    """Halves of letters, which older homes may hold, stand as a question mark."""
    assert looks.chip("a\ud800b") == '<span class="fl-chip ">a?b</span>'
    assert looks.esc("a\ud800b") == "a?b"


def test_a_view_that_lacks_a_value_is_a_bug() -> None:
    """A macro that asks for what it was not given fails, instead of drawing nothing."""
    with pytest.raises(TypeError):
        looks.view("looks", "chip", texts="x")
