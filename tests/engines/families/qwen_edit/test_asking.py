"""Tests that questions are answered by the likelihood of each option, exactly, with the picture read once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import assets
from engines.api.protocols import ModelSpec
from engines.api.seeing import Question, Sight, mean
from engines.catalogue.models import MODELS

pytestmark = pytest.mark.slow

FOLDER = Path(assets.__file__).parent / "mini" / "qwen_edit"
QUESTIONS = (
    Question(axis="mood", words="which one?", options={"happy": "smiles", "sad": "cries", "": "neither of the two"}),
    Question(axis="shirt", words="red or not?", options={"yes": "red shirt", "no": "blue"}, of_face=True),
)


def _spec(wording: str) -> ModelSpec:
    """The embedded editor's row, asked as another wording asks."""
    row = next(each for each in MODELS if each.name == "mini-qwen-edit")
    return replace(row, wording=wording, options={**row.options, "batch": 2, "taught": ""})


@pytest.fixture(scope="module")
def model() -> Any:
    """A tiny vision-language model with random weights, so large that every token shows."""
    import torch

    from engines.mini import configs, text_tokenizers

    torch.manual_seed(0)
    made = configs.qwen_vl(text_tokenizers.qwen_tokenizer()).eval()
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim == 2:
                weight.mul_(3)
    return made


def _asker(wording: str) -> Any:
    from engines.families.qwen_edit.asking import QwenAsker

    return QwenAsker(_spec(wording), FOLDER)


def _pictures(count: int = 2) -> list[Image.Image]:
    numbers = np.random.default_rng(0)
    return [Image.fromarray(numbers.integers(0, 256, (84, 84, 3), dtype=np.uint8)) for _ in range(count)]


@contextmanager
def _lease(model: Any) -> Iterator[Any]:
    """A lease over a model that is loaded already."""

    class Held:
        """Yields the model at every stage."""

        device = "cpu"

        @contextmanager
        def stage(self, name: str) -> Iterator[dict[str, Any]]:
            """Yields the text encoder."""
            assert name == "ask"
            yield {"text_encoder": model}

    yield Held()


def _plain(asker: Any, model: Any, picture: Image.Image, question: Question) -> list[float]:
    """The answer by one forward pass of the whole text for every option of every wording, and nothing kept."""
    import torch

    from engines.families.qwen_edit import maths as qwen

    turns = []
    for wording in asker.wordings(question):
        logs = []
        for option in wording.options.values():
            inputs = qwen.vision_inputs(model, qwen.processor(FOLDER), [asker._before], [picture])
            tail = torch.tensor([[*wording.asked, *option]])
            inputs["input_ids"] = torch.cat([inputs["input_ids"], tail], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == model.config.image_token_id).int()
            with torch.no_grad():
                said = model(**inputs, use_cache=False).logits[0, -len(option) - 1 : -1].log_softmax(-1)
            logs.append(said[range(len(option)), list(option)].sum())
        turns.append(torch.stack(logs).log_softmax(-1))
    return torch.stack(turns).mean(0).log_softmax(-1).tolist()


@pytest.mark.parametrize("wording", ["photographs", "drawn"])
def test_an_answer_is_what_plain_passes_give(model: Any, wording: str) -> None:
    """Letters and phrases alike have the likelihood that a pass over the whole text gives each option, within 1e-5."""
    asker, pictures = _asker(wording), _pictures()
    answers = asker.answers(model, pictures, QUESTIONS)
    for picture, told in zip(pictures, answers, strict=True):
        for question in QUESTIONS:
            assert list(told[question.axis].logs) == list(question.options)
            assert list(told[question.axis].logs.values()) == pytest.approx(
                _plain(asker, model, picture, question), abs=1e-5
            )


