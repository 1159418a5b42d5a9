"""Tests mirrored examples."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image, ImageOps

pytestmark = pytest.mark.slow


def test_a_mirrored_item_is_mirrored_whole(tmp_path: Path) -> None:
    """Its crop, its mask and every reference are mirrored, and its hashes differ from those of the original."""
    from engines.api.protocols import TrainItem
    from engines.training.data import read_sources

    file = tmp_path / "slope.png"
    Image.linear_gradient("L").resize((64, 32)).rotate(90, expand=True).save(file)
    item = TrainItem(file, "words", (file, file), mask=file, crop=(0.0, 0.0, 1.0, 0.5))
    (source,) = read_sources([item])
    plain, turned = source.open(), source.mirror().open()

    pairs = [(plain.image, turned.image), (plain.mask, turned.mask)]
    pairs += zip(plain.references, turned.references, strict=True)
    assert all(ImageOps.mirror(one).tobytes() == other.tobytes() != one.tobytes() for one, other in pairs)
    names = [{each.image, *each.references} for each in (source, source.mirror())]
    assert not names[0] & names[1]


@pytest.mark.parametrize("family", ["flux", "qwen-edit"])
def test_half_of_the_examples_are_mirrored(family, make_trainer, make_run, host_lease, steps, tmp_path: Path) -> None:
    """The seed decides, for picture, mask and references together; the noise is that of a run without flip."""
    import torch

    from engines.training.data import read_sources
    from engines.training.encoding import encode
    from engines.training.losses import terms

    trainer, run = make_trainer(family), make_run(tmp_path, family, previews=False, dop_weight=1.0)
    mask = tmp_path / "mask.png"
    Image.linear_gradient("L").rotate(90).resize((64, 64)).save(mask)
    caption = "ohwx person, smiling"
    items = tuple(dataclasses.replace(item, mask=mask, caption=caption) for item in run.items[:2])
    run = dataclasses.replace(run, items=items, trigger="ohwx")

    def draws(flip: bool):
        params = run.params.replace(flip=flip, caption_dropout=0.0)
        chosen = dataclasses.replace(run, params=params)
        sources = read_sources(chosen.items)
        encoded = encode(trainer.family, chosen, sources, host_lease(trainer.plan(chosen)), steps)
        device = torch.device("cpu")
        lowered = terms(trainer.family, encoded, params)
        return encoded, [[term.batch(number, [0, 1], device) for number in range(12)] for term in lowered]

    encoded, (flow, preserved) = draws(flip=True)
    _, (unflipped, _) = draws(flip=False)
    _, (again, _) = draws(flip=True)

    rows = {
        turn: [encoded.examples.row(index, wordless=False, mirrored=turn) for index in (0, 1)] for turn in (False, True)
    }
    names = [name for name in rows[True][0] if name == "latents" or name.startswith("reference_")]
    seen = []
    for batch, of_class in zip(flow, preserved, strict=True):
        for place in range(2):
            turn = [
                turned for turned, known in rows.items() for row in known
                if torch.equal(row["latents"][0], batch.tensors["latents"][place])
            ]  # fmt: skip
            (one,) = [row for row in rows[turn[0]] if torch.equal(row["latents"][0], batch.tensors["latents"][place])]
            assert all(torch.equal(one[name][0], batch.tensors[name][place]) for name in names)
            outside = run.params.mask_outside
            assert torch.allclose(outside + (1 - outside) * one["mask"][0], batch.tensors["mask"][place])
            assert torch.equal(of_class.tensors["latents"][place], batch.tensors["latents"][place])
            seen += turn
    assert {False, True} == set(seen)
    assert all(torch.equal(a.tensors["latents"], b.tensors["latents"]) for a, b in zip(flow, again, strict=True))
    assert all(torch.equal(a.noise, b.noise) for a, b in zip(flow, unflipped, strict=True))
    assert all(torch.equal(a.sigma, b.sigma) for a, b in zip(flow, unflipped, strict=True))


def test_a_plain_run_needs_no_mirror(make_trainer, make_run, host_lease, steps, tmp_path: Path) -> None:
    """Without flip nothing more is encoded; with it only the mirror images are new."""
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    trainer, run = make_trainer("flux"), make_run(tmp_path, cache=tmp_path / "cache", previews=False)

    def encoded(flip: bool) -> int:
        chosen = dataclasses.replace(run, params=run.params.replace(flip=flip))
        said: list[str] = []
        lease = host_lease(trainer.plan(chosen))
        encode(trainer.family, chosen, read_sources(chosen.items), lease, lambda *told: said.append(told[2]))
        return len(said)

    count = len(run.items)
    assert [encoded(flip) for flip in (False, False, True, True)] == [count, 0, count, 0]
