"""The names of settings that the data folder keeps and several packages read."""

from __future__ import annotations

from typing import Final

BUDGET_SETTING: Final = "budget_gib"  # the memory budget of the GPU, in GiB
DEPLOYED_SETTING: Final = "deployed"  # when versions were last put into another program, or taken out
FLOOR_SETTING: Final = "identity_floor"  # the likeness below which pictures are set aside; 0: each character's own
