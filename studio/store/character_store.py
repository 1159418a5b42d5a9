"""One character's memory: its records, its pictures, its versions, and the rules that tie them together.

File first, then record: a crash between them leaves a file without a record, and the same content
finds it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
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
from studio.records.provenance import Provenance
from studio.records.review import Decision, Triplet
from studio.records.version import Version
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
_PROVENANCE = ("parent", "model", "version", "seed", "params_kind", "params", "asked")


class Store:
    """One character's records and files; made by `Library.open`, safe to use from several threads."""

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
        self._pictures = Pictures(folder)
        self._lora_names = LoraNames()
        self._verdicts = Verdicts(database, self.images, self.decisions, self.triplets)
        self._crops = Crops(database, self.images)
        self._trash = Trash(database, self.images, self.triplets, self._verdicts)
        self._versions = Versions(folder, database, self.versions, self.datasets)

    @property
    def character(self) -> Character:
        """Whose store this is, as last updated."""
        return self._character()

    @property
    def revision(self) -> int:
        """Grows with every change, across restarts; a page that has seen it has nothing to redraw."""
        return self._database.journal.revision

    def transaction(self) -> AbstractContextManager[None]:
        """Group changes into one that happens whole or, when the body raises, not at all."""
        return self._database.transaction()

    def close(self) -> None:
        """Let go of the files; the library does this."""
        self._database.close()

    # ── pictures ────────────────────────────────────────────────────────────────────────────────

    def add_image(self, image: Image.Image | bytes, *, kind: Kind, **fields: Any) -> ImageRecord:
        """Keep a picture, a file's bytes or an engine's pixels; content that is known answers its record.

        Raises: BadInput for bytes that are no picture, UserError when the disk refuses.
        """
        if isinstance(image, bytes):
            kept = self._pictures.keep(image)
        else:
            told = Provenance.from_json({"kind": kind, **{k: fields[k] for k in _PROVENANCE if fields.get(k)}})
            kept = self._pictures.keep_result(image, without_places(told, self._loras_of(told)))
        with self.transaction():
            known = self.images.peek(kept.id)
            if known is not None:
                return known
            record = ImageRecord(
                id=kept.id, file=kept.file, width=kept.width, height=kept.height, kind=Kind(kind), **fields
            )
            self._verdicts.follow(self.images.put(record))
        return record

    def _loras_of(self, told: Provenance) -> list[NamedLora]:
        """What a picture was drawn with: the files of its own stack, then the version's."""
        uses = [("", use) for use in stack_of(told)]
        version = self.versions.peek(told.version)
        if version is not None:
            adapter = LoraUse(file=str(self.folder / version.adapter))
            uses.append((version_lora_name(self.character.trigger, version), adapter))
        return self._lora_names.named(uses)

    def path(self, image_id: str) -> Path:
        """Where a picture's file lies. Raises: NotFound."""
        return self._pictures.path(self.images.get(image_id).file)

    def trouble(self, image_id: str) -> UserError | None:
        """Why a picture's file cannot be used, None where it can: gone, unreadable, or no longer what was kept.

        Raises: NotFound for an unknown picture.
        """
        return self._pictures.trouble(self.images.get(image_id).file)

    def thumb(self, image_id: str, crop: Sequence[float] = ()) -> Path:
        """A WebP of at most 512 pixels a side, of such a part or of all of it. Raises: NotFound, BadInput."""
        return self._pictures.thumb(image_id, self.images.get(image_id).file, tuple(crop))

    def view(self, image_id: str, crop: Sequence[float] = ()) -> Path:
        """A file in full size that a browser shows as `open_whole` opens it, of such a part or of all of it.

        Raises: NotFound, BadInput.
        """
        return self._pictures.view(image_id, self.images.get(image_id).file, tuple(crop))

    def set_mask(self, image_id: str, mask: Image.Image | None) -> ImageRecord:
        """Say what of a picture counts in training, white for all of it; None: all does. The picture stays as it is.

        Raises: NotFound, BadInput for a mask of another size or a black one.
        """
        image = self.images.get(image_id)
        kept = "" if mask is None else self._pictures.keep_mask(mask, (image.width, image.height))
        return self.update_image(image_id, mask=kept)

    def set_crop(self, image_id: str, crop: Sequence[float]) -> ImageRecord:
        """Say which part of a picture counts in training; an empty crop: all of it. The picture stays as it is.

        `crop` is left, top, right and bottom in shares of the picture, 0…1.
        Raises: NotFound, BadInput for a box that is no part of the picture.
        """
        return self._crops.set(image_id, crop)

    def undo_crop(self, image_id: str) -> ImageRecord:
        """Take the last change of a picture's crop back. Raises: NotFound when there is none."""
        return self._crops.undo(image_id)

    def file(self, name: str) -> Path:
        """Where a file that a record or a dataset names lies. Raises: NotFound."""
        return self._pictures.path(name)

    def mask_share(self, mask: str, crop: Sequence[float] = ()) -> float:
        """How much a dataset's mask leaves of the part that counts, 0…1. Raises: NotFound, BadInput."""
        return self._pictures.mask_share(mask, tuple(crop))

    def counted_thumb(self, image_id: str) -> Path:
        """A thumbnail of the part that counts in training, what its mask leaves out in the dark.

        Raises: NotFound, BadInput.
        """
        image = self.images.get(image_id)
        return self._pictures.counted_thumb(image_id, image.file, image.mask, image.crop)

    def open_image(self, image_id: str) -> Image.Image:
        """Pixels as the person cropped them, upright and RGB: what is captioned, scored, edited and trained.

        Raises: NotFound, BadInput.
        """
        image = self.images.get(image_id)
        return cut(self._pictures.open(image.file), image.crop)

    open_counted = open_image  # its older name, which scripts may know

    def open_whole(self, image_id: str) -> Image.Image:
        """All pixels of the file, upright and RGB: to measure, mask and mend on, and to cut as something once was.

        Raises: NotFound, BadInput.
        """
        return self._pictures.open(self.images.get(image_id).file)

    def select(
        self, kind: Kind | Iterable[Kind] | None = None, state: Verdict | None = None, trashed: bool = False
    ) -> list[ImageRecord]:
        """Pictures of some kinds in some state, oldest first; in the trash, or out of it."""
        kinds = tuple(Kind) if kind is None else (kind,) if isinstance(kind, str) else tuple(kind)
        return [
            image
            for image in self.images.all()
            if bool(image.trashed) is trashed and image.kind in kinds and state in (None, image.state)
        ]

    def pending(self, kinds: Iterable[Kind] = _REVIEWED) -> list[ImageRecord]:
        """The review queue: what waits for a human and was not set aside by the identity filter."""
        return [image for image in self.select(kinds, Verdict.PENDING) if not image.filtered]

    def update_image(self, image_id: str, **changes: Any) -> ImageRecord:
        """Change what is known of a picture. Raises: NotFound, BadInput."""
        return self.update_images({image_id: changes})[0]

    def update_images(self, changes: Mapping[str, Mapping[str, Any]]) -> list[ImageRecord]:
        """Change several pictures' records as one. Raises: NotFound, BadInput."""
        updated = []
        with self.transaction():
            for image_id, values in changes.items():
                updated.append(self.images.put(changed(self.images.get(image_id), values)))
                self._verdicts.follow(updated[-1])
        return updated

    def trash(self, ids: Iterable[str]) -> None:
        """Throw pictures away; they can come back. Raises: NotFound."""
        self._trash.throw(ids)

    def restore(self, ids: Iterable[str]) -> None:
        """Take pictures out of the trash. Raises: NotFound."""
        self._trash.restore(ids)

    def last_thrown(self) -> list[str]:
        """The pictures that `undo_trash` would bring back."""
        return self._trash.last()

    def undo_trash(self) -> list[str]:
        """Take back the last throw; answers the pictures that are out of the trash again."""
        return list(self._trash.undo())

    # ── review ──────────────────────────────────────────────────────────────────────────────────

    def decide(
        self, image_id: str, verdict: Verdict, *, reviewer: str = "owner", reasons: Sequence[str] = ()
    ) -> Decision:
        """Give a verdict: state, decision and triplet change as one. Raises: NotFound, BadInput."""
        return self._verdicts.decide(image_id, verdict, reviewer=reviewer, reasons=reasons)

    def undo(self, reviewer: str | None = None) -> Decision:
        """Take back the last decision that stands, of one reviewer or of anyone. Raises: NotFound."""
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
        """Keep a mended picture beside the wrong one, and the golden triplet that it makes.

        Raises: NotFound; BadInput for a picture that no edit made, for a mended one of another size, and for one that
        changes neither pixels nor words: it would teach that what is wrong is right.
        """
        wrong = self.images.get(image_id)
        if self._verdicts.source_of(wrong) is None:
            raise BadInput(
                f"The picture {image_id} was not made by an edit: correcting it teaches nothing.",
                "Reject it and make another one, or import the mended picture as a source.",
            )
        mended_pixels, was = to_rgb(corrected), self.open_whole(image_id)
        if mended_pixels.size != was.size:
            raise BadInput(
                f"The mended picture is {mended_pixels.width}×{mended_pixels.height}, the wrong one "
                f"{was.width}×{was.height}.",
                "Save it at the wrong picture's own size.",
            )
        if params in (None, wrong.params) and mended_pixels.tobytes() == was.tobytes():
            raise BadInput(
                "The mended picture is the same as the wrong one, so it teaches nothing.",
                "Change what is wrong in it, or reject the picture.",
            )
        with self.transaction():
            known = len(self.images)
            mended = self.add_image(
                mended_pixels,
                kind=Kind.CORRECTION,
                parent=image_id,
                source_crop=wrong.source_crop,
                params=wrong.params if params is None else params,
                params_kind=wrong.params_kind,
                asked=wrong.asked,
                tags=wrong.tags,
                caption=wrong.caption,
                caption_by=wrong.caption_by,
            )
            new = len(self.images) > known or bool(mended.trashed)
            good = {"state": Verdict.GOOD, "reviewer": reviewer, "decided": now(), "trashed": ""}
            self.update_image(mended.id, **good)
            self._verdicts.decide(
                image_id,
                Verdict.NEEDS_CORRECTION,
                reviewer=reviewer,
                reasons=(reason,) if reason else (),
                correction=mended.id if new else "",
            )
            return self.triplets.get(mended.id)

    # ── training ────────────────────────────────────────────────────────────────────────────────

    def run_dir(self, job_id: str) -> Path:
        """The folder of a job's own files, made when it is not there. Raises: BadInput."""
        if not re.fullmatch(r"[\w-]+", job_id, re.ASCII):
            raise BadInput(f"{job_id!r} is not the id of a job.", "Take one from the job list.")
        return make_folder(self.folder / "runs" / job_id)

    def cache_dir(self) -> Path:
        """Where trainings keep what they encoded, for the next one; it may be deleted while none runs."""
        return make_folder(self.folder / "cache")

    def adapter_path(self, version_id: str) -> Path:
        """Where a version's adapter lies. Raises: NotFound."""
        return self._versions.adapter_path(version_id)

    def add_version(self, adapter_file: Path, *, role: Role, **fields: Any) -> Version:
        """Copy an adapter in, then record it as a candidate, named after its number unless `name` is given.

        Raises: NotFound, UserError.
        """
        return self._versions.add(adapter_file, role, **fields)

    def adopt(self, version_id: str, on: bool = True) -> Version:
        """Put a version to use and retire the one before; `on=False` goes back to its parent.

        Raises: NotFound, BadInput.
        """
        return self._versions.adopt(version_id, on)

    def adopted(self, role: Role) -> Version | None:
        """The version of a role that is in use; None means the base model."""
        return self._versions.adopted(role)

    def freeze(self, role: Role, entries: Sequence[Entry]) -> Dataset:
        """Keep a manifest that no longer changes; the same entries give the same dataset."""
        return self._versions.freeze(role, entries)
