"""The time of a verdict and of a page of the review queue, by the number of pictures in the store."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from frontdoor.bench.rows import Row
from studio.records.image import ImageRecord, Kind, Verdict
from studio.store import Library

_DECISIONS = 30


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures the milliseconds to store a verdict and to read a page of the review queue; returns the report's rows.

    Both are measured with several numbers of pictures in the store. A row's ratio is its time divided by the time with
    the smallest number. `options` is not used.
    """
    del options
    rows: list[Row] = []
    first: dict[str, float] = {}
    for count in (100, 1_000, 10_000):
        for name, times in _times(count).items():
            value = median(times)
            low, _, high = quantiles(times, n=4)
            rows.append(
                Row(
                    name=f"{name}, {count} records",
                    value=value * 1e3,
                    unit="ms",
                    peer="" if count == 100 else "100 records",
                    ratio=None if count == 100 else value / first[name],
                    spread=(high - low) / 2 * 1e3,
                )
            )
            first.setdefault(name, value)
    return rows


def _times(count: int) -> dict[str, list[float]]:
    """Fills a store with `count` pictures; returns the seconds of each verdict and of each page, by name."""
    with tempfile.TemporaryDirectory() as root:
        library = Library(Path(root))
        store = library.open(library.create("bench").id)
        store.images.put_many(
            [ImageRecord(id=f"{n:064x}", kind=Kind.ENRICHED, file="none", width=64, height=64) for n in range(count)]
        )
        decide, page = [], []
        for n in range(_DECISIONS):
            started = time.perf_counter()
            store.decide(f"{n:064x}", Verdict.REJECT)
            decide.append(time.perf_counter() - started)
            started = time.perf_counter()
            store.pending()[:20]
            page.append(time.perf_counter() - started)
        library.close()
    return {"decision": decide, "review page": page}
