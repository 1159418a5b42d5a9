"""Reading what was dropped in: pictures decoded whole or refused with a reason, zips opened safely."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import BadInput
from studio.flywheel.curate.intake import Limits, Member, is_junk, members, read_caption, read_picture
from studio.records.job import Refused
from tests.studio.drops import animated, encoded, huge_png, turned

LIMITS = Limits()


def noise(form: str, mode: str = "RGB", **options: object) -> bytes:
    """Noise in a format and a mode."""
    return encoded(Image.effect_noise((40, 30), 60).convert(mode), form, **options)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_what_pillow_reads_well_is_read(form: str) -> None:
    """Every common still format gives upright RGB pixels."""
    picture = read_picture(noise(form), LIMITS)
    assert (picture.mode, picture.size) == ("RGB", (40, 30))


def test_cmyk_becomes_rgb() -> None:
    """Print colours are converted, never refused."""
    assert read_picture(noise("TIFF", mode="CMYK"), LIMITS).mode == "RGB"


def test_orientation_is_applied() -> None:
    """A phone held upright gives a picture that stands upright."""
    assert read_picture(noise("JPEG", exif=turned()), LIMITS).size == (30, 40)


def test_sixteen_bit_greys_are_scaled() -> None:
    """Sixteen bits become eight, rather than clipped to white."""
    data = encoded(Image.new("I;16", (8, 8), 0x8000), "PNG")
    assert abs(read_picture(data, LIMITS).crop((3, 3, 4, 4)).tobytes()[0] - 128) <= 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just some words, renamed to photo.jpg\n", "text"),
        ("schöne Grüße aus Köln".encode(), "text"),
        (noise("JPEG")[:-300], "cut short"),
        (noise("PNG")[:200], "cut short"),
        (noise("JPEG")[:12], "damaged"),
        (huge_png(30_000, 30_000), "30000×30000"),
        (huge_png(12_000, 9_000), "108 megapixels"),
        (animated("GIF"), "animated"),
        (animated("WEBP"), "animated"),
        (animated("PNG"), "animated"),
        (animated("TIFF"), "3 pages"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "HEIC"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 broken", "damaged"),
        (b"GIF89a", "damaged"),
        (b"%PDF-1.7\n\xe2\xe3\xcf\xd3" + bytes(64), "no picture"),
    ],
)
def test_what_is_no_good_is_named(data: bytes, reason: str) -> None:
    """Each refusal says why, and what to do."""
    with pytest.raises(BadInput, match=reason) as caught:
        read_picture(data, LIMITS)
    assert caught.value.hint


def test_size_is_refused_before_decoding() -> None:
    """A header alone is enough to refuse: this PNG has no pixels at all."""
    with pytest.raises(BadInput, match="too large to open safely"):
        read_picture(huge_png(30_000, 30_000), LIMITS)


@pytest.mark.parametrize("size", [(100_000_000, 1), (1, 60_000)])
def test_a_side_beyond_all_sense_is_refused(size: tuple[int, int]) -> None:
    """A hundred megapixels in one line would take a gigabyte to turn or to look at."""
    with pytest.raises(BadInput, match="too long"):
        read_picture(huge_png(*size), LIMITS)


@pytest.mark.parametrize("form", ["BMP", "TIFF"])
def test_size_limit_holds_for_every_format(form: str) -> None:
    """The limit isn't one of PNGs."""
    with pytest.raises(BadInput, match="megapixels"):
        read_picture(noise(form), Limits(pixels=1000))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xef\xbb\xbfohwx person,\r\n smiling ", "ohwx person, smiling"),
        ("ohwx person, café".encode("utf-16"), "ohwx person, café"),
        ("ohwx person, café".encode("cp1252"), "ohwx person, café"),
    ],
)
def test_captions_are_read_in_common_encodings(data: bytes, words: str) -> None:
    """A caption is one line of words, however an editor saved it."""
    assert read_caption(data, LIMITS) == words


@pytest.mark.parametrize("data", [b"\0\1\2", b"x" * 70_000])
def test_what_is_no_caption_is_refused(data: bytes) -> None:
    """Binary files and novels aren't captions."""
    with pytest.raises(BadInput):
        read_caption(data, LIMITS)


def test_junk_of_systems_is_passed_over() -> None:
    """Nobody wants to hear of .DS_Store."""
    assert is_junk("a/.DS_Store") and is_junk("__MACOSX/a.jpg") and is_junk("Thumbs.db")
    assert not is_junk("a/b.jpg")


Zipper = Callable[[zipfile.ZipFile], None]


def read_zip(folder: Path, fill: Zipper, limits: Limits = LIMITS) -> tuple[dict[str, bytes], dict[str, str]]:
    """What came out of a zip, and what was refused."""
    with zipfile.ZipFile(folder / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)
    good: dict[str, bytes] = {}
    bad: dict[str, str] = {}
    with ExitStack() as stack:
        for item in members([folder], limits, stack):
            if isinstance(item, Refused):
                bad[item.file] = item.reason
                continue
            try:
                good[item.label] = item.read()
            except BadInput as error:
                bad[item.label] = error.cause
    return good, bad


