"""Turns edits in a person's own words into the rows of a plan: placeholders filled, LoRAs found, seeds given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engines.api.axes import TAGS, Tags
from engines.api.errors import BadInput, UserError
from engines.api.params import LoraUse
from engines.api.placeholders import filled, names
from engines.api.protocols import ModelSpec
from engines.api.views import View
from engines.wording.cameras import CAMERAS, CameraGrammar
from engines.wording.registry import vocabulary
from engines.wording.vocabulary import EditTask
from studio.flywheel.enrich import guides, repeats
from studio.flywheel.enrich.plan import Ask
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.payload import PlanRow
from studio.records.plan import OwnEdit, StackedLora
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Desk

OWN = "own words"
LOST = "No word says that the person stays the same. Add, for example: Keep the same person."
KNOWN = ("subject", "trigger", *TAGS)  # placeholders that the character and the source fill
VIEW = "view"  # the placeholder that a row's view fills
TURNED = "The camera turns from where a source was taken; a source without an angle counts as frontal."


@dataclass(frozen=True)
class Written:
    """Holds an edit in own words with what becomes of it.

    `rows` are the edits to draw. `words` is the instruction of the first of them, with all placeholders filled. Where
    the edit cannot be drawn, `trouble` says why and what to do, and there are no rows. `hints` are sentences on what to
    expect of its LoRAs.
    """

    edit: OwnEdit
    rows: tuple[PlanRow, ...] = ()
    words: str = ""
    trouble: UserError | None = None
    hints: tuple[str, ...] = ()


def written(desk: Desk, edits: Sequence[OwnEdit], spec: ModelSpec, knobs: Mapping[str, Any]) -> list[Written]:
    """Returns the edits in own words with their rows; an edit that cannot be drawn has none, and says why.

    `spec` is the editor's model, `knobs` are EditParams by name for all rows. Edits that are off have rows, too, to be
    shown. The pictures of another character are left out of an edit's sources, because the page may still
    hold them; an edit without any picture left has no rows and no trouble.
    """
    taken, found = repeats.drawn(desk.store), []
    for edit in edits:
        try:
            rows = rows_of(desk, edit, spec, knobs, taken)
            first = desk.store.images.get(rows[0].source) if rows else None
            words = filled(edit.words, values(desk, edit, first, spec)) if first else ""
            found.append(Written(edit, tuple(rows), words.strip(), None, hints(desk, edit, spec)))
        except UserError as error:
            found.append(Written(edit, trouble=error, hints=hints(desk, edit, spec)))
    return found


def rows_of(
    desk: Desk, edit: OwnEdit, spec: ModelSpec, knobs: Mapping[str, Any], taken: set[tuple[str, str]]
) -> list[PlanRow]:
    """Returns a row of the plan for each source and each seed of an edit in own words.

    `taken` holds the fingerprints of edits made before (see `repeats.fingerprint`); those of the new rows are added.
    Raises: BadInput without words, for an empty or unknown placeholder, or a LoRA that does not fit the editor;
    NotFound for a LoRA that is not on this machine, and for a second picture that is gone or that the character lacks.
    """
    if not edit.words.strip():
        raise BadInput("A row of your own has no words.", "Say what should change, and what should stay.")
    few = {"few_steps": True} if edit.few_steps else {}
    loras = (*LoraUse.stack(knobs.get("loras")), *stack(desk, edit.loras, spec))
    seconds = {source.id: guides.second_of(desk, edit, source) for source in sources(desk, edit)}
    expects = expected(desk, edit, spec)
    return [
        repeats.new_row(
            spec,
            Ask(source.id, EditTask(OWN, "", filled(edit.words, values(desk, edit, source, spec)).strip(), expects)),
            number,
            {**knobs, **few, "loras": loras},
            taken,
            seconds[source.id],
        )
        for number in range(edit.seeds)
        for source in sources(desk, edit)
    ]


def sources(desk: Desk, edit: OwnEdit) -> list[ImageRecord]:
    """Returns the pictures that an edit starts from: its own, or all originals that are undecided or approved."""
    store = desk.store
    if edit.sources:
        return [store.images.get(image) for image in dict.fromkeys(edit.sources) if image in store.images]
    return [each for each in store.select(Kind.SOURCE) if each.state in (Verdict.PENDING, Verdict.GOOD)]


def values(desk: Desk, edit: OwnEdit, source: ImageRecord, spec: ModelSpec) -> Mapping[str, str]:
    """Returns what fills the placeholders of an edit's words for one source, as placeholder -> words.

    They are the character's subject and trigger word, the source's tags, the words of the edit's view, and the words
    that the edit gives. A tag that the source lacks is filled by its own name, so that “the {outfit}” becomes “the
    outfit”. `spec` is the editor's model.
    """
    character = desk.store.character
    tags = {axis: source.tags.get(axis) or axis for axis in TAGS}
    asked = grammar(desk, edit, spec).says
    said = {VIEW: asked(edit.view, source.tags.get("angle", ""), with_figure(edit))} if edit.view else {}
    return {"subject": character.subject, "trigger": character.trigger, **tags, **edit.fills, **said}


def with_figure(edit: OwnEdit) -> bool:
    """Returns whether an edit's second picture is a grey figure at the angle of its view."""
    return edit.guide == "figure" and not edit.second


