"""Stores trained versions with their adapters, one of them adopted per role, and the datasets of their trainings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from engines.api.errors import BadInput, Busy, NotFound
from studio.records.base import now
from studio.records.dataset import Dataset, Entry, Role, frozen
from studio.records.version import Version, VersionState
from studio.store.collection import Collection
from studio.store.durable import copy_file
from studio.store.tables import Database


class Versions:
    """Stores the LoRA versions and training datasets of one character.

    A version's role is the character or the editor; at most one version of each role is in use.
    """

    def __init__(
        self, folder: Path, database: Database, versions: Collection[Version], datasets: Collection[Dataset]
    ) -> None:
        self._folder = folder
        self._database = database
        self._versions = versions
        self._datasets = datasets

    def add(self, adapter_file: Path, role: Role, **fields: Any) -> Version:
        """Copies a LoRA file into the character's folder and returns the record of the new version, not in use yet.

        `fields` are other fields of Version; without a `name` the version is named `v` and the next number. Raises:
        NotFound where there is no such file, UserError when writing fails.
        """
        if not adapter_file.is_file():
            raise NotFound(f"The adapter {adapter_file} is not there.", "Train again, or choose another checkpoint.")
        version_id = uuid4().hex
        file = f"adapters/{version_id}{adapter_file.suffix}"
        copy_file(adapter_file, self._folder / file)
        with self._database.transaction():
            named = {"name": f"v{len(self._versions.find(role=role)) + 1}", **fields}
            return self._versions.put(Version(id=version_id, adapter=file, role=role, **named))

    def kept(self, role: Role) -> list[Version]:
        """Returns the versions of a role (character or editor) that are not in the trash, oldest first."""
        return [each for each in self._versions.find(role=Role(role)) if not each.trashed]

    def throw(self, version_id: str) -> Version:
        """Moves a version into the trash and returns its record; its file stays.

        Raises: NotFound, Busy for the version in use.
        """
        with self._database.transaction():
            version = self._versions.get(version_id)
            if version.state is VersionState.ADOPTED:
                raise Busy(f"{version.name} is in use.", "Adopt another version, or go back from it; then delete it.")
            return version if version.trashed else self._versions.put(version.replace(trashed=now()))

    def restore(self, version_id: str) -> Version:
        """Takes a version out of the trash and returns its record. Raises: NotFound."""
        with self._database.transaction():
            version = self._versions.get(version_id)
            return self._versions.put(version.replace(trashed="")) if version.trashed else version

    def adapter_path(self, version_id: str) -> Path:
        """Returns the path of a version's LoRA file. Raises: NotFound for an unknown version or a missing file."""
        path = self._folder / self._versions.get(version_id).adapter
        if not path.is_file():
            raise NotFound(f"The adapter file {path} is missing.", "Put it back from a backup, or train again.")
        return path

    def adopted(self, role: Role) -> Version | None:
        """Returns the version in use for a role (character or editor); None where the base model is in use."""
        found = self._versions.find(role=Role(role), state=VersionState.ADOPTED)
        return found[0] if found else None

    def adopt(self, version_id: str, on: bool) -> Version:
        """Puts a version in use and retires the one in use so far; returns the version's new record.

        With `on` false the version is retired instead; if it was in use, its nearest ancestor (`parent`) outside the
        trash is put in use. Raises: NotFound; BadInput for a version in the trash, and for `on` false on a retired one.
        """
        with self._database.transaction():
            version = self._versions.get(version_id)
            if version.trashed:
                raise BadInput(f"{version.name} is in the trash.", "Restore it first.")
            if not on:
                return self._roll_back(version)
            current = self.adopted(version.role)
            if current is not None and current.id != version_id:
                self._versions.put(current.replace(state=VersionState.RETIRED))
            return self._versions.put(version.replace(state=VersionState.ADOPTED))

    def freeze(self, role: Role, entries: Sequence[Entry]) -> Dataset:
        """Stores training entries (pictures with captions) as a dataset that never changes, and returns the dataset.

        `role` tells what is trained: the character or the editor. The same entries always give the same dataset.
        """
        dataset = frozen(role, entries)
        with self._database.transaction():
            return self._datasets.peek(dataset.id) or self._datasets.put(dataset)

    def _roll_back(self, version: Version) -> Version:
        if version.state is VersionState.CANDIDATE:
            return self._versions.put(version.replace(state=VersionState.RETIRED))
        if version.state is not VersionState.ADOPTED:
            raise BadInput(f"{version.name} is not in use, so there is nothing to go back from.", "Adopt it first.")
        parent = self._versions.peek(version.parent)
        while parent is not None and parent.trashed:
            parent = self._versions.peek(parent.parent)
        if parent is not None:
            self._versions.put(parent.replace(state=VersionState.ADOPTED))
        return self._versions.put(version.replace(state=VersionState.RETIRED))
