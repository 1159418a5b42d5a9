"""Stores a record of each finished training stage: its measured values, and whether it must be trained anew."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.mini.export import write_whole
from engines.mini.stages import CACHED_FROM, later_stages


@dataclass(frozen=True)
class StageRecords:
    """Stores one record file for each stage in `cache`; reads the shipped `manifest` where there is no such file.

    The entry `stale` of a record means that the weights from which the stage learned have changed since.
    """

    cache: Path
    manifest: Path

    def _path(self, stage: str) -> Path:
        """Returns the path of a stage's record."""
        return self.cache / f"{stage}.json"

    def has(self, stage: str) -> bool:
        """Returns whether the cache has a record of a stage, even one that only marks it as stale."""
        return self._path(stage).exists()

    def read(self, stage: str) -> dict[str, Any]:
        """Returns a stage's record, from the manifest where the cache has none; empty where neither has one."""
        if self.has(stage):
            return dict(json.loads(self._path(stage).read_text(encoding="utf-8")))
        shipped = json.loads(self.manifest.read_text(encoding="utf-8")) if self.manifest.exists() else {}
        return dict(shipped.get("stages", {}).get(stage, {}))

    def write(self, stage: str, figures: dict[str, Any]) -> None:
        """Replaces a stage's record."""
        write_whole(self._path(stage), json.dumps(figures, indent=2))

    def mark_later_stale(self, stage: str) -> None:
        """Marks the stages that learn from a stage as stale, and deletes their checkpoints.

        The cached tensors that were computed with the weights of any of these stages are deleted, too.
        """
        later = later_stages(stage)
        for maker in {stage, *later} & set(CACHED_FROM):
            for path in self.cache.glob(f"{CACHED_FROM[maker]}-*.pt"):
                path.unlink()
        for other in later:
            (self.cache / f"{other}.pt").unlink(missing_ok=True)
            if figures := self.read(other):
                self.write(other, figures | {"stale": True})
