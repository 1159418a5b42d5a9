"""The job that downloads a model: checks licence, gate and disk space first, then downloads, verifies and quantises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.api.errors import BadInput, DiskFull, ModelGated, NotFound
from engines.api.forms import FULL_WIDTH
from engines.api.protocols import ModelSpec
from engines.catalogue import given
from engines.catalogue.hub import FolderHub, Hub
from engines.catalogue.pulling import ELSEWHERE, MAKE, Pull
from engines.catalogue.registry import Registry, load_class
from engines.catalogue.weights import QUANTISED
from studio.flywheel.curate.inbox import typed_path
from studio.housekeeping.models import EMBEDDED, GIVEN, OWN, PACKAGE, PULL, Here, gate, model
from studio.records.job import BYTES, Job
from studio.records.payload import PullPayload
from studio.workplace.context import Context
from studio.workplace.desk import Workplace

FORMS = (*QUANTISED, FULL_WIDTH)
_SPARE = 1 << 30
_SHARE = 0.27  # the size of the smallest quantised form, as a share of the full width


@dataclass(frozen=True)
class Places:
    """Holds the paths on this machine that a user gives to take a model's weights from.

    `source` holds the transformer or the whole model, `text_encoders` and `vae` these components alone. Empty and None
    mean the Hugging Face hub.
    """

    source: Path | None = None
    text_encoders: tuple[Path, ...] = ()
    vae: Path | None = None

    @classmethod
    def typed(cls, source: str = "", text_encoders: Iterable[str] = (), vae: str = "") -> Places:
        """Returns the places whose paths a user typed; "" for none. Raises: NotFound where there is nothing."""
        encoders = (found for each in text_encoders if (found := _place(each)))
        return cls(_place(source), tuple(encoders), _place(vae))

    def any(self) -> bool:
        """Returns whether any place is given."""
        return bool(self.source or self.text_encoders or self.vae)


def prepare(registry: Registry, spec: ModelSpec, hub: Hub, places: Places = Places()) -> Pull:
    """Returns a model's download, ready to be started with `Pull.run`; nothing is downloaded yet.

    `hub` is the Hugging Face hub. `places` are those on this machine to take weights from instead. Raises: BadInput
    for a model that is not on the hub, or for given files that do not fit the model.
    """
    if spec.source.startswith((EMBEDDED, GIVEN, OWN, PACKAGE)):
        raise BadInput(
            f"{spec.name} is not pulled: it is embedded, in a package, or you put its weights there yourself.",
            "Run python launch.py doctor to see what it needs.",
        )
    found = given.resolve(spec, places.source, places.text_encoders, places.vae)

    def check(folder: Path) -> None:
        """Compares the given weights with the model's configurations in a folder."""
        if places.any() and spec.role != "scorer":
            load_class("engines.weights.components:demand_fitting")(spec, folder, found)

    place = FolderHub(found.folder.resolve()) if found.folder else hub
    return Pull(spec, registry.home(spec), place, given=found, check=check)


def _place(path: str) -> Path | None:
    """Returns the path that a user typed, None for none. Raises: NotFound where there is nothing at it."""
    if not path.strip():
        return None
    found = typed_path(path)
    if not found.exists():
        hint = "Give a model's folder, ComfyUI's models folder, or one safetensors or GGUF file."
        raise NotFound(f"There is nothing at {found}.", hint)
    return found


def submit(
    workplace: Workplace,
    name: str,
    form: str = QUANTISED[0],
    source: str = "",
    text_encoders: Sequence[str] = (),
    vae: str = "",
) -> Job:
    """Queues the download of the model named `name` and returns the job, or the one that runs or waits already.

    A stopped download of the model is continued. `form` is one of FORMS: a quantisation, or the unquantised weights.
    `source`, `text_encoders` and `vae` are the paths of folders or files on this machine to take the weights from, ""
    for the Hugging Face hub.
    Raises: NotFound; BadInput for a `form` or `source` that cannot be used, or a model that is here already; ModelGated
    without a token; DiskFull.
    """
    spec = workplace.registry.spec(name)
    if form not in FORMS:
        raise BadInput(f"There is no form named {form}.", f"Known: {', '.join(FORMS)}.")
    places = Places.typed(source, text_encoders, vae)
    prepare(workplace.registry, spec, workplace.hub, places)
    now = model(workplace, name)
    if now.job is not None and now.running:
        return now.job
    forms, quantisable = now.presence.forms, any(each in spec.options for each in QUANTISED)
    held = form in forms or not quantisable or (form == FULL_WIDTH and not forms)
    if now.presence.here is Here.READY and not places.any() and held:
        raise BadInput(f"{name} is here already.", f"It is in {now.folder}.")
    if not places.any() and (steps := gate(spec, workplace.hub)):
        raise ModelGated(f"{name} is gated ({spec.licence}), and this machine has no token.", steps)
    more = _SHARE if quantisable and form != FULL_WIDTH else 0.0
    need = int((1 + more) * now.presence.missing) + _SPARE
    if not places.any() and now.presence.missing and need > now.free:  # what is given is measured by the job itself
        raise DiskFull(
            f"{name} needs about {need / _SPARE:.0f} GiB at {now.folder.parent}, and {now.free / _SPARE:.0f} GiB are "
            "free.",
            f"Free some space on that disk (“Disk” below says what can go), or {ELSEWHERE}.",
        )
    asked = PullPayload(
        model=name,
        form=form,
        source=str(places.source or ""),
        text_encoders=tuple(str(each) for each in places.text_encoders),
        vae=str(places.vae or ""),
    )
    if now.job is not None and PullPayload.of(now.job) == asked:
        return workplace.jobs.resume(now.job.id)
    return workplace.jobs.submit(PULL, "", asked, title=f"Download {name}")


def run(ctx: Context) -> None:
    """Runs a download job: downloads the files that are missing, verifies each by its hash, and quantises.

    Raises: Cancelled; DiskFull; Unreachable; ModelGated without access to a gated model; ModelMissing where a file
    arrived damaged; NotFound where a file to copy or download is gone; BadInput for given weights that do not fit.
    """
    asked = PullPayload.of(ctx.job)
    place = ctx.workplace
    places = Places.typed(asked.source, asked.text_encoders, asked.vae)
    work = prepare(place.registry, place.registry.spec(asked.model), place.hub, places)
    for line in work.given.told(asked.form):
        ctx.say(f"takes {line}")
    ctx.say("reads the list of files")
    survey = work.survey(asked.form)

    def tell(what: str, done: int, total: int) -> None:
        ctx.step(done, total, what, unit="" if what.startswith(MAKE) else BYTES)

    work.run(survey, tell)
