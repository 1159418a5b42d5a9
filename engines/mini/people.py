"""Lists the traits of drawn people and the words for them; captions of a character never name the traits."""

from __future__ import annotations

from engines.wording.drawn import OUTFITS

HAIR_STYLES: tuple[str, ...] = ("short", "long", "bob", "bun", "curly", "spiky", "bald")
HAIR_COLOURS: tuple[str, ...] = ("black", "brown", "blond", "red", "grey", "blue", "pink", "green")
SKINS: tuple[str, ...] = ("pale", "light", "tan", "brown", "dark")
EYES: tuple[str, ...] = ("brown", "blue", "green", "grey")
FEATURES: tuple[str, ...] = ("none", "glasses", "freckles", "beard")
PERSON_VALUES: dict[str, tuple[str, ...]] = {
    "hair_style": HAIR_STYLES,
    "hair_colour": HAIR_COLOURS,
    "skin": SKINS,
    "eyes": EYES,
    "feature": FEATURES,
}
IDENTITY_WORDS: frozenset[str] = frozenset(
    {"hair", "skin", "eyes", "eye", "face", "nose", "brow", "jaw", "glasses", "freckles", "beard", "bald"}
    | set(HAIR_STYLES)
    | {colour for colour in HAIR_COLOURS if all(colour not in outfit.split() for outfit in OUTFITS)}
    | (set(SKINS) - {"light"})
)
RARE_WORDS: tuple[str, ...] = ("ohwx", "sks", "zwx")  # triggers that the tokenizers know as whole words
