"""The workbench's handlers: other words, paint, a marked area, an upload, and the verdict on a new try."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.api.errors import BadInput
from engines.api.params import EditParams
from studio.flywheel import review
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.payload import EnrichPayload
from studio.records.review import Triplet
from studio.store import Store
from studio.workplace.desk import Desk, Workplace
from tabs.common import mending
from tests.tabs.colour_blocks import picture

WORDS = "make the person smile"


@pytest.fixture
def desk(studio: Workplace, anna: Character) -> Desk:
    """Anna's."""
    return studio.desk(anna.id)


@pytest.fixture
def wrong(desk: Desk, anna: Character, add: Callable[..., ImageRecord]) -> ImageRecord:
    """An edit that needs correction."""
    params = EditParams(instruction=WORDS).to_json()
    made = {"params": params, "params_kind": "EditParams", "asked": {"expression": "smiling"}, "model": anna.editor}
    image = add(Kind.ENRICHED, parent=add().id, **made)
    desk.store.decide(image.id, Verdict.NEEDS_CORRECTION, reasons=("artifact",))
    return image


def layer(box: tuple[int, int, int, int] | None = (0, 0, 384, 768), colour: str = "#ff0000ff") -> str:
    """What the browser sends: a transparent picture with one box of paint, or an empty one."""
    sheet = Image.new("RGBA", (768, 768))
    if box:
        sheet.paste(colour, box)
    kept = io.BytesIO()
    sheet.save(kept, "PNG")
    return "data:image/png;base64," + base64.b64encode(kept.getvalue()).decode()


def only_lesson(store: Store) -> Triplet:
    """The one there is."""
    (lesson,) = store.triplets.all()
    return lesson


def test_the_workbench_shows_source_wrong_result_and_words(desk: Desk, wrong: ImageRecord) -> None:
    """In full size, with the tools to paint; without a picture nothing."""
    shown = mending.draw_easel(desk, wrong.id)
    for image in (wrong.parent, wrong.id):
        assert desk.store.path(image).name in shown
    assert all(f'data-tool="{tool}"' in shown for tool in ("brush", "pick", "area", "rub", "back"))
    assert 'value="#808080"' in shown
    assert mending.fill_words(desk, wrong.id, "", "") == (wrong.id, WORDS)
    assert mending.fill_words(desk, wrong.id, wrong.id, "my own") == (wrong.id, "my own")
    assert mending.fill_words(desk, "", wrong.id, "my own") == ("", "")
    assert mending.draw_easel(desk, "") == ""
    assert "golden 0 of 50" in mending.draw_bar(desk, wrong.id, [wrong])


def test_paint_is_a_golden_lesson_and_changes_only_what_was_painted(desk: Desk, wrong: ImageRecord) -> None:
    """At the wrong picture's own size, to the bit outside the paint, with the verdict's reasons."""
    said = mending.easel_act(desk, {"act": "paint", "id": wrong.id, "layer": layer()}, wrong.id, WORDS)
    assert isinstance(said, mending.Said)
    assert (said.values, "golden 1 of 50" in said.words) == ("", True)
    lesson = only_lesson(desk.store)
    assert (lesson.golden, lesson.wrong) == (True, wrong.id)
    before, after = (np.asarray(desk.store.open_whole(each)) for each in (wrong.id, lesson.result))
    assert before.shape == after.shape
    assert (after[:, :28] == (255, 0, 0)).all()
    assert (after[:, 36:] == before[:, 36:]).all()
    assert desk.store.images.get(wrong.id).reasons == ("artifact",)
    assert review.to_mend(desk) == []


@pytest.mark.parametrize("sent", ["", "data:image/png;base64,", "data:image/png;base64,AAAA", "nonsense", layer(None)])
def test_nothing_painted_is_told(desk: Desk, wrong: ImageRecord, sent: str) -> None:
    """For paint as for an area, whatever was sent."""
    for act in ("paint", "redo"):
        with pytest.raises(BadInput, match="Nothing was painted"):
            mending.easel_act(desk, {"act": act, "id": wrong.id, "layer": sent}, wrong.id, WORDS)
    assert desk.store.triplets.all() == []


