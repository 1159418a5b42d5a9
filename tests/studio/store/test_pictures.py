"""Picture files: originals byte for byte, pixels as engines take them, provenance that others can read."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams, GenerateParams
from engines.pictures import to_rgb
from studio.records.provenance import Provenance
from studio.store.pictures import MOST_BYTES, Pictures, content_id, open_upload, read_provenance

RED = (200, 30, 40)


def file_of(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """An empty folder of pictures."""
    return Pictures(tmp_path)


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp")])
def test_originals_are_kept_verbatim(pictures: Pictures, kind: str, suffix: str) -> None:
    """JPEG, PNG and WebP lie on the disk byte for byte, named by their hash."""
    data = file_of(Image.new("RGB", (40, 30), RED), kind)
    kept = pictures.keep(data)
    assert kept.id == content_id(data)
    assert kept.file == f"images/{kept.id[:2]}/{kept.id}{suffix}"
    assert pictures.path(kept.file).read_bytes() == data
    assert (kept.width, kept.height) == (40, 30)


def test_phone_picture_with_a_preview_is_a_jpeg(pictures: Pictures) -> None:
    """A JPEG that holds further frames, as phones write them, is kept verbatim as a JPEG."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = file_of(frames[0], "MPO", save_all=True, append_images=frames[1:])
    kept = pictures.keep(data)
    assert kept.file.endswith(".jpg")
    assert pictures.path(kept.file).read_bytes() == data


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGB"])
def test_other_formats_become_png(pictures: Pictures, mode: str) -> None:
    """A TIFF of any colour model is kept as an RGB PNG."""
    kept = pictures.keep(file_of(Image.new("RGB", (8, 8), (255, 0, 0)).convert(mode), "TIFF"))
    assert kept.file.endswith(".png")
    assert pictures.open(kept.file).mode == "RGB"


def test_first_frame_of_an_animation(pictures: Pictures) -> None:
    """Of an animated GIF the first frame is kept."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    kept = pictures.keep(file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert pictures.open(kept.file).getpixel((4, 4)) == (255, 0, 0)


def test_rotated_phone_picture_is_upright(pictures: Pictures) -> None:
    """EXIF orientation is applied to pixels, size and thumbnail, not to the file."""
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste((255, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    kept = pictures.keep(file_of(picture, "PNG", exif=exif))
    assert (kept.width, kept.height) == (20, 40)
    upright = pictures.open(kept.file)
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5)) == (255, 0, 0)
    with Image.open(pictures.thumb(kept.id, kept.file)) as thumb:
        assert thumb.size == (20, 40)


def test_transparency_is_laid_on_white() -> None:
    """What is transparent becomes white, not black."""
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (*RED, 255))
    assert [to_rgb(clear).getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), RED]


def test_sixteen_bits_are_scaled() -> None:
    """A 16-bit grey ramp keeps its greys instead of clipping to white."""
    ramp = Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16))
    assert np.asarray(to_rgb(ramp))[0, :, 0].tolist() == [0, 128, 255]


def test_colour_profile_is_applied_and_a_broken_one_ignored() -> None:
    """Colours are brought to sRGB; a profile that cannot be read costs nothing."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.new("RGB", (4, 4), RED)
    for profile in (lab, b"nonsense"):
        picture.info["icc_profile"] = profile
        plain = to_rgb(picture)
        assert np.allclose(np.asarray(plain)[0, 0], RED, atol=1)
        assert "icc_profile" not in plain.info


def test_broken_exif_is_no_orientation(pictures: Pictures) -> None:
    """EXIF that cannot be read leaves the picture as its pixels lie."""
    kept = pictures.keep(file_of(Image.new("RGB", (4, 2), RED), "PNG", exif=b"Exif\x00\x00nonsense"))
    assert (kept.width, kept.height) == (4, 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"these are only words",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        file_of(Image.effect_noise((64, 64), 90), "PNG")[:-300],
        file_of(Image.effect_noise((64, 64), 90), "JPEG")[:900],
        file_of(Image.effect_noise((64, 64), 90), "WEBP")[:-200],
    ],
    ids=["empty", "text", "program", "torn-png", "torn-jpeg", "torn-webp"],
)
def test_broken_files_are_refused(pictures: Pictures, tmp_path: Path, data: bytes) -> None:
    """What is no whole picture is refused in words, and leaves no file."""
    with pytest.raises(BadInput, match="cannot be read as a picture"):
        pictures.keep(data)
    assert list(tmp_path.iterdir()) == []


def test_enormous_picture_is_refused(pictures: Pictures) -> None:
    """A small file that would unfold to 900 million pixels is refused before it does."""
    small = file_of(Image.new("RGB", (30, 30), RED), "PNG")
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + small[24:29]
    data = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(BadInput, match="cannot be read as a picture"):
        pictures.keep(data)


def test_thumb_is_small_and_drawn_again(pictures: Pictures) -> None:
    """A thumbnail fits 512 pixels, and comes back after its folder was emptied."""
    kept = pictures.keep(file_of(Image.new("RGB", (1200, 600), RED), "PNG"))
    thumb = pictures.thumb(kept.id, kept.file)
    with Image.open(thumb) as small:
        assert (small.format, small.size) == ("WEBP", (512, 256))
    thumb.unlink()
    assert pictures.thumb(kept.id, kept.file).is_file()


