"""The pre-flight of a training: checks made before it takes the GPU, each failed one with its remedy."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydantic import computed_field

from engines.api.axes import ANGLES
from engines.api.crops import cut_size
from engines.api.errors import BadInput, NotFound, UserError
from engines.api.params import TrainParams
from engines.api.protocols import DiskUse, ModelSpec, TrainItem, TrainRun
from engines.api.triggers import says
from studio.flywheel.curate.captions import demand_trigger, leaks
from studio.flywheel.curate.coverage import CONSTANT, ENOUGH_ANGLES, Check
from studio.flywheel.train import runs, timing
from studio.flywheel.train.entries import demand_class, named, read_whole, thrown_away
from studio.gpu.budget import Fit, in_gib
from studio.judging import quality
from studio.records.base import Json, Part
from studio.records.character import Character
from studio.records.dataset import Entry, Role, real_share
from studio.records.version import Version
from studio.store import Store
from studio.workplace.desk import Desk, Workplace

REAL_SHARE = 0.3
MANY = 10
_LEAST_SHARE = 0.02  # the least share of a picture that its mask must leave
LEARNERS = {Role.CHARACTER: "generator", Role.EDITOR: "editor"}  # the model's role in the registry
_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Preflight(Part):
    """Holds the report on whether a training can start.

    The checks that are not among the `musts` are advice. The predicted time is without previews and class pictures.
    """

    checks: tuple[Check, ...]
    """All checks, each with whether it is met and what to do."""
    fit: Fit
    """Whether the training fits in memory."""
    seconds: float
    """The predicted time of the steps; 0 while the model's speed is not known."""
    entries: tuple[Entry, ...]
    """The pictures that will be learned."""
    real_share: float
    """The share of originals in them, 0…1."""
    disk: int
    """The bytes that are needed on the disk."""
    free: int
    """The bytes that are free there."""
    timed_by: str = ""
    """Whether the model's speed was measured in a training or in drawing."""
    musts: tuple[Check, ...] = ()
    """Those of the checks that have to be met before the training may start."""

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def ok(self) -> bool:
        """Returns whether the training may start: whether all checks in `musts` pass."""
        return all(each.ok for each in self.musts)

    @property
    def blocking(self) -> tuple[Check, ...]:
        """Returns the failed checks that prevent the training from starting."""
        return tuple(each for each in self.musts if not each.ok)

    @property
    def advice(self) -> tuple[Check, ...]:
        """Returns the failed checks that do not prevent the training, but may make its result worse."""
        return tuple(each for each in self.checks if not each.ok and each not in self.musts)

    def to_json(self) -> Json:
        """Returns the report as a dict for scripts: all its fields, and `ok`."""
        return {"ok": self.ok, **super().to_json()}


def look(desk: Desk, params: TrainParams, model: str, entries: Sequence[Entry], start: str = "") -> Preflight:
    """Returns the report on whether a training can start: its checks, memory, disk use and predicted time.

    The training is that of a character LoRA. `model` is the name of the generator, `start` the id of the version to
    continue, "" for an untrained LoRA. The model is not loaded. Raises: NotFound for an unknown model or version.
    """
    store, begun = desk.store, list[Check]()
    if start:
        trouble = start_trouble(store.versions.get(start), model, params)
        begun.append(Check(f"can go on from {store.versions.get(start).name}", trouble is None, str(trouble or "")))
        begun += _refusal("the file of the version to go on from is there", lambda: store.adapter_path(start))
    bare = [entry for entry in entries if not entry.worded]
    musts = (
        *something(entries, "pictures", "Import originals in Curate, or approve pictures in Review.", "Curate"),
        Check("every picture has a caption", not bare, f"{len(bare)} lack one: caption them in Curate.", "Curate"),
        *mask_files(store, params, entries),
        *role(desk.workplace, model, Role.CHARACTER),
        *here(desk.workplace, model),
        *_refusal("the character has a trigger word", lambda: demand_trigger(store.character)),
        *sense(params, store.character.trigger),
        *_refusal("it is known what else to keep as it is", lambda: demand_class(store.character, params, entries)),
        *begun,
    )
    checks = (
        *_checks(store.character, entries, real_share(entries)),
        *read_whole(desk, model, entries),
        *thrown_away(store, entries),
        _angles(store, entries),
        *mirror(params, entries),
        *masks(store, params, entries),
        *_cut_off(store, desk.workplace.registry.spec(model), params, entries),
    )
    return weighed(desk, params, model, entries, checks, musts, store.character.trigger)


