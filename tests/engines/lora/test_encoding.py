"""What was encoded once is found again, and nothing else is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_another_run_finds_what_one_has_encoded(make_trainer, make_run, host_lease, steps, tmp_path: Path) -> None:
    """With a cache in common the encoders are not asked for again; another run's own folder knows nothing."""
    from engines.lora.data import read_sources
    from engines.lora.encoding import encode

    trainer, shared = make_trainer("flux"), tmp_path / "cache"
    first = make_run(tmp_path / "one", cache=shared)
    asked = []
    for run in (
        first,
        dataclasses.replace(first, folder=tmp_path / "two", params=first.params.replace(rank=2, learning_rate=1.0)),
        dataclasses.replace(first, folder=tmp_path / "three", cache=None),
    ):
        lease = host_lease(trainer.plan(run))
        encoded = encode(trainer.family, run, read_sources(run.items), lease, steps)
        asked.append(lease.asked)

    assert asked == [["encode"], [], ["encode"]]
    assert not (tmp_path / "two").exists()
    assert len(encoded.examples.shapes()) == len(first.items)
    assert encoded.examples.shapes()[0] == tuple(
        (name, tuple(value.shape)) for name, value in encoded.cache[encoded.examples.examples[0].latents].items()
    )
