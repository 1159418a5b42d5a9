"""One character's store: pictures, queue, versions, and what ties them together."""

from __future__ import annotations

import io
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image

from engines.api.errors import BadInput, NotFound, UserError
from engines.api.params import EditParams
from studio.records.image import Kind, Verdict
from studio.store import Library, Store
from studio.store.pictures import read_provenance


def dot(shade: int) -> Image.Image:
    """A small picture that differs from the others."""
    return Image.new("RGB", (16, 16), (shade % 256, shade // 256, 60))


def jpeg(shade: int) -> bytes:
    """A picture as a file's bytes."""
    buffer = io.BytesIO()
    dot(shade).save(buffer, "JPEG")
    return buffer.getvalue()


def test_picture_is_filed_and_recorded(store: Store) -> None:
    """A file's bytes become a file, a thumbnail and a record with the fields that were given."""
    record = store.add_image(jpeg(1), kind=Kind.SOURCE, name="holiday.jpg", caption="ohwx person")
    assert store.images.get(record.id) == record
    assert (record.name, record.caption, record.state) == ("holiday.jpg", "ohwx person", Verdict.PENDING)
    assert store.path(record.id).read_bytes() == jpeg(1)
    assert store.thumb(record.id).suffix == ".webp"
    assert store.open_image(record.id).mode == "RGB"


def test_result_says_how_it_was_made(store: Store) -> None:
    """An engine's pixels become a PNG that carries params, model, version, seed and parent."""
    params = EditParams(instruction="turn left", seed=4)
    record = store.add_image(
        dot(1),
        kind=Kind.ENRICHED,
        parent="p",
        model="mini-qwen-edit",
        version="v",
        seed=4,
        params=params.to_json(),
        params_kind="EditParams",
    )
    made = read_provenance(store.path(record.id))
    assert (made.model, made.version, made.seed, made.parent) == ("mini-qwen-edit", "v", 4, "p")
    assert EditParams.from_json(made.params) == params
    with Image.open(store.path(record.id)) as picture:
        assert picture.info["parameters"].startswith("turn left\nSteps: 40, ")


def test_known_content_answers_its_record(store: Store) -> None:
    """Adding the same bytes twice changes nothing the second time."""
    first = store.add_image(jpeg(1), kind=Kind.SOURCE, name="one.jpg")
    revision = store.revision
    assert store.add_image(jpeg(1), kind=Kind.SOURCE, name="two.jpg") == first
    assert store.revision == revision


def test_file_without_record_is_found_again(store: Store) -> None:
    """What a crash between file and record leaves behind is taken up by the same content."""
    with pytest.raises(ZeroDivisionError), store.transaction():
        lost = store.add_image(jpeg(1), kind=Kind.SOURCE)
        raise ZeroDivisionError
    assert lost.id not in store.images
    assert (store.folder / lost.file).is_file()
    assert store.add_image(jpeg(1), kind=Kind.SOURCE).file == lost.file


def test_selection(store: Store) -> None:
    """Pictures are selected by kind and state, in the trash or out of it."""
    source, enriched, synthetic = (
        store.add_image(dot(n), kind=kind).id for n, kind in enumerate((Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC))
    )
    store.decide(enriched, Verdict.GOOD)
    store.trash([synthetic])
    assert [image.id for image in store.select()] == [source, enriched]
    assert [image.id for image in store.select(Kind.SOURCE)] == [source]
    assert [image.id for image in store.select((Kind.SOURCE, Kind.ENRICHED), Verdict.GOOD)] == [enriched]
    assert [image.id for image in store.select(trashed=True)] == [synthetic]


def test_review_queue(store: Store) -> None:
    """The queue holds undecided results, not sources, previews, the filtered or the trashed."""
    kinds = (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.PREVIEW, Kind.CARD)
    ids = [store.add_image(dot(n), kind=kind).id for n, kind in enumerate(kinds)]
    filtered = store.add_image(dot(8), kind=Kind.SYNTHETIC, filtered=True).id
    trashed = store.add_image(dot(9), kind=Kind.ENRICHED).id
    store.trash([trashed])
    assert [image.id for image in store.pending()] == ids[1:3]
    assert [image.id for image in store.pending([Kind.CARD])] == ids[4:]
    store.update_image(filtered, filtered=False)
    store.decide(ids[1], Verdict.REJECT)
    assert [image.id for image in store.pending()] == [ids[2], filtered]


def test_updates_are_one_change(store: Store) -> None:
    """Several pictures change together, or, when one change is refused, none does."""
    one, two = (store.add_image(dot(n), kind=Kind.SOURCE).id for n in (1, 2))
    revision = store.revision
    store.update_images({one: {"caption": "a"}, two: {"caption": "b"}})
    assert store.revision == revision + 1
    with pytest.raises(BadInput, match="nonsense"):
        store.update_images({one: {"caption": "c"}, two: {"nonsense": 1}})
    with pytest.raises(NotFound):
        store.update_images({one: {"caption": "c"}, "missing": {}})
    assert [image.caption for image in store.images.all()] == ["a", "b"]


def test_everything_survives_a_reopening(tmp_path: Path) -> None:
    """Closing and opening gives back equal records, in the same order, at the same revision."""
    with Library(tmp_path, compact_bytes=3000) as library:
        store = library.open(library.create("Mira").id)
        source = store.add_image(jpeg(0), kind=Kind.SOURCE)
        for number in range(1, 12):
            image = store.add_image(dot(number), kind=Kind.ENRICHED, parent=source.id)
            store.decide(image.id, (Verdict.GOOD, Verdict.REJECT)[number % 2], reasons=["identity"])
        seen = store.images.all(), store.decisions.all(), store.triplets.all(), store.revision
    with Library(tmp_path) as library:
        store = library.open("mira")
        assert (store.images.all(), store.decisions.all(), store.triplets.all(), store.revision) == seen


@pytest.mark.slow
def test_bytes_of_a_decision_do_not_grow(tmp_path: Path) -> None:
    """A decision writes as many bytes among three hundred pictures as among one."""
    with Library(tmp_path) as library:
        store = library.open(library.create("Mira").id)
        source = store.add_image(jpeg(0), kind=Kind.SOURCE).id
        base = store.add_image(dot(1), kind=Kind.ENRICHED, parent=source)
        journal = store.folder / "flenwheel.journal"
        sizes = []
        for count in range(300):
            image = base.replace(id=f"{count:032x}")
            store.images.put(image)
            before = journal.stat().st_size
            store.decide(image.id, Verdict.GOOD)
            sizes.append(journal.stat().st_size - before)
        assert max(sizes) - min(sizes) <= 8  # digits of the commit's number, "true" or "false"
        assert max(sizes) < 2500


def test_run_folder(store: Store) -> None:
    """A job gets a folder of its own, and a name that leads elsewhere gets none."""
    assert store.run_dir("abc-1").is_dir()
    assert store.run_dir("abc-1").parent == store.folder / "runs"
    for name in ("", "..", "a/b", "a.b"):
        with pytest.raises(BadInput, match="is not the id of a job"):
            store.run_dir(name)


def test_two_threads_add_the_same_picture(store: Store) -> None:
    """The same content from two threads at once is one file and one record."""
    threads = [
        Thread(target=store.add_image, args=(jpeg(n % 5 * 50),), kwargs={"kind": Kind.SOURCE}) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.images) == 5
    assert len(list((store.folder / "images").rglob("*.jpg"))) == 5


def test_closed_store_refuses_in_words(tmp_path: Path) -> None:
    """A write after the close is told, and changes nothing that can be read."""
    library = Library(tmp_path)
    store = library.open(library.create("Mira").id)
    library.close()
    with pytest.raises(UserError, match="is closed"):
        store.add_image(jpeg(1), kind=Kind.SOURCE)
    assert store.images.all() == []


def half(size: tuple[int, int] = (16, 16)) -> Image.Image:
    """A mask whose left half is white."""
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def test_a_mask_is_kept_beside_its_picture(library: Library, store: Store) -> None:
    """It survives a restart, darkens what it leaves out in its thumbnail, and goes without a trace on the picture."""
    picture = store.add_image(jpeg(1), kind=Kind.SOURCE)
    masked = store.set_mask(picture.id, half())
    assert store.path(picture.id).read_bytes() == jpeg(1)
    with Image.open(store.file(masked.mask)) as kept:
        assert (kept.mode, kept.tobytes()) == ("L", half().tobytes())
    with Image.open(store.counted_thumb(picture.id)) as shown:
        left, right = (sum(shown.convert("RGB").crop((x, 8, x + 1, 9)).tobytes()) for x in (3, 12))
    assert left > 2 * right
    folder, character = library.root, store.character.id
    library.close()
    again = Library(folder).open(character)  # as after a restart
    assert again.images.get(picture.id).mask == masked.mask
    assert again.set_mask(picture.id, None).mask == ""


def test_a_mask_that_cannot_be_meant_is_refused(store: Store) -> None:
    """One of another size is told with both sizes, one that leaves nothing with what to do; neither is kept."""
    picture = store.add_image(jpeg(1), kind=Kind.SOURCE)
    with pytest.raises(BadInput, match="8×16, its picture 16×16"):
        store.set_mask(picture.id, half((8, 16)))
    with pytest.raises(BadInput, match="black"):
        store.set_mask(picture.id, Image.new("L", (16, 16)))
    assert store.images.get(picture.id).mask == ""
