"""Exports a character's data: pictures for other trainers, and versions for other tools and the Hugging Face hub."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

from PIL import Image

from engines.api.crops import Crop, cut
from engines.api.errors import BadInput
from engines.api.params import PIPELINE_ARGUMENTS, EditParams, GenerateParams, TrainParams
from engines.api.protocols import ModelSpec
from engines.pictures import decode, is_plain, open_picture, to_grey, to_rgb
from studio.flywheel.export.layouts import LAYOUTS, RELATIVE, Folder, Layout, plain_name
from studio.flywheel.train import runs
from studio.records.dataset import Entry, Role
from studio.records.image import ImageRecord
from studio.records.lora import BegunWith
from studio.records.version import Version
from studio.store import Store
from studio.store.durable import written_aside
from studio.store.lora_names import as_it_leaves
from studio.store.pictures import to_png
from studio.workplace.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path

HUB = "hub"
FORMS = ("diffusers", "kohya", "comfyui", HUB)  # formats of a LoRA's file
_WEIGHTS = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for
_SHOWN = 4
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_APACHE = "Apache-2.0"
_LOADED = ("loras",)  # parameters that the published LoRA replaces


_SOURCES = {"assets": "assets/{place}", "folder": "{name}"}  # scheme of a row's source -> its name in the code


@dataclass(frozen=True)
class _Face:
    """The texts and values in which the model card of a version depends on its role."""

    task: str  # the hub's name of the task
    params: type[GenerateParams] | type[EditParams]  # the class of a preview's parameters
    instance: str  # the prompt for the trained subject; "" where there is none
    title: str
    about: str
    imports: str  # further import lines of the code
    given: str  # the pipeline's arguments beside its parameters; `picture` is the file to edit
    saved: str


_FACES = {
    Role.CHARACTER: _Face(
        "text-to-image",
        GenerateParams,
        "{said}",
        "{name}, {version}",
        "A LoRA of {label}, trained with FLENwheel on {pictures} pictures, {real_share} of what it saw being "
        "originals.\n\nSay `{said}` in the prompt.",
        imports="",
        given="",
        saved="drawn.png",
    ),
    Role.EDITOR: _Face(
        "image-to-image",
        EditParams,
        "",
        "Edits of {name}, {version}",
        "A LoRA of {label}, trained with FLENwheel on {pictures} edits that a human approved or corrected.\n\n"
        "Give it a picture and say what to change; no word is needed to call it.",
        imports="from diffusers.utils import load_image\n",
        given="    image=load_image({picture}),  # the picture to change\n",
        saved="edited.png",
    ),
}


def export_dataset(desk: Desk, layout: str, role: Role, entries: Sequence[Entry]) -> Path:
    """Writes a training set as a zip that another trainer reads, and returns the zip's path.

    `layout` is a name in LAYOUTS. `role` says whose training set the `entries` are: the character's or the editor's.
    The zip holds pictures, captions, masks and the trainer's configuration files, and replaces an older zip only once
    it is complete. Where one picture has a mask, all get one, an entirely white one if need be, because some trainers
    refuse a folder with a missing mask.

    Raises: BadInput for an unknown layout, an empty training set, or edits in a layout that has no place for their
    source pictures.
    """
    if layout not in LAYOUTS:
        raise BadInput(f"There is no layout named {layout}.", f"Known: {', '.join(LAYOUTS)}.")
    form = LAYOUTS[layout]
    if not entries:
        raise BadInput("There are no pictures to save.", "Import some in Curate, or approve some in Review.")
    if any(entry.references for entry in entries) and not form.references:
        usable = ", ".join(name for name, each in LAYOUTS.items() if each.references)
        raise BadInput(f"{layout} has no place for the pictures that edits start from.", f"Choose one of: {usable}.")
    store = desk.store
    spec = desk.workplace.registry.spec(store.character.generator if role is Role.CHARACTER else store.character.editor)
    name = plain_name(store.character.trigger)
    target = store.run_dir("exports") / f"{name}-{role.value}-{layout}.zip"
    with _archive(target) as archive:
        folders = _write_pictures(archive, store, form, entries)
        for name, text in form.describe(folders, spec.params(TrainParams, resolution=max(spec.size))).items():
            archive.writestr(name, text)
    return target


def remarks(layout: str, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Returns sentences for the user about a training set that is exported in `layout`, a name in LAYOUTS.

    They tell which pictures leave without words, and where the trainer has to be started.
    """
    bare, said = sum(not entry.worded for entry in entries), []
    if bare:
        said.append(f"{bare} of {len(entries)} pictures have no caption: their .txt files are empty.")
    if layout in RELATIVE:
        said.append(f"Paths in {RELATIVE[layout]} are relative: start the trainer in the unpacked folder.")
    return tuple(said)


