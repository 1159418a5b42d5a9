"""The catalogue of editor LoRAs: their words, what each is for, and which editors take it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from math import prod
from pathlib import Path

import pytest

import assets
from engines.api.errors import BadInput
from engines.api.placeholders import names
from engines.catalogue.editor_loras import EDITOR_LORAS
from engines.catalogue.lora_bases import BASES, TASKS, UNKNOWN, base_of
from engines.catalogue.models import MODELS

ROWS = {row.name: row for row in EDITOR_LORAS}
SAID: tuple[tuple[str, Mapping[str, str], str], ...] = (  # row, chosen words, the instruction on its card
    ("fal-angles", {}, "<sks> front view eye-level shot medium shot"),
    (
        "fal-angles",
        {"azimuth": "back-left quarter view", "elevation": "high-angle shot", "distance": "close-up"},
        "<sks> back-left quarter view high-angle shot close-up",
    ),
    ("dx8152-angles", {}, "将镜头向左旋转45度 Rotate the camera 45 degrees to the left."),
    (
        "dx8152-angles",
        {"move": "将相机转向鸟瞰视角 Turn the camera to a bird's-eye view."},
        "将相机转向鸟瞰视角 Turn the camera to a bird's-eye view.",
    ),
    ("dx8152-light-direction", {}, "使用图2的亮度贴图对图1重新照明(光源来自前方)"),
    ("dx8152-light-direction", {"direction": "左前方"}, "使用图2的亮度贴图对图1重新照明(光源来自左前方)"),
    ("dx8152-relight", {}, "Use a subtle golden-hour filter with smooth light diffusion."),
    ("dx8152-light-removal", {}, "Remove shadows and relight the image using soft lighting."),
    ("anylight", {}, "Apply the lighting from image 2 to image 1."),
    ("studio-delight", {}, "Neutral uniform lighting. Preserve identity and composition."),
    (
        "face-to-portrait",
        {"scene": "一位穿着长裙的美丽女性的写实摄影。背景是一片森林。"},
        "一位穿着长裙的美丽女性的写实摄影。背景是一片森林。",
    ),
    ("consistency-2511", {}, "restore image details"),
    ("pixelsmile", {}, "Edit the person to show a neutral expression"),
    ("pixelsmile", {"expression": "happy"}, "Edit the person to show a happy expression"),
    ("extract-outfit", {}, "Extract the clothing and create a flat mockup."),
    ("next-scene", {"scene": "she walks home"}, "Next Scene: she walks home"),
    ("edit-skin", {}, "make the subjects skin details more prominent and natural"),
    ("hyper-realistic-portrait", {}, "Transform into a hyper-realistic face portrait."),
    ("ultra-realistic-portrait", {}, "Ultra-realistic portrait."),
    ("anything2real", {}, "Change the picture to realistic photograph."),
    ("style-transfer", {}, "Convert Image 1 to the style of Image 2."),
    ("photo-to-anime", {}, "Transform into anime."),
    ("semi-realistic", {}, "transform the image to semi-realistic image"),
    ("unblur-upscale", {}, "Unblur and upscale."),
    ("upscale2k-2511", {}, "Upscale this picture to 4K resolution."),
    ("object-remover", {}, "Remove the red highlighted object from the scene."),
    ("anyangle-2.1", {}, "Change the camera angle from <image2> to <image1>."),
)
LONG = {  # row -> the beginning and the end of a long instruction
    "anypose": ("Make the person in image 1 do the exact same pose", "should match the person in image 2."),
    "head-swap-2511": ("head_swap: start with Picture 1 as the base image", "eye color, and nose structure"),
    "dx8152-light-migration": ("参考色调，移除图1原有的光照", "lighting and color tone of Image 2."),
    "klein-character-sheet": ("Convert the character in the image to a Character Sheet", "rear full-body views"),
}


@pytest.mark.parametrize(("name", "chosen", "words"), SAID, ids=[f"{name} {len(words)}" for name, _, words in SAID])
def test_a_grammar_says_what_its_card_says(name: str, chosen: Mapping[str, str], words: str) -> None:
    """The instruction is the card's to the letter, with the words that were chosen, else the first ones."""
    assert ROWS[name].instruction(**chosen) == words


@pytest.mark.parametrize("name", LONG)
def test_a_long_instruction_is_whole(name: str) -> None:
    """It begins and ends as its card does."""
    start, end = LONG[name]
    words = ROWS[name].instruction()
    assert words.startswith(start) and words.endswith(end)


