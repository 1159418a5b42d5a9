"""What each stage of a training wrote down in its cache: its figures, and whether they still hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.mini.export import write_whole
from engines.mini.plan import GATHERED_FROM, later_stages


@dataclass(frozen=True)
class Notes:
    """One file a stage, beside its checkpoint; of stages that the cache does not know, the manifest speaks.

    `stale` in one says that what the stage learned from has since changed.
    """

    cache: Path
    manifest: Path

    def _path(self, stage: str) -> Path:
        return self.cache / f"{stage}.json"

    def has(self, stage: str) -> bool:
        """Say whether this cache knows of a stage, be it only that it is to be learned anew."""
        return self._path(stage).exists()

    def read(self, stage: str) -> dict[str, Any]:
        """Read what a stage wrote down."""
        if self.has(stage):
            return dict(json.loads(self._path(stage).read_text(encoding="utf-8")))
        shipped = json.loads(self.manifest.read_text(encoding="utf-8")) if self.manifest.exists() else {}
        return dict(shipped.get("stages", {}).get(stage, {}))

    def write(self, stage: str, figures: dict[str, Any]) -> None:
        """Write down a stage's figures in place of what was known of it."""
        write_whole(self._path(stage), json.dumps(figures, indent=2))

    def forget_after(self, stage: str) -> None:
        """Let all that learns from a stage be stale: what it gathered and learned is of the weights before."""
        later = later_stages(stage)
        for maker in {stage, *later} & set(GATHERED_FROM):
            for path in self.cache.glob(f"{GATHERED_FROM[maker]}-*.pt"):
                path.unlink()
        for other in later:
            (self.cache / f"{other}.pt").unlink(missing_ok=True)
            if figures := self.read(other):
                self.write(other, figures | {"stale": True})
