"""Tests that encodings are found again by what they depend on."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_another_run_finds_what_one_has_encoded(make_trainer, make_run, host_lease, steps, tmp_path: Path) -> None:
    """Runs that share a cache encode once; a run with a cache of its own encodes again."""
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    trainer, shared = make_trainer("flux"), tmp_path / "cache"
    first = make_run(tmp_path / "one", cache=shared)
    asked = []
    for run in (
        first,
        dataclasses.replace(first, folder=tmp_path / "two", params=first.params.replace(rank=2, learning_rate=1.0)),
        dataclasses.replace(first, folder=tmp_path / "three", cache=None),
    ):
        lease = host_lease(trainer.plan(run))
        encoded = encode(trainer.family, run, read_sources(run.items), lease, steps)
        asked.append(lease.asked)

    assert asked == [["encode"], [], ["encode"]]
    assert not (tmp_path / "two").exists()
    assert len(encoded.examples.shapes()) == len(first.items)
    assert encoded.examples.shapes()[0] == tuple(
        (name, tuple(value.shape)) for name, value in encoded.cache[encoded.examples.examples[0].latents].items()
    )


def test_only_what_is_new_is_opened(make_trainer, make_run, host_lease, tmp_path: Path) -> None:
    """One more picture is the only one that is opened and encoded; for another preview none is."""
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    def encoded(run) -> list[str]:
        said: list[str] = []
        lease = host_lease(trainer.plan(run))
        encode(trainer.family, run, read_sources(run.items), lease, lambda *told: said.append(told[2]))
        return [words for words in said if "picture" in words]

    trainer, whole = make_trainer("flux"), make_run(tmp_path, cache=tmp_path / "cache")
    fewer = dataclasses.replace(whole, items=whole.items[1:])
    other = dataclasses.replace(whole, previews=(whole.previews[0].replace(prompt="ohwx person, smiling"),))

    assert len(encoded(fewer)) == len(whole.items) - 1
    assert encoded(whole) == ["encoding picture 1 of 1"]
    assert encoded(other) == []


def test_a_changed_crop_is_encoded_anew(make_trainer, make_run, host_lease, steps, tmp_path: Path) -> None:
    """A cropped picture has a bucket and a key of its own; the crop of before is found again."""
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    trainer, whole = make_trainer("flux"), make_run(tmp_path, cache=tmp_path / "cache")

    def encoded(crop: tuple[float, ...]):
        run = dataclasses.replace(whole, items=(dataclasses.replace(whole.items[0], crop=crop),), previews=())
        lease = host_lease(trainer.plan(run))
        found = encode(trainer.family, run, read_sources(run.items), lease, steps)
        return found.examples.examples[0].latents, found.examples.shapes()[0][0][1][-2:], lease.asked

    crops = [(), (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0)]
    names, sizes, asked = zip(*map(encoded, crops), strict=True)

    assert len(set(names)) == 3 and names[1] == names[3]
    assert sizes[0][0] == sizes[0][1] and sizes[1][0] > sizes[1][1] and sizes[1] == sizes[2]
    assert asked == (["encode"], ["encode"], ["encode"], [])


@pytest.mark.parametrize(
    ("family", "otherwise"),
    [
        ("flux", {"text_tokens": 9}),
        ("flux", {"int8": ("text_encoder_2",)}),
        ("qwen-edit", {"vision_area": 64 * 64}),
        ("qwen-edit", {"picture_label": ""}),
        ("qwen-edit", {"multiple": 16}),
    ],
)
def test_a_row_that_reads_otherwise_finds_nothing(
    family, otherwise, make_trainer, make_run, host_lease, steps, tmp_path: Path
) -> None:
    """Rows that show pictures differently to the encoders, as Qwen-Image-Edit's and 2509's do, share no encoding.

    Options that change only how pictures are drawn change no key.
    """
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    trainer, run = make_trainer(family), make_run(tmp_path, family, cache=tmp_path / "cache")
    run = dataclasses.replace(run, items=run.items[:1])

    def encoded(**options):
        spec = dataclasses.replace(trainer.spec, options={**trainer.spec.options, **options})
        other = type(trainer)(spec, trainer.folder)
        lease = host_lease(other.plan(run))
        found = encode(other.family, run, read_sources(run.items), lease, steps)
        return lease.asked, (*found.examples.examples[0].needs(), *found.previews)

    first, again, drawn, other = encoded(), encoded(), encoded(batch=1, compile="eager"), encoded(**otherwise)

    assert [asked for asked, _ in (first, again, drawn, other)] == [["encode"], [], [], ["encode"]]
    assert not {*first[1]} & {*other[1]}


@pytest.mark.parametrize("part", ["text_encoder_2", "tokenizer_2"])
def test_other_encoders_find_nothing(
    part, make_trainer, make_run, host_lease, steps, flux_folder: Path, tmp_path: Path
) -> None:
    """Encodings of other weights, or of another tokenizer, under the same file names are not found."""
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    trainer, run = make_trainer("flux"), make_run(tmp_path / "run")
    run, other = dataclasses.replace(run, items=run.items[:1]), shutil.copytree(flux_folder, tmp_path / "model")
    _change(other / part)
    asked = []
    for each in (trainer, type(trainer)(trainer.spec, other)):
        lease = host_lease(each.plan(run))
        encode(each.family, run, read_sources(run.items), lease, steps)
        asked.append(lease.asked)

    assert asked == [["encode"], ["encode"]]


def _change(folder: Path) -> None:
    """Changes weights, or a tokenizer's words, under the same names and at the same size."""
    from safetensors.torch import load_file, save_file

    weights, words = folder / "model.safetensors", folder / "tokenizer.json"
    if weights.is_file():
        save_file({name: value + 1 for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    else:
        words.write_text(words.read_text().replace("forest", "street"))


def test_another_library_version_finds_nothing(make_trainer, make_run, host_lease, steps, tmp_path: Path) -> None:
    """Each version of a library has encodings of its own: transformers 5 made other embeddings of the same weights."""
    from engines.training.data import read_sources
    from engines.training.encoding import encode

    trainer, run = make_trainer("flux"), make_run(tmp_path)
    run = dataclasses.replace(run, items=run.items[:1])
    asked = []
    for versions in ({"diffusers": "1", "transformers": "4"}, {"diffusers": "1", "transformers": "5"},
                     {"diffusers": "2", "transformers": "5"}, {"diffusers": "1", "transformers": "4"}):  # fmt: skip
        lease = host_lease(trainer.plan(run))
        encode(trainer.family, run, read_sources(run.items), lease, steps, versions.__getitem__)
        asked.append(lease.asked)

    assert asked == [["encode"], ["encode"], ["encode"], []]


def test_class_pictures_of_other_encoders_are_others(make_trainer, make_run, tmp_path: Path) -> None:
    """Their keys depend on the encoders and on the libraries' versions."""
    from engines.training.data import read_sources
    from engines.training.prior_preservation import class_pictures

    run = make_run(tmp_path, prior_weight=1.0, prior_pictures=2)
    one, again, other = (
        {name for each in class_pictures(make_trainer("flux").family, run, read_sources(run.items), encoders)
         for name in (each.drawing, each.example.latents, each.example.words)}
        for encoders in ("these", "these", "those")
    )  # fmt: skip

    assert one == again
    assert not one & other


@pytest.mark.parametrize(
    ("family", "kind", "knobs"),
    [("flux", "GenerateParams", {"guidance": 9.0}), ("flux", "GenerateParams", {"steps": 9}),
     ("qwen-edit", "EditParams", {"true_cfg": 3.0})],
)  # fmt: skip
def test_class_pictures_drawn_otherwise_are_others(family, kind, knobs, make_trainer, make_run, tmp_path: Path) -> None:
    """Their keys depend on the model's default drawing parameters."""
    from engines.training.data import read_sources
    from engines.training.prior_preservation import class_pictures

    run = make_run(tmp_path, family, prior_weight=1.0, prior_pictures=2)
    items = tuple(dataclasses.replace(item, caption="ohwx person, smiling") for item in run.items)
    run, drawn = dataclasses.replace(run, items=items, trigger="ohwx"), []
    for changed in ({}, {kind: {**make_trainer(family).spec.defaults.get(kind, {}), **knobs}}):
        adapter = make_trainer(family).family
        adapter.spec = dataclasses.replace(adapter.spec, defaults={**adapter.spec.defaults, **changed})
        pictures = class_pictures(adapter, run, read_sources(run.items), "these")
        drawn.append({each.example.latents for each in pictures})

    assert len(drawn[0]) == 2 and not drawn[0] & drawn[1]
