"""What a character owns as others want it: pictures for other trainers, a version for the Hugging Face hub."""

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
from studio.flywheel.export.layouts import LAYOUTS, Folder, Layout, plain_name
from studio.flywheel.train import runs
from studio.records.dataset import Entry, Role
from studio.records.image import ImageRecord
from studio.records.version import Version
from studio.store import Store
from studio.store.durable import written_aside
from studio.store.lora_names import as_it_leaves
from studio.store.pictures import to_png
from studio.workplace.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path

HUB = "hub"
FORMS = ("diffusers", "kohya", "comfyui", HUB)  # of a LoRA's file
_WEIGHTS = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for
_SHOWN = 4
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_APACHE = "Apache-2.0"
_LOADED = ("loras",)  # knobs that the published LoRA stands for


_SOURCES = {"assets": "assets/{place}", "folder": "{name}"}  # what a row's source is called elsewhere, by its scheme


@dataclass(frozen=True)
class _Face:
    """How the versions of a role are presented: all that a card of one says otherwise than a card of the other."""

    task: str  # by the hub's names
    params: type[GenerateParams] | type[EditParams]  # what a preview was drawn with
    instance: str  # what to say for the trained subject; "" where there is none
    title: str
    about: str
    imports: str  # lines of the code
    given: str  # arguments of the pipeline beside its knobs; `picture` is a file to start from
    saved: str


