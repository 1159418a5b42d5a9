"""Trained versions and what they were trained on: adapters, one of them adopted per role, and datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from engines.api.errors import BadInput, NotFound
from studio.records.dataset import Dataset, Entry, Role, frozen
from studio.records.version import Version, VersionState
from studio.store.collection import Collection
from studio.store.durable import copy_file
from studio.store.tables import Database


class Versions:
    """The rules of versions over one character's records."""

    def __init__(
        self, folder: Path, database: Database, versions: Collection[Version], datasets: Collection[Dataset]
    ) -> None:
        self._folder = folder
        self._database = database
        self._versions = versions
        self._datasets = datasets

    def add(self, adapter_file: Path, role: Role, **fields: Any) -> Version:
        """Copy an adapter into the character's folder, then record it. Raises: NotFound, UserError."""
        if not adapter_file.is_file():
            raise NotFound(f"The adapter {adapter_file} is not there.", "Train again, or choose another checkpoint.")
        version_id = uuid4().hex
        file = f"adapters/{version_id}{adapter_file.suffix}"
        copy_file(adapter_file, self._folder / file)
        with self._database.transaction():
            named = {"name": f"v{len(self._versions.find(role=role)) + 1}", **fields}
            return self._versions.put(Version(id=version_id, adapter=file, role=role, **named))

    def adapter_path(self, version_id: str) -> Path:
        """Where a version's adapter lies. Raises: NotFound."""
        path = self._folder / self._versions.get(version_id).adapter
        if not path.is_file():
            raise NotFound(f"The adapter file {path} is missing.", "Put it back from a backup, or train again.")
        return path

    def adopted(self, role: Role) -> Version | None:
        """The version of a role that is in use; None means the base model."""
        found = self._versions.find(role=Role(role), state=VersionState.ADOPTED)
        return found[0] if found else None

    def adopt(self, version_id: str, on: bool) -> Version:
        """Put a version to use; with `on=False` leave a candidate, or go back from the one in use to its parent.

        Raises: NotFound, BadInput for one that is left already.
        """
        with self._database.transaction():
            version = self._versions.get(version_id)
            if not on:
                return self._roll_back(version)
            current = self.adopted(version.role)
            if current is not None and current.id != version_id:
                self._versions.put(current.replace(state=VersionState.RETIRED))
            return self._versions.put(version.replace(state=VersionState.ADOPTED))

    def freeze(self, role: Role, entries: Sequence[Entry]) -> Dataset:
        """Keep a manifest that no longer changes; the same entries give the same dataset."""
        dataset = frozen(role, entries)
        with self._database.transaction():
            return self._datasets.peek(dataset.id) or self._datasets.put(dataset)

    def _roll_back(self, version: Version) -> Version:
        if version.state is VersionState.CANDIDATE:
            return self._versions.put(version.replace(state=VersionState.RETIRED))
        if version.state is not VersionState.ADOPTED:
            raise BadInput(f"{version.name} is not in use, so there is nothing to go back from.", "Adopt it first.")
        parent = self._versions.peek(version.parent)
        if parent is not None:
            self._versions.put(parent.replace(state=VersionState.ADOPTED))
        return self._versions.put(version.replace(state=VersionState.RETIRED))
