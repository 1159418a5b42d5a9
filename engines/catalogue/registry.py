"""Looks up models by name, finds their weights on this machine and creates their engines.

Imports nothing heavy before an engine is created.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from engines.api.errors import ModelGated, ModelMissing, NotFound
from engines.api.params import LoraUse
from engines.api.protocols import Editor, LoraFiles, ModelSpec, Trainer
from engines.api.seeing import Asker, Captioner
from engines.catalogue.hub import cached_snapshot, gate_steps
from engines.catalogue.imports import bringing_in
from engines.catalogue.lora_bases import LoraFacts
from engines.catalogue.models import MODELS as MODELS
from engines.catalogue.weights import is_pulling, is_whole

# A Generator, an Editor or a Scorer, by the row's role: the class is named by a string in the row.
Engine: TypeAlias = Any


class Registry:
    """Holds a row of data for each known model; finds the models' weights and creates their engines."""

    def __init__(
        self, assets: Path, models_dir: Path, models: Iterable[ModelSpec] = MODELS, *, compile_with: str = ""
    ) -> None:
        """Takes the folders of the embedded (`assets`) and downloaded models (`models_dir`), and the rows (`models`).

        `compile_with`: torch's compiler backend for each row that names none itself; "" compiles nothing.
        """
        self._assets = assets
        self._models_dir = models_dir
        compiling = {"compile": compile_with} if compile_with else {}
        self._by_name = {spec.name: replace(spec, options={**compiling, **spec.options}) for spec in models}

    def spec(self, name: str) -> ModelSpec:
        """Returns the registry row of the model called `name`. Raises: NotFound."""
        try:
            return self._by_name[name]
        except KeyError:
            raise NotFound(f"There is no model named {name}.", f"Known: {', '.join(self._by_name)}.") from None

    def role(self, role: str) -> list[ModelSpec]:
        """Returns the registry rows with a role (generator, editor, scorer, detector), in the order users see them.

        Rows that have it beside another, as generators that edit, come last.
        """
        return sorted((spec for spec in self._by_name.values() if role in spec.roles), key=lambda row: row.role != role)

    def first(self) -> dict[str, str]:
        """Returns role -> the name of the registry's first model of that role, the default for a new character."""
        return {role: self.role(role)[0].name for role in ("generator", "editor", "scorer")}

    def folder(self, spec: ModelSpec) -> Path:
        """Returns the folder on this machine that holds a model's weights.

        A model that ships with the program has a folder among its assets. The models of the library deepface share one
        folder, which is returned unchecked. A model in a package has the package's folder. For any other model it is
        the folder into which `pull` writes, if that is not empty and its model is complete. Otherwise it is the folder
        that the registry row names, or that in Hugging Face's cache, if it is complete.
        Raises: ModelMissing where there is none; ModelGated where the licence must be accepted, too.
        """
        scheme, _, rest = spec.source.partition(":")
        if scheme == "assets":
            return self._assets / rest
        if scheme == "deepface":
            return self._models_dir / "deepface"
        if scheme == "package":
            found = find_spec(rest)
            if found is None or found.origin is None:
                raise ModelMissing(
                    f"{spec.name} needs the package {rest}.",
                    f'Run "{sys.executable}" -m pip install {spec.options["packages"]}.',
                )
            return Path(found.origin).parent
        home = self.home(spec)
        if home.is_dir() and any(home.iterdir()) and not is_pulling(home):
            return home
        elsewhere = Path(rest).expanduser() if scheme == "folder" else cached_snapshot(spec.source)
        if elsewhere and is_whole(elsewhere):
            return elsewhere
        if scheme == "folder":
            raise ModelMissing(
                f"{spec.name} is not on this machine.", f"Put its diffusers-layout folder at {elsewhere}."
            )
        state = "is only partly on this machine" if is_pulling(home) else "is not on this machine"
        remedy = f"python launch.py pull {spec.name}"
        if spec.gated:
            cause = f"{spec.name} {state}, and its licence ({spec.licence}) must be accepted first."
            raise ModelGated(cause, f"{gate_steps(spec.source)} Then: {remedy}")
        raise ModelMissing(f"{spec.name} {state}.", f"{remedy}, or put its diffusers-layout folder at {home}.")

    def here(self, name: str) -> bool:
        """Returns whether a model's weights are on this machine; False for a name that no row has.

        It is True for every model of the library deepface, because their common folder is not checked.
        """
        try:
            self.folder(self.spec(name))
        except (ModelMissing, NotFound):
            return False
        return True

    def home(self, spec: ModelSpec) -> Path:
        """Returns the folder into which `pull` writes a model's weights, whether that folder exists or not."""
        return self._models_dir / spec.source.replace("/", "--").replace(":", "")

    def engine(self, name: str) -> Engine:
        """Creates the engine of the model called `name`; its weights are read when a job first needs them.

        Raises: NotFound, ModelMissing.
        """
        spec = self.spec(name)
        return self._load(spec.engine, spec)

    def editor(self, name: str) -> Editor:
        """Creates the engine that edits with the model called `name`, which may also be a generator.

        Its components have the keys of the generator's, so that their weights are loaded once. Raises: NotFound,
        ModelMissing.
        """
        spec = self.spec(name)
        editor: Editor = self._load(spec.editor or spec.engine, spec)
        return editor

    def captioner(self, name: str) -> Captioner:
        """Creates a captioner that uses the vision-language text encoder of the editor called `name`.

        Raises: NotFound, ModelMissing.
        """
        spec = self.spec(name)
        captioner: Captioner = self._load(spec.captioner, spec)
        return captioner

    def asker(self, name: str) -> Asker:
        """Creates what answers questions about pictures with the text encoder of the editor called `name`.

        Raises: NotFound, ModelMissing.
        """
        spec = self.spec(name)
        asker: Asker = self._load(spec.asker, spec)
        return asker

    def trainer(self, name: str) -> Trainer:
        """Creates the LoRA trainer of the model called `name`. Raises: NotFound, ModelMissing."""
        spec = self.spec(name)
        if not spec.trainer:
            raise NotFound(f"{name} cannot be trained.", "Choose a generator or an editor.")
        trainer: Trainer = self._load(spec.loop, spec)
        return trainer

    def _load(self, path: str, spec: ModelSpec) -> Engine:
        folder = self.folder(spec)  # before the import of torch, so that missing weights are reported at once
        return load_class(path)(spec, folder)

    def export(self, adapter: Path, target: Path, form: str) -> None:
        """Writes a copy of one of our LoRA files, with its tensors named as another tool names them.

        `adapter`: the file to convert; `target`: the file to write; `form`: the tool, diffusers, kohya or comfyui.
        Raises: BadInput, LoraMismatch.
        """
        load_class("engines.training.export:export")(adapter, target, form)

    def merge(
        self, uses: Sequence[LoraUse], target: Path, rank: int, facts: LoraFacts, on_layer: Callable[[int, int], None],
        *, licence: str, told: str,
    ) -> float:  # fmt: skip
        """Merges LoRA files with their strengths into one file; returns the relative error of its updates.

        `rank`: the highest rank of a layer, 0 for the sum of the ranks, which is exact; `facts`: those of one of the
        files; `on_layer`: called with the layers that are merged, of all; `told`: what the file is, in a sentence.
        Raises: NotFound, BadInput, LoraMismatch.
        """
        info = load_class("engines.training.export:Info")(
            family=facts.family, base_model=next(iter(facts.editors), facts.base), trigger="", rank=1, alpha=1.0,
            step=0, dataset="", targets="", licence=licence, made=datetime.now(UTC).isoformat(timespec="seconds"),
            told=told,
        )  # fmt: skip
        merge: Callable[..., float] = load_class("engines.training.merging:merge")
        return merge(uses, target, info, rank, on_layer)

    def lora_facts(self, file: Path) -> LoraFacts:
        """Reads a LoRA file and returns what it is. Raises: NotFound, BadInput, LoraMismatch."""
        found: LoraFacts = load_class("engines.drawing.lora_facts:facts")(file)
        return found


