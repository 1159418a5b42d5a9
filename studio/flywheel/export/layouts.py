"""How other trainers want their pictures: folders, words, masks, and the files that describe them."""

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
    """Pictures that are seen equally often: where they lie, what they were made from, and what of them counts."""

    name: str
    references: tuple[str, ...]  # one folder for each place in the order that a model is shown them; () for none
    repeats: int
    masks: str = ""  # "" where there are none


@dataclass(frozen=True)
class Layout:
    """One trainer's way: its folders' names from (repeats, trigger), and the files that describe them.

    `references`: where a picture's reference lies, without its ending, from (folder, stem, which of them, how many).
    """

    folder: Callable[[int, str], str]
    describe: Callable[[Sequence[Folder], TrainParams], Mapping[str, str]]  # folders, knobs -> file name -> text
    references: Callable[[str, str, int, int], str] | None = None  # None where it learns no edits
    mask: str = "masks/{folder}/{stem}.png"  # outside the folder, where some trainers learn every picture they find


def _ai_toolkit(folders: Sequence[Folder], params: TrainParams) -> dict[str, str]:
    # JSON is YAML; the block goes under `process: datasets:` of a job's config.
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
    """The folders' names say all but the masks."""
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
    """Its concepts; it mirrors pictures unless told not to, and takes masks when its masked training is on."""
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
    """A name alone stays one: what older configs say, and older trainers read."""
    return names[0] if len(names) == 1 else list(names)


def _folder_each(folder: str, stem: str, index: int, count: int) -> str:
    """All first references in one folder, all second ones in the next, under the picture's own name."""
    return f"{folder}-control{f'-{index + 1}' if index else ''}/{stem}"


def _numbered(folder: str, stem: str, index: int, count: int) -> str:
    """All in one folder; where a picture has several, they are numbered after its name."""
    return f"{folder}-control/{stem}{f'_{index}' if count > 1 else ''}"


def _plain_name(repeats: int, trigger: str) -> str:
    return f"seen-{repeats}x"


def _kohya_name(repeats: int, trigger: str) -> str:
    return f"{repeats}_{plain_name(trigger)}"


def plain_name(words: str) -> str:
    """Words as a part of a file's name on every system: letters, digits, _ and - alone, and not many of them.

    What it is put behind or before keeps it from being a name that Windows has for itself, such as con.
    """
    return re.sub(r"[^\w-]+", "_", words)[:_LONGEST_NAME].strip("_") or "character"


# Sources: ostris/ai-toolkit toolkit/config_modules.py (DatasetConfig: control_path is a folder or a list of them) and
# dataloader_mixins.py (MaskFileItemDTOMixin, ControlFileItemDTOMixin); kohya-ss/musubi-tuner docs/dataset_config.md
# (several control images of image1.jpg are image1_0.png, image1_1.png), which knows no masks; kohya-ss/sd-scripts docs
# (DreamBooth folders: repeats_name) and docs/masked_loss_README.md; Nerogar/OneTrainer
# modules/util/config/ConceptConfig.py and modules/dataLoader/mixin/DataLoaderText2ImageMixin.py (-masklabel).
LAYOUTS: Mapping[str, Layout] = {
    "ai-toolkit": Layout(_plain_name, _ai_toolkit, _folder_each),
    "musubi-tuner": Layout(_plain_name, _musubi, _numbered),
    "kohya": Layout(_kohya_name, _kohya),
    "onetrainer": Layout(_plain_name, _onetrainer, mask="{folder}/{stem}-masklabel.png"),
}
