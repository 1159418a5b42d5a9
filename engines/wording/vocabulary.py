"""Defines a wording as data, and the one algorithm that makes instructions, captions and prompts of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engines.api.axes import BUST, FULL_BODY, HEAD, Tags
from engines.wording.cells import CardCell


@dataclass(frozen=True)
class EditTask:
    """Describes one edit that an editor can be asked for: its instruction, and the tags that the result should have."""

    task: str
    value: str
    words: str
    expects: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EditKind:
    """Describes all edits of one task: the axis of the tag that they set, and how each of its values is requested."""

    axis: str
    requests: Mapping[str, str]  # value -> request, without what stays
    keep: str = ""  # the sentence that names what stays, without its full stop
    also: Mapping[str, str] = field(default_factory=dict)  # further tags that the result has


@dataclass(frozen=True, kw_only=True)
class CaptionPart:
    """Describes one part of a caption: how the value of one tag is worded, and when the part is left out."""

    axis: str
    words: Mapping[str, str] = field(default_factory=dict)  # value -> words
    template: str = "{value}"  # for any other value; takes {value} and its {article}
    needs: Mapping[str, str] = field(default_factory=dict)  # tags without which the part is left out


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Holds one wording: the texts that models of one kind are given. A registry row names it (`ModelSpec.wording`).

    Templates are format strings of Python; the comments name the fields of each.
    """

    edits: Mapping[str, EditKind]  # task -> its edits; in this order they are offered
    one_edit: str  # {request}, {keep}
    two_edits: str  # {first}, {second}: the two requests
    opening: str  # a caption's first part: {trigger}, {subject}
    styled_opening: str  # the first part where the tags name a style: {style} as well
    parts: tuple[CaptionPart, ...]  # the parts after the opening, in order
    card: Mapping[str, str]  # tags of each prompt of the model card that its cell does not set
    scenes: Mapping[str, tuple[str, ...]]  # axis -> values of a scene; their order decides what a seed draws
    caption_request: str  # what a vision-language model is asked for a caption with
    scene_framings: tuple[str, ...] = (HEAD, BUST, HEAD, FULL_BODY)  # how often a scene has each framing
    article: str = "a"
    vowel_article: str = "an"  # the article before a word that begins with one of `vowels`
    vowels: str = "aeiou"
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # axis -> values that captions name bare

    def edit_tasks(self) -> tuple[EditTask, ...]:
        """Returns all single edits, task by task, each with its instruction."""
        return tuple(
            EditTask(
                task,
                value,
                self.one_edit.format(request=request, keep=kind.keep),
                {kind.axis: value, **kind.also},
            )
            for task, kind in self.edits.items()
            for value, request in kind.requests.items()
        )

    def combined(self, first: EditTask, second: EditTask) -> EditTask:
        """Returns one edit that asks for two single edits in one instruction; its expected tags are those of both."""
        requests = [self.edits[edit.task].requests[edit.value] for edit in (first, second)]
        return EditTask(
            f"{first.task}+{second.task}",
            f"{first.value}, {second.value}",
            self.two_edits.format(first=requests[0], second=requests[1]),
            {**first.expects, **second.expects},
        )

    def describe(self, tags: Mapping[str, str], trigger: str, subject: str = "person") -> str:
        """Returns the caption or prompt for some tags: an opening with the trigger, then one part for each tag.

        `subject`: the class of the character, such as "person". Traits of the character are never named.
        """
        style = tags.get("style", "")
        opening = self.styled_opening if style else self.opening
        said = [opening.format(trigger=trigger, subject=subject, style=style)]
        for part in self.parts:
            value = tags.get(part.axis, "")
            if value and part.needs.items() <= tags.items():
                article = self.vowel_article if value[0].lower() in self.vowels else self.article
                said.append(part.words.get(value, part.template.format(value=value, article=article)))
        return ", ".join(said)

    def card_prompt(self, cell: CardCell, trigger: str, subject: str = "person") -> str:
        """Returns the prompt of a model card's cell; tags that the cell leaves open are the same for all cells.

        `subject`: the class of the character, such as "person".
        """
        return self.describe({**self.card, **cell.asked}, trigger, subject)

    def scene_prompts(
        self, trigger: str, subject: str, n: int, seed: int, aims: Sequence[Mapping[str, str]] = ()
    ) -> list[tuple[str, Tags]]:
        """Returns `n` varied prompts, each with the tags that it asks for; every value comes up before one repeats.

        `subject`: the class of the character, such as "person"; `aims`: tags that prompts must ask for, taken in turn;
        only the axes that an aim leaves open vary. A pose is asked for only where the full body is shown. The same seed
        gives the same prompts.
        """
        rng = random.Random(f"scenes {seed}")

        def shuffled_rounds(values: Sequence[str]) -> list[str]:
            column: list[str] = []
            while len(column) < n:
                column += rng.sample(values, len(values))
            return column[:n]

        columns = {axis: shuffled_rounds(values) for axis, values in self.scenes.items()}
        columns["framing"] = shuffled_rounds(self.scene_framings)  # drawn again: the draws before it keep their order
        scenes = []
        for i in range(n):
            asked = {axis: column[i] for axis, column in columns.items()} | dict(aims[i % len(aims)] if aims else {})
            if asked["framing"] != FULL_BODY:
                asked.pop("pose", None)
            scenes.append((self.describe(asked, trigger, subject), asked))
        return scenes
