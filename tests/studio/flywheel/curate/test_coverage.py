"""Coverage, the checklist, and the sample character."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from engines.fake import FakeDevice, fake_registry
from studio.flywheel.curate import captions, importing
from studio.flywheel.curate import coverage as curate
from studio.flywheel.train import character as train
from studio.open import open_workplace
from studio.records.image import Kind, Verdict
from studio.settings import Settings
from studio.workplace.desk import Workplace
from tests.studio.conftest import World, present
from tests.studio.drops import photo


def test_the_grid_counts_what_may_be_trained_on(world: World) -> None:
    """Originals and approved pictures count; rejected, pending and trashed results don't."""
    tags = {"angle": "half-left", "expression": "sad", "framing": "head"}
    for n, (kind, state) in enumerate(
        [
            (Kind.SOURCE, Verdict.PENDING),
            (Kind.ENRICHED, Verdict.GOOD),
            (Kind.CORRECTION, Verdict.GOOD),
            (Kind.SYNTHETIC, Verdict.PENDING),
            (Kind.ENRICHED, Verdict.REJECT),
            (Kind.CARD, Verdict.GOOD),
        ]
    ):
        world.picture(kind, 20 + n, tags=tags, state=state)
    world.store.trash([world.picture(Kind.SOURCE, 40, tags=tags)])
    seen = curate.coverage(world.desk)
    assert seen.cells["half-left", "sad"] == 3
    assert len(seen.cells) == 20
    assert len(seen.missing) == 19
    assert seen.framings == {"head": 3, "bust": 0, "full body": 0}


def test_poses_count_where_the_whole_body_is_seen(world: World) -> None:
    """A head shot that says "standing" covers no pose."""
    world.picture(Kind.SOURCE, 20, tags={"pose": "standing", "framing": "head"})
    world.picture(Kind.SOURCE, 21, tags={"pose": "sitting", "framing": "full body"})
    seen = curate.coverage(world.desk)
    assert seen.poses == {"standing": 0, "sitting": 1, "T-pose": 0}
    assert seen.missing_poses == ("standing", "T-pose")


def checks(world: World) -> dict[str, bool]:
    """The checklist: label -> met."""
    return {check.label: check.ok for check in curate.coverage(world.desk).checklist}


def test_a_bad_start_fails_every_rule_with_a_hint(world: World) -> None:
    """Few pictures of one angle, without words or with telling ones, are told one by one."""
    world.picture(Kind.SOURCE, 20, caption="")
    world.picture(Kind.SOURCE, 21, caption="someone with blue eyes")
    checklist = curate.coverage(world.desk).checklist
    assert [check.ok for check in checklist] == [False] * 5
    assert all(check.hint for check in checklist)


def test_a_good_start_meets_every_rule(world: World) -> None:
    """Ten captioned pictures of two angles are enough."""
    for n in range(6):
        angle = ("front", "half-left")[n % 2]
        world.picture(Kind.SOURCE, 20 + n, tags={"angle": angle}, caption=f"ohwx person, {angle} view")
    assert all(checks(world).values())


def sample(folder: Path) -> Path:
    """Assets with a sample of three pictures, one without words."""
    (folder / "sample").mkdir(parents=True)
    for n in range(3):
        (folder / "sample" / f"{n}.png").write_bytes(photo(n))
    for n in range(2):
        (folder / "sample" / f"{n}.txt").write_text("ohwx person, smiling, front view", encoding="utf-8")
    return folder


def studio_on(assets: Path, home: Path) -> Workplace:
    """A studio of fakes on a folder."""
    settings = Settings(data_root=home, assets=assets, device="fake")
    return open_workplace(settings, registry=fake_registry(assets, assets / "models"), device=FakeDevice(8 << 30))


