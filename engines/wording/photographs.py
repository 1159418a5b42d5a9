"""Defines the wording for photographs: plain sentences that name what must stay, and whose left and right is meant."""

from __future__ import annotations

from engines.api.axes import ANGLES, EXPRESSIONS, FRAMINGS, FULL_BODY, SITTING, STANDING
from engines.api.seeing import OTHER, Question
from engines.wording.vocabulary import Asking, CaptionPart, EditKind, Vocabulary

# The angle has no sides here: language models mix up left and right; a side is read from the landmarks of the face.
QUESTIONS: tuple[Question, ...] = (
    Question(
        axis="angle",
        words="How far is the person's head turned away from the camera?",
        options={
            "front": "Not turned: the face looks into the camera, and both sides of it are seen alike",
            "half": "Half turned, a three-quarter view: both eyes are seen, one side of the face more than the other",
            "profile": "Turned to the side, a profile: only one eye and one side of the face are seen",
            OTHER: "The face is not seen",
        },
    ),
    Question(
        axis="expression",
        words="Which expression does the person's face have?",
        options={
            "neutral": "Neutral: calm, relaxed or serious",
            "smiling": "Smiling or laughing",
            "angry": "Angry: frowning, glaring or shouting",
            "sad": "Sad or crying",
            OTHER: "Another expression, such as surprise or fear, or no face is seen",
        },
        of_face=True,
    ),
    Question(
        axis="framing",
        words="How much of the person does the picture show?",
        options={
            "head": "The head, or the head and shoulders",
            "bust": "The upper body, down to the chest, waist or hips",
            "full body": "The whole body, from head to feet",
            OTHER: "No person is seen",
        },
    ),
    Question(
        axis="pose",
        words="What does the person do with the body?",
        options={
            "standing": "Stands or walks, with the arms down or in use",
            "sitting": "Sits",
            "T-pose": "Stands in a T-pose, both arms stretched out sideways",
            OTHER: "Something else, or too little of the body is seen to tell",
        },
    ),
    Question(
        axis="background",
        words="What is behind the person?",
        options={
            "white studio": "A plain white studio",
            "forest": "A forest",
            "beach": "A beach",
            "city": "A city street by day",
            "mountains": "Mountains",
            "night": "A city at night",
            "room": "A living room",
            OTHER: "Something else",
        },
    ),
    Question(
        axis="light",
        words="Which light does the picture have?",
        options={
            "soft": "Soft, even light",
            "warm": "Warm light, as of a low evening sun",
            "cold": "Cold, bluish light",
            "side": "Strong light from one side",
            OTHER: "Another light",
        },
    ),
    Question(
        axis="outfit",
        words="What does the person wear on the upper body?",
        options={
            "red shirt": "A red shirt",
            "blue shirt": "A blue shirt",
            "green hoodie": "A green hoodie",
            "black suit": "A black suit",
            "striped sweater": "A striped sweater",
            "orange jacket": "An orange jacket",
            OTHER: "Something else",
        },
    ),
    Question(
        axis="style",
        words="What kind of picture is it?",
        options={
            "comic": "An inked comic drawing",
            "watercolour": "A watercolour painting",
            "pencil": "A pencil drawing",
            OTHER: "A photograph, or another kind",
        },
    ),
)

