"""Stores a record of each finished training stage: its measured values, and whether it must be trained anew."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.api.errors import NotFound
from engines.mini.export import write_whole
from engines.mini.stages import CACHED_FROM, later_stages


@dataclass(frozen=True)
class StageRecords:
    """Stores the record of each training stage as a JSON file in the folder `cache`.

    Where there is no such file, the record is read from the file `manifest`, which lies beside the models. A record has
    the stage's measured values, and `stale` where weights from which the stage learned have changed since.
    """

    cache: Path
    manifest: Path

    def _path(self, stage: str) -> Path:
        """Returns the path of a stage's record."""
        return self.cache / f"{stage}.json"

    def has(self, stage: str) -> bool:
        """Returns whether the models beside the manifest are those of the cache's record of a stage, stale or not."""
        return self._path(stage).exists() and self.read(stage) == self._beside_models(stage)

    def read(self, stage: str) -> dict[str, Any]:
        """Returns a stage's record, from the cache or else from the manifest; {} where neither has one."""
        if self._path(stage).exists():
            return dict(json.loads(self._path(stage).read_text(encoding="utf-8")))
        return self._beside_models(stage)

    def figures(self, stage: str) -> dict[str, Any]:
        """Returns the record of a stage that must have one. Raises: NotFound where it has none."""
        if record := self.read(stage):
            return record
        raise NotFound(f"There is no record of the stage {stage}.", f"Train it first: --stage {stage}")

    def _beside_models(self, stage: str) -> dict[str, Any]:
        """Returns a stage's record in the manifest, {} where there is none."""
        manifest = json.loads(self.manifest.read_text(encoding="utf-8")) if self.manifest.exists() else {}
        return dict(manifest.get("stages", {}).get(stage, {}))

    def write(self, stage: str, figures: dict[str, Any]) -> None:
        """Writes a stage's measured values (`figures`) as its record into the cache, in place of an earlier record."""
        write_whole(self._path(stage), json.dumps(figures, indent=2))

    def mark_later_stale(self, stage: str) -> None:
        """Marks all stages that learn from `stage`, directly or not, as stale, and deletes their checkpoints.

        It also deletes the cached tensors that were computed with the weights of `stage` or of one of those later
        stages.
        """
        later = later_stages(stage)
        for maker in {stage, *later} & set(CACHED_FROM):
            (self.cache / f"{CACHED_FROM[maker]}.pt").unlink(missing_ok=True)
        for other in later:
            (self.cache / f"{other}.pt").unlink(missing_ok=True)
            if figures := self.read(other):
                self.write(other, figures | {"stale": True})