def test_an_area_is_redone_with_the_chosen_words(desk: Desk, wrong: ImageRecord) -> None:
    """The job names the wrong picture and the stored mask; it is shown as under way."""
    sent = {"act": "redo", "id": wrong.id, "layer": layer((0, 0, 300, 300))}
    said = mending.easel_act(desk, sent, wrong.id, "smile with closed lips")
    assert isinstance(said, mending.Said)
    assert said.values == wrong.id
    job = mending.trying(desk, wrong.id)
    assert job is not None
    (row,) = EnrichPayload.of(job).rows
    assert (row.mends, row.params["instruction"]) == (wrong.id, "smile with closed lips")
    with Image.open(desk.store.file(row.area)) as mask:
        assert mask.size == (wrong.width, wrong.height)
    assert job.title in mending.draw_busy(desk, wrong.id)
    assert mending.draw_busy(desk, "") == ""


def test_other_words_queue_a_new_try(desk: Desk, wrong: ImageRecord) -> None:
    """The same edit with the new words; without words nothing is queued."""
    with pytest.raises(BadInput, match="no words"):
        mending.mend_words(desk, wrong.id, "  ")
    said = mending.mend_words(desk, wrong.id, " smile with closed lips ")
    assert "another seed" not in said.words
    (job,) = [each for each in desk.workplace.jobs.list() if each.kind == "enrich"]
    (row,) = EnrichPayload.of(job).rows
    assert (row.params["instruction"], row.mends, row.area) == ("smile with closed lips", wrong.id, "")
    mending.cancel(desk, {"job": job.id})
    assert mending.trying(desk, wrong.id) is None
    assert "the same words and another seed" in mending.mend_words(desk, wrong.id, WORDS).words


def test_a_good_try_closes_the_case_from_the_workbench(
    desk: Desk, wrong: ImageRecord, add: Callable[..., ImageRecord]
) -> None:
    """A rejected one leaves it open, one that is nearly right comes onto the workbench itself."""
    words = EditParams(instruction="smile with closed lips").to_json()
    made = {"parent": wrong.parent, "params": words, "params_kind": "EditParams", "mends": wrong.id}
    bad, near = add(Kind.ENRICHED, **made), add(Kind.ENRICHED, **made)
    good = add(Kind.ENRICHED, **{**made, "mends": near.id})
    assert f'data-id="{good.id}"' in mending.draw_easel(desk, wrong.id)
    assert "2 more in Review" in mending.draw_easel(desk, wrong.id)
    left = mending.easel_act(desk, {"act": "reject", "id": bad.id}, wrong.id, WORDS)
    assert isinstance(left, mending.Said) and left.values == wrong.id
    assert mending.easel_act(desk, {"act": "correct", "id": near.id}, wrong.id, WORDS) == near.id
    done = mending.easel_act(desk, {"act": "good", "id": good.id}, near.id, WORDS)
    assert isinstance(done, mending.Said)
    assert (done.values, "golden 1 of 50" in done.words) == ("", True)
    assert review.to_mend(desk) == []
    with pytest.raises(BadInput, match="no such button"):
        mending.easel_act(desk, {"act": "dance"}, wrong.id, WORDS)


def test_an_uploaded_picture_must_differ_and_fit(desk: Desk, wrong: ImageRecord, tmp_path: Path) -> None:
    """The same file and one of another shape are refused; a mended one is a lesson."""
    for name, mended in (("same", desk.store.open_whole(wrong.id)), ("wide", picture(99, 128)), ("fine", picture(99))):
        mended.save(tmp_path / f"{name}.png")
    for name, told in (("same", "same as the wrong one"), ("wide", "128×128, the wrong one 64×64")):
        with pytest.raises(BadInput, match=told):
            mending.mend_upload(desk, wrong.id, str(tmp_path / f"{name}.png"))
    with pytest.raises(BadInput, match="No picture"):
        mending.mend_upload(desk, wrong.id, None)
    assert mending.mend_upload(desk, wrong.id, str(tmp_path / "fine.png")).values == ("", None)
    assert only_lesson(desk.store).wrong == wrong.id
