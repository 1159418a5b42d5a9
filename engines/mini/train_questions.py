"""Teaches the small Qwen2.5-VL to answer questions about drawings, as a LoRA beside the editor's text encoder."""

from __future__ import annotations

import random
from pathlib import Path

import peft
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from engines.api.seeing import OTHER
from engines.mini import text_tokenizers
from engines.mini.attention import spelled_out_attention
from engines.mini.dataset import Dataset, Pictures
from engines.mini.export import whole
from engines.mini.loop import Schedule, autocast, train
from engines.mini.scene import Scene
from engines.mini.train_captioner import PICTURE, Sights, hidden_states
from engines.weights.taught import DOWN, UP
from engines.wording import drawn as vocab

RANK, KEPT = 16, 6  # trained, and written
LAYERS = (
    r"model\.(visual\.(blocks\.\d+\.(attn\.(qkv|proj)|mlp\.\w+_proj)|merger\.mlp\.[02])"
    r"|language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.\w+_proj))"
)
ALWAYS = ("expression", "angle", "style")  # the axes that captions get wrong most
FURTHER = 1  # further axes that each lesson asks about
_ADAPTER = "questions"
_TURN = "<|im_start|>user\n{}{}<|im_end|>\n<|im_start|>assistant\n"
_END = "<|im_end|>\n"


def right_answer(scene: Scene, axis: str) -> str:
    """Returns the words of the right answer to the question about an axis of a scene."""
    question = next(each for each in vocab.QUESTIONS if each.axis == axis)
    hidden = axis == "pose" and scene.framing != "full body"
    return question.options[OTHER if hidden else getattr(scene, axis)]


def lesson(tokenizer: PreTrainedTokenizerFast, scenes: list[Scene], picked: random.Random) -> tuple[Tensor, Tensor]:
    """Returns token ids and labels, (B, L) each, of a conversation about each scene: questions with right answers.

    The order of the questions is random, so that each comes first behind the picture in its turn. A label is −100 where
    there is no loss.
    """
    rows = []
    for scene in scenes:
        rest = [each.axis for each in vocab.QUESTIONS if each.axis not in ALWAYS]
        asked = picked.sample([*ALWAYS, *picked.sample(rest, FURTHER)], len(ALWAYS) + FURTHER)
        said: list[int] = []
        right: list[int] = []
        for at, axis in enumerate(asked):
            words = next(each.words for each in vocab.QUESTIONS if each.axis == axis)
            head = tokenizer(_TURN.format("" if at else PICTURE, words))["input_ids"]
            tail = tokenizer(right_answer(scene, axis) + _END)["input_ids"]
            said += head + tail
            right += [-100] * len(head) + tail[:-1] + [-100]  # no loss at the line's end
        rows.append((said, right))
    length = max(len(said) for said, _ in rows)
    ids = [row + [tokenizer.pad_token_id] * (length - len(row)) for row, _ in rows]
    labels = [row + [-100] * (length - len(row)) for _, row in rows]
    return torch.tensor(ids), torch.tensor(labels)


def train_questions(
    model: Qwen2_5_VLForConditionalGeneration, data: Dataset, folder: Path, schedule: Schedule
) -> dict[str, float]:
    """Adds a LoRA to `model`, the captioner, and trains it to answer questions about all pictures.

    `folder`: for the checkpoint. Returns a dictionary with steps, loss and the number of trained parameters, which
    include those of an auxiliary classifier of the image tokens.
    """
    model.requires_grad_(False)
    torch.manual_seed(schedule.seed)
    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=LAYERS)
    peft.inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
    tokenizer, scenes = text_tokenizers.qwen_tokenizer(), data.all_scenes
    sights = Sights(model, scenes)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (schedule.batch,), generator=generator).sort().values
        ids, labels = lesson(tokenizer, [scenes[row] for row in rows.tolist()], random.Random(step))
        labels = labels.to(model.device)
        with autocast(model.device):
            hidden = hidden_states(model, ids, data.pictures[rows.numpy()])
            asked = labels[:, 1:] != -100
            logits = model.lm_head(hidden[:, :-1][asked])
        return F.cross_entropy(logits.float(), labels[:, 1:][asked]) + 0.1 * sights.loss(rows)

    with spelled_out_attention():
        return train(_ADAPTER, folder, {"model": model, "sights": sights}, loss_of, schedule)


def save_questions(model: Qwen2_5_VLForConditionalGeneration, path: Path) -> None:
    """Writes the LoRA as `engines.weights.taught` reads it, cut to rank `KEPT` in 8-bit floats."""
    state = peft.get_peft_model_state_dict(model, adapter_name=_ADAPTER)
    with whole(path) as part:
        save_file(smaller(state), part)


def smaller(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns a LoRA with the largest `KEPT` singular values of each layer's product, in 8-bit floats."""
    found = {}
    for name in (each for each in state if each.endswith(DOWN)):
        above = name.removesuffix(DOWN) + UP
        left, inner_left = torch.linalg.qr(state[above].detach().float())
        right, inner_right = torch.linalg.qr(state[name].detach().float().T)
        u, values, v = torch.linalg.svd(inner_left @ inner_right.T)
        root = values[:KEPT].sqrt()
        found[above] = ((left @ u[:, :KEPT]) * root).to(torch.float8_e4m3fn).contiguous()
        found[name] = ((root[:, None] * v[:KEPT]) @ right.T).to(torch.float8_e4m3fn).contiguous()
    return found


@torch.no_grad()
def read_answers(
    model: Qwen2_5_VLForConditionalGeneration, pictures: Pictures, axis: str, batch: int = 64
) -> list[str]:
    """Returns the answer to the question about an axis of each picture: the option whose first token is likeliest."""
    tokenizer = text_tokenizers.qwen_tokenizer()
    question = next(each for each in vocab.QUESTIONS if each.axis == axis)
    ids = torch.tensor(tokenizer(_TURN.format(PICTURE, question.words))["input_ids"])
    first = [tokenizer(words)["input_ids"][0] for words in question.options.values()]
    found: list[int] = []
    for start in range(0, len(pictures), batch):
        part = pictures[start : start + batch]
        states = hidden_states(model, ids.expand(len(part), -1), part)
        found += model.lm_head(states[:, -1])[:, first].argmax(dim=1).tolist()
    return [list(question.options.values())[at] for at in found]