def grammar(desk: Desk, edit: OwnEdit, spec: ModelSpec) -> CameraGrammar:
    """Returns the grammar in which an edit asks for a view: that of its first LoRA that has one, else the editor's."""
    rows = LoraLibrary(desk.workplace.library).rows
    named = (rows[each.lora].camera for each in edit.loras if each.lora in rows)
    return CAMERAS[next(filter(None, named), spec.camera)]


def expected(desk: Desk, edit: OwnEdit, spec: ModelSpec) -> Tags:
    """Returns the tags that an edit's results should have: those of the view that its words ask for, if any."""
    return grammar(desk, edit, spec).expects(edit.view) if edit.view and VIEW in names(edit.words) else {}


def stack(desk: Desk, loras: Sequence[StackedLora], spec: ModelSpec) -> list[LoraUse]:
    """Returns the files and strengths of a stack of LoRAs.

    Raises: NotFound for a LoRA that is not on this machine, BadInput for one that does not fit the editor `spec`.
    """
    library, uses = LoraLibrary(desk.workplace.library), []
    for each in loras:
        path, facts = library.path(each.lora), library.get(each.lora).facts
        if facts is not None and (reason := facts.why_not(spec.name)):
            raise BadInput(
                f"{library.get(each.lora).name} does not fit {spec.label}. {reason}",
                "Take it out of the row, or choose another editor.",
            )
        # A LoRA of the editors' library is for an editor, also where its file leaves that in doubt.
        uses.append(LoraUse(file=str(path), weight=each.weight, for_this_model=True))
    return uses


def hints(desk: Desk, edit: OwnEdit, spec: ModelSpec) -> tuple[str, ...]:
    """Returns sentences on what an edit's LoRAs need: a second picture, another LoRA, a lower strength."""
    library, found = LoraLibrary(desk.workplace.library), []
    stacked = {each.lora for each in edit.loras}
    said = grammar(desk, edit, spec)
    words = edit.words.replace(f"{{{VIEW}}}", said.says(edit.view)) if edit.view else edit.words
    if words.strip() and not stacked and vocabulary(spec.wording).loses_person(words):
        found.append(LOST)
    if edit.view and said.turns:
        found.append(TURNED)
    for row in (library.rows[lora] for lora in stacked if lora in library.rows):
        if row.second and not (edit.second or edit.guide):
            found.append(f"{row.name} wants a second picture: {row.second}.")
        if row.beside and row.beside not in stacked:
            found.append(f"{row.name} belongs together with {row.beside}.")
        if row.caution(spec.name):
            found.append(f"{row.name}: {row.caution(spec.name)}")
    return tuple(found)


def choices(desk: Desk, edit: OwnEdit) -> Mapping[str, tuple[str, ...]]:
    """Returns for each placeholder that a person fills the words that its LoRA knows; none where it is free.

    A person fills what neither the character, the source nor the view does, and what a LoRA of the edit has words for.
    """
    library = LoraLibrary(desk.workplace.library)
    slots: dict[str, tuple[str, ...]] = {}
    for each in edit.loras:
        slots |= library.rows[each.lora].slots if each.lora in library.rows else {}
    known = (*KNOWN, VIEW) if edit.view else KNOWN
    return {name: slots.get(name, ()) for name in names(edit.words) if name in slots or name not in known}


def of_views(
    desk: Desk,
    views: Sequence[View],
    lora: str,
    keys: Sequence[str],
    chosen: Sequence[str] = (),
    figure: bool = False,
) -> list[OwnEdit]:
    """Returns a new row for each view, asked for by a LoRA of the library, or by the editor alone for "".

    `keys` are the rows' keys, `chosen` their sources; with `figure` the editor sees a grey figure at the angle beside
    each source. Raises: NotFound for a LoRA that is not on this machine.
    """
    bare = of_lora(desk, lora, "", chosen) if lora else OwnEdit(key="", sources=tuple(chosen))
    row = bare.replace(words=f"{{{VIEW}}}", fills={}, guide="figure" if figure else bare.guide)
    return [row.replace(key=key, view=view) for key, view in zip(keys, views, strict=True)]


def of_lora(desk: Desk, lora: str, key: str, chosen: Sequence[str] = ()) -> OwnEdit:
    """Returns a new row that uses a LoRA of the library with its own words, strength and first choices.

    `key` is the row's key, `chosen` are its sources. Raises: NotFound for a LoRA that is not on this machine.
    """
    library = LoraLibrary(desk.workplace.library)
    library.path(lora)
    record, row = library.get(lora), library.rows.get(lora)
    return OwnEdit(
        key=key,
        words=record.words,
        sources=tuple(chosen),
        fills=dict(row.first_choices) if row else {},
        loras=(StackedLora(lora=lora, weight=record.strength),),
        few_steps=row.drafts if row else False,
        guide=row.guide if row else "",
    )
