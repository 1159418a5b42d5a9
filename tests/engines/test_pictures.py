"""One way to read a picture: whatever a file hides or says beside its pixels, all see what the page shows."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from engines.api.errors import BadInput
from engines.pictures import decode, is_plain, is_transparent, open_picture, to_grey

RED, WHITE = (200, 30, 40), (255, 255, 255)
SRGB = ImageCms.createProfile("sRGB")


def swapped_profile() -> bytes:
    """The profile of a screen whose red is blue: what a reader that ignores it gets wrong by all there is."""
    data = ImageCms.ImageCmsProfile(SRGB).tobytes()
    return data.replace(b"rXYZ", b"xXYZ").replace(b"bXYZ", b"rXYZ").replace(b"xXYZ", b"bXYZ")


def cut_out(mode: str) -> Image.Image:
    """Red on the left; on the right something that transparency hides."""
    picture = Image.new("RGBA", (16, 8), (*RED, 255))
    picture.paste((0, 255, 0, 0), (8, 0, 16, 8))
    return picture.convert(mode)


def palette() -> Image.Image:
    """The same by a palette, one of whose colours is transparent."""
    picture = Image.new("P", (16, 8), 0)
    picture.putpalette([*RED, 0, 255, 0])
    picture.paste(1, (8, 0, 16, 8))
    return picture


def turned() -> Image.Exif:
    """What a phone writes that was held upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def lab() -> Image.Image:
    """Red in CIELAB."""
    picture = Image.new("RGB", (16, 8), RED)
    return ImageCms.profileToProfile(picture, SRGB, ImageCms.createProfile("LAB"), outputMode="LAB")


def test_phones_pictures_are_read(photos: Path) -> None:
    """HEIC and AVIF show what the PNG shows that they were made of, but for what their compression takes."""
    whole = np.asarray(open_picture(photos / "astronaut.png"), float)
    for name, most in (("astronaut.heic", 6), ("astronaut.avif", 4)):
        apart = np.abs(np.asarray(open_picture(photos / name), float) - whole)
        assert apart.mean() < most, name


def test_heic_without_its_package_names_it(photos: Path) -> None:
    """Where pi-heif is not installed, a HEIC picture is refused by name, with the command that installs it."""
    script = (
        "import sys; sys.modules['pi_heif'] = None; from pathlib import Path; "
        "from engines.api.errors import BadInput; from engines.pictures import open_picture\n"
        f"try: open_picture(Path({str(photos / 'astronaut.heic')!r}))\n"
        "except BadInput as error: print(error.cause, error.hint)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert "HEIC" in done.stdout, done.stderr[-2000:]
    assert "pip install pi-heif" in done.stdout


GREY = Image.new("RGB", (1, 1), RED).convert("L").getpixel((0, 0))
# name -> picture, how it is saved, the colours of its left and its right edge as they must be seen
HIDDEN: dict[str, tuple[Image.Image, dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {
    "alpha.png": (cut_out("RGBA"), {}, RED, WHITE),
    "alpha.webp": (cut_out("RGBA"), {"lossless": True}, RED, WHITE),
    "alpha.avif": (cut_out("RGBA"), {"quality": 100, "subsampling": "4:4:4"}, RED, WHITE),
    "grey-alpha.png": (cut_out("LA"), {}, (GREY,) * 3, WHITE),
    "palette.png": (palette(), {"transparency": 1}, RED, WHITE),
    "colour-key.png": (palette().convert("RGB"), {"transparency": (0, 255, 0)}, RED, WHITE),
    "sixteen.png": (Image.fromarray(np.full((8, 16), 100 * 257, np.uint16)), {}, (100,) * 3, (100,) * 3),
    "profile.png": (
        Image.new("RGB", (16, 8), (255, 0, 0)),
        {"icc_profile": swapped_profile()},
        (0, 0, 255),
        (0, 0, 255),
    ),
    "profile-palette.png": (
        Image.new("RGB", (16, 8), (255, 0, 0)).quantize(2),
        {"icc_profile": swapped_profile()},
        (0, 0, 255),
        (0, 0, 255),
    ),
    "print.tif": (Image.new("RGB", (16, 8), RED).convert("CMYK"), {}, RED, RED),
    "lab.tif": (lab(), {}, RED, RED),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_file_is_read_as_it_looks(name: str, tmp_path: Path) -> None:
    """Transparency on white, 16 bits scaled, profiles applied, every colour model to sRGB; none of it is plain."""
    picture, options, left, right = HIDDEN[name]
    picture.save(tmp_path / name, **options)

    seen = open_picture(tmp_path / name)

    assert (seen.mode, seen.size, seen.info) == ("RGB", (16, 8), {})
    assert np.abs(np.subtract(seen.getpixel((1, 4)), left)).max() <= 2
    assert np.abs(np.subtract(seen.getpixel((14, 4)), right)).max() <= 2
    assert not is_plain(decode((tmp_path / name).read_bytes()))
    assert is_transparent(tmp_path / name) is (right == WHITE)


def test_plain_is_what_every_program_reads_alike() -> None:
    """A grey or RGB file, one that says sRGB too; not one that lies on its side, or whose EXIF cannot be read."""
    srgb = ImageCms.ImageCmsProfile(SRGB).tobytes()
    picture = Image.linear_gradient("L").convert("RGB").resize((64, 32))
    kinds: list[dict[str, Any]] = [{}, {"icc_profile": srgb}, {"exif": turned()}]

    def kept(options: dict[str, Any], form: str = "JPEG") -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        return decode(buffer.getvalue())

    assert [is_plain(kept(options)) for options in kinds] == [True, True, False]
    assert not is_plain(kept({"exif": b"Exif\0\0nonsense"}, "PNG"))
    assert is_plain(Image.linear_gradient("L"))


def test_floats_from_nought_to_one_are_not_black(tmp_path: Path) -> None:
    """White is 1 in a picture of floats; one whose values reach further keeps them."""
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    for scale in (1.0, 255.0):
        Image.fromarray(ramp * scale).save(tmp_path / "ramp.tif")
        assert open_picture(tmp_path / "ramp.tif").convert("L").getextrema() == (0, 255)


def test_a_mask_is_the_grey_of_what_is_seen() -> None:
    """16 bits are scaled and transparency is white, as in a picture."""
    deep = Image.fromarray(np.full((8, 8), 100 * 257, np.uint16))
    assert to_grey(deep).getextrema() == (100, 100)
    assert to_grey(Image.new("RGBA", (8, 8), (0, 0, 0, 0))).getextrema() == (255, 255)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_too_large_is_refused_before_it_takes_memory() -> None:
    """By its header alone, with its size and what is read at most."""
    buffer = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(buffer, "PNG")
    with pytest.raises(BadInput, match=r"big\.png is 13000×13000 \(169 megapixels\)") as refused:
        decode(buffer.getvalue(), "big.png")
    assert "at most 100 megapixels" in refused.value.hint


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    """A text, a file cut short, one that is not there, and a folder; nothing of the reader's inside is told."""
    (tmp_path / "text.png").write_text("hello")
    buffer = io.BytesIO()
    Image.linear_gradient("L").save(buffer, "PNG")
    (tmp_path / "short.png").write_bytes(buffer.getvalue()[:-40])
    (tmp_path / "folder.png").mkdir()
    for name in ("text.png", "short.png", "gone.png", "folder.png"):
        with pytest.raises(BadInput, match=name) as refused:
            open_picture(tmp_path / name)
        assert "BytesIO" not in refused.value.cause and "Errno" not in refused.value.cause