def test_every_grammar_is_among_those_that_are_checked() -> None:
    """A row with placeholders has its words in the list above, but for those that are free or say nothing."""
    checked = {name for name, *_ in SAID} | set(LONG)
    free = {"upscale-enhance", "remover", "face-segmentation"}
    assert {row.name for row in EDITOR_LORAS if names(row.words)} <= checked | free


def test_the_camera_has_96_views() -> None:
    """Eight around, four heights, three distances, each with words of its own."""
    slots = ROWS["fal-angles"].slots
    every = {ROWS["fal-angles"].instruction(azimuth=a, elevation=e, distance=d) for a, e, d in product(*slots.values())}
    assert len(every) == prod(map(len, slots.values())) == 96


def test_words_that_no_card_knows_are_refused() -> None:
    """A wrong choice lists the right ones; what is free must be said."""
    with pytest.raises(BadInput, match="azimuth") as wrong:
        ROWS["fal-angles"].instruction(azimuth="from behind")
    assert "back view" in wrong.value.hint
    with pytest.raises(BadInput, match=r"scene.* is still empty"):
        ROWS["next-scene"].instruction()


def test_rows_are_whole() -> None:
    """Names are unique, tasks and editors known, a partner knows its partner, and the unfit say why."""
    assert len(ROWS) == len(EDITOR_LORAS) >= 60
    editors = {spec.name for spec in MODELS if spec.role == "editor"}
    for row in EDITOR_LORAS:
        assert row.task in TASKS and set(row.editors) <= editors, row
        assert row.editors or row.unfit, row
        assert not row.beside or ROWS[row.beside].beside == row.name
        assert row.licence
    assert {row.name for row in EDITOR_LORAS if row.licence == UNKNOWN} > {"dx8152-angles", "anypose"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("controlnet-union", "ControlNet"),
        ("meitu", "whole fine-tuned model"),
        ("lovis93-angles-flux2", "FLUX.2-dev"),
        ("klein-consistency", "FLUX.2-klein 9B"),
        ("anyangle-2.1", "Qwen-Image-2.1"),
        ("lightning-4-2511", "Few steps"),
    ],
)
def test_what_no_editor_can_use_says_why(name: str, reason: str) -> None:
    """A ControlNet, a fine-tune, a wrong base and a speed adapter are refused for every editor."""
    assert all(reason in ROWS[name].why_not(spec.name) for spec in MODELS if spec.role == "editor")


def test_a_row_says_which_editor_it_is_for() -> None:
    """The editors of one size take it, one of another version with a caution; the toy does not."""
    row = ROWS["dx8152-angles"]
    assert (row.why_not("Qwen-Image-Edit-2509"), row.caution("Qwen-Image-Edit-2509")) == ("", "")
    assert row.why_not("Qwen-Image-Edit-2511") == "" and "2509" in row.caution("Qwen-Image-Edit-2511")
    assert "Qwen-Image-Edit-2509" in row.why_not("mini-qwen-edit")


@pytest.mark.parametrize(
    ("module", "width", "family", "base"),
    [
        ("transformer_blocks.59.attn.to_q", 3072, "qwen-edit", "Qwen-Image, 20B"),
        ("transformer_blocks.4.img_mlp.net.0.proj", 192, "qwen-edit", "mini-qwen-edit"),
        ("lora_transformer_transformer_blocks_4_attn_to_q", 192, "qwen-edit", "mini-qwen-edit"),
        ("single_transformer_blocks.23.attn.to_qkv_mlp_proj", 4096, "flux2", "FLUX.2-klein 9B"),
        ("single_transformer_blocks.19.attn.to_qkv_mlp_proj", 3072, "flux2", "FLUX.2-klein 4B"),
        ("single_transformer_blocks.37.proj_mlp", 3072, "flux", "FLUX.1"),
        ("transformer_blocks.60.attn.to_q", 3072, "qwen-edit", ""),
        ("transformer_blocks.0.img_mlp.net.0.proj", 3072, "flux", ""),
        ("embedder.linear", 3072, "qwen-edit", ""),
    ],
)
def test_a_base_is_known_by_its_layers(module: str, width: int, family: str, base: str) -> None:
    """By width, number of blocks, and names that only its family has; what fits none is unknown."""
    found = base_of({module: width}, family)
    assert (found.name if found else "") == base


def test_the_toy_is_as_its_row_says() -> None:
    """The embedded editor's layers are those of its row among the bases."""
    folder = Path(assets.__file__).parent / "mini" / "qwen_edit" / "transformer"
    config = json.loads((folder / "config.json").read_text())
    base = next(each for each in BASES if "mini-qwen-edit" in each.editors)
    assert config["num_attention_heads"] * config["attention_head_dim"] == base.width
    assert config["num_layers"] == base.blocks
