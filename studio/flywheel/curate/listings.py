"""Reads files that hold the captions of pictures: JSON of kohya and ai-toolkit, JSON lines, and tables.

Sources: kohya-ss/sd-scripts library/train_util.py (FineTuningDataset) and finetune/merge_captions_to_metadata.py: an
object of path or stem -> {caption, tags}; kohya-ss/musubi-tuner docs/dataset_config.md: lines of {image_path, caption,
control_path_0 …}; Hugging Face's ImageFolder: metadata.jsonl or .csv with file_name; ostris/ai-toolkit
toolkit/dataloader_mixins.py as of May 2026: a JSON file beside a picture with caption and caption_short.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from engines.api.errors import BadInput
from studio.flywheel.curate.intake import Limits, Member
from studio.flywheel.curate.sidecars import decoded
from studio.records.words import demand_text, mended

LISTS: Final = (".json", ".jsonl", ".csv", ".tsv")
_PICTURE: Final = ("file_name", "image_path", "image", "path", "filename", "file")
_CAPTION: Final = ("caption", "text", "prompt")
_ITS_OWN: Final = (*_CAPTION, "tags", "train_resolution", "image_size")  # what kohya keeps of a picture
_PICTURE_NAME = re.compile(r".+\.(?:png|jpe?g|jfif|webp|avif|tiff?|bmp|gif)", re.IGNORECASE)
_CONTROL = re.compile(r"control_path(?:_(\d+))?")
_DELIMITERS: Final = (",", ";", "\t")
_MIB = 1 << 20
_PLAIN = "Save it anew with the tool that wrote it, or give each picture a .txt file with the picture's name."


@dataclass(frozen=True)
class Row:
    """Holds what a file says about one picture: its path as the file spells it, its caption, and its control pictures.

    `where` tells the user where in the file it stands, such as "line 3".
    """

    where: str
    picture: str
    caption: str
    controls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Holds the rows of a file, and in `wrong` the places of those that cannot be read."""

    rows: tuple[Row, ...]
    wrong: tuple[str, ...]


def read_text(file: Member, limits: Limits) -> str:
    """Returns the text of a file of captions or settings. Raises: BadInput where it is too large or is no text."""
    data = file.data()
    if len(data) > limits.list_bytes:
        size, most = len(data) / _MIB, limits.list_bytes / _MIB
        raise BadInput(f"It is a list of {size:.0f} MiB; at most {most:.0f} MiB is read.", "Split it into several.")
    return decoded(data).text


def own_caption(text: str) -> str | None:
    """Returns the caption in the JSON file of a single picture; None where the text is no JSON that holds one.

    Raises: BadInput for a caption that is no text.
    """
    found = _parsed(text)
    if not isinstance(found, dict) or not any(name in found for name in (*_CAPTION, "tags")):
        return None
    try:
        return _caption(found)
    except ValueError as error:
        raise BadInput(f"Its caption is no text ({error}).", _PLAIN) from None


def listing(file: Member, limits: Limits) -> Listing | None:
    """Returns the rows of a file that lists captions; None for a JSON file that lists none.

    Raises: BadInput for a damaged file, and for a table without a column that names pictures.
    """
    text = read_text(file, limits)
    if file.ending == ".jsonl":
        lines = enumerate(text.splitlines(), 1)
        records = [(f"line {number}", _parsed(line)) for number, line in lines if line.strip()]
    else:
        records = list(_of_json(text) if file.ending == ".json" else _of_table(text))
    if not records and file.ending == ".json":
        return None
    rows, wrong = list[Row](), list[str]()
    for where, record in records:
        try:
            rows.append(_row(where, record))
        except ValueError:
            wrong.append(where)
    if not rows:
        needed = "name each picture in file_name or image_path, its words in text, caption or prompt"
        raise BadInput("No row of it names a picture and its words.", f"As Hugging Face and trainers do, {needed}.")
    return Listing(tuple(rows), tuple(wrong))


def _parsed(text: str) -> Any:
    """Returns the value in a JSON text; None for a text that is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _of_json(text: str) -> Iterator[tuple[str, object]]:
    """Yields (place, record) for each picture that a JSON file describes, as an object by name or as a list."""
    found = _parsed(text)
    if found is None:
        raise BadInput("It is damaged: it is no JSON.", _PLAIN)
    if isinstance(found, dict):
        for name, told in found.items():
            if isinstance(told, dict) and any(each in told for each in _ITS_OWN):
                yield f"“{mended(name)}”", {**told, _PICTURE[0]: name}
            elif _PICTURE_NAME.fullmatch(name):
                yield f"“{mended(name)}”", {_PICTURE[0]: name, _CAPTION[0]: told}
    elif isinstance(found, list) and any(isinstance(told, dict) and _named(told) for told in found):
        yield from ((f"entry {number}", told) for number, told in enumerate(found, 1))


def _of_table(text: str) -> Iterator[tuple[str, object]]:
    """Yields (place, record) for each row of a table whose first row names its columns."""
    header = text.partition("\n")[0]
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count), strict=True)
        yield from ((f"row {number}", record) for number, record in enumerate(table, 2))
    except csv.Error as error:
        raise BadInput(f"It is damaged ({error}).", _PLAIN) from None


def _row(where: str, record: object) -> Row:
    """Returns a record as a row. Raises: ValueError where it names no picture, or its caption is no text."""
    if not isinstance(record, dict):
        raise ValueError(where)
    picture = _named(record)
    if not picture:
        raise ValueError(where)
    controls = {int(found[1] or 0): record[name] for name in record if (found := _CONTROL.fullmatch(str(name)))}
    known = tuple(value for _, value in sorted(controls.items()) if isinstance(value, str) and value)
    return Row(where, picture, _caption(record), known)


def _named(record: Mapping[str, object]) -> str:
    """Returns the path of the picture that a record describes; "" where it names none."""
    return next((value for name in _PICTURE if isinstance(value := record.get(name), str) and value.strip()), "")


def _caption(record: Mapping[str, object]) -> str:
    """Returns the caption in a record with its tags after it, as kohya joins them; "" where there is none.

    Raises: ValueError where it is no text.
    """
    tags = record.get("tags")
    if isinstance(tags, list) and all(isinstance(each, str) for each in tags):
        tags = ", ".join(tags)
    parts = [next((record[name] for name in _CAPTION if record.get(name) is not None), None), tags]
    words = [part.strip() for part in parts if isinstance(part, str)]
    if len(words) < sum(part is not None for part in parts):
        raise ValueError("it is a list or a number")
    try:
        demand_text("It", words)
    except BadInput as error:
        raise ValueError(error.cause) from None
    return ", ".join(filter(None, words))
