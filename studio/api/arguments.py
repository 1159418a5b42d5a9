"""The kinds of arguments of the scripted surface: each with its type, its bounds, and a sentence for those who call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import Field, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from engines.api.axes import Medium
from engines.api.params import EditParams, GenerateParams, TrainParams
from engines.api.values import Line, Number, Whole, Words
from studio.api.describing import parameters_schema
from studio.flywheel.curate.characters import NewCharacter
from studio.flywheel.export.deploy import PROGRAMS
from studio.flywheel.export.export import FORMS
from studio.flywheel.export.layouts import LAYOUTS
from studio.flywheel.train.character import PHASES, SCENES
from studio.records.dataset import Role
from studio.records.image import Kind, Verdict
from studio.records.payload import PlanRow


@dataclass(frozen=True)
class Uploadable:
    """Marks a path on the studio's machine in whose place a client may send a file that it has uploaded."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Returns the JSON schema of a path or of an upload; pydantic calls it."""
        path = handler(core)
        told: JsonSchemaValue = {name: path.pop(name) for name in ("description", "examples") if name in path}
        return {"anyOf": [path, UPLOAD], **told}


UPLOAD: JsonSchemaValue = {
    "type": "object",
    "format": "filepath",
    "description": "A file that was uploaded, as gradio_client.handle_file makes it.",
    "properties": {
        "path": {"type": "string", "description": "The path that the upload was answered with."},
        "meta": {"type": "object", "description": 'Always {"_type": "gradio.FileData"}.'},
    },
    "required": ["path", "meta"],
}
Id = Annotated[str, MaxLen(200)]  # an id, or a name from a fixed list
File = Annotated[
    str, MinLen(1), MaxLen(4096), StringConstraints(pattern=r"^[^\x00]*$"), Uploadable()
]  # no system allows a NUL
Ids = Annotated[list[Id], MaxLen(100_000)]
Lines = Annotated[list[Line], MaxLen(100)]
Files = Annotated[list[Annotated[str, MaxLen(4096), Uploadable()]], MaxLen(100_000)]
Prompts = Annotated[list[Words], MaxLen(10_000)]
Seeds = Annotated[list[Whole], MaxLen(100)]
Knobs = dict[str, Any]  # a scripted call's parameters by name, which `Params.from_json` checks

Count = Annotated[Whole, Ge(0), Le((1 << 31) - 1)]  # a number of rows or steps, or an index in a list
Box = Annotated[list[Number], MaxLen(4)]


