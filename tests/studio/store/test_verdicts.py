"""Verdicts: a decision, its triplet, and the exact way back."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engines.api.errors import BadInput, NotFound
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.review import Decision, Triplet
from studio.store import Library, Store

PARAMS = {"instruction": "at night", "loras": []}


def picture(shade: int) -> Image.Image:
    """A small picture that differs from the others."""
    return Image.new("RGB", (16, 16), (shade % 256, shade // 256, 90))


@pytest.fixture
def source(store: Store) -> str:
    """A picture to edit."""
    return store.add_image(picture(0), kind=Kind.SOURCE).id


def edited(store: Store, source: str, shade: int = 1, **fields: object) -> str:
    """A result that waits for a verdict."""
    made = {"parent": source, "params": PARAMS, "params_kind": "EditParams", "asked": {"light": "night"}}
    return store.add_image(picture(shade), kind=Kind.ENRICHED, **{**made, **fields}).id


def everything(store: Store) -> tuple[list[ImageRecord], list[Triplet]]:
    """All that an undo must bring back."""
    return store.images.all(), sorted(store.triplets.all(), key=lambda triplet: triplet.id)


def test_verdict_sets_state_and_row(store: Store, source: str) -> None:
    """A verdict is one commit: the picture's state, and a row that says who, when, why, and from what."""
    image = edited(store, source)
    revision = store.revision
    decision = store.decide(image, Verdict.REJECT, reviewer="ada", reasons=["identity", "artifact"])
    record = store.images.get(image)
    assert store.revision == revision + 1
    assert (record.state, record.reviewer, record.reasons) == (Verdict.REJECT, "ada", ("identity", "artifact"))
    assert record.decided == decision.created
    assert (decision.before, decision.verdict) == (Verdict.PENDING, Verdict.REJECT)
    assert store.decisions.all() == [store.decisions.get(decision.id)]


def test_good_edit_teaches_the_editor(store: Store, source: str) -> None:
    """An approved edit becomes a positive triplet with the edit's own parameters."""
    image = edited(store, source)
    store.decide(image, Verdict.GOOD)
    (triplet,) = store.triplets.all()
    assert (triplet.source, triplet.result, triplet.params, triplet.golden) == (source, image, PARAMS, False)
    assert triplet.task == "light"


@pytest.mark.parametrize("verdict", [Verdict.REJECT, Verdict.NEEDS_CORRECTION])
def test_other_verdicts_take_the_triplet_back(store: Store, source: str, verdict: Verdict) -> None:
    """A changed mind removes what the first verdict had taught."""
    image = edited(store, source)
    store.decide(image, Verdict.GOOD)
    store.decide(image, verdict)
    assert store.triplets.all() == []
    store.undo()
    assert [triplet.result for triplet in store.triplets.all()] == [image]
    assert store.images.get(image).state is Verdict.GOOD


def test_only_edits_teach(store: Store, source: str) -> None:
    """A good source or a good picture made from words alone gives no triplet."""
    synthetic = store.add_image(picture(7), kind=Kind.SYNTHETIC).id
    for image in (source, synthetic):
        store.decide(image, Verdict.GOOD)
    assert store.triplets.all() == []


def test_every_sixth_is_held_out(store: Store, source: str) -> None:
    """About one positive triplet in six is held out, always the same ones."""
    base = store.images.get(edited(store, source))
    for number in range(300):
        record = base.replace(id=f"{number:032x}")
        with store.transaction():
            store.images.put(record)
            store.decide(record.id, Verdict.GOOD)
    held = {triplet.id for triplet in store.triplets.all() if triplet.held_out}
    assert 30 <= len(held) <= 75
    assert held == {t.id for t in store.triplets.all() if crc32(t.id.encode()) % 6 == 0}


def test_state_given_otherwise_teaches_too(store: Store, source: str) -> None:
    """A picture that is added as good, or updated to good, has its triplet like a reviewed one."""
    added = edited(store, source, 1, state="good")
    updated = edited(store, source, 2)
    store.update_image(updated, state="good")
    assert [triplet.result for triplet in store.triplets.all()] == [added, updated]
    store.update_image(added, state=Verdict.PENDING)
    assert [triplet.result for triplet in store.triplets.all()] == [updated]


def test_refused_verdicts_change_nothing(store: Store, source: str) -> None:
    """An unknown word, `pending`, an unknown picture and one in the trash are refused."""
    image = edited(store, source)
    for verdict in ("perfect", Verdict.PENDING):
        with pytest.raises(BadInput, match="is not a verdict"):
            store.decide(image, verdict)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        store.decide("missing", Verdict.GOOD)
    store.trash([image])
    with pytest.raises(BadInput, match="in the trash"):
        store.decide(image, Verdict.GOOD)
    assert len(store.decisions) == 0


