"""Plans in a person's own words that are saved under a name, shared as a file, and loaded for any character."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.api.errors import BadInput, NotFound
from engines.api.values import shortened, shown
from studio.records.plan import OwnEdit, SavedPlan, StackedLora
from studio.records.words import demand_text
from studio.store.durable import written_aside
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Desk, Workplace

FORMAT, VERSION = "flenwheel-plan", 1
_LARGEST = 4 << 20  # bytes of a plan's file
_LONGEST = 200  # letters of a name


@dataclass(frozen=True)
class Loaded:
    """Holds a saved plan's rows as they fit a character and this machine; `notes` say what was changed or is gone."""

    rows: tuple[OwnEdit, ...]
    notes: tuple[str, ...]


def plans(workplace: Workplace) -> list[SavedPlan]:
    """Returns all saved plans, in the order of their names."""
    return sorted(workplace.library.records(SavedPlan).all(), key=lambda plan: (plan.name.lower(), plan.created))


def save(workplace: Workplace, name: str, rows: Sequence[OwnEdit]) -> SavedPlan:
    """Saves the rows of a plan under a name and returns the plan; one with the same name is replaced.

    Raises: BadInput without a name or without rows, and for texts that cannot be stored.
    """
    called = name.strip()
    demand_text("The plan's name", called)
    if not called or len(called) > _LONGEST:
        raise BadInput("The plan has no name." if not called else "The plan's name is too long.", "Type a short name.")
    if not rows:
        raise BadInput("The plan has no rows of your own.", "Add a row first: planned edits are made anew each time.")
    keys = [row.key for row in rows]
    if len(set(keys)) < len(keys):
        raise BadInput("Two rows have the same key.", "Give each row a key of its own.")
    known = next((each for each in plans(workplace) if each.name == called), None)
    plan = SavedPlan(id=f"plan-{secrets.token_hex(6)}", name=called) if known is None else known
    return workplace.library.records(SavedPlan).put(plan.replace(rows=tuple(rows)))


def get(workplace: Workplace, plan: str) -> SavedPlan:
    """Returns a saved plan by its id or its name. Raises: NotFound."""
    found = next((each for each in plans(workplace) if plan in (each.id, each.name)), None)
    if found is None:
        raise NotFound(f"There is no plan {plan!r:.80}.", "Choose one of plan_list, or save it first.")
    return found


def forget(workplace: Workplace, plan: str) -> SavedPlan:
    """Deletes a saved plan by its id or its name, and returns it. Raises: NotFound."""
    found = get(workplace, plan)
    workplace.library.records(SavedPlan).remove(found.id)
    return found


def load(desk: Desk, plan: SavedPlan) -> Loaded:
    """Returns a plan's rows for a character: with new keys, its own pictures alone, and the LoRAs of this machine.

    A source or second picture that the character does not have is left out, and a LoRA is found by its hash where its
    id is another here. A LoRA that is not on this machine stays in its row, which then cannot be drawn; a note says so.
    """
    library, images = LoraLibrary(desk.workplace.library), desk.store.images
    notes: list[str] = []

    def here(use: StackedLora) -> StackedLora:
        same = library.same(use.sha256) if use.sha256 else None
        if same is not None:
            return use.replace(lora=same.id, sha256="", name="")
        known = use.lora in {*library.rows, *(each.id for each in library.all())}
        if not known or not library.is_here(library.get(use.lora)):
            notes.append(f"The LoRA {use.name or use.lora} is not on this machine.")
        elif use.sha256:
            notes.append(f"The LoRA {use.name or use.lora} is another file here than in the plan.")
        return use

    rows = []
    for row in plan.rows:
        sources = tuple(image for image in row.sources if image in images)
        if row.sources and not sources:
            notes.append("A row's sources are not this character's: it takes all originals.")
        second = row.second if row.second in images else ""
        if row.second and not second:
            notes.append("A row's second picture is not this character's: choose another.")
        loras = tuple(map(here, row.loras))
        rows.append(row.replace(key=secrets.token_hex(6), sources=sources, second=second, loras=loras))
    return Loaded(tuple(rows), tuple(dict.fromkeys(notes)))


def share(desk: Desk, plan: SavedPlan) -> Path:
    """Writes a plan to a file in the character's exports folder, and returns its path.

    The file holds no ids of pictures and no paths; LoRAs are told by name and hash. Raises: UserError when writing
    fails.
    """
    library = LoraLibrary(desk.workplace.library)
    known = {each.id: each for each in library.all()}

    def told(use: StackedLora) -> StackedLora:
        record = known.get(use.lora)
        return use if record is None else use.replace(name=record.name, sha256=record.sha256)

    rows = [row.replace(sources=(), second="", loras=tuple(map(told, row.loras))).to_json() for row in plan.rows]
    stem = "".join(letter if letter.isalnum() else "-" for letter in plan.name)[:60].strip("-") or "plan"
    target = desk.store.run_dir("exports") / f"{stem}.plan.json"
    text = json.dumps(
        {"format": FORMAT, "version": VERSION, "name": plan.name, "rows": rows}, ensure_ascii=False, indent=1
    )
    with written_aside(target) as stream:
        stream.write(text.encode())
    return target


def take_in(workplace: Workplace, file: Path) -> SavedPlan:
    """Reads a shared plan from a file, saves it and returns it; a plan of the same name is kept beside it.

    Raises: NotFound for a missing file, BadInput for one that is no plan.
    """
    if not os.path.isfile(file):  # noqa: PTH113 - a name that is too long is no file either
        raise NotFound(f"There is no file {shown(str(file))}.", "Give the path of a plan's file.")
    if file.stat().st_size > _LARGEST:
        raise BadInput(f"{file.name} is too large to be a plan.", "Choose a file that “Share as a file” wrote.")
    try:
        told = json.loads(file.read_bytes())
        form, version, name, rows = (told[each] for each in ("format", "version", "name", "rows"))
        fits = form == FORMAT and isinstance(name, str) and isinstance(rows, list)
    except (ValueError, KeyError, TypeError, RecursionError):
        fits = False
    if not fits:
        raise BadInput(f"{file.name} is no plan.", "Choose a file that “Share as a file” wrote.")
    if version != VERSION:
        raise BadInput(
            f"{file.name} was written by another FLENwheel (plan version {version!r:.20}).", "Update this one."
        )
    names = {each.name for each in plans(workplace)}
    numbered = (f"{name.strip()[: _LONGEST - 8]} {number}" for number in range(2, len(names) + 3))
    free = next(each for each in (name.strip(), *numbered) if each not in names)
    return save(workplace, free, edits(rows))


def edits(rows: Sequence[Mapping[str, Any]]) -> list[OwnEdit]:
    """Returns rows of a plan from the JSON that a script or a file gives; a row without a key gets one.

    Raises: BadInput that names the first value that does not fit.
    """
    found = []
    for at, row in enumerate(rows):
        try:
            found.append(OwnEdit.from_json({"key": secrets.token_hex(6), **row}))
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"rows[{at}] cannot be used: {shortened(str(error))}.", "Take the rows of plan_list as a pattern."
            ) from None
    return found
