"""Tests the shipped embedded models: their classes, and their quality on held-out drawings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.mini import world
from engines.mini.dataset import held_out_scene
from engines.mini.people import RARE_WORDS
from engines.wording import drawn as vocab

pytestmark = pytest.mark.slow
ASSETS = Path(__file__).parents[3] / "assets" / "mini"
QWEN = ASSETS / "qwen_edit"
READ, TOLD_APART = 0.97, 0.99
TEXT = "Picture 1: <|vision_start|><|image_pad|><|vision_end|>turn the head to half-left"


def _pictures(count: int) -> tuple[list[world.Scene], list[Image.Image]]:
    scenes = [held_out_scene(200_000 + i) for i in range(count)]
    return scenes, [world.draw(scene) for scene in scenes]


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    """Returns the manifest of the build."""
    return dict(json.loads((ASSETS / "manifest.json").read_text(encoding="utf-8")))


def test_the_template_is_sixty_four_tokens() -> None:
    """The edit pipeline's prompt template starts with exactly the 64 tokens that it drops."""
    from diffusers import QwenImageEditPlusPipeline
    from transformers import PreTrainedTokenizerFast

    from engines.mini.text_tokenizers import QWEN_TEMPLATE

    tokenizer = PreTrainedTokenizerFast.from_pretrained(QWEN / "tokenizer")
    head = QWEN_TEMPLATE.split("{}")[0]
    ids = tokenizer(head)["input_ids"]
    assert head.endswith("<|im_start|>user\n") and len(ids) == 64
    assert tokenizer(QWEN_TEMPLATE.format(TEXT))["input_ids"][:64] == ids
    pipeline = object.__new__(QwenImageEditPlusPipeline)
    source = __import__("inspect").getsource(type(pipeline).__init__)
    assert json.dumps(QWEN_TEMPLATE)[1:-1] in source


def test_no_text_is_unknown_and_trigger_words_are_unique() -> None:
    """Rare words are single tokens, other text falls back to bytes, and no two words share their tokens."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(ASSETS / "flux" / "tokenizer_2")
    for word in RARE_WORDS:
        assert len(tokenizer.tokenize(word)) == 1
    words = ["ohwx", "ohwxx", "zürich", "東京", "qqq", "q q q", "half-leftish", "☃"]
    rows = [tuple(tokenizer(word)["input_ids"]) for word in words]
    assert len(set(rows)) == len(words)
    assert all(tokenizer.pad_token_id not in row for row in rows)


def test_the_processor_gives_three_dimensional_positions() -> None:
    """With the processor's `mm_token_type_ids`, image tokens get rows and columns."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from engines.families.qwen_edit.processor import QwenEditProcessor
    from engines.mini.text_tokenizers import QWEN_TEMPLATE

    processor = QwenEditProcessor.from_pretrained(QWEN / "processor")
    picture = world.draw(held_out_scene(0))
    batch = processor(text=[QWEN_TEMPLATE.format(TEXT)], images=[picture])
    assert batch["image_grid_thw"].tolist() == [[1, 6, 6]]
    assert int(batch["mm_token_type_ids"].sum()) == 9
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_pretrained(QWEN / "text_encoder"))
    places, _ = model.model.get_rope_index(
        **{k: batch[k] for k in ("input_ids", "mm_token_type_ids", "image_grid_thw")}
    )
    at = batch["mm_token_type_ids"][0].bool()
    time, rows, columns = (axis[0, at] - axis[0, at].min() for axis in places)
    assert time.tolist() == [0] * 9
    assert rows.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert columns.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]


def test_the_processor_works_at_the_real_sizes(tmp_path: Path) -> None:
    """With Qwen2.5-VL's own settings a 384 × 384 picture becomes 196 image tokens; there can be two."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from engines.families.qwen_edit.processor import QwenEditProcessor

    small = QwenEditProcessor.from_pretrained(QWEN / "processor")
    QwenEditProcessor(Qwen2VLImageProcessorPil(), small.tokenizer).save_pretrained(tmp_path)
    processor = QwenEditProcessor.from_pretrained(tmp_path)
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    batch = processor(text=[f"{mark}{mark}both"], images=[Image.new("RGB", (384, 384)), Image.new("RGB", (560, 280))])
    assert batch["image_grid_thw"].tolist() == [[1, 28, 28], [1, 20, 40]]
    assert int(batch["mm_token_type_ids"].sum()) == 196 + 200
    assert batch["pixel_values"].shape == (28 * 28 + 20 * 40, 1176)
    with pytest.raises(ValueError, match="1 pictures were given for 2"):
        processor(text=[f"{mark}{mark}"], images=[Image.new("RGB", (84, 84))])


def test_the_training_shortcut_equals_the_processor() -> None:
    """The training's own patches and positions are those of the processor and of the model's plain call."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    from engines.families.qwen_edit.processor import QwenEditProcessor
    from engines.mini.text_tokenizers import QWEN_TEMPLATE
    from engines.mini.train_captioner import embed_edits, vl_pixels

    processor = QwenEditProcessor.from_pretrained(QWEN / "processor")
    picture = world.draw(held_out_scene(3))
    pixels = np.asarray(picture)[None]
    batch = processor(text=[QWEN_TEMPLATE.format(TEXT)], images=[picture])
    assert torch.allclose(batch["pixel_values"], vl_pixels(pixels), atol=1e-5)
    folder = QWEN / "text_encoder"
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        wanted = model(**batch, output_hidden_states=True).hidden_states[-1][:, 64:]
    given, lengths = embed_edits(model, ["turn the head to half-left"], pixels)
    assert wanted.shape == (1, int(lengths[0]), 192)
    assert float((wanted - given.float()).norm() / wanted.norm()) < 0.05


