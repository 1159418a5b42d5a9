"""The lease that a job holds while it uses the GPU, and the stages that are active under it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engines.api.protocols import Plan, Stage
from studio.gpu.residents import MemoryErrors

if TYPE_CHECKING:  # the two modules use each other
    from studio.gpu.manager import GpuManager

Parts = dict[str, Any]  # component name -> its module on the device


@dataclass(eq=False)
class Active:
    """Holds a stage that is running: its loaded modules in `parts`, and its memory beside the weights in bytes.

    `base` is that memory when the stage began, `high` the peak since. `asked` is the stage as it was planned, `stage`
    the variant that runs, which may save memory. `rung` is the number of that variant on the out-of-memory ladder, the
    list of variants to try.
    """

    asked: Stage
    stage: Stage
    rung: int
    lease: CardLease
    parts: Parts
    base: int
    high: int


def never() -> bool:
    """Returns False; it is the default `cancelled` of a lease, for a caller that never cancels."""
    return False


def silent(words: str) -> None:
    """Does nothing; it is the default `waiting` of a lease, for a caller that does not tell why it waits."""
    del words


@dataclass(eq=False)
class CardLease:
    """Represents the exclusive use of the GPU by one job.

    `plan` lists the job's stages with their models; the job's measured memory peaks are stored under `key`. `cancelled`
    is called to ask whether the job has been cancelled, `waiting` with a text on what it waits for, "" when the wait is
    over. After its end the lease is `closed`. The class implements engines.api.protocols.Lease.
    """

    manager: GpuManager
    plan: Plan
    key: str
    cancelled: Callable[[], bool]
    waiting: Callable[[str], None]
    closed: bool = field(default=False, init=False)
    asked: set[str] = field(default_factory=set, init=False)  # keys of components whose use is recorded
    peak: int = field(default=0, init=False)  # bytes in use at most in the stages that ended since the last look

    @property
    def device(self) -> Any:
        """Returns torch's name of the device, such as cuda."""
        return self.manager.torch_device

    def take_peak(self) -> int:
        """Returns the most bytes in use in the stages that ended since the last call; 0 where none is known."""
        found, self.peak = self.peak, 0
        return found

    @contextmanager
    def stage(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Loads the models of one stage, yields them as name -> module, and releases them after the block.

        `name` is that of a stage in the job's plan. The caller must not keep the modules. Raises: OutOfMemory when the
        stage cannot fit; RanOut when the block ran out of memory, but a second run of the job may succeed; Cancelled;
        BadInput for a name that the plan does not have.
        """
        active = self.manager.enter(self, name)
        try:
            with MemoryErrors(self.manager.raw_device), active.stage.around(active.parts):
                yield active.parts
            self.manager.worked(active)
        except MemoryError as error:
            traceback.clear_frames(error.__traceback__)
            ran_out = self.manager.ran_out(active)
            raise ran_out from None
        finally:
            self.manager.leave(active)