def export_version(desk: Desk, version_id: str, form: str) -> Path:
    """Writes a version's LoRA in the format `form`, and returns the path of the file.

    `form` is one of FORMS: the file format of another tool, or a zip for the Hugging Face hub. Raises: NotFound,
    BadInput for an unknown format, LoraMismatch.
    """
    if form not in FORMS:  # checked here, because the engine that also checks it takes seconds to load
        raise BadInput(f"There is no LoRA form named {form}.", f"Choose one of: {', '.join(FORMS)}.")
    write = export_hub if form == HUB else partial(runs.export, form=form)
    return write(desk, version_id)


def export_hub(desk: Desk, version_id: str) -> Path:
    """Writes a version as a zip to upload as a Hugging Face repository, and returns the zip's path.

    The zip holds the LoRA, a README.md that is the hub's model card, and previews with their prompts. It replaces an
    older zip only once it is complete. Raises: NotFound, LoraMismatch.
    """
    store = desk.store
    version = store.versions.get(version_id)
    shown = previews(desk, version)
    lora = runs.export(desk, version_id)
    target = lora.with_name(lora.stem + "-hub.zip")
    with _archive(target) as archive:
        archive.write(lora, _WEIGHTS)
        for number, image in enumerate(shown.pictures):
            archive.writestr(f"images/{number}{store.path(image.id).suffix}", as_it_leaves(store.path(image.id)))
        archive.writestr("README.md", _model_card(desk, version, shown))
    return target


