"""Versions and datasets: adapters are copied in, one is adopted per role, manifests are frozen."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.api.errors import BadInput, Busy, NotFound
from studio.records.dataset import Entry, Role
from studio.records.image import Kind
from studio.records.version import Version, VersionState
from studio.store import Store


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A file as a training leaves it."""
    path = tmp_path / "step-100.safetensors"
    path.write_bytes(b"weights")
    return path


def add(store: Store, adapter: Path, role: Role = Role.CHARACTER, **fields: object) -> Version:
    """A candidate."""
    return store.add_version(adapter, role=role, model="mini-flux", **fields)


def test_adapter_is_copied_in(store: Store, adapter: Path) -> None:
    """A version keeps its adapter when the run's folder goes."""
    version = add(store, adapter, notes="first")
    adapter.unlink()
    assert store.adapter_path(version.id).read_bytes() == b"weights"
    assert store.adapter_path(version.id).parent == store.folder / "adapters"
    assert (version.state, version.notes) == (VersionState.CANDIDATE, "first")


def test_names_count_up_by_role(store: Store, adapter: Path) -> None:
    """Versions are v1, v2, … of their flywheel unless they are named."""
    names = [add(store, adapter).name, add(store, adapter).name, add(store, adapter, Role.EDITOR).name]
    assert names == ["v1", "v2", "v1"]
    assert add(store, adapter, name="evening").name == "evening"


def test_missing_adapter_is_named(store: Store, adapter: Path) -> None:
    """A file that is not there is told by name, at adding and at using."""
    version = add(store, adapter)
    store.adapter_path(version.id).unlink()
    with pytest.raises(NotFound, match=rf"{version.id}\.safetensors is missing"):
        store.adapter_path(version.id)
    adapter.unlink()
    with pytest.raises(NotFound, match=r"step-100\.safetensors is not there"):
        add(store, adapter)
    assert len(store.versions) == 1


def test_one_is_adopted_per_role(store: Store, adapter: Path) -> None:
    """Adopting one retires the one before of the same role, in one commit."""
    one, two, other = add(store, adapter), add(store, adapter), add(store, adapter, Role.EDITOR)
    assert store.adopted(Role.CHARACTER) is None
    store.adopt(one.id)
    store.adopt(other.id)
    revision = store.revision
    assert store.adopt(two.id).state is VersionState.ADOPTED
    assert store.revision == revision + 1
    assert store.adopted(Role.CHARACTER) == store.versions.get(two.id)
    assert store.adopted(Role.EDITOR) == store.versions.get(other.id)
    assert store.versions.get(one.id).state is VersionState.RETIRED


def test_going_back(store: Store, adapter: Path) -> None:
    """Un-adopting goes back to the parent, and from the first version to the base model."""
    one = add(store, adapter)
    two = add(store, adapter, parent=one.id)
    store.adopt(one.id)
    store.adopt(two.id)
    assert store.adopt(two.id, on=False).state is VersionState.RETIRED
    assert store.adopted(Role.CHARACTER) == store.versions.get(one.id)
    store.adopt(one.id, on=False)
    assert store.adopted(Role.CHARACTER) is None
    with pytest.raises(BadInput, match="v1 is not in use"):
        store.adopt(one.id, on=False)


def test_dataset_is_frozen_by_content(store: Store) -> None:
    """The same entries give the same dataset; others, another; the share of real pictures is counted."""
    entries = [
        Entry(image="a", caption="x", kind=Kind.SOURCE),
        Entry(image="b", caption="y", kind=Kind.ENRICHED),
    ]
    dataset = store.freeze(Role.CHARACTER, entries)
    assert dataset.real_share == 0.5
    assert store.freeze(Role.CHARACTER, tuple(entries)) == dataset
    assert store.datasets.get(dataset.id) == dataset
    assert store.freeze(Role.CHARACTER, entries[:1]).id != dataset.id
    assert store.freeze(Role.EDITOR, entries).id != dataset.id
    entries[0] = entries[0].replace(caption="changed")
    assert store.datasets.get(dataset.id).entries[0].caption == "x"


def test_a_candidate_can_be_left(store: Store, tmp_path: Path) -> None:
    """It is neither in use nor waiting any more; the one in use stays."""
    adapter = tmp_path / "left.safetensors"
    adapter.write_bytes(b"weights")
    one, two = (store.add_version(adapter, role=Role.CHARACTER, model="m") for _ in range(2))
    store.adopt(one.id)
    assert store.adopt(two.id, on=False).state is VersionState.RETIRED
    assert store.adopted(Role.CHARACTER) == store.versions.get(one.id)
    assert store.adopt(two.id).state is VersionState.ADOPTED


def test_a_version_in_the_trash_is_out_of_sight_and_comes_back(store: Store, adapter: Path) -> None:
    """Its file stays; it cannot be adopted meanwhile, and its number is not given again; both acts may be repeated."""
    one, two = add(store, adapter), add(store, adapter)
    store.adopt(two.id)
    gone = store.trash_version(one.id)
    assert gone.trashed and store.trash_version(one.id) == gone
    assert [each.id for each in store.kept_versions(Role.CHARACTER)] == [two.id]
    assert store.adapter_path(one.id).is_file()
    with pytest.raises(BadInput, match="v1 is in the trash"):
        store.adopt(one.id)
    assert add(store, adapter).name == "v3"
    assert store.restore_version(one.id) == store.restore_version(one.id) == one


def test_the_version_in_use_is_not_thrown_away(store: Store, adapter: Path) -> None:
    """It is refused with what to do first."""
    one = add(store, adapter)
    store.adopt(one.id)
    with pytest.raises(Busy, match="v1 is in use"):
        store.trash_version(one.id)


def test_going_back_passes_what_is_in_the_trash(store: Store, adapter: Path) -> None:
    """Where the parent was thrown away, its own parent is used again, or the base model."""
    one = add(store, adapter)
    two = add(store, adapter, parent=one.id)
    three = add(store, adapter, parent=two.id)
    store.trash_version(two.id)
    store.adopt(three.id)
    store.adopt(three.id, on=False)
    assert store.adopted(Role.CHARACTER) == store.versions.get(one.id)
    assert "trashed" not in one.to_json()
