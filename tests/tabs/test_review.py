"""The Review tab's handlers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from engines.api.errors import BadInput
from engines.api.params import EditParams
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.review import Decision
from studio.workplace.desk import Workplace
from tabs import review
from tabs.common import looks
from tests.tabs.conftest import character_on_fakes

NOTHING = ("", (), (), "")


def edit(add: Callable[..., ImageRecord], words: str = "make the person smile") -> ImageRecord:
    """A result of Enrich that waits for a verdict."""
    source = add()
    params = EditParams(instruction=words).to_json()
    return add(
        Kind.ENRICHED, parent=source.id, params=params, params_kind="EditParams", asked={"expression": "smiling"}
    )


def test_a_key_decides_exactly_the_picture_that_was_shown(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The act carries the id, so a late key never hits the next picture."""
    first, second = edit(add), edit(add)
    review.act(studio.desk(anna.id), {"act": "good", "id": first.id}, *NOTHING)
    store = studio.store(anna.id)
    assert store.images.get(first.id).state is Verdict.GOOD
    assert store.images.get(second.id).state is Verdict.PENDING


def test_reasons_toggle_and_go_with_the_verdict(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """1 to 4 are remembered until the verdict, then forgotten."""
    image = edit(add)
    _, _, reasons, _ = review.act(studio.desk(anna.id), {"act": "reason", "reason": "artifact"}, *NOTHING)
    assert reasons == ("artifact",)
    after = review.act(studio.desk(anna.id), {"act": "reject", "id": image.id}, "", (), reasons, "")
    assert after[2] == ()
    assert studio.store(anna.id).images.get(image.id).reasons == ("artifact",)


def test_undo_brings_the_picture_back_on_the_stage(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """One key takes the last verdict back."""
    image = edit(add)
    review.act(studio.desk(anna.id), {"act": "reject", "id": image.id}, *NOTHING)
    opened = review.act(studio.desk(anna.id), {"act": "undo"}, *NOTHING)[0]
    assert opened == image.id
    assert studio.store(anna.id).images.get(image.id).state is Verdict.PENDING


def test_keys_of_one_message_count_once_and_one_that_fails_stops_no_other(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A message that comes again changes nothing; what could not be done is said."""
    first, second = edit(add), edit(add)
    pressed = [("good", first.id), ("reject", "gone"), ("reject", second.id)]
    keys = [{"act": name, "id": image, "character": anna.id} for name, image in pressed]
    data = {"act": "keys", "token": "page", "n": 1, "keys": keys, "shown": ""}
    hearing = review.Hearing()
    *_, heard, said = hearing.keys(studio.desk(anna.id), data, *NOTHING, ("", 0), "")
    hearing.keys(studio.desk(anna.id), data, *NOTHING, ("", 0), "")
    given = [(each.image, each.verdict) for each in studio.store(anna.id).decisions.all()]
    assert given == [(first.id, Verdict.GOOD), (second.id, Verdict.REJECT)]
    assert heard == ("page", 1)
    assert "gone" in said
    assert "gone" in review.draw(studio.desk(anna.id), "", (), (), heard, said)


def test_the_pages_heard_longest_ago_are_forgotten(studio: Workplace, anna: Character) -> None:
    """What is kept of them is bounded, however often a page is loaded; a page in use stays known."""
    hearing, desk = review.Hearing(), studio.desk(anna.id)
    for number in range(1, review.HEARD + 2):
        for token in ("in use", f"page {number}"):
            data = {"token": token, "n": number, "keys": [], "shown": ""}
            hearing.keys(desk, data, *NOTHING, ("", 0), "")
    assert len(hearing._last) == review.HEARD
    assert hearing._last["in use"] == review.HEARD + 1


def test_undo_takes_back_only_what_it_was_meant_for(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Another window has judged meanwhile: its verdict stays, and that is said."""
    first, second = edit(add), edit(add)
    for image in (first, second):
        review.act(studio.desk(anna.id), {"act": "good", "id": image.id}, *NOTHING)
    with pytest.raises(BadInput, match="Another window"):
        review.act(studio.desk(anna.id), {"act": "undo", "id": first.id}, *NOTHING)
    assert studio.store(anna.id).images.get(second.id).state is Verdict.GOOD


def test_undo_is_off_with_nothing_to_undo_and_counts_are_grammar(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """One needs correction, two need it; rejected ones are rejected."""
    images = [edit(add) for _ in range(4)]
    assert " disabled><kbd>⌫</kbd>Undo" in review.draw(studio.desk(anna.id), "", (), ())
    for image, verdict in zip(images, ("correct", "reject", "correct"), strict=False):
        review.act(studio.desk(anna.id), {"act": verdict, "id": image.id}, *NOTHING)
    shown = review.draw(studio.desk(anna.id), "", (), ())
    assert "2 need correction" in shown and "1 rejected" in shown
    assert " disabled" not in shown
    review.act(studio.desk(anna.id), {"act": "undo"}, *NOTHING)
    assert "1 needs correction" in review.tally(studio.desk(anna.id))


def test_a_skipped_picture_comes_last(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """Skip is no verdict."""
    for _ in range(3):
        edit(add)
    first = review.upcoming(studio.desk(anna.id), ())[0]
    _, skipped, _, _ = review.act(studio.desk(anna.id), {"act": "skip", "id": first.id}, *NOTHING)
    assert review.upcoming(studio.desk(anna.id), skipped)[-1].id == first.id


def test_the_reference_is_the_original_that_it_is_most_like(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """What the scorer found nearest is shown, but never the picture's own source twice, nor one that is gone."""
    store = studio.store(anna.id)
    source, like, tagged = add(), add(), add(tags={"angle": "front"})
    image = add(Kind.ENRICHED, parent=source.id, nearest=like.id, tags={"angle": "front"})
    assert review.nearest(store, image) == like
    assert review.nearest(store, image.replace(nearest=source.id)) == tagged
    store.trash([like.id])
    assert review.nearest(store, image) == tagged


def test_the_stage_shows_keys_source_words_and_the_next_pictures(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Everything needed for a verdict is on one screen, the next pictures already on their way."""
    edit(add), edit(add)
    shown = review.draw(studio.desk(anna.id), "", (), ())
    assert all(f'data-key="{key}"' in shown for key in ("a", "c", "x", " ", "1", "4"))
    assert "hold s" in shown
    assert "make the person smile" in shown
    assert "fl-prefetch" in shown


def test_nothing_left_says_what_comes_next(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """Without edits: enrich. With all decided: the rail's next step, which here is to add pictures."""
    assert "Open Enrich" in review.draw(studio.desk(anna.id), "", (), ())
    image = edit(add)
    review.act(studio.desk(anna.id), {"act": "good", "id": image.id}, *NOTHING)
    shown = review.draw(studio.desk(anna.id), "", (), ())
    assert "Next: Curate" in shown and 'data-tab="Curate"' in shown


def test_the_pace_ignores_pauses() -> None:
    """Ten quick verdicts after lunch are still ten quick verdicts."""
    start = datetime.now(UTC) - timedelta(seconds=20)
    times = [start - timedelta(hours=1), *(start + timedelta(seconds=2 * at) for at in range(6))]
    said = [
        Decision(id=str(at), created=time.isoformat(), image="x", verdict=Verdict.GOOD, before=Verdict.PENDING)
        for at, time in enumerate(times)
    ]
    assert round(review.per_minute(said)) == 30


def test_the_stage_compares_with_what_was_edited(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The part of the source that the edit was made from; the reference as it is cropped now."""
    image = edit(add)
    store = studio.store(anna.id)
    left, top = (0.0, 0.0, 0.5, 1.0), (0.0, 0.0, 1.0, 0.5)
    other = store.set_crop(add().id, top)
    store.update_image(image.id, source_crop=left, nearest=other.id)

    stage = review.draw(studio.desk(anna.id), image.id, (), ())

    assert looks.file_url(store.view(image.parent, left)) in stage
    assert looks.file_url(store.view(other.id, top)) in stage
    assert looks.file_url(store.path(image.parent)) not in stage


def test_only_a_wrong_edit_comes_onto_the_workbench(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """A drawn picture has no source to be mended from; the next key, and "later", leave the workbench."""
    image, drawn = edit(add), add(Kind.SYNTHETIC)
    desk = studio.desk(anna.id)
    opened = review.act(desk, {"act": "correct", "id": image.id}, *NOTHING)
    assert opened[3] == image.id
    assert review.act(desk, {"act": "correct", "id": drawn.id}, *NOTHING)[3] == ""
    assert review.act(desk, {"act": "later"}, *opened) == ("", (), (), "")
    assert review.act(desk, {"act": "mend", "id": image.id}, *NOTHING)[3] == image.id
    assert studio.store(anna.id).images.get(image.id).state is Verdict.NEEDS_CORRECTION


def test_undo_takes_back_the_verdict_that_opened_the_workbench(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The picture is on the stage again, and nothing is to be mended."""
    image, desk = edit(add), studio.desk(anna.id)
    opened = review.act(desk, {"act": "correct", "id": image.id}, *NOTHING)
    assert f'data-bench="{image.id}"' in review.draw(desk, *opened[:3], mending=opened[3])
    assert "1 to mend" in review.tally(desk)
    assert review.act(desk, {"act": "undo", "id": image.id}, *opened) == (image.id, (), (), "")
    assert "to mend" not in review.tally(desk)


def test_a_new_try_is_compared_with_the_first(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """Also where it is met later, among others."""
    wrong = edit(add)
    again = add(Kind.ENRICHED, parent=wrong.parent, mends=wrong.id)
    assert "first try (hold w)" in review.draw(studio.desk(anna.id), again.id, (), ())


def test_a_guests_verdict_says_whose_it_is(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """By the name that the guest gave."""
    image = edit(add)
    studio.store(anna.id).decide(image.id, Verdict.REJECT, reviewer="guest:ab12cd.1 Lena")
    assert "Lena" in review.draw(studio.desk(anna.id), image.id, (), ())


def test_a_picture_that_was_decided_twice_counts_once(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """By its last verdict, in the counts as among the last decisions; guests' verdicts are not the owner's pace."""
    desk, image = studio.desk(anna.id), edit(add)
    for verdict in ("good", "correct"):
        review.act(desk, {"act": verdict, "id": image.id}, *NOTHING)
    assert "0 good" in review.tally(desk)
    assert "1 needs correction" in review.tally(desk)
    assert review.history(desk.store).count(f'data-id="{image.id}"') == 1
    for _ in range(5):
        desk.store.decide(edit(add).id, Verdict.GOOD, reviewer="guest:1.1")
    assert "/min" not in review.tally(desk)


def test_the_workbench_does_not_follow_to_another_character(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """What the page had on it belongs to the first one; neither does it show a picture that was thrown away."""
    image = edit(add)
    other = character_on_fakes(studio, "Bea")
    assert f'data-bench="{image.id}"' in review.draw(studio.desk(anna.id), "", (), (), mending=image.id)
    assert "data-bench" not in review.draw(studio.desk(other.id), "", (), (), mending=image.id)
    studio.store(anna.id).trash([image.id])
    assert "data-bench" not in review.draw(studio.desk(anna.id), "", (), (), mending=image.id)