@dataclass(frozen=True)
class Of:
    """Marks an object of parameters by name with the class that checks them; its JSON schema lists the class's fields.

    `without` names fields that the call does not take.
    """

    owner: type[Any]
    without: tuple[str, ...] = ()

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Returns the JSON schema of the object; pydantic calls it."""
        return {**handler(core), **parameters_schema(self.owner, self.without)}


def told(description: str, names: Iterable[str] = (), example: object = None) -> Any:
    """Returns the mark that describes an argument; `names` are the only values that it takes, if not all are."""
    more: JsonSchemaValue = {**({"enum": list(names)} if names else {}), **({"examples": [example]} if example else {})}
    return Field(description=description, json_schema_extra=more)


_UPLOAD = (
    "Either a path on the studio's own machine, as text, or gradio_client.handle_file(PATH), which uploads a file of "
    "yours."
)
_MODEL_DEFAULT = "What is left out keeps the model's own value; null leaves all."
_LORAS = (
    "`loras` takes community LoRA files: a list of {file, weight}, file being a path on the studio's machine; a file "
    "that is not there or of another family is refused."
)

# ── what a call is about ────────────────────────────────────────────────────────────────────────────

CharacterId = Annotated[Id, told("The character's id, from character_list or character_create.")]
OwnJobs = Annotated[Id, told('The id of the character whose jobs are wanted; "" for the jobs of all characters.')]
ImageId = Annotated[Id, told("The picture's id, from image_list, review_next or a job's artifacts.")]
EditId = Annotated[Id, told("The id of the wrong edit, a picture of kind enriched that review_next has returned.")]
ImageIds = Annotated[Ids, told("The ids of the pictures, from image_list or a job's artifacts.")]
SomeImageIds = Annotated[Ids, told("The ids of the pictures whose captions are searched; null for all of them.")]
Uncaptioned = Annotated[
    Ids, told("The ids of the pictures to caption; null for all that neither a person nor a model has captioned yet.")
]
JobId = Annotated[Id, told("The job's id: `job_id` in the answer of the call that queued it.")]
TrainingId = Annotated[Id, told("The job's id of a training, which train_submit or refine_submit has returned.")]
VersionId = Annotated[Id, told("The id of the LoRA version, from version_list or from a training's artifacts.")]
Key = Annotated[
    Id,
    told('A name of your own for this call: a second call with the same one returns the first job; "" for none.'),
]
Reviewer = Annotated[Line, told("The name under which verdicts are kept, so that several people can review.")]

# ── characters ──────────────────────────────────────────────────────────────────────────────────────

Name = Annotated[Line, told("The character's name, for people.")]
NewName = Annotated[Line, told("The character's new name; null keeps the present one.")]
Trigger = Annotated[Line, told("The word that stands for the character in captions and prompts; a rare one is best.")]
NewTrigger = Annotated[
    Line, told("The new word that stands for the character in captions; null keeps the present one.")
]
Subject = Annotated[Line, told("The plain word for what the character is, such as person, woman or dog.")]
NewSubject = Annotated[Line, told("The new plain word for what the character is; null keeps the present one.")]
NewMedium = Annotated[
    Medium, told("What its pictures are, which prompts and new captions say; null keeps the present one.")
]
NewGenerator = Annotated[
    Id, told("The model that draws the character, such as FLUX.1-dev; null keeps the present one.")
]
NewEditor = Annotated[
    Id, told("The model that edits and captions pictures, such as Qwen-Image-Edit-2511; null keeps the present one.")
]
NewScorer = Annotated[Id, told("The model that recognises the character; null keeps the present one.")]
Notes = Annotated[Words, told("Notes of your own on the character; null keeps the present ones.")]
InCaptions = Annotated[bool, told("Whether a new trigger or subject replaces the old one in all captions, too.")]
CharacterKnobs = Annotated[
    Knobs,
    Of(NewCharacter, without=("name", "trigger", "subject")),
    told(
        "The names of the character's models, its medium, and notes; what is left out is the studio's default. An "
        "unknown name is answered with the known ones."
    ),
]
Backup = Annotated[File, told(f"The zip that character_export has made. {_UPLOAD}")]

# ── curate ──────────────────────────────────────────────────────────────────────────────────────────

ImportFiles = Annotated[
    Files,
    told(
        "The pictures, folders and zips to import, in one list. Each is either a path on the studio's own machine, as "
        "text, where a folder is read with all folders in it, or gradio_client.handle_file(PATH), which uploads a file "
        "of yours. A .txt file beside a picture, of the same name, is its caption.",
        example=["/pictures/mira", "/pictures/more.zip"],
    ),
]
KindOrAll = Annotated[Id, told('Only pictures of this origin; "" for all.', ("", *Kind))]
StateOrAll = Annotated[Id, told('Only pictures with this verdict; "" for all.', ("", *Verdict))]
Trashed = Annotated[bool, told("Whether to list the pictures in the trash, instead of the others.")]
Offset = Annotated[Count, told("How many pictures to pass over.")]
Limit = Annotated[Count, told("The most pictures to return.")]
CaptionText = Annotated[str, told('The caption, of at most 4,000 letters; "" removes it.')]
Find = Annotated[Line, told("The words to look for in the captions.")]
Replacement = Annotated[Words, told('The words to put in their place; "" removes them.')]
WholeWords = Annotated[bool, told("Whether `find` must not be a part of a longer word.")]
MatchCase = Annotated[bool, told("Whether capital and small letters are different.")]
Preview = Annotated[bool, told("Whether only to return what the captions would be, without changing any.")]
Tags = Annotated[
    dict[Id, Line],
    told('The tags to set, by name, such as {"angle": "front"}; "" removes one.', example={"light": "soft"}),
]
Captioner = Annotated[Id, told('The name of the model that writes the captions; "" for the character\'s editor.')]
OverwriteHuman = Annotated[bool, told("Whether captions that a person wrote are replaced, too.")]
MaskFile = Annotated[File, told(f"A grey picture of the same size: white counts in training, black hardly. {_UPLOAD}")]
CropBox = Annotated[
    Box,
    told(
        "The part that is trained: left, top, right and bottom, as shares of the width and the height, 0 to 1.",
        example=[0.1, 0.0, 0.9, 1.0],
    ),
]

# ── enrich and review ───────────────────────────────────────────────────────────────────────────────

Sources = Annotated[Ids, told("The ids of the pictures to edit; null for all originals that were not rejected.")]
TASKS = ("background", "lighting", "outfit", "style", "angle", "expression", "pose")
Tasks = Annotated[Ids, told(f"The kinds of edits to plan, some of {', '.join(TASKS)}; null for all.", example=["pose"])]
ResultsEach = Annotated[Whole, told("How many results of each edit, which differ in their seed.")]
EditorModel = Annotated[Id, told('The name of the model that edits; "" for the character\'s editor.')]
RowLimit = Annotated[Whole, told("The most edits to plan; 0 plans four or five for each source.")]
FillGaps = Annotated[bool, told("Whether angles, expressions and poses that no picture shows yet come first.")]
Missed = Annotated[bool, told("Whether to plan only what the newest model card got wrong, instead of coverage gaps.")]
EditKnobs = Annotated[
    Knobs,
    Of(EditParams, without=(EditParams.worded,)),
    told(f"Parameters for all rows, by name. {_MODEL_DEFAULT} {_LORAS}", example={"steps": 20}),
]
PracticeLimit = Annotated[Whole, told("The most edits to plan.")]
PlanRows = Annotated[
    list[Annotated[dict[str, Any], Of(PlanRow)]],
    MaxLen(10_000),
    told("The edits to make: the rows of enrich_plan or practice_plan, all or some, or changed."),
]
EditorVersion = Annotated[
    Id, told('The id of the editor\'s LoRA version to edit with; "" for the adopted one, "base" for none.')
]
ReviewCount = Annotated[Count, told("The most pictures to return.")]
VerdictName = Annotated[
    Id,
    told(
        "The verdict: good, needs_correction (a corrected result is still to come) or reject.",
        tuple(each for each in Verdict if each is not Verdict.PENDING),
    ),
]
Reasons = Annotated[Lines, told('Why, in short words of your own, such as ["hands"]; null for none.')]
Reason = Annotated[Line, told("What was wrong with the edit, in short words of your own.")]
CorrectedFile = Annotated[File, told(f"The picture as it should have been. {_UPLOAD}")]

# ── train, generate, judge ──────────────────────────────────────────────────────────────────────────

TrainKnobs = Annotated[
    Knobs,
    Of(TrainParams),
    told(f"Parameters of the training, by name. {_MODEL_DEFAULT}", example={"steps": 500, "rank": 16}),
]
Trained = Annotated[Id, told('The name of the model to train a LoRA for; "" for the one that draws the character.')]
TrainedEditor = Annotated[
    Id, told('The name of the editing model to train a LoRA for; "" for the character\'s editor.')
]
BeginWith = Annotated[
    Id, told('The id of the library\'s LoRA that the training begins with, whose rank it then has; "" for a new LoRA.')
]
Phase = Annotated[
    Id,
    told(
        "Which pictures are learned: all, those of head and face, or those of the body with every original.",
        tuple(PHASES),
    ),
]
Start = Annotated[Id, told('The id of the version whose LoRA is trained on; "" begins a new LoRA.')]
Scenes = Annotated[
    Id,
    told("Which approved scenes that an earlier version drew are learned; best: no more than originals.", SCENES),
]
TotalSteps = Annotated[Whole, told("The number of steps when it will be done, counted from the very first.")]
ScenePrompts = Annotated[
    Prompts,
    told("What to draw, one prompt each, with the trigger word in it; null for scenes of the studio's own."),
]
PerPrompt = Annotated[Whole, told("How many pictures of each prompt; without prompts, how many in all.")]
DrawnBy = Annotated[Id, told('The id of the character\'s LoRA version to draw with; "" for the model without one.')]
FirstSeed = Annotated[Whole, told("The seed of the first picture; the others count up from it.")]
GenerateKnobs = Annotated[
    Knobs,
    Of(GenerateParams, without=(GenerateParams.worded,)),
    told(f"Parameters of all pictures, by name. {_MODEL_DEFAULT} {_LORAS}", example={"steps": 20}),
]
CardKnobs = Annotated[
    Knobs,
    Of(GenerateParams, without=(GenerateParams.worded, "seed")),
    told(f"Parameters of all pictures of the card, by name. {_MODEL_DEFAULT} {_LORAS}", example={"strength": 0.9}),
]
Gaps = Annotated[bool, told("Without prompts: whether to draw what the newest model card got wrong.")]
CardSeeds = Annotated[Seeds, told("The seeds with which each of the 23 test prompts is drawn; null for 0, 1 and 2.")]
CardId = Annotated[Id, told('The id of the model card, from the artifacts of card_submit\'s job; "" for the newest.')]
AgainstId = Annotated[Id, told('The id of another model card to compare with; "" for none.')]

# ── versions, programs, jobs, sharing ───────────────────────────────────────────────────────────────

RoleOrAll = Annotated[Id, told('Only LoRAs that draw the character, or only the editor\'s; "" for both.', ("", *Role))]
RoleName = Annotated[Id, told("Which set: the one that the character learns from, or its editor.", tuple(Role))]
Adopted = Annotated[bool, told("Whether to put it in use; false retires it.")]
VersionNotes = Annotated[Words, told("The new notes on the version; they replace the old ones.")]
CheckpointStep = Annotated[Count, told("The step of the checkpoint, from checkpoint_list.")]
Form = Annotated[
    Id,
    told(
        "The form of the file: one that a program reads, or hub, a zip to upload as a Hugging Face repository.", FORMS
    ),
]
LayoutName = Annotated[Id, told("The trainer that shall read it, which decides names and folders.", tuple(LAYOUTS))]
Program = Annotated[Id, told("The other program.", tuple(PROGRAMS))]
ProgramPath = Annotated[
    Words, told('The folder on the studio\'s machine that the program is installed in; "" forgets it.')
]
Since = Annotated[
    Count, told("The number of the first event to return: 0 at first, later `next` of the answer before.")
]
Hours = Annotated[Number, told("How long the page stays open, in hours, up to 72.")]
