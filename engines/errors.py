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
     ├─ LoraMismatch          an adapter of the wrong family, or one that loads no key
     └─ OutOfMemory           does not fit; carries the arithmetic
         └─ RanOut            ... this time: there is a leaner way, and the job goes on with it
BaseException
 └─ Cancelled                 not an error: the user asked the job to stop
"""

from __future__ import annotations


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
