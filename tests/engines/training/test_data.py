"""Tests how pictures become batches."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import BadInput, NotFound
from engines.api.protocols import TrainItem

pytestmark = pytest.mark.slow


def test_buckets_keep_the_aspect() -> None:
    """A picture keeps its shape within 1:2…2:1, on a grid, at about the same number of pixels."""
    from engines.api.crops import bucket

    assert bucket((1000, 1000), 1024**2, 16) == (1024, 1024)
    assert bucket((64, 64), 64**2, 8) == (64, 64)
    wide, high = bucket((3000, 2000), 1024**2, 16), bucket((2000, 3000), 1024**2, 16)
    assert wide == (high[1], high[0]) == (1280, 832)
    assert bucket((9000, 1000), 1024**2, 16) == bucket((2000, 1000), 1024**2, 16)


def test_near_shapes_share_a_bucket() -> None:
    """Sizes that differ by a few pixels share a bucket."""
    from engines.api.crops import bucket

    assert len({bucket((width, 1000), 1024**2, 16) for width in range(980, 1021)}) == 1


def test_fit_crops_the_centre() -> None:
    """Nothing is stretched: a picture that is too wide loses both ends equally."""
    from engines.training.data import fit

    image = Image.new("RGB", (40, 20), "white")
    image.paste("red", (0, 0, 10, 20))
    image.paste("red", (30, 0, 40, 20))

    assert fit(image, (20, 20)).getcolors() == [(400, (255, 255, 255))]
    assert fit(image, (40, 20)) is image


@pytest.mark.parametrize(("count", "size"), [(12, 4), (12, 5), (3, 8), (1, 1)])
def test_every_example_is_seen_every_epoch(count: int, size: int) -> None:
    """Batches are full, and every example occurs in each epoch."""
    from engines.training.data import BatchOrder

    order, epoch = BatchOrder(["square"] * count, size, seed=1), -(-count // size)
    for start in (0, epoch):
        batches = [order.batch(number) for number in range(start, start + epoch)]
        assert {len(batch) for batch in batches} == {size}
        assert {index for batch in batches for index in batch} == set(range(count))


def test_shapes_never_share_a_batch() -> None:
    """All examples of a batch have one shape, whatever the order."""
    from engines.training.data import BatchOrder

    shapes = ["square", "wide", "square", "high", "wide", "square", "square"]
    order = BatchOrder(shapes, 2, seed=3)

    assert all(len({shapes[index] for index in order.batch(number)}) == 1 for number in range(40))


def test_order_is_a_function_of_seed_and_number() -> None:
    """Any batch can be computed first; another seed and another epoch are shuffled differently."""
    from engines.training.data import BatchOrder

    shapes = ["square"] * 30
    order = BatchOrder(shapes, 30, seed=1)

    assert order.batch(7) == BatchOrder(shapes, 30, seed=1).batch(7)
    assert order.batch(7) != order.batch(8)
    assert order.batch(7) != BatchOrder(shapes, 30, seed=2).batch(7)


def test_cache_makes_once(tmp_path: Path) -> None:
    """A stored key is not computed again; a file that a crash left unreadable is."""
    import torch

    from engines.training.data import Cache

    cache, made = Cache(tmp_path / "cache"), []

    def make() -> dict[str, torch.Tensor]:
        made.append(1)
        return {"x": torch.arange(3)}

    cache.fill("a", make)
    cache.fill("a", make)
    assert len(made) == 1 and "a" in cache and "b" not in cache
    (tmp_path / "cache" / "a.safetensors").write_bytes(b"\x08")
    assert "a" not in cache
    cache.fill("a", make)
    assert cache["a"]["x"].tolist() == [0, 1, 2]


def test_dataset_hash_sees_every_change(tmp_path: Path) -> None:
    """A pixel, a word, a reference, a mask, a crop or the order changes the hash; a new file name does not."""
    from engines.training.data import dataset_hash, read_sources

    def picture(name: str, colour: str) -> Path:
        Image.new("RGB", (4, 4), colour).save(tmp_path / name)
        return tmp_path / name

    red, blue, again = picture("1.png", "red"), picture("2.png", "blue"), picture("3.png", "red")
    base = [TrainItem(red, "one"), TrainItem(blue, "two")]
    others = [
        [TrainItem(blue, "one"), base[1]],
        [TrainItem(red, "won"), base[1]],
        [TrainItem(red, "one", (blue,)), base[1]],
        [TrainItem(red, "one", mask=blue), base[1]],
        [TrainItem(red, "one", crop=(0.0, 0.0, 1.0, 0.5)), base[1]],
        [TrainItem(red, "one", crop=(0.0, 0.5, 1.0, 1.0)), base[1]],
        base[::-1],
    ]
    hashes = [dataset_hash(read_sources(items)) for items in (base, *others)]

    assert len(set(hashes)) == len(hashes)
    assert dataset_hash(read_sources([TrainItem(again, "one"), base[1]])) == hashes[0]


def test_a_crop_is_all_that_is_shown(tmp_path: Path) -> None:
    """Picture, mask and first reference are cropped alike; a further reference stays whole, and no file changes."""
    from engines.training.data import read_sources

    image = Image.linear_gradient("L").resize((64, 32))
    image.save(tmp_path / "picture.png")
    image.resize((32, 16)).save(tmp_path / "before.png")
    bytes_before = (tmp_path / "picture.png").read_bytes()
    picture, before = tmp_path / "picture.png", tmp_path / "before.png"
    item = TrainItem(picture, "one", (before, before), mask=picture, crop=(0.25, 0.5, 0.75, 1.0))

    (source,) = read_sources([item])
    shown = source.open()

    assert shown.image.tobytes() == image.convert("RGB").crop((16, 16, 48, 32)).tobytes()
    assert shown.mask.tobytes() == image.crop((16, 16, 48, 32)).tobytes()
    assert [reference.size for reference in shown.references] == [(16, 8), (32, 16)]
    assert source.references[0] != source.references[1]
    assert picture.read_bytes() == bytes_before


def test_what_was_edited_is_what_is_shown_of_a_source(tmp_path: Path) -> None:
    """The first reference is cropped to the edited part, then like its result; other parts have other cache keys."""
    from engines.training.data import read_sources

    whole = Image.linear_gradient("L").resize((64, 32)).convert("RGB")
    whole.save(tmp_path / "source.png")
    whole.crop((32, 0, 64, 32)).save(tmp_path / "result.png")
    left, right, lower = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.5, 1.0, 1.0)

    def item(crop: tuple[float, ...], source_crop: tuple[float, ...]) -> TrainItem:
        files = tmp_path / "result.png", "one", (tmp_path / "source.png",)
        return TrainItem(*files, crop=crop, source_crop=source_crop)

    sources = read_sources([item(lower, right), item(lower, left), item((), right), item((), ())])

    assert sources[0].open_references()[0].tobytes() == whole.crop((32, 16, 64, 32)).tobytes()
    assert len({source.references[0] for source in sources}) == 4


def test_the_trainer_learns_what_the_studio_shows(tmp_path: Path) -> None:
    """Transparent and 16-bit pictures and masks open as in the studio; earlier versions' encodings are not found."""
    from engines.pictures import open_picture
    from engines.training import data

    Image.new("RGBA", (8, 8), (200, 30, 40, 0)).save(tmp_path / "cut-out.png")
    Image.new("I;16", (8, 8), 100 * 257).save(tmp_path / "deep.png")
    items = [TrainItem(tmp_path / name, "one", mask=tmp_path / "deep.png") for name in ("cut-out.png", "deep.png")]

    shown = [source.open() for source in data.read_sources(items)]

    assert [each.image.getpixel((0, 0)) for each in shown] == [(255, 255, 255), (100, 100, 100)]
    assert [each.mask.getextrema() for each in shown] == [(100, 100), (100, 100)]
    assert shown[0].image.tobytes() == open_picture(tmp_path / "cut-out.png").tobytes()
    assert data.key("one") != first_name("one")