@contextmanager
def _archive(target: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a new zip that replaces the target once it is complete; several writers may write at once.

    Raises: UserError.
    """
    with written_aside(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        yield archive  # not compressed, because the pictures are compressed already


@dataclass(frozen=True)
class Shown:
    """The previews that represent a version, and the step after which they were drawn; 0 without previews."""

    step: int
    pictures: tuple[ImageRecord, ...]


def previews(desk: Desk, version: Version) -> Shown:
    """Returns the previews of the version's last step, or of the nearest earlier step that has some.

    Previews of step 0 are left out, because they were drawn without a trained LoRA; so are those in the trash, whose
    files may be deleted.
    """
    kept = version.checkpoints[-1].step if version.checkpoints else version.metrics.steps or 0
    samples = runs.progress(desk.workplace, version.job).samples
    drawn = [(each.step, desk.store.images.get(each.image)) for each in samples if 0 < each.step <= kept]
    there = [(step, image) for step, image in drawn if not image.trashed]
    step = max((step for step, _ in there), default=0)
    told = [image for at, image in there if at == step]
    return Shown(step, tuple(each for each in told if _words(version.role, each))[:_SHOWN])


def _words(role: Role, preview: ImageRecord) -> str:
    return _FACES[role].params.kept(preview.params).headline()


def _model_card(desk: Desk, version: Version, shown: Shown) -> str:
    """Returns the hub's model card: its YAML header, with values written as JSON, then the text.

    Sources: huggingface/hub-docs modelcard.md, and the LoRA scripts of diffusers.
    """
    spec, character, face = desk.workplace.registry.spec(version.model), desk.store.character, _FACES[version.role]
    images = [f"images/{number}{desk.store.path(each.id).suffix}" for number, each in enumerate(shown.pictures)]
    words = [_words(version.role, each) for each in shown.pictures]
    facts = {
        "name": character.name,
        "version": version.name,
        "label": spec.label,
        "said": " ".join(f"{character.trigger} {character.subject}".split()),
        "pictures": "?" if version.metrics.pictures is None else version.metrics.pictures,
        "real_share": "?" if version.metrics.real_share is None else f"{version.metrics.real_share:.0%}",
    }
    instance = face.instance.format(**facts)
    begun = version.begun
    header = _header(spec, version.role, instance, list(zip(words, images, strict=True)), begun)
    origin = (
        f"It was trained on from the LoRA {begun.name} (licence: {begun.licence}), which holds for it too.\n\n"
        if begun
        else ""
    )
    told = "\n".join(f"{name}: {_yaml(value)}" for name, value in header.items())
    drawn = shown.pictures[0].params if shown.pictures else {}
    said = instance or desk.store.datasets.get(version.dataset).entries[0].caption
    code = snippet(spec, version.role, drawn, said, images[0] if images else "picture.png")
    steps = version.metrics.steps or shown.step
    if not shown.pictures:
        told_of = "There are no previews of this LoRA."
    elif steps == shown.step:
        told_of = f"Drawn at step {shown.step}, by the LoRA that is here."
    else:
        told_of = f"Drawn at step {shown.step}; the LoRA that is here is of step {steps}."
    return (
        f"---\n{told}\n---\n\n# {face.title.format(**facts)}\n\n{face.about.format(**facts)}\n\n"
        f"{origin}{_figures(version)}\n\nIn the folder of this repository:\n\n```python\n{code}```\n\n"
        f"{told_of}\n" + "".join(f"\n![{text}]({url})\n\n{text}\n" for text, url in zip(words, images, strict=True))
    )


def _yaml(value: Any) -> str:
    """Returns a value as JSON that is valid YAML: characters that YAML calls unprintable are escaped."""
    return _UNPRINTABLE.sub(lambda each: f"\\u{ord(each[0]):04x}", json.dumps(value, ensure_ascii=False))


def _header(
    spec: ModelSpec, role: Role, instance: str, widget: Sequence[tuple[str, str]], begun: BegunWith | None = None
) -> Mapping[str, object]:
    """Returns the values of the model card's header, which the hub's search and gallery read.

    `begun` is the LoRA of the library that the training began with, whose licence is told beside the model's.
    """
    licences = " + ".join(dict.fromkeys([spec.licence, *([begun.licence] if begun else [])]))
    licence = re.sub(r"[^a-z0-9]+", "-", licences.lower()).strip("-")
    of_the_hub = ":" not in spec.source
    link = {"license_link": f"https://huggingface.co/{spec.source}/blob/main/LICENSE.md"} if of_the_hub else {}
    other = {"license": "other", "license_name": f"{licence}-license", **link}
    return {
        "tags": [spec.family, "lora", "diffusers", _FACES[role].task],
        "pipeline_tag": _FACES[role].task,
        "library_name": "diffusers",
        **({"license": _APACHE.lower()} if licences == _APACHE else other),
        **({"base_model": spec.source} if of_the_hub else {}),
        **({"instance_prompt": instance} if instance else {}),
        "widget": [{"text": text, "output": {"url": url}} for text, url in widget],
    }


def _figures(version: Version) -> str:
    params, steps = TrainParams.kept(version.params), version.metrics.steps or "?"
    return (
        f"| steps | rank | alpha | learning rate | batch | resolution |\n|---|---|---|---|---|---|\n"
        f"| {steps} | {params.rank} | {params.alpha:g} | {params.learning_rate:g} "
        f"| {params.batch_size} | {params.resolution} |"
    )


def snippet(spec: ModelSpec, role: Role, drawn: Mapping[str, Any], said: str, picture: str) -> str:
    """Returns Python code that loads an exported LoRA with diffusers and draws one picture.

    The code has to be run in the LoRA's folder. `role` says whether the LoRA is of the character or of the editor.
    `drawn` are the parameters of a sample picture from the training, which the code draws again; where they are empty,
    it uses the prompt `said` and the model's defaults. `picture` is the path of the picture that an editor's LoRA
    edits. A comment names each changed parameter that diffusers' pipelines do not take.
    """
    face = _FACES[role]
    params = face.params.kept(drawn) if drawn else spec.params(face.params)
    usual = face.params().to_json()
    words = {params.worded: params.headline() or said}
    told = {**params.to_json(), **words}
    knobs = {name: value for name, value in told.items() if name not in _LOADED and value != ""}
    arguments = "".join(
        f"    {PIPELINE_ARGUMENTS[name]}={_python(knobs[name])},\n" for name in PIPELINE_ARGUMENTS if name in knobs
    )
    further = [name for name in knobs if name not in (*PIPELINE_ARGUMENTS, "seed") and knobs[name] != usual[name]]
    comment = "".join(f"    # {name}={_python(knobs[name])} was set in FLENwheel, too\n" for name in further)
    scheme, _, place = spec.source.partition(":")
    source = _SOURCES.get(scheme, scheme).format(place=place, name=spec.name)
    return (
        f"import torch\nfrom diffusers import {spec.pipeline}\n{face.imports}\n"
        f"pipeline = {spec.pipeline}.from_pretrained({_python(source)}, torch_dtype=torch.{spec.dtype})\n"
        f'pipeline.load_lora_weights(".", weight_name={_python(_WEIGHTS)})\n'
        "if torch.cuda.is_available():\n    pipeline.enable_model_cpu_offload()\n"
        f"image = pipeline(\n{face.given.format(picture=_python(picture))}{arguments}{comment}"
        f'    generator=torch.Generator("cpu").manual_seed({params.seed}),\n'
        f").images[0]\nimage.save({_python(face.saved)})\n"
    )


def _python(value: object) -> str:
    """Returns a value as a Python literal: JSON with Python's True and False."""
    return repr(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


def _write_pictures(archive: zipfile.ZipFile, store: Store, form: Layout, entries: Sequence[Entry]) -> list[Folder]:
    """Writes each entry's picture, caption, mask and references under one stem; returns their folders, in order."""
    folders: dict[int, Folder] = {}
    masked = any(entry.mask for entry in entries)
    for number, entry in enumerate(entries, 1):
        repeats = entry.repeats
        name = form.folder(repeats, store.character.trigger)
        crop, stem = entry.crop, f"{number:04d}"
        mask = form.mask.format(folder=name, stem=stem) if masked else ""
        folder = folders.get(repeats, Folder(name, (), repeats, mask.rpartition("/")[0]))
        _put(archive, store, entry.image, (crop,), f"{name}/{stem}")
        archive.writestr(f"{name}/{stem}.txt", entry.caption + "\n")
        if mask:
            archive.writestr(mask, to_png(_mask_of(store, entry, crop)))
        references = _write_references(archive, store, form, entry, f"{name}/{stem}")
        folders[repeats] = replace(folder, references=tuple(dict.fromkeys((*folder.references, *references))))
    return list(folders.values())


def _write_references(archive: zipfile.ZipFile, store: Store, form: Layout, entry: Entry, picture: str) -> list[str]:
    """Writes all references of an edit to the places where the trainer reads them; returns their folders.

    The first reference is cut to the part that was edited, then by the crop of the result.
    """
    images, where = entry.references, form.references
    folder, _, stem = picture.rpartition("/")
    places = [where(folder, stem, index, len(images)) for index in range(len(images))] if where else []
    crops = entry.source_crop, entry.crop
    for index, place in enumerate(places):
        _put(archive, store, images[index], () if index else crops, place)
    return [place.rpartition("/")[0] for place in places]


def _mask_of(store: Store, entry: Entry, crop: Crop) -> Image.Image:
    """Returns the entry's mask in grey, cut to its crop; entirely white where the entry has none."""
    if entry.mask:
        return cut(to_grey(open_picture(store.file(entry.mask))), crop)
    image = store.images.get(entry.image)
    return cut(Image.new("L", (image.width, image.height), 255), crop)


def _put(archive: zipfile.ZipFile, store: Store, image: str, crops: Sequence[Crop], stem: str) -> None:
    """Writes a picture as the studio trains it: cut to its crop, as a PNG, because other trainers know no crops.

    A picture without a crop keeps its bytes where every trainer decodes them to the same pixels. Many ignore EXIF
    orientation and colour profiles, or show the pixels under transparency.
    """
    file = store.path(image)
    data = as_it_leaves(file)
    picture = decode(data, str(file))
    if not any(crops) and is_plain(picture):
        archive.writestr(stem + file.suffix, data)
    else:
        archive.writestr(f"{stem}.png", to_png(reduce(cut, crops, to_rgb(picture))))