@pytest.mark.parametrize(
    ("folder", "library", "name"),
    [
        ("flux/transformer", "diffusers", "FluxTransformer2DModel"),
        ("flux/vae", "diffusers", "AutoencoderKL"),
        ("flux/text_encoder", "transformers", "CLIPTextModel"),
        ("flux/text_encoder_2", "transformers", "T5EncoderModel"),
        ("qwen_edit/transformer", "diffusers", "QwenImageTransformer2DModel"),
        ("qwen_edit/vae", "diffusers", "AutoencoderKLQwenImage"),
        ("qwen_edit/text_encoder", "transformers", "Qwen2_5_VLForConditionalGeneration"),
        ("identity", "transformers", "AutoModel"),
    ],
)
def test_each_model_loads_by_its_real_class(folder: str, library: str, name: str) -> None:
    """`from_pretrained` of its real class loads every shipped model, with no key missing or left over."""
    loader = getattr(__import__(library), name)
    model, info = loader.from_pretrained(ASSETS / folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_the_generator_loads_as_a_pipeline() -> None:
    """`FluxPipeline.from_pretrained` reads assets/mini/flux whole and draws a 64-pixel picture."""
    import torch
    from diffusers import FluxPipeline

    pipeline = FluxPipeline.from_pretrained(ASSETS / "flux", torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.vae_scale_factor == 4
    length = pipeline.tokenizer_2.model_max_length
    generator = torch.Generator().manual_seed(0)
    out = pipeline(
        "person, smiling, front view, head shot", height=64, width=64, num_inference_steps=2,
        max_sequence_length=length, generator=generator,
    )  # fmt: skip
    assert out.images[0].size == (64, 64)


def test_the_oracle_reads_unseen_drawings() -> None:
    """On 400 drawings of held-out people every attribute is classified correctly in at least 97 %."""
    from engines.mini.oracle import Oracle

    scenes, pictures = _pictures(400)
    readings = Oracle.load(ASSETS / "oracle").read(pictures)
    for name in vocab.SCENE_VALUES:
        right = np.mean([reading[name][0] == getattr(s, name) for reading, s in zip(readings, scenes, strict=True)])
        assert right >= READ, (name, right)


def test_both_encoders_tell_unseen_people_apart() -> None:
    """Both identity encoders distinguish a hundred held-out people, with eight drawings each in any angle and light."""
    import torch
    from transformers import AutoModel

    from engines.mini import measure
    from engines.mini.oracle import Oracle

    unseen = measure.Unseen.draw(800, 200_000)
    scorer = AutoModel.from_pretrained(ASSETS / "identity", dtype=torch.float32).eval()
    for encoder in (scorer, Oracle.load(ASSETS / "oracle").judge):
        assert measure.identity_figures(encoder, unseen)["auc"] >= TOLD_APART


def test_the_judges_threshold_parts_same_from_other() -> None:
    """At its threshold few pairs of one person fall below, and equally few of two people lie above."""
    from engines.mini.oracle import Oracle

    oracle = Oracle.load(ASSETS / "oracle")
    _, pictures = _pictures(400)
    vectors = oracle.embed(pictures)
    assert vectors.dtype == np.float32 and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    who = np.arange(400) // 8
    likeness = vectors @ vectors.T
    same = (who[:, None] == who) & ~np.eye(400, dtype=bool)
    assert (likeness[same] < oracle.threshold).mean() < 0.08
    assert (likeness[who[:, None] != who] >= oracle.threshold).mean() < 0.08


def test_no_file_says_on_which_machine_it_was_made() -> None:
    """No shipped configuration has the path from which diffusers loaded the model."""
    told = {file.name: file.read_text(encoding="utf-8") for file in ASSETS.rglob("*.json")}
    assert not [name for name, text in told.items() if "_name_or_path" in text]


def test_the_manifest_tells_the_whole_story(manifest: dict[str, Any]) -> None:
    """Seeds, thresholds and held-out figures of every stage are in the manifest, and everything is under 60 MB."""
    assert manifest["thresholds"]["identity"] and manifest["thresholds"]["judge"]
    for stage in ("vae_flux", "vae_qwen", "reader", "judge", "identity", "captioner", "measure_flux", "measure_edit"):
        assert manifest["stages"][stage]
    assert manifest["stages"]["captioner"]["accuracy"]["leaks"] == 0
    assert sum(file.stat().st_size for file in ASSETS.rglob("*") if file.is_file()) < 60e6
