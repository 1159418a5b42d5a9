"""Captions: they describe what varies between pictures and leave out what is constant about the character."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase

from engines.api.axes import AROUND, ELEVATIONS, EXPRESSIONS, FRAMINGS, TAGS
from engines.api.errors import BadInput
from engines.api.params import CaptionParams
from engines.api.triggers import composed, spans
from studio.judging.gallery import open_each
from studio.judging.reader import PictureReader, Reading
from studio.records.character import Character
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job
from studio.records.payload import CaptionPayload
from studio.records.words import demand_caption, demand_text
from studio.store import Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk

HUMAN, SIDECAR, RECIPE = "human", "sidecar", "recipe"
BY_PEOPLE = (HUMAN, SIDECAR)
_CHUNK = 8
CAPTIONED = (Kind.SOURCE, Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)
_TAG_VALUES = {"angle": AROUND, "expression": EXPRESSIONS, "framing": FRAMINGS, "elevation": ELEVATIONS}

# ── words that name what is constant ──────────────────────────────────────────────────────────────

_COLOUR = (
    r"black|brown|blond|blonde|blue|green|grey|gray|hazel|amber|red|auburn|ginger|white|silver|pink|purple|golden|"
    r"dark|light|fair|pale|tan|tanned|olive|bright|deep"
)
_SHAPE = (
    r"oval|round|square|heart-shaped|narrow|long|short|thin|thick|sharp|strong|chiselled|chiseled|angular|pointed|"
    r"high|prominent|almond|almond-shaped|big|large|small|deep-set|bushy|crooked|curly|wavy|straight|spiky|messy|"
    r"shaggy|smooth|freckled|wrinkled|shoulder-length|cropped|slicked-back"
)
_WORD = "|".join(sorted(f"{_COLOUR}|{_SHAPE}".split("|"), key=len, reverse=True))  # `deep-set` before `deep`
_RUN = rf"(?:(?:{_WORD})(?:,? and |, |[ -]))"
_ALWAYS = (
    r"hair|haired|hairstyle|haircut|hairline|ponytail|pigtails?|braids?|bangs|dreadlocks|curls|bald|balding|brunette|"
    r"blonde|redhead(?:ed)?|beard(?:ed)?|moustache|mustache|goatee|stubble|freckles|freckled|dimples|wrinkles|"
    r"skin|skinned|complexion|eyelashes|birthmark|(?<!sun)glasses|eyeglasses|spectacles"
)
_DESCRIBED = r"face|faced|features|forehead|cheekbones|jaw|jawline|chin|nose|lips|eyebrows|brows"
_NATIONS = (
    r"asian|african|african[- ]american|caucasian|european|hispanic|latino|latina|indian|chinese|japanese|korean|"
    r"arab|middle[- ]eastern|black|white|mixed[- ]race|native american"
)
_PEOPLE = r"man|woman|person|girl|boy|lady|guy|male|female|child|kid|adult"
_FIRST = "".join(sorted({word[0] for word in f"{_WORD}|{_ALWAYS}|glasses".split("|")} - {"("}))
# Matches a run of adjectives and the feature after it. The run is possessive (`++`), so that matching stays linear.
_FEATURE = re.compile(
    rf"\b(?=[{_FIRST}])(?:"
    rf"(?P<run>{_RUN}++)(?P<head>(?:{_ALWAYS})\b(?!-)|(?<!, )(?<!and )eye(?:s|d)?\b|(?:{_DESCRIBED})\b)?"
    rf"|(?:{_ALWAYS})\b(?!-))"
)
_NAMED_IN_RUN = re.compile(rf"\b(?:{_ALWAYS})\b(?!-)")
_LEAKS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bfull lips\b",
        rf"\b(?:{_NATIONS})(?= (?:{_PEOPLE})\b)",
        r"\b(?:asian|caucasian|hispanic|latino|latina)\b",
        rf"\b(?:young|old|aged)\b(?=(?: [\w-]++){{0,2}} (?:{_PEOPLE})\b)",
        r"\b(?:elderly|middle[- ]aged|teenaged?|teenager|youthful|adolescent)\b",
        r"\b\w++[- ]years?[- ]old\b|\bin (?:his|her|their) (?:early |mid |late )?(?:teens|\w+ties|\d0s)\b",
        rf"\b(?:slim|slender|skinny|muscular|stocky|chubby|petite|overweight)\b(?= (?:{_PEOPLE}|build|body)\b)",
    )
)
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)  # keeps the text's length, which `str.lower` may change
_JOINT = re.compile(
    r"(?:,\s*)?(?:\b(?:with|having|has|and|whose)\s+)?(?:\b(?:a|an|the|his|her|their|is|are)\s+)*$", re.IGNORECASE
)
_NEAR = 64  # the characters before a leak that are searched for a joint, more than any joint has
_ARTICLE = re.compile(r"(?:\b(?:a|an|his|her|their)\s+)$", re.IGNORECASE)
_INDEFINITE = re.compile(r"\b([Aa])n?\s+$")
_VOWEL = re.compile(r"(?!uni|use|eu|one\b)[aeiou]|hour|honest|heir|[AEFHILMNORSX]\b", re.IGNORECASE)  # as it sounds
_GOES_ON = re.compile(  # what follows a whole phrase, not the noun that the leak described
    r"\s+(?:\w+ing|who|while|looks?|sits?|stands?|walks?|holds?|wears?|smiles?|is|in|on|at|by|near|under|behind|against)\b",
    re.IGNORECASE,
)
_OPENING = (
    r"(?:(?:an? |the )?(?:close-up |full-body )?"
    r"(?:photo(?:graph)?|picture|image|portrait|drawing|illustration|(?:3D )?render) of )?"
)


def leaks(text: str, trigger: str = "") -> list[str]:
    """Returns the parts of a caption that name a constant trait: hair, eyes, skin, face, build, age or ethnicity.

    Such parts are called leaks: a LoRA should learn constant traits as part of the trigger word, so that no caption
    should name them. Words of the trigger itself are never returned.
    """
    text = composed(text)
    return [text[start:end] for start, end in _spans(text, trigger)]


def without_leaks(text: str, trigger: str = "") -> str:
    """Returns a caption without the parts that name a constant trait, such as hair, eyes or age (see `leaks`).

    The words that joined these parts to the rest are removed, too. Words of the character's `trigger` stay.
    """
    text = composed(text)
    told = _spans(text, trigger)
    for start, end in reversed(told):
        before, head, tail = text[: max(0, start - _NEAR)], text[max(0, start - _NEAR) : start], text[end:]
        # In "with freckles and a hat" the joint "with" stays, because it now introduces the hat.
        if further := re.match(r"\s*+(?:,\s*+)?and\s++(?=\w)", tail):
            head, tail = _ARTICLE.sub("", head), tail[further.end() :]
        elif not re.match(r"\s*[\w-]", tail) or _GOES_ON.match(tail):
            head = _JOINT.sub("", head).rstrip()
        elif article := _INDEFINITE.search(head):
            head = f"{head[: article.start()]}{article[1]}{'n' if _VOWEL.match(tail.lstrip()) else ''} "
        text = before + head + tail
    if told:
        text = re.sub(r"\s{2,}", " ", text)
        text = re.sub(r"\s+([,.;])", r"\1", text)
        text = re.sub(r"(?:,\s*){2,}", ", ", text)
    return text.strip(" ,;")


def with_trigger(text: str, trigger: str, subject: str) -> str:
    """Returns the caption with the trigger word and the subject, such as "ohwx woman", at its start.

    A caption that begins with the trigger already keeps its words. A subject at the start of the caption, such as "a
    photo of a woman", is replaced.
    """
    text = composed(text.strip())
    if any(start == 0 for start, _ in spans(text, trigger)):
        return text
    who = f"{trigger} {subject}"
    opening = rf"{_OPENING}(?:an? |the )?(?:{re.escape(trigger)} )?(?:{re.escape(subject)}|{_PEOPLE})\b"
    named = re.match(opening, text, re.IGNORECASE)
    return who + text[named.end() :] if named else f"{who}, {text}".rstrip(", ")


def _spans(text: str, trigger: str) -> list[tuple[int, int]]:
    """Returns the (start, end) of each leak in the text, in order, with overlapping ones merged."""
    low, named = text.translate(_LOWER), spans(text, trigger)
    matches = [*_features(low), *(match.span() for pattern in _LEAKS for match in pattern.finditer(low))]
    found = sorted(
        (start, end) for start, end in matches if not any(start < last and first < end for first, last in named)
    )
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _features(low: str) -> Iterator[tuple[int, int]]:
    """Yields the (start, end) of each place that names hair, eyes, skin or face, its adjectives included."""
    for match in _FEATURE.finditer(low):
        if match["run"] is None or match["head"]:
            yield match.span()
        else:  # the run describes something else, but some of its adjectives (blonde, freckled) are leaks themselves
            ends = [each.end() for each in _NAMED_IN_RUN.finditer(low, *match.span("run"))]
            if ends:
                yield match.start(), ends[-1]


# ── by hand ───────────────────────────────────────────────────────────────────────────────────────


def set_caption(desk: Desk, image_id: str, text: str) -> ImageRecord:
    """Sets a caption as written by a human, which the captioning model does not replace; returns the picture's record.

    An empty caption counts as none, and the model may replace it. Raises: NotFound, BadInput for a caption that is too
    long.
    """
    demand_text("text", text)
    words = " ".join(text.split())
    demand_caption(words)
    return desk.store.update_image(image_id, caption=words, caption_by=HUMAN if words else "")


def set_tags(desk: Desk, ids: str | Sequence[str], tags: Mapping[str, str]) -> list[ImageRecord]:
    """Sets tags of one or several pictures and returns their records; an empty value removes a tag.

    `ids` is one picture id or a list; `tags` maps a tag such as angle to its value. Raises: BadInput for an unknown tag
    or value, NotFound for an unknown picture.
    """
    demand_tags(tags)
    store = desk.store
    wanted = [ids] if isinstance(ids, str) else list(ids)
    changes = {image: {"tags": merged(store.images.get(image).tags, tags)} for image in wanted}
    return store.update_images(changes)


def demand_tags(tags: Mapping[str, str]) -> None:
    """Raises BadInput for an unknown tag, and for an unknown value of a tag that has a fixed list of values."""
    for name, value in tags.items():
        if name not in TAGS:
            raise BadInput(f"There is no tag {name}.", f"There are: {', '.join(TAGS)}.")
        if value and value not in _TAG_VALUES.get(name, (value,)):
            raise BadInput(f"{value} is no {name}.", f"Use one of: {', '.join(_TAG_VALUES[name])}.")


def merged(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Returns the tags `old` with those of `new` set on top; tags with an empty value are left out."""
    return {name: value for name, value in {**old, **new}.items() if value}


