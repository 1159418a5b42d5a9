"""Trains the small Qwen2.5-VL: to caption a drawing, and to say what an edit instruction will make of one."""

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

from engines.mini import configs, words, world
from engines.mini.attention import spelled_out_attention
from engines.mini.dataset import Dataset
from engines.mini.export import VL_SIDE
from engines.mini.loop import Schedule, autocast, train
from engines.wording import drawn as vocab

GRID = VL_SIDE // 14
IMAGE_TOKENS = (GRID // 2) ** 2
PICTURE = "<|vision_start|>" + "<|image_pad|>" * IMAGE_TOKENS + "<|vision_end|>"
EDIT_PREFIX = "Picture 1: " + PICTURE
CAPTION_PROMPT = f"<|im_start|>user\n{PICTURE}{vocab.DRAWN.caption_request}<|im_end|>\n<|im_start|>assistant\n"


def edit_prompt(instruction: str) -> str:
    """Word an edit as QwenImageEditPlusPipeline does, with the picture's tokens spelled out."""
    return words.QWEN_TEMPLATE.format(EDIT_PREFIX + instruction)


def vl_pixels(pictures: np.ndarray) -> Tensor:
    """Turn uint8 pictures (B, 64, 64, 3) into the processor's patches (B · 36, 1176)."""
    size = (VL_SIDE, VL_SIDE)
    large = np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in pictures])
    x = torch.from_numpy(large).permute(0, 3, 1, 2).float() / 127.5 - 1
    half = GRID // 2
    x = x.view(len(pictures), 3, half, 2, 14, half, 2, 14).permute(0, 2, 5, 3, 6, 1, 4, 7)
    x = x.unsqueeze(6).expand(*x.shape[:6], 2, *x.shape[6:])
    return x.reshape(len(pictures) * GRID * GRID, 3 * 2 * 14 * 14)


def grids(count: int, device: torch.device) -> Tensor:
    """Give the patch grid of `count` square pictures, (count, 3)."""
    return torch.tensor([[1, GRID, GRID]], device=device).expand(count, 3)


@dataclass(frozen=True)
class Texts:
    """Tokenised prompts with answers, padded on the right: ids (N, L), labels (N, L; −100 where nothing is asked)."""

    ids: Tensor
    labels: Tensor

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, prompts: list[str], answers: list[str]) -> Texts:
        """Tokenise; a prompt's own tokens are not asked for."""
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
    """Give the 3-D positions (3, B, L) of sequences that all begin with their one picture at the same place."""
    types = (ids[:1] == model.config.image_token_id).long()
    place, _ = model.model.get_rope_index(ids[:1], types, image_grid_thw=grids(1, ids.device))
    return place.expand(3, len(ids), ids.shape[1])


def hidden_states(model: Qwen2_5_VLForConditionalGeneration, ids: Tensor, pictures: np.ndarray) -> Tensor:
    """Run the model on right-padded ids (B, L) with one picture each; give the last hidden states (B, L, 192)."""
    ids = ids.to(model.device)
    output = model.model(
        input_ids=ids,
        pixel_values=vl_pixels(pictures).to(model.device),
        image_grid_thw=grids(len(ids), model.device),
        position_ids=positions(model, ids),
        use_cache=False,
    )
    return output.last_hidden_state


class Sights(nn.Module):
    """Reads the scene straight off the nine image tokens: a lesson for the eyes while language is still young."""

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration, scenes: list[world.Scene]) -> None:
        super().__init__()
        width = IMAGE_TOKENS * configs.WIDTH
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(v)) for name, v in vocab.SCENE_VALUES.items()})
        self._labels = _labels(scenes)
        self._seen = torch.zeros(0)
        model.model.visual.register_forward_hook(self._look)

    def _look(self, module: nn.Module, given: Any, output: Any) -> None:
        self._seen = output.pooler_output

    def loss(self, rows: Tensor) -> Tensor:
        """Compare what the model saw last with the scenes of those rows."""
        seen = self._seen.float().view(len(rows), -1)
        return _told(self.heads, self._labels, seen, rows)


