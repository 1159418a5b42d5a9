"""Tests the terms of the loss and their batches."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engines.api.errors import BadInput

pytestmark = pytest.mark.slow

ALL = range(100)  # one process takes every row

both = pytest.mark.parametrize("family", ["flux", "qwen-edit"])


def _terms(trainer: Any, run: Any, lease: Any) -> Any:
    from engines.training.data import read_sources
    from engines.training.encoding import encode
    from engines.training.losses import terms

    encoded = encode(trainer.family, run, read_sources(run.items), lease, lambda *_: None)
    return terms(trainer.family, encoded, run.params)


def _masked(run: Any, folder: Path, box: tuple[int, int, int, int]) -> Any:
    """Returns the run with a mask on its first item that is white in a box."""
    mask = Image.new("L", (64, 64))
    mask.paste(255, box)
    mask.save(folder / "mask.png")
    return dataclasses.replace(run, items=(dataclasses.replace(run.items[0], mask=folder / "mask.png"), *run.items[1:]))


@both
def test_captions_are_dropped_as_often_as_asked(family, make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """A dropped caption is encoded as the empty one; which are dropped depends on the seed and the batch's number."""
    import torch

    trainer, device = make_trainer(family), torch.device("cpu")
    run = make_run(tmp_path, family, previews=False, caption_dropout=0.3, batch_size=4)
    captions = ("ohwx person", "ohwx person in the forest", "smiling", "a red shirt")
    run = dataclasses.replace(run, items=tuple(dataclasses.replace(run.items[0], caption=words) for words in captions))
    lease = host_lease(trainer.plan(run))
    (term,), (again,) = _terms(trainer, run, lease), _terms(trainer, run, lease)
    with lease.stage("encode") as parts:
        references = [Image.open(path).convert("RGB") for path in run.items[0].references]
        *said, unsaid = (_read(trainer.family.encode_words(parts, words, references)) for words in (*captions, ""))

    drawn = [[_read(row) for row in _rows(term.batch(number, ALL, device).tensors)] for number in range(100)]
    wordless = [[row == unsaid for row in rows] for rows in drawn]

    assert {row for rows in drawn for row in rows} == {*said, unsaid}
    assert sum(map(sum, wordless)) / 400 == pytest.approx(0.3, abs=0.06)
    assert drawn[7] == [_read(row) for row in _rows(again.batch(7, ALL, device).tensors)]
    other = _terms(trainer, dataclasses.replace(run, params=run.params.replace(seed=6)), lease)[0]
    assert wordless != [
        [_read(row) == unsaid for row in _rows(other.batch(number, ALL, device).tensors)] for number in range(100)
    ]


def _rows(batch: Any) -> list[dict[str, Any]]:
    return [{name: value[row : row + 1] for name, value in batch.items()} for row in range(4)]


def _read(row: Any) -> bytes:
    """Returns a row's embedding without its padding."""
    embeds = row["prompt_embeds"][0]
    return (embeds[row["prompt_mask"][0].bool()] if "prompt_mask" in row else embeds).numpy().tobytes()


def test_a_mask_weighs_places(make_trainer) -> None:
    """Errors are weighted by the mask, and divided by its mean, so that the mask's size does not matter."""
    import torch

    from engines.families.flux.training import FluxAdapter

    class Off(FluxAdapter):
        """Predicts with an error of 1 in the left half and of 3 in the right."""

        def predict(self, transformer: Any, batch: Any, noise: Any, sigma: Any, guidance: float) -> Any:
            from engines.drawing.latents import pack

            off = torch.ones_like(noise)
            off[..., 4:] = 3.0
            return pack(noise - batch["latents"] + off)

    trainer = make_trainer("flux")
    family = Off(trainer.spec, trainer.folder)
    latents, mask = torch.randn(2, 16, 8, 8), torch.ones(2, 1, 8, 8)
    mask[0, ..., 4:] = 0.1
    shown = (torch.randn(2, 16, 8, 8), torch.full((2,), 0.5), 1.0)

    plain = family.losses(None, {"latents": latents}, *shown).mean()
    masked = family.losses(None, {"latents": latents, "mask": mask}, *shown).mean()

    assert plain.item() == pytest.approx(5.0, abs=1e-4)
    assert masked.item() == pytest.approx(((1 + 0.1 * 9) / 1.1 + 5.0) / 2, abs=1e-4)


