"""The LoRAs that made a picture, as others may know them: names and hashes, never a place on this machine."""

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

_NAME_BYTES: Final = 80  # of a trigger in a file's name; systems take 255 bytes in all
_HASH_DIGITS: Final = 12
_BLOCK: Final = 1 << 20
_BY_HASH: Final = ("modelspec.hash_sha256", "sshs_model_hash")  # where a LoRA file says it itself


def version_lora_name(trigger: str, version: Version) -> str:
    """What a version's LoRA is called outside: a file's name on any system, and a word in a prompt of any program."""
    ending = re.sub(r"[^\w-]+", "_", f"-{version.role.value}-{version.name}")
    beginning = re.sub(r"[^\w-]+", "_", trigger)
    return beginning.encode()[:_NAME_BYTES].decode(errors="ignore") + ending[:_NAME_BYTES]


def without_places(provenance: Provenance, loras: Sequence[NamedLora]) -> Provenance:
    """Return the same with every LoRA's file by its name alone, and beside the parameters all LoRAs that took part."""
    named = tuple(LoraName(**asdict(lora)) for lora in loras)
    uses = stack_of(provenance)
    files = [{"file": _name(use.file), "weight": use.weight} for use in uses]
    params = {**provenance.params, "loras": files} if uses else provenance.params
    return provenance.replace(params=params, loras=named or provenance.loras)


def stack_of(provenance: Provenance) -> tuple[LoraUse, ...]:
    """Return the LoRA files among a picture's own parameters. Raises: BadInput."""
    return LoraUse.stack(provenance.params.get("loras"))


def as_it_leaves(file: Path) -> bytes:
    """Return a picture's bytes without the places of LoRA files that earlier versions wrote in.

    A chunk that claims to be ours and cannot be read may hold anything: it stays here. Raises: BadInput.
    """
    data = file.read_bytes()
    if file.suffix != ".png" or not (text := provenance_text(data, str(file))):  # all that we drew is, and says so
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
    """A file's name, whichever system its path is of."""
    return re.split(r"[\\/]", file)[-1]


class LoraNames:
    """The LoRAs that made a picture, by name and hash; a file is read once while it stays as it is."""

    def __init__(self) -> None:
        self._hashes: dict[tuple[str, int, int], str] = {}

    def named(self, uses: Iterable[tuple[str, LoraUse]]) -> list[NamedLora]:
        """Each with the name that it is given, or its file's own without its ending where that is empty."""
        return [
            NamedLora(name or Path(_name(use.file)).stem, use.weight, self._hash(Path(use.file))) for name, use in uses
        ]

    def _hash(self, file: Path) -> str:
        """Of what follows a safetensors file's header; empty for what is not there, or is no such file."""
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
