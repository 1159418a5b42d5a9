"""A home that an older tree wrote, opened with the tree of today, and the comparison of what it answers."""

from __future__ import annotations

import json
import math
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.fake import FakeDevice, fake_registry
from studio.api.api import Api
from studio.open import open_workplace
from studio.settings import Settings

HOMES = Path(__file__).parent / "homes"
MIRA, OTHER = "mira", "zoe-two"


class Opened:
    """An old home, unpacked and opened with the tree of today on the fake models."""

    def __init__(self, folder: Path, commit: str) -> None:
        self.commit = commit
        self.folder = folder / "home"
        with tarfile.open(HOMES / f"{commit}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        self.answers: list[dict[str, Any]] = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
        self.open()

    def open(self) -> None:
        """Open the home; the queue does not run yet."""
        settings = Settings(data_root=self.folder, assets=self.folder.parent / "assets", device="fake")
        registry = fake_registry(settings.assets, settings.assets / "models")
        self.workplace = open_workplace(settings, registry=registry, device=FakeDevice(24 << 30))
        self.store = self.workplace.store(MIRA)
        self._api = Api(self.workplace)

    def reopen(self) -> None:
        """Close the home and open it again."""
        self.workplace.close()
        self.open()

    def ask(self, name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the scripted surface's answer, as JSON, whether it is ok or not."""
        answer: dict[str, Any] = json.loads(json.dumps(getattr(self._api, name)(*args, **kwargs)))
        return answer

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        answer = self.ask(name, *args, **kwargs)
        assert answer["ok"], (name, answer)
        return answer

    def finish(self, job_id: str) -> dict[str, Any]:
        """Let the queue run until a job is done."""
        self.workplace.jobs.start()
        while (status := self("job_status", job_id))["state"] in ("queued", "running"):
            time.sleep(0.002)
        assert status["state"] == "done", status["error"]
        return status

    def jobs(self, kind: str = "", state: str = "") -> list[dict[str, Any]]:
        """Return the rows of a kind and a state, in the order of the list."""
        rows = self("job_list")["jobs"]
        return [row for row in rows if kind in ("", row["kind"]) and state in ("", row["state"])]

    def images(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return Mira's pictures."""
        listed: list[dict[str, Any]] = self("image_list", MIRA, limit=1000, **wanted)["images"]
        return listed

    def states(self) -> list[str]:
        """Return the states of Mira's versions, oldest first."""
        return [version["state"] for version in self("version_list", MIRA)["versions"]]


def tables(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the tables of a database off the disk: the snapshot, then the journal's commits after it."""
    stored: dict[str, dict[str, Any]] = json.loads((folder / "flenwheel.json").read_bytes())
    reached = stored.pop("_meta")["1"]["sequence"]
    for line in (folder / "flenwheel.journal").read_bytes().splitlines():
        sequence, changes = json.loads(line.partition(b" ")[2])
        for table, key, document in changes if sequence > reached else ():
            if document is None:
                stored.get(table, {}).pop(key, None)
            else:
                stored.setdefault(table, {})[key] = document
    return stored


def differences(answer: Any, expected: Any, place: str = "") -> Iterator[str]:
    """Yield where an answer lacks what is expected; objects may have more fields, floats another last digit."""
    if isinstance(expected, dict) and isinstance(answer, dict):
        for name, value in expected.items():
            yield from differences(answer.get(name, "no such field"), value, f"{place}.{name}")
    elif isinstance(expected, list) and isinstance(answer, list) and len(answer) == len(expected):
        for number, pair in enumerate(zip(answer, expected, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif isinstance(expected, float) and isinstance(answer, int | float):
        if not math.isclose(answer, expected, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{place}: {answer}, not {expected}"
    elif type(answer) is not type(expected) or answer != expected:
        yield f"{place}: {answer!r}, not {expected!r}"
