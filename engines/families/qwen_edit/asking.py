"""Answers multiple-choice questions about pictures with the editor's own vision-language text encoder."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import torch
from PIL import ImageOps
from PIL.Image import Image
from torch import Tensor

from engines.api.protocols import Lease, ModelSpec, OnStep, Plan, Stage
from engines.api.seeing import Answer, Answers, Question, Sight, mean
from engines.drawing.batches import chunks
from engines.drawing.leaner import leaner, streamed
from engines.families.qwen_edit import maths as qwen
from engines.families.qwen_edit.captioner import TEMPLATE
from engines.weights import components
from engines.weights.taught import taught
from engines.wording.registry import vocabulary

_AREA = 768 * 768  # pixels of the picture that is asked about: 750 tokens
_FACE_AREA = 384 * 384
_BYTES_PER_TOKEN = 4 << 20  # a vision token's activations through the 7B model, bfloat16
_PIXELS_PER_TOKEN = 28 * 28
_ROWS = 8  # questions that are read at once behind one picture
_ROW_BYTES = 300 << 20  # of such a row: about 80 tokens, and a copy of the picture's keys and values


@dataclass(frozen=True)
class Wording:
    """Holds one way to put a question: its tokens, and each option's tokens as the answer.

    `options`: from value to token ids, in the question's order.
    """

    asked: tuple[int, ...]
    options: Mapping[str, tuple[int, ...]]


class QwenAsker:
    """Answers questions about pictures with an editor's own Qwen2.5-VL, by the likelihood of each option.

    A picture is read once, and its keys and values serve all its questions. Where options stand behind letters, each
    question is asked as often as it has options, so that every option stands behind every letter once; the mean of
    the logarithms cancels what the model prefers in letters.
    `spec`: the model's row in the registry. Its `wording` has the questions. Its options may have `caption_template`
    (the chat around a question), `batch`, `question_area` and `face_area` (the pixels of the picture and of the face
    that are shown), and `taught` (the file of a LoRA that teaches the text encoder to answer).
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        wording, options = vocabulary(spec.wording), spec.options
        self.questions = wording.questions
        self.version = f"{spec.name}:asked-1"
        self._folder = folder
        self._asking = wording.asking
        self._batch = int(options.get("batch", 1))
        self._area = int(options.get("question_area", _AREA))
        self._sizes = replace(qwen.Sizes.of(spec), vision_area=self._area)
        self._face_sizes = replace(self._sizes, vision_area=int(options.get("face_area", _FACE_AREA)))
        self._before, self._after = str(options.get("caption_template", TEMPLATE)).split("{}")

    def plan(self, count: int) -> Plan:
        """Returns the plan for the questions about `count` pictures: one stage, with the text encoder.

        Raises: ModelMissing where the model's files are not on this machine.
        """
        together = min(self._batch, max(count, 1))
        scale = self._area / _AREA
        working = int(together * (self._area // _PIXELS_PER_TOKEN * _BYTES_PER_TOKEN + scale * _ROWS * _ROW_BYTES))
        encoder = components.component(self.spec, self._folder, "text_encoder")
        if file := self.spec.options.get("taught"):
            encoder = taught(encoder, self._folder / file)
        stage = Stage("ask", (encoder,), working)
        return Plan(f"{self.spec.label}: questions about {count} pictures", (leaner(stage, streamed),))

    def ask(self, sights: Sequence[Sight], lease: Lease, on_step: OnStep) -> Iterator[Answers]:
        """Yields the answers about each picture, in order, as axis -> answer.

        `lease`: gives access to the text encoder. `on_step`: called with the number of pictures done, their total, and
        a message to the user.
        """
        done = 0
        for chunk in chunks(
            list(sights),
            lambda each: (each.picture.size, each.face and each.face.size, repr(each.questions)),
            self._batch,
        ):
            on_step(done, len(sights), f"asking about picture {done + 1} of {len(sights)}")
            with lease.stage("ask") as parts:
                (model,) = parts.values()
                answers = self._answered(model, chunk)
            done += len(chunk)
            on_step(done, len(sights), "")
            yield from answers

    def _answered(self, model: Any, sights: Sequence[Sight]) -> list[Answers]:
        """Returns the answers about several pictures that have one size and the same questions."""
        found: list[dict[str, Answer]] = [{} for _ in sights]
        faced = sights[0].face is not None
        for of_face, sizes in ((False, self._sizes), (True, self._face_sizes)):
            asked = [each for each in sights[0].questions if (each.of_face and faced) is of_face]
            if not asked:
                continue
            shown = [sizes.vision(each.face if of_face and each.face else each.picture) for each in sights]
            for told, answers in zip(found, self.answers(model, shown, asked), strict=True):
                told.update(answers)
            if alike := [each for each in asked if each.mirrored]:
                turned = self.answers(model, [ImageOps.mirror(each) for each in shown], alike)
                for told, answers in zip(found, turned, strict=True):
                    told.update({axis: mean([told[axis], answer]) for axis, answer in answers.items()})
        return [{each.axis: told[each.axis] for each in sights[0].questions} for told in found]

    @torch.no_grad()
    def answers(self, model: Any, images: Sequence[Image], questions: Sequence[Question]) -> list[dict[str, Answer]]:
        """Returns the answers to the questions about each of several scaled pictures of one size."""
        wordings = [self.wordings(question) for question in questions]
        seen = Seen.of(model, self._processor, self._before, images)
        logs = iter(seen.likelihoods([wording for each in wordings for wording in each]))
        found: list[dict[str, Answer]] = [{} for _ in images]
        for question, each in zip(questions, wordings, strict=True):
            turns = torch.stack([next(logs).log_softmax(-1) for _ in each])
            for told, picture in zip(found, turns.mean(0).log_softmax(-1).tolist(), strict=True):
                told[question.axis] = Answer(dict(zip(question.options, picture, strict=True)))
        return found

    def wordings(self, question: Question) -> list[Wording]:
        """Returns the ways in which a question is put: one, or as many as it has options behind letters.

        The options are shuffled, always in the same way, and each further wording moves all of them by one letter.
        """
        options, letter = question.options, self._asking.letter
        if not letter:
            return [self._wording(question.words, options)]
        values = random.Random(question.axis).sample(list(options), len(options))
        found = []
        for turn in range(len(values)):
            places = {value: (values.index(value) + turn) % len(values) for value in options}
            listed = "\n".join(
                f"{ascii_uppercase[places[value]]}. {options[value]}"
                for value in sorted(places, key=places.__getitem__)
            )
            answers = {value: letter.format(ascii_uppercase[place]) for value, place in places.items()}
            found.append(self._wording(question.words, answers, listed))
        return found

    def _wording(self, words: str, answers: Mapping[str, str], listed: str = "") -> Wording:
        """Tokenises a question with its list of options, and each answer behind the lead.

        Raises: ValueError where an answer changes the tokens before it, so that its likelihood would be another's.
        """
        asked = self._asking.template.format(words=words, options=listed) + self._after + self._asking.lead
        tokens = self._tokens(asked)
        told = {value: self._tokens(asked + answer) for value, answer in answers.items()}
        if any(ids[: len(tokens)] != tokens or len(ids) == len(tokens) for ids in told.values()):
            raise ValueError(f"the tokens of {asked!r} change with what follows")
        return Wording(tokens, {value: ids[len(tokens) :] for value, ids in told.items()})

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def _processor(self) -> Any:
        return qwen.processor(self._folder)


class Seen:
    """Holds pictures as a model has read them: the keys and values of the chat up to the picture, for B pictures."""

    def __init__(self, model: Any, cache: Any, position: int, count: int) -> None:
        self._model = model
        self._cache = cache
        self._position = position
        self._count = count

    @classmethod
    def of(cls, model: Any, processor: Any, before: str, images: Sequence[Image]) -> Seen:
        """Reads pictures of one size, each behind the text `before`, which holds the image placeholder."""
        inputs = qwen.vision_inputs(model, processor, [before] * len(images), images)
        grids, types = inputs["image_grid_thw"], inputs["mm_token_type_ids"]
        place, _ = model.model.get_rope_index(inputs["input_ids"], types, image_grid_thw=grids)
        read = model.model(
            input_ids=inputs["input_ids"],
            pixel_values=inputs["pixel_values"],
            image_grid_thw=grids,
            position_ids=place,
            use_cache=True,
        )
        return cls(model, read.past_key_values, int(place.max()) + 1, len(images))

    def likelihoods(self, wordings: Sequence[Wording]) -> list[Tensor]:
        """Returns for each wording the log-likelihood of each option behind each picture, (B, options), float32.

        It is the sum over the option's tokens. Options that begin alike share a row of tokens, and rows are read
        several at once.
        """
        asked = [(each, option) for each in wordings for option in each.options.values()]
        needed = dict.fromkeys(each.asked + option[:-1] for each, option in asked)
        rows = [row for row in needed if not any(row != other and other[: len(row)] == row for other in needed)]
        states: dict[tuple[int, ...], Tensor] = {}
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            states.update(zip(part, self._behind(part).unbind(1), strict=True))
        found = []
        for each in wordings:
            logs = []
            for option in each.options.values():
                row = each.asked + option[:-1]
                whole = next(other for other in rows if other[: len(row)] == row)
                ends = states[whole][:, len(each.asked) - 1 : len(row)]
                said = self._model.lm_head(ends).float().log_softmax(-1)
                tokens = torch.tensor(option, device=said.device).expand(len(said), -1)
                logs.append(said.gather(-1, tokens[..., None]).sum((1, 2)))
            found.append(torch.stack(logs, dim=1))
        return found

    def _behind(self, rows: Sequence[tuple[int, ...]]) -> Tensor:
        """Returns the hidden states (B, rows, length, width) of rows of tokens read behind each picture.

        Shorter rows are padded on the right, where a causal model does not look back from.
        """
        length = max(map(len, rows))
        ids = torch.tensor([row + (0,) * (length - len(row)) for row in rows], device=self._model.device)
        place = torch.arange(self._position, self._position + length, device=self._model.device)
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(rows))
        read = self._model.model(
            input_ids=ids.repeat(self._count, 1),
            position_ids=place.expand(3, self._count * len(rows), length),
            past_key_values=cache,
            use_cache=True,
        )
        states: Tensor = read.last_hidden_state.unflatten(0, (self._count, len(rows)))
        return states
