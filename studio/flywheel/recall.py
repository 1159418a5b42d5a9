"""Recalls what was drawn earlier: prompts, the settings that a picture was drawn with, and pictures to compare.

Two pictures are comparable where only the LoRAs differ: the model, the words, the seed and all settings are equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engines.api.errors import BadInput, NotFound, UserError
from engines.api.params import EditParams, GenerateParams, LoraUse, kinds
from engines.api.values import shortened, shown, taken
from engines.infotext import Told
from engines.metadata.picture_text import texts_of, told_in
from engines.pictures import decode
from studio.flywheel import generate
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind
from studio.records.payload import DrawPayload
from studio.records.version import Version
from studio.store import Store
from studio.store.lora_names import version_lora_name
from studio.store.pictures import MOST_BYTES, PROVENANCE
from studio.workplace.desk import Desk

_DRAWN: Final = GenerateParams.__name__
_EDITED: Final = EditParams.__name__
_ENOUGH: Final = 30  # earlier prompts that are listed
_LATEST: Final = 400  # pictures among which comparable ones are looked for
_KEYS: Final[Mapping[str, str]] = {"Steps": "steps", "Seed": "seed", "First block cache": "first_block_cache"}
_SILENT: Final = (  # keys that are read elsewhere, or say nothing that could be set
    "Version", "Lora hashes", "Model hash", "Size", "CFG scale", "Distilled CFG Scale", "Sampler", "Model",
)  # fmt: skip
_EULER: Final = "euler"
_MOST_DIGITS: Final = 6  # of a side that is a size in pixels


@dataclass(frozen=True)
class Recalled:
    """Holds the settings that a picture was drawn with, as far as this studio can use them.

    `version` is the id of a LoRA version, "" for the base model. `lost` holds one text for each setting that is not
    available here or was replaced.
    """

    params: GenerateParams
    version: str = ""
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Earlier:
    """Holds a prompt that was used earlier: the newest picture drawn with it, and how many were drawn with it."""

    prompt: str
    image: ImageRecord
    count: int


@dataclass(frozen=True)
class Shot:
    """Holds one picture of a comparison, and the name of the version and LoRAs that draw it.

    `image` is None while a queued job has not drawn the picture yet.
    """

    drawn_by: str
    image: ImageRecord | None


@dataclass(frozen=True)
class SideBySide:
    """Holds pictures to compare, which differ only in the LoRAs: model, prompt, seed and all settings are equal."""

    prompt: str
    seed: int
    shots: tuple[Shot, ...]


@dataclass
class _Said:
    """What a picture or its file says, name by name, and what could not be used of it so far."""

    params: Mapping[str, object]
    version: str = ""
    model: str = ""
    lost: list[str] = field(default_factory=list)


# ── settings of one picture ─────────────────────────────────────────────────────────────────────


def of_picture(desk: Desk, image_id: str) -> Recalled:
    """Returns the settings that a picture of this character was drawn with, to draw with them again.

    Raises: NotFound; BadInput for an edit, or a picture whose file carries no settings.
    """
    store = desk.store
    record = store.images.get(image_id)
    if record.params_kind == _EDITED:
        raise BadInput("This picture is an edit, not a drawing.", "Its words and settings are in Enrich.")
    if record.params_kind != _DRAWN:
        return of_file(desk, store.path(image_id))
    said = _Said(record.params, record.version, record.model)
    trained = store.versions.find(job=record.job) if record.kind is Kind.PREVIEW else []
    if trained:
        came = next((each for each in reversed(trained) if not each.trashed), trained[-1])
        said.version = came.id
        said.lost.append(f"the checkpoint that drew it; {came.name} came of that training")
    return _fitted(desk, said)


def of_file(desk: Desk, file: Path) -> Recalled:
    """Returns the settings that a picture's file carries, as this studio or one of `picture_text.FORMS` writes them.

    Raises: NotFound for a missing file; BadInput for a file that is no picture or an edit, or carries no settings.
    """
    if not file.is_file():
        raise NotFound(f"{file.name} is not there.", "Drop the picture again.")
    if file.stat().st_size > MOST_BYTES:
        raise BadInput(f"{file.name} is larger than {MOST_BYTES >> 20} MiB.", "Drop the PNG as it was drawn.")
    texts = texts_of(decode(file.read_bytes(), file.name))
    try:
        told = json.loads(texts.get(PROVENANCE, "{}"))
        ours: Mapping[str, object] = told if isinstance(told, dict) else {}
    except (ValueError, RecursionError):
        ours = {}
    if ours.get("params_kind") == _EDITED:
        raise BadInput(f"{file.name} is an edit, not a drawing.", "Its words and settings are shown in Enrich.")
    params = ours.get("params")
    if ours.get("params_kind") == _DRAWN and isinstance(params, Mapping):
        return _fitted(desk, _Said(params, str(ours.get("version", "")), str(ours.get("model", ""))))
    found = told_in(texts)
    if found is not None:
        return _fitted(desk, _foreign(desk, found))
    if "workflow" in texts or "prompt" in texts:
        raise BadInput(
            f"{file.name} carries a ComfyUI workflow in which no prompt leads to a sampler.",
            "Copy its prompt by hand, or save it with a node that writes `parameters`.",
        )
    raise BadInput(
        f"{file.name} carries no settings.", "Drop the file as it was drawn: editors and chat programs remove them."
    )


def _foreign(desk: Desk, told: Told) -> _Said:
    """Translates the settings of other programs; a LoRA of the name under which a version is exported is that one."""
    store, pairs = desk.store, told.pairs
    adopted = store.adopted(Role.CHARACTER)
    known = {version_lora_name(store.character.trigger, each): each for each in _versions(store)}
    mine = next((lora for lora in told.loras if lora.name in known), None)
    version = known[mine.name] if mine else adopted
    values: dict[str, object] = {**told.words()}
    values |= {name: _figure(pairs[key]) for key, name in _KEYS.items() if key in pairs}
    width, _, height = pairs.get("Size", "").partition("x")
    if all(side.isdecimal() and len(side) <= _MOST_DIGITS for side in (width, height)):
        values |= {"width": int(width), "height": int(height)}
    if mine:
        values["strength"] = mine.weight
    said = _Said(values, version.id if version else "", pairs.get("Model", ""))
    spec = generate.model_spec(desk, said.version)
    key = "CFG scale" if spec.true_guidance else "Distilled CFG Scale"
    if key in pairs:
        values["guidance"] = _figure(pairs[key])
    elif pairs.get("CFG scale", "1") not in ("1", "1.0"):
        said.lost.append(f"CFG scale {shortened(pairs['CFG scale'])}: {spec.label} has a guidance of another kind")
    if pairs.get("Sampler", _EULER).lower() != _EULER:
        said.lost.append(f"sampler {shortened(pairs['Sampler'])}: drawing here is always Euler")
    said.lost += [
        f"LoRA {shortened(lora.name)}: give its file as the second LoRA" for lora in told.loras if lora is not mine
    ]
    unused = [each for each in pairs if each not in _KEYS and each not in _SILENT]
    said.lost += [f"not used here: {', '.join(unused)}"] if unused else []
    return said


def _figure(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _fitted(desk: Desk, said: _Said) -> Recalled:
    """Returns what can be set here and now of what a picture says; everything else is named in `lost`."""
    store, lost = desk.store, list(said.lost)
    version = store.versions.peek(said.version)
    lack = "this character does not have it"
    if version is not None and version.role is Role.CHARACTER:
        lack = f"{version.name} is in the trash" if version.trashed else ""
    if said.version and lack:
        version = store.adopted(Role.CHARACTER)
        lost.append(f"its version: {lack}, so the one in use is chosen")
    chosen = version.id if version else ""
    spec = generate.model_spec(desk, chosen)
    if said.model not in ("", spec.name):
        lost.append(f"the model {shortened(said.model)}: {spec.label} draws here")
    allowed, values = kinds(GenerateParams), {}
    for name, value in said.params.items():
        try:
            if name in allowed and name != "loras":
                values[name] = taken(name, value, allowed[name])
        except BadInput:
            lost.append(f"{name} {shown(value)}")
    values["loras"] = tuple(_found_loras(store, said.params.get("loras"), lost))
    params = spec.params(GenerateParams, **values)
    if params.avoided and not spec.true_guidance:
        lost.append(f"the negative prompt: {spec.label} takes none")
        params = params.without_avoided()
    width, height = generate.nearest_size(spec, params.width, params.height)
    if (width, height) != (params.width, params.height):
        lost.append(f"the size {params.width} × {params.height}: {width} × {height} is the nearest that fits")
        params = params.replace(width=width, height=height)
    return Recalled(params, chosen, tuple(lost))


def _found_loras(store: Store, stack: object, lost: list[str]) -> Iterator[LoraUse]:
    """Yields the LoRAs of a stack whose files are here; an adapter of a version is found by its name, too."""
    try:
        uses = LoraUse.stack(stack)
    except BadInput:
        lost.append("its LoRA files: they are not written in a form that can be read")
        return
    for use in uses:
        name = Path(use.file.replace("\\", "/"))
        version = store.versions.peek(name.stem)
        try:
            yield (
                use
                if Path(use.file).is_file()
                else LoraUse(file=str(store.adapter_path(version.id if version else "")), weight=use.weight)
            )
        except UserError:
            lost.append(f"the LoRA {shortened(name.name)}: its file is not on this machine")


# ── earlier prompts, and pictures to compare ────────────────────────────────────────────────────


def prompts(store: Store, most: int = _ENOUGH) -> list[Earlier]:
    """Returns at most `most` distinct prompts with which pictures were drawn, the last used first."""
    found: dict[str, Earlier] = {}
    for image in reversed(store.select(Kind.SYNTHETIC)):
        words = str(image.params.get("prompt", "")).strip()
        if words and image.params_kind == _DRAWN:
            before = found.get(words)
            found[words] = Earlier(words, before.image if before else image, before.count + 1 if before else 1)
    return list(found.values())[:most]


def side_by_side(desk: Desk) -> list[SideBySide]:
    """Returns groups of pictures of one model that differ only in their LoRAs, the one with the newest picture first.

    Pictures that queued jobs will draw are included, without an image yet. A group has at least two pictures.
    """
    store = desk.store
    found: list[tuple[str, str, GenerateParams, ImageRecord | None]] = [
        (image.model, image.version, GenerateParams.kept(image.params), image)
        for image in store.select(Kind.SYNTHETIC)[-_LATEST:]
        if image.params_kind == _DRAWN
    ]
    for job in desk.workplace.jobs.list(desk.id):
        if job.kind == "generate" and job.state.is_under_way:
            asked = DrawPayload.of(job)
            found += [(asked.model, asked.version or "", GenerateParams.kept(item), None) for item in asked.items]
    groups: dict[tuple[str, GenerateParams], dict[str, ImageRecord | None]] = {}
    for model, version, params, image in found:
        key = model, params.replace(loras=(), strength=1.0)
        groups[key] = shots = groups.pop(key, {})  # the last group is the one that was drawn to last
        name = drawn_by(store, version, params)
        shots[name] = image or shots.get(name)
    return [
        SideBySide(words.prompt, words.seed, tuple(Shot(name, image) for name, image in shots.items()))
        for (_, words), shots in reversed(groups.items())
        if len(shots) > 1
    ]


def drawn_by(store: Store, version: str, params: GenerateParams) -> str:
    """Returns the names of the version and LoRAs that drew a picture, such as `v2 × 0.8` or `v2 + film.safetensors`.

    `version` is the version's id, "" for the base model; `params` are the picture's parameters. Without any LoRA the
    result is `base model`.
    """
    found = store.versions.peek(version)
    strong = f" × {params.strength:g}" if version and params.strength != 1 else ""
    names = [f"{found.name if found else 'a former version'}{strong}"] if version else []
    for use in params.loras:
        names.append(f"{lora_name(store, use.file)}{f' × {use.weight:g}' if use.weight != 1 else ''}")
    return " + ".join(names) or "base model"


def lora_name(store: Store, file: str) -> str:
    """Returns the name of a LoRA for the page, given the path of its file.

    For the file of a character version it is the version's name, for the file of a checkpoint the version's name and
    the step, and for any other file the file name.
    """
    path = Path(file)
    for each in _versions(store):
        if path.name == Path(each.adapter).name:
            return each.name
        for checkpoint in each.checkpoints:
            if store.folder / checkpoint.adapter == path:
                return f"{each.name} step {checkpoint.step}"
    return path.name


def _versions(store: Store) -> list[Version]:
    return store.versions.find(role=Role.CHARACTER)
