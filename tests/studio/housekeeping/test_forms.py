"""A form from the command to the picture: pulled, sized, drawn with by a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from engines.api.forms import ROWS
from engines.api.params import GenerateParams
from engines.catalogue.registry import Registry
from engines.fake.hub import FakeHub
from studio.flywheel import generate
from studio.housekeeping import models, pulling
from studio.open import RUNNERS, open_workplace
from studio.records.job import JobState
from studio.records.payload import DrawPayload
from studio.settings import Settings
from studio.workplace.context import Context
from studio.workplace.desk import Workplace
from tests.engines.conftest import TOY_FLUX, _build_flux
from tests.studio.housekeeping.test_pulling import ended

pytestmark = pytest.mark.slow

LARGE = ("transformer", "text_encoder_2")
ROW = replace(TOY_FLUX, source="maker/tiny", options={**TOY_FLUX.options, "nf4": LARGE})


def _draw(ctx: Context) -> None:
    """Draws without judging; of each picture the mode and size are kept."""
    generate.draw(ctx, lambda index, image, asked: SimpleNamespace(id=f"{image.mode} {image.size}"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A studio on this machine's processor, whose one model lies on a hub."""
    root = tmp_path_factory.mktemp("forms")
    settings = Settings(data_root=root / "home", assets=root / "assets", device="cpu")
    made = open_workplace(
        settings, Registry(settings.assets, root / "models", (ROW,)), None, {**RUNNERS, "draw": _draw}
    )
    made.hub = FakeHub(_build_flux(root / "hub"))
    yield made
    made.close()


@pytest.mark.parametrize("form", ROWS)
def test_a_model_is_pulled_in_a_form_and_draws(form: str, place: Workplace) -> None:
    """Of every form there is a folder for each large part; a job draws with it."""
    pulled = ended(place, pulling.submit(place, ROW.name, form))
    assert pulled.state is JobState.DONE, pulled.error
    assert form in models.model(place, ROW.name).presence.forms
    folder = place.registry.folder(ROW)
    assert all((folder / f"{name}.{form}" / "quantised.json").is_file() for name in LARGE)

    asked = GenerateParams(prompt="ohwx person", steps=1, width=64, height=64).to_json()
    place.gpu.unload_all()
    payload = DrawPayload(model=ROW.name, items=(asked,))
    done = ended(place, place.jobs.submit("draw", place.library.create("Mira").id, payload, title="draws"))
    assert (done.state, done.artifacts.images) == (JobState.DONE, ("RGB (64, 64)",)), done.error
