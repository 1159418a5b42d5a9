"""Draws planned edits, by one editor or by several, one editor after the other."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from engines.api.crops import Crop, cut
from engines.api.errors import UserError
from engines.api.params import EditParams, LoraUse
from engines.api.protocols import EditItem, Editor, OnStep, Plan
from studio.flywheel.enrich import area
from studio.gpu.budget import Fit
from studio.judging.gallery import open_each
from studio.records.payload import PlanRow
from studio.store import Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk


@dataclass(frozen=True)
class Drawn:
    """Holds the result of the row at `index`: its pixels, and the `crop` of the source that it was made from.

    `seconds` is the time since the result before it; `peak_bytes` is the most memory of the card in use in that time,
    None where the card does not tell.
    """

    index: int
    crop: Crop
    image: Image.Image
    seconds: float
    peak_bytes: int | None


def draw(
    ctx: Context, rows: Mapping[int, PlanRow], on_step: OnStep, clock: Callable[[], float] = time.monotonic
) -> Generator[Drawn, None, None]:
    """Draws rows and yields each result as soon as it is there; the GPU is leased once for each model.

    `rows` maps an index to a row whose `model` is set; it is drawn by that model with the row's `version` after the
    row's own LoRAs. A row whose source or reference cannot be opened has no result, and the job tells why. `on_step` is
    called with the steps that the present model has done. To be closed after use. Raises: BadInput where no picture can
    be opened; Cancelled.
    """
    crops = {index: area.crop_of(ctx.store, row) for index, row in rows.items()}
    some: list[int] = []
    for model in dict.fromkeys(row.model for row in rows.values()):
        editor = ctx.workplace.editor(model)
        own = {index: row for index, row in rows.items() if row.model == model}
        items = _items(ctx, editor, own, crops)
        some += items
        if not items:
            continue
        with ctx.lease(editor.plan(list(items.values())), f"enrich|{model}") as lease:
            since = clock()
            for index, image in zip(items, editor.edit(list(items.values()), lease, on_step), strict=True):
                now, peak = clock(), lease.take_peak()
                yield Drawn(index, crops[index], image, now - since, peak or None)
                since = clock()
    if rows:
        ctx.demand_some(some)


def _items(ctx: Context, editor: Editor, rows: Mapping[int, PlanRow], crops: Mapping[int, Crop]) -> dict[int, EditItem]:
    """Returns the edits of those rows whose source and references can be opened, by their index.

    Each picture is opened once for each of its crops, and kept as small as the editor reads it.
    """
    parts: dict[int, tuple[tuple[str, Crop], ...]] = {
        index: ((row.source, crops[index]), *((image, ()) for image in row.references)) for index, row in rows.items()
    }
    wanted = Counter(part for of_row in parts.values() for part in of_row)

    def leave_out(part: tuple[str, Crop], error: UserError) -> None:
        ctx.leave_out(part[0], error, items=wanted[part])

    def edited(part: tuple[str, Crop]) -> EditItem:
        return editor.scaled(EditItem(cut(ctx.store.open_whole(part[0]), part[1]), EditParams()))

    opened = open_each(wanted, edited, leave_out)
    items = {}
    for index, row in rows.items():
        if all(part in opened for part in parts[index]):
            shown, *references = (opened[part] for part in parts[index])
            items[index] = replace(
                shown, params=worded(ctx.store, row), references=tuple(one.source for one in references)
            )
    return items


def worded(store: Store, row: PlanRow) -> EditParams:
    """Returns the parameters that a row is drawn with: its own, with the LoRA of its version after its own LoRAs."""
    params = EditParams.from_json(row.params)
    own = (LoraUse(file=str(store.adapter_path(row.version))),) if row.version else ()
    return params.replace(loras=(*params.loras, *own))


def fit_of(desk: Desk, rows: Sequence[PlanRow], model: str) -> Fit:
    """Returns whether edits, each with its `model`, fit into memory; a model that is not on this machine does not.

    `model` is checked where there are no rows. The edits of several models are made one model after the other.
    """
    gpu = desk.workplace.gpu
    try:
        plans = plans_of(desk, rows) or {model: desk.workplace.editor(model).plan([])}
        fits = [gpu.check(plan, key=f"enrich|{name}") for name, plan in plans.items()]
    except UserError as error:
        return Fit.refused(error, gpu.budget)
    return next((each for each in fits if not each.ok), fits[0])


def plans_of(desk: Desk, rows: Sequence[PlanRow]) -> dict[str, Plan]:
    """Returns the memory plan of edits, each with its `model`, for each model by its name.

    Raises: ModelMissing, NotFound, BadInput for invalid parameters.
    """
    plans = {}
    for name in dict.fromkeys(row.model for row in rows):
        editor = desk.workplace.editor(name)
        blank = Image.new("RGB", desk.workplace.registry.spec(name).size)
        own = [row for row in rows if row.model == name]
        plans[name] = editor.plan(
            [EditItem(blank, worded(desk.store, row), (blank,) * len(row.references)) for row in own]
        )
    return plans