def something(entries: Sequence[Entry], what: str, hint: str, tab: str) -> Iterable[Check]:
    """Yields a failed check where there are no entries to train on, else nothing.

    `what` is the plural noun for the entries in the check's label, such as pictures. `hint` says what to do, `tab` is
    the tab of the page where it is done.
    """
    if not entries:
        yield Check(f"there are {what} to learn from", False, hint, tab)


def weighed(
    desk: Desk,
    params: TrainParams,
    model: str,
    entries: Sequence[Entry],
    advice: Sequence[Check],
    musts: Sequence[Check],
    trigger: str = "",
) -> Preflight:
    """Returns the report on whether a training can start: given checks, checks of memory and disk, predicted time.

    `advice` and `musts` are the given checks: a failed one in `musts` prevents the start, one in `advice` does not.
    `model` is the model's name, `trigger` the word that stands for the character in captions, "" for an editor's
    training.
    """
    fit, use = _needs(desk, model, params, entries, trigger)
    disk, free = disk_bytes(use, params, entries), shutil.disk_usage(desk.store.folder).free
    pace = timing.expected(desk.workplace, model, params)
    room = f"Needs {in_gib(disk)} of {in_gib(free)} free: keep fewer checkpoints, or make room."
    required = (
        *musts,
        Check("fits in the graphics memory", fit.ok, fit.words),
        Check("fits on the disk", disk <= free, room),
    )
    return Preflight(
        checks=(*advice, *required),
        musts=required,
        fit=fit,
        seconds=params.steps * pace.seconds,
        timed_by=pace.by,
        entries=tuple(entries),
        real_share=real_share(entries),
        disk=disk,
        free=free,
    )


def model_trouble(workplace: Workplace, model: str, role: Role) -> BadInput | None:
    """Returns the error to raise for a model that cannot be trained for `role`; None for one that can.

    `model` is a name, `role` is drawing a character or editing pictures. Raises: NotFound for an unknown model.
    """
    spec, wanted = workplace.registry.spec(model), LEARNERS[role]
    if spec.role == wanted and spec.trainer:
        return None
    fitting = [each.name for each in workplace.registry.role(wanted) if each.role == wanted and each.trainer]
    cause = "cannot be trained" if spec.role == wanted else f"is no {wanted}: its kind is {spec.role}"
    if wanted != spec.role and wanted in spec.roles:
        cause = f"edits, and cannot be trained for it: here it learns as a {spec.role} alone"
    remedy = f"Choose one of: {', '.join(fitting)}." if fitting else f"No {wanted} here can be trained."
    return BadInput(f"{model} {cause}.", remedy)


def start_trouble(begun: Version, model: str, params: TrainParams) -> BadInput | None:
    """Returns the error to raise where a training cannot continue the version `begun`; None where it can.

    The version must be a character LoRA of the same `model` with the rank, alpha and target layers of `params`, and not
    in the trash.
    """
    if begun.trashed:
        return BadInput(f"{begun.name} is in the trash.", "Restore it, or start from another version or from nothing.")
    if begun.role is not Role.CHARACTER or begun.model != model:
        return BadInput(
            f"{begun.name} is no character LoRA of {model}.",
            f"Train {begun.model}, or start from a version of {model} or from nothing.",
        )
    untold = {"rank": params.rank, "alpha": params.alpha, "targets": TrainParams().targets}
    had = {name: begun.params.get(name, value) for name, value in untold.items()}
    if had == {name: getattr(params, name) for name in had}:
        return None
    return BadInput(
        f"{begun.name} has rank {had['rank']} and alpha {had['alpha']:g}, and its targets are {had['targets']}.",
        "Train with these, or start from nothing.",
    )


