"""Reads and writes the files of a run's folder: `run.json` with all that a training needs, and its events. No torch.

Paths are stored relative to the run's folder where possible, so that a character's folder can be moved.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams, GenerateParams, Json, Params, TrainParams
from engines.api.protocols import EditItem, SampleDrawn, StepDone, TrainItem, TrainRun
from engines.catalogue.durable import write_file
from engines.pictures import open_picture, pixel_hash, to_rgb

RUN = "run.json"
EVENTS = "told.jsonl"
_FORMAT = 1
_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (TrainRun, TrainItem, EditItem, TrainParams, GenerateParams, EditParams)
}


@dataclass(frozen=True)
class RunFile:
    """Holds a training run together with the name of its model and the folder of that model's weights.

    `weights`: None if the machine that wrote the file did not have the weights.
    """

    model: str
    weights: Path | None
    run: TrainRun


def write(file: RunFile) -> Path:
    """Writes a run's `run.json` to the run's folder, completely or not at all, and returns its path.

    The input pictures of previews are saved as PNG files beside it.
    """
    folder = file.run.folder
    folder.mkdir(parents=True, exist_ok=True)
    run = dataclasses.replace(file.run, folder=folder.resolve())
    data = {"format": _FORMAT, "model": file.model, "weights": str(file.weights or ""), "run": _to_json(run, folder)}
    write_file(folder / RUN, json.dumps(data, indent=1, ensure_ascii=False).encode())
    return folder / RUN


def read(folder: Path) -> RunFile:
    """Reads the `run.json` in a run's folder and returns its content, with absolute paths.

    Raises: NotFound for a folder without this file; BadInput if the file is damaged or of another version.
    """
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


def append_event(folder: Path, event: StepDone | SampleDrawn) -> None:
    """Appends an event to the event file in a run's folder; for a preview, also saves its picture there as a PNG."""
    if isinstance(event, StepDone):
        line: Json = asdict(event)
    else:
        picture = folder / "samples" / f"{event.step:06d}-{event.index}.png"
        picture.parent.mkdir(exist_ok=True)
        event.image.save(picture)
        line = {"step": event.step, "index": event.index, "picture": _relative(picture, folder)}
    with (folder / EVENTS).open("a", encoding="utf-8") as stream:
        stream.write("\n" + json.dumps(line))  # the break first: a line that a crash cut short stays alone


def events(folder: Path) -> Iterator[StepDone | SampleDrawn]:
    """Yields the events that were appended to the event file in a run's folder, oldest first.

    Skips lines that are damaged or of another version, and previews whose picture is missing or damaged.
    """
    file = folder / EVENTS
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
        try:
            line = json.loads(text)
            if "picture" in line:
                event: StepDone | SampleDrawn = SampleDrawn(
                    line["step"], line["index"], open_picture(_absolute(line["picture"], folder))
                )
            else:
                event = StepDone(**{**line, "bands": tuple(line["bands"])})
        except (ValueError, TypeError, KeyError, BadInput, NotFound):
            continue
        yield event


def _to_json(value: Any, folder: Path) -> Any:
    """Returns any part of a run as JSON; fields that a dataclass gains later need no change here."""
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
    """Rebuilds a part of a run from the JSON that `_to_json` returned."""
    if isinstance(value, list):
        return tuple(_from_json(each, folder) for each in value)
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return _absolute(value["path"], folder)
    if "picture" in value:
        return open_picture(_absolute(value["picture"], folder))
    kind, rest = _KINDS[value["kind"]], {name: each for name, each in value.items() if name != "kind"}
    if issubclass(kind, Params):
        return kind.from_json(rest)
    return kind(**{name: _from_json(each, folder) for name, each in rest.items()})


def _keep_picture(image: Image.Image, folder: Path) -> str:
    """Saves a picture under the hash of its pixels; returns its path relative to the folder."""
    file = folder / "previews" / f"{pixel_hash(image)[:32]}.png"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        data = BytesIO()
        to_rgb(image).save(data, "PNG")
        write_file(file, data.getvalue())
    return _relative(file, folder)


def _relative(path: Path, folder: Path) -> str:
    """Returns a path relative to the folder, with slashes; an absolute path where it is on another Windows drive."""
    path, folder = path.resolve(), folder.resolve()
    if path.anchor != folder.anchor:
        return path.as_posix()
    return Path(os.path.relpath(path, folder)).as_posix()


def _absolute(name: str, folder: Path) -> Path:
    return Path(os.path.normpath(folder.resolve() / name))
