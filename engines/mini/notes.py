"""What each stage of a training wrote down in its cache: figures, past, and whether they still hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.mini.export import write_whole
from engines.mini.plan import GATHERED_FROM, later_stages


def past(figures: dict[str, Any]) -> str:
    """Word what a stage's weights have been through."""
    steps = f"{figures['steps']} steps" if "steps" in figures else ""
    return "; ".join(part for part in (figures.get("history"), steps, figures.get("averaged")) if part)


@dataclass(frozen=True)
class Notes:
    """One file a stage, beside its checkpoint.

    `kept` in one says that the stage is done, however long; `stale` that what it learned from has since changed.
    """

    cache: Path

    def _path(self, stage: str) -> Path:
        return self.cache / f"{stage}.json"

    def put(self, stage: str, note: dict[str, Any]) -> None:
        """Replace what is written of a stage; what is empty is left out."""
        write_whole(self._path(stage), json.dumps({k: v for k, v in note.items() if v != ""}, indent=2))

    def has(self, stage: str) -> bool:
        """Say whether this cache knows of a stage, be it only that it is to be learned anew."""
        return self._path(stage).exists()

    def read(self, stage: str) -> dict[str, Any]:
        """Read what a stage wrote down."""
        return json.loads(self._path(stage).read_text(encoding="utf-8")) if self.has(stage) else {}

    def write(self, stage: str, figures: dict[str, Any]) -> None:
        """Write down a stage's figures, and from what it went on."""
        before = self.read(stage).get("history")
        figures = figures | ({"history": before} if before else {})
        self.put(stage, figures)
        print(json.dumps({"stage": stage, "done": figures}), flush=True)

    def begin(self, stage: str) -> None:
        """Drop the figures of a stage that is stale; it has a past only where it goes on from weights."""
        note = self.read(stage)
        if note.get("stale"):
            went_on = (self.cache / f"{stage}.start.pt").exists()
            self.put(stage, {"history": note.get("history", "") if went_on else ""})

    def forget_after(self, stage: str) -> None:
        """Let all that learns from a stage be stale: what it gathered and learned is of the weights before."""
        later = later_stages(stage)
        for maker in {stage, *later} & set(GATHERED_FROM):
            for path in self.cache.glob(f"{GATHERED_FROM[maker]}-*.pt"):
                path.unlink()
        for other in later:
            (self.cache / f"{other}.pt").unlink(missing_ok=True)
            if self.has(other):
                self.put(other, self.read(other) | {"stale": True})
