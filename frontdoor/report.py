"""The records of the report of `launch.py demo`, `report.json`, which `bench turn` reads again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engines.api.errors import BadInput

Json = dict[str, Any]  # an object as the json module reads and writes it
Interval = tuple[float, float]  # of 95 %: the lower and the upper end


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Holds how many pictures one run of the demo had, by kind and by verdict.

    `source` are the originals, `enriched` the edits, `synthetic` the generated pictures. `good`, `needs_correction` and
    `reject` are the verdicts on the edits. `filtered` are the generated pictures that the identity filter set aside,
    `accepted` those that the reviewer approved.
    """

    source: int
    enriched: int
    good: int
    needs_correction: int
    reject: int
    synthetic: int
    filtered: int
    accepted: int


@dataclass(frozen=True, kw_only=True)
class CardRates:
    """Holds the shares of a model card's pictures that the reviewer found right.

    A model card is a grid of cells (prompts) × seeds. `first_try_rate` is the share of the `n` cells at the first seed,
    with its 95 % `interval`. `all_seeds_rate` is the share of all `all_seeds_n` pictures.
    """

    first_try_rate: float
    n: int
    interval: Interval
    all_seeds_rate: float
    all_seeds_n: int


@dataclass(frozen=True, kw_only=True)
class Margin:
    """Holds how much more similar to the originals one version's pictures are than another's.

    `median_of_pairs` is the median of the differences between pictures of the same cell of a model card, `interval_95`
    its 95 % interval.
    """

    median_of_pairs: float
    interval_95: Interval


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Holds how similar the pictures of each version's model card are to the originals of the character.

    `medians` maps a version's name to the median similarity; `margin_v1_over_base` compares the first version with the
    base model. `n` is the number of pictures of a model card, `threshold` the similarity from which two pictures show
    one person.
    """

    medians: Mapping[str, float]
    n: int
    margin_v1_over_base: Margin
    threshold: float


@dataclass(frozen=True, kw_only=True)
class EditRates:
    """Holds three shares, 0…1, of `n` edits: those accepted, those done as asked, and those that kept the person.

    `interval` is the 95 % interval of `acceptance`.
    """

    acceptance: float
    n: int
    interval: Interval
    edit_done: float
    identity_kept: float


@dataclass(frozen=True, kw_only=True)
class EditorReport:
    """Holds the review results of the editor without and with its trained LoRA, on the same edits.

    `base` are the rates without the LoRA, `v1` those with it. `never_asked_before` is the number of these edits that
    are new: no earlier step had used the same instruction on the same source. `triplets` counts the training examples
    for the editor at the end of the run: "golden" (corrected edits) and "positive" (approved ones). `adopted` tells
    whether the LoRA is in use.
    """

    never_asked_before: int
    base: EditRates
    v1: EditRates
    triplets: Mapping[str, int]
    adopted: bool


@dataclass(frozen=True, kw_only=True)
class Report:
    """Holds everything that one run of the demo measured for one character.

    `card` maps a version's name to the rates of its model card, `decisions` a step's name to the number of verdicts
    given in it, and `seconds_per_stage` a step's name to its seconds; `seconds` is the time of the whole run. `seed` is
    the character's number, None for the sample character; `peak_rss_gib` is the most RAM that the process used;
    `reviewer` describes in words who reviewed.
    """

    seed: int | None
    counts: Counts
    card: Mapping[str, CardRates]
    identity: Identity
    editor: EditorReport
    decisions: Mapping[str, int]
    seconds: float
    seconds_per_stage: Mapping[str, float]
    peak_rss_gib: float
    reviewer: str

    def to_json(self) -> Json:
        """Returns the report as the JSON object of `report.json`."""
        data = dataclasses.asdict(self)
        medians = data["identity"].pop("medians")
        return {**data, "identity": {**medians, **data["identity"]}}

    @classmethod
    def from_json(cls, data: Json) -> Report:
        """Returns a report from the JSON object that `to_json` makes.

        Raises: LookupError, TypeError or ValueError for any other object.
        """
        identity = dict(data["identity"])
        medians = {name: identity.pop(name) for name in data["card"]}
        return TypeAdapter(cls).validate_python({**data, "identity": {**identity, "medians": medians}})

    def summary(self) -> str:
        """Returns the main figures of the report as a few lines of text for a terminal."""
        counts, cards, editor, medians = self.counts, self.card, self.editor, self.identity.medians
        margin = self.identity.margin_v1_over_base
        low, high = margin.interval_95
        return (
            f"  One turn took {self.seconds / 60:.1f} minutes. The reviewer was a stand-in, not a human,\n"
            f"  and its corrections are drawn from the truth, cleaner than a human's would be.\n"
            f"  pictures   {counts.source} sources → {counts.enriched} enriched, {counts.good} good "
            f"→ {counts.synthetic} synthetic, {counts.accepted} accepted; "
            f"{self.decisions.get('shown', 0)} edits of what v1 missed\n"
            f"  identity   base {medians['base']:.2f} → v1 {medians['v1']:.2f} → v2 {medians['v2']:.2f}   "
            f"(v1 − base {margin.median_of_pairs:+.2f}, 95 % {low:+.2f} … {high:+.2f}, {self.identity.n} pictures)\n"
            f"  first try  base {cards['base'].first_try_rate:.0%} → v1 {cards['v1'].first_try_rate:.0%} "
            f"→ v2 {cards['v2'].first_try_rate:.0%}   (of {cards['v1'].n} cells)\n"
            f"  editor     base {editor.base.acceptance:.0%} → v1 {editor.v1.acceptance:.0%} accepted"
        )

    def write(self, path: Path) -> None:
        """Writes the report to the file `path` as JSON; a failed write leaves an existing file unchanged."""
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(self.to_json(), indent=2))
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> Report:
        """Reads a report from the file `path` and returns it.

        Raises: BadInput for a file that is no report, or a report with other fields than those of this version.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (LookupError, TypeError, ValueError) as error:
            raise BadInput(
                f"{path} is no report that this version can read.", "Delete its folder, then its character runs again."
            ) from error
