"""Lists the LoRAs that ship with the embedded editor as rows of data; engines/mini trains them.

Two are there to be told apart from the others: one loses the person whom it edits, and one is for another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from engines.catalogue.lora_bases import EditorLora, LoraFacts, Shipped

_EDITOR = "mini-qwen-edit"
_LAYERS = 60  # of the embedded editor that a LoRA can change, without modulation layers
_NO_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
_FEELINGS = {"feeling": ("look neutral", "smile", "look angry", "look sad")}


def _embedded(
    name: str,
    task: str,
    sha256: str,
    words: str,
    slots: Mapping[str, tuple[str, ...]] = _NO_WORDS,
    *,
    base: str = _EDITOR,
    family: str = "qwen-edit",
    declared: str = "Qwen-Image-Edit/lora",
    layers: int = _LAYERS,
    modulation: bool = False,
    note: str = "",
    unfit: str = "",
) -> EditorLora:
    """Returns the row of a LoRA in the embedded editor's folder.

    `layers`: how many layers it changes; `declared`: the architecture that its file names; `modulation`: whether
    modulation layers are among them. The other parameters are fields of the row or of what its file says.
    """
    facts = LoraFacts(
        naming="diffusers",
        tensors=2 * layers,
        modules=layers,
        ranks=(4, 4),
        base=base,
        family=family,
        declared=declared,
        modulation=modulation,
    )
    return EditorLora(
        name=name,
        task=task,
        base=base,
        repo="",
        words=words,
        slots=slots,
        licence="Apache-2.0",
        note=note,
        unfit=unfit,
        editors=() if unfit else (_EDITOR,),
        shipped=Shipped(path=f"mini/qwen_edit/loras/{name}.safetensors", library=_EDITOR, sha256=sha256, facts=facts),
    )


EMBEDDED_LORAS: tuple[EditorLora, ...] = (
    _embedded(
        "mini-angles",
        "angle",
        "4fe11b3cf76ebfdd65e6a0d4a204ef7a867b723d0a3ad9df94aa38da4d34e025",
        "turn the head to {view}",
        {"view": ("the front", "half-left", "profile-left", "half-right", "profile-right")},
    ),
    _embedded(
        "mini-light",
        "lighting",
        "3ec6d84e883f3d5443d022323dd97f876e324718f714555d62363687eaa67b81",
        "light it like {lamp}",
        {"lamp": ("a cloudy day", "candles", "the moon", "a lamp at one side")},
        note="The editor alone does not know these words: it was taught others.",
    ),
    _embedded(
        "mini-expressions",
        "expression",
        "9e502eb7a084b247de9e006ece1d30596859c3b9ff930a5df60fd2e4c6add8d6",
        "make the person {feeling}",
        _FEELINGS,
    ),
    _embedded(
        "mini-outfits",
        "outfit",
        "b0930803c3e86ed6b3d0abf49242c96e1d7c14bb0f231e7442a02017cb32ddd9",
        "dress the person in {clothes}",
        {
            "clothes": (
                "a red shirt",
                "a blue shirt",
                "a green hoodie",
                "a yellow dress",
                "a black suit",
                "a striped sweater",
                "an orange jacket",
            )
        },
    ),
    _embedded(
        "mini-poses",
        "pose",
        "01354fe17682f96cbf27110bc89eed264918a73be805abdb62d34f8ff88250a8",
        "make the person {move}",
        {"move": ("stand", "sit down", "hold a T-pose")},
        layers=_LAYERS + 10,
        modulation=True,
        note="It changes modulation layers, as LoRAs by fal do.",
    ),
    _embedded(
        "mini-stranger",
        "expression",
        "ee90216366639554e5db1f206c002afa60c601116d705a9259f5e73a3a106b1b",
        "make the person {feeling}",
        _FEELINGS,
        note="It was taught with pairs that show two people: the expression comes, the likeness goes.",
    ),
    _embedded(
        "mini-flux-comic",
        "style",
        "2b04ac5d7d163c65b24b2c762a99910ed9efd349730af1ecee38f95b3b4b4aa2",
        "",
        base="mini-flux",
        family="flux",
        declared="flux-1-dev/lora",
        layers=66,
        unfit="It was trained for mini-flux, which draws and does not edit; its layers are others.",
    ),
)
