"""What the studio may ask of an engine: plans, stages, protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from engines.api.params import CaptionParams, EditParams, GenerateParams, LoraUse, Params, TrainParams

if TYPE_CHECKING:
    from PIL.Image import Image

P = TypeVar("P", bound=Params)


@dataclass(frozen=True, kw_only=True)
class LoraFiles:
    """How the world writes a family's LoRA files: what they say they are, and what they call its modules."""

    declared: tuple[str, ...] = ()  # beginnings of the architecture that a file names, in lower case
    architecture: str = ""  # what ours name, by Stability-AI/ModelSpec
    architectures: Mapping[str, str] = field(default_factory=dict)  # the same of models that have one of their own
    implementation: str = ""
    base_version: str = ""  # kohya's ss_base_model_version
    network: str = ""  # kohya's ss_network_module
    reader: str = ""  # "module:Class" of diffusers' converter from Black Forest Labs' names; "" where none has them
    reads_dotted: bool = False  # whether it reads the makers' own dotted names, too, not kohya's flat ones alone
    cut_at: int = 0  # the one hidden size at which that converter knows how to part fused layers; 0: none is known
    fused: Mapping[str, int] = field(default_factory=dict)  # ending of their module -> how many ours it holds
    names: str = ""  # "module:function" from our module to its Slot; "" where other tools name it as we do


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One row of the registry: all that sets a model apart from its family."""

    name: str
    label: str
    role: str  # generator | editor | scorer
    family: str
    engine: str  # "module:Class"
    source: str  # a hub repository, or "assets:FOLDER" for what ships with us
    licence: str
    gated: bool = False
    toy: bool = False  # a label in tabs, `doctor` and `models`: the embedded toy world; no engine reads it
    wording: str = "photographs"  # a row of engines/wording/registry.py: what the model is asked with
    dtype: str = "bfloat16"  # torch's name of what a generator's or an editor's weights are held in
    size: tuple[int, int] = (1024, 1024)
    multiple: int = 16  # pixels: sides of a picture that a generator learns are multiples of it
    trainer: str = ""  # "module:Class" of the family's LoRA adapter
    loop: str = "engines.training.trainer:LoraTrainer"  # "module:Class" of the training loop
    captioner: str = "engines.families.qwen_edit.captioner:QwenCaptioner"  # over an editor's own text encoder
    component_bytes: Mapping[str, int] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # Params class name -> knobs
    few_steps: Mapping[str, Any] = field(default_factory=dict)  # file in its folder, knobs, scheduler; {} for none
    options: Mapping[str, Any] = field(default_factory=dict)  # read by its engine alone
    lora: LoraFiles = field(default_factory=LoraFiles)
    true_guidance: bool = False  # GenerateParams.guidance is classifier-free, not a number that the model is told
    pipeline: str = "DiffusionPipeline"  # diffusers' class that draws with it and its LoRAs
    note: str = ""
    why: Mapping[str, str] = field(default_factory=dict)  # Params class name -> where its defaults come from

    def params(self, kind: type[P], /, **changes: Any) -> P:
        """A model's own defaults of one kind of parameters, with `changes` on top."""
        few = self.few_steps.get("knobs", {}) if changes.get("few_steps") else {}
        return kind.from_json({**self.defaults.get(kind.__name__, {}), **few, **changes})

    def worded(self, kind: type[P], words: str, /, **changes: Any) -> P:
        """Returns a model's own defaults with these words, in whichever field this kind of parameters has for them."""
        return self.params(kind, **{kind.worded: words}, **changes)


def _nothing(loaded: Any) -> int:
    """A part holds no RAM beside its weights."""
    return 0


@dataclass(frozen=True)
class Component:
    """A part of a model that moves as one: loaded to the host once, placed on the card when leased.

    `key` is the same for the same weights, whichever engine asks; `bytes` is what it takes on the card.
    `beside` answers the RAM that what was loaded holds beside its weights by now, wherever these are; from any thread.
    """

    key: str
    bytes: int
    load: Callable[[], Any] = field(compare=False, repr=False)
    streamed_bytes: int = 0  # what it takes when its blocks visit the card one by one; 0: it only runs whole
    beside: Callable[[Any], int] = field(default=_nothing, compare=False, repr=False)


