"""The choice of what generates pictures: the version in use, another version, a checkpoint, or the base model."""

from __future__ import annotations

from engines.api.errors import NotFound
from engines.api.params import LoraUse
from studio.flywheel.curate.inbox import typed_path
from studio.records.dataset import Role
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Desk
from tabs.common.knobs import marked

BASE, IN_USE = "base", "in use"
_STEP = "@"  # between a version's id and the step of a checkpoint of its training


def versions(store: Store) -> list[Version]:
    """Returns the versions of the character's LoRA that are not in the trash, newest first."""
    return list(reversed(store.kept_versions(Role.CHARACTER)))


def version_choices(desk: Desk) -> list[tuple[str, str]]:
    """Returns (label, value) choices: the version in use, every version by its id, and the base model.

    The first has the value IN_USE, which stands for whatever version is in use at the time.
    """
    store = desk.store
    adopted = store.adopted(Role.CHARACTER)
    in_use = f"in use: {adopted.name}" if adopted else "in use: the base model"
    return [
        (marked(desk.workplace, adopted.model if adopted else store.character.generator, in_use), IN_USE),
        *(
            (marked(desk.workplace, each.model, f"{each.name} ({each.state.value})"), each.id)
            for each in versions(store)
        ),
        (marked(desk.workplace, store.character.generator, "base model, no LoRA"), BASE),
    ]


def checkpoint_choices(desk: Desk) -> list[tuple[str, str]]:
    """Returns (label, value) choices of all checkpoints that are still on disk; a value is `VERSION_ID@STEP`.

    Only versions that were trained for the character's present generator are included.
    """
    store = desk.store
    return [
        (f"{version.name} at step {each.step}", f"{version.id}{_STEP}{each.step}")
        for version in versions(store)
        if version.model == store.character.generator
        for each in version.checkpoints
        if (store.folder / each.adapter).is_file()
    ]


def version_id(store: Store, choice: str | None) -> str:
    """Returns the id of the version that a value of `version_choices` stands for; "" for the base model.

    IN_USE, None and "" stand for the version in use. A value of `checkpoint_choices` also gives "", because a
    checkpoint's LoRA is used on the base model; `checkpoint_lora` returns its file.
    """
    if choice in (None, "", IN_USE):
        adopted = store.adopted(Role.CHARACTER)
        return adopted.id if adopted else ""
    return "" if choice == BASE or _STEP in str(choice) else str(choice)


def checkpoint_lora(store: Store, choice: str | None, weight: float) -> tuple[LoraUse, ...]:
    """Returns the LoRA file of a checkpoint with its weight, as a tuple of one.

    `choice` is a value of `checkpoint_choices`; for anything else, such as a version's id or "", the tuple is empty.
    Raises: NotFound where the checkpoint or its version is gone.
    """
    version, _, step = str(choice or "").partition(_STEP)
    if not step:
        return ()
    made = store.versions.get(version)
    found = {str(each.step): each.adapter for each in made.checkpoints}
    if step not in found:
        raise NotFound(f"{made.name} has no checkpoint of step {step} any more.", "Choose another one, or a version.")
    return (LoraUse(file=str(store.folder / found[step]), weight=weight),)


def chosen_lora(store: Store, choice: str, weight: float, for_this_model: bool = False) -> tuple[LoraUse, ...]:
    """Returns the second LoRA that was chosen, with its weight, as a tuple of one; empty for a `choice` of "".

    `choice` is the id of a version, or the path of a LoRA file, which need not exist yet. `for_this_model` says that it
    is for the model that draws, where its file leaves that in doubt. Raises: NotFound where the
    LoRA file of a version is missing, BadInput for what cannot be a path.
    """
    if not choice.strip():
        return ()
    version = store.versions.peek(choice)
    file = store.adapter_path(choice) if version else typed_path(choice)
    return (LoraUse(file=str(file), weight=weight, for_this_model=for_this_model),)


def version_name(version: Version) -> str:
    """Returns a version's name as text; for a version of the editor's LoRA the word `editor` stands before it."""
    return f"editor {version.name}" if version.role is Role.EDITOR else version.name