def test_result_carries_its_parameters(pictures: Pictures) -> None:
    """A PNG of ours says how it was made, in the text that other tools read and in our JSON."""
    params = GenerateParams(prompt="ohwx person, smiling – Ünal", steps=7)
    made = Provenance(params_kind="GenerateParams", params=params.to_json(), model="mini-flux", seed=3)
    kept = pictures.keep_result(Image.new("RGB", (8, 8), RED), made)
    path = pictures.path(kept.file)
    assert read_provenance(path) == made.replace(params={**params.to_json(), "loras": []})
    with Image.open(path) as picture:
        assert "\nSteps: 7, " in picture.info["parameters"]
        assert picture.info["parameters"].startswith("ohwx person, smiling – Ünal\n")


def test_same_result_same_file(pictures: Pictures) -> None:
    """Equal pixels made in the same way are one file; made in another way, another."""
    picture = Image.new("RGB", (8, 8), RED)
    made = Provenance(params_kind="EditParams", params=EditParams(instruction="x").to_json())
    first = pictures.keep_result(picture, made)
    assert pictures.keep_result(picture, made) == first
    assert pictures.keep_result(picture, made.replace(seed=2)).id != first.id


@pytest.mark.parametrize("kind", ["Nonsense", "Json", "replace"])
def test_unknown_parameters_are_refused(pictures: Pictures, kind: str) -> None:
    """A name that is no Params class is an error, not a picture without its text."""
    with pytest.raises(BadInput, match=f"no parameters called '{kind}'"):
        pictures.keep_result(Image.new("RGB", (8, 8)), Provenance(params_kind=kind))


def test_foreign_picture_has_no_provenance(pictures: Pictures) -> None:
    """A picture from elsewhere answers with nothing."""
    for kind in ("PNG", "JPEG"):
        kept = pictures.keep(file_of(Image.new("RGB", (8, 8)), kind))
        assert read_provenance(pictures.path(kept.file)) == Provenance()


def test_missing_file_is_named(pictures: Pictures) -> None:
    """A record whose file is gone says which file."""
    with pytest.raises(NotFound, match=r"images/ab/abc\.png is missing"):
        pictures.open("images/ab/abc.png")


def test_half_a_file_is_mended(pictures: Pictures) -> None:
    """A file of the right name and the wrong size is written again."""
    data = file_of(Image.new("RGB", (8, 8), RED), "PNG")
    kept = pictures.keep(data)
    pictures.path(kept.file).write_bytes(data[:20])
    pictures.keep(data)
    assert pictures.path(kept.file).read_bytes() == data


def test_a_browser_is_given_what_is_seen(pictures: Pictures) -> None:
    """The file itself, but where transparency would be laid on the page or only a part is wanted."""
    clear = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    plain, hidden = (pictures.keep(file_of(each, "PNG")) for each in (Image.new("RGB", (40, 20), RED), clear))
    left = (0.0, 0.0, 0.5, 1.0)

    assert pictures.view(plain.id, plain.file) == pictures.path(plain.file)
    with Image.open(pictures.view(hidden.id, hidden.file)) as shown:
        assert (shown.mode, shown.size, shown.getpixel((3, 3))) == ("RGB", (40, 20), (255, 255, 255))
    for part in (pictures.view(plain.id, plain.file, left), pictures.thumb(plain.id, plain.file, left)):
        with Image.open(part) as shown:
            assert shown.size == (20, 20)
    with Image.open(pictures.thumb(plain.id, plain.file)) as whole:
        assert whole.size == (40, 20)
    pictures.path(plain.file).write_bytes(b"damaged")
    assert pictures.view(plain.id, plain.file) == pictures.path(plain.file)  # the page stands, with one empty frame


def test_avif_is_kept_as_png(pictures: Pictures) -> None:
    """Phones and sites write it; other trainers hardly read it."""
    kept = pictures.keep(file_of(Image.new("RGB", (8, 8), RED), "AVIF"))
    assert kept.file.endswith(".png")
    assert np.allclose(np.asarray(pictures.open(kept.file))[4, 4], RED, atol=6)


def test_an_upload_is_a_file_of_bounded_size(tmp_path: Path) -> None:
    """A pipe is not waited for, a device not read to its end; each is refused in words that name it."""
    (tmp_path / "long.png").touch()
    os.truncate(tmp_path / "long.png", MOST_BYTES + 1)  # takes no room on the disk
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "text.png").write_text("hello")
    refused = [(tmp_path / name, name) for name in ("long.png", "pipe.png", "text.png")]
    refused += [(tmp_path, tmp_path.name), (Path("/dev/zero"), "zero"), (tmp_path / ("a" * 300), "aaa")]
    for file, name in refused:
        with pytest.raises(BadInput, match=name):
            open_upload(file)
    for missing in ("gone.png", "nul\0.png", "caf\udce9.png"):
        with pytest.raises(NotFound):
            open_upload(tmp_path / missing)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "fine.png")
    assert open_upload(tmp_path / "fine.png").getpixel((1, 1)) == (255, 255, 255)


def test_a_mask_that_was_cut_short_is_written_again(pictures: Pictures) -> None:
    """A file of another length than its content is replaced when the same mask comes again, as a picture's is."""
    mask = Image.new("L", (40, 30), 255)
    file = pictures.keep_mask(mask, mask.size)
    pictures.path(file).write_bytes(b"cut")

    assert pictures.keep_mask(mask, mask.size) == file
    assert pictures.trouble(file) is None
