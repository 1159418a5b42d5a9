"""What the calls of the scripted surface return: records whose JSON, beside `ok`, is the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from studio.flywheel.curate.coverage import Check
from studio.flywheel.enrich.edits import EnrichPlan
from studio.flywheel.enrich.practice import Standing
from studio.records.base import UNLESS_DEFAULT, Part
from studio.records.character import Character
from studio.records.event import Told
from studio.records.image import ImageRecord
from studio.records.job import Advised, Artifacts, Duplicate, JobError, JobState, Refused
from studio.records.review import Decision, Triplet


@dataclass(frozen=True, kw_only=True)
class Nothing(Part):
    """Stands where there is no record: an empty object."""


@dataclass(frozen=True, kw_only=True)
class ApiNames(Part):
    """Holds the version of the scripted surface and its names."""

    version: int
    """Grows when a name or a parameter goes."""
    names: tuple[str, ...]
    """All names of the surface, in the order of the work."""


# ── characters ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class ListedCharacter(Character):
    """Holds a character's record, and why it cannot be opened."""

    trouble: str
    """Why the character cannot be opened; "" where it can."""


@dataclass(frozen=True, kw_only=True)
class ListedCharacters(Part):
    """Holds the characters outside the trash."""

    characters: tuple[ListedCharacter, ...]
    """The characters; their `id` is what other calls take as `character_id`."""


@dataclass(frozen=True, kw_only=True)
class TrashedCharacters(Part):
    """Holds the characters in the trash."""

    characters: tuple[Character, ...]
    """The characters in the trash, the newest deletion first."""


@dataclass(frozen=True, kw_only=True)
class OneCharacter(Part):
    """Holds one character."""

    character: Character
    """The character's record."""


@dataclass(frozen=True, kw_only=True)
class ChangedCharacter(OneCharacter):
    """Holds a changed character."""

    captions: int
    """The number of captions that were changed with it."""


# ── jobs ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Queued(Part):
    """Holds a submitted job, which runs when its turn comes; job_status tells how far it is."""

    job_id: str
    """The job's id, for job_status, job_cancel and job_resume."""
    state: JobState
    """The job's state; it ends as done, failed, cancelled or interrupted."""
    position: int
    """The number of jobs before it in the queue."""
    notes: tuple[str, ...]
    """What of the given LoRA files is not used, in words."""


@dataclass(frozen=True, kw_only=True)
class QueuedFile(Queued):
    """Holds a submitted job that writes a file."""

    file_path: str
    """The path that the file will have, on the studio's machine, when the job is done."""