def disk_bytes(use: DiskUse, params: TrainParams, entries: Sequence[Entry]) -> int:
    """Returns the bytes that a training needs on the disk for its checkpoints and its cache of encoded pictures.

    `use` holds the bytes of one checkpoint and of one encoded picture. The result includes the checkpoints that are
    kept, the newest one, one that is being written, and the whole cache, even if parts of it exist already. In the
    cache an edit takes room for each picture that it starts from, and the class pictures of prior preservation take it
    at one size.
    """
    kept = params.steps // params.save_every if params.save_every > 0 else 0
    pictures = sum(max(1, len(entry.references)) for entry in entries)
    of_class = params.prior_pictures if params.prior_weight else 0
    encoded = pictures * (1 + params.flip) * (1 + len(params.resolutions)) + of_class
    return (kept + 2) * use.checkpoint + encoded * use.item


def _needs(desk: Desk, model: str, params: TrainParams, entries: Sequence[Entry], trigger: str) -> tuple[Fit, DiskUse]:
    try:
        trainer = desk.workplace.trainer(model)
        path = desk.store.path
        edits = (entry for entry in entries if entry.references)  # each picture that an edit starts from takes memory
        items = tuple(TrainItem(path(each.image), each.caption, tuple(map(path, each.references))) for each in edits)
        plan = trainer.plan(TrainRun(desk.store.folder, items, params, trigger=trigger))
        return desk.workplace.gpu.check(plan, key=runs.peak_key(model, params, items)), trainer.disk(params)
    except UserError as error:
        return Fit.refused(error, desk.workplace.gpu.budget), DiskUse(0, 0)


def files(store: Store, ids: Iterable[str]) -> Iterable[Check]:
    """Yields a failed check where any of the pictures with these ids has a file that cannot be read, else nothing.

    The hint names these pictures; the training leaves them out.
    """
    bad = {image: trouble for image in ids if (trouble := store.trouble(image))}
    if bad:
        said = "; ".join(f"{named(store, image)}: {trouble.cause}" for image, trouble in bad.items())
        hint = f"Left out: {said} Put it back, or trash its record."
        yield Check("every picture's file can be read", False, hint, "Curate")


def mask_files(store: Store, params: TrainParams, entries: Sequence[Entry]) -> Iterable[Check]:
    """Yields a failed check where the file of a mask that the training uses is missing, else nothing.

    A mask marks the part of a picture to learn. Without it the whole picture would be learned, so the training must not
    start.
    """
    masked = [entry for entry in entries if entry.mask and params.mask_outside < 1]
    bad = [named(store, entry.image) for entry in masked if not (store.folder / entry.mask).is_file()]
    if bad:
        hint = f"Missing: {', '.join(bad)}. Paint it anew in Curate, or remove it."
        yield Check("every mask is there", False, hint, "Curate")


def role(workplace: Workplace, model: str, role: Role) -> Iterable[Check]:
    """Yields a failed check where the model cannot be trained for `role`, else nothing.

    `model` is a name, `role` is drawing a character or editing pictures.
    """
    if trouble := model_trouble(workplace, model, role):
        yield Check(f"{model} can learn this", False, str(trouble))


def here(workplace: Workplace, model: str) -> Iterable[Check]:
    """Yields a failed check where the weights of the model named `model` are not on this machine, else nothing.

    The hint of the check is the command that downloads them.
    """
    try:
        workplace.registry.folder(workplace.registry.spec(model))
    except UserError as error:
        yield Check(f"{model} is on this machine", False, str(error))


def sense(params: TrainParams, trigger: str) -> Iterable[Check]:
    """Yields a failed check where training parameters are invalid or contradict each other, else nothing.

    `trigger` is the word that stands for the character in captions, "" for an editor's training.
    """
    return _refusal("the settings fit together", lambda: params.checked().demand_sense(trigger))


def _refusal(label: str, demand: Callable[[], object]) -> Iterable[Check]:
    """Yields a failed check with the error's text where `demand` raises BadInput or NotFound, else nothing."""
    try:
        demand()
    except (BadInput, NotFound) as error:
        yield Check(label, False, str(error))


