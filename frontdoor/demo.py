"""`launch.py demo`: one full turn of both flywheels on a drawn character, headless, with a stand-in for the human."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from engines.api.errors import UserError
from engines.api.params import EditParams, TrainParams
from engines.catalogue.registry import load_class
from frontdoor import report
from frontdoor.standin import Opinion, StandIn
from frontdoor.studio import open_studio, serve
from studio.flywheel import card, generate
from studio.flywheel.curate import captions, importing
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import practice
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.flywheel.train import runs
from studio.judging.statistics import bootstrap, median, wilson
from studio.records.card import CardRun
from studio.records.character import CHARACTER_SETTING
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job, JobState
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Workplace

REVIEWER = (
    "a stand-in that judges with oracles trained on the drawn world's truth; no human took part. "
    "Its corrections are drawn from that truth, cleaner than a human's hand would make them"
)


@dataclass(frozen=True)
class Scale:
    """How large a turn is; the tests take a smaller one through the same code.

    With a `control`, v1 is also trained on for as long as v2 is, on nothing but its own pictures.
    """

    edits: int = 56
    shown: int = card.SHOWN
    synthetic: int = 56
    card_seeds: tuple[int, ...] = (0, 1, 2)
    practice: int = practice.EDITS
    later_edits: int = 40
    control: bool = False
    train: dict[str, Any] = field(default_factory=dict)
    refine: dict[str, Any] = field(default_factory=dict)


def main(options: argparse.Namespace) -> int:
    """Turn once, write the report, say where it is; with `--open` show the result in the studio."""
    out: Path = options.out.expanduser().resolve()
    out.mkdir(parents=True, exist_ok=True)
    home = _fresh(out, "home")
    with closing(open_studio(home)) as studio:
        result = Turn(studio, out, Scale(control=options.control)).run(seed=options.seed)
    _print_summary(result, out, home)
    return serve(open_studio(home), port=0, browser=True) if options.open else 0


class Turn:
    """The steps of one turn; each is what a user would click, in the same order."""

    def __init__(self, studio: Workplace, out: Path, scale: Scale) -> None:
        self.studio = studio
        self.out = out
        self.scale = scale
        self.losses: dict[str, list[tuple[int, float]]] = {}
        self.seconds: dict[str, float] = {}
        self.seen: dict[str, Opinion] = {}

    def run(self, seed: int | None) -> dict[str, Any]:
        """Both flywheels once; answers what `report.json` holds."""
        started = time.monotonic()
        self.studio.jobs.start()
        self._curate(seed)
        edits = self._enrich("enrich", self._plan(self.scale.edits))
        self._review_edits("enriched", edits)
        v1 = self._train("v1")
        cards = {"base": self._card("base", ""), "v1": self._card("v1", v1.id)}
        if self.scale.control:
            cards["v1 longer"] = self._card("v1 longer", self._train("v1 longer", start=v1.id).id)
            self.store.adopt(v1.id)
        self._show_what_was_missed(cards["v1"])
        synthetic = self._generate(v1)
        self._review_synthetic(synthetic)
        cards["v2"] = self._card("v2", self._train("v2", start=v1.id).id)
        editor = self._refine()
        result = {
            "seed": seed,
            "counts": self._counts(edits, synthetic),
            "card": {name: self._first_try(run) for name, run in cards.items()},
            "identity": self._identity(cards),
            "editor": editor,
            "decisions": dict(self.reviewer.decisions),
            "seconds": round(time.monotonic() - started, 1),
            "seconds_per_stage": self.seconds,
            "peak_rss_gib": round(_peak_rss_gib(), 2),
            "reviewer": REVIEWER,
        }
        report.loss_plot(self.losses, self.out / "loss.png")
        report.write(self.out / "report.json", result)
        return result

    # ── flywheel 1 ──────────────────────────────────────────────────────────────────────────────

    def _curate(self, seed: int | None) -> None:
        """Twelve pictures in, captioned; the stand-in meets the originals."""
        folder, truths = _drawn_character(self.studio.settings.assets, self.out, seed)
        name = "Robin" if seed is None else f"Character {seed}"
        self.character = self.studio.library.create(f"{name} (demo)").id
        self.studio.library.set_setting(CHARACTER_SETTING, self.character)
        pictures = [folder / name for name in truths]  # without the words beside them: the captioner finds its own
        imported = self._wait("import", importing.submit_import(self.studio.desk(self.character), pictures))
        self._wait("caption", captions.submit_caption(self.studio.desk(self.character)))
        sources = {
            record.id: (truths[record.name], self.store.open_image(record.id))
            for record in self.store.select(kind=Kind.SOURCE)
        }
        if len(sources) != len(truths):
            raise UserError(f"{len(sources)} of {len(truths)} pictures came in.", str(imported.artifacts.to_json()))
        manifest = json.loads((self.studio.settings.assets / "mini" / "manifest.json").read_text())
        self.reviewer = StandIn.hire(self.studio.settings.assets, float(manifest["thresholds"]["judge"]), sources)
        for image_id in sources:
            self.store.decide(image_id, Verdict.GOOD, reviewer="stand-in")
            self.reviewer.decisions["sources"] += 1

    def _plan(self, count: int) -> tuple[enrich.PlanRow, ...]:
        """Edits that were never asked for before."""
        return enrich.plan(self.studio.desk(self.character), limit=count).rows

    def _enrich(self, stage: str, rows: tuple[enrich.PlanRow, ...]) -> list[ImageRecord]:
        return self._saved(self._wait(stage, enrich.submit(self.studio.desk(self.character), rows)))

    def _review_edits(self, stage: str, records: list[ImageRecord]) -> None:
        """Every edit gets a verdict; what was not done as asked is mended by hand, a golden triplet."""
        opinions = self._opinions(records)
        for record, opinion in zip(records, opinions, strict=True):
            if opinion.verdict is Verdict.NEEDS_CORRECTION:
                self._mend(stage, record, opinion)
            else:
                self._decide(stage, record, opinion)
        self._sheet(f"{stage}.png", f"Edits as reviewed: {stage}", records)

    def _mend(self, stage: str, record: ImageRecord, opinion: Opinion) -> None:
        fixed = self.reviewer.mend(record.parent, record.asked, record.width)
        self.store.correct(record.id, fixed, reviewer="stand-in", reason=", ".join(opinion.reasons))
        self.reviewer.decisions[stage] += 1
        self.reviewer.decisions["corrections"] += 1

    def _train(self, name: str, start: str = "") -> Version:
        """A version on all that is approved by now; one that goes on from another keeps what that one could do."""
        spec = self.studio.registry.spec(self.store.character.generator)
        params = spec.params(TrainParams, **self.scale.train)
        job = self._wait(f"train {name}", train.submit(self.studio.desk(self.character), params=params, start=start))
        self.losses[f"character {name}"] = runs.losses(self.studio, job.id)
        version = self.store.versions.find(job=job.id)[-1]
        return self.store.adopt(version.id)

    def _card(self, name: str, version: str) -> CardRun:
        job = self._wait(
            f"card {name}",
            card.submit(self.studio.desk(self.character), version=version, seeds=self.scale.card_seeds),
        )
        run = self.store.cards.find(job=job.id)[-1]
        records = [self.store.images.get(cell.image) for cell in run.cells]
        for cell, opinion in zip(run.cells, self._opinions(records), strict=True):
            card.set_human(self.studio.desk(self.character), run.id, cell.cell, cell.seed, not opinion.reasons)
            self.reviewer.decisions["card"] += 1
        self._sheet(f"card-{name}.png", f"Model card, {name}", records, columns=len(self.scale.card_seeds) * 4)
        return self.store.cards.get(run.id)

    def _show_what_was_missed(self, run: CardRun) -> None:
        """What a version never draws right nobody can pick from its pictures; the editor shows it, for the next one."""
        if aims := card.lessons(run):
            rows = enrich.plan(self.studio.desk(self.character), limit=self.scale.shown, aims=aims).rows
            self._review_edits("shown", self._enrich("show the missed", rows))

    def _generate(self, version: Version) -> list[ImageRecord]:
        """New scenes; half of them show what the card says that the version cannot do yet."""
        half = self.scale.synthetic // 2
        missed = card.missed(self.studio.desk(self.character), version.id)
        items = [
            *generate.scene_items(self.studio.desk(self.character), self.scale.synthetic - half, version.id, seed=1000),
            *generate.scene_items(self.studio.desk(self.character), half, version.id, seed=2000, aims=missed),
        ]
        job = generate.submit(self.studio.desk(self.character), items, version=version.id)
        return self._saved(self._wait("generate", job))

    def _review_synthetic(self, records: list[ImageRecord]) -> None:
        passed = [record for record in records if not record.filtered]
        for record, opinion in zip(passed, self._opinions(passed), strict=True):
            self._decide("synthetic", record, opinion)
        self._sheet("synthetic.png", "New scenes: filtered by identity, then reviewed", records)

    # ── flywheel 2 ──────────────────────────────────────────────────────────────────────────────

    def _practise(self) -> None:
        """More edits of what was refused, reviewed and mended like the first."""
        if any(each.refused for each in practice.standings(self.studio.desk(self.character))):
            rows = practice.plan(self.studio.desk(self.character), self.scale.practice).rows
            self._review_edits("practised", self._enrich("practise", rows))

    def _refine(self) -> dict[str, Any]:
        """Triplets to an editor LoRA; then edits that neither has seen, base and v1 on the same seeds."""
        self._practise()
        asked = enrich.asked(self.store)
        rows = self._plan(self.scale.later_edits)
        base = self._enrich("enrich again, base", rows)
        spec = self.studio.registry.spec(self.store.character.editor)
        params = spec.params(TrainParams, **self.scale.refine)
        job = self._wait("train editor v1", refine.submit(self.studio.desk(self.character), params=params))
        self.losses["editor v1"] = runs.losses(self.studio, job.id)
        version = self.store.versions.find(job=job.id)[-1]
        refine.adopt(self.studio.desk(self.character), version.id)
        after = self._enrich("enrich again, v1", rows)
        new = [(row.source, EditParams.from_json(row.params).headline()) not in asked for row in rows]
        outcome: dict[str, Any] = {"never_asked_before": sum(new)}
        for name, records in (("base", base), ("v1", after)):
            opinions = self._opinions(records)
            for record, opinion in zip(records, opinions, strict=True):
                self._decide(f"editor {name}", record, opinion)
            good = sum(opinion.verdict is Verdict.GOOD for opinion in opinions)
            low, high = wilson(good, len(records))
            outcome[name] = {
                "acceptance": round(good / len(records), 4),
                "n": len(records),
                "interval": [round(low, 4), round(high, 4)],
                "edit_done": round(sum(not o.wrong for o in opinions) / len(records), 4),
                "identity_kept": round(sum(o.identity for o in opinions) / len(records), 4),
            }
            self._sheet(f"editor-{name}.png", f"The same edits, editor {name}", records)
        outcome["triplets"] = dict(
            Counter("golden" if triplet.golden else "positive" for triplet in self.store.triplets.all())
        )
        outcome["adopted"] = self.store.adopted(Role.EDITOR) is not None
        return outcome

    # ── what the report says ────────────────────────────────────────────────────────────────────

    def _counts(self, edits: list[ImageRecord], synthetic: list[ImageRecord]) -> dict[str, int]:
        states = Counter(self.store.images.get(record.id).state for record in edits)
        accepted = [record for record in synthetic if self.store.images.get(record.id).state is Verdict.GOOD]
        return {
            "source": len(self.store.select(kind=Kind.SOURCE)),
            "enriched": len(edits),
            "good": states[Verdict.GOOD],
            "needs_correction": states[Verdict.NEEDS_CORRECTION],
            "reject": states[Verdict.REJECT],
            "synthetic": len(synthetic),
            "filtered": sum(record.filtered for record in synthetic),
            "accepted": len(accepted),
        }

    def _first_try(self, run: CardRun) -> dict[str, Any]:
        first = [cell for cell in run.cells if cell.seed == self.scale.card_seeds[0]]
        right = sum(cell.human is True for cell in first)
        low, high = wilson(right, len(first))
        every = sum(cell.human is True for cell in run.cells)
        return {
            "first_try_rate": round(right / len(first), 4),
            "n": len(first),
            "interval": [round(low, 4), round(high, 4)],
            "all_seeds_rate": round(every / len(run.cells), 4),
            "all_seeds_n": len(run.cells),
        }

    def _identity(self, cards: dict[str, CardRun]) -> dict[str, Any]:
        """Judge-encoder similarity to the originals over the card's pictures; the judge never filtered."""
        values = {name: [self.seen[cell.image].similarity for cell in run.cells] for name, run in cards.items()}
        pairs = [v1 - base for v1, base in zip(values["v1"], values["base"], strict=True)]
        margin, low, high = bootstrap(pairs)
        return {
            **{name: round(median(row), 4) for name, row in values.items()},
            "n": len(values["base"]),
            "margin_v1_over_base": {
                "median_of_pairs": round(margin, 4),
                "interval_95": [round(low, 4), round(high, 4)],
            },
            "threshold": round(self.reviewer.threshold, 4),
        }

    # ── plumbing ────────────────────────────────────────────────────────────────────────────────

    @property
    def store(self) -> Store:
        """The character's store."""
        return self.studio.store(self.character)

    def _saved(self, job: Job) -> list[ImageRecord]:
        return [self.store.images.get(image) for image in dict.fromkeys(job.artifacts.images or ())]

    def _opinions(self, records: list[ImageRecord]) -> list[Opinion]:
        pictures = [self.store.open_image(record.id) for record in records]
        opinions = self.reviewer.look(pictures, [record.asked for record in records])
        self.seen.update(zip((record.id for record in records), opinions, strict=True))
        return opinions

    def _decide(self, stage: str, record: ImageRecord, opinion: Opinion) -> None:
        self.reviewer.decide(
            stage,
            opinion,
            lambda verdict, reasons: self.store.decide(record.id, verdict, reviewer="stand-in", reasons=reasons),
        )

    def _sheet(self, name: str, title: str, records: list[ImageRecord], columns: int = 10) -> None:
        tiles = []
        for record in records:
            opinion = self.seen.get(record.id)
            label = "set aside" if record.filtered else f"{opinion.similarity:.2f}" if opinion else ""
            asked = " ".join(str(record.asked[name]) for name in list(record.asked)[:2])
            verdict = str(opinion.verdict) if opinion and not record.filtered else ""
            tiles.append((self.store.open_image(record.id), f"{label} {asked}".strip(), verdict))
        report.contact_sheet(tiles, self.out / name, title=title, columns=columns)

    def _wait(self, stage: str, job: Job) -> Job:
        """Follow a job to its end, with a bar. Raises: UserError when it did not get there."""
        started = time.monotonic()
        while (job := self.studio.jobs.get(job.id)).state in (JobState.QUEUED, JobState.RUNNING):
            _bar(stage, job)
            time.sleep(0.2)
        self.seconds[stage] = round(time.monotonic() - started, 1)
        if job.state is not JobState.DONE:
            raise UserError(f"The step '{stage}' ended {job.state}: {job.error.message}", job.error.hint)
        _bar(stage, job, f"{self.seconds[stage]:.0f} s\n")
        return job


