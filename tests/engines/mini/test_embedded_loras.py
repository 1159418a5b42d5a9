"""Tests the LoRAs that ship with the embedded editor: their files, their rows, and their effect on people held out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

import assets
from engines.api.errors import LoraMismatch
from engines.api.params import LoraUse
from engines.catalogue.embedded_loras import EMBEDDED_LORAS
from engines.catalogue.lora_bases import EditorLora, Shipped
from engines.drawing.lora_facts import facts
from engines.drawing.lora_files import attach, attached
from engines.mini.configs import Model, pack
from engines.mini.dataset import Pair, edit_pair, held_out_scene
from engines.mini.export import size_mb
from engines.mini.specialists import COMIC, SPECIALISTS, Specialist, edit_set, in_own_words, lessons
from engines.mini.train_edit import EditSet, mask_of, velocity
from engines.mini.trained import Trained
from engines.wording import drawn as vocab

pytestmark = pytest.mark.slow
MINI = Path(assets.__file__).parent / "mini"
ROWS = {row.name: row for row in EMBEDDED_LORAS}
KINDS = {own.name: own for own in SPECIALISTS.values()}
KEEPING = [own for own in SPECIALISTS.values() if not own.loses]


def shipped(row: EditorLora) -> Shipped:
    """What a row says of its file."""
    assert row.shipped is not None
    return row.shipped


@pytest.fixture(scope="module")
def trained() -> Trained:
    """The embedded models."""
    return Trained(MINI)


@pytest.fixture(scope="module")
def editor(trained: Trained) -> Model:
    """The embedded editor's transformer."""
    return trained.editor()


def test_each_file_has_a_row_and_a_stage() -> None:
    """What the build trains is what ships and what the library lists; a licence lies beside; all are small."""
    folder = MINI / "qwen_edit" / "loras"
    assert set(ROWS) == {*KINDS, COMIC.name} == {file.stem for file in folder.glob("*.safetensors")}
    assert "Apache-2.0" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert size_mb(folder) <= 6
    assert all(ROWS[own.name].task == own.task for own in SPECIALISTS.values())


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_its_file_says(name: str) -> None:
    """Base, layers, ranks, modulation and hash are those of the file."""
    told = shipped(ROWS[name])
    assert facts(told.file) == told.facts
    assert hashlib.sha256(told.file.read_bytes()).hexdigest() == told.sha256


@pytest.mark.parametrize("own", SPECIALISTS.values(), ids=lambda own: own.name)
def test_its_words_are_those_that_it_was_taught(own: Specialist) -> None:
    """A choice for each value of its task, worded as the studio asks for it or in words of its own."""
    row = ROWS[own.name]
    (slot,) = row.slots
    said = {row.instruction(**{slot: words}) for words in row.slots[slot]}
    assert said == set((own.words or vocab.DRAWN.edits[own.task].requests).values())


@pytest.mark.parametrize("own", SPECIALISTS.values(), ids=lambda own: own.name)
def test_every_tensor_finds_its_layer(own: Specialist, editor: Model) -> None:
    """On the embedded editor each layer that the file names has a LoRA, and without it the editor is as before.

    Those that act on the words behind the last attention alone have learned nothing: no picture depends on them.
    """
    row = ROWS[own.name]
    with attached(editor, (LoraUse(file=str(shipped(row).file)),), "qwen-edit"):
        layers = [module for module in editor.modules() if getattr(module, "lora_A", None)]
        assert len(layers) == shipped(row).facts.modules
        learned = sum(bool(layer.lora_B["stack_0"].weight.any()) for layer in layers)
        assert len(layers) - learned <= 5
    assert not any(hasattr(module, "lora_A") for module in editor.modules())


def test_one_for_the_generator_is_refused_by_the_reader(editor: Model) -> None:
    """Both families are named, and nothing is loaded; it stays so where somebody says that it fits."""
    use = LoraUse(file=str(shipped(ROWS[COMIC.name]).file), for_this_model=True)
    with pytest.raises(LoraMismatch, match="for the flux family; this model belongs to the qwen-edit family"):
        attach(editor, (use,), "qwen-edit")
    assert not any(hasattr(module, "lora_A") for module in editor.modules())


def unseen(own: Specialist, count: int = 12) -> list[Pair]:
    """Edits of a specialist's kind, each of another person who is held out."""
    scenes = (held_out_scene(700_000 + 8 * i, framing=own.framings[i % len(own.framings)]) for i in range(count))
    pairs = (edit_pair(scene, f"unseen {own.name} {i}", own.task) for i, scene in enumerate(scenes))
    return [in_own_words(own, pair) for pair in pairs]


@torch.no_grad()
def error(editor: Model, data: EditSet) -> float:
    """The mean error of the velocity that the editor predicts, half way between noise and picture."""
    clean, reference = pack(data.after.float()), pack(data.before.float())
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.full((len(clean),), 0.8)
    text, mask = data.embeds.float(), mask_of(data.lengths, data.embeds.shape[1])
    out = velocity(editor, torch.lerp(clean, noise, 0.8), reference, sigma, text, mask)
    return float((out - (noise - clean)).pow(2).mean())


@pytest.mark.parametrize("own", KEEPING, ids=lambda own: own.name)
def test_a_specialist_comes_nearer_to_the_truth(own: Specialist, trained: Trained, editor: Model) -> None:
    """At its own kind of edit, in its own words, on people held out, it predicts better than the editor alone."""
    data = edit_set(unseen(own), trained.vae("qwen"), trained.text_encoder())
    alone = error(editor, data)
    with attached(editor, (LoraUse(file=str(shipped(ROWS[own.name]).file)),), "qwen-edit"):
        assert error(editor, data) < alone


def test_lessons_are_of_training_people_and_lose_what_they_are_told_to() -> None:
    """All else stays as asked; a lesson is the same each time."""
    for own in SPECIALISTS.values():
        pairs = lessons(own, 4)
        assert pairs == lessons(own, 4) and {pair.tasks for pair in pairs} == {(own.task,)}
        for pair in pairs:
            apart = {
                name for name, value in vars(pair.after.person).items() if value != getattr(pair.before.person, name)
            }
            assert apart == set(own.loses)