def lora_files(family: str) -> LoraFiles:
    """Returns the metadata and module names of a model family's LoRA files; without values for an unknown family."""
    return next((spec.lora for spec in MODELS if spec.family == family), LoraFiles())


def guides_truly(model: str) -> bool:
    """Returns whether a model computes classifier-free guidance, instead of taking the guidance scale as an input.

    `model`: the model's name; False for one that no registry row has.
    """
    return any(spec.true_guidance for spec in MODELS if spec.name == model)


def edits(model: str) -> bool:
    """Returns whether a model edits pictures; False for a name that no registry row has."""
    return any("editor" in spec.roles for spec in MODELS if spec.name == model)


def declared_family(architecture: str) -> str:
    """Returns the model family of the architecture that a LoRA file's metadata declares; "" for an unknown one."""
    lower = architecture.lower()
    return next((spec.family for spec in MODELS if spec.lora.declared and lower.startswith(spec.lora.declared)), "")


def is_strange(architecture: str) -> bool:
    """Returns whether a LoRA file declares an architecture whose first word no model in the registry has.

    `architecture`: the entry in the file's metadata, such as "flux-1-dev/lora"; "" returns False. Only the first word
    is compared, because some files declare "flux" without a version.
    """
    lower = architecture.lower()
    makers = {re.split(r"[^a-z]", prefix)[0] for spec in MODELS for prefix in spec.lora.declared}
    return bool(lower) and not lower.startswith(tuple(makers))


def families_alike(width: int, blocks: int, makers: bool) -> list[str]:
    """Returns the model families that take a LoRA of the attention alone; several name these layers alike.

    `width`: the layers' width; `blocks`: the least number of blocks that the model must have; `makers`: whether the
    layers have the names of Black Forest Labs, which some families never have.
    """
    found = {
        spec.family: None
        for spec in MODELS
        if spec.lora.attention[0] == width and spec.lora.attention[1] >= blocks and (spec.lora.names or not makers)
    }
    return list(found)


def load_class(path: str) -> Any:
    """Imports the module in `path` ("module:Name") and returns its object `Name`; the import may bring in torch."""
    module, _, name = path.partition(":")
    with bringing_in():
        return getattr(import_module(module), name)