# ── by the captioner ──────────────────────────────────────────────────────────────────────────────


def demand_trigger(character: Character) -> None:
    """Raises BadInput for a character without a trigger word; earlier versions of the studio let scripts create one."""
    if not character.trigger.strip():
        raise BadInput(
            f"{character.name} has no trigger word, so no caption and no prompt can name the character.",
            "Make a new character with a trigger word, such as ohwx, and import the pictures there.",
        )


def uncaptioned(store: Store) -> list[ImageRecord]:
    """Returns the pictures, except rejected ones, that neither a person nor a captioning model has captioned.

    Their caption is missing, or the studio composed it from the words or tags that the picture was made with.
    """
    usable = (image for image in store.select(CAPTIONED) if image.state is not Verdict.REJECT)
    return [image for image in usable if image.caption_by in ("", RECIPE) or not image.caption]


def submit_caption(
    desk: Desk,
    ids: Sequence[str] | None = None,
    model: str | None = None,
    overwrite_human: bool = False,
    key: str = "",
) -> Job:
    """Queues a job that captions and tags the given pictures, or with `ids` None those that `uncaptioned` returns.

    Captions by people, typed or imported from a caption file, stay unless `overwrite_human`. `model` None uses the
    character's editor; where an editor sees no pictures, another describes them (`Workplace.captioner_of`). A second
    call with the same `key` returns the first job. Raises: NotFound, ModelMissing, and BadInput where every caption
    would stay or the character has no trigger word.
    """
    if known := desk.workplace.jobs.known("caption", desk.id, key):
        return known
    store = desk.store
    demand_trigger(store.character)
    chosen = uncaptioned(store) if ids is None else [store.images.get(image) for image in dict.fromkeys(ids)]
    if ids is not None and not ids:
        raise BadInput(
            "There is no picture to caption.", "Name pictures, or leave them out for all that have no words."
        )
    if not chosen:
        raise BadInput("There is nothing to caption.", "Import pictures first, or name those to caption anew.")
    todo = [image.id for image in chosen if overwrite_human or image.caption_by not in BY_PEOPLE]
    if not todo:
        raise BadInput(
            "There is nothing to caption: people wrote all of these captions.",
            "Choose pictures without a caption, or overwrite the captions by people too.",
        )
    spec = desk.workplace.captioner_of(model or store.character.editor)
    params = spec.params(CaptionParams, trigger=store.character.trigger)
    payload = CaptionPayload(ids=tuple(todo), model=spec.name, params=params.to_json(), overwrite_human=overwrite_human)
    return desk.workplace.jobs.submit(
        "caption", desk.id, payload, title=f"Caption {len(todo)} pictures", total=len(todo), key=key
    )


