"""The words of a sidecar: read as they were written or not at all, and one caption of several."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from engines.api.errors import BadInput
from studio.flywheel.curate import importing
from studio.flywheel.curate.sidecars import caption, decoded
from studio.records.image import ImageRecord, Kind
from studio.records.job import Job
from studio.records.words import CAPTION_LETTERS
from tests.studio.conftest import World, present
from tests.studio.drops import photo

_LEGACY = {
    "gbk": ["ohwx woman, 微笑, 正面", "微笑", "穿红色衬衫的女人", "ohwx微笑"],
    "big5": ["ohwx woman, 微笑", "穿紅色襯衫的女人"],
    "shift_jis": ["ohwx woman, 笑顔, 正面", "かわいい", "ohwx, 帽子", "ohwx, 男"],
    "euc_jp": ["笑顔, 正面"],
    "iso2022_jp": ["笑顔"],
    "euc_kr": ["ohwx woman, 미소", "빨간 셔츠"],
    "cp1251": ["ohwx woman, улыбка", "да", "ohwx, в лесу"],
    "koi8_r": ["ohwx woman, улыбка", "женщина"],
    "cp1250": ["uśmiechnięta kobieta", "usměvavá žena", "mosolygó nő"],
    "iso8859_2": ["łódź", "się śmieje"],
    "cp1254": ["gülümseyen kadın", "şapka"],
    "cp1253": ["χαμογελαστή γυναίκα"],
    "cp1255": ["אישה מחייכת"],
    "cp1256": ["امرأة مبتسمة"],
    "cp874": ["ผู้หญิงยิ้ม"],
    "cp1257": ["mėlynas, šypsosi"],
    "cp1252": ["fenêtre ouverte", "niña", "não", "smørrebrød"],
    "mac_roman": ["lächeln, café", "smiling…"],
    "cp850": ["lächeln, café"],
    "utf-16-le": ["ohwx, hat"],
}


@pytest.mark.parametrize(("page", "words"), [(page, each) for page, all_ in _LEGACY.items() for each in all_])
def test_code_pages_that_cannot_be_told_apart_are_refused(page: str, words: str) -> None:
    """No caption ever holds other letters than were written: where bytes could mean several, they are refused."""
    with pytest.raises(BadInput) as caught:
        decoded(words.encode(page))
    assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize("words", ["café", "schöne Grüße, lächelnd", "don’t smile – “red” hat", "Größe"])
def test_western_letters_that_all_latin_pages_share_are_read_and_told(words: str) -> None:
    """These bytes mean the same from Lisbon to Vilnius and Ankara."""
    read = decoded(words.encode("cp1252"))
    assert (read.text, read.guessed) == (words, True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    "words",
    [
        "улыбка, ohwx woman",
        "微笑",
        "χαμόγελο",
        "2° 50 µm",
        "Zoe\u0301",
        "👩🏽‍🦰 ohwx",
        "日本 café",
        "phụ nữ",
        "Ваня ohwx",
    ],
)
def test_every_alphabet_is_read_from_unicode(encoding: str, words: str) -> None:
    """Unicode with or without its mark is certain."""
    read = decoded(words.encode(encoding))
    assert (read.text, read.guessed) == (words, False)


@pytest.mark.parametrize(
    "data", [b"\xff\xfea", b"\xff\xfe\x00\xd8a\x00", "lost \ufffd letters".encode(), b"a\0b", b"\x1b[0m"]
)
def test_damaged_text_is_refused(data: bytes) -> None:
    """Half a letter, letters lost before, and bytes that are no text."""
    with pytest.raises(BadInput):
        decoded(data)


@pytest.mark.parametrize(
    ("text", "kept", "told"),
    [
        ("ohwx person,\n smiling\n", "ohwx person, smiling", ["2 lines were joined"]),
        ("ohwx person, a\nohwx person, b\n\nOHWX person, c", "ohwx person, a", ["3 captions", "2 were left"]),
        ("a photo of ohwx\nsmiling at ohwxes", "a photo of ohwx smiling at ohwxes", ["2 lines were joined"]),
        ("[trigger] smiling", "ohwx smiling", ["placeholder"]),
        ("photo of [Name], {trigger}", "photo of ohwx, ohwx", ["placeholder"]),
        ("[trigger] a\n[trigger] b", "ohwx a", ["placeholder", "2 captions"]),
        ("a [hat]", "a [hat]", []),
    ],
)
def test_one_caption_is_kept_and_the_rest_told(text: str, kept: str, told: list[str]) -> None:
    """Lines that each say the trigger are alternatives, other lines are wrapped text; placeholders say the trigger."""
    said: list[str] = []
    assert caption(text, "ohwx", said) == kept
    assert bool(said) == bool(told) and all(word in " ".join(said) for word in told)


def _import(world: World, folder: Path, words: bytes) -> tuple[Job, ImageRecord]:
    (folder / "a.png").write_bytes(photo(1))
    (folder / "a.txt").write_bytes(words)
    job = importing.submit_import(world.desk, [folder / "a.png", folder / "a.txt"])
    return job, world.store.images.get(present(job.artifacts.imported)[0])


@pytest.mark.parametrize(
    ("words", "kept", "where"),
    [
        ("ohwx, café".encode("cp1252"), "ohwx, café", "advice"),
        (b"ohwx a\nohwx b", "ohwx a", "advice"),
        (b"[trigger] a", "ohwx a", "advice"),
        ("ohwx, улыбка".encode("cp1251"), "", "refused"),
        (b"x" * (CAPTION_LETTERS + 1), "", "refused"),
    ],
)
def test_what_was_decided_about_words_is_in_the_report(
    world: World, tmp_path: Path, words: bytes, kept: str, where: str
) -> None:
    """Each file whose words were guessed, chosen, changed or refused has its line."""
    job, image = _import(world, tmp_path, words)
    assert (image.kind, image.caption) == (Kind.SOURCE, kept)
    advice, refused = present(job.artifacts.advice), present(job.artifacts.refused)
    told = {"advice": [item.file for item in advice], "refused": [item.file for item in refused]}[where]
    assert [file for file in told if file == "a.txt"] == ["a.txt"]


def test_words_of_a_picture_that_did_not_come_in_are_named(world: World, tmp_path: Path) -> None:
    """A broken picture's words are not dropped in silence; those of another form of it serve that one."""
    for name, data in {"a.png": b"", "a.txt": b"ohwx a", "b.png": b"", "b.jpg": photo(1), "b.txt": b"ohwx b"}.items():
        (tmp_path / name).write_bytes(data)
    job = importing.submit_import(world.desk, sorted(tmp_path.glob("?.*")))
    assert {item.file for item in present(job.artifacts.refused)} == {"a.png", "a.txt", "b.png"}
    assert [world.store.images.get(each).caption for each in present(job.artifacts.imported)] == ["ohwx b"]