def test_every_option_stands_behind_every_letter_once() -> None:
    """A question of three options is put in three ways, in which each option has each letter once."""
    wordings = _asker("photographs").wordings(QUESTIONS[0])
    letters = {value: {wording.options[value] for wording in wordings} for value in QUESTIONS[0].options}
    assert len(wordings) == 3
    assert all(len(behind) == 3 for behind in letters.values())
    assert len({wording.asked for wording in wordings}) == 3


def test_a_love_of_one_letter_cancels(model: Any) -> None:
    """A model that looks at nothing and always prefers the same letters finds all options alike."""
    import torch

    class Biased(torch.nn.Module):
        """Gives every token the same logits, whatever it is shown."""

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            """Returns logits that rise with the token's number."""
            return torch.arange(1000.0).expand(*states.shape[:-1], 1000) / 7

    head = model.lm_head
    model.lm_head = Biased()
    try:
        (told,) = _asker("photographs").answers(model, _pictures(1), QUESTIONS)
    finally:
        model.lm_head = head
    assert list(told["mood"].probabilities().values()) == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_a_picture_is_read_once_and_its_face_apart(model: Any, steps: Any) -> None:
    """All questions share one reading of the picture; those of the face are asked about the face, in the same order."""
    sizes: list[int] = []

    def look(module: Any, given: Any, output: Any) -> None:
        sizes.append(len(given[0]))

    asker, pictures = _asker("photographs"), _pictures(3)
    face = pictures[2].resize((56, 56))
    sights = [Sight(each, QUESTIONS, face) for each in pictures]
    hook = model.model.visual.register_forward_hook(look)
    try:
        with _lease(model) as lease:
            answers = list(asker.ask(sights, lease, steps))
    finally:
        hook.remove()
    assert len(sizes) == 4  # two batches, of two pictures and of one, each with its faces
    assert [list(told) for told in answers] == [["mood", "shirt"]] * 3
    assert answers[0]["shirt"].logs == pytest.approx(answers[1]["shirt"].logs, abs=1e-5)  # they have one face
    assert answers[0]["mood"].logs != pytest.approx(answers[1]["mood"].logs, abs=1e-5)
    assert steps.seen[-1][:2] == (3, 3)


def test_a_mirror_image_is_asked_about_where_it_has_the_same_answer(model: Any, steps: Any) -> None:
    """The answer is the mean of the picture's and its mirror image's, and theirs is that of the picture."""
    asker, (picture,) = _asker("drawn"), _pictures(1)
    question = replace(QUESTIONS[0], mirrored=True)
    with _lease(model) as lease:
        both = [Sight(each, (question,)) for each in (picture, ImageOps.mirror(picture))]
        first, second = asker.ask(both, lease, steps)
        alone, turned = asker.ask([Sight(each.picture, QUESTIONS[:1]) for each in both], lease, steps)
    assert first["mood"].logs == pytest.approx(second["mood"].logs, abs=1e-5)
    assert first["mood"].logs == pytest.approx(mean([alone["mood"], turned["mood"]]).logs, abs=1e-5)
    assert sum(first["mood"].probabilities().values()) == pytest.approx(1)


def test_a_lora_is_added_as_the_encoder_loads(tmp_path: Path) -> None:
    """The taught component has the product of each layer's matrices on its weight, and a key of its own."""
    import torch
    from safetensors.torch import save_file

    from engines.api.errors import ModelMissing
    from engines.api.protocols import Component
    from engines.weights.taught import taught

    plain = Component("mini/text_encoder", 100, lambda: torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False)))
    file = tmp_path / "questions.safetensors"
    with pytest.raises(ModelMissing, match=r"questions\.safetensors"):
        taught(plain, file)
    down, up = torch.ones(1, 3), torch.tensor([[1.0], [2.0]])
    save_file({"0.lora_A.weight": down, "0.lora_B.weight": up}, file)
    torch.manual_seed(0)
    before = plain.load()[0].weight
    torch.manual_seed(0)
    component = taught(plain, file)
    assert torch.equal(component.load()[0].weight, before + up @ down)
    assert component.key == "mini/text_encoder-questions"
