"""The words that each kind of edit is asked with: built-in ones, and those that a person changed or added."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engines.api.errors import BadInput
from engines.api.protocols import ModelSpec
from engines.wording.registry import vocabulary
from engines.wording.vocabulary import Vocabulary
from studio.records.plan import Template
from studio.records.words import demand_text
from studio.workplace.desk import Workplace

_KEEP = "{keep}"
_LONGEST_VALUE, _LONGEST, _MOST = 60, 2000, 200  # letters of a value, letters of its words, own values of a task


@dataclass(frozen=True)
class Worded:
    """Holds the words of one task: `keep`, the sentence on what stays, and `requests`, from value to words.

    `own` are the values whose words a person changed or added; `own_keep` tells whether the sentence is their own,
    and `takes_keep` whether the editor is told such a sentence at all.
    `warning` is a sentence for the user where the words let the person go, "" otherwise.
    """

    task: str
    keep: str
    requests: dict[str, str]
    own: tuple[str, ...] = ()
    own_keep: bool = False
    takes_keep: bool = True
    warning: str = ""


def wording(workplace: Workplace, spec: ModelSpec) -> Vocabulary:
    """Returns the wording of an editor with the words that a person changed or added."""
    built_in, edits = vocabulary(spec.wording), {}
    for task, kind in built_in.edits.items():
        own = _own(workplace, spec, task)
        edits[task] = replace(kind, requests={**kind.requests, **own.requests}, keep=own.keep or kind.keep)
    return replace(built_in, edits=edits)


def worded(workplace: Workplace, spec: ModelSpec) -> list[Worded]:
    """Returns the words of each task that an editor is asked for, in the order of the tasks."""
    found, words = [], wording(workplace, spec)
    for task, kind in words.edits.items():
        own = _own(workplace, spec, task)
        lost = [edit.value for edit in words.edit_tasks() if edit.task == task and words.loses_person(edit.words)]
        warning = f"No word says that the person stays the same: {', '.join(lost)}." if lost else ""
        told = _KEEP in words.one_edit
        found.append(Worded(task, kind.keep, dict(kind.requests), tuple(own.requests), bool(own.keep), told, warning))
    return found


def say(workplace: Workplace, spec: ModelSpec, task: str, value: str, words: str) -> Worded:
    """Changes or adds the words that ask for a value of a task, and returns the task's words.

    Empty `words` take a person's own words back: the built-in ones return, an added value goes. Raises: BadInput for an
    unknown task, and for a value or words that cannot be used.
    """
    own, value, words = _own(workplace, spec, task), value.strip(), words.strip()
    for name, text, most in (("The value", value, _LONGEST_VALUE), ("The words", words, _LONGEST)):
        demand_text(name, text)
        if len(text) > most:
            raise BadInput(f"{name} has {len(text):,} letters.", f"Use at most {most:,}.")
    if not value:
        raise BadInput("The value has no name.", "Name what the words ask for, such as red shirt: it becomes the tag.")
    requests = {
        **{key: said for key, said in own.requests.items() if key != value},
        **({value: words} if words else {}),
    }
    if len(requests) > _MOST:
        raise BadInput(f"{task} has {_MOST} words of your own already.", "Take some back first.")
    return _put(workplace, spec, own.replace(requests=requests))


def keep(workplace: Workplace, spec: ModelSpec, task: str, words: str) -> Worded:
    """Changes the sentence that names what stays in edits of a task, and returns the task's words; "" takes it back.

    Raises: BadInput for an unknown task, for words that cannot be used, or an editor that is told no such sentence.
    """
    own, words = _own(workplace, spec, task), words.strip().rstrip(".")
    if words and _KEEP not in vocabulary(spec.wording).one_edit:
        raise BadInput(f"{spec.label} is told no sentence on what stays.", "Change the words of each value instead.")
    demand_text("The words", words)
    if len(words) > _LONGEST:
        raise BadInput(f"The words have {len(words):,} letters.", f"Use at most {_LONGEST:,}.")
    return _put(workplace, spec, own.replace(keep=words))


def _own(workplace: Workplace, spec: ModelSpec, task: str) -> Template:
    """Returns a person's own words for a task, or empty ones. Raises: BadInput for an unknown task."""
    tasks = vocabulary(spec.wording).edits
    if task not in tasks:
        raise BadInput(f"There is no task {task!r:.80}.", f"Choose from: {', '.join(tasks)}.")
    known = workplace.library.records(Template).peek(f"{spec.wording}/{task}")
    return known or Template(id=f"{spec.wording}/{task}", wording=spec.wording, task=task)


def _put(workplace: Workplace, spec: ModelSpec, own: Template) -> Worded:
    """Stores a person's own words for a task, and returns all words of the task."""
    records = workplace.library.records(Template)
    if own.requests or own.keep:
        records.put(own)
    else:
        records.remove(own.id)
    return next(each for each in worded(workplace, spec) if each.task == own.task)
