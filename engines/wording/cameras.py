"""The grammars in which editors and their LoRAs are asked for a view: words as data, and the one way to join them.

A row of the models or of the editor LoRAs names its grammar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engines.api.axes import AROUND, ELEVATIONS, FRAMINGS, Tags
from engines.api.views import View, turn
from engines.wording.registry import VOCABULARIES


@dataclass(frozen=True, kw_only=True)
class CameraGrammar:
    """Holds the words of one grammar for each angle, elevation and framing.

    They are said in this order, after `opening`, with `joint` between and `ending` behind; an empty text says nothing.
    `turns`: the words of the angles tell a turn of the camera from where the source was taken, not the angle itself.
    `still`: what is said where no word is left; `figure`: what is added where the second picture is a grey figure
    at the angle. `told`: where the words come from.
    """

    told: str
    angles: Mapping[str, str]
    elevations: Mapping[str, str]
    framings: Mapping[str, str]
    opening: str = ""
    joint: str = " "
    ending: str = ""
    turns: bool = False
    still: str = ""
    figure: str = ""

    def says(self, view: View, source_angle: str = "", with_figure: bool = False) -> str:
        """Returns the instruction for a view; `source_angle` is the source's head angle, "" where it is not known.

        `with_figure`: the second picture is a grey figure at the angle.
        """
        angle = turn(view.angle, source_angle) if self.turns else view.angle
        parts = (self.angles[angle], self.elevations[view.elevation], self.framings[view.framing])
        said = self.opening + (self.joint.join(filter(None, parts)) or self.still) + self.ending
        return said + self.figure if with_figure else said

    def expects(self, view: View) -> Tags:
        """Returns the tags that the result should have, without those of which the grammar says nothing."""
        silent = {"elevation": not self.elevations[view.elevation], "framing": not self.framings[view.framing]}
        return {axis: value for axis, value in view.tags.items() if not silent.get(axis)}


def _by(values: tuple[str, ...], *words: str) -> Mapping[str, str]:
    return dict(zip(values, words, strict=True))


def _rotated(side: str, wards: str, degrees: int) -> str:
    return f"将镜头向{side}旋转{degrees}度 Rotate the camera {degrees} degrees to the {wards}."


_PHOTOGRAPHS, _DRAWN, _KLEIN = (VOCABULARIES[name].edits["angle"] for name in ("photographs", "drawn", "klein"))

CAMERAS: Mapping[str, CameraGrammar] = {
    "plain": CameraGrammar(
        told="the words for photographs, which name what the picture shall show",
        angles={
            **_PHOTOGRAPHS.requests,
            "back-left": "Turn the person away and to the left (the viewer's left), seen from behind",
            "back": "Turn the person around, so that only the back of the head is seen",
            "back-right": "Turn the person away and to the right (the viewer's right), seen from behind",
        },
        elevations=_by(
            ELEVATIONS,
            "Hold the camera at eye level",
            "Look up at the person from a low camera angle",
            "Look slightly down at the person from an elevated camera",
            "Look steeply down at the person from a high camera angle",
        ),
        framings=_by(
            FRAMINGS,
            "Frame a close-up of the head and shoulders",
            "Frame a medium shot from the waist up",
            "Frame a wide shot of the full body",
        ),
        joint=". ",
        ending=f". {_PHOTOGRAPHS.keep}.",
        figure=" Take the camera angle of the grey figure in picture 2, and nothing else of it.",
    ),
    # The toy editor learned the five angles alone.
    "drawn": CameraGrammar(
        told="the words that the embedded editor was trained with; it knows five angles and no elevation",
        angles={
            **_DRAWN.requests,
            "back-left": "turn the head to back-left",
            "back": "turn the head to the back",
            "back-right": "turn the head to back-right",
        },
        elevations=_by(ELEVATIONS, "", "seen from below", "seen from above", "seen from high above"),
        framings=_by(FRAMINGS, "head shot", "", "full body"),
        joint=", ",
    ),
    # FLUX.2 [klein] turns the person, not the camera, and is told the whole wanted picture.
    "klein": CameraGrammar(
        told="the words for klein's edits, after its makers' guide, and those for the views that it has none for",
        angles={
            **_KLEIN.requests,
            "back-left": "Turn the person to a three-quarter rear view, facing away to the left side of the image",
            "back": "Turn the person to a rear view, facing away from the camera so that no face is seen",
            "back-right": "Turn the person to a three-quarter rear view, facing away to the right side of the image",
        },
        elevations=_by(
            ELEVATIONS,
            "shot at eye level",
            "shot from a low camera angle looking up",
            "shot from slightly above",
            "shot from a high camera angle looking down",
        ),
        framings=_by(
            FRAMINGS,
            "as a close-up of the head and shoulders",
            "as a medium shot from the waist up",
            "as a wide shot of the full body",
        ),
        joint=", ",
        ending=f", while keeping {_KLEIN.keep} exactly the same.",
        figure=" Match the camera angle and head direction of the grey figure in image 2, and copy nothing else of it.",
    ),
    # The camera goes to the viewer's right for what the card calls right, so that the head points to the left.
    "fal": CameraGrammar(
        told="the card of fal/Qwen-Image-Edit-2511-Multiple-Angles-LoRA: 96 poses",
        angles=_by(
            AROUND,
            "front view",
            "front-right quarter view",
            "right side view",
            "back-right quarter view",
            "back view",
            "back-left quarter view",
            "left side view",
            "front-left quarter view",
        ),
        elevations=_by(ELEVATIONS, "eye-level shot", "low-angle shot", "elevated shot", "high-angle shot"),
        framings=_by(FRAMINGS, "close-up", "medium shot", "wide shot"),
        opening="<sks> ",
    ),
    # The card turns by 45 degrees; the sentence for other turns is the same with their number.
    "dx8152": CameraGrammar(
        told="the card of dx8152/Qwen-Edit-2509-Multiple-angles: moves of the camera, in two languages",
        angles=_by(
            AROUND,
            "",
            *(_rotated("右", "right", degrees) for degrees in (45, 90, 135)),
            _rotated("左", "left", 180),
            *(_rotated("左", "left", degrees) for degrees in (135, 90, 45)),
        ),
        elevations=_by(
            ELEVATIONS,
            "",
            "将相机切换到仰视视角 Turn the camera to a worm's-eye view.",
            "将镜头转为俯视",
            "将相机转向鸟瞰视角 Turn the camera to a bird's-eye view.",
        ),
        framings=_by(
            FRAMINGS,
            "将镜头转为特写镜头 Turn the camera to a close-up.",
            "",
            "将镜头转为广角镜头 Turn the camera to a wide-angle lens.",
        ),
        turns=True,
        still="保持镜头不变 Keep the camera where it is.",
    ),
}
