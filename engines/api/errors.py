"""Every error that FLENwheel raises on purpose.

Exception
 └─ UserError                 cause + next action; shown to the user as it stands
     ├─ BadInput              a file or a value that cannot be used
     ├─ NotFound              an id, a file or a folder that is not there
     ├─ Busy                  something else holds it; try later
     ├─ ModelMissing          weights are not on this machine
     │   └─ ModelGated        ... and a licence must be accepted before they can be
     ├─ Unreachable           a site does not answer, or the network is off
     ├─ DiskFull              no room on a disk; carries the arithmetic
     ├─ NotAllowed            the system does not let us read or write there
     ├─ LoraMismatch          an adapter of the wrong family, or one that loads no key
     └─ OutOfMemory           does not fit; carries the arithmetic
         └─ RanOut            ... this time: there is a leaner way, and the job goes on with it
BaseException
 └─ Cancelled                 not an error: the user asked the job to stop
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


class UserError(Exception):
    """An expected failure, told as a cause and what to do next."""

    code = "user_error"

    def __init__(self, cause: str, hint: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.cause} {self.hint}".strip()

    def to_json(self) -> dict[str, str]:
        """The shape that scripts receive."""
        return {"code": self.code, "message": self.cause, "hint": self.hint}


class BadInput(UserError):
    """A file or a value cannot be used."""

    code = "bad_input"


class NotFound(UserError):
    """An id, a file or a folder is not there."""

    code = "not_found"


class Busy(UserError):
    """Something else holds what is asked for."""

    code = "busy"


class ModelMissing(UserError):
    """Weights are not on this machine."""

    code = "model_missing"


class ModelGated(ModelMissing):
    """Weights need an accepted licence and a token first."""

    code = "model_gated"


class Unreachable(UserError):
    """A site does not answer, or the network is off."""

    code = "unreachable"


class DiskFull(UserError):
    """No room on a disk; the cause carries the arithmetic."""

    code = "disk_full"


class NotAllowed(UserError):
    """The system does not let us read or write a file: a read-only disk, or permissions."""

    code = "not_allowed"


class LoraMismatch(UserError):
    """An adapter belongs to another family, or none of its keys load."""

    code = "lora_mismatch"


class OutOfMemory(UserError):
    """Weights or working set do not fit; the cause carries the arithmetic."""

    code = "out_of_memory"


class RanOut(OutOfMemory):
    """A stage's work ran out of memory; room was made, so what is not done yet is worth doing again at once."""


class Cancelled(BaseException):
    """The user asked the running job to stop; technically not an error."""


_FULL = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "Your quota on the disk is used up",
    errno.EFBIG: "The disk takes no file of this size",
}
_CLOSED = {
    errno.EROFS: "The disk is read-only",
    errno.EACCES: "Permission is denied",
    errno.EPERM: "Permission is denied",
}


def from_disk(error: OSError, file: Path, need: int = 0) -> DiskFull | NotAllowed | None:
    """A disk's refusal of a file in words; None for any other failure. `need`: what was to be written, in bytes."""
    number = error.errno or 0
    folder = _folder(file)
    if number in _FULL:
        wanted = f", {_amount(need)} more are needed" if need else ""
        return DiskFull(
            f"{_FULL[number]}: {file} could not be written ({_free(file)} free{wanted}).",
            f"Free some space on the disk of {folder}, and try again. Nothing that was kept before is lost.",
        )
    if number in _CLOSED:
        return NotAllowed(
            f"{_CLOSED[number]}: {file} cannot be read or written.",
            f"Let your user read and write {folder}, or choose another folder, and try again.",
        )
    return None


def _folder(file: Path) -> Path:
    try:
        return file if file.is_dir() else file.parent
    except OSError:
        return file.parent


def _free(file: Path) -> str:
    """What is free on the disk that a file lies on, or would lie on."""
    for folder in (file, *file.parents):
        try:
            return _amount(shutil.disk_usage(folder).free)
        except OSError:
            continue
    return "an unknown amount"


def _amount(size: int) -> str:
    units = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
    unit = next((name for name, one in units.items() if size >= one), "KiB")
    return f"{size / units[unit]:.1f} {unit}"