class Outcomes(nn.Module):
    """Reads off the states of an instruction what the edit will make of the picture.

    Answers ask nothing of the last layer where words are only read; yet that is what the editor is told by. Without
    this lesson its states hardly tell a smile from tears.
    """

    def __init__(self, scenes: list[world.Scene]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(configs.WIDTH, len(v)) for name, v in vocab.SCENE_VALUES.items()})
        self._labels = _labels(scenes)

    def loss(self, states: Tensor, rows: Tensor) -> Tensor:
        """Compare the last states of instructions (B, 192) with the scenes that those rows end in."""
        return _told(self.heads, self._labels, states, rows)


def _labels(scenes: list[world.Scene]) -> dict[str, Tensor]:
    return {
        name: torch.tensor([values.index(getattr(scene, name)) for scene in scenes])
        for name, values in vocab.SCENE_VALUES.items()
    }


def _told(heads: nn.ModuleDict, labels: dict[str, Tensor], features: Tensor, rows: Tensor) -> Tensor:
    wanted = {name: labels[name][rows].to(features.device) for name in heads}
    return torch.stack([F.cross_entropy(head(features), wanted[name]) for name, head in heads.items()]).sum()


def _answer_loss(
    model: Qwen2_5_VLForConditionalGeneration, texts: Texts, rows: Tensor, pictures: np.ndarray
) -> tuple[Tensor, Tensor]:
    """The loss of the answers, and the last state of each prompt (B, 192)."""
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
    """Train on captions of every picture and, at every second step, on what an instruction will change."""
    torch.manual_seed(schedule.seed)
    tokenizer = words.qwen_tokenizer()
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
    model: Qwen2_5_VLForConditionalGeneration, instructions: list[str], pictures: np.ndarray, batch: int = 96
) -> tuple[Tensor, Tensor]:
    """Encode instructions with their source pictures as the pipeline does: embeds (N, L, 192) bf16, lengths (N,)."""
    tokenizer = words.qwen_tokenizer()
    rows = tokenizer([edit_prompt(text) for text in instructions])["input_ids"]
    lengths = torch.tensor([len(row) - words.TEMPLATE_TOKENS for row in rows])
    out = torch.zeros((len(rows), int(lengths.max()), configs.WIDTH), dtype=torch.bfloat16)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        width = max(len(rows[i]) for i in part)
        ids = torch.full((len(part), width), tokenizer.pad_token_id)
        for k, i in enumerate(part):
            ids[k, : len(rows[i])] = torch.tensor(rows[i])
        with autocast(model.device):
            hidden = hidden_states(model, ids, pictures[np.array(part)])[:, words.TEMPLATE_TOKENS :].cpu()
        for k, i in enumerate(part):
            out[i, : lengths[i]] = hidden[k, : lengths[i]].bfloat16()
    return out, lengths


@torch.no_grad()
def read_captions(model: Qwen2_5_VLForConditionalGeneration, pictures: np.ndarray, batch: int = 64) -> list[str]:
    """Caption pictures greedily through `generate`, positions in 3-D."""
    tokenizer = words.qwen_tokenizer()
    ids = torch.tensor(tokenizer(CAPTION_PROMPT)["input_ids"])
    texts: list[str] = []
    for start in range(0, len(pictures), batch):
        part = pictures[start : start + batch]
        rows = ids.expand(len(part), -1)
        given = model.generate(
            input_ids=rows,
            attention_mask=torch.ones_like(rows),
            mm_token_type_ids=(rows == model.config.image_token_id).long(),
            pixel_values=vl_pixels(part),
            image_grid_thw=grids(len(part), rows.device),
            max_new_tokens=48,
            do_sample=False,
        )
        texts += tokenizer.batch_decode(given[:, rows.shape[1] :], skip_special_tokens=True)
    return texts