@dataclass(frozen=True, kw_only=True)
class QueuedImport(Queued):
    """Holds an import, which is mostly done when the call answers; else job_status tells the rest."""

    imported: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The ids of the new pictures."""
    masked: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The ids of pictures that got a mask, from a file beside them."""
    paired: tuple[str, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The ids of the results of edits, which the editor learns; they are no pictures of the character."""
    duplicates: tuple[Duplicate, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The files that were left out, as the character has their picture already."""
    refused: tuple[Refused, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """The files that were refused, each with the reason."""
    advice: tuple[Advised, ...] | None = field(default=None, metadata=UNLESS_DEFAULT)
    """What is to be said of pictures that were imported all the same, such as that they are blurred."""
    error: JobError
    """Why the import failed; empty where it did not."""


@dataclass(frozen=True, kw_only=True)
class JobRow(Part):
    """Holds a job of the queue with its progress and results, without its parameters."""

    job_id: str
    """The job's id."""
    created: str
    """When it was submitted, in UTC."""
    kind: str
    """What it does: import, caption, enrich, train, generate, card, refine, pull, backup or restore."""
    character: str
    """The id of its character."""
    title: str
    """What it does, in words."""
    state: JobState
    """queued, then running; at the end done, failed (`error` says why), cancelled (by you) or interrupted (the studio
    was closed or crashed). All but done can be gone on with by job_resume."""
    position: float
    """Its place in the queue; the least comes first."""
    key: str
    """The name that the caller gave it; "" for none."""
    step: int
    """How many of its items or steps are done."""
    total: int
    """How many items or steps it has; 0 while that is not known."""
    unit: str = field(default="", metadata=UNLESS_DEFAULT)
    """bytes where `step` and `total` count bytes."""
    message: str
    """What it is doing, in words."""
    started: str
    """When it began to run, in UTC; "" before."""
    ended: str
    """When it ended, in UTC; "" before."""
    ended_as: int
    """The ordinal number of its end among all jobs; 0 before."""
    rate: float
    """Seconds per step; 0 while that is not known."""
    eta_s: float
    """The seconds that it will still take; 0 while that is not known."""
    waits_for: str
    """What it waits for, such as the graphics card; "" for nothing."""
    artifacts: Artifacts
    """Its results so far, such as the ids of its pictures or of its version."""
    error: JobError
    """Why it failed; empty where it did not."""


@dataclass(frozen=True, kw_only=True)
class Jobs(Part):
    """Holds jobs."""

    jobs: tuple[JobRow, ...]
    """The running job, then those in the queue in their order, then those that ended, the newest first."""


@dataclass(frozen=True, kw_only=True)
class JobStatus(JobRow):
    """Holds a job, and what has happened in it since the last question."""

    position: float
    """The number of jobs before it in the queue; 0 where it runs or has ended."""
    events: tuple[Told, ...]
    """What has happened since `since`, oldest first; the kind of each is known by its fields."""
    next: int
    """The number to pass as `since` in the next call."""


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Picture(ImageRecord):
    """Holds a picture's record, and where its files are on the studio's machine."""

    file_path: str
    """The path of the picture; get it over HTTP as /gradio_api/file=PATH."""
    thumb_path: str
    """The path of its thumbnail."""
    trouble: str
    """Why a file cannot be used; "" where both can."""


@dataclass(frozen=True, kw_only=True)
class OneImage(Part):
    """Holds one picture's record."""

    image: ImageRecord
    """The picture's record."""


@dataclass(frozen=True, kw_only=True)
class SomeImages(Part):
    """Holds the records of pictures."""

    images: tuple[ImageRecord, ...]
    """The records of the pictures."""


@dataclass(frozen=True, kw_only=True)
class ImagePage(SomeImages):
    """Holds a part of a list of pictures."""

    total: int
    """The number of pictures in the whole list."""


@dataclass(frozen=True, kw_only=True)
class PictureAbout(Part):
    """Holds a picture, and the ids of the pictures and versions that it has to do with."""

    image: Picture
    """The picture."""
    parents: tuple[str, ...]
    """The ids of the pictures that it was made from, the nearest first."""
    children: tuple[str, ...]
    """The ids of the pictures that were made from it."""
    twins: tuple[str, ...]
    """The ids of pictures of the same words and seed."""
    taught: tuple[str, ...]
    """The ids of the LoRA versions that learned from it."""


@dataclass(frozen=True, kw_only=True)
class Captioned(OneImage):
    """Holds a captioned picture."""

    leaks: Sequence[str]
    """The caption's words for what never changes, such as hair: the trigger word should stand for it."""


@dataclass(frozen=True, kw_only=True)
class Captions(Part):
    """Holds captions."""

    captions: Mapping[str, str]
    """The new captions, by the picture's id."""


@dataclass(frozen=True, kw_only=True)
class Undone(Part):
    """Holds what an undo took back."""

    undone: str
    """The change that was taken back, in words."""
    count: int
    """The number of pictures that it concerned."""


@dataclass(frozen=True, kw_only=True)
class Covered(Part):
    """Holds how many pictures show an angle with an expression."""

    angle: str
    """The angle of the head."""
    expression: str
    """The expression of the face."""
    count: int
    """The number of pictures."""


@dataclass(frozen=True, kw_only=True)
class CoverageReport(Part):
    """Holds what the pictures that may be trained on show, and what they do not."""

    cells: tuple[Covered, ...]
    """The number of pictures by angle and expression."""
    framings: Mapping[str, int]
    """The number of pictures by how much of the person they show."""
    poses: Mapping[str, int]
    """The number of pictures by pose."""
    missing: tuple[tuple[str, str], ...]
    """The pairs of angle and expression that no picture shows."""
    missing_poses: tuple[str, ...]
    """The poses that no picture shows."""
    checklist: tuple[Check, ...]
    """What a good set of pictures has, each with whether it is met and what to do."""
    around: Mapping[str, int]
    """The number of pictures by angle, all around the person; those whose angle is not known count nowhere."""
    elevations: Mapping[str, int]
    """The number of pictures by the height of the camera; those of which it is not known count nowhere."""


# ── enrich and review ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class PracticePlan(EnrichPlan):
    """Holds a plan of edits that practises what the editor is weak at, and how its edits fared so far."""

    standings: tuple[Standing, ...]
    """For each kind of edit, how many were reviewed and how many of these were accepted."""


@dataclass(frozen=True, kw_only=True)
class ToReview(Part):
    """Holds pictures that wait for a verdict."""

    images: tuple[Picture, ...]
    """The pictures, the next one to review first."""
    left: int
    """The number of all pictures that wait for a verdict."""


@dataclass(frozen=True, kw_only=True)
class OneDecision(Part):
    """Holds one verdict."""

    decision: Decision
    """The verdict, and what it replaced."""


@dataclass(frozen=True, kw_only=True)
class Decided(OneDecision):
    """Holds a verdict that was just given."""

    left: int
    """The number of pictures that still wait for a verdict."""


@dataclass(frozen=True, kw_only=True)
class Corrected(Part):
    """Holds a correction that was added."""

    triplet: Triplet
    """The example that the editor learns from: source, instruction, right result, wrong result."""
    image_id: str
    """The id of the corrected picture."""


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Problem(Part):
    """Holds why a call was refused."""

    code: str
    """The kind of problem, for programs: bad_input, not_found, busy, model_missing, disk_full and others."""
    message: str
    """What is wrong, naming the argument or the file."""
    hint: str
    """What to do about it."""


@dataclass(frozen=True, kw_only=True)
class Refusal(Part):
    """Stands for the answer of any call that was refused: `ok` is false, nothing was queued and nothing has changed."""

    error: Problem
    """What is wrong, and what to do."""
