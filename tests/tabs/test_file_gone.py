"""A picture whose file is gone is shown as such on every page, and stops none."""

from __future__ import annotations

from collections.abc import Callable

from studio.records.character import Character
from studio.records.image import ImageRecord, Kind
from studio.workplace.desk import Workplace
from tabs import curate, generate, review, reviewer
from tabs.common import looks, picking


def lose(studio: Workplace, anna: Character, image: ImageRecord, *, thumb: bool = True) -> None:
    """Take away a picture's file, and its thumbnail."""
    store = studio.store(anna.id)
    store.path(image.id).unlink()
    if thumb:
        next((store.folder / "thumbs").rglob(f"{image.id}.webp")).unlink()


def test_curates_gallery_shows_the_others_and_lets_it_be_trashed(
    studio: Workplace, anna: Character, add: Callable[..., ImageRecord]
) -> None:
    """The tile says that the file is gone and can be picked; trashed, it is in the trash's gallery."""
    first, second, third = add(), add(), add()
    lose(studio, anna, second)
    lose(studio, anna, third, thumb=False)

    drawn, _ = curate.draw_gallery(studio.desk(anna.id), "My pictures", "", "", [], 120, "")

    assert drawn.count(looks.GONE) == 2
    assert all(f'data-pick="{each.id}"' in drawn for each in (first, second, third))
    assert f"{first.id}.webp" in drawn
    assert looks.GONE in curate.draw_detail(studio.desk(anna.id), second.id)[0]
    picking.act(studio.desk(anna.id), {"act": "trash", "picks": [second.id]}, "")
    assert second.id in curate.draw_gallery(studio.desk(anna.id), "Trash", "", "", [], 120, "")[0]


def test_review_goes_on_past_it(studio: Workplace, anna: Character, add: Callable[..., ImageRecord]) -> None:
    """The owner's page and the reviewer's say that it cannot be shown, and can skip it; no folder is told outside."""
    source = add()
    image = add(Kind.SYNTHETIC, parent=source.id)
    lose(studio, anna, image)
    lose(studio, anna, source)

    assert looks.GONE in review.draw(studio.desk(anna.id), "", (), ())
    page = reviewer.page(studio.desk(anna.id), "guest:a", reviewer.Hand())

    assert "cannot be shown" in page
    assert 'data-act="skip"' in page
    assert str(studio.settings.data_root) not in page
    assert looks.GONE in generate.draw_results(studio.desk(anna.id), 50)[0]