def _as_it_is(parts: Mapping[str, Any]) -> AbstractContextManager[object]:
    """A stage's work needs nothing around it."""
    del parts
    return nullcontext()


@dataclass(frozen=True)
class Stage:
    """Components that must be resident together, and the working bytes beside them.

    `leaner` is the same stage done with less memory, and more time or a trace of quality: it is taken where this one
    does not fit, or has run out. `how` tells a user what is different then, `around` encloses the work.
    """

    name: str
    components: tuple[Component, ...]
    working_bytes: int = 0
    how: str = ""
    streams: bool = False  # the blocks of components that can be streamed visit the card one by one
    around: Callable[[Mapping[str, Any]], AbstractContextManager[object]] = field(
        default=_as_it_is, compare=False, repr=False
    )
    leaner: Stage | None = None

    def streamed(self, component: Component) -> bool:
        """Whether a component comes block by block."""
        return self.streams and component.streamed_bytes > 0

    def size(self, component: Component) -> int:
        """What a component takes on the card."""
        return component.streamed_bytes if self.streamed(component) else component.bytes


@dataclass(frozen=True)
class Plan:
    """What a job will ask of the card, in order."""

    what: str
    stages: tuple[Stage, ...]


class Lease(Protocol):
    """Exclusive use of the card for the length of a job."""

    def stage(self, name: str) -> AbstractContextManager[Mapping[str, Any]]:
        """Make a stage's components resident; yields component name (the part of its key after `/`) -> module."""
        ...

    @property
    def device(self) -> Any:
        """What torch calls the device, or the fake's name."""
        ...


class Device(Protocol):
    """The card as the manager sees it; the fake one is as large as a test wants."""

    name: str
    torch_device: str  # what engines hand to torch: "cpu", "cuda:0"
    in_place: bool  # what is loaded lies where it runs: no copy beside a master, and nothing to stream

    def total_bytes(self) -> int:
        """Capacity."""
        ...

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether an error is this device's way of saying that something did not fit."""
        ...

    def free_bytes(self) -> int:
        """What can still be placed, our own caches counted as free."""
        ...

    def keep(self, host: Any, nbytes: int, room: int) -> int:
        """Make a fresh host master ready for quick copies, within `room` bytes; answers the RAM that it holds."""
        ...

    def release(self, host: Any) -> None:
        """A host master goes; a copy of it on the card stays."""
        ...

    def put(self, host: Any, nbytes: int, *, streamed: bool = False) -> Any:
        """Place a host master's weights and answer what computes with them; `streamed` lets blocks come one by one.

        Raises: MemoryError when it does not fit, with nothing half-placed.
        """
        ...

    def drop(self, placed: Any, nbytes: int) -> None:
        """Forget a copy; nothing is written back."""
        ...

    def reclaim(self) -> None:
        """Collect garbage and give cached blocks back."""
        ...

    def peak_bytes(self, *, reset: bool = False) -> int:
        """The most that was in use since the last reset."""
        ...


class OnStep(Protocol):
    """Called at least once a step; raises Cancelled when the user wants out."""

    def __call__(self, step: int, total: int, message: str = "") -> None:
        """`step` of `total` is done."""
        ...


@dataclass(frozen=True)
class EditItem:
    """One edit to do: the picture, further references, the knobs."""

    source: Image
    params: EditParams
    references: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Caption:
    """What a captioner saw: words, and the attributes it is sure enough to name."""

    text: str
    tags: Mapping[str, str] = field(default_factory=dict)


class TakesLoras(Protocol):
    """An engine that draws with LoRA files."""

    def check_loras(self, uses: Sequence[LoraUse]) -> list[str]:
        """Returns in words what of LoRA files will not be used. Raises: NotFound, LoraMismatch, BadInput."""
        ...


class Generator(TakesLoras, Protocol):
    """Text to pictures."""

    spec: ModelSpec

    def plan(self, items: Sequence[GenerateParams]) -> Plan:
        """The stages these pictures need."""
        ...

    def generate(self, items: Sequence[GenerateParams], lease: Lease, on_step: OnStep) -> Iterator[Image]:
        """Pictures in the order asked, each yielded as soon as it is decoded."""
        ...