def first_name(*parts: object) -> str:
    """Returns the hash that the first release computed of its encodings, data sets and weights."""
    return hashlib.sha256(repr((1, *parts)).encode()).hexdigest()[:32]


def test_a_training_that_has_begun_goes_on_after_pictures_are_read_anew(tmp_path: Path) -> None:
    """The hashes of data and weights stay those of the first release, though encodings have other keys now."""
    from engines.training.data import dataset_hash, read_sources, weights_hash

    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "a.safetensors").write_bytes(b"weights")
    (tmp_path / "a.png").write_bytes(b"picture")
    picture, weights = (hashlib.sha256(data).hexdigest() for data in (b"picture", b"weights" * 2))
    crop = (0.0, 0.0, 0.5, 1.0)
    sources = read_sources([TrainItem(tmp_path / "a.png", "one"), TrainItem(tmp_path / "a.png", "one", crop=crop)])

    told = [(name, "one", (), "") for name in (picture, first_name("crop", picture, *crop))]
    assert dataset_hash(sources) == first_name("dataset", told)
    assert weights_hash(tmp_path, ["vae"]) == first_name("weights", [("vae/a.safetensors", 7, weights)])


def test_a_crop_that_cannot_be_names_its_picture(tmp_path: Path) -> None:
    """An impossible crop in a run written by hand is refused with the picture's name."""
    from engines.training.data import read_sources

    Image.new("RGB", (64, 32)).save(tmp_path / "picture.png")
    (source,) = read_sources([TrainItem(tmp_path / "picture.png", "one", crop=(0.5, 0.0, 0.25, 1.0))])
    with pytest.raises(BadInput, match=r"picture\.png"):
        source.open()