def _fresh(out: Path, name: str) -> Path:
    """A folder that no earlier run has used: a demo never writes into another one's studio."""
    taken = [folder for folder in out.glob(f"{name}*") if folder.is_dir()]
    return out / (name if not taken else f"{name}-{len(taken) + 1}")


def _drawn_character(assets_folder: Path, out: Path, seed: int | None) -> tuple[Path, dict[str, dict[str, Any]]]:
    """A folder with twelve pictures, and the truth of each by file name."""
    if seed is None:
        folder = assets_folder / "sample"
        pictures = json.loads((folder / "character.json").read_text())["pictures"]
        return folder, {picture["file"]: picture["truth"] for picture in pictures}
    folder = _fresh(out, f"character-{seed}")
    folder.mkdir()
    truths = {}
    for n, scene in enumerate(load_class("engines.mini.world:sample_scenes")(seed)):
        picture: Image.Image = load_class("engines.mini.world:draw")(scene)
        picture.save(folder / f"{n + 1:02d}.png")
        truths[f"{n + 1:02d}.png"] = load_class("engines.mini.world:truth")(scene)
    return folder, truths


def _bar(stage: str, job: Job, ending: str = "") -> None:
    done = job.step / job.total if job.total else 0.0
    words = f"  {stage:<22} {'█' * round(24 * done):<24} {job.step}/{job.total}"
    rest = ending or (f"{job.eta_s:.0f} s left" if job.eta_s else "")
    if sys.stdout.isatty():
        print(f"\r\033[K{words}  {rest}", end="", flush=True)
    elif ending:
        print(f"{words}  {ending}", end="", flush=True)


