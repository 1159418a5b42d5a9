"""What a training would learn from, looked at before it starts: words that no encoder reads, lessons from the trash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engines.api.errors import BadInput, UserError
from engines.api.params import TrainParams
from engines.api.triggers import says
from studio.flywheel.curate.coverage import Check
from studio.records.character import Character
from studio.records.dataset import Entry
from studio.records.review import Triplet
from studio.store import Store
from studio.workplace.desk import Desk

_FEW = 5  # of many pictures that are named


def read_whole(desk: Desk, model: str, entries: Sequence[Entry]) -> Iterable[Check]:
    """Whether the model's encoders read every caption to its end: what comes after is not learned."""
    label = "every caption is read whole"
    try:
        cut = set(desk.workplace.trainer(model).cut([entry.caption for entry in entries]))
    except UserError as error:
        yield Check(label, False, f"Not known yet: {error}")
        return
    names = [named(desk.store, entry.image) for at, entry in enumerate(entries) if at in cut]
    told = ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
    hint = f"{model} does not read these captions to their end: {told}. What is behind it is not learned: shorten them."
    yield Check(label, not names, hint)


def thrown_away(store: Store, entries: Sequence[Entry], held_out: Sequence[Triplet] = ()) -> Iterable[Check]:
    """Told only where something teaches, or measures, that was made from an original in the trash."""
    sources = [[entry.image, *entry.references] for entry in entries]
    found = sum(any(_in_trash(store, image) for image in images) for images in sources)
    measured = sum(_in_trash(store, each.source) or _in_trash(store, each.result) for each in held_out)
    if found or measured:
        counts = [f"{found} of {len(entries)} that teach"] * bool(found)
        counts += [f"{measured} of {len(held_out)} that the editor is measured by"] * bool(measured)
        hint = f"{' and '.join(counts)} do: reject them in Review, or take the originals out of the trash in Curate."
        yield Check("nothing comes from an original in the trash", False, hint)


def _in_trash(store: Store, image: str) -> bool:
    """Whether a picture, or one that it was made from, was thrown away."""
    seen: set[str] = set()
    while image and image not in seen and (record := store.images.peek(image)):
        if record.trashed:
            return True
        seen.add(image)
        image = record.parent
    return False


def named(store: Store, image: str) -> str:
    """A picture as its user calls it, or the beginning of its id."""
    record = store.images.peek(image)
    return (record and record.name) or image[:12]


def demand_class(character: Character, params: TrainParams, entries: Sequence[Entry]) -> None:
    """Refuse prior preservation where no caption names whose class is to be preserved. Raises: BadInput."""
    if params.prior_weight and not any(says(entry.caption, character.trigger) for entry in entries):
        raise BadInput(
            f"No caption says “{character.trigger}”, so nobody knows what to draw of its class.",
            "Put the trigger word into the captions, or train without prior preservation.",
        )
