"""Defines the interface between the studio and the engines: model rows, plans, stages, protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from engines.api.params import EditParams, GenerateParams, LoraUse, Params, TrainParams

if TYPE_CHECKING:
    from PIL.Image import Image

P = TypeVar("P", bound=Params)
Loaded: TypeAlias = Any  # what a component loads: a module, or a fake; this file imports no torch


@dataclass(frozen=True, kw_only=True)
class LoraFiles:
    """Describes how other tools write a model family's LoRA files: the metadata, and the names of the modules."""

    declared: tuple[str, ...] = ()  # prefixes of the architecture that a file declares, in lower case
    architecture: str = ""  # the architecture that our files declare, by Stability-AI/ModelSpec
    architectures: Mapping[str, str] = field(default_factory=dict)  # model -> its own architecture, where it has one
    implementation: str = ""
    base_version: str = ""  # kohya's ss_base_model_version
    network: str = ""  # kohya's ss_network_module
    reader: str = ""  # "module:Class" of diffusers' converter from Black Forest Labs' names; "" for none
    reads_dotted: bool = False  # whether the converter reads the makers' dotted names, beside kohya's flat ones
    cut_at: int = 0  # the only hidden size at which the converter splits fused layers correctly; 0: unknown
    fused: Mapping[str, int] = field(default_factory=dict)  # ending of a maker's module -> number of our modules in it
    mark: tuple[str, str, int] = ("", "", 0)  # a layer always written, one as wide at its input, its output over that
    attention: tuple[int, int] = (0, 0)  # width and number of the blocks whose attention several families name alike
    names: str = ""  # "module:function" from our module to its Slot; "" where other tools use our names


@dataclass(frozen=True, kw_only=True)
class FewSteps:
    """Describes an adapter distilled to few denoising steps, with the edit parameters and the schedule it needs."""

    file: str  # path below the model's folder
    source: str = ""  # repository and path on the hub; "" for a file that ships with the model
    knobs: Mapping[str, Any] = field(default_factory=dict)  # EditParams that change with it
    scheduler: Mapping[str, Any] = field(default_factory=dict)  # changes of the scheduler's configuration


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Describes a model as a row of the registry: its source, engine classes, sizes, default parameters and options."""

    name: str
    label: str
    role: str  # generator | editor | scorer
    family: str
    engine: str  # "module:Class"
    editor: str = ""  # "module:Class" that edits with a generator's weights; "" for a generator that does not edit
    source: str  # a hub repository, or "assets:FOLDER" for what ships with us
    licence: str
    gated: bool = False
    toy: bool = False  # a label in tabs, `doctor` and `models`: the embedded toy world; no engine reads it
    wording: str = "photographs"  # a row of engines/wording/registry.py: what the model is asked with
    camera: str = "plain"  # a row of engines/wording/cameras.py: what an editor is asked for a view with
    dtype: str = "bfloat16"  # torch's name of what a generator's or an editor's weights are held in
    size: tuple[int, int] = (1024, 1024)
    multiple: int = 16  # pixels: sides of a picture that a generator learns are multiples of it
    trainer: str = ""  # "module:Class" of the family's LoRA adapter
    loop: str = "engines.training.trainer:LoraTrainer"  # "module:Class" of the training loop
    captioner: str = "engines.families.qwen_edit.captioner:QwenCaptioner"  # over its text encoder; "" if that sees none
    asker: str = "engines.families.qwen_edit.asking:QwenAsker"  # "module:Class" over the same
    component_bytes: Mapping[str, int] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # Params class name -> knobs
    few_steps: FewSteps | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # read by its engine alone
    lora: LoraFiles = field(default_factory=LoraFiles)
    true_guidance: bool = False  # GenerateParams.guidance is classifier-free, not a number that the model is told
    pipeline: str = "DiffusionPipeline"  # diffusers' class that draws with it and its LoRAs
    note: str = ""
    why: Mapping[str, str] = field(default_factory=dict)  # Params class name -> where its defaults come from

    @property
    def roles(self) -> tuple[str, ...]:
        """Returns the model's own role, and editor for a generator that edits, too."""
        return (self.role, "editor") if self.editor else (self.role,)

    def params(self, kind: type[P], /, **changes: Any) -> P:
        """Creates parameters of class `kind` from the model's defaults, with `changes` applied. Raises: BadInput."""
        few = self.few_steps.knobs if self.few_steps and changes.get("few_steps") else {}
        return kind.from_json({**self.defaults.get(kind.__name__, {}), **few, **changes})

    def worded(self, kind: type[P], words: str, /, **changes: Any) -> P:
        """Creates parameters of class `kind` from the model's defaults, with `words` as their prompt or instruction."""
        return self.params(kind, **{kind.worded: words}, **changes)


