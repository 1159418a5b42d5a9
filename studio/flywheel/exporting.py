"""What a character owns as others want it: pictures for other trainers, a version for the Hugging Face hub."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from PIL import Image

from engines.api import Json, TrainParams
from engines.crops import Crop, cut
from engines.errors import BadInput
from studio.flywheel import runs
from studio.flywheel.layouts import LAYOUTS, Folder, Layout
from studio.nouns import ImageRecord, Role, Version
from studio.pictures import decode, to_png

if TYPE_CHECKING:
    from pathlib import Path

    from studio.store import Store
    from studio.studio import Studio

HUB = "hub"
_WEIGHTS = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for
_SHOWN = 4
_PIPELINE = {Role.CHARACTER: "text-to-image", Role.EDITOR: "image-to-image"}


def export_dataset(studio: Studio, character_id: str, layout: str, role: Role, entries: Sequence[Json]) -> Path:
    """A zip of pictures, captions, masks and the trainer's own description of them; whole or not there.

    Where one picture has a mask all have, white for all of it: some trainers refuse a folder in which one is missing.
    Raises: BadInput for an unknown layout, an empty dataset, or edits in a layout that has no place for references.
    """
    if layout not in LAYOUTS:
        raise BadInput(f"There is no layout named {layout}.", f"Known: {', '.join(LAYOUTS)}.")
    form = LAYOUTS[layout]
    if not entries:
        raise BadInput("There are no pictures to save.", "Import some in Curate, or approve some in Review.")
    if any(entry.get("references") for entry in entries) and not form.references:
        usable = ", ".join(name for name, each in LAYOUTS.items() if each.references)
        raise BadInput(f"{layout} has no place for the pictures that edits start from.", f"Choose one of: {usable}.")
    store = studio.store(character_id)
    spec = studio.registry.spec(store.character.generator if role is Role.CHARACTER else store.character.editor)
    words = re.sub(r"[^\w-]+", "_", f"{store.character.trigger}-{role.value}-{layout}")
    target = store.run_dir("exports") / f"{words}.zip"
    part = target.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed already
        folders = _write_pictures(archive, store, form, entries)
        for name, text in form.describe(folders, spec.params(TrainParams, resolution=max(spec.size))).items():
            archive.writestr(name, text)
    part.replace(target)
    return target


def export_version(studio: Studio, character_id: str, version_id: str, form: str) -> Path:
    """A version's LoRA in another tool's form, or as a whole repository for the hub.

    Raises: NotFound, BadInput for an unknown form, LoraMismatch.
    """
    write = export_hub if form == HUB else partial(runs.export, form=form)
    return write(studio, character_id, version_id)


def export_hub(studio: Studio, character_id: str, version_id: str) -> Path:
    """A zip to upload as a Hugging Face repository: LoRA, model card, previews with their prompts; whole or not there.

    Raises: NotFound, LoraMismatch.
    """
    store = studio.store(character_id)
    version = store.versions.get(version_id)
    previews = [store.images.get(each.image) for each in runs.progress(studio, version.job).samples]
    last = [each for each in previews if each.params.get("prompt")][-_SHOWN:]
    lora = runs.export(studio, character_id, version_id)
    target = lora.with_name(lora.stem + "-hub.zip")
    part = target.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        archive.write(lora, _WEIGHTS)
        for number, image in enumerate(last):
            _put(archive, store.path(image.id), f"images/{number}")
        archive.writestr("README.md", _model_card(studio, store, version, last))
    part.replace(target)
    return target


def _model_card(studio: Studio, store: Store, version: Version, previews: Sequence[ImageRecord]) -> str:
    """The hub's card: its YAML header, whose values are written as JSON, then words for people.

    Source: huggingface/hub-docs modelcard.md, and diffusers' own LoRA scripts.
    """
    spec, character = studio.registry.spec(version.model), store.character
    apache = spec.licence == "Apache-2.0"
    images = [f"images/{number}{store.path(image.id).suffix}" for number, image in enumerate(previews)]
    header = {
        "tags": [spec.family, "lora", "diffusers", _PIPELINE[version.role]],
        "license": "apache-2.0" if apache else "other",
        **({} if apache else {"license_name": spec.licence}),
        **({} if spec.source.startswith("assets:") else {"base_model": spec.source}),
        "instance_prompt": f"{character.trigger} {character.subject}",
        "widget": [
            {"text": each.params["prompt"], "output": {"url": url}} for each, url in zip(previews, images, strict=True)
        ],
    }
    yaml = "\n".join(f"{name}: {json.dumps(value)}" for name, value in header.items())
    figures = version.metrics
    params = version.params
    return (
        f"---\n{yaml}\n---\n\n# {character.name}, {version.name}\n\n"
        f"A LoRA of {spec.label}, trained with FLENwheel on {figures.get('pictures', '?')} pictures, "
        f"{figures.get('real_share', 0):.0%} of what it saw being originals.\n\n"
        f"Say `{character.trigger} {character.subject}` in the prompt.\n\n"
        f"| steps | rank | alpha | learning rate | batch | resolution |\n|---|---|---|---|---|---|\n"
        f"| {figures.get('steps', '?')} | {params['rank']} | {params['alpha']:g} | {params['learning_rate']:g} "
        f"| {params['batch_size']} | {params['resolution']} |\n\n"
        f"```python\npipeline.load_lora_weights(\"this repository\", weight_name=\"{_WEIGHTS}\")\n```\n"
        + "".join(f"\n![{image.params['prompt']}]({url})\n" for image, url in zip(previews, images, strict=True))
    )


def _write_pictures(archive: zipfile.ZipFile, store: Store, form: Layout, entries: Sequence[Json]) -> list[Folder]:
    """Each entry's picture, words and reference under one stem; the folders that they went to, in order."""
    folders: dict[int, Folder] = {}
    masked = any(entry.get("mask") for entry in entries)
    for number, entry in enumerate(entries, 1):
        repeats = int(entry.get("repeats", 1))
        name = form.folder(repeats, store.character.trigger)
        reference, crop = next(iter(entry.get("references", ())), None), tuple(entry.get("crop", ()))
        stem = f"{number:04d}"
        mask = form.mask.format(folder=name, stem=stem) if masked else ""
        references = f"{name}-control" if reference else ""
        folder = folders.setdefault(repeats, Folder(name, references, repeats, mask.rpartition("/")[0]))
        _put_cut(archive, store, entry["image"], crop, f"{folder.name}/{stem}")
        archive.writestr(f"{folder.name}/{stem}.txt", entry["caption"] + "\n")
        if mask:
            archive.writestr(mask, to_png(_mask_of(store, entry, crop)))
        if reference:
            _put_cut(archive, store, reference, crop, f"{folder.references}/{stem}")
    return list(folders.values())


def _mask_of(store: Store, entry: Json, crop: Crop) -> Image.Image:
    """What of the part that is trained counts, in grey."""
    if entry.get("mask"):
        return cut(decode(store.file(entry["mask"]).read_bytes(), entry["mask"]).convert("L"), crop)
    image = store.images.get(entry["image"])
    return cut(Image.new("L", (image.width, image.height), 255), crop)


def _put_cut(archive: zipfile.ZipFile, store: Store, image: str, crop: Crop, stem: str) -> None:
    """The part that is trained, as no other trainer knows crops; a whole picture keeps its bytes."""
    if crop:
        archive.writestr(f"{stem}.png", to_png(cut(store.open_image(image), crop)))
    else:
        _put(archive, store.path(image), stem)


def _put(archive: zipfile.ZipFile, file: Path, stem: str) -> None:
    archive.write(file, stem + file.suffix)
