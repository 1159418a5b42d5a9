"""`launch.py demo`: takes a character through all steps of the studio, without a browser; a program reviews."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from engines.api.errors import UserError
from engines.api.params import EditParams, TrainParams
from engines.catalogue.registry import load_class
from frontdoor import figures
from frontdoor.figures import Tile
from frontdoor.machine import peak_bytes
from frontdoor.report import CardRates, Counts, EditorReport, EditRates, Identity, Margin, Report
from frontdoor.standin import Opinion, Original, StandIn, Truth
from frontdoor.studio import open_studio, serve
from studio.flywheel import card, generate
from studio.flywheel.curate import captions, importing, inbox
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import practice, repeats
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.flywheel.train import runs
from studio.judging.statistics import bootstrap, median, wilson
from studio.records.card import CardRun
from studio.records.character import CHARACTER_SETTING
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job, JobState
from studio.records.payload import PlanRow
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Desk, Workplace

REVIEWER = (
    "a stand-in that judges with oracles trained on the drawn world's truth; no human took part. "
    "Its corrections are drawn from that truth, cleaner than a human's hand would make them"
)


@dataclass(frozen=True)
class Scale:
    """Holds the numbers of pictures that one run of the demo draws, and the settings of its trainings.

    The counts are: `edits` for the first edits, `shown` for edits of what the first model card (an evaluation grid)
    failed at, `synthetic` for generated pictures, `practice` for edits of the kinds at which the editor is weak, and
    `later_edits` for edits that compare the editor before and after its training. `card_seeds` are the seeds of each
    model card. `train` and `refine` are changes to the parameters of LoRA and editor training. With `control` the first
    LoRA is also trained longer on its own pictures.
    """

    edits: int = 56
    shown: int = card.SHOWN
    synthetic: int = 56
    card_seeds: tuple[int, ...] = (0, 1, 2)
    practice: int = practice.EDITS
    later_edits: int = 40
    control: bool = False
    train: Mapping[str, object] = field(default_factory=dict)
    refine: Mapping[str, object] = field(default_factory=dict)


def main(options: argparse.Namespace) -> int:
    """Takes one character through all steps of the studio, with small models; writes a report and returns 0.

    A program reviews in place of a human. `options` are those of the command line; with `--open` the studio then opens.
    """
    out = inbox.typed_path(str(options.out)).resolve()
    out.mkdir(parents=True, exist_ok=True)
    home = _unused_folder(out, "home")
    with closing(open_studio(home)) as workplace:
        report = Turn(workplace, out, Scale(control=options.control)).run(seed=options.seed)
    print(
        f"\n{report.summary()}\n"
        f"\n  Pictures, curves and report.json: {out}"
        f"\n  To see it in the studio:          python launch.py --home {shlex.quote(str(home))}\n",
        flush=True,
    )
    return serve(open_studio(home), port=0, browser=True) if options.open else 0


class Turn:
    """Runs the demo: takes one character through all steps of the studio, as a user would; a program reviews."""

    def __init__(self, workplace: Workplace, out: Path, scale: Scale) -> None:
        self.workplace = workplace
        self.out = out
        self.scale = scale
        self.losses: dict[str, list[tuple[int, float]]] = {}
        self.seconds: dict[str, float] = {}
        self.opinions: dict[str, Opinion] = {}

    @property
    def desk(self) -> Desk:
        """Returns the desk of the demo's character: the workplace, with the character's id and store."""
        return self.workplace.desk(self.character)

    @property
    def store(self) -> Store:
        """Returns the store of the demo's character: its pictures, verdicts, versions and other records."""
        return self.desk.store

    def run(self, seed: int | None) -> Report:
        """Runs all steps for one character, writes the report and its pictures, and returns the report.

        `seed` is the number of the character to draw, None takes the sample. Raises: UserError when a step fails.
        """
        started = time.monotonic()
        self.workplace.jobs.start()
        self._curate(seed)
        edits = self._enrich("enrich", enrich.plan(self.desk, limit=self.scale.edits).rows)
        self._review_edits("enriched", edits)
        v1 = self._train("v1")
        cards = {"base": self._card("base", ""), "v1": self._card("v1", v1.id)}
        if self.scale.control:
            cards["v1 longer"] = self._card("v1 longer", self._train("v1 longer", start=v1.id).id)
            self.store.adopt(v1.id)
        if aims := card.lessons(cards["v1"]):  # what v1 never draws right, no review can pick from its pictures
            rows = enrich.plan(self.desk, limit=self.scale.shown, aims=aims).rows
            self._review_edits("shown", self._enrich("show the missed", rows))
        synthetic = self._generate(v1)
        cards["v2"] = self._card("v2", self._train("v2", start=v1.id).id)
        editor = self._refine()

        report = Report(
            seed=seed,
            counts=self._counts(edits, synthetic),
            card={name: self._card_rates(run) for name, run in cards.items()},
            identity=self._identity(cards),
            editor=editor,
            decisions=dict(self.reviewer.decisions),
            seconds=round(time.monotonic() - started, 1),
            seconds_per_stage=self.seconds,
            peak_rss_gib=round(peak_bytes() / (1 << 30), 2),
            reviewer=REVIEWER,
        )
        figures.loss_plot(self.losses, self.out / "loss.png")
        report.write(self.out / "report.json")
        return report

    # ── flywheel 1 ──────────────────────────────────────────────────────────────────────────────

    def _curate(self, seed: int | None) -> None:
        """Imports and captions twelve pictures, approves them, and makes the reviewer, which knows their truth."""
        folder, truths = drawn_character(self.workplace.settings.assets, self.out, seed)
        name = "Robin" if seed is None else f"Character {seed}"
        self.character = self.workplace.library.create(f"{name} (demo)").id
        self.workplace.library.set_setting(CHARACTER_SETTING, self.character)
        pictures = [folder / name for name in truths]  # without the captions beside them: the captioner writes its own
        imported = self._wait("import", importing.submit_import(self.desk, pictures))
        self._wait("caption", captions.submit_caption(self.desk))
        originals = {
            record.id: Original(truths[record.name], self.store.open_image(record.id))
            for record in self.store.select(kind=Kind.SOURCE)
        }
        if len(originals) != len(truths):
            artifacts = str(imported.artifacts.to_json())
            raise UserError(f"Only {len(originals)} of {len(truths)} pictures were imported.", artifacts)
        self.reviewer = StandIn.for_originals(self.workplace.settings.assets, originals)
        for image_id in originals:
            self.store.decide(image_id, Verdict.GOOD, reviewer="stand-in")
            self.reviewer.decisions["sources"] += 1

    def _enrich(self, stage: str, rows: Sequence[PlanRow]) -> list[ImageRecord]:
        """Runs the edits of a plan and returns their pictures; `stage` is the step's name in the report."""
        return self._results(self._wait(stage, enrich.submit(self.desk, rows)))

    def _review_edits(self, stage: str, records: Sequence[ImageRecord]) -> None:
        """Gives every edit a verdict; one that was not done as asked is corrected, which makes a golden triplet."""
        for record, opinion in zip(records, self._judge(records), strict=True):
            if opinion.verdict is Verdict.NEEDS_CORRECTION:
                fixed = self.reviewer.correct(record.parent, record.asked, record.width)
                self.store.correct(record.id, fixed, reviewer="stand-in", reason=", ".join(opinion.reasons))
                self.reviewer.decisions[stage] += 1
                self.reviewer.decisions["corrections"] += 1
            else:
                self._decide(stage, record, opinion)
        self._sheet(f"{stage}.png", f"Edits as reviewed: {stage}", records)

    def _train(self, name: str, start: str = "") -> Version:
        """Trains a version on all that is approved so far, adopts it and returns it.

        `start` is the id of the version whose LoRA the training continues; "" starts a new LoRA.
        """
        spec = self.workplace.registry.spec(self.store.character.generator)
        params = spec.params(TrainParams, **self.scale.train)
        job = self._wait(f"train {name}", train.submit(self.desk, params=params, start=start))
        self.losses[f"character {name}"] = runs.losses(self.workplace, job.id)
        version = self.store.versions.find(job=job.id)[-1]
        return self.store.adopt(version.id)

    def _card(self, name: str, version: str) -> CardRun:
        """Draws a version's model card ("" is the base model), judges its cells, and returns the record."""
        submitted = card.submit(self.desk, version=version, seeds=self.scale.card_seeds)
        job = self._wait(f"card {name}", submitted)
        run = self.store.cards.find(job=job.id)[-1]
        records = [self.store.images.get(cell.image) for cell in run.cells]
        for cell, opinion in zip(run.cells, self._judge(records), strict=True):
            card.set_human(self.desk, run.id, cell.cell, cell.seed, not opinion.reasons)
            self.reviewer.decisions["card"] += 1
        self._sheet(f"card-{name}.png", f"Model card, {name}", records, columns=len(self.scale.card_seeds) * 4)
        return self.store.cards.get(run.id)

    def _generate(self, version: Version) -> list[ImageRecord]:
        """Generates new scenes, reviews those that passed the identity filter, and returns all.

        Half of the scenes show what the version's model card missed.
        """
        half = self.scale.synthetic // 2
        missed = card.missed(self.desk, version.id)
        items = [
            *generate.scene_items(self.desk, self.scale.synthetic - half, version.id, seed=1000),
            *generate.scene_items(self.desk, half, version.id, seed=2000, aims=missed),
        ]
        records = self._results(self._wait("generate", generate.submit(self.desk, items, version=version.id)))
        passed = [record for record in records if not record.filtered]
        for record, opinion in zip(passed, self._judge(passed), strict=True):
            self._decide("synthetic", record, opinion)
        self._sheet("synthetic.png", "New scenes: filtered by identity, then reviewed", records)
        return records

    # ── flywheel 2 ──────────────────────────────────────────────────────────────────────────────

    def _refine(self) -> EditorReport:
        """Trains the editor on the triplets, then compares base and v1 on the same new edits with the same seeds."""
        if any(each.refused for each in practice.standings(self.desk)):
            practised = practice.plan(self.desk, self.scale.practice).rows
            self._review_edits("practised", self._enrich("practise", practised))
        asked = repeats.asked(self.store)
        rows = enrich.plan(self.desk, limit=self.scale.later_edits).rows
        base = self._enrich("enrich again, base", rows)
        spec = self.workplace.registry.spec(self.store.character.editor)
        params = spec.params(TrainParams, **self.scale.refine)
        job = self._wait("train editor v1", refine.submit(self.desk, params=params))
        self.losses["editor v1"] = runs.losses(self.workplace, job.id)
        version = self.store.versions.find(job=job.id)[-1]
        refine.adopt(self.desk, version.id)
        after = self._enrich("enrich again, v1", rows)
        wordings = [(row.source, EditParams.from_json(row.params).headline()) for row in rows]
        return EditorReport(
            never_asked_before=sum(words not in asked for words in wordings),
            base=self._edit_rates("base", base),
            v1=self._edit_rates("v1", after),
            triplets=dict(Counter("golden" if each.golden else "positive" for each in self.store.triplets.all())),
            adopted=self.store.adopted(Role.EDITOR) is not None,
        )

    def _edit_rates(self, name: str, records: Sequence[ImageRecord]) -> EditRates:
        """Reviews the edits of one editor; returns the shares that were accepted, were done, and kept the person."""
        opinions = self._judge(records)
        for record, opinion in zip(records, opinions, strict=True):
            self._decide(f"editor {name}", record, opinion)
        self._sheet(f"editor-{name}.png", f"The same edits, editor {name}", records)
        good = sum(opinion.verdict is Verdict.GOOD for opinion in opinions)
        low, high = wilson(good, len(records))
        return EditRates(
            acceptance=round(good / len(records), 4),
            n=len(records),
            interval=(round(low, 4), round(high, 4)),
            edit_done=round(sum(not o.wrong for o in opinions) / len(records), 4),
            identity_kept=round(sum(o.identity for o in opinions) / len(records), 4),
        )

    # ── the report ──────────────────────────────────────────────────────────────────────────────

    def _counts(self, edits: Sequence[ImageRecord], synthetic: Sequence[ImageRecord]) -> Counts:
        """Returns the turn's pictures counted by kind and by their present verdict."""
        states = Counter(self.store.images.get(record.id).state for record in edits)
        return Counts(
            source=len(self.store.select(kind=Kind.SOURCE)),
            enriched=len(edits),
            good=states[Verdict.GOOD],
            needs_correction=states[Verdict.NEEDS_CORRECTION],
            reject=states[Verdict.REJECT],
            synthetic=len(synthetic),
            filtered=sum(record.filtered for record in synthetic),
            accepted=sum(self.store.images.get(record.id).state is Verdict.GOOD for record in synthetic),
        )

    def _card_rates(self, run: CardRun) -> CardRates:
        """Returns the shares of a model card's cells that the reviewer found right."""
        first = [cell for cell in run.cells if cell.seed == self.scale.card_seeds[0]]
        right = sum(cell.human is True for cell in first)
        low, high = wilson(right, len(first))
        every = sum(cell.human is True for cell in run.cells)
        return CardRates(
            first_try_rate=round(right / len(first), 4),
            n=len(first),
            interval=(round(low, 4), round(high, 4)),
            all_seeds_rate=round(every / len(run.cells), 4),
            all_seeds_n=len(run.cells),
        )

    def _identity(self, cards: Mapping[str, CardRun]) -> Identity:
        """Returns the similarity of the model cards' pictures to the originals, by an encoder that filtered nothing."""
        values = {name: [self.opinions[cell.image].similarity for cell in run.cells] for name, run in cards.items()}
        pairs = [v1 - base for v1, base in zip(values["v1"], values["base"], strict=True)]
        margin, low, high = bootstrap(pairs)
        return Identity(
            medians={name: round(median(row), 4) for name, row in values.items()},
            n=len(values["base"]),
            margin_v1_over_base=Margin(median_of_pairs=round(margin, 4), interval_95=(round(low, 4), round(high, 4))),
            threshold=round(self.reviewer.threshold, 4),
        )

    # ── jobs and reviews ────────────────────────────────────────────────────────────────────────

    def _results(self, job: Job) -> list[ImageRecord]:
        """Returns the pictures that a job made, each once."""
        return [self.store.images.get(image) for image in dict.fromkeys(job.artifacts.images or ())]

    def _judge(self, records: Sequence[ImageRecord]) -> list[Opinion]:
        """Returns the reviewer's opinion of each picture, and keeps it for the sheets and the report."""
        pictures = [self.store.open_image(record.id) for record in records]
        opinions = self.reviewer.judge(pictures, [record.asked for record in records])
        self.opinions.update(zip((record.id for record in records), opinions, strict=True))
        return opinions

    def _decide(self, stage: str, record: ImageRecord, opinion: Opinion) -> None:
        """Stores the opinion's verdict on a picture; `stage` is the step's name in the report."""
        self.reviewer.decide(
            stage,
            opinion,
            lambda verdict, reasons: self.store.decide(record.id, verdict, reviewer="stand-in", reasons=reasons),
        )

    def _sheet(self, name: str, title: str, records: Sequence[ImageRecord], columns: int = 10) -> None:
        """Writes a contact sheet of pictures with similarity, the first two attributes asked for, and verdict."""
        tiles = []
        for record in records:
            opinion = self.opinions.get(record.id)
            label = "set aside" if record.filtered else f"{opinion.similarity:.2f}" if opinion else ""
            asked = " ".join(str(record.asked[name]) for name in list(record.asked)[:2])
            verdict = str(opinion.verdict) if opinion and not record.filtered else ""
            tiles.append(Tile(self.store.open_image(record.id), f"{label} {asked}".strip(), verdict))
        figures.contact_sheet(tiles, self.out / name, title=title, columns=columns)

    def _wait(self, stage: str, job: Job) -> Job:
        """Waits until a job ends, prints its progress, and returns it. Raises: UserError when it was not done."""
        started = time.monotonic()
        while (job := self.workplace.jobs.get(job.id)).state in (JobState.QUEUED, JobState.RUNNING):
            _print_progress(stage, job)
            time.sleep(0.2)
        self.seconds[stage] = round(time.monotonic() - started, 1)
        if job.state is not JobState.DONE:
            cause = f"The step '{stage}' was not done; its job is {job.state}: {job.error.message}"
            raise UserError(cause, job.error.hint)
        _print_progress(stage, job, f"{self.seconds[stage]:.0f} s\n")
        return job