# ── words that come later ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by", ["", "recipe", "fake-edit"])
def test_words_that_come_later_are_taken(world: World, tmp_path: Path, by: str) -> None:
    """A picture without words, or with a machine's, takes those that come with it the next time."""
    (tmp_path / "a.png").write_bytes(photo(1))
    first = importing.submit_import(world.desk, [tmp_path / "a.png"])
    (image,) = present(first.artifacts.imported)
    world.store.update_image(image, caption="machine" if by else "", caption_by=by, tags={"expression": "sad"})
    (tmp_path / "a.txt").write_text("ohwx person, front view, smiling")
    job = importing.submit_import(world.desk, [tmp_path / "a.png", tmp_path / "a.txt"])
    kept = world.store.images.get(image)
    assert (kept.caption, kept.caption_by) == ("ohwx person, front view, smiling", "sidecar")
    assert kept.tags == {"angle": "front", "expression": "sad"}
    assert "a.txt" in present(job.artifacts.duplicates)[0].hint


@pytest.mark.parametrize("by", ["human", "sidecar"])
def test_words_by_people_stay_and_the_report_says_so(world: World, tmp_path: Path, by: str) -> None:
    """What somebody wrote is not replaced; the file whose words were left is named. The same words are no news."""
    (tmp_path / "a.png").write_bytes(photo(1))
    first = importing.submit_import(world.desk, [tmp_path / "a.png"])
    (image,) = present(first.artifacts.imported)
    world.store.update_image(image, caption="ohwx, mine", caption_by=by)
    for words, named in (("ohwx, other", ["a.txt"]), ("ohwx, mine", [])):
        (tmp_path / "a.txt").write_text(words)
        job = importing.submit_import(world.desk, [tmp_path / "a.png", tmp_path / "a.txt"])
        assert [item.file for item in present(job.artifacts.refused)] == named
        assert world.store.images.get(image).caption == "ohwx, mine"


def test_the_same_picture_twice_takes_the_words_of_the_second(world: World, tmp_path: Path) -> None:
    """Two files of one content, the words beside the later one."""
    data = photo(1)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "b.txt").write_text("ohwx person, sad")
    job = importing.submit_import(world.desk, sorted(tmp_path.glob("?.*")))
    assert world.store.images.get(present(job.artifacts.imported)[0]).caption == "ohwx person, sad"


def test_a_mask_that_comes_later_replaces_none(world: World, tmp_path: Path) -> None:
    """A picture's mask stays, and another one is named; the same one again is no news."""
    paths = [tmp_path / "a.png", tmp_path / "a-masklabel.png"]
    paths[0].write_bytes(photo(1))
    for white, named in ((10, []), (10, []), (20, ["a-masklabel.png"])):
        mask = Image.new("L", (96, 72))
        mask.paste(255, (0, 0, white, white))
        mask.save(paths[1])
        job = importing.submit_import(world.desk, paths)
        assert [item.file for item in present(job.artifacts.refused)] == named
    with Image.open(world.store.file(world.store.select(Kind.SOURCE)[-1].mask)) as kept:
        assert kept.getbbox() == (0, 0, 10, 10)
