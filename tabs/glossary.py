"""The words of the page, each with what it means; the page shows them beside its keys."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("source", "A picture of the character that you added; also called an original."),
    ("edit", "A picture that the editor made from a source, by an instruction."),
    ("scene", "A picture that a trained version drew from words alone."),
    ("trigger word", "A word without a meaning of its own; captions and prompts use it as the character's name."),
    (
        "version",
        "A LoRA that a training made. One version at a time is in use; the others can be taken into use again.",
    ),
    ("adopt", "Take a version into use: Generate and Enrich work with it from then on."),
    ("checkpoint", "The state of a training at one step; any checkpoint can be made a version."),
    ("model card", "23 standard pictures that a version draws, and how many of them are right on the first try."),
    ("likeness", "How similar a face is to those of the sources, from 0 to 1."),
    ("floor", "The likeness below which a picture is set aside as another person."),
    ("near copy", "A picture so like one source that the version may have learned it by heart."),
    ("set aside", "Hidden from Review for its likeness, and never deleted; move the floor to bring it back."),
    ("needs correction", "Nearly right: you mend it, and the editor learns from what you changed."),
    ("golden", "An edit that a person mended by other words, by paint or by a file; it teaches the editor most."),
    ("lesson", "A pair of pictures and an instruction that the editor is trained on."),
    ("held-out edits", "Approved edits that are never trained on, so that the editor can be measured by them."),
    ("budget", "The GPU memory that the studio may use."),
)
