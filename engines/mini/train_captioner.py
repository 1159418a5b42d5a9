"""Trains the small Qwen2.5-VL to caption drawings, and to describe the results of edit instructions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from engines.mini import configs, text_tokenizers, world
from engines.mini.attention import spelled_out_attention
from engines.mini.dataset import Dataset, Pictures
from engines.mini.export import VL_SIDE
from engines.mini.loop import Schedule, autocast, train
from engines.mini.scene import Scene
from engines.wording import drawn as vocab

GRID = VL_SIDE // 14
IMAGE_TOKENS = (GRID // 2) ** 2
PICTURE = "<|vision_start|>" + "<|image_pad|>" * IMAGE_TOKENS + "<|vision_end|>"
EDIT_PREFIX = "Picture 1: " + PICTURE
CAPTION_PROMPT = f"<|im_start|>user\n{PICTURE}{vocab.DRAWN.caption_request}<|im_end|>\n<|im_start|>assistant\n"


def edit_prompt(instruction: str) -> str:
    """Returns the chat prompt that QwenImageEditPlusPipeline makes of an instruction and one picture.

    The image token in it is already repeated, once for each token that the picture takes.
    """
    return text_tokenizers.QWEN_TEMPLATE.format(EDIT_PREFIX + instruction)


def vl_pixels(pictures: Pictures) -> Tensor:
    """Converts pictures (B, 64, 64, 3) to the patches that Qwen2.5-VL takes, (B · 36, 1176), as its processor would."""
    size = (VL_SIDE, VL_SIDE)
    large = np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in pictures])
    x = torch.from_numpy(large).permute(0, 3, 1, 2).float() / 127.5 - 1
    half = GRID // 2
    x = x.view(len(pictures), 3, half, 2, 14, half, 2, 14).permute(0, 2, 5, 3, 6, 1, 4, 7)
    x = x.unsqueeze(6).expand(*x.shape[:6], 2, *x.shape[6:])
    return x.reshape(len(pictures) * GRID * GRID, 3 * 2 * 14 * 14)


def grids(count: int, device: torch.device) -> Tensor:
    """Returns the patch grid (frames, rows, columns) of each of `count` square pictures, (count, 3)."""
    return torch.tensor([[1, GRID, GRID]], device=device).expand(count, 3)


@dataclass(frozen=True)
class Texts:
    """Holds tokenised prompts with their answers, padded on the right: `ids` (N, L) and `labels` (N, L) for the loss.

    A label is −100 where there is no loss: at the tokens of the prompt and at padding.
    """

    ids: Tensor
    labels: Tensor

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, prompts: list[str], answers: list[str]) -> Texts:
        """Tokenises each prompt with its answer; an end token is added to the answer."""
        heads = tokenizer(prompts)["input_ids"]
        tails = tokenizer([f"{answer}<|im_end|>" for answer in answers])["input_ids"]
        length = max(len(h) + len(t) for h, t in zip(heads, tails, strict=True))
        ids = torch.full((len(heads), length), tokenizer.pad_token_id)
        labels = torch.full((len(heads), length), -100)
        for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            ids[row, : len(head) + len(tail)] = torch.tensor(head + tail)
            labels[row, len(head) : len(head) + len(tail)] = torch.tensor(tail)
        return cls(ids, labels)


def positions(model: Qwen2_5_VLForConditionalGeneration, ids: Tensor) -> Tensor:
    """Returns the 3-D positions (3, B, L) of the tokens `ids` (B, L).

    All sequences must have their picture at the same place, since the positions of the first are used for all.
    """
    types = ids[:1].eq(model.config.image_token_id).long()
    place: Tensor = model.model.get_rope_index(ids[:1], types, image_grid_thw=grids(1, ids.device))[0]
    return place.expand(3, len(ids), ids.shape[1])


def hidden_states(model: Qwen2_5_VLForConditionalGeneration, ids: Tensor, pictures: Pictures) -> Tensor:
    """Returns the last hidden states (B, L, 192) of token ids (B, L), padded on the right, with one picture each."""
    ids = ids.to(model.device)
    output = model.model(
        input_ids=ids,
        pixel_values=vl_pixels(pictures).to(model.device),
        image_grid_thw=grids(len(ids), model.device),
        position_ids=positions(model, ids),
        use_cache=False,
    )
    states: Tensor = output.last_hidden_state
    return states


class Sights(nn.Module):
    """Classifies a picture's attributes (angle, outfit…) from its image tokens, as a loss in the captioner's training.

    This loss trains the vision encoder at the beginning, when the loss on captions cannot do so yet. A hook on the
    captioner `model` keeps the image tokens of its last forward pass. `scenes`: the true scenes of all training
    pictures.
    """

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, scenes: list[Scene]) -> None:
        super().__init__()
        width = IMAGE_TOKENS * configs.WIDTH
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(v)) for name, v in vocab.SCENE_VALUES.items()})
        self._labels = _labels(scenes)
        self._features = torch.zeros(0)

        def keep(module: nn.Module, given: Any, output: Any) -> None:
            self._features = output.pooler_output

        model.model.visual.register_forward_hook(keep)

    def loss(self, rows: Tensor) -> Tensor:
        """Returns the sum of the attributes' cross entropies for the pictures of the model's last forward pass.

        `rows`: the indices of these pictures' scenes.
        """
        features = self._features.float().view(len(rows), -1)
        return _attribute_loss(self.heads, self._labels, features, rows)


class Outcomes(nn.Module):
    """Classifies the attributes of an edit's result from the instruction's hidden state, as a loss in training.

    The editor is conditioned on the captioner's hidden states of the instruction's tokens. The loss on captions trains
    the last layer only at the caption's tokens, so without this additional loss the states for "smile" and "cry" hardly
    differ. `scenes`: the scenes after the edits, whose attributes (angle, outfit…) are classified.
    """

    def __init__(self, scenes: list[Scene]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(configs.WIDTH, len(v)) for name, v in vocab.SCENE_VALUES.items()})
        self._labels = _labels(scenes)

    def loss(self, states: Tensor, rows: Tensor) -> Tensor:
        """Returns the sum of the attributes' cross entropies for the scenes after some edits.

        `states`: the hidden state at the end of each instruction, (B, 192); `rows`: the indices of the edits.
        """
        return _attribute_loss(self.heads, self._labels, states, rows)


def _labels(scenes: list[Scene]) -> dict[str, Tensor]:
    """Returns for each attribute the index of its value in each scene, (N,)."""
    return {
        name: torch.tensor([values.index(getattr(scene, name)) for scene in scenes])
        for name, values in vocab.SCENE_VALUES.items()
    }


def _attribute_loss(heads: nn.ModuleDict, labels: dict[str, Tensor], features: Tensor, rows: Tensor) -> Tensor:
    """Returns the sum of the attributes' cross entropies; `rows` are the indices of the labels."""
    wanted = {name: labels[name][rows].to(features.device) for name in heads}
    return torch.stack([F.cross_entropy(head(features), wanted[name]) for name, head in heads.items()]).sum()