def test_undo_is_exact(store: Store, source: str) -> None:
    """Undo brings back state, reasons, reviewer and time, one decision after the other."""
    image = edited(store, source)
    seen = [everything(store)]
    for verdict, reviewer in ((Verdict.GOOD, "ada"), (Verdict.REJECT, "bob"), (Verdict.GOOD, "cy")):
        store.decide(image, verdict, reviewer=reviewer, reasons=[reviewer])
        seen.append(everything(store))
    for before in reversed(seen[:-1]):
        assert store.undo().undone
        assert everything(store) == before
    with pytest.raises(NotFound, match="no decision to undo"):
        store.undo()


def test_undo_keeps_an_edited_triplet(store: Store, source: str) -> None:
    """Words that a human mended in a triplet survive a reject and its undo."""
    image = edited(store, source)
    store.decide(image, Verdict.GOOD)
    mended = store.triplets.put(store.triplets.get(image).replace(params={"instruction": "at midnight"}))
    store.decide(image, Verdict.REJECT)
    store.undo()
    assert store.triplets.get(image) == mended


def test_undo_of_one_reviewer(store: Store, source: str) -> None:
    """A reviewer's undo takes back that reviewer's last verdict and leaves the others' alone."""
    one, two = edited(store, source, 1), edited(store, source, 2)
    store.decide(one, Verdict.GOOD, reviewer="ada")
    store.decide(two, Verdict.GOOD, reviewer="bob")
    assert store.undo(reviewer="ada").image == one
    assert store.images.get(one).state is Verdict.PENDING
    assert store.images.get(two).state is Verdict.GOOD
    with pytest.raises(NotFound):
        store.undo(reviewer="ada")


def test_undo_below_a_later_verdict(store: Store, source: str) -> None:
    """When another reviewer has since spoken on the same picture, that verdict stands."""
    image = edited(store, source)
    store.decide(image, Verdict.GOOD, reviewer="ada")
    store.decide(image, Verdict.REJECT, reviewer="bob")
    store.undo(reviewer="ada")
    assert store.images.get(image).state is Verdict.REJECT
    store.undo(reviewer="bob")
    record = store.images.get(image)
    assert (record.state, record.reviewer, record.decided) == (Verdict.PENDING, "", "")
    assert store.triplets.all() == []


def test_correction_is_golden(store: Store, source: str) -> None:
    """A mended picture is good, stands beside the wrong one, and makes a golden triplet, in one commit."""
    wrong = edited(store, source, caption="ohwx person")
    revision = store.revision
    triplet = store.correct(wrong, picture(200), reviewer="ada", reason="six fingers")
    mended = store.images.get(triplet.result)
    assert store.revision == revision + 1
    assert (triplet.source, triplet.wrong, triplet.params, triplet.golden) == (source, wrong, PARAMS, True)
    assert (mended.kind, mended.state, mended.parent) == (Kind.CORRECTION, Verdict.GOOD, wrong)
    assert (mended.caption, mended.asked, mended.reviewer) == ("ohwx person", {"light": "night"}, "ada")
    assert not triplet.held_out
    assert store.images.get(wrong).state is Verdict.NEEDS_CORRECTION
    assert store.images.get(wrong).reasons == ("six fingers",)
    assert store.pending() == []


def test_correction_with_better_words(store: Store, source: str) -> None:
    """Other words may be the correction: then those are what the editor learns."""
    words = {"instruction": "in a dark night", "loras": []}
    triplet = store.correct(edited(store, source), picture(200), reviewer="ada", params=words)
    assert triplet.params == words


def test_correction_of_a_correction(store: Store, source: str) -> None:
    """Mending a mended picture still teaches from the first source."""
    first = store.correct(edited(store, source), picture(200), reviewer="ada")
    second = store.correct(first.result, picture(201), reviewer="ada")
    assert (second.source, second.wrong) == (source, first.result)
    assert [triplet.id for triplet in store.triplets.all()] == [second.id]


def test_correction_can_be_undone_and_redone(store: Store, source: str) -> None:
    """Undo trashes the mended picture and its triplet; the same correction again brings both back."""
    wrong = edited(store, source)
    triplet = store.correct(wrong, picture(200), reviewer="ada")
    store.undo()
    assert store.images.get(wrong).state is Verdict.PENDING
    assert store.images.get(triplet.result).trashed
    assert store.triplets.all() == []
    again = store.correct(wrong, picture(200), reviewer="ada")
    assert again.result == triplet.result
    assert not store.images.get(again.result).trashed


def test_a_correction_made_again_after_its_file_was_deleted_can_be_undone(store: Store, source: str) -> None:
    """A correction that comes back from the emptied trash goes there again with its verdict, and teaches no longer."""
    wrong = edited(store, source)
    mended = store.correct(wrong, picture(200), reviewer="ada").result
    store.undo()
    store.discard([mended])
    assert store.correct(wrong, picture(200), reviewer="ada").result == mended

    store.undo()

    assert store.images.get(mended).trashed
    assert store.triplets.all() == []