def test_the_sample_is_there_at_the_first_start_and_made_once(tmp_path: Path) -> None:
    """A new home has a character to try things on; one who throws its pictures away isn't given them again."""
    assets = sample(tmp_path / "assets")
    with studio_on(assets, tmp_path / "home") as studio:
        (made,) = studio.library.characters()
        store = studio.store(made.id)
        assert len(store.select(Kind.SOURCE)) == 3
        assert {image.caption_by for image in store.images.all()} == {"sidecar", ""}
        assert all(image.measures for image in store.images.all())
        store.trash([store.images.all()[0].id])
    with studio_on(assets, tmp_path / "home") as studio:
        assert len(studio.library.characters()) == 1
        assert len(studio.store(made.id).select(Kind.SOURCE)) == 2


def test_a_half_made_sample_is_completed(tmp_path: Path) -> None:
    """A first start that was killed leaves no crippled character behind."""
    assets = sample(tmp_path / "assets")
    last = assets / "sample" / "2.png"
    data = last.read_bytes()
    last.unlink()
    with studio_on(assets, tmp_path / "home") as studio:
        studio.library.set_setting("sample_done", False)  # as a kill before the last picture leaves it
    last.write_bytes(data)
    with studio_on(assets, tmp_path / "home") as studio:
        (made,) = studio.library.characters()
        assert len(studio.store(made.id).select(Kind.SOURCE)) == 3


def test_a_home_with_characters_is_given_no_sample(tmp_path: Path) -> None:
    """Who has their own characters isn't surprised by ours."""
    with studio_on(tmp_path / "none", tmp_path / "home") as studio:
        studio.library.create("Mira")
    with studio_on(sample(tmp_path / "assets"), tmp_path / "home") as studio:
        assert [character.name for character in studio.library.characters()] == ["Mira"]


def test_advice_on_a_shape_that_training_cuts_follows_the_crop(world: World, tmp_path: Path) -> None:
    """Told with its share at the import, gone with a crop that fits, told of one that does not; the rest stays."""
    Image.effect_noise((64, 192), 90).convert("RGB").save(tmp_path / "body.png")
    Image.effect_noise((96, 128), 90).convert("RGB").save(tmp_path / "phone.png")
    job = importing.submit_import(world.desk, [tmp_path / "body.png", tmp_path / "phone.png"])
    body, phone = (world.store.images.get(image) for image in present(job.artifacts.imported))
    world.store.update_image(body.id, advice={**body.advice, "dark": "very dark"})

    fits = curate.crop(world.desk, body.id, (0, 0, 1, 0.5)).advice
    long = curate.crop(world.desk, body.id, (0, 0, 0.3, 1)).advice
    back = [curate.undo_crop(world.desk, body.id).advice for _ in range(2)]

    assert "39%" in body.advice["cut"] and "cut" not in phone.advice
    assert fits == {"dark": "very dark"} and "82%" in long["cut"]
    assert back == [fits, {**body.advice, "dark": "very dark"}]


@pytest.mark.parametrize(
    ("trigger", "caption", "said"),
    [
        ("ana", "a woman eating a banana, beach", False),
        ("art", "cartoon of a woman", False),
        ("anna smith", "anna smith woman, smiling", True),
        ("ohwx", "ohwx woman, smiling", True),
        ("ohwx", "photo of ohwx woman", True),
    ],
)
def test_all_checks_agree_on_who_is_called(world: World, trigger: str, caption: str, said: bool) -> None:
    """Curate's checklist and the pre-flight answer alike: whole words, wherever they stand."""
    world.studio.library.update(world.id, trigger=trigger)
    for image in world.sources:
        captions.set_caption(world.desk, image, caption)
    listed = [each.ok for each in curate.coverage(world.desk).checklist if trigger in each.label]
    checked = [each.ok for each in train.preflight(world.desk).checks if f"says {trigger}" in each.label]

    assert (listed, checked) == ([said], [said])


def test_a_triggers_own_words_are_no_leak(world: World) -> None:
    """Whoever is called “redhead anna” may be named; red hair beside it may not."""
    assert captions.leaks("redhead anna woman, smiling", "redhead anna") == []
    assert captions.leaks("redhead anna woman with red hair", "redhead anna") == ["red hair"]
    assert captions.leaks("redhead woman", "redhead anna") == ["redhead"]