class Editor(TakesLoras, Protocol):
    """Pictures and instructions to pictures."""

    spec: ModelSpec

    def plan(self, items: Sequence[EditItem]) -> Plan:
        """The stages these edits need."""
        ...

    def edit(self, items: Sequence[EditItem], lease: Lease, on_step: OnStep) -> Iterator[Image]:
        """Results in the order asked, each yielded as soon as it is decoded."""
        ...


class Captioner(Protocol):
    """Pictures to words."""

    spec: ModelSpec

    def plan(self, count: int, params: CaptionParams) -> Plan:
        """The stages that many captions need."""
        ...

    def caption(
        self, images: Sequence[Image], params: CaptionParams, lease: Lease, on_step: OnStep
    ) -> Iterator[Caption]:
        """One caption a picture, trigger first, never naming what is constant about the character."""
        ...


@dataclass(frozen=True)
class Embedding:
    """A unit vector that is close for the same person."""

    vector: tuple[float, ...]
    kind: str = "image"  # face | image


@dataclass(frozen=True)
class NoFace:
    """An outcome, not a similarity of 0: there was nothing to compare."""

    reason: str = "no face found"


class Scorer(Protocol):
    """Who is this? Runs on the CPU, so that it never waits for the card."""

    spec: ModelSpec
    version: str  # stored beside every score
    threshold: float | None  # cosine from which two pictures show the same one, where those who trained it say so

    def embed(self, images: Sequence[Image]) -> list[Embedding | NoFace]:
        """One outcome a picture."""
        ...


@dataclass(frozen=True)
class TrainItem:
    """A picture and the words it is trained with; `references` are what an editor is shown.

    `mask`: a picture of the same size, white where it counts, black where it counts less.
    `crop`: the part that is learned, as left, top, right, bottom in shares of the picture; empty for all of it.
    The first reference, which the picture was made from, is cut alike, after `source_crop`: the part that was edited.
    """

    image: Path
    caption: str
    references: tuple[Path, ...] = ()
    mask: Path | None = None
    crop: tuple[float, ...] = ()
    source_crop: tuple[float, ...] = ()


@dataclass(frozen=True)
class TrainRun:
    """A run is a folder: all that is needed to start it, or to go on with it, lies in there."""

    folder: Path
    items: tuple[TrainItem, ...]
    params: TrainParams
    previews: tuple[GenerateParams | EditItem, ...] = ()
    trigger: str = ""  # kept in the adapter file, so that whoever loads it knows what to write
    start: Path | None = None  # an adapter to go on from, instead of from nothing
    cache: Path | None = None  # where encoded pictures and words are kept for other runs, too; else in the run's folder


BANDS = (1 / 3, 2 / 3)  # where the low, the middle and the high noise levels part


@dataclass(frozen=True)
class StepDone:
    """One optimiser step; `loss` is that of its batch, `sigma` its mean noise level.

    `bands` is the loss of those of its examples that had a low, a middle and a high noise level, None where none had;
    `memory` the most bytes that were in use so far, 0 where nobody measured.
    """

    step: int
    total: int
    loss: float
    sigma: float
    learning_rate: float
    grad_norm: float
    seconds: float
    bands: tuple[float | None, ...] = ()
    memory: int = 0


@dataclass(frozen=True)
class CheckpointSaved:
    """A full state is on disk; `adapter` is the LoRA file in it."""

    step: int
    adapter: Path


@dataclass(frozen=True)
class SampleDrawn:
    """A fixed-seed preview."""

    step: int
    index: int
    image: Image


TrainEvent = StepDone | CheckpointSaved | SampleDrawn


@dataclass(frozen=True)
class DiskUse:
    """What a training writes: one full checkpoint, and what one item is kept as once it is encoded; bytes."""

    checkpoint: int
    item: int


class Trainer(Protocol):
    """Pictures and words to a LoRA."""

    spec: ModelSpec

    def plan(self, run: TrainRun) -> Plan:
        """The stages of the run."""
        ...

    def disk(self, params: TrainParams) -> DiskUse:
        """What a run with these knobs will write, about."""
        ...

    def cut(self, captions: Sequence[str]) -> Sequence[int]:
        """Which of some captions, by their places, are longer than the encoders read; no weights are loaded."""
        ...

    def train(self, run: TrainRun, lease: Lease, on_step: OnStep) -> Iterator[TrainEvent]:
        """Train from the folder's last checkpoint, or from nothing; a cancel saves a checkpoint first."""
        ...
