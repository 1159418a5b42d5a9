"""Reads the files in which trainers describe a dataset: its folders, how often each is seen, its control pictures.

They are the files that the studio's own exports hold. Sources: kohya-ss/sd-scripts docs/config_README-en.md (subsets
with image_dir, num_repeats, is_reg); kohya-ss/musubi-tuner docs/dataset_config.md (image_directory, control_directory);
ostris/ai-toolkit toolkit/config_modules.py (folder_path, control_path); Nerogar/OneTrainer
modules/util/config/ConceptConfig.py (path, balancing).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from studio.flywheel.curate.intake import Limits, Member, alike
from studio.flywheel.curate.listings import read_text

ENDINGS: Final = (".toml", ".yaml", ".yml", ".json")
_FOLDER: Final = ("image_directory", "image_dir", "folder_path", "path")
_CONTROLS: Final = ("control_directory", "control_path")
_REPEATS: Final = ("num_repeats", "balancing")
_MOST_REPEATS = 1e6  # more, or no number, says nothing


@dataclass(frozen=True)
class Described:
    """Holds what a trainer's file says about one folder of pictures.

    `folder` and `controls` are paths as the file spells them. `repeats` is how often an epoch shows each picture;
    `others` is true for a folder of regularisation pictures.
    """

    folder: str
    repeats: int
    controls: tuple[str, ...] = ()
    others: bool = False

    def holds(self, group: str, descriptor: Member, folder: str | None = None) -> bool:
        """Returns whether the folder `group` of an import is the described one, or the given control `folder` of it.

        Relative paths start at the descriptor's folder; of an absolute one, which is of another machine, the last name
        counts.
        """
        path = PurePosixPath(alike((self.folder if folder is None else folder).replace("\\", "/")))
        if path.is_absolute() or ":" in str(path) or ".." in path.parts:
            return PurePosixPath(alike(group)).name == path.name
        return PurePosixPath(alike(group)) == PurePosixPath(alike(descriptor.group)) / path


def described(file: Member, limits: Limits) -> list[Described] | None:
    """Returns what a trainer's file says about folders of pictures; None for a file that is none of a known trainer.

    Raises: BadInput for a file that cannot be read.
    """
    text = read_text(file, limits)
    try:
        # JSON is valid YAML, and the form in which this studio writes it.
        found = tomllib.loads(text) if file.ending == ".toml" else json.loads(text)
    except (ValueError, RecursionError):
        return None
    blocks: list[Mapping[str, object]]
    if isinstance(found, list):  # OneTrainer's concepts
        blocks = [block for block in found if isinstance(block, dict) and "balancing" in block]
    else:
        blocks = list(_blocks(found))
    return [each for block in blocks if (each := _described(block)) is not None] or None


def _blocks(found: Any) -> Iterator[Mapping[str, object]]:
    """Yields the parts of a configuration that describe a folder: its datasets, and their subsets."""
    datasets = found.get("datasets") if isinstance(found, dict) else None
    for dataset in datasets if isinstance(datasets, list) else ():
        if isinstance(dataset, dict):
            yield dataset
            subsets = dataset.get("subsets")
            yield from (each for each in (subsets if isinstance(subsets, list) else ()) if isinstance(each, dict))


def _described(block: Mapping[str, object]) -> Described | None:
    folder = next((value for name in _FOLDER if isinstance(value := block.get(name), str) and value), None)
    if folder is None:
        return None
    repeats = next((value for name in _REPEATS if isinstance(value := block.get(name), int | float)), 1)
    control = next((value for name in _CONTROLS if (value := block.get(name))), ())
    controls = [control] if isinstance(control, str) else control if isinstance(control, list) else []
    known = tuple(each for each in controls if isinstance(each, str) and each)
    return Described(folder, round(repeats) if 1 < repeats < _MOST_REPEATS else 1, known, block.get("is_reg") is True)
