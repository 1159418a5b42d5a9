"""Builds the tokenizers of the embedded toy models: one list of words, and bytes for all other text."""

from __future__ import annotations

import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from engines.mini.people import PERSON_VALUES, RARE_WORDS
from engines.wording import drawn as vocab

QWEN_TEMPLATE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
TEMPLATE_TOKENS = 64
SPECIAL_TOKENS = (
    "<pad>", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_MORE_WORDS = """
a an the in on at of and or with to from into as it its is are be by for this that same keep kept else everything not no
person people man woman girl boy child character photo picture image portrait drawing cartoon sketch painting view shot
close up upper whole body head bust full front left right profile half side back three quarter standing stands sitting
sits seated pose looking look looks smile smiles smiling laugh happy cry crying angry sad neutral calm wearing wears
wear shirt dress suit hoodie sweater jacket outfit clothes
red blue green yellow black striped orange white grey brown purple
background studio plain clean forest beach city mountains night sky room light lighting soft warm cold style flat comic
make change turn replace put show use dress redraw relight should remove add more less high quality low blurry chair
model sheet wall sea snow street day sunset evening morning bright dark colour colors
"""
CLIP_LENGTH = 32
T5_LENGTH = 32


def word_list() -> list[str]:
    """Returns the words, digits and punctuation marks that the toy world's texts consist of, sorted."""
    texts = [
        QWEN_TEMPLATE,
        vocab.DRAWN.caption_request,
        _MORE_WORDS,
        "Picture 1: 2 3 4 5 6 7 8 9 0",
        *RARE_WORDS,
        *vocab.KEEP,
    ]
    for values in (*vocab.SCENE_VALUES.values(), *PERSON_VALUES.values()):
        texts += values
    for table in (*vocab.PHRASES.values(), *vocab.CAPTION_WORDS.values()):
        texts += table.values()
    for templates in vocab.INSTRUCTIONS.values():
        texts += templates
    texts.append("hair skin eyes head bald")
    plain = (re.sub(r"<\|[^|]*\|>|\{[^}]*\}", " ", text).lower() for text in texts)
    return sorted({word for text in plain for word in re.findall(r"\n|\),|'s\b|[\w-]+|[^\w\s]", text)} - {"\n"})


def vocabulary() -> dict[str, int]:
    """Returns token -> id: special tokens, bytes, bytes that continue a word (with "##"), and whole words."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [word for word in word_list() if len(word) > 1]
    tokens = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters), *words]
    return {token: i for i, token in enumerate(tokens)}


def _tokenizer(drop_commas: bool) -> Tokenizer:
    """Builds what the tokenizers have in common; `drop_commas` removes commas and line ends from texts."""
    known = vocabulary()
    tokenizer = Tokenizer(models.WordPiece(known, unk_token="<pad>", max_input_chars_per_word=10_000))
    steps: list[normalizers.Normalizer] = [normalizers.NFC(), normalizers.Lowercase()]
    if drop_commas:
        steps.append(normalizers.Replace(Regex(r"[,\n]+"), " "))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[ \t\r]+"), "removed"),
            pre_tokenizers.Split(Regex(r"\n|\),|'s\b|[^\w\s-]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer


def clip_tokenizer() -> PreTrainedTokenizerFast:
    """Builds the tokenizer of CLIP, FLUX's first text encoder; it adds start and end tokens and drops commas."""
    inner = _tokenizer(drop_commas=True)
    ids = [(token, inner.token_to_id(token)) for token in ("<s>", "</s>")]
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=CLIP_LENGTH
    )


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """Builds the tokenizer of T5, FLUX's second text encoder; it adds an end token and drops commas."""
    inner = _tokenizer(drop_commas=True)
    ids = [("</s>", inner.token_to_id("</s>"))]
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", model_max_length=T5_LENGTH
    )


def qwen_tokenizer() -> PreTrainedTokenizerFast:
    """Builds the tokenizer of the editor's text encoder; it adds no tokens and keeps commas and line ends."""
    inner = _tokenizer(drop_commas=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=1024,
        padding_side="right", extra_special_tokens=[t for t in SPECIAL_TOKENS if t.startswith("<|")],
    )  # fmt: skip