@dataclass(frozen=True)
class Component:
    """Describes a part of a model, such as its VAE: loaded to RAM once, and copied to the GPU when a job needs it.

    `key` is the same for the same weights, whichever engine uses them. `bytes`: the part's size on the GPU. `beside`
    returns the bytes of RAM that the loaded part uses now in addition to its weights; any thread may call it.
    """

    key: str
    bytes: int
    load: Callable[[], Loaded] = field(compare=False, repr=False)
    streamed_bytes: int = 0  # size on the GPU while its blocks are copied in one by one; 0: it only runs whole
    beside: Callable[[Loaded], int] = field(default=lambda loaded: 0, compare=False, repr=False)


@dataclass(frozen=True)
class Stage:
    """Describes a step of a job: the components that must be on the GPU together, and the bytes that computing takes.

    `leaner`: a variant of this stage that needs less memory, at the cost of time or some quality; it is used where this
    stage does not fit or ran out of memory. `how`: how a variant saves memory, in words for the user. `around` returns
    a context manager in which the stage computes, such as one that makes the VAE work in tiles.
    """

    name: str
    components: tuple[Component, ...]
    working_bytes: int = 0
    how: str = ""
    streams: bool = False  # blocks are copied to the GPU one by one, of the components that allow it
    around: Callable[[Mapping[str, Loaded]], AbstractContextManager[object]] = field(
        default=lambda parts: nullcontext(), compare=False, repr=False
    )
    leaner: Stage | None = None

    def streamed(self, component: Component) -> bool:
        """Returns whether this stage copies a component to the GPU block by block, and not as a whole."""
        return self.streams and component.streamed_bytes > 0

    def size(self, component: Component) -> int:
        """Returns the bytes that a component takes on the GPU in this stage."""
        return component.streamed_bytes if self.streamed(component) else component.bytes


@dataclass(frozen=True)
class Plan:
    """Lists the stages of a job, in order; `what` names the job to the user."""

    what: str
    stages: tuple[Stage, ...]


class Lease(Protocol):
    """Interface of a job's exclusive use of the GPU: puts the components of a stage there, and names the device."""

    def stage(self, name: str) -> AbstractContextManager[Mapping[str, Loaded]]:
        """Puts the components of a stage on the GPU inside a `with` block; yields component name -> module.

        `name`: the stage's name. A component's name is the part of its key after `/`.
        """

    @property
    def device(self) -> str:
        """Returns torch's name of the device, such as "cuda:0" or "cpu"."""


class Device(Protocol):
    """Interface of the memory in which a job computes: a GPU's, this machine's RAM, or an imitation for tests."""

    name: str
    torch_device: str  # torch's name of the device: "cpu", "cuda:0"
    in_place: bool  # loaded weights already lie where they run: there is no copy of a master, and no streaming

    def total_bytes(self) -> int:
        """Returns the device's memory in bytes."""

    def out_of_memory(self, error: BaseException) -> bool:
        """Returns whether an error is one that this device raises when its memory does not suffice."""

    def free_bytes(self) -> int:
        """Returns the bytes of the device's memory that can still be used; what the allocator caches counts as free."""

    def keep(self, host: Loaded, nbytes: int, room: int) -> int:
        """Prepares a loaded component for fast copies to the device, if RAM allows; returns the RAM it takes, in bytes.

        `host`: the component in RAM, from which copies are made; `nbytes`: its bytes; `room`: the most bytes to take.
        """

    def release(self, host: Loaded) -> None:
        """Frees the weights of a loaded component in RAM; a copy on the device stays."""

    def put(self, host: Loaded, nbytes: int, *, streamed: bool = False) -> Loaded:
        """Copies a component's weights from RAM to the device and returns the module that computes with them.

        `nbytes`: their size; `streamed`: copy each block while it computes. Raises: MemoryError, and leaves none there.
        """

    def drop(self, placed: Loaded, nbytes: int) -> None:
        """Frees a component's copy on the device, of `nbytes` bytes; nothing is written back to RAM."""

    def reclaim(self) -> None:
        """Collects garbage, and returns to the device the memory that the allocator caches."""

    def peak_bytes(self, *, reset: bool = False) -> int:
        """Returns the most bytes of the device's memory in use since the last reset; `reset` starts the count again."""


class OnStep(Protocol):
    """Callback that a job calls with (step, total, message) at least once a step; raises Cancelled to stop the job."""

    def __call__(self, step: int, total: int, message: str = "") -> None:
        """Reports that `step` of `total` steps are done; `message` tells the user what the job does now."""


@dataclass(frozen=True)
class EditItem:
    """Describes one edit: the picture to edit, further reference pictures, and the parameters."""

    source: Image
    params: EditParams
    references: tuple[Image, ...] = ()
    seen: Image | None = None  # the source as the text encoder reads it, where `source` is scaled; None: made of it


class TakesLoras(Protocol):
    """Interface of the engines that can apply LoRA files."""

    def check_loras(self, uses: Sequence[LoraUse]) -> list[str]:
        """Checks LoRA files against the model; returns a message for each file with tensors that will not be used.

        Raises: NotFound for a missing file, LoraMismatch for one that does not fit, BadInput for a strength too large.
        """