def _peak_rss_gib() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 30 if sys.platform == "darwin" else 1 << 20)


def _print_summary(result: dict[str, Any], out: Path, home: Path) -> None:
    counts, cards, identity, editor = (result[key] for key in ("counts", "card", "identity", "editor"))
    margin = identity["margin_v1_over_base"]
    print(
        f"\n  One turn in {result['seconds'] / 60:.1f} minutes; the reviewer was a stand-in, not a human,\n"
        f"  and its corrections are drawn from the truth, cleaner than a human's would be.\n"
        f"  pictures   {counts['source']} sources → {counts['enriched']} enriched, {counts['good']} good "
        f"→ {counts['synthetic']} synthetic, {counts['accepted']} accepted; "
        f"{result['decisions'].get('shown', 0)} edits of what v1 missed\n"
        f"  identity   base {identity['base']:.2f} → v1 {identity['v1']:.2f} → v2 {identity['v2']:.2f}   "
        f"(v1 − base {margin['median_of_pairs']:+.2f}, 95 % {margin['interval_95'][0]:+.2f} … "
        f"{margin['interval_95'][1]:+.2f}, {identity['n']} pictures)\n"
        f"  first try  base {cards['base']['first_try_rate']:.0%} → v1 {cards['v1']['first_try_rate']:.0%} "
        f"→ v2 {cards['v2']['first_try_rate']:.0%}   (of {cards['v1']['n']} cells)\n"
        f"  editor     base {editor['base']['acceptance']:.0%} → v1 {editor['v1']['acceptance']:.0%} accepted\n"
        f"\n  Pictures, curves and report.json: {out}\n"
        f"  See it in the studio:             python launch.py --home {shlex.quote(str(home))}\n",
        flush=True,
    )
