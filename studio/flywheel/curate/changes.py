"""Changes an existing character: its name, words and models, with what follows from each change; and deletes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engines.api.axes import Medium
from engines.api.errors import Busy
from engines.api.params import Word, kinds
from engines.api.triggers import replaced, says
from engines.api.values import Line, Words, taken
from studio.flywheel.curate.characters import ROLES, NewCharacter
from studio.judging import faces
from studio.records.base import Part
from studio.records.character import Character
from studio.records.dataset import Role
from studio.records.image import ImageRecord
from studio.records.version import Version
from studio.records.words import demand_caption, demand_text
from studio.store import Store
from studio.store.library import named
from studio.workplace.desk import Desk, Workplace

_FREE = ("name", "notes")  # what no job reads


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Holds the new values that are requested for a character; None leaves a value as it is.

    `trigger` is the word that stands for the character in prompts, `subject` the word for its kind, such as person, and
    `medium` what its pictures are. `generator`, `editor` and `scorer` are names of models.
    """

    name: Line | None = None
    trigger: Line | None = None
    subject: Line | None = None
    medium: Medium | None = None
    generator: Word | None = None
    editor: Word | None = None
    scorer: Word | None = None
    notes: Words | None = None

    def differing(self, character: Character) -> dict[str, str]:
        """Returns the requested values that differ from the character's, as field name -> value.

        Raises: BadInput for a value that no character can have.
        """
        given = {field: value for field, value in vars(self).items() if value is not None}
        for field, value in given.items():
            demand_text(field, value)
            taken(field, value, kinds(NewCharacter)[field])
        stripped = {field: str(value).strip() for field, value in given.items()}
        settled = {**stripped, **named(stripped)}
        return {field: value for field, value in settled.items() if value != getattr(character, field)}


@dataclass(frozen=True, kw_only=True)
class Changed(Part):
    """Holds a character after a change, and the number of captions that were changed with it."""

    character: Character
    captions: int


def update(desk: Desk, asked: Asked, *, captions: bool = True) -> Changed:
    """Changes a character to the requested values and, with `captions`, its captions.

    In the captions the new trigger and subject replace the old ones. The captions are changed before the character, so
    that a call that was killed half-way can be repeated. Raises: NotFound; BadInput for values that no character can
    have; Busy while a job of the character runs or waits, unless only name and notes change.
    """
    before = desk.store.character
    differing = asked.differing(before)
    for role in set(ROLES) & set(differing):
        differing[role] = desk.workplace.spec(differing[role], role).name
    if set(differing) - set(_FREE):
        demand_idle(desk.workplace, desk.id, "Its words and models can be changed")
    after = before.replace(**differing)
    retold = recaptioned(desk.store, after) if captions else {}
    for words in retold.values():
        demand_caption(words)
    if retold:
        desk.store.update_images({image: {"caption": words} for image, words in retold.items()})
    changed = desk.workplace.library.update(desk.id, **differing) if differing else before
    return Changed(character=changed, captions=len(retold))


def recaptioned(store: Store, after: Character) -> dict[str, str]:
    """Returns the captions that would change with a new trigger or subject, as picture id -> new caption.

    `after` is the character's record with the new words. Nothing is stored.
    """
    before = store.character
    was, now = (before.trigger, before.subject), (after.trigger, after.subject)
    if was == now or not before.trigger.strip():
        return {}
    subject = re.compile(rf"(\s+){re.escape(before.subject)}\b", re.IGNORECASE)

    def told(rest: str) -> tuple[str, str]:
        found = subject.match(rest)
        return (f"{after.trigger}{found[1]}{after.subject}", rest[found.end() :]) if found else (after.trigger, rest)

    words = {image.id: (image.caption, replaced(image.caption, before.trigger, told)) for image in saying(store)}
    return {image: new for image, (old, new) in words.items() if new != old}


def saying(store: Store) -> list[ImageRecord]:
    """Returns the pictures whose caption contains the character's trigger, including those in the trash."""
    trigger = store.character.trigger
    return [image for image in store.images.all() if image.caption and says(image.caption, trigger)]