def test_zip_members_that_point_outside_are_refused(tmp_path: Path) -> None:
    """Names with .., absolute names and drive letters stay out; the rest comes in, also a time with its colon."""

    def fill(archive: zipfile.ZipFile) -> None:
        for name in ("../evil.png", "a/../../evil.png", "/etc/evil.png", "C:/evil.png", "c:evil.png", "..\\evil.png"):
            archive.writestr(name, b"bytes")
        for name in ("sub/ok.png", "12:30.png", "9:30/ok.png"):
            archive.writestr(name, b"bytes")

    good, bad = read_zip(tmp_path, fill)
    assert set(good) == {"z.zip/sub/ok.png", "z.zip/12:30.png", "z.zip/9:30/ok.png"}
    assert len(bad) == 6
    assert all("outside" in reason for reason in bad.values())


def test_zip_members_without_a_name_are_refused(tmp_path: Path) -> None:
    """A name that is nothing but dots costs itself alone; the zip's pictures come in."""

    def fill(archive: zipfile.ZipFile) -> None:
        for name in (".", "./.", "././.", "ok.png", "n\x1bame.png"):
            archive.writestr(name, b"bytes")
        archive.writestr("none", b"bytes")
        archive.filelist[-1].filename = ""

    good, bad = read_zip(tmp_path, fill)
    assert set(good) == {"z.zip/ok.png", "z.zip/n?ame.png"}
    assert set(bad) == {"z.zip/.", "z.zip/./.", "z.zip/././.", "z.zip/"}


def test_zip_links_and_zips_within_are_refused(tmp_path: Path) -> None:
    """A link could point anywhere, and a zip within a zip could go on for ever."""

    def fill(archive: zipfile.ZipFile) -> None:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("inner.zip", b"PK")

    good, bad = read_zip(tmp_path, fill)
    assert not good
    assert set(bad) == {"z.zip/link.png", "z.zip/inner.zip"}


def test_zip_bombs_are_refused_unread(tmp_path: Path) -> None:
    """A member that unpacks to hundreds of times its size, or to too much, is never read."""

    def fill(archive: zipfile.ZipFile) -> None:
        archive.writestr("bomb.png", bytes(8 << 20))
        archive.writestr("large.png", bytes(range(256)) * 8)
        archive.writestr("ok.png", b"bytes")

    good, bad = read_zip(tmp_path, fill)
    assert set(good) == {"z.zip/large.png", "z.zip/ok.png"}
    assert "zip bombs" in bad["z.zip/bomb.png"]
    good, bad = read_zip(tmp_path, fill, Limits(file_bytes=1024))
    assert set(good) == {"z.zip/ok.png"}
    assert "larger than" in bad["z.zip/large.png"]


@pytest.mark.parametrize("limits", [Limits(total_bytes=1000), Limits(files=2)])
def test_zips_that_unpack_to_too_much_are_refused_whole(tmp_path: Path, limits: Limits) -> None:
    """A zip beyond the limits of one import is named once."""

    def fill(archive: zipfile.ZipFile) -> None:
        for n in range(3):
            archive.writestr(f"{n}.png", bytes(500))

    good, bad = read_zip(tmp_path, fill, limits)
    assert not good
    assert list(bad) == ["z.zip"]


def test_damaged_zips_cost_only_what_is_damaged(tmp_path: Path) -> None:
    """A flipped byte loses its member; a file that is no zip at all is named."""

    def fill(archive: zipfile.ZipFile) -> None:
        archive.writestr("a.png", bytes(range(200)), compress_type=zipfile.ZIP_STORED)
        archive.writestr("b.png", b"bytes")

    read_zip(tmp_path, fill)
    data = bytearray((tmp_path / "z.zip").read_bytes())
    data[100] ^= 0xFF
    (tmp_path / "z.zip").write_bytes(data)
    (tmp_path / "y.zip").write_bytes(b"no zip")
    with ExitStack() as stack:
        items = members([tmp_path], LIMITS, stack)
        found = {item.label if isinstance(item, Member) else item.file: item for item in items}
        assert isinstance(found["y.zip"], Refused)
        first, second = found["z.zip/a.png"], found["z.zip/b.png"]
        assert isinstance(first, Member) and isinstance(second, Member)
        with pytest.raises(BadInput, match="damaged"):
            first.read()
        assert second.read() == b"bytes"


def test_captions_belong_to_pictures_of_their_folder(tmp_path: Path) -> None:
    """A picture and its words share folder and name, in a zip as on the disk."""
    (tmp_path / "a").mkdir()
    for name in ("a/x.png", "a/x.txt", "x.txt"):
        (tmp_path / name).write_bytes(b"")
    with ExitStack() as stack:
        found = [item for item in members([tmp_path], LIMITS, stack) if isinstance(item, Member)]
    keys = {item.label: item.key for item in found}
    assert keys["a/x.png"] == keys["a/x.txt"] != keys["x.txt"]
    assert [item.label for item in found if item.is_caption] == ["a/x.txt", "x.txt"]
