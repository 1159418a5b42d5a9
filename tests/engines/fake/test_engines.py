"""The fakes keep the engines' contracts, so that tests on them mean something."""

from pathlib import Path

import pytest
from PIL import Image
from safetensors.numpy import save_file

from engines.api.errors import BadInput, Cancelled, LoraMismatch
from engines.api.params import CaptionParams, EditParams, GenerateParams, LoraUse, TrainParams
from engines.api.protocols import (
    CheckpointSaved,
    EditItem,
    Embedding,
    NoFace,
    SampleDrawn,
    StepDone,
    TrainEvent,
    TrainItem,
    TrainRun,
)
from engines.api.seeing import Sight
from engines.catalogue.registry import Registry
from engines.fake import FakeDevice, FakeWeights, fake_registry


class Held:
    """A lease that has everything, and notes the stages that were asked for."""

    device = "cpu"

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str) -> "Held":
        """Note a stage."""
        self.stages.append(name)
        return self

    def __enter__(self) -> dict[str, FakeWeights]:
        return {}

    def __exit__(self, *exception: object) -> None:
        return None


def ignore(step: int, total: int, message: str = "") -> None:
    """Nobody wants to stop."""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """The fakes' rows."""
    return fake_registry(tmp_path, tmp_path)


def generate(registry: Registry, *items: GenerateParams) -> list[Image.Image]:
    """Draw."""
    engine = registry.engine("fake-flux")
    return list(engine.generate(items, Held(), ignore))


def picture(colour: str, size: int = 64) -> Image.Image:
    """One colour."""
    return Image.new("RGB", (size, size), colour)


def similarity(registry: Registry, one: Image.Image, other: Image.Image) -> float:
    """Cosine of two pictures."""
    first, second = registry.engine("fake-identity").embed([one, other])
    assert isinstance(first, Embedding)
    assert isinstance(second, Embedding)
    return sum(a * b for a, b in zip(first.vector, second.vector, strict=True))


def training(folder: Path, colour: str = "red", **knobs: object) -> TrainRun:
    """A run on two pictures of one colour."""
    items = []
    for index in range(2):
        path = folder.parent / f"{colour}{index}.png"
        picture(colour).save(path)
        items.append(TrainItem(path, "ohwx person"))
    params = TrainParams(**{"steps": 10, "save_every": 4, "sample_every": 4, **knobs})  # type: ignore[arg-type]
    previews = (GenerateParams(prompt="x", width=16, height=16), EditItem(picture("blue", 16), EditParams()))
    return TrainRun(folder, tuple(items), params, previews)


def train(registry: Registry, run: TrainRun) -> list[TrainEvent]:
    """Train to the end."""
    return list(registry.trainer("fake-flux").train(run, Held(), ignore))


def test_pictures_follow_from_their_parameters(registry: Registry) -> None:
    """Equal parameters draw equal pixels; another seed or another prompt draws others, in the size asked."""
    base = GenerateParams(prompt="a hill", seed=1, width=32, height=48)

    same, again, seeded, other = generate(registry, base, base, base.replace(seed=2), base.replace(prompt="a sea"))

    assert same.size == (32, 48)
    assert same.tobytes() == again.tobytes()
    assert len({image.tobytes() for image in (same, seeded, other)}) == 3
    assert similarity(registry, same, seeded) > similarity(registry, same, other)


def test_every_step_is_told_and_a_cancel_stops(registry: Registry) -> None:
    """Steps count up over all items; what was decoded before the cancel has been handed out."""
    told: list[tuple[int, int]] = []

    def on_step(step: int, total: int, message: str = "") -> None:
        if step == 5:
            raise Cancelled
        told.append((step, total))

    item = GenerateParams(prompt="a hill", steps=2)
    drawn = []
    with pytest.raises(Cancelled):
        drawn.extend(registry.engine("fake-flux").generate([item] * 4, Held(), on_step))

    assert told == [(1, 8), (2, 8), (3, 8), (4, 8)]


def test_stages_follow_the_plan(registry: Registry) -> None:
    """An engine enters only stages that its plan names."""
    for name, items, draw in (
        ("fake-flux", [GenerateParams()], "generate"),
        ("fake-edit", [EditItem(picture("red"), EditParams())], "edit"),
    ):
        engine, lease = registry.engine(name), Held()
        list(getattr(engine, draw)(items, lease, ignore))

        assert [stage.name for stage in engine.plan(items).stages] == lease.stages


def test_an_edit_keeps_its_source_in_sight(registry: Registry) -> None:
    """The result has the source's size and is closer to it than to another picture."""
    source = picture("red", 40)

    (edited,) = registry.engine("fake-edit").edit([EditItem(source, EditParams(seed=1))], Held(), ignore)

    assert edited.size == (40, 40)
    assert edited.tobytes() != source.tobytes()
    assert similarity(registry, edited, source) > similarity(registry, edited, picture("blue"))