_FACES = {
    Role.CHARACTER: _Face(
        "text-to-image",
        GenerateParams,
        "{said}",
        "{name}, {version}",
        "A LoRA of {label}, trained with FLENwheel on {pictures} pictures, {real_share:.0%} of what it saw being "
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
    """A zip of pictures, captions, masks and the trainer's own description of them; whole or not there.

    Where one picture has a mask all have, white for all of it: some trainers refuse a folder in which one is missing.
    Raises: BadInput for an unknown layout, an empty dataset, or edits in a layout that has no place for references.
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


def export_version(desk: Desk, version_id: str, form: str) -> Path:
    """A version's LoRA in another tool's form, or as a whole repository for the hub.

    Raises: NotFound, BadInput for an unknown form, LoraMismatch.
    """
    if form not in FORMS:  # before the engine says so, which takes seconds to load
        raise BadInput(f"There is no LoRA form named {form}.", f"Choose one of: {', '.join(FORMS)}.")
    write = export_hub if form == HUB else partial(runs.export, form=form)
    return write(desk, version_id)


def export_hub(desk: Desk, version_id: str) -> Path:
    """A zip to upload as a Hugging Face repository: LoRA, model card, previews with their prompts; whole or not there.

    Raises: NotFound, LoraMismatch.
    """
    store = desk.store
    version = store.versions.get(version_id)
    shown = _previews(desk, version)
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
    """A zip of one's own that takes its place once it is whole, however many write it. Raises: UserError."""
    with written_aside(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        yield archive  # pictures are compressed already


@dataclass(frozen=True)
class _Shown:
    """The previews that stand for a version, and after how many steps they were drawn; 0 where there are none."""

    step: int
    pictures: tuple[ImageRecord, ...]


def _previews(desk: Desk, version: Version) -> _Shown:
    """Those of the step that was kept, or the nearest earlier ones; those of step 0 show no LoRA at all."""
    kept = version.checkpoints[-1].step if version.checkpoints else version.metrics.steps or 0
    samples = runs.progress(desk.workplace, version.job).samples
    step = max((each.step for each in samples if 0 < each.step <= kept), default=0)
    told = [desk.store.images.get(each.image) for each in samples if each.step == step > 0]
    return _Shown(step, tuple(each for each in told if _words(version.role, each))[:_SHOWN])


def _words(role: Role, preview: ImageRecord) -> str:
    return _FACES[role].params.kept(preview.params).headline()


def _model_card(desk: Desk, version: Version, shown: _Shown) -> str:
    """The hub's card: its YAML header, whose values are written as JSON, then words for people.

    Source: huggingface/hub-docs modelcard.md, and diffusers' own LoRA scripts.
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
        "real_share": version.metrics.real_share or 0,
    }
    instance = face.instance.format(**facts)
    header = _header(spec, version.role, instance, list(zip(words, images, strict=True)))
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
        f"{_figures(version)}\n\nIn the folder of this repository:\n\n```python\n{code}```\n\n"
        f"{told_of}\n" + "".join(f"\n![{text}]({url})\n\n{text}\n" for text, url in zip(words, images, strict=True))
    )


def _yaml(value: Any) -> str:
    """A value as JSON that is YAML, too: what YAML takes for no printable character is written by its number."""
    return _UNPRINTABLE.sub(lambda each: f"\\u{ord(each[0]):04x}", json.dumps(value, ensure_ascii=False))


def _header(spec: ModelSpec, role: Role, instance: str, widget: Sequence[tuple[str, str]]) -> Mapping[str, object]:
    """What the hub's search and gallery read."""
    licence = re.sub(r"[^a-z0-9]+", "-", spec.licence.lower()).strip("-")
    of_the_hub = ":" not in spec.source
    link = {"license_link": f"https://huggingface.co/{spec.source}/blob/main/LICENSE.md"} if of_the_hub else {}
    other = {"license": "other", "license_name": f"{licence}-license", **link}
    return {
        "tags": [spec.family, "lora", "diffusers", _FACES[role].task],
        "pipeline_tag": _FACES[role].task,
        "library_name": "diffusers",
        **({"license": _APACHE.lower()} if spec.licence == _APACHE else other),
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
    """Return Python that uses the LoRA as it is published, to be run in its folder, with every knob of a preview.

    `drawn`: a preview's parameters, or none; `said`: what to say then; `picture`: what an editor is shown. A knob that
    diffusers' pipelines do not take is named in a comment where it was used.
    """
    face = _FACES[role]
    params = face.params.kept(drawn) if drawn else spec.params(face.params)
    usual = face.params().to_json()
    words = {params.worded: params.headline() or said}
    knobs = {name: value for name, value in {**params.to_json(), **words}.items() if name not in _LOADED}
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
    """Return a value as Python and JSON both write it; true and false as Python does."""
    return repr(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


def _write_pictures(archive: zipfile.ZipFile, store: Store, form: Layout, entries: Sequence[Entry]) -> list[Folder]:
    """Each entry's picture, words and references under one stem; the folders that they went to, in order."""
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
    """All that an edit starts from, where the trainer looks for it; their folders.

    The first is the part that was edited, cut as its picture is.
    """
    images, where = entry.references, form.references
    folder, _, stem = picture.rpartition("/")
    places = [where(folder, stem, index, len(images)) for index in range(len(images))] if where else []
    crops = entry.source_crop, entry.crop
    for index, place in enumerate(places):
        _put(archive, store, images[index], () if index else crops, place)
    return [place.rpartition("/")[0] for place in places]


def _mask_of(store: Store, entry: Entry, crop: Crop) -> Image.Image:
    """What of the part that is trained counts, in grey."""
    if entry.mask:
        return cut(to_grey(open_picture(store.file(entry.mask))), crop)
    image = store.images.get(entry.image)
    return cut(Image.new("L", (image.width, image.height), 255), crop)


def _put(archive: zipfile.ZipFile, store: Store, image: str, crops: Sequence[Crop], stem: str) -> None:
    """A picture as it is trained here: a PNG of the part that counts, as no other trainer knows crops.

    A whole one keeps its bytes where every trainer reads them as we do; many know neither EXIF, nor profiles, nor what
    lies under transparency.
    """
    file = store.path(image)
    data = as_it_leaves(file)
    picture = decode(data, str(file))
    if not any(crops) and is_plain(picture):
        archive.writestr(stem + file.suffix, data)
    else:
        archive.writestr(f"{stem}.png", to_png(reduce(cut, crops, to_rgb(picture))))