def run_caption(ctx: Context) -> None:
    """Runs a captioning job: captions the pictures that the job has not captioned yet, and saves each result at once.

    The job's artifacts record which pictures are done.
    """
    asked = CaptionPayload.of(ctx.job)
    done = {image: tuple(words) for image, words in (ctx.job.artifacts.captioned or {}).items()}
    todo = [image for image in asked.ids if image not in done]
    reader = PictureReader(ctx, asked.model, captions=CaptionParams.from_json(asked.params))
    count = len(asked.ids)

    def on_step(step: int, total: int, message: str = "") -> None:
        ctx.step(len(done), count, message or f"{step} of {total}")

    if todo:
        key = f"read|{asked.model}|{_CHUNK}"
        with ctx.lease(reader.plan(min(len(todo), _CHUNK)), key) as lease:
            for start in range(0, len(todo), _CHUNK):
                opened = open_each(todo[start : start + _CHUNK], ctx.store.open_image, ctx.leave_out)
                for image, reading in reader.read(opened, {}, lease, on_step):
                    done[image] = tuple(_keep(ctx, asked, image, reading))
                    ctx.keep(captioned=dict(done))
    ctx.demand_some(done)
    ctx.step(count, count)


def _keep(ctx: Context, asked: CaptionPayload, image_id: str, reading: Reading) -> list[str]:
    """Saves a picture's caption and tags, and returns the leaks that were removed from the caption.

    A caption by people stays, unless the job overwrites these. Tags that the picture has stay.
    """
    character, image = ctx.store.character, ctx.store.images.get(image_id)
    words = reading.caption.text if reading.caption else ""
    named = leaks(words, character.trigger)
    text = with_trigger(without_leaks(words, character.trigger), character.trigger, character.subject)
    if image.caption_by in BY_PEOPLE and not asked.overwrite_human:
        return named  # a person wrote the caption after the job was queued
    read_by = {axis: by for axis, by in reading.read_by.items() if axis not in image.tags and reading.tags[axis]}
    ctx.store.update_image(
        image_id,
        caption=text,
        caption_by=asked.model,
        tags=merged(reading.tags, image.tags),
        read_by={**image.read_by, **read_by},
        answers={**image.answers, **reading.answers},
    )
    return named


def missing_words(images: Iterable[ImageRecord]) -> list[str]:
    """Returns the ids of those pictures that have no caption."""
    return [image.id for image in images if not image.caption.strip()]
