"""The fields of the Generate tab: their choices, the values kept for each character, and the pictures they ask for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from engines.api.errors import BadInput, UserError
from engines.api.params import GenerateParams
from engines.api.protocols import ModelSpec
from studio.flywheel import card, generate
from studio.flywheel.enrich.plan import seed_of
from studio.flywheel.generate import Drawing
from studio.records.payload import DrawPayload
from studio.workplace.desk import Desk
from tabs.common.knobs import Knob, first_block_cache, given, number
from tabs.common.shell import jobs_of
from tabs.common.versions import (
    BASE,
    IN_USE,
    checkpoint_choices,
    checkpoint_lora,
    chosen_lora,
    version_choices,
    version_id,
    versions,
)

KNOBS = (  # fields of GenerateParams in the order of the layout
    (
        Knob("steps", number("Steps (0: the model's own)", precision=0)),
        Knob("guidance", number("Guidance (0: the model's own)")),
    ),
    (Knob("first_block_cache", first_block_cache),),
)
OWN, SCENES, GAPS = "My prompt", "New scenes", "Card gaps"
NEWEST, ALIKE, STARRED = "newest first", "most alike first", "starred first"
EVERY = "every"
_SIZE = re.compile(r"(\d{1,6})\s*[×xX*]\s*(\d{1,6})\D*$")


@dataclass(frozen=True)
class Asked:
    """Holds the values of the Generate tab's fields, in their order on the page.

    `what` chooses the prompts: the user's own, new scenes, or scenes like those that failed in the evaluation. `plan`
    holds the seeds of the scenes that are ticked. `version` is the choice of the LoRA version that generates; `against`
    is the choice of another one to compare it with, "" for none. `extra` is a second LoRA, as a version's id or a
    file's path, "" for none; `extra_sure` says that it is for the model, where its file leaves that in doubt. A `steps`
    or `guidance` of 0 and a `size` of "" mean the model's own value.
    """

    what: str = OWN
    prompt: str = ""
    negative: str = ""
    plan: Sequence[str] = ()  # the seeds of the scenes that are ticked
    version: str | None = IN_USE
    against: str | None = ""
    strength: float = 1.0
    count: float | None = 4
    size: str | None = ""
    seed: float | None = 0
    keep_seed: bool = False
    steps: float | None = 0
    guidance: float | None = 0
    first_block_cache: float | None = 0
    extra: str | None = ""
    extra_weight: float | None = 1.0
    extra_sure: bool = False

    def values(self) -> tuple[Any, ...]:
        """Returns the values as a tuple in the order of the fields on the page."""
        return tuple(getattr(self, name) for name in FIELDS)


FIELDS = tuple(each.name for each in dataclasses.fields(Asked))
GALLERY = {"sort": NEWEST, "only": EVERY, "starred": False}
_DEFAULTS = {**dataclasses.asdict(Asked()), **GALLERY}
_FREE = ("size", "extra")  # fields that take what is typed, too
KEPT = (*(name for name in FIELDS if name != "plan"), *GALLERY)  # what the fields hold again after a reload


def fill_fields(desk: Desk, whose: str, *values: Any) -> list[Any]:
    """Returns the id of the desk's character, then an update for each field in KEPT.

    KEPT names the fields whose values are stored for each character. `values` are what these fields show now, and
    `whose` is the id of the character that the shown values belong to, "" for none. If that is not the desk's
    character, the values stored for the desk's character are filled in. Otherwise what was typed stays; only the
    choices of the drop-downs are renewed.
    """
    fresh = whose != desk.id
    held = kept_fields(desk) if fresh else dict(zip(KEPT, values, strict=True))
    choices = field_choices(desk, held["version"])
    as_left = [held[name] if fresh else gr.skip() for name in KEPT]
    return [desk.id, *(_choice(choices, name, held[name], left) for name, left in zip(KEPT, as_left, strict=True))]


def put_back(desk: Desk, asked: Asked, untouched: Sequence[str]) -> list[Any]:
    """Stores the settings of an earlier picture as the values of the fields; returns an update for each field.

    `asked` holds these settings. Fields named in `untouched` keep their value, on the page and in the store. A tab that
    was not opened yet shows the stored values when it opens.
    """
    values = dataclasses.asdict(asked)
    told = {name: values[name] for name in KEPT if name in values and name not in untouched}
    generate.keep_fields(desk, json.dumps({**kept_fields(desk), **told}))
    choices = field_choices(desk, asked.version)
    return [gr.skip() if name in untouched else _choice(choices, name, values[name], values[name]) for name in FIELDS]


def field_choices(desk: Desk, version: str | None) -> Mapping[str, list[tuple[str, str]]]:
    """Returns the (label, value) choices of each drop-down, by field name.

    `version` is the value of the version field: a version's id, or one of the choices for the version in use and the
    base model. The listed sizes are those of the model of that version.
    """
    store, usual = desk.store, version_choices(desk)
    known = version in [value for _, value in usual]
    named = [(each.name, each.id) for each in versions(store)]
    return {
        "version": usual,
        "against": [("nothing", ""), *usual, *checkpoint_choices(desk)],
        "size": size_choices(generate.model_spec(desk, version_id(store, version) if known else "")),
        "extra": [("none", ""), *named],
        "only": [("every version", EVERY), *named, ("base model", BASE)],
    }


def _choice(choices: Mapping[str, list[tuple[str, str]]], name: str, value: Any, otherwise: Any) -> Any:
    """Returns the update of a drop-down: its choices, and `value`, or its default where they lack that value.

    For a field without choices returns `otherwise`.
    """
    if name not in choices:
        return otherwise
    there = name in _FREE or value in [each for _, each in choices[name]]
    return gr.update(choices=choices[name], value=(value or "") if there else _DEFAULTS[name])


def kept_fields(desk: Desk) -> dict[str, Any]:
    """Returns by field name the values that were last stored for this character.

    Where none were stored, they are defaults, with a sample prompt, and a seed that differs from character to
    character.
    """
    character = desk.store.character
    words = f"{character.trigger} {character.subject}, smiling, front view"
    first = {**dataclasses.asdict(Asked(prompt=words, seed=seed_of(character.id, words, 0))), **GALLERY}
    told = json.loads(generate.fields(desk) or "{}")
    return {name: told.get(name, first[name]) for name in KEPT}


def keep_fields(desk: Desk, whose: str, *values: Any) -> None:
    """Stores `values`, those of the fields in KEPT, for the desk's character.

    `whose` is the id of the character for whom the values were entered; if it is another one, nothing is stored.
    """
    if whose == desk.id:
        generate.keep_fields(desk, json.dumps(dict(zip(KEPT, values, strict=True))))


def size_choices(spec: ModelSpec) -> list[tuple[str, str]]:
    """Returns a model's usual picture sizes as (label, value) choices; the value "" means the model's own size."""
    own = spec.params(GenerateParams)
    shapes = [(f"{name} · {width} × {height}", f"{width} × {height}") for name, width, height in generate.sizes(spec)]
    return [(f"its own · {own.width} × {own.height}", ""), *shapes]


def read_size(text: str | None) -> dict[str, int]:
    """Returns the size in a text such as `832 × 1216` as a dict with `width` and `height`.

    The dict is empty for "" and None. Raises: BadInput for a text without a size.
    """
    if not (text or "").strip():
        return {}
    found = _SIZE.search(str(text))
    if not found:
        raise BadInput(f"The size cannot be {str(text)[:40]!r}.", "Type width × height, such as 832 × 1216.")
    return {"width": int(found[1]), "height": int(found[2])}


def draw_plan(desk: Desk, planned: str, *values: Any) -> list[Any]:
    """Returns updates that show the fields for the chosen kind of prompts and list new scenes for the user to tick.

    A scene is a prompt with a seed. The updates are, in order: a key that identifies the listed scenes; the visibility
    of the prompt, of the negative prompt and of the list of scenes; that list. `values` are those of the fields in
    FIELDS, `planned` is the key that the last call returned. If the new key is the same, the list and its ticks stay;
    else the scenes are listed anew, all of them ticked.
    """
    asked = Asked(*values)
    chosen = version_id(desk.store, asked.version)
    own = asked.what == OWN
    columns = [
        gr.update(visible=True if each else "hidden")
        for each in (own, generate.model_spec(desk, chosen).true_guidance, not own)
    ]
    if own:
        return ["", *columns, gr.skip()]
    try:
        items = scenes(desk, asked)
    except UserError:  # the cost says what is wrong
        return ["", *columns, gr.update(choices=[], value=[])]
    listed = [(item.prompt, str(item.seed)) for item in items]
    now = hashlib.sha256(json.dumps([desk.id, chosen, listed]).encode()).hexdigest()[:16]
    if now == planned:
        return [planned, *columns, gr.skip()]
    return [now, *columns, gr.update(choices=listed, value=[seed for _, seed in listed])]


def take_new_seed(desk: Desk) -> tuple[int, bool]:
    """Returns a random seed for the seed field, and False, which unticks “Keep this seed”.

    While it is not ticked, the field gets a new seed after each queued job.
    """
    return generate.random_seed(), False


def take_last_seed(desk: Desk) -> tuple[int, bool]:
    """Returns the first seed of the newest generation job, and True, which ticks “Keep this seed”.

    Raises: BadInput where there is no such job.
    """
    jobs = jobs_of(desk, "generate")
    if not jobs:
        raise BadInput("Nothing was drawn yet, so there is no seed to draw again.", "Generate pictures first.")
    return GenerateParams.kept(DrawPayload.of(jobs[0]).items[0]).seed, True


def scenes(desk: Desk, asked: Asked, **knobs: Any) -> list[GenerateParams]:
    """Returns the generation parameters of new scenes, one for each picture that the fields ask for.

    A scene is a prompt that the studio composes, with a seed of its own. With “Card gaps” as `asked.what`, the scenes
    show what failed on the model card, the evaluation grid. `knobs` are generation parameters by name that replace the
    model's defaults. Raises: BadInput for a value that cannot be used.
    """
    chosen = version_id(desk.store, asked.version)
    aims = card.missed(desk, chosen) if asked.what == GAPS else ()
    return generate.scene_items(desk, _count(asked), chosen, seed=int(asked.seed or 0), aims=aims, **knobs)


def _count(asked: Asked) -> int:
    return 1 if asked.count is None else int(asked.count)


def drawings(desk: Desk, asked: Asked) -> list[Drawing]:
    """Returns what to generate, as one `Drawing` for each version: the pictures' parameters and the version's id.

    The first is for the version `asked.version`. A second one follows only where `asked.against` names a version to
    compare with; it has the same prompts and seeds. Nothing is queued. Raises: BadInput for a value that cannot be
    used, without a ticked scene, and for the same version twice; NotFound for a missing LoRA.
    """
    store, chosen = desk.store, version_id(desk.store, asked.version)
    values = [getattr(asked, knob.name) for row in KNOBS for knob in row]
    knobs: dict[str, Any] = {**given(KNOBS, values), **read_size(asked.size)}
    weight = 1.0 if asked.extra_weight is None else float(asked.extra_weight)
    second = chosen_lora(store, str(asked.extra or ""), weight, asked.extra_sure)

    def drawn_with(choice: str | None, items: Sequence[GenerateParams] | None = None) -> Drawing:
        version = version_id(store, choice)
        spec = generate.model_spec(desk, version)
        more = {**knobs, "loras": [*second, *checkpoint_lora(store, choice, asked.strength)]}
        if version and asked.strength != 1:
            more["strength"] = float(asked.strength)
        if spec.true_guidance and asked.negative.strip():
            more["negative"] = asked.negative.strip()
        if items is not None:
            return Drawing([spec.params(GenerateParams, prompt=i.prompt, seed=i.seed, **more) for i in items], version)
        if asked.what == OWN:
            seed = int(asked.seed or 0)
            return Drawing(
                generate.prompt_items(desk, [asked.prompt.strip()], _count(asked), version, seed=seed, **more), version
            )
        ticked = [item for item in scenes(desk, asked, **more) if str(item.seed) in asked.plan]
        if not ticked:
            raise BadInput("No scene is ticked.", "Tick at least one of those in the list.")
        return Drawing(ticked, version)

    first = drawn_with(asked.version)
    if not asked.against:
        return [first]
    other = drawn_with(asked.against, first.items)
    if (other.version, other.items[0].loras) == (chosen, first.items[0].loras):
        raise BadInput("Both sides are drawn by the same version.", "Choose another one to compare with.")
    return [first, other]
