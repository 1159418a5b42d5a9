"""A run as a folder: all that a training needs in one file, and what it told in another. No torch.

Paths are kept relative to the run's folder where they can be, so that a character's folder trains wherever it lies.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image

from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams, GenerateParams, Json, Params, TrainParams
from engines.api.protocols import EditItem, SampleDrawn, StepDone, TrainItem, TrainRun
from engines.pictures import open_picture, to_rgb

RUN = "run.json"
TOLD = "told.jsonl"
_FORMAT = 1
_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (TrainRun, TrainItem, EditItem, TrainParams, GenerateParams, EditParams)
}


@dataclass(frozen=True)
class RunFile:
    """A run, the model that it trains, and where that model's weights lay when the file was written."""

    model: str
    weights: Path | None
    run: TrainRun


def write(file: RunFile) -> Path:
    """Write `run.json` whole or not at all; pictures that previews start from are kept beside it."""
    folder = file.run.folder
    folder.mkdir(parents=True, exist_ok=True)
    run = dataclasses.replace(file.run, folder=folder.resolve())
    data = {"format": _FORMAT, "model": file.model, "weights": str(file.weights or ""), "run": _to_json(run, folder)}
    _replace(folder / RUN, json.dumps(data, indent=1, ensure_ascii=False).encode())
    return folder / RUN


def read(folder: Path) -> RunFile:
    """What `write` wrote. Raises: NotFound, BadInput for what is no run, or one of another version."""
    file = folder / RUN
    if not file.is_file():
        raise NotFound(f"There is no {file}.", "Name the folder of a run: the Train tab shows its command.")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != _FORMAT:
            raise BadInput(f"{file} is of format {data['format']}.", "Queue the training again with this version.")
        weights = Path(data["weights"]) if data["weights"] else None
        return RunFile(data["model"], weights, _from_json(data["run"], folder.resolve()))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file} is no run that can be read ({error}).", "Queue the training again.") from error


def tell(folder: Path, event: StepDone | SampleDrawn) -> None:
    """Append an event to what a run has told, a preview as a picture of its own."""
    if isinstance(event, StepDone):
        line: Json = asdict(event)
    else:
        picture = folder / "samples" / f"{event.step:06d}-{event.index}.png"
        picture.parent.mkdir(exist_ok=True)
        event.image.save(picture)
        line = {"step": event.step, "index": event.index, "picture": _relative(picture, folder)}
    with (folder / TOLD).open("a", encoding="utf-8") as stream:
        stream.write("\n" + json.dumps(line))  # the break first: a line that a crash cut short stays alone


def events(folder: Path) -> Iterator[StepDone | SampleDrawn]:
    """What a run has told, oldest first; a line that cannot be read counts as not told."""
    file = folder / TOLD
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if "picture" not in line:
            yield StepDone(**{**line, "bands": tuple(line["bands"])})
        elif (picture := _absolute(line["picture"], folder)).is_file():
            yield SampleDrawn(line["step"], line["index"], _open(picture))


def flush(path: Path) -> None:
    """fsync a file or a folder; Windows has no such thing for folders."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if path.is_file() and os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _to_json(value: Any, folder: Path) -> Any:
    """Any part of a run; whatever field a part gains later is kept without a change here."""
    if isinstance(value, Path):
        return {"path": _relative(value, folder)}
    if isinstance(value, Image.Image):
        return {"picture": _keep_picture(value, folder)}
    if isinstance(value, Params):
        return {"kind": type(value).__name__, **value.to_json()}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **{name: _to_json(each, folder) for name, each in fields.items()}}
    return [_to_json(each, folder) for each in value] if isinstance(value, tuple) else value


def _from_json(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return tuple(_from_json(each, folder) for each in value)
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return _absolute(value["path"], folder)
    if "picture" in value:
        return _open(_absolute(value["picture"], folder))
    kind, rest = _KINDS[value["kind"]], {name: each for name, each in value.items() if name != "kind"}
    if issubclass(kind, Params):
        return kind.from_json(rest)
    return kind(**{name: _from_json(each, folder) for name, each in rest.items()})


def _keep_picture(image: Image.Image, folder: Path) -> str:
    """A picture's pixels under their own hash."""
    pixels = to_rgb(image)
    name = hashlib.sha256(f"{pixels.size}".encode() + pixels.tobytes()).hexdigest()[:32]
    file = folder / "previews" / f"{name}.png"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        draft = _draft(file)
        pixels.save(draft, "PNG")
        draft.replace(file)
    return _relative(file, folder)


def _open(picture: Path) -> Image.Image:
    return open_picture(picture)


def _relative(path: Path, folder: Path) -> str:
    """Relative to the folder, with slashes; another drive of a Windows machine has no such way."""
    path, folder = path.resolve(), folder.resolve()
    if path.anchor != folder.anchor:
        return path.as_posix()
    return Path(os.path.relpath(path, folder)).as_posix()


def _absolute(name: str, folder: Path) -> Path:
    return Path(os.path.normpath(folder.resolve() / name))


def _draft(file: Path) -> Path:
    """Who submits a run and who begins it may write its file at the same time."""
    return file.with_name(f".{file.name}.{uuid4().hex[:8]}.tmp")


def _replace(file: Path, data: bytes) -> None:
    draft = _draft(file)
    with draft.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
    flush(file.parent)
