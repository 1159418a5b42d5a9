"""Defines every error that FLENwheel raises on purpose.

Exception
 └─ UserError                 cause and next action, shown to the user unchanged
     ├─ BadInput              a file or a value cannot be used
     ├─ NotFound              an id, a file or a folder does not exist
     ├─ Busy                  something else uses the resource; try later
     ├─ ModelMissing          weights are not on this machine
     │   └─ ModelGated        weights are not here, and their licence must be accepted first
     ├─ Unreachable           a site does not respond, or the network is off
     ├─ DiskFull              a disk has no room; the cause gives the sizes
     ├─ NotAllowed            the system refuses to read or write a file
     ├─ LoraMismatch          a LoRA file is damaged, is for another family, or does not fit the model
     └─ OutOfMemory           the work does not fit in memory; the cause gives the sizes
         └─ RanOut            the work ran out of memory once; the job goes on in a way that needs less
BaseException
 └─ Cancelled                 no error: the user asked the job to stop
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


class UserError(Exception):
    """Base class of the errors raised on purpose: `cause` tells the user what is wrong, `hint` what to do next."""

    code = "user_error"

    def __init__(self, cause: str, hint: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.cause} {self.hint}".strip()

    def to_json(self) -> dict[str, str]:
        """Returns the error as a dict for scripts: `code` (such as "not_found"), `message` (the cause) and `hint`."""
        return {"code": self.code, "message": self.cause, "hint": self.hint}


class BadInput(UserError):
    """Reports that a file or a value cannot be used."""

    code = "bad_input"


class NotFound(UserError):
    """Reports that an id, a file or a folder does not exist."""

    code = "not_found"


class Busy(UserError):
    """Reports that another process or job uses the resource."""

    code = "busy"


class ModelMissing(UserError):
    """Reports that a model's weights are not on this machine."""

    code = "model_missing"


class ModelGated(ModelMissing):
    """Reports that a model's weights need an accepted licence and a token first."""

    code = "model_gated"


class Unreachable(UserError):
    """Reports that a site does not respond, or that the network is off."""

    code = "unreachable"


class DiskFull(UserError):
    """Reports that a disk has no room; the cause gives the sizes."""

    code = "disk_full"


class NotAllowed(UserError):
    """Reports that the system refuses to read or write a file: the disk is read-only, or permissions forbid it."""

    code = "not_allowed"


class LoraMismatch(UserError):
    """Reports that a LoRA file is damaged, is for another model family, or has tensors that do not fit the model."""

    code = "lora_mismatch"


class OutOfMemory(UserError):
    """Reports that weights or working memory do not fit; the cause gives the sizes."""

    code = "out_of_memory"


class RanOut(OutOfMemory):
    """Reports that a stage of a job ran out of memory; that memory is free again, and the job can be continued."""


class Cancelled(BaseException):
    """Stops a running job because the user asked for it; it is no error, and `except Exception` does not catch it.

    Its text, if there is one, tells the user where the job stopped.
    """


_FULL = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "Your quota on the disk is used up",
    errno.EFBIG: "The disk does not accept a file of this size",
}
_CLOSED = {
    errno.EROFS: "The disk is read-only",
    errno.EACCES: "Permission is denied",
    errno.EPERM: "Permission is denied",
}


def from_disk(error: OSError, file: Path, need: int = 0) -> DiskFull | NotAllowed | None:
    """Converts the OSError of a failed read or write to an error for the user, and returns it.

    Returns DiskFull for a full disk or quota or a file too large for the disk, NotAllowed where the system denies
    access, and None for any other failure. `file`: the file that was read or written; `need`: how many more bytes were
    to be written, for the message; 0 leaves the number out.
    """
    number = error.errno or 0
    try:
        folder = file if file.is_dir() else file.parent
    except OSError:
        folder = file.parent
    if number in _FULL:
        wanted = f", {_amount(need)} more are needed" if need else ""
        return DiskFull(
            f"{_FULL[number]}: {file} could not be written ({_free(file)} free{wanted}).",
            f"Free some space on the disk of {folder}, and try again. Nothing that was saved before is lost.",
        )
    if number in _CLOSED:
        return NotAllowed(
            f"{_CLOSED[number]}: {file} cannot be read or written.",
            f"Let your user read and write {folder}, or choose another folder, and try again.",
        )
    return None


def _free(file: Path) -> str:
    """Returns the free space of the disk that a file lies on or would lie on, with its unit."""
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