def _unused_folder(out: Path, name: str) -> Path:
    """Returns a folder that no earlier run has used, so that a run never writes into another one's data."""
    folder, number = out / name, 1
    while folder.exists():
        number += 1
        folder = out / f"{name}-{number}"
    return folder


def drawn_character(assets_folder: Path, out: Path, seed: int | None) -> tuple[Path, dict[str, Truth]]:
    """Returns a folder with twelve pictures of a character, and each picture's truth by its file name.

    `seed` is the number of a new character to draw; None is the sample character.
    """
    if seed is None:
        folder = assets_folder / "sample"
        pictures = json.loads((folder / "character.json").read_text())["pictures"]
        return folder, {picture["file"]: picture["truth"] for picture in pictures}
    folder = _unused_folder(out, f"character-{seed}")
    folder.mkdir()
    truths = {}
    for n, scene in enumerate(load_class("engines.mini.world:sample_scenes")(seed)):
        picture: Image.Image = load_class("engines.mini.world:draw")(scene)
        picture.save(folder / f"{n + 1:02d}.png")
        truths[f"{n + 1:02d}.png"] = load_class("engines.mini.world:truth")(scene)
    return folder, truths


def _print_progress(stage: str, job: Job, ending: str = "") -> None:
    """Prints a job's progress bar; off a terminal only the last one, with `ending` in place of the time left."""
    done = job.step / job.total if job.total else 0.0
    words = f"  {stage:<22} {'█' * round(24 * done):<24} {job.step}/{job.total}"
    rest = ending or (f"{job.eta_s:.0f} s left" if job.eta_s else "")
    if sys.stdout.isatty():
        print(f"\r\033[K{words}  {rest}", end="", flush=True)
    elif ending:
        print(f"{words}  {ending}", end="", flush=True)