def effects(desk: Desk, asked: Asked) -> list[str]:
    """Returns what a change of a character would entail, one sentence for each consequence, without making the change.

    Changes of captions are not mentioned. Raises: BadInput, NotFound as `update` does.
    """
    before = desk.store.character
    differing = asked.differing(before)
    spec = {role: desk.workplace.spec(differing[role], role).name for role in ROLES if role in differing}
    after = before.replace(**differing)
    blind = faces.blind(desk.workplace, after) if {"medium", "scorer"} & set(differing) else ""
    return [*_effects(desk.store, before, differing, spec), *filter(None, (blind,))]


def _effects(store: Store, before: Character, new: dict[str, str], model: dict[str, str]) -> Iterator[str]:
    own, editors = store.kept_versions(Role.CHARACTER), store.kept_versions(Role.EDITOR)
    if "name" in new:
        yield f"Its files stay in the folder {store.folder.name}; exported LoRAs are named by the trigger word."
    if "trigger" in new and own:
        yield (
            f"{_names(own)} learned “{before.trigger}” and will be asked for “{new['trigger']}”, a word they do not "
            "know. Train a new version before you draw."
        )
    if "subject" in new and own:
        yield f"{_names(own)} learned the character as a {before.subject}; prompts will say {new['subject']}."
    if "medium" in new:
        yield f"Prompts and new captions will say {new['medium']}; captions that say {before.medium} keep their words."
        if own:
            yield f"{_names(own)} learned it as a {before.medium}: train a version on captions with the new word."
    if "generator" in model:
        in_use = store.adopted(Role.CHARACTER)
        yield from _of_another(own, before.generator, model["generator"])
        if in_use and in_use.model != model["generator"]:
            yield f"{in_use.name}, in use, keeps drawing with {in_use.model} until you adopt another version."
        if any(not card.version for card in store.cards.all()):
            yield f"The base model's card was drawn by {before.generator}: run it again for {model['generator']}."
    if "editor" in model:
        yield from _of_another(editors, before.editor, model["editor"])
        if any(each.model != model["editor"] for each in editors):
            yield f"{model['editor']} edits without a LoRA until you train one for it."
    if "scorer" in model and any(image.scores for image in store.images.all()):
        yield (
            f"Likeness so far was measured by {before.scorer}. Figures of {model['scorer']} cannot be compared with "
            "them; run the model cards again."
        )


def _of_another(versions: Sequence[Version], old: str, new: str) -> Iterator[str]:
    """Yields which versions do not fit another model."""
    for model in dict.fromkeys(each.model for each in versions if each.model != new):
        names = _names([each for each in versions if each.model == model])
        yield f"{names}: trained for {model}, cannot be used with {new}."
    if not versions:
        yield f"{new} takes the place of {old}. No version exists yet that would not fit."


def _names(versions: Sequence[Version]) -> str:
    names = [each.name for each in versions]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def delete(workplace: Workplace, character_id: str) -> Character:
    """Moves a character with all its files to the trash, and returns its record.

    Raises: NotFound; Busy while a job of the character runs or waits; UserError where writing fails.
    """
    demand_idle(workplace, character_id, "The character can be deleted")
    return workplace.library.trash(character_id)


def restore(workplace: Workplace, character_id: str) -> Character:
    """Takes a character out of the trash and returns its record. Raises: NotFound, UserError where writing fails."""
    return workplace.library.restore(character_id)


def demand_idle(workplace: Workplace, character_id: str, what: str) -> None:
    """Raises Busy while a job of a character runs or waits.

    `what` begins the error's hint, such as "The character can be deleted"; the hint goes on with "when it has ended".
    """
    busy = [job for job in workplace.jobs.list(character_id) if job.state.is_under_way]
    if busy:
        raise Busy(
            f"A job of this character is {busy[0].state.value}: {busy[0].title or busy[0].kind}.",
            f"{what} when it has ended; or cancel it at the bottom of the page.",
        )
