"""Checks the entries of a training before it starts: captions too long, originals in the trash, a missing class."""

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

_FEW = 5  # the most pictures that a hint lists by name


def read_whole(desk: Desk, model: str, entries: Sequence[Entry]) -> Iterable[Check]:
    """Yields one check: whether every caption fits into the model's text encoders.

    An encoder cuts a longer caption, and the rest is not learned. The check fails, too, where the limit cannot be found
    out, for example because the model's tokenizer is not on this machine; the hint says why.
    """
    label = "no caption is longer than the model reads"
    try:
        cut = set(desk.workplace.trainer(model).cut([entry.caption for entry in entries]))
    except UserError as error:
        yield Check(label, False, f"Not known yet: {error}")
        return
    names = [named(desk.store, entry.image) for at, entry in enumerate(entries) if at in cut]
    told = ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
    hint = f"{model} reads only the beginning of these, and learns nothing of the rest: {told}. Shorten them in Curate."
    yield Check(label, not names, hint, "Curate")


def thrown_away(store: Store, entries: Sequence[Entry], held_out: Sequence[Triplet] = ()) -> Iterable[Check]:
    """Yields a failed check where entries or held-out edits use a picture that is in the trash, else nothing.

    A picture that was made from one in the trash counts as well. `held_out` are edits that are not trained on, because
    the trained editor is measured by them.
    """
    sources = [[entry.image, *entry.references] for entry in entries]
    found = sum(any(_in_trash(store, image) for image in images) for images in sources)
    measured = sum(_in_trash(store, each.source) or _in_trash(store, each.result) for each in held_out)
    if found or measured:
        counts = [f"{found} of {len(entries)} that teach"] * bool(found)
        counts += [f"{measured} of {len(held_out)} that the editor is measured by"] * bool(measured)
        hint = f"{' and '.join(counts)} do: reject them in Review, or take the originals out of the trash in Curate."
        yield Check("nothing comes from an original in the trash", False, hint, "Curate")


def _in_trash(store: Store, image: str) -> bool:
    """Returns whether a picture, or any picture that it was made from, is in the trash."""
    seen: set[str] = set()
    while image and image not in seen and (record := store.images.peek(image)):
        if record.trashed:
            return True
        seen.add(image)
        image = record.parent
    return False


def named(store: Store, image: str) -> str:
    """Returns the name of the picture with the id `image`; where it has none, the first 12 characters of the id."""
    record = store.images.peek(image)
    return (record and record.name) or image[:12]


def demand_class(character: Character, params: TrainParams, entries: Sequence[Entry]) -> None:
    """Raises BadInput where prior preservation is on and no caption contains the trigger word.

    Prior preservation needs class pictures. Their prompts are the captions with the trigger word replaced by the class
    word, so without such a caption there is no prompt.
    """
    if params.prior_weight and not any(says(entry.caption, character.trigger) for entry in entries):
        raise BadInput(
            f"No caption says “{character.trigger}”, so nobody knows what to draw of its class.",
            "Put the trigger word into the captions, or train without prior preservation.",
        )
