"""What the calls of the scripted surface on trainings, versions, programs and the graphics card return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studio.api.results import Nothing, Queued
from studio.flywheel.train.checkpoints import Choice
from studio.flywheel.train.preflight import Preflight
from studio.records.base import Part
from studio.records.card import CardRun, Summary
from studio.records.outcome import Paired
from studio.records.version import Version

# ── train, judge, versions ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Preflighted(Part):
    """Holds the check of a training before it starts."""

    preflight: Preflight
    """The report; where its `ok` is false, a check in `musts` says what to do first."""


@dataclass(frozen=True, kw_only=True)
class QueuedVersion(Queued):
    """Holds a training and the LoRA version that was made of it."""

    version: Version | Nothing
    """The version; empty while the training still runs, which makes it when it stops."""


@dataclass(frozen=True, kw_only=True)
class Commands(Part):
    """Holds the shell commands that run a training without the studio."""

    alone: str
    """The command for one process."""
    all_cards: str
    """The command for all graphics cards of the machine."""


@dataclass(frozen=True, kw_only=True)
class CardReport(Part):
    """Holds a model card, its figures, and its comparison with another card."""

    card: CardRun
    """The card: each test picture with its outcomes."""
    summary: Summary
    """The card's figures; `first_try_rate` is the share of pictures of the first seed that passed."""
    compared: Paired | Nothing
    """The comparison, picture by picture, a being `against` and b the card; empty where none was asked for."""


@dataclass(frozen=True, kw_only=True)
class OneVersion(Part):
    """Holds one LoRA version."""

    version: Version
    """The version's record."""


@dataclass(frozen=True, kw_only=True)
class Versions(Part):
    """Holds LoRA versions."""

    versions: tuple[Version, ...]
    """The versions, the oldest first; their `id` is what other calls take as `version_id`."""


@dataclass(frozen=True, kw_only=True)
class Checkpoints(Part):
    """Holds the checkpoints of a training."""

    checkpoints: tuple[Choice, ...]
    """The checkpoints, the earliest first."""


@dataclass(frozen=True, kw_only=True)
class ExportedLora(Part):
    """Holds a LoRA that was written for other programs."""

    version_id: str
    """The version's id."""
    format: str
    """The form of the file."""
    file_path: str
    """The path of the file on the studio's machine; get it over HTTP as /gradio_api/file=PATH."""


@dataclass(frozen=True, kw_only=True)
class ExportedDataset(Part):
    """Holds a training set that was written for another trainer."""

    layout: str
    """The trainer that reads it."""
    pictures: int
    """The number of pictures in it."""
    file_path: str
    """The path of the zip on the studio's machine; get it over HTTP as /gradio_api/file=PATH."""


# ── other programs, the graphics card, sharing ──────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class ProgramRow(Part):
    """Holds another program into which LoRAs can be put."""

    program: str
    """The name by which version_deploy and program_folder know it."""
    label: str
    """Its name for people."""
    folder: str
    """The folder that it is installed in; "" where program_folder has not set it."""


@dataclass(frozen=True, kw_only=True)
class Programs(Part):
    """Holds the other programs into which LoRAs can be put."""

    programs: tuple[ProgramRow, ...]
    """The programs."""


@dataclass(frozen=True, kw_only=True)
class ProgramFolder(Part):
    """Holds the folder of another program as it is stored."""

    program: str
    """The program."""
    folder: str
    """Its folder; "" where it was forgotten."""


@dataclass(frozen=True, kw_only=True)
class DeployedFiles(Part):
    """Holds the files that were put into another program's folder."""

    files: Sequence[str]
    """The paths of the files: the LoRA, and where there are such, a preview, a description and a workflow."""


@dataclass(frozen=True, kw_only=True)
class Withdrawn(Part):
    """Holds what stayed in another program's folder."""

    left: Sequence[str]
    """The paths of files that were not deleted, because somebody has changed them since."""


@dataclass(frozen=True, kw_only=True)
class Held(Part):
    """Holds a model in memory and its size."""

    key: str
    """The model, or a part of it."""
    bytes: int
    """Its size."""


@dataclass(frozen=True, kw_only=True)
class CardStatus(Part):
    """Holds the state of the graphics card at one moment; all sizes are in bytes."""

    device: str
    """The kind of device: cuda, cpu or fake."""
    budget: int
    """The memory that the studio may use."""
    used: int
    """The memory that models take now."""
    residents: tuple[Held, ...]
    """The models on the card."""
    masters: tuple[Held, ...]
    """The models whose weights are in the machine's memory."""
    on_disk: tuple[Held, ...]
    """The models that were used earlier and have to be read from disk again."""
    holder: str
    """The job that uses the card, in words; "" for none."""
    stage: str
    """The stage of that job; "" for none."""
    peak: int
    """The most memory in use since the studio was started."""


@dataclass(frozen=True, kw_only=True)
class SharedLink(Part):
    """Holds the open page on which others review."""

    live: bool
    """Whether it is open."""
    url: str
    """The address to give to others."""
    local_url: str
    """The address on the studio's own machine."""
    public: bool
    """Whether the address can be reached from the internet."""
    network: bool
    """Whether it can be reached from the local network alone."""
    user: str
    """The user's name for the login."""
    password: str
    """The password for the login."""
    expires: str
    """When it closes, in UTC."""
    until: str
    """The same in words, in the time of the studio's machine."""
    message: str
    """Who can reach it, in words."""
    invitation: str
    """A text to send to those who shall review."""


@dataclass(frozen=True, kw_only=True)
class ClosedLink(Part):
    """Holds that no page for others is open."""

    live: bool
    """Always false."""
    was_live: bool
    """Whether one was open before."""