def _answer_loss(
    model: Qwen2_5_VLForConditionalGeneration, texts: Texts, rows: Tensor, pictures: Pictures
) -> tuple[Tensor, Tensor]:
    """Returns the loss of the answers, and the last hidden state of each prompt, (B, 192)."""
    ids, labels = texts.ids[rows].to(model.device), texts.labels[rows].to(model.device)
    with autocast(model.device):
        hidden = hidden_states(model, ids, pictures)
        asked = labels[:, 1:] != -100
        logits = model.lm_head(hidden[:, :-1][asked])
    ends = asked.int().argmax(dim=1)
    each = torch.arange(len(rows), device=ends.device)
    return F.cross_entropy(logits.float(), labels[:, 1:][asked]), hidden[each, ends].float()


def train_captioner(
    data: Dataset, folder: Path, schedule: Schedule
) -> tuple[Qwen2_5_VLForConditionalGeneration, dict[str, float]]:
    """Trains the captioner to caption all pictures and, at every second step, the results of edits.

    A result is captioned from the picture before the edit and the instruction. `folder`: gets the checkpoint. Returns
    the model, and a dictionary with steps, loss and the number of all trained parameters, which include those of the
    auxiliary classifiers.
    """
    torch.manual_seed(schedule.seed)
    tokenizer = text_tokenizers.qwen_tokenizer()
    model = configs.qwen_vl(tokenizer)
    captions = [world.caption(scene) for scene in data.all_scenes]
    asked = Texts.of(tokenizer, [CAPTION_PROMPT] * len(captions), captions)
    edits = Texts.of(
        tokenizer, [edit_prompt(p.instruction) for p in data.pairs], [world.caption(p.after) for p in data.pairs]
    )
    half = schedule.batch // 2
    sights, outcomes = Sights(model, data.all_scenes), Outcomes([pair.after for pair in data.pairs])

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(captions), (schedule.batch,), generator=generator).sort().values
        loss, _ = _answer_loss(model, asked, rows, data.pictures[rows.numpy()])
        loss = loss + 0.25 * sights.loss(rows)
        if step % 2 == 0:
            rows = torch.randint(len(data.pairs), (half,), generator=generator).sort().values
            answered, states = _answer_loss(model, edits, rows, data.pictures[rows.numpy()])
            loss = loss + answered + 0.25 * outcomes.loss(states, rows)
        return loss

    with spelled_out_attention():
        lessons = {"model": model, "sights": sights, "outcomes": outcomes}
        return model, train("captioner", folder, lessons, loss_of, schedule)