def test_captions_begin_with_the_trigger(registry: Registry) -> None:
    """A caption has the trigger first and says the tags it answers."""
    captioner = registry.captioner("fake-edit")

    (caption,) = captioner.caption([picture("red")], CaptionParams(trigger="mira"), Held(), ignore)

    assert caption.text.startswith("mira ")
    assert all(value in caption.text for value in caption.tags.values())


def test_alike_pictures_are_close(registry: Registry) -> None:
    """The scorer's vectors are of unit length and close for pictures that look alike; black has no face."""
    red, dark_red = picture("red"), picture("#dd1010")

    assert similarity(registry, red, red) == pytest.approx(1.0)
    assert similarity(registry, red, dark_red) > 0.95 > similarity(registry, red, picture("blue"))
    assert registry.engine("fake-identity").embed([picture("black")]) == [NoFace()]


def test_training_learns_the_look(registry: Registry, tmp_path: Path) -> None:
    """A trained adapter makes new pictures look like those it was fed."""
    events = train(registry, training(tmp_path / "run"))
    adapter = [event for event in events if isinstance(event, CheckpointSaved)][-1].adapter
    item = GenerateParams(prompt="a hill", width=16, height=16)

    before, after = generate(registry, item, item.replace(loras=(LoraUse(file=str(adapter)),)))

    assert similarity(registry, after, picture("red")) > similarity(registry, before, picture("red"))
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert len(losses) == 10
    assert losses[-1] < losses[0]


def test_checkpoints_and_samples_come_as_asked(registry: Registry, tmp_path: Path) -> None:
    """Every `save_every` steps and at the end, with one sample a preview."""
    events = train(registry, training(tmp_path / "run"))

    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [4, 8, 10]
    assert [(event.step, event.index) for event in events if isinstance(event, SampleDrawn)] == [
        (4, 0),
        (4, 1),
        (8, 0),
        (8, 1),
        (10, 0),
        (10, 1),
    ]


def test_a_cancelled_training_goes_on_where_it_was(registry: Registry, tmp_path: Path) -> None:
    """The cancel saves a checkpoint; the rest of the steps end in the very file of an undisturbed run."""

    def on_step(step: int, total: int, message: str = "") -> None:
        if step == 7:
            raise Cancelled

    run = training(tmp_path / "run")
    first: list[TrainEvent] = []
    with pytest.raises(Cancelled):
        for event in registry.trainer("fake-flux").train(run, Held(), on_step):
            first.append(event)
    rest = train(registry, run)
    whole = train(registry, training(tmp_path / "whole"))

    steps = [event.step for event in [*first, *rest] if isinstance(event, StepDone)]
    assert steps == list(range(1, 11))
    last, undisturbed = ([e for e in events if isinstance(e, CheckpointSaved)][-1] for events in (rest, whole))
    assert last.adapter.read_bytes() == undisturbed.adapter.read_bytes()


def test_foreign_adapters_are_refused(registry: Registry, tmp_path: Path) -> None:
    """An adapter of another family, or a file that is none, is an error and never a silent no-op."""
    import numpy as np

    foreign, broken = tmp_path / "foreign.safetensors", tmp_path / "broken.safetensors"
    save_file({"transformer.a": np.zeros(2, np.float32)}, foreign)
    broken.write_bytes(b"no adapter")

    with pytest.raises(LoraMismatch, match=r"foreign\.safetensors"):
        generate(registry, GenerateParams(loras=(LoraUse(file=str(foreign)),)))
    with pytest.raises(BadInput, match=r"broken\.safetensors"):
        generate(registry, GenerateParams(loras=(LoraUse(file=str(broken)),)))


def test_training_on_nothing_is_refused(registry: Registry, tmp_path: Path) -> None:
    """A run without pictures says so."""
    with pytest.raises(BadInput, match="no picture"):
        train(registry, TrainRun(tmp_path, (), TrainParams()))


def test_the_device_counts_what_it_holds() -> None:
    """Placing, dropping, litter and the peak add up."""
    device = FakeDevice(100, fail_at={2})
    master = FakeWeights("x")

    placed = device.put(master, 60)
    with pytest.raises(MemoryError):
        device.put(master, 10)
    with pytest.raises(MemoryError):
        device.put(master, 50)
    device.reclaim()
    device.work(30)

    assert (placed.device, master.device) == ("fake", "host")
    assert (device.free_bytes(), device.peak_bytes(reset=True), device.peak_bytes()) == (40, 90, 60)
    device.drop(placed, 60)
    assert (device.used, placed.device) == (0, "dropped")


def test_answers_follow_the_pixels(registry: Registry) -> None:
    """Every question has an answer of 90 % that depends on the picture alone."""
    asker = registry.asker("fake-edit")
    sights = [Sight(picture(colour), asker.questions) for colour in ("red", "red", "blue")]
    first, again, other = asker.ask(sights, Held(), ignore)
    assert first == again != other
    most = [max(told.probabilities().values()) for told in first.values()]
    assert most == pytest.approx([0.9] * len(asker.questions))
