"""Reads and changes the settings that a user sets while the studio runs, and that the data folder keeps."""

from __future__ import annotations

from engines.api.errors import BadInput
from studio.records.settings import BUDGET_SETTING, FLOOR_SETTING
from studio.workplace.desk import Workplace

LEAST_BUDGET_GIB = 4.0
_GIB = 1 << 30


def budget_gib(workplace: Workplace) -> float:
    """Returns the GPU memory in GiB that the studio may use."""
    return workplace.gpu.budget / _GIB


def set_budget(workplace: Workplace, gib: float | None) -> None:
    """Sets the GPU memory in GiB that the studio may use, and stores it for later starts with a GPU.

    A start on the CPU takes the machine's memory instead. Raises: BadInput for None, for too little, and for more than
    the device has.
    """
    most = workplace.gpu.raw_device.total_bytes() / _GIB
    if gib is None or not LEAST_BUDGET_GIB <= gib <= most:
        raise BadInput(
            f"The memory budget cannot be {'empty' if gib is None else f'{gib:g} GiB'}.",
            f"Give {LEAST_BUDGET_GIB:g} to {int(most * 10) / 10} GiB; leave a little for the screen.",
        )
    workplace.library.set_setting(BUDGET_SETTING, float(gib))
    workplace.gpu.set_budget(int(gib * _GIB))


def identity_floor(workplace: Workplace) -> float:
    """Returns the similarity to the originals, 0…1, below which new pictures are set aside instead of reviewed.

    It holds for every character without a value of its own. 0 means that none is set; then each character's limit is
    computed from its originals.
    """
    return workplace.library.setting(FLOOR_SETTING, float) or 0.0


def set_identity_floor(workplace: Workplace, value: float | None) -> None:
    """Stores the similarity to the originals below which new pictures are set aside instead of reviewed.

    It holds for every character without a value of its own. With 0 each character's limit is computed from its
    originals. Raises: BadInput for None and outside 0…1.
    """
    if value is None or not 0 <= value <= 1:
        raise BadInput("The likeness is a number from 0 to 1.", "0 lets each character's originals decide.")
    workplace.library.set_setting(FLOOR_SETTING, float(value))