@torch.no_grad()
def embed_edits(
    model: Qwen2_5_VLForConditionalGeneration, instructions: list[str], pictures: Pictures, batch: int = 96
) -> tuple[Tensor, Tensor]:
    """Encodes each instruction with its source picture, as QwenImageEditPlusPipeline does.

    Returns the hidden states (N, L, 192) in bf16, which are zero after the end of each instruction, and the
    instructions' lengths in tokens, (N,). `batch`: the number of instructions that are encoded at once.
    """
    tokenizer = text_tokenizers.qwen_tokenizer()
    rows = tokenizer([edit_prompt(text) for text in instructions])["input_ids"]
    lengths = torch.tensor([len(row) - text_tokenizers.TEMPLATE_TOKENS for row in rows])
    out = torch.zeros((len(rows), int(lengths.max()), configs.WIDTH), dtype=torch.bfloat16)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        width = max(len(rows[i]) for i in part)
        ids = torch.full((len(part), width), tokenizer.pad_token_id)
        for k, i in enumerate(part):
            ids[k, : len(rows[i])] = torch.tensor(rows[i])
        with autocast(model.device):
            states = hidden_states(model, ids, pictures[np.array(part)])
        hidden = states[:, text_tokenizers.TEMPLATE_TOKENS :].cpu()
        for k, i in enumerate(part):
            out[i, : lengths[i]] = hidden[k, : lengths[i]].bfloat16()
    return out, lengths


@torch.no_grad()
def read_captions(model: Qwen2_5_VLForConditionalGeneration, pictures: Pictures, batch: int = 64) -> list[str]:
    """Returns a caption for each picture, generated greedily, `batch` pictures at a time."""
    tokenizer = text_tokenizers.qwen_tokenizer()
    ids = torch.tensor(tokenizer(CAPTION_PROMPT)["input_ids"])
    texts: list[str] = []
    for start in range(0, len(pictures), batch):
        part = pictures[start : start + batch]
        rows = ids.expand(len(part), -1)
        generated = model.generate(  # type: ignore[misc]  # transformers asks `self` for more than its models declare
            input_ids=rows,
            attention_mask=torch.ones_like(rows),
            mm_token_type_ids=rows.eq(model.config.image_token_id).long(),
            pixel_values=vl_pixels(part),
            image_grid_thw=grids(len(part), rows.device),
            max_new_tokens=48,
            do_sample=False,
        )
        texts += tokenizer.batch_decode(generated[:, rows.shape[1] :], skip_special_tokens=True)
    return texts
