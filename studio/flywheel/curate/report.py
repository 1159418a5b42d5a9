"""Holds what an import has done so far, for the page and for scripts."""

from __future__ import annotations

from dataclasses import dataclass, field

from studio.records.job import Advised, Duplicate, Refused
from studio.workplace.context import Context


@dataclass
class Report:
    """Holds the results of an import so far, file by file.

    `imported` are the ids of the new pictures, `paired` those of the results of new edits for the editor, `masked`
    those of the pictures that got a mask. `duplicates` are files whose picture the character has already, `refused` the
    files that were not imported, and `advice` warnings about imported pictures.
    """

    imported: list[str] = field(default_factory=list)
    paired: list[str] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    advice: list[Advised] = field(default_factory=list)

    def publish(self, ctx: Context) -> None:
        """Writes the results so far to the job's artifacts, where the page reads them."""
        ctx.keep(
            imported=tuple(self.imported),
            paired=tuple(self.paired),
            masked=tuple(self.masked),
            duplicates=tuple(self.duplicates),
            refused=tuple(self.refused),
            advice=tuple(self.advice),
        )