@both
def test_a_mask_goes_the_way_of_its_picture(family, make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """It is scaled and cropped like its picture; items without one have weight 1 everywhere."""
    import torch

    trainer = make_trainer(family)
    run = _masked(make_run(tmp_path, family, previews=False, mask_outside=0.25), tmp_path, (32, 0, 64, 64))
    (term,) = _terms(trainer, run, host_lease(trainer.plan(run)))
    masks = [term.batch(number, ALL, torch.device("cpu")).tensors["mask"] for number in range(6)]
    rows = torch.cat(masks)
    half = [row for row in rows if row.min() < 1]

    assert rows.shape[1:] == (1, 16, 16)
    assert len(half) == 1
    assert half[0][..., :8].unique().tolist() == [0.25]
    assert half[0][..., 8:].unique().tolist() == [1.0]


def test_a_wide_picture_and_its_mask_lose_the_same_ends(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """Both are cropped alike."""
    import torch

    trainer = make_trainer("flux")
    mask = Image.new("L", (200, 50), 255)
    mask.paste(0, (0, 0, 50, 50))
    mask.paste(0, (150, 0, 200, 50))
    with host_lease(trainer.plan(make_run(tmp_path))).stage("encode") as parts:
        family = trainer.family
        latents = family.encode_images(parts, mask.convert("RGB"), (), 64, torch.Generator())["latents"]
        covered = family.encode_mask(parts, mask, 64, latents)

    assert covered.shape[-2:] == latents.shape[-2:]
    assert covered.min() > 0.9  # 2:1 is the widest that is trained, and that is the middle half


def test_unusable_masks_are_refused(make_trainer, make_run, train, tmp_path: Path) -> None:
    """A mask of another size, or without a white place, is refused."""
    run = _masked(make_run(tmp_path, previews=False), tmp_path, (0, 0, 0, 0))
    with pytest.raises(BadInput, match="is black"):
        train(make_trainer("flux"), run)
    Image.new("L", (32, 64), 255).save(tmp_path / "mask.png")
    with pytest.raises(BadInput, match="32×64, its picture 64×64"):
        train(make_trainer("flux"), run)


def test_preservation_is_of_the_base(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """With the adapter off the predictions are the base model's: the term is 0 for a new adapter, and above 0 later.

    Its batch has the class's words with the same pictures, noise and levels, and the adapter is on afterwards.
    """
    import torch

    from engines.training.trainer import trainable

    trainer = make_trainer("flux")
    run = make_run(tmp_path, previews=False, dop_weight=0.5)
    lease = host_lease(trainer.plan(run))
    flow, kept = _terms(trainer, run, lease)
    with lease.stage("train") as parts:
        transformer = parts["transformer"]
        with trainable(transformer, run.params, trainer.family.targeted(run.params)) as weights:
            device = torch.device("cpu")
            plain, of_class = flow.batch(3, ALL, device), kept.batch(3, ALL, device)
            assert kept.weight == 0.5
            assert torch.equal(plain.noise, of_class.noise) and torch.equal(plain.sigma, of_class.sigma)
            assert torch.equal(plain.tensors["latents"], of_class.tensors["latents"])
            assert not torch.equal(plain.tensors["prompt_embeds"], of_class.tensors["prompt_embeds"])
            assert kept.losses(transformer, of_class).mean().item() == 0.0
            for weight in weights:
                weight.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
            loss = kept.losses(transformer, of_class).mean()
            loss.backward()
            assert loss.item() > 0
            assert all(weight.grad is not None for weight in weights)


def test_only_captions_with_the_trigger_are_preserved(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """The other captions have no class words, and a batch of these alone is None."""
    import torch

    trainer = make_trainer("flux")
    run = make_run(tmp_path, previews=False, dop_weight=1.0, batch_size=1)
    silent = tuple(dataclasses.replace(item, caption="a person") for item in run.items[:6])
    run = dataclasses.replace(run, items=(*silent, *run.items[6:]))
    _, kept = _terms(trainer, run, host_lease(trainer.plan(run)))

    batches = [kept.batch(number, ALL, torch.device("cpu")) for number in range(12)]
    assert sum(batch is None for batch in batches) == 6


@both
def test_class_pictures_are_drawn_once(family, make_trainer, make_run, train, host_lease, tmp_path: Path) -> None:
    """The base model draws them into the run's folder; a resume finds them and leases no encoder."""
    trainer = make_trainer(family)
    run = make_run(tmp_path, family, previews=False, steps=2, save_every=0, prior_weight=1.0, prior_pictures=3)
    items = tuple(dataclasses.replace(item, caption="ohwx person, smiling") for item in run.items)
    run = dataclasses.replace(run, items=items, trigger="ohwx")
    first = host_lease(trainer.plan(run))
    train(trainer, run, first)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "class").iterdir()}
    second = host_lease(trainer.plan(run))
    train(trainer, dataclasses.replace(run, params=run.params.replace(steps=3)), second)

    assert first.asked == ["encode", "train", "train"]
    assert second.asked == ["train"]
    assert sorted(file.name for file in files) == ["0000.png", "0001.png", "0002.png"]
    assert files == {file: file.stat().st_mtime_ns for file in files}
    assert len({file.read_bytes() for file in files}) == 3


@both
def test_runs_of_two_seeds_share_their_class_pictures(
    family, make_trainer, make_run, host_lease, steps, tmp_path: Path
) -> None:
    """A class picture's latents do not depend on which run filled the cache."""
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    trainer, found = make_trainer(family), []
    for seed in (1, 2):
        knobs = {"previews": False, "prior_weight": 1.0, "prior_pictures": 2, "seed": seed}
        run = make_run(tmp_path / str(seed), family, **knobs)
        items = tuple(dataclasses.replace(item, caption="ohwx person, smiling") for item in run.items[:2])
        run = dataclasses.replace(run, items=items, trigger="ohwx")
        encoded = encode(trainer.family, run, read_sources(run.items), host_lease(trainer.plan(run)), steps)
        keys = [example.latents for example in encoded.classes.examples]
        found.append({key: {name: each.tolist() for name, each in encoded.cache[key].items()} for key in keys})

    assert len(found[0]) == 2
    assert found[0] == found[1]


def test_no_caption_to_make_a_class_of(make_trainer, make_run, train, tmp_path: Path) -> None:
    """Prior preservation without a caption that has the trigger is refused before anything is drawn."""
    run = make_run(tmp_path, previews=False, prior_weight=1.0)
    with pytest.raises(BadInput, match="No caption says"):
        train(make_trainer("flux"), dataclasses.replace(run, trigger="sks"))
