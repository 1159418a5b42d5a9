"""Defines the wording for photographs: plain sentences that name what must stay, and whose left and right is meant."""

from __future__ import annotations

from engines.api.axes import ANGLES, EXPRESSIONS, FRAMINGS, FULL_BODY, SITTING, STANDING
from engines.wording.vocabulary import CaptionPart, EditKind, Vocabulary

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
            },
        ),
        CaptionPart(
            axis="expression",
            words={"neutral": "neutral expression", "angry": "angry expression", "sad": "sad expression"},
        ),
        CaptionPart(axis="outfit", template="wearing {article} {value}"),
        CaptionPart(axis="background", template="{value} background"),
        CaptionPart(axis="light", template="{value} light"),
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
)
