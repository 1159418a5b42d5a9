"""Defines a wording as data, and the one algorithm that makes instructions, captions and prompts of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from engines.api.axes import BUST, FULL_BODY, HEAD, Medium, Tags
from engines.wording.cells import CardCell


@dataclass(frozen=True)
class EditTask:
    """Describes one edit that an image editor can be asked for.

    `task`: the kind of edit (such as "pose"); `value`: what is asked for (such as "sitting"); `words`: the instruction
    for the editor; `expects`: the tags that the result should have.
    """

    task: str
    value: str
    words: str
    expects: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EditKind:
    """Describes all edits of one kind, such as those of the pose.

    `axis`: the tag that they set; `requests`: for each value of the tag, the words that ask for it; `keep`: the words
    that say what must stay the same; `also`: further tags that the result has.
    """

    axis: str
    requests: Mapping[str, str]  # value -> request, without what stays
    keep: str = ""  # the sentence that names what stays, without its full stop
    also: Mapping[str, str] = field(default_factory=dict)  # further tags that the result has


@dataclass(frozen=True, kw_only=True)
class CaptionPart:
    """Describes one part of a caption: how the tag of one axis (such as pose) is put into words.

    `words`: for some values of the tag, the words for that value; `template`: a format string for all other values;
    `needs`: tags without which the part is left out of the caption.
    """

    axis: str
    words: Mapping[str, str] = field(default_factory=dict)  # value -> words
    template: str = "{value}"  # for any other value; takes {value} and its {article}
    needs: Mapping[str, str] = field(default_factory=dict)  # tags without which the part is left out


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Holds the templates from which instructions, captions and prompts for one kind of model are made.

    `edits`: the kinds of edits, by name; `one_edit`, `two_edits`: templates of an instruction for one or two changes;
    `opening`, `parts`: the first and the further parts of a caption; `media`: the opening of each medium but the usual;
    `card`: the tags of a model card prompt where its cell sets none; `scenes`: for each axis (such as pose) the values
    of varied prompts; `caption_request`: the prompt for a captioner; `stays`: phrases that keep a person the same, one
    of which an instruction should hold. Templates are Python format strings. A model's registry row names its
    vocabulary in `wording`.
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
    media: Mapping[Medium, str] = field(default_factory=dict)  # medium -> the opening in its place
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # axis -> values that captions name bare
    stays: tuple[str, ...] = ()  # in lower case; none where a model was not taught them

    def of_medium(self, medium: Medium) -> Vocabulary:
        """Returns the wording for characters of a medium: captions and prompts open with "drawing of", for example."""
        return replace(self, opening=self.media.get(medium, self.opening))

    def loses_person(self, instruction: str) -> bool:
        """Returns whether an instruction of a person's own lacks every phrase that keeps the person the same."""
        return bool(self.stays) and not any(phrase in instruction.lower() for phrase in self.stays)

    def edit_tasks(self) -> tuple[EditTask, ...]:
        """Returns all edits that an image editor can be asked for, one change each, with their instructions."""
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
        """Returns one edit that asks for the changes of two edits in a single instruction.

        Its expected tags are those of both edits.
        """
        requests = [self.edits[edit.task].requests[edit.value] for edit in (first, second)]
        return EditTask(
            f"{first.task}+{second.task}",
            f"{first.value}, {second.value}",
            self.two_edits.format(first=requests[0], second=requests[1]),
            {**first.expects, **second.expects},
        )

    def describe(self, tags: Mapping[str, str], trigger: str, subject: str = "person") -> str:
        """Returns the caption or prompt for some tags: an opening with the trigger word, then one part for each tag.

        `tags`: from axis to value, such as pose -> sitting; `subject`: the class of the character, such as "person".
        The character's own traits are never named.
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
        """Returns the prompt for the picture in one cell of the model card.

        Tags that the cell does not set are the same for all cells. `trigger`: the character's trigger word; `subject`:
        the class of the character, such as "person".
        """
        return self.describe({**self.card, **cell.asked}, trigger, subject)

    def scene_prompts(
        self, trigger: str, subject: str, n: int, seed: int, aims: Sequence[Mapping[str, str]] = ()
    ) -> list[tuple[str, Tags]]:
        """Returns `n` varied prompts, each as a pair of the prompt and the tags that it asks for.

        `trigger`: the character's trigger word; `subject`: the class of the character, such as "person"; `aims`: sets
        of tags to ask for. The first prompt has the tags of the first set, the next those of the next set, and so on in
        turn; a prompt's other tags vary. With () all tags vary. Each axis (such as pose) takes all its values before
        one repeats. A pose is left out of prompts that do not show the full body; where a set of tags has a pose and no
        framing, its prompts show the full body.
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
            aim = aims[i % len(aims)] if aims else {}
            seen = {"framing": FULL_BODY} if "pose" in aim else {}
            asked = {axis: column[i] for axis, column in columns.items()} | seen | dict(aim)
            if asked["framing"] != FULL_BODY:
                asked.pop("pose", None)
            scenes.append((self.describe(asked, trigger, subject), asked))
        return scenes
