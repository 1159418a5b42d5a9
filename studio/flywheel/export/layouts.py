"""The layouts of datasets that other trainers read: folders, captions, masks, and the files that describe them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tomlkit

from engines.api.params import TrainParams

_LONGEST_NAME = 60
_MASKED_LOSS = "For --dataset_config with --masked_loss; without masks, --train_data_dir takes this folder as it is."
_UNMASKED = "musubi-tuner has no masked loss: what the pictures in masks/ leave out is learned, too."


@dataclass(frozen=True)
class Folder:
    """Holds one folder of an exported dataset, in which all pictures have the same number of `repeats` per epoch.

    `references` and `masks` name the folders of the reference pictures (the sources of edits) and of the masks.
    """

    name: str
    references: tuple[str, ...]  # the folder of the first references, of the second ones, ...; () without references
    repeats: int
    masks: str = ""  # the folder of the masks; "" without masks


@dataclass(frozen=True)
class Layout:
    """Holds the rules by which one trainer names and lists the files of a dataset.

    `folder` returns a folder's name from (repeats, trigger). `describe` returns the trainer's configuration files, as
    file name -> text, from (folders, parameters). `references` returns the path of a reference picture, without its
    suffix, from (folder, stem of the picture, index of the reference, number of references). `mask` is a format string
    for the path of a mask.
    """

    folder: Callable[[int, str], str]
    describe: Callable[[Sequence[Folder], TrainParams], Mapping[str, str]]  # folders, parameters -> file name -> text
    references: Callable[[str, str, int, int], str] | None = None  # None where the trainer learns no edits
    mask: str = "masks/{folder}/{stem}.png"  # beside the folder, because some trainers learn every picture in it


def _ai_toolkit(folders: Sequence[Folder], params: TrainParams) -> dict[str, str]:
    # JSON is valid YAML; the user puts the blocks under `process: datasets:` of a job's config.
    blocks = [
        {
            "folder_path": folder.name,
            **({"control_path": _one_or_many(folder.references)} if folder.references else {}),
            **({"mask_path": folder.masks, "mask_min_value": params.mask_outside} if folder.masks else {}),
            "caption_ext": "txt",
            "num_repeats": folder.repeats,
            "resolution": [params.resolution],
        }
        for folder in folders
    ]
    return {"datasets.yaml": json.dumps({"datasets": blocks}, indent=2) + "\n"}


def _musubi(folders: Sequence[Folder], params: TrainParams) -> dict[str, str]:
    told = {
        "general": {
            "resolution": [params.resolution, params.resolution],
            "caption_extension": ".txt",
            "batch_size": 1,
            "enable_bucket": True,
        },
        "datasets": [
            {
                "image_directory": folder.name,
                **({"control_directory": folder.references[0]} if folder.references else {}),
                "cache_directory": f"cache/{folder.name}",
                "num_repeats": folder.repeats,
            }
            for folder in folders
        ],
    }
    return {"dataset.toml": (f"# {_UNMASKED}\n" if _masked(folders) else "") + tomlkit.dumps(told)}


def _kohya(folders: Sequence[Folder], params: TrainParams) -> dict[str, str]:
    """Returns a dataset.toml where there are masks; without masks the folders' names hold all that kohya needs."""
    if not _masked(folders):
        return {}
    subsets = [
        {"image_dir": folder.name, "conditioning_data_dir": folder.masks, "num_repeats": folder.repeats}
        for folder in folders
    ]
    dataset = {"resolution": params.resolution, "batch_size": 1, "enable_bucket": True, "subsets": subsets}
    told = {"general": {"caption_extension": ".txt"}, "datasets": [dataset]}
    return {"dataset.toml": f"# {_MASKED_LOSS}\n{tomlkit.dumps(told)}"}


def _onetrainer(folders: Sequence[Folder], params: TrainParams) -> dict[str, str]:
    """Returns OneTrainer's concepts.json.

    It sets `enable_random_flip`, because OneTrainer mirrors pictures by default. OneTrainer uses the masks where its
    masked training is on.
    """
    concepts = [
        {
            "name": folder.name,
            "path": folder.name,
            "balancing": float(folder.repeats),
            "balancing_strategy": "REPEATS",
            "image": {"enable_random_flip": params.flip},
            "text": {"prompt_source": "sample"},
        }
        for folder in folders
    ]
    return {"concepts.json": json.dumps(concepts, indent=2) + "\n"}


def _masked(folders: Sequence[Folder]) -> bool:
    return any(folder.masks for folder in folders)


def _one_or_many(names: Sequence[str]) -> str | list[str]:
    """Returns a single name as a string, which older trainers require, and several names as a list."""
    return names[0] if len(names) == 1 else list(names)


def _folder_each(folder: str, stem: str, index: int, count: int) -> str:
    """Returns the path of a reference in a layout with one folder for all first references, one for all second ones."""
    return f"{folder}-control{f'-{index + 1}' if index else ''}/{stem}"


def _numbered(folder: str, stem: str, index: int, count: int) -> str:
    """Returns the path of a reference in a layout with one folder for all; several of one picture are numbered."""
    return f"{folder}-control/{stem}{f'_{index}' if count > 1 else ''}"


def _plain_name(repeats: int, trigger: str) -> str:
    return f"seen-{repeats}x"


def _kohya_name(repeats: int, trigger: str) -> str:
    return f"{repeats}_{plain_name(trigger)}"


def plain_name(words: str) -> str:
    """Returns a text as part of a file name that is valid on every system, with other characters replaced by `_`.

    The result has at most 60 letters, digits, `_` and `-`. The caller has to add a prefix or suffix, because Windows
    reserves some names, such as con.
    """
    return re.sub(r"[^\w-]+", "_", words)[:_LONGEST_NAME].strip("_") or "character"


# Sources: ostris/ai-toolkit toolkit/config_modules.py (DatasetConfig: control_path is a folder or a list of them) and
# dataloader_mixins.py (MaskFileItemDTOMixin, ControlFileItemDTOMixin); kohya-ss/musubi-tuner docs/dataset_config.md
# (several control images of image1.jpg are image1_0.png, image1_1.png), which has no masks; kohya-ss/sd-scripts docs
# (DreamBooth folders: repeats_name) and docs/masked_loss_README.md; Nerogar/OneTrainer
# modules/util/config/ConceptConfig.py and modules/dataLoader/mixin/DataLoaderText2ImageMixin.py (-masklabel).
LAYOUTS: Mapping[str, Layout] = {
    "ai-toolkit": Layout(_plain_name, _ai_toolkit, _folder_each),
    "musubi-tuner": Layout(_plain_name, _musubi, _numbered),
    "kohya": Layout(_kohya_name, _kohya),
    "onetrainer": Layout(_plain_name, _onetrainer, mask="{folder}/{stem}-masklabel.png"),
}
# The files in which a trainer that reads paths from its own working folder finds the dataset's folders.
RELATIVE: Mapping[str, str] = {
    "ai-toolkit": "datasets.yaml",
    "musubi-tuner": "dataset.toml",
    "onetrainer": "concepts.json",
}
