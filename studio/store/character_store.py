"""The store of one character: its records, pictures and versions, and the rules between them.

A file is written before its record. A crash between the two leaves a file without a record, which is used again when
the same content is added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Collection as Among
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from engines.api.crops import cut
from engines.api.errors import BadInput, UserError
from engines.api.params import LoraUse
from engines.infotext import NamedLora
from engines.pictures import to_rgb
from studio.records.base import now
from studio.records.card import CardRun
from studio.records.character import Character
from studio.records.dataset import Dataset, Entry, Role
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import is_id
from studio.records.provenance import Provenance
from studio.records.review import Decision, Triplet
from studio.records.tournament import RouteChoice, Tournament
from studio.records.version import Version
from studio.store.batches import Batches
from studio.store.collection import Collection, changed
from studio.store.crops import Crops
from studio.store.durable import make_folder, sweep
from studio.store.lora_names import LoraNames, stack_of, version_lora_name, without_places
from studio.store.pictures import Pictures
from studio.store.tables import COMPACT_BYTES, Database
from studio.store.trash import Trash
from studio.store.verdicts import Verdicts
from studio.store.versions import Versions

_REVIEWED = (Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)
_OF_A_CORRECTION = "source_crop", "references", "params_kind", "asked", "tags", "caption", "caption_by"
_PROVENANCE = ("parent", "model", "version", "seed", "params_kind", "params", "asked")


class Store:
    """Holds the records, pictures and LoRA files of one character on the disk; several threads may use it."""

    def __init__(self, folder: Path, character: Callable[[], Character], *, compact_bytes: int = COMPACT_BYTES) -> None:
        self.folder = make_folder(folder)
        for name in ("images", "masks", "thumbs", "adapters"):
            sweep(folder / name)
        self._character = character
        self._database = database = Database(folder, compact_bytes=compact_bytes)
        self.images = Collection(database, "images", ImageRecord)
        self.decisions = Collection(database, "decisions", Decision)
        self.triplets = Collection(database, "triplets", Triplet)
        self.datasets = Collection(database, "datasets", Dataset)
        self.versions = Collection(database, "versions", Version)
        self.cards = Collection(database, "cards", CardRun)
        self.tournaments = Collection(database, "tournaments", Tournament)
        self.route_choices = Collection(database, "route_choices", RouteChoice)
        self._pictures = Pictures(folder)
        self._lora_names = LoraNames()
        self._verdicts = Verdicts(database, self.images, self.decisions, self.triplets)
        self._crops = Crops(database, self.images)
        self.batches = Batches(database, self.images)
        self._trash = Trash(database, self.images, self.triplets, self._verdicts)
        self._versions = Versions(folder, database, self.versions, self.datasets)

    @property
    def character(self) -> Character:
        """Returns the present record of the character."""
        return self._character()

    @property
    def revision(self) -> int:
        """Returns a number that grows with every stored change, also across restarts: a page of a lower one is old."""
        return self._database.journal.revision

    def transaction(self) -> AbstractContextManager[None]:
        """Returns a context manager that groups changes into one transaction; when its body raises, all are undone."""
        return self._database.transaction()

    def packed(self) -> bytes:
        """Returns all records of the character as the bytes of a database file `flenwheel.json`, for a backup."""
        return self._database.journal.packed()

    def close(self) -> None:
        """Closes the records' files; `Library.close` calls it."""
        self._database.close()

    # ── pictures ────────────────────────────────────────────────────────────────────────────────

    def add_image(
        self, image: Image.Image | bytes, *, kind: Kind, upright: Image.Image | None = None, **fields: Any
    ) -> ImageRecord:
        """Stores a picture, given as a file's bytes or as pixels, and returns its record.

        `kind` is its origin, `upright` a file's pixels if they are decoded, `fields` other fields of its record. One
        that is stored already does not change. Raises: BadInput for no picture, UserError when writing fails."""
        if isinstance(image, bytes):
            keep = partial(self._pictures.keep, image, upright)
        else:
            told = Provenance.from_json({"kind": kind, **{k: fields[k] for k in _PROVENANCE if fields.get(k)}})
            keep = partial(self._pictures.keep_result, image, without_places(told, self._loras_of(told)))
        kept = keep()
        with self.transaction():
            known = self.images.peek(kept.id)
            if known is not None and not known.emptied:
                return known
            if known is not None:
                keep()  # the trash may have been emptied of it a moment ago
            record = ImageRecord(
                id=kept.id, file=kept.file, width=kept.width, height=kept.height, kind=Kind(kind), **fields
            )
            self._verdicts.follow(self.images.put(record))
        return record

    def _loras_of(self, told: Provenance) -> list[NamedLora]:
        """Returns the LoRAs that a picture was drawn with: the files of its own stack, then the version's adapter."""
        uses = [("", use) for use in stack_of(told)]
        version = self.versions.peek(told.version)
        if version is not None:
            adapter = LoraUse(file=str(self.folder / version.adapter), weight=float(told.params.get("strength", 1.0)))
            uses.append((version_lora_name(self.character.trigger, version), adapter))
        return self._lora_names.named(uses)

    def path(self, image_id: str) -> Path:
        """Returns the path of a picture's file. Raises: NotFound, also where the file is missing."""
        return self._pictures.path(self.images.get(image_id).file)

    def trouble(self, image_id: str) -> UserError | None:
        """Returns the error when a picture's file is missing, unreadable or changed; None when the file is sound.

        Raises: NotFound for an unknown picture."""
        return self._pictures.trouble(self.images.get(image_id).file)

    def thumb(self, image_id: str, crop: Sequence[float] = ()) -> Path:
        """Returns the path of a small WebP thumbnail of a picture or of a part of it; makes the file when missing.

        `crop`: left, top, right, bottom, 0…1; empty: the whole picture. Raises: NotFound; BadInput if damaged."""
        return self._pictures.thumb(image_id, self.images.get(image_id).file, tuple(crop))

    def view(self, image_id: str, crop: Sequence[float] = ()) -> Path:
        """Returns the path of a file for a large view of a picture; a browser shows it upright and opaque.

        `crop`: left, top, right, bottom, 0…1; empty: the whole picture. Raises: NotFound; BadInput if damaged."""
        return self._pictures.view(image_id, self.images.get(image_id).file, tuple(crop))

    def set_mask(self, image_id: str, mask: Image.Image | None) -> ImageRecord:
        """Sets the training mask of a picture and returns its record; `mask` None removes the mask.

        White parts of the mask are trained, black parts are not. The picture's file does not change. Raises: NotFound;
        BadInput for a mask of another size than the picture, and for an all-black mask."""
        return self.update_image(image_id, mask="" if mask is None else self.keep_area(image_id, mask))

    def keep_area(self, image_id: str, mask: Image.Image) -> str:
        """Stores a mask for a picture, such as the area that an edit redoes, without making it the training mask.

        Returns the path of the mask's file relative to the character's folder. Raises: NotFound; BadInput for a mask of
        another size than the picture, and for an all-black mask."""
        image = self.images.get(image_id)
        return self._pictures.keep_mask(mask, (image.width, image.height))

    def set_crop(self, image_id: str, crop: Sequence[float]) -> ImageRecord:
        """Sets the part of a picture that is trained, and returns the picture's record; its file does not change.

        `crop` is left, top, right and bottom as fractions, 0…1; empty for the whole picture. Raises: NotFound; BadInput
        for a crop that is not within the picture or is too small."""
        return self._crops.set(image_id, crop)

    def undo_crop(self, image_id: str) -> ImageRecord:
        """Undoes the last change of a picture's crop and returns its record. Raises: NotFound without a change."""
        return self._crops.undo(image_id)

    def file(self, name: str) -> Path:
        """Returns the absolute path of a file by its path in the character's folder, as of a mask. Raises: NotFound."""
        return self._pictures.path(name)

    def mask_share(self, mask: str, crop: Sequence[float] = ()) -> float:
        """Returns the share of a picture's crop that a mask leaves for training: 0 (all black) to 1 (all white).

        `mask` is the path of the mask's file relative to the character's folder. `crop` is left, top, right and bottom
        as fractions, 0…1; empty for the whole picture. Raises: NotFound; BadInput for a damaged file."""
        return self._pictures.mask_share(mask, tuple(crop))

    def counted_thumb(self, image_id: str) -> Path:
        """Returns the path of a thumbnail of the picture's crop, in which the parts outside its mask are darkened.

        It shows what is trained. The file is made when it is missing. Raises: NotFound; BadInput for a damaged picture.
        """
        image = self.images.get(image_id)
        return self._pictures.counted_thumb(image_id, image.file, image.mask, image.crop)

    def open_image(self, image_id: str) -> Image.Image:
        """Returns the pixels of a picture within its crop, upright and RGB.

        These pixels are captioned, scored, edited and trained. Raises: NotFound; BadInput for a damaged file."""
        image = self.images.get(image_id)
        return cut(self._pictures.open(image.file), image.crop)

    open_counted = open_image  # its older name, which scripts may use

    def open_whole(self, image_id: str) -> Image.Image:
        """Returns the pixels of a whole picture, uncropped, upright and RGB. Raises: NotFound; BadInput if damaged."""
        return self._pictures.open(self.images.get(image_id).file)

    def select(
        self, kind: Kind | Iterable[Kind] | None = None, state: Verdict | None = None, trashed: bool = False
    ) -> list[ImageRecord]:
        """Returns the records of the pictures with the given origins and verdict, oldest first.

        `kind` is one origin or several, `state` the verdict; None stands for any. With `trashed` only pictures in the
        trash are returned, otherwise only those outside it. Pictures whose files were deleted are never returned."""
        kinds = tuple(Kind) if kind is None else (kind,) if isinstance(kind, str) else tuple(kind)
        return [
            image
            for image in self.images.all()
            if bool(image.trashed) is trashed and image.kind in kinds and state in (None, image.state)
            if not image.emptied
        ]

    def pending(self, kinds: Iterable[Kind] = _REVIEWED) -> list[ImageRecord]:
        """Returns the review queue: the records of pictures of the origins `kinds` without a verdict, oldest first.

        By default: edits, generated pictures, corrections. Pictures that the identity filter set aside are left out."""
        return [image for image in self.select(kinds, Verdict.PENDING) if not image.filtered]

    def update_image(self, image_id: str, **changes: Any) -> ImageRecord:
        """Changes fields of a picture's record and returns it. Raises: NotFound, BadInput for an unknown field."""
        return self.update_images({image_id: changes})[0]

    def update_images(self, changes: Mapping[str, Mapping[str, Any]]) -> list[ImageRecord]:
        """Changes the records of several pictures in one transaction and returns the new records.

        `changes` maps a picture's id to its new values by field name. Raises: NotFound, BadInput for an unknown field.
        """
        updated = []
        with self.transaction():
            for image_id, values in changes.items():
                updated.append(self.images.put(changed(self.images.get(image_id), values)))
                self._verdicts.follow(updated[-1])
        return updated

    def trash(self, ids: Iterable[str]) -> None:
        """Moves pictures into the trash; one call of `undo_trash` takes them all out again. Raises: NotFound."""
        self._trash.throw(ids)

    def restore(self, ids: Iterable[str]) -> None:
        """Takes pictures out of the trash, except those whose file has been deleted. Raises: NotFound."""
        self._trash.restore(ids)

    def discard(self, ids: Iterable[str], shown: Among[str] = ()) -> int:
        """Deletes the files of pictures in the trash for good and returns the bytes freed; the records stay.

        `ids` are the pictures; those that are not in the trash are left alone. `shown` are ids of pictures whose
        thumbnails are kept, because the page still shows them. Files that an earlier, interrupted call left are deleted
        too. Raises: NotFound, UserError when deleting fails."""
        wanted = list(ids)
        for image_id in shown:
            with suppress(UserError):  # a picture that cannot be read has no thumbnail to keep
                self.thumb(image_id)
        self._trash.empty(wanted)
        freed = 0
        for image in [each for each in self.images.all() if each.emptied]:
            with self.transaction():  # a picture that comes again meanwhile waits, and is stored after this
                if self.images.get(image.id).emptied:
                    freed += self._pictures.delete(image.id, image.file, keep_thumb=image.id in shown)
        used = {image.mask for image in self.images.all() if not image.emptied}
        used |= {image.area for image in self.images.all()}  # the same file may be a mask and the area of a new try
        used |= {entry.mask for dataset in self.datasets.all() for entry in dataset.entries}
        gone = {image.mask for image in self.images.all() if image.emptied} - used - {""}
        return freed + sum(map(self._pictures.delete_mask, gone))

    def last_thrown(self) -> tuple[str, list[str]]:
        """Returns the last move into the trash: its time as ISO 8601, and the ids of its pictures still in the trash.

        It is the move that `undo_trash` undoes. Returns ("", []) where there is none."""
        return self._trash.last()

    def undo_trash(self) -> list[str]:
        """Undoes the last move into the trash and returns the ids of the restored pictures; [] without a move."""
        return list(self._trash.undo())

    # ── review ──────────────────────────────────────────────────────────────────────────────────

    def decide(
        self, image_id: str, verdict: Verdict, *, reviewer: str = "owner", reasons: Sequence[str] = ()
    ) -> Decision:
        """Records a reviewer's verdict on a picture, updates the picture's record, and returns the decision.

        `reasons` are the reasons given for the verdict. A verdict of good makes an edit a training example of the
        editor (a triplet); any other verdict removes that example. Raises: NotFound; BadInput if in the trash."""
        return self._verdicts.decide(image_id, verdict, reviewer=reviewer, reasons=reasons)

    def undo(self, reviewer: str | None = None) -> Decision:
        """Undoes a reviewer's last verdict that is not undone yet, and returns the undone decision.

        `reviewer` is a name; None means the last verdict of anyone. Raises: NotFound where there is no such verdict."""
        return self._verdicts.undo(reviewer)

    def correct(
        self,
        image_id: str,
        corrected: Image.Image,
        *,
        reviewer: str,
        params: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> Triplet:
        """Stores the corrected version of a wrong edit, and returns the training example (triplet) made of both.

        `image_id` is the wrong picture, `corrected` are the mended pixels. `params` are the edit's parameters in the
        triplet, None keeps those of the wrong edit. `reason` says what was wrong, "" gives no reason. Raises: NotFound;
        BadInput for a wrong picture that no edit made, for a correction of another size, and for one that changes
        neither pixels nor parameters."""
        wrong, pixels = self.images.get(image_id), to_rgb(corrected)
        self._verdicts.demand_correction(wrong, self.open_whole(image_id), pixels, params)
        with self.transaction():
            standing = {image.id for image in self.images.all() if not image.trashed}
            told = {name: getattr(wrong, name) for name in _OF_A_CORRECTION}
            told |= {"parent": image_id, "params": wrong.params if params is None else params}
            mended = self.add_image(pixels, kind=Kind.CORRECTION, **told)
            good = {"state": Verdict.GOOD, "reviewer": reviewer, "decided": now(), "trashed": ""}
            self.update_image(mended.id, **good)
            self._verdicts.decide(
                image_id,
                Verdict.NEEDS_CORRECTION,
                reviewer=reviewer,
                reasons=(reason,) if reason else (),
                correction="" if mended.id in standing else mended.id,
            )
            return self.triplets.get(mended.id)

    def case_of(self, image: ImageRecord) -> str:
        """Returns the id of the first wrong edit in the chain of new tries and corrections that led to a picture.

        For a picture that is neither a new try nor a correction it is the picture's own id."""
        return self._verdicts.tried(image)[-1].id

    # ── training ────────────────────────────────────────────────────────────────────────────────

    def run_dir(self, job_id: str) -> Path:
        """Returns the folder for a job's own files; makes it when missing. Raises: BadInput for a malformed id."""
        if not is_id(job_id):
            raise BadInput(f"{job_id!r} is not the id of a job.", "Take one from the job list.")
        return make_folder(self.folder / "runs" / job_id)

    def cache_dir(self) -> Path:
        """Returns the path of the folder in which all trainings of the character cache encoded pictures and captions.

        It is made when missing, and may be deleted while no training runs."""
        return make_folder(self.folder / "cache")

    def adapter_path(self, version_id: str) -> Path:
        """Returns the path of a version's LoRA file. Raises: NotFound for an unknown version or a missing file."""
        return self._versions.adapter_path(version_id)

    def add_version(self, adapter_file: Path, *, role: Role, **fields: Any) -> Version:
        """Copies a LoRA file into the store and returns the record of the new version, which is not in use yet.

        `role` tells what it is for: the character or the editor. `fields` are other fields of Version; without a `name`
        the version is named `v` and the next number. Raises: NotFound where there is no such file; UserError when
        writing fails."""
        return self._versions.add(adapter_file, role, **fields)

    def adopt(self, version_id: str, on: bool = True) -> Version:
        """Puts a version in use and retires the one in use so far; returns the version's new record.

        `on=False` retires it instead; if it was in use, its nearest ancestor (`parent`) not in the trash replaces it.
        Raises: NotFound; BadInput for a version in the trash, and for `on=False` on a retired version."""
        return self._versions.adopt(version_id, on)

    def kept_versions(self, role: Role) -> list[Version]:
        """Returns the versions of a role (character or editor) that are not in the trash, oldest first."""
        return self._versions.kept(role)

    def trash_version(self, version_id: str) -> Version:
        """Moves a version into the trash and returns its record; its file stays.

        Raises: NotFound, Busy for the version in use."""
        return self._versions.throw(version_id)

    def restore_version(self, version_id: str) -> Version:
        """Takes a version out of the trash and returns its record. Raises: NotFound."""
        return self._versions.restore(version_id)

    def adopted(self, role: Role) -> Version | None:
        """Returns the version in use for a role (character or editor); None where the base model is in use."""
        return self._versions.adopted(role)

    def freeze(self, role: Role, entries: Sequence[Entry]) -> Dataset:
        """Stores training entries (pictures with captions) as a dataset that never changes, and returns the dataset.

        `role` tells what is trained: the character or the editor. The same entries always give the same dataset."""
        return self._versions.freeze(role, entries)