class Generator(TakesLoras, Protocol):
    """Interface of the engines that generate pictures from text."""

    spec: ModelSpec

    def plan(self, items: Sequence[GenerateParams]) -> Plan:
        """Returns the stages, with their memory, that generating these pictures takes."""

    def generate(self, items: Sequence[GenerateParams], lease: Lease, on_step: OnStep) -> Iterator[Image]:
        """Generates the pictures and yields them in the order of `items`, each as soon as it is decoded."""


class Editor(TakesLoras, Protocol):
    """Interface of the engines that edit pictures by instructions."""

    spec: ModelSpec

    def plan(self, items: Sequence[EditItem]) -> Plan:
        """Returns the stages, with their memory, that these edits take."""

    def scaled(self, item: EditItem) -> EditItem:
        """Returns the edit with its source as small as the model reads it, so that it takes less RAM; same result."""

    def edit(self, items: Sequence[EditItem], lease: Lease, on_step: OnStep) -> Iterator[Image]:
        """Edits the pictures and yields the results in the order of `items`, each as soon as it is decoded."""


@dataclass(frozen=True)
class Embedding:
    """Holds a unit vector by which pictures are compared; `kind`: face, or image for the whole picture."""

    vector: tuple[float, ...]
    kind: str = "image"  # face | image
    others: tuple[tuple[float, ...], ...] = ()  # of further people in the picture, whose faces are of like size


@dataclass(frozen=True)
class NoFace:
    """Takes the place of an Embedding for a picture without a face; that is not the same as a similarity of 0."""

    reason: str = "no face found"


class Scorer(Protocol):
    """Interface of the models that compare the people in pictures; they run on the CPU and never wait for the GPU."""

    spec: ModelSpec
    version: str  # stored beside every score
    threshold: float | None  # cosine above which two pictures show the same person, where its makers publish one

    def embed(self, images: Sequence[Image]) -> list[Embedding | NoFace]:
        """Returns for each picture the unit vector that it is compared by, or NoFace where it shows no face."""


@dataclass(frozen=True)
class TrainItem:
    """Holds a picture, its caption, and for an editor the reference pictures from which the picture was made.

    `mask`: a grey picture of the same size, white where the loss counts fully and black where it counts less.
    `crop`: the part to learn: left, top, right, bottom as fractions of the picture's sides; empty for all of it.
    `source_crop`: in the same form, the part of the first reference (the picture that was edited) that the editor saw.
    """

    image: Path
    caption: str
    references: tuple[Path, ...] = ()
    mask: Path | None = None
    crop: tuple[float, ...] = ()
    source_crop: tuple[float, ...] = ()


@dataclass(frozen=True)
class TrainRun:
    """Describes a training run; `folder` holds everything that is needed to start or to resume it."""

    folder: Path
    items: tuple[TrainItem, ...]
    params: TrainParams
    previews: tuple[GenerateParams | EditItem, ...] = ()  # what to generate for each preview
    trigger: str = ""  # written to the adapter file's metadata, for those who load it
    start: Path | None = None  # an adapter to begin with, instead of a new one
    cache: Path | None = None  # folder of encoded pictures and captions that runs share; None: the run's own
    origin: str = ""  # what `start` is, where it comes from elsewhere
    origin_licence: str = ""


BANDS = (1 / 3, 2 / 3)  # sigmas that separate low, middle and high noise levels


@dataclass(frozen=True)
class StepDone:
    """Reports one optimiser step: the mean loss of its batch, and the mean noise level `sigma`."""

    step: int
    total: int
    loss: float
    sigma: float
    learning_rate: float
    grad_norm: float
    seconds: float
    bands: tuple[float | None, ...] = ()  # mean losses at low, middle, high noise; None where no example lies
    memory: int = 0  # on a GPU the most bytes in use so far, on a CPU the process' RAM now; 0 where not measured


@dataclass(frozen=True)
class CheckpointSaved:
    """Reports that a checkpoint with the full state of the training is on disk; `adapter` is the LoRA file in it."""

    step: int
    adapter: Path


@dataclass(frozen=True)
class SampleDrawn:
    """Holds a preview that a training generated with a fixed seed; `index` is its place in the run's `previews`."""

    step: int
    index: int
    image: Image


TrainEvent = StepDone | CheckpointSaved | SampleDrawn


@dataclass(frozen=True)
class DiskUse:
    """Holds the bytes on disk of a training's full checkpoint, and of a picture encoded at one resolution (`item`)."""

    checkpoint: int
    item: int


class Trainer(Protocol):
    """Interface of the engines that train a LoRA from pictures and captions."""

    spec: ModelSpec

    def plan(self, run: TrainRun) -> Plan:
        """Returns the stages, with their memory, that the training takes."""

    def disk(self, params: TrainParams) -> DiskUse:
        """Estimates the bytes on disk of a checkpoint and of an encoded picture, for a training with `params`."""

    def cut(self, captions: Sequence[str]) -> Sequence[int]:
        """Returns the indices of the captions that the text encoders would truncate; loads no weights."""

    def train(self, run: TrainRun, lease: Lease, on_step: OnStep) -> Iterator[TrainEvent]:
        """Trains, from the run's last checkpoint if any; yields StepDone, CheckpointSaved and SampleDrawn events."""
