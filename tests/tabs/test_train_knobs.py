"""What the Train tab offers is what the trainer knows."""

import pytest

from tabs import train

pytestmark = pytest.mark.slow


def test_the_tab_offers_what_there_is() -> None:
    """Every optimiser, density and format by its name; of two names for one density, one."""
    from engines.lora.densities import DENSITIES
    from engines.lora.optimizers import OPTIMIZERS
    from engines.parts.quantise import FORMS

    assert {value for _, value in train.OPTIMIZERS} == set(OPTIMIZERS)
    assert {DENSITIES[value] for _, value in train.DENSITIES} == set(DENSITIES.values())
    assert {value for _, value in train.BASES} == {"", *FORMS}
