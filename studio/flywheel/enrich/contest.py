"""Reads a tournament from the pictures of its edits: how each task stands, and which pictures still need a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from studio.judging import races
from studio.judging.races import Standing
from studio.records.image import ImageRecord, Verdict
from studio.records.tournament import Contestant, Tournament
from studio.store import Store
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Desk

Cells = Mapping[tuple[str, int], ImageRecord]  # (the contestant's key, the place of the ask) -> the picture


def cells(store: Store, tournament: Tournament) -> Cells:
    """Returns the pictures of a tournament, each by its contestant's key and the place of its ask."""
    return {
        (image.trial.contestant, image.trial.ask): image
        for image in store.images.all()
        if image.trial is not None and image.trial.tournament == tournament.id
    }


def passed(image: ImageRecord) -> bool | None:
    """Returns whether a person passed a picture; None before the verdict. One in the trash without verdict failed."""
    if image.state is Verdict.PENDING:
        return False if image.trashed else None
    return image.state is Verdict.GOOD


def answers(tournament: Tournament, task: str, known: Cells) -> list[Mapping[str, bool] | None]:
    """Returns for each ask of a task which contestants passed it, None for an ask whose original cannot be read."""
    told: dict[int, dict[str, bool]] = {place: {} for place in tournament.places(task)}
    for (key, place), image in known.items():
        if place in told and (good := passed(image)) is not None:
            told[place][key] = good
    return [None if place in tournament.gone else said for place, said in told.items()]


def standing(tournament: Tournament, task: str, known: Cells) -> Standing:
    """Returns how far a task of a tournament is, by the verdicts on its pictures `known`."""
    keys = [each.key for each in tournament.contestants]
    return races.race(keys, tournament.defenders[task], answers(tournament, task, known))


def settle(store: Store, image_id: str) -> None:
    """Takes pictures out of review, or puts them back, that the verdicts of their tournament's task decide on.

    It is called after the verdict on a picture was given or taken back; a picture in no tournament changes nothing.
    """
    image = store.images.peek(image_id)
    tournament = store.tournaments.peek(image.trial.tournament) if image and image.trial else None
    if image is None or image.trial is None or tournament is None:
        return
    known, task = cells(store, tournament), tournament.asks[image.trial.ask].task
    now = standing(tournament, task, known)
    store.update_images(
        {
            each.id: {"filtered": not needed(now, key)}
            for (key, place), each in known.items()
            if tournament.asks[place].task == task and each.state is Verdict.PENDING
            if each.filtered is needed(now, key)
        }
    )


def needed(now: Standing, contestant: str) -> bool:
    """Returns whether a task that stands as `now` needs further verdicts on a contestant."""
    return not now.done and contestant in now.left


def label(desk: Desk, contestant: Contestant) -> str:
    """Returns a contestant's name for people: its editor, own version, LoRAs with strengths, and steps."""
    models = {spec.name: spec.label for spec in desk.workplace.registry.role("editor")}
    library = LoraLibrary(desk.workplace.library)
    known = {each.id: each.name for each in library.all()}
    version = desk.store.versions.peek(contestant.version) if contestant.version else None
    parts = [models.get(contestant.model, contestant.model)]
    parts += [f"own {version.name}" if version else "an own version that is gone"] if contestant.version else []
    parts += [f"{known.get(each.lora, each.name or each.lora)} {each.weight:g}" for each in contestant.loras]
    return " · ".join([*parts, *(["few steps"] if contestant.few_steps else [])])


def in_tasks(tournament: Tournament) -> Sequence[str]:
    """Returns the names of a tournament's tasks, in their order."""
    return [each.task for each in tournament.tasks]