def test_a_correction_that_stood_before_stays_when_the_same_one_is_undone(store: Store, source: str) -> None:
    """The second verdict brought no picture, so its undo takes none away."""
    wrong = edited(store, source)
    mended = store.correct(wrong, picture(200), reviewer="ada").result
    store.correct(wrong, picture(200), reviewer="ada")

    store.undo()

    assert not store.images.get(mended).trashed
    assert [triplet.id for triplet in store.triplets.all()] == [mended]


def test_only_edits_can_be_corrected(store: Store, source: str) -> None:
    """A picture that no edit made is refused before any file is written."""
    with pytest.raises(BadInput, match="not made by an edit"):
        store.correct(source, picture(200), reviewer="ada")
    assert len(list((store.folder / "images").rglob("*.png"))) == 1


def test_rejected_correction_stops_teaching(store: Store, source: str) -> None:
    """A golden triplet lives as long as its result is good."""
    triplet = store.correct(edited(store, source), picture(200), reviewer="ada")
    store.decide(triplet.result, Verdict.REJECT)
    assert store.triplets.all() == []
    store.decide(triplet.result, Verdict.GOOD)
    assert [t.replace(created=triplet.created) for t in store.triplets.all()] == [triplet]


_actions = st.lists(
    st.tuples(
        st.sampled_from(["decide", "decide", "correct", "undo", "trash", "restore", "undo_trash"]),
        st.integers(0, 2),
        st.sampled_from([Verdict.GOOD, Verdict.REJECT, Verdict.NEEDS_CORRECTION]),
        st.sampled_from(["ada", "bob"]),
    ),
    max_size=14,
)


def _act(store: Store, ids: list[str], action: str, image: str, verdict: Verdict, reviewer: str) -> None:
    match action:
        case "decide":
            store.decide(image, verdict, reviewer=reviewer)
        case "correct":
            store.correct(image, picture(300 + ids.index(image)), reviewer=reviewer)
        case "undo":
            store.undo(reviewer)
        case "trash":
            store.trash([image])
        case "restore":
            store.restore([image])
        case _:
            store.undo_trash()


@settings(max_examples=25)
@given(_actions)
def test_whatever_happens_the_books_agree(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int, Verdict, str]]
) -> None:
    """After any sequence of actions states follow from decisions, triplets from states, and a reopening agrees."""
    home = tmp_path_factory.mktemp("home")
    with Library(home) as library:
        store = library.open(library.create("Mira").id)
        root = store.add_image(picture(0), kind=Kind.SOURCE).id
        ids = [edited(store, root, shade) for shade in (1, 2, 3)]
        for action, number, verdict, reviewer in actions:
            try:
                _act(store, ids, action, ids[number], verdict, reviewer)
            except (BadInput, NotFound):
                continue
        _check(store, ids)
        seen = everything(store), store.decisions.all()
    with Library(home) as library:
        assert (everything(library.open("mira")), library.open("mira").decisions.all()) == seen


def _check(store: Store, ids: list[str]) -> None:
    for image_id in ids:
        standing: list[Decision] = store.decisions.find(image=image_id, undone=False)
        expected = standing[-1].verdict if standing else Verdict.PENDING
        assert store.images.get(image_id).state is expected
    taught = {triplet.result for triplet in store.triplets.all()}
    kinds = (Kind.ENRICHED, Kind.CORRECTION)
    assert taught == {image.id for image in store.select(kinds, Verdict.GOOD)}


def test_a_correction_must_change_something(store: Store, source: str) -> None:
    """The wrong picture again teaches nothing: no verdict, no lesson, no file; with other words it does teach."""
    wrong = edited(store, source)
    before = everything(store)
    for same in (picture(1), picture(1).convert("RGBA"), store.open_whole(wrong)):
        with pytest.raises(BadInput, match="same as the wrong one"):
            store.correct(wrong, same, reviewer="ada")
    assert everything(store) == before
    words = {"instruction": "in a dark night", "loras": []}
    assert store.correct(wrong, picture(1), reviewer="ada", params=words).golden


def test_a_correction_has_the_shape_of_what_it_corrects(store: Store, source: str) -> None:
    """Another size is refused with both, whether the wrong picture is cropped or not."""
    wrong = edited(store, source)
    before = everything(store)
    with pytest.raises(BadInput, match="32×16, the wrong one 16×16"):
        store.correct(wrong, picture(200).resize((32, 16)), reviewer="ada")
    assert everything(store) == before
    store.set_crop(wrong, (0.0, 0.0, 0.5, 1.0))
    assert store.correct(wrong, picture(200), reviewer="ada").golden


def test_a_correction_starts_from_what_was_edited(store: Store, source: str) -> None:
    """The part of the source that the wrong edit was made from is that of the mended one."""
    wrong = edited(store, source, source_crop=(0.0, 0.0, 0.5, 1.0))
    triplet = store.correct(wrong, picture(200), reviewer="ada")
    assert store.images.get(triplet.result).source_crop == (0.0, 0.0, 0.5, 1.0)