PHOTOGRAPHS = Vocabulary(
    edits={
        "background": EditKind(
            axis="background",
            requests={
                "white studio": "Change the background to a plain white studio",
                "forest": "Change the background to a sunlit forest",
                "beach": "Change the background to a sandy beach with the sea behind",
                "city": "Change the background to a busy city street",
                "mountains": "Change the background to a mountain landscape",
                "night": "Change the background to a city at night with blurred lights",
                "room": "Change the background to a cosy living room",
            },
            keep="Keep the same person, pose, clothes and framing",
        ),
        "lighting": EditKind(
            axis="light",
            requests={
                "soft": "Relight the picture with soft, even daylight",
                "warm": "Relight the picture with warm, low evening sun",
                "cold": "Relight the picture with cold, bluish light",
                "side": "Relight the picture with strong light from the left side (the viewer's left)",
            },
            keep="Keep the same person, pose, clothes and background",
        ),
        "outfit": EditKind(
            axis="outfit",
            requests={
                "red shirt": "Dress the person in a plain red shirt",
                "blue shirt": "Dress the person in a plain blue shirt",
                "green hoodie": "Dress the person in a green hoodie",
                "black suit": "Dress the person in a black suit",
                "striped sweater": "Dress the person in a striped sweater",
                "orange jacket": "Dress the person in an orange rain jacket",
            },
            keep="Keep the same person, pose, background and light",
        ),
        "style": EditKind(
            axis="style",
            requests={
                "comic": "Redraw the picture as an inked comic panel",
                "watercolour": "Redraw the picture as a watercolour painting",
                "pencil": "Redraw the picture as a pencil drawing",
            },
            keep="Keep the same person, pose, clothes and composition",
        ),
        "angle": EditKind(
            axis="angle",
            requests={
                "front": "Turn the head to face the camera straight on",
                "half-left": "Turn the head to half-left (the viewer's left)",
                "profile-left": "Turn the head to a full side profile facing left (the viewer's left)",
                "half-right": "Turn the head to half-right (the viewer's right)",
                "profile-right": "Turn the head to a full side profile facing right (the viewer's right)",
            },
            keep="Keep the same person, clothes, background and light",
        ),
        "expression": EditKind(
            axis="expression",
            requests={
                "neutral": "Give the person a relaxed, neutral expression",
                "smiling": "Make the person smile",
                "angry": "Make the person look angry",
                "sad": "Make the person look sad",
            },
            keep="Keep the same person, head angle, clothes, background and light",
        ),
        "pose": EditKind(
            axis="pose",
            requests={
                "standing": "Show the whole person from head to feet, standing upright",
                "sitting": "Show the whole person from head to feet, sitting on a simple chair",
                "T-pose": "Show the whole person from head to feet in a T-pose, both arms stretched out sideways",
            },
            keep="Keep the same person, clothes, background and light",
            also={"framing": FULL_BODY},
        ),
    },
    one_edit="{request}. {keep}.",
    two_edits="{first}. {second}. Keep the same person.",
    opening="photo of {trigger} {subject}",
    media={"drawing": "drawing of {trigger} {subject}", "3D render": "3D render of {trigger} {subject}"},
    styled_opening="{style} picture of {trigger} {subject}",
    parts=(
        CaptionPart(
            axis="framing",
            words={"head": "head-and-shoulders portrait", "bust": "waist-up shot", "full body": "full-body shot"},
        ),
        CaptionPart(axis="pose", words={"T-pose": "in a T-pose with both arms stretched out sideways"}),
        CaptionPart(
            axis="angle",
            words={
                "front": "facing the camera",
                "half-left": "head turned half-left (the viewer's left)",
                "profile-left": "side profile facing left (the viewer's left)",
                "half-right": "head turned half-right (the viewer's right)",
                "profile-right": "side profile facing right (the viewer's right)",
                "back-left": "seen from behind, head to the left (the viewer's left)",
                "back": "seen from behind",
                "back-right": "seen from behind, head to the right (the viewer's right)",
            },
        ),
        CaptionPart(
            axis="expression",
            words={"neutral": "neutral expression", "angry": "angry expression", "sad": "sad expression"},
        ),
        CaptionPart(axis="outfit", template="wearing {article} {value}"),
        CaptionPart(axis="background", template="{value} background"),
        CaptionPart(axis="light", template="{value} light"),
        CaptionPart(
            axis="elevation",
            words={
                "eye level": "at eye level",
                "low": "low-angle shot",
                "elevated": "shot from slightly above",
                "high": "high-angle shot",
            },
        ),
    ),
    card={
        "angle": "front",
        "expression": "neutral",
        "outfit": "plain grey shirt",
        "background": "plain white studio",
        "light": "soft",
    },
    scenes={
        "angle": ANGLES,
        "expression": EXPRESSIONS,
        "framing": FRAMINGS,
        "pose": (STANDING, SITTING, "walking"),
        "outfit": ("red shirt", "denim jacket", "green hoodie", "black suit", "striped sweater", "raincoat"),
        "background": (
            "forest",
            "beach",
            "city street",
            "mountain",
            "café",
            "library",
            "night market",
            "living room",
        ),
        "light": ("soft", "warm evening", "cold morning", "strong side"),
    },
    known={"style": ("comic", "watercolour", "pencil")},
    stays=("same person", "keep the person", "keep everything else", "same face", "identity", "unchanged"),
    # Captions must not name what all pictures of the character share: the trigger is to stand for it.
    caption_request="Describe this picture in one line for training an image model: framing, head angle (front, "
    "half-left, profile-left, half-right or profile-right, from the viewer's side), facial expression, pose, clothes, "
    "background, light. Never mention hair, eyes, skin, age, sex, body or any other feature that stays the same "
    "about this person, and start with the framing.",
    questions=QUESTIONS,
    asking=Asking(
        template="{words}\n{options}\nAnswer with the letter of the one option that fits best.",
        lead="Answer:",
        letter=" {}",
    ),
)
