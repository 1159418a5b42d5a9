"""The job that downloads a model: checks licence, gate and disk space first, then downloads, verifies and quantises."""

from __future__ import annotations

from pathlib import Path

from engines.api.errors import BadInput, DiskFull, ModelGated, NotFound
from engines.api.forms import FULL_WIDTH
from engines.api.protocols import ModelSpec
from engines.catalogue import given
from engines.catalogue.hub import FolderHub, Hub
from engines.catalogue.pulling import Pull
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


def prepare(registry: Registry, spec: ModelSpec, hub: Hub, source: Path | None = None) -> Pull:
    """Returns a model's download, ready to be started with `Pull.run`; nothing is downloaded yet.

    `hub` is the Hugging Face hub. `source` is a folder or file on this machine to take the weights from instead, None
    for the hub. Raises: BadInput for a model that is not on the hub, or for given files that do not fit the model;
    NotFound when there is nothing at `source`.
    """
    if spec.source.startswith((EMBEDDED, GIVEN, OWN, PACKAGE)):
        raise BadInput(
            f"{spec.name} is not pulled: it is embedded, in a package, or you put its weights there yourself.",
            "Run python launch.py doctor to see what it needs.",
        )
    file: Path | None = None
    if source is not None:
        source = typed_path(str(source))
        if not source.exists():
            hint = "Give a folder in diffusers layout, or one safetensors or GGUF file."
            raise NotFound(f"There is nothing at {source}.", hint)
        given.demand_readable(spec, source)
        hub, file = (hub, source) if source.is_file() else (FolderHub(source.resolve()), None)

    def check(home: Path) -> None:
        """Compares the given weights with the model's configurations, once these are here."""
        if source is not None and spec.role != "scorer":
            load_class("engines.weights.components:demand_fitting")(spec, home, source)

    mark = given.mark(source) if source is not None else ""
    return Pull(spec, registry.home(spec), hub, transformer=file, given=mark, check=check)


def submit(workplace: Workplace, name: str, form: str = QUANTISED[0], source: str = "") -> Job:
    """Queues the download of the model named `name` and returns the job, or the one that runs or waits already.

    A stopped download of the model is continued. `form` is one of FORMS: a quantisation, or the unquantised weights.
    `source` is the path of a folder or file on this machine to take the weights from, "" for the Hugging Face hub.
    Raises: NotFound; BadInput for a `form` or `source` that cannot be used, or a model that is here already; ModelGated
    without a token; DiskFull.
    """
    spec = workplace.registry.spec(name)
    if form not in FORMS:
        raise BadInput(f"There is no form named {form}.", f"Known: {', '.join(FORMS)}.")
    place = typed_path(source) if source.strip() else None
    prepare(workplace.registry, spec, workplace.hub, place)
    now = model(workplace, name)
    if now.job is not None and now.running:
        return now.job
    forms, quantisable = now.presence.forms, any(each in spec.options for each in QUANTISED)
    held = form in forms or not quantisable or (form == FULL_WIDTH and not forms)
    if now.presence.here is Here.READY and place is None and held:
        raise BadInput(f"{name} is here already.", f"It is in {now.folder}.")
    if place is None and (steps := gate(spec, workplace.hub)):
        raise ModelGated(f"{name} is gated ({spec.licence}), and this machine has no token.", steps)
    more = _SHARE if quantisable and form != FULL_WIDTH else 0.0
    need = int((1 + more) * now.presence.missing) + _SPARE
    if place is None and now.presence.missing and need > now.free:  # what is given is measured by the job itself
        raise DiskFull(
            f"{name} needs about {need / _SPARE:.0f} GiB at {now.folder.parent}, and {now.free / _SPARE:.0f} GiB are "
            "free.",
            "Free some space on that disk; “Disk” below says what can go.",
        )
    asked = PullPayload(model=name, form=form, source=str(place or ""))
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
    source = Path(asked.source) if asked.source else None
    work = prepare(place.registry, place.registry.spec(asked.model), place.hub, source)
    ctx.say("reads the list of files")
    survey = work.survey(asked.form)

    def tell(what: str, done: int, total: int) -> None:
        ctx.step(done, total, what, unit="" if what.startswith(f"{asked.form} ") else BYTES)

    work.run(survey, tell)
