"""The public names of the LoRAs that made a picture: names and hashes, never a path of this machine."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from engines.api.errors import BadInput
from engines.api.params import LoraUse
from engines.infotext import NamedLora
from engines.pictures import decode
from studio.records.provenance import LoraName, Provenance
from studio.records.version import Version
from studio.store.pictures import png_info, provenance_text, to_png

_NAME_BYTES: Final = 80  # of a trigger in a file's name; systems allow 255 bytes in all
_HASH_DIGITS: Final = 12
_BLOCK: Final = 1 << 20
_BY_HASH: Final = ("modelspec.hash_sha256", "sshs_model_hash")  # metadata keys of a file's own hash


def version_lora_name(trigger: str, version: Version) -> str:
    """Returns the public name of a version's LoRA, made of the trigger word, the role and the version's name.

    It is valid as a file name on any system, and in the prompts of other programs.
    """
    ending = re.sub(r"[^\w-]+", "_", f"-{version.role.value}-{version.name}")
    beginning = re.sub(r"[^\w-]+", "_", trigger)
    return beginning.encode()[:_NAME_BYTES].decode(errors="ignore") + ending[:_NAME_BYTES]


def without_places(provenance: Provenance, loras: Sequence[NamedLora]) -> Provenance:
    """Returns a copy of a provenance that can be published, because it holds no path of this machine.

    In the copy's parameters, the path of each LoRA file is reduced to the file's name. The copy lists `loras` as the
    LoRAs that were used; where `loras` is empty, it keeps the list of `provenance`.
    """
    named = tuple(LoraName(**asdict(lora)) for lora in loras)
    uses = stack_of(provenance)
    files = [{"file": _name(use.file), "weight": use.weight} for use in uses]
    params = {**provenance.params, "loras": files} if uses else provenance.params
    return provenance.replace(params=params, loras=named or provenance.loras)


def stack_of(provenance: Provenance) -> tuple[LoraUse, ...]:
    """Returns the LoRA files, each with its weight, from the parameters in a picture's provenance; () for none.

    Raises: BadInput where the parameters hold a malformed list of LoRAs.
    """
    return LoraUse.stack(provenance.params.get("loras"))


def as_it_leaves(file: Path) -> bytes:
    """Returns the bytes of a picture's file in a form that can be published: no paths of LoRA files in its metadata.

    Files of earlier versions of the program may hold such paths. A provenance that cannot be parsed is left out,
    because it may hold anything. Raises: BadInput for a file that is no picture.
    """
    data = file.read_bytes()
    if file.suffix != ".png" or not (text := provenance_text(data, str(file))):  # only drawn PNGs have the chunk
        return data
    picture = decode(data, str(file))
    try:
        told = Provenance.from_json(json.loads(text))
        uses = stack_of(told)
        if all(use.file == _name(use.file) for use in uses):
            return data
        named = [NamedLora(Path(_name(use.file)).stem, use.weight) for use in uses]
        return to_png(picture, png_info(without_places(told, named), picture.size))
    except (ValueError, TypeError, AttributeError, BadInput):
        return to_png(picture)


def _name(file: str) -> str:
    """Returns the file name of a path of any operating system."""
    return re.split(r"[\\/]", file)[-1]


class LoraNames:
    """Finds the public names and hashes of LoRA files.

    The hash of a file is cached in memory, and computed again only when the file has changed.
    """

    def __init__(self) -> None:
        self._hashes: dict[tuple[str, int, int], str] = {}

    def named(self, uses: Iterable[tuple[str, LoraUse]]) -> list[NamedLora]:
        """Returns the public name, weight and hash of each LoRA; the hash is "" where the file cannot be read.

        Each of `uses` is a pair of the public name and the LoRA's file with its weight. Where the public name is "",
        the file's name without its suffix is taken.
        """
        return [
            NamedLora(name or Path(_name(use.file)).stem, use.weight, self._hash(Path(use.file))) for name, use in uses
        ]

    def _hash(self, file: Path) -> str:
        """Returns the hash of a safetensors file's data after its header; "" for a missing or other file."""
        try:
            stat = file.stat()
            known = (str(file), stat.st_mtime_ns, stat.st_size)
            if known not in self._hashes:
                self._hashes[known] = _said_hash(file) or _content_hash(file)
            return self._hashes[known]
        except (OSError, ValueError, SafetensorError, struct.error):
            return ""


def _said_hash(file: Path) -> str:
    with safe_open(file, framework="numpy") as opened:
        told = opened.metadata() or {}
    said = next((told[name] for name in _BY_HASH if told.get(name)), "")
    return said.removeprefix("0x")[:_HASH_DIGITS]


def _content_hash(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as stream:
        (header,) = struct.unpack("<Q", stream.read(8))
        stream.seek(8 + header)
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()[:_HASH_DIGITS]
