"""What a job holds while it uses the card: a lease, and the stages it is in."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engines.api.protocols import Plan, Stage
from studio.gpu.residents import MemoryErrors

if TYPE_CHECKING:  # a lease and its manager are friends
    from studio.gpu.manager import GpuManager

Parts = dict[str, Any]  # a name -> the module of a stage that is on the card


@dataclass(eq=False)
class Active:
    """A stage in use: the modules handed out, use of the card beside weights when it began, the most of its own since.

    `asked` is the stage as its plan has it, `stage` the form it was admitted in, from rung `rung` of its ladder.
    """

    asked: Stage
    stage: Stage
    rung: int
    lease: CardLease
    parts: Parts
    base: int
    high: int


def never() -> bool:
    """Nobody asks to stop."""
    return False


def silent(words: str) -> None:
    """Nobody wants to hear what is waited for."""
    del words


@dataclass(eq=False)
class CardLease:
    """Exclusive use of the card for the length of a job; see engines.api.Lease."""

    manager: GpuManager
    plan: Plan
    key: str
    cancelled: Callable[[], bool]
    waiting: Callable[[str], None]
    closed: bool = field(default=False, init=False)
    asked: set[str] = field(default_factory=set, init=False)  # keys of the components it has had

    @property
    def device(self) -> Any:
        """What torch calls the device."""
        return self.manager.torch_device

    @contextmanager
    def stage(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Make a stage's components resident while the block lasts; they are not to be kept after it.

        Raises: OutOfMemory when it cannot fit, RanOut when the block runs out and may be done again, Cancelled,
        BadInput.
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
