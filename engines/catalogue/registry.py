"""From a model's row to where its weights lie and what runs it; nothing heavy is imported before it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from engines.api.errors import ModelGated, ModelMissing, NotFound
from engines.api.protocols import LoraFiles, ModelSpec
from engines.catalogue.hub import cached_snapshot, gate_steps
from engines.catalogue.imports import bringing_in
from engines.catalogue.models import MODELS as MODELS
from engines.catalogue.weights import is_pulling, is_whole


class Registry:
    """The rows, where their weights lie, and the way from a row to its engine."""

    def __init__(
        self, assets: Path, models_dir: Path, models: Iterable[ModelSpec] = MODELS, *, compile_with: str = ""
    ) -> None:
        """`compile_with`: a backend of torch for every row that names none itself."""
        self._assets = assets
        self._models_dir = models_dir
        rows = [replace(spec, options={"compile": compile_with, **spec.options}) for spec in models]
        self._by_name = {spec.name: spec for spec in (rows if compile_with else models)}

    def spec(self, name: str) -> ModelSpec:
        """One row. Raises: NotFound."""
        try:
            return self._by_name[name]
        except KeyError:
            raise NotFound(f"There is no model named {name}.", f"Known: {', '.join(self._by_name)}.") from None

    def role(self, role: str) -> list[ModelSpec]:
        """The rows of one role, in the order a user should see them."""
        return [spec for spec in self._by_name.values() if spec.role == role]

    def first(self) -> dict[str, str]:
        """The models that a new character begins with: the first row of each role."""
        return {role: self.role(role)[0].name for role in ("generator", "editor", "scorer")}

    def folder(self, spec: ModelSpec) -> Path:
        """Where a row's weights lie, in diffusers layout: where `pull` puts them, a folder, or the hub's cache.

        Raises: ModelMissing, ModelGated.
        """
        scheme, _, rest = spec.source.partition(":")
        if scheme == "assets":
            return self._assets / rest
        if scheme == "deepface":
            return self._models_dir / "deepface"
        home = self.home(spec)
        if home.is_dir() and not is_pulling(home):
            return home
        elsewhere = Path(rest).expanduser() if scheme == "folder" else cached_snapshot(spec.source)
        if elsewhere and is_whole(elsewhere):
            return elsewhere
        state = "is only partly on this machine" if is_pulling(home) else "is not on this machine"
        remedy = f"python launch.py pull {spec.name}"
        if spec.gated:
            words = f"{spec.name} {state}, and its licence ({spec.licence}) must be accepted first."
            raise ModelGated(words, f"{gate_steps(spec.source)} Then: {remedy}")
        raise ModelMissing(f"{spec.name} {state}.", f"{remedy}, or put its diffusers-layout folder at {home}.")

    def here(self, name: str) -> bool:
        """Whether a model's weights are on this machine; those of one that no row knows are not."""
        try:
            self.folder(self.spec(name))
        except (ModelMissing, NotFound):
            return False
        return True

    def home(self, spec: ModelSpec) -> Path:
        """The folder that is ours to write a row's weights into."""
        return self._models_dir / spec.source.replace("/", "--").replace(":", "")

    def engine(self, name: str) -> Any:
        """Make a row's engine; weights are not read before a lease asks for them."""
        spec = self.spec(name)
        return self._load(spec.engine, spec)

    def captioner(self, name: str) -> Any:
        """The captioner that an editor's own vision-language text encoder makes."""
        spec = self.spec(name)
        return self._load(spec.captioner, spec)

    def trainer(self, name: str) -> Any:
        """The one training loop, with a row's family adapter. Raises: NotFound."""
        spec = self.spec(name)
        if not spec.trainer:
            raise NotFound(f"{name} cannot be trained.", "Choose a generator or an editor.")
        return self._load(spec.loop, spec)

    def _load(self, path: str, spec: ModelSpec) -> Any:
        folder = self.folder(spec)  # first: that weights are missing is said at once, not after torch has come in
        return load_class(path)(spec, folder)

    def export(self, adapter: Path, target: Path, form: str) -> None:
        """Write one of our adapters as another tool names its parts. Raises: BadInput, LoraMismatch."""
        load_class("engines.training.export:export")(adapter, target, form)


def lora_files(family: str) -> LoraFiles:
    """How LoRA files of a family are written; as diffusers writes them where no row knows the family."""
    return next((spec.lora for spec in MODELS if spec.family == family), LoraFiles())


def guides_truly(model: str) -> bool:
    """Whether a generator's guidance is classifier-free, not one that it was distilled to take as a number."""
    return any(spec.true_guidance for spec in MODELS if spec.name == model)


def declared_family(architecture: str) -> str:
    """The family that a file's architecture belongs to; empty where no row knows it."""
    said = architecture.lower()
    return next((spec.family for spec in MODELS if spec.lora.declared and said.startswith(spec.lora.declared)), "")


def is_strange(architecture: str) -> bool:
    """Whether a file names an architecture whose maker's word begins no family's; "flux" alone may be any FLUX."""
    said = architecture.lower()
    makers = {re.split(r"[^a-z]", beginning)[0] for spec in MODELS for beginning in spec.lora.declared}
    return bool(said) and not said.startswith(tuple(makers))


def load_class(path: str) -> Any:
    """The object that "module:Name" names; importing it is what brings torch in."""
    module, _, name = path.partition(":")
    with bringing_in():
        return getattr(import_module(module), name)
