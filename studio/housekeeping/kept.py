"""Reads and changes the settings that a user sets while the studio runs, and that the data folder keeps."""

from __future__ import annotations

from engines.api.errors import BadInput
from studio.records.settings import BUDGET_SETTING, FLOOR_SETTING
from studio.workplace.desk import Workplace

LEAST_BUDGET_GIB = 4.0
_GIB = 1 << 30


def budget_gib(workplace: Workplace) -> float:
    """Returns the memory budget of the GPU in GiB."""
    return workplace.gpu.budget / _GIB


def set_budget(workplace: Workplace, gib: float | None) -> None:
    """Sets the memory budget of the GPU in GiB and stores it for later sessions.

    Raises: BadInput for None and outside its bounds.
    """
    most = workplace.gpu.raw_device.total_bytes() / _GIB
    if gib is None or not LEAST_BUDGET_GIB <= gib <= most:
        raise BadInput(
            f"The memory budget cannot be {'empty' if gib is None else f'{gib:g} GiB'}.",
            f"Give {LEAST_BUDGET_GIB:g} to {most:.1f} GiB; leave a little for the screen.",
        )
    workplace.library.set_setting(BUDGET_SETTING, float(gib))
    workplace.gpu.set_budget(int(gib * _GIB))


def identity_floor(workplace: Workplace) -> float:
    """Returns the likeness below which pictures of any character are set aside; 0: each one's originals decide."""
    return workplace.library.setting(FLOOR_SETTING, float) or 0.0


def set_identity_floor(workplace: Workplace, value: float | None) -> None:
    """Sets the likeness below which new pictures of any character are set aside; 0 lets each one's originals decide.

    Raises: BadInput for None and outside 0…1.
    """
    if value is None or not 0 <= value <= 1:
        raise BadInput("The likeness is a number from 0 to 1.", "0 lets each character's originals decide.")
    workplace.library.set_setting(FLOOR_SETTING, float(value))