def test_a_crop_that_cannot_be_of_a_reference_names_the_reference(tmp_path: Path) -> None:
    """A crop that leaves too little of the first reference is refused with the reference's name."""
    from engines.training.data import read_sources

    for name, side in (("picture.png", 64), ("before.png", 12)):
        Image.new("RGB", (side, side)).save(tmp_path / name)
    item = TrainItem(tmp_path / "picture.png", "one", (tmp_path / "before.png",), crop=(0.0, 0.0, 0.5, 0.5))
    (source,) = read_sources([item])
    with pytest.raises(BadInput, match=r"before\.png"):
        source.open()


def test_a_missing_file_says_what_to_do_instead(tmp_path: Path) -> None:
    """A picture can be left out of the data set; for another file the caller says what to do."""
    from engines.training.data import file_hash, read_sources

    with pytest.raises(NotFound, match="or leave it out of the data set"):
        read_sources([TrainItem(tmp_path / "gone.png", "one")])
    with pytest.raises(NotFound, match=r"gone\.safetensors is not there.*, or begin with another LoRA"):
        file_hash(tmp_path / "gone.safetensors", "begin with another LoRA")


def test_nothing_to_train_on_is_refused() -> None:
    """An empty data set is refused with the next action."""
    from engines.training.data import read_sources

    with pytest.raises(BadInput, match="Review"):
        read_sources([])


def test_pictures_open_as_seen(tmp_path: Path) -> None:
    """EXIF orientation is applied, colours become RGB, and a file that is no picture is named."""
    from engines.pictures import open_picture as open_image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("CMYK", (8, 4)).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "text.png").write_text("hello")

    image = open_image(tmp_path / "turned.jpg")
    assert (image.size, image.mode) == ((4, 8), "RGB")
    with pytest.raises(BadInput, match=r"text\.png"):
        open_image(tmp_path / "text.png")


@pytest.mark.parametrize("size", [(300, 100), (100, 260), (75, 100), (64, 64)])
def test_what_is_told_to_be_cut_off_is_what_is_cut_off(size: tuple[int, int]) -> None:
    """The share that `lost` returns is that of the pixels which `fit` removes, apart from the ramps' own ends."""
    from engines.api.crops import bucket, lost
    from engines.training.data import fit

    ramp = Image.linear_gradient("L")
    across, along = (fit(each.resize(size), bucket(size, 256**2, 16)).getextrema() for each in (ramp, ramp.rotate(90)))
    kept = (across[1] - across[0] + 1) / 256 * (along[1] - along[0] + 1) / 256

    assert 1 - kept == pytest.approx(lost(size, 256**2, 16), abs=0.04)


def test_a_row_says_the_grid_that_its_encoder_has() -> None:
    """The grid in a row, from which the studio computes crops before a model is here, is that of the model's files."""
    import json

    import assets
    from engines.catalogue.models import MODELS
    from engines.catalogue.shapes import LAYOUTS
    from engines.families.flux import maths as flux

    toy = json.loads((Path(assets.__file__).parent / "mini" / "flux" / "vae" / "config.json").read_text())
    rows = {spec.name: spec.multiple for spec in MODELS}
    known = {"mini-flux": toy} | {name: LAYOUTS[name]["vae"][2] for name in ("FLUX.1-dev", "FLUX.1-Krea-dev")}
    assert {name: 2 * flux.latent_factor(config) for name, config in known.items()} == {n: rows[n] for n in known}