def _angles(store: Store, entries: Sequence[Entry]) -> Check:
    """Returns the check that the pictures show enough head angles.

    A LoRA trained on one angle draws the head from that angle only.
    """
    records = (store.images.peek(entry.image) for entry in entries)
    seen = {record.tags.get("angle", "") for record in records if record} & set(ANGLES)
    return Check(
        f"at least {ENOUGH_ANGLES} of the {len(ANGLES)} head angles",
        len(seen) >= ENOUGH_ANGLES,
        f"{len(seen)} now: tag the pictures in Curate, or let Enrich turn the head.",
        "Enrich",
    )


def mirror(params: TrainParams, entries: Sequence[Entry]) -> Iterable[Check]:
    """Yields the check that no caption says left or right, where the training mirrors pictures; else nothing.

    In the mirrored picture these words would be wrong.
    """
    sided = sum(bool(_SIDES.search(entry.caption)) for entry in entries)
    if params.flip:
        hint = (
            f"{sided} of {len(entries)} do, and would be wrong for a mirrored picture: turn mirroring off in Advanced."
        )
        yield Check("with mirroring on, no caption says left or right", not sided, hint)


def masks(store: Store, params: TrainParams, entries: Sequence[Entry]) -> Iterable[Check]:
    """Yields two checks on masks, which mark the part of a picture to learn; nothing where no picture has one.

    The first tells how many pictures have a mask, the second whether each mask leaves enough of its picture.
    """
    masked = [entry for entry in entries if entry.mask]
    if not masked:
        return
    ignored = ", ignored as outside counts 1" if params.mask_outside == 1 else ""
    yield Check(f"{len(masked)} of {len(entries)} pictures have a mask{ignored}", True)
    shares = {entry.image: _share(store, entry) for entry in masked}
    bare = {image: share for image, share in shares.items() if share < _LEAST_SHARE}
    said = "; ".join(f"{named(store, image)} {share:.1%}" for image, share in bare.items())
    yield Check(
        "every mask leaves something to learn",
        not bare or bool(ignored),
        f"Of these hardly anything counts: {said}. Paint more of them in Curate, widen the crop, or remove the mask.",
        "Curate",
    )


def _share(store: Store, entry: Entry) -> float:
    """Returns the share of the picture that its mask leaves, 0…1; 0 for a missing mask, which has the same remedy."""
    try:
        return store.mask_share(entry.mask, entry.crop)
    except UserError:
        return 0.0


def _cut_off(store: Store, spec: ModelSpec, params: TrainParams, entries: Sequence[Entry]) -> Iterable[Check]:
    """Yields a failed check where training would cut much off a picture because of its shape, else nothing.

    The check is for generators; an editor's trainer scales its pictures instead.
    """
    records = [(store.images.peek(entry.image), entry.crop) for entry in entries]
    sizes = {each.id: cut_size(crop, (each.width, each.height)) for each, crop in records if each}
    shares = {image: quality.share_lost(spec, size, params) for image, size in sizes.items()}
    told = [f"{named(store, image)} {share:.0%}" for image, share in shares.items() if share >= quality.NOTABLE_CUT]
    if told:
        yield Check(
            "no picture is cut by much",
            False,
            f"Training takes shapes up to 1:2, and cuts off at the ends: {', '.join(told)}. "
            "Crop these in Curate to the part that matters.",
            "Curate",
        )


def _checks(character: Character, entries: Sequence[Entry], share: float) -> Iterable[Check]:
    worded = [entry for entry in entries if entry.worded]
    uncalled = [entry for entry in worded if not says(entry.caption, character.trigger)]
    leaking = {word for entry in worded for word in leaks(entry.caption, character.trigger)}
    few = f"{len(entries)} now; import or approve more."
    yield Check(f"at least {MANY} pictures", len(entries) >= MANY, few, "Curate")
    yield Check(
        f"every caption says {character.trigger}",
        not uncalled,
        f"{len(uncalled)} do not: edit them in Curate.",
        "Curate",
    )
    yield Check(
        CONSTANT,
        not leaking,
        f"Take out of the captions: {', '.join(sorted(leaking))}. Then {character.trigger} comes to mean it.",
        "Curate",
    )
    yield Check(
        "originals are at least 30 %",
        share >= REAL_SHARE - 1e-9,
        f"{share:.0%} now; import more originals.",
        "Curate",
    )
