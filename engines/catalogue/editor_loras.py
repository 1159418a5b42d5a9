"""Lists published LoRAs for image editors as rows of data; rows that no editor here can use say why.

Where no page could be read, a row's licence is unknown, and its words come from programs that use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engines.catalogue.lora_bases import QWEN_EDITORS, EditorLora

_2511, _2509, _FIRST, _ = QWEN_EDITORS
_APACHE, _MIT = "Apache-2.0", "MIT"
_21, _KLEIN, _KREA = "Qwen-Image-2.1", "FLUX.2-klein 9B", "Krea 2"
_NO_EDITOR = "No editor of this studio is a {}, whose layers are others."
_BY_FEW_STEPS = "“Few steps” uses it with the schedule that it needs; it comes with the editor's own download."
_NO_SCHEDULE = "It needs a schedule of its own, and “Few steps” uses the four-step adapter."
_RESTYLES, _NOT_PEOPLE = "It restyles the face: likeness suffers.", "Of no use for people."
_LIGHTNING = "lightx2v/Qwen-Image-Lightning"
_CAMERA: Mapping[str, tuple[str, ...]] = {
    "azimuth": (
        "front view", "front-right quarter view", "right side view", "back-right quarter view", "back view",
        "back-left quarter view", "left side view", "front-left quarter view",
    ),
    "elevation": ("eye-level shot", "low-angle shot", "elevated shot", "high-angle shot"),
    "distance": ("medium shot", "close-up", "wide shot"),
}  # fmt: skip
_MOVES: Mapping[str, tuple[str, ...]] = {
    "move": (
        "将镜头向左旋转45度 Rotate the camera 45 degrees to the left.",
        "将镜头向右旋转45度 Rotate the camera 45 degrees to the right.",
        "将镜头向前移动 Move the camera forward.",
        "将镜头转为特写镜头 Turn the camera to a close-up.",
        "将相机转向鸟瞰视角 Turn the camera to a bird's-eye view.",
        "将相机切换到仰视视角 Turn the camera to a worm's-eye view.",
        "将镜头转为广角镜头 Turn the camera to a wide-angle lens.",
        "将镜头转为俯视",
    ),
}
_LIGHTS: Mapping[str, str] = {  # as its words say it -> a key of LIGHTS
    "前方": "front", "左前方": "front-left", "左方": "left", "左后方": "back-left", "后方": "back",
    "右后方": "back-right", "右方": "right", "右前方": "front-right", "上方": "above", "下方": "below",
}  # fmt: skip
_FEELINGS: Mapping[str, tuple[str, ...]] = {
    "expression": (
        "neutral", "happy", "angry", "sad", "surprised", "confident", "confused", "contempt", "disgust", "fear", "shy",
        "sleepy", "anxious",
    ),
}  # fmt: skip
_POSE = (
    "Make the person in image 1 do the exact same pose of the person in image 2. Changing the style and background of "
    "the image of the person in image 1 is undesirable, so don't do it. The new pose should be pixel accurate to the "
    "pose we are trying to copy. The position of the arms and head and legs should be the same as the pose we are "
    "trying to copy. Change the field of view and angle to match exactly image 2. Head tilt and eye gaze pose should "
    "match the person in image 2."
)
_HEAD_SWAP = (
    "head_swap: start with Picture 1 as the base image, keeping its lighting and environment. Replace the head with "
    "the head from Picture 2, strictly preserving identity, eye color, and nose structure"
)
_TONE = (
    "参考色调，移除图1原有的光照并参考图2的光照和色调对图1重新照明 "
    "Refer to the color tone, remove the original lighting from Image 1, and relight Image 1 based on the lighting and "
    "color tone of Image 2."
)


def _qwen(name: str, task: str, base: str, repo: str, file: str = "", **more: Any) -> EditorLora:
    """Returns the row of a LoRA for Qwen's 20B editors, whose layers are the same."""
    return EditorLora(name=name, task=task, base=base, repo=repo, file=file, editors=QWEN_EDITORS, **more)


def _other(name: str, task: str, base: str, repo: str, file: str = "", **more: Any) -> EditorLora:
    """Returns the row of a LoRA for a model that is no editor of this studio."""
    return EditorLora(name=name, task=task, base=base, repo=repo, file=file, unfit=_NO_EDITOR.format(base), **more)


EDITOR_LORAS: tuple[EditorLora, ...] = (
    # ── camera and head angle
    _qwen(
        "fal-angles", "angle", _2511, "fal/Qwen-Image-Edit-2511-Multiple-Angles-LoRA",
        "qwen-image-edit-2511-multiple-angles-lora.safetensors",
        words="<sks> {azimuth} {elevation} {distance}", slots=_CAMERA, strength=0.9, camera="fal", licence=_APACHE,
        note="96 views in steps of 45°; it moves the camera, and the distance reframes hard. It changes modulation "
        "layers, which are read from the disk once for each new stack and schedule.",
    ),
    _qwen(
        "dx8152-angles", "angle", _2509, "dx8152/Qwen-Edit-2509-Multiple-angles", "镜头转换.safetensors",
        words="{move}", slots=_MOVES, strength=1.25, steps=4, camera="dx8152",
        note="Its author wants few steps. 2511 contains it already: there the effect doubles, so start lower.",
        correction="Its words are whole sentences in two languages; <sks> belongs to the LoRA by fal.",
    ),
    _other(
        "lovis93-angles-flux2", "angle", "FLUX.2-dev", "lovis93/Flux-2-Multi-Angles-LoRA-v2", note="72 views.",
        correction="It fits FLUX.2-dev alone; klein's layers are others.",
    ),
    _other("klein-camera-blocking", "angle", _KLEIN, "alding86/klein9b-Camera-Blocking", note="It turns too little."),
    _other(
        "klein-character-sheet", "angle", _KLEIN, "", "charactersheet_tripleview_klein9b_v1",
        words="Convert the character in the image to a Character Sheet showing front, strict side profile and rear "
        "full-body views", note="The end of its words and its page were not found.",
    ),
    _other(
        "anyangle-2.1", "angle", _21, "lilylilith/QI_2.1_AnyAngle",
        words="Change the camera angle from <image2> to <image1>.", steps=20, guide="figure",
        second="a rough 3D view of the angle",
        note="With a guidance of 3, in 20 to 25 steps.", correction="It was said that there is no camera LoRA for 2.1.",
    ),
    _other("orbit-2.1", "angle", _21, "ML-Intern-lab/Qwen-Image-2.1-viewpoint-orbit-LoRA", words="<orbit>"),
    # ── light
    _qwen(
        "dx8152-light-direction", "lighting", _2509, "dx8152/Qwen-Edit-2509-Multi-Angle-Lighting",
        "多角度灯光-251116.safetensors", words="使用图2的亮度贴图对图1重新照明(光源来自{direction})",
        slots={"direction": tuple(_LIGHTS)}, lights=_LIGHTS, second="a luminance map", guide="light",
        note="A version 251121 exists. In English: Relight Figure 1 using luminance map from Figure 2 (light source "
        "from …).",
    ),
    _qwen(
        "dx8152-relight", "lighting", _2509, "dx8152/Qwen-Image-Edit-2509-Relight", "Qwen-Edit-Relight.safetensors",
        words="Use a subtle golden-hour filter with smooth light diffusion.", licence=_APACHE,
        correction="It adds light; the one that removes it is Light_restoration.",
    ),
    _qwen(
        "dx8152-light-removal", "lighting", _2509, "dx8152/Qwen-Image-Edit-2509-Light_restoration",
        "移除光影.safetensors", words="Remove shadows and relight the image using soft lighting.",
        note="A version V2 exists.",
    ),
    _qwen(
        "dx8152-light-migration", "lighting", _2509, "dx8152/Qwen-Edit-2509-Light-Migration", "参考色调.safetensors",
        words=_TONE, second="a picture with the light and the colours", guide="lit",
    ),
    _qwen(
        "anylight", "lighting", _2511, "lilylilith/QIE-2511-MP-AnyLight", "QIE-2511-AnyLight_.safetensors",
        words="Apply the lighting from image 2 to image 1.", second="a picture with the light", guide="lit",
    ),
    _qwen(
        "studio-delight", "lighting", _2511, "prithivMLmods/QIE-2511-Studio-DeLight",
        "QIE-2511-Studio-DeLight-5000.safetensors",
        words="Neutral uniform lighting. Preserve identity and composition.", licence=_APACHE,
    ),
    _qwen("djessica-relight", "lighting", _2509, "djessica/QE-2509-Relight", note="Its words were not found."),
    _other("klein-delight", "lighting", "FLUX.2-klein", "linoyts/Flux2-Klein-Delight-LoRA"),
    # ── likeness
    _qwen(
        "face-to-portrait", "identity", _FIRST, "DiffSynth-Studio/Qwen-Image-Edit-F2P",
        "edit_0928_lora_step40000.safetensors", words="{scene}", steps=40, licence=_APACHE,
        note="Takes a face alone, cropped, and a plain description of the new picture.",
    ),
    _qwen(
        "consistence-2509", "identity", _2509, "", "consistence_edit_v2.safetensors", strength=0.55,
        note="By lrzjason, on Civitai (version 2256755): download it there, then add the file. 0.4 to 0.7.",
    ),
    _qwen(
        "consistency-2511", "identity", _2511, "sdfafdfsdf/QIE_2511_Consistency_Lora", "qe2511_consis_alpha_patched",
        words="restore image details", strength=0.6,
    ),
    _qwen("in-subject", "identity", _FIRST, "peteromallet/Qwen-Image-Edit-InSubject", "InSubject-0.5.safetensors"),
    _qwen(
        "head-swap-2511", "identity", _2511, "Alissonerdx/BFS-Best-Face-Swap", "bfs_head_v5_2511_original.safetensors",
        words=_HEAD_SWAP, second="the face", guide="character",
        note="The body is the source. Few steps give plastic skin.",
    ),
    _qwen(
        "head-swap-2511-merged", "identity", _2511, "Alissonerdx/BFS-Best-Face-Swap",
        "bfs_head_v5_2511_merged_version_rank_32_fp32", words=_HEAD_SWAP, strength=1.1, second="the face",
        guide="character", licence=_MIT, note="The licence is that of a mirror.",
    ),
    _other("head-swap-klein", "identity", _KLEIN, "", "bfs_head_v1_flux-klein_9b_step3500_rank128"),
    _other("head-swap-2.1", "identity", _21, "", "bfs_head_v1_qwen_2.1", words="head_swap:"),
    _other(
        "klein-consistency", "identity", _KLEIN, "dx8152/Flux2-Klein-9B-Consistency", licence=_APACHE,
        note="Version 2; 0.3 to 0.5 beside LoRAs for light. Its base is non-commercial.",
    ),
    _other("krea2-identity", "identity", _KREA, "conradlocke/krea2-identity-edit", note="Version 1.2, 1.8 GB."),
    _qwen(
        "face-segmentation", "identity", _FIRST, "TsienDragon/qwen-image-edit-lora-face-segmentation",
        "pytorch_lora_weights.safetensors", words="{what} the face to the face segmentation mask",
        steps=20, note="It draws masks, not pictures to learn from. The beginning of its words was not found.",
        correction="It was trained for the first Qwen-Image-Edit, not for 2509.",
    ),
    _qwen(
        "character-composition", "identity", _2509, "TsienDragon/qwen-image-edit-character-composition",
        note="Named in one survey alone; its base, file and words were not found.",
    ),
    _qwen(
        "multiple-characters", "identity", _2509, "YaoJiefu/multiple-characters",
        unfit="It adds other people to the picture.",
    ),
    # ── expression, pose, outfit
    _qwen(
        "pixelsmile", "expression", _2511, "PixelSmile/PixelSmile", "PixelSmile-preview.safetensors",
        words="Edit the person to show a {expression} expression", slots=_FEELINGS, licence=_APACHE,
        note="Its authors' strength slider mixes two encoded instructions, which this studio does not: "
        "the expression comes at full strength. 850 MB.",
    ),
    _qwen(
        "anypose", "pose", _2511, "lilylilith/AnyPose", "2511-AnyPose-base-000006250", words=_POSE, strength=0.7,
        steps=4, second="a person in the pose", guide="figure", beside="anypose-helper",
    ),
    _qwen(
        "anypose-helper", "pose", _2511, "lilylilith/AnyPose", "2511-AnyPose-helper-00006000", words=_POSE,
        strength=0.7, steps=4, second="a person in the pose", guide="figure", beside="anypose",
    ),
    _qwen(
        "extract-outfit", "outfit", _2511, "prithivMLmods/QIE-2511-Extract-Outfit",
        words="Extract the clothing and create a flat mockup.", strength=0.9, licence=_APACHE,
        note="It draws the clothes without the person.",
    ),
    # ── background and scene
    _qwen(
        "white-to-scene", "background", _2509, "dx8152/Qwen-Image-Edit-2509-White_to_Scene", "白底图转场景.safetensors",
        note="Mirrored in Comfy-Org/Qwen-Image-Edit_ComfyUI. Its words were not found.",
    ),
    _qwen(
        "fusion", "background", _2509, "dx8152/Qwen-Image-Edit-2509-Fusion", note="Its words were not found.",
    ),
    _qwen(
        "next-scene", "background", _2509, "lovis93/next-scene-qwen-image-lora-2509",
        "next-scene_lora-v2-3000.safetensors", words="Next Scene: {scene}",
    ),
    _qwen(
        "inscene", "background", _2509, "flymy-ai/qwen-image-edit-2509-inscene-lora", note="Its words were not found.",
    ),
    # ── skin and realism
    _qwen(
        "edit-skin", "skin", _2509, "tlennon-ie/qwen-edit-skin", "qwen-edit-skin_1.1_000002750.safetensors",
        words="make the subjects skin details more prominent and natural", strength=0.85,
    ),
    _qwen(
        "hyper-realistic-portrait", "skin", _2511, "prithivMLmods/Qwen-Image-Edit-2511-Hyper-Realistic-Portrait",
        "HRP_20", words="Transform into a hyper-realistic face portrait.", note=_RESTYLES,
    ),
    _qwen(
        "ultra-realistic-portrait", "skin", _2511, "prithivMLmods/Qwen-Image-Edit-2511-Ultra-Realistic-Portrait",
        "URP_20", words="Ultra-realistic portrait.", licence=_APACHE,
        note=_RESTYLES + " Four strengths of training exist, URP_5 to URP_20.",
    ),
    _qwen(
        "anything2real", "skin", _2511, "lrzjason/Anything2Real_2601", "anything2real_2601.safetensors",
        words="Change the picture to realistic photograph.", note="A file …_A_final_patched exists.",
    ),
    _other(
        "anything2real-2.1", "skin", _21, "WarmBloodAban/Qwen-Image-2.1-LoRAs", strength=0.7,
        note="0.6 to 0.8. Its page says Apache; its base is non-commercial.",
    ),
    # ── style
    _qwen(
        "style-transfer", "style", _2511, "zooeyy/Style-Transfer", words="Convert Image 1 to the style of Image 2.",
        second="a picture in the style", guide="style",
    ),
    _qwen(
        "anime-2511", "style", _2511, "prithivMLmods/Qwen-Image-Edit-2511-Anime",
        words="Transform into anime (while preserving the background)", note="The end of its words was not found.",
    ),
    _qwen(
        "photo-to-anime", "style", _2509, "autoweeb/Qwen-Image-Edit-2509-Photo-to-Anime",
        words="Transform into anime.",
    ),
    _qwen(
        "semi-realistic", "style", _FIRST, "rzgar/Qwen-Image-Edit-semi-realistic-detailer",
        words="transform the image to semi-realistic image",
    ),
    # ── detail
    _qwen(
        "unblur-upscale", "detail", _2511, "prithivMLmods/Qwen-Image-Edit-2511-Unblur-Upscale",
        words="Unblur and upscale.", note="Three files exist (_10, _15, _20): name the one that you want.",
    ),
    _qwen(
        "upscale-enhance", "detail", _2509, "vafipas663/Qwen-Edit-2509-Upscale-LoRA",
        "qwen-edit-enhance_64-v3_000001000", words="Enhance image quality, {scene}", steps=8,
    ),
    _qwen(
        "upscale2k-2511", "detail", _2511, "starsfriday/Qwen-Image-Edit-2511-Upscale2K",
        words="Upscale this picture to 4K resolution.",
    ),
    _qwen("upscale2k-2509", "detail", _2509, "valiantcat/Qwen-Image-Edit-2509-Upscale2K", note="See its page."),
    _qwen("extract-texture", "detail", _2509, "tarn59/extract_texture_qwen_image_edit_2509", note=_NOT_PEOPLE),
    _qwen("apply-texture", "detail", _2509, "tarn59/apply_texture_qwen_image_edit_2509", note=_NOT_PEOPLE),
    _other("detail-enhancer-2.1", "detail", _21, "reverentelusarca/elusarcas-qwen-2.1-detail-enhancer-lora"),
    # ── removal and repair
    _qwen(
        "remover", "removal", _FIRST, "starsfriday/Qwen-Image-Edit-Remover-General-LoRA",
        "qwen-edit-remover.safetensors", words="{what}", note="Say in your own words what to remove.",
    ),
    _qwen(
        "object-remover", "removal", _2511, "prithivMLmods/QIE-2511-Object-Remover-v2",
        words="Remove the red highlighted object from the scene.", note="The object must be marked red in the source.",
    ),
    _qwen(
        "inpainting", "removal", _FIRST, "ostris/qwen_image_edit_inpainting",
        note="Draws anew what is pure green (0, 255, 0) in the source.",
    ),
    # ── speed
    _qwen(
        "lightning-4-2511", "speed", _2511, "lightx2v/Qwen-Image-Edit-2511-Lightning",
        "Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors", steps=4, licence=_APACHE, unfit=_BY_FEW_STEPS,
        correction="Qwen-Image-Lightning-4steps is for drawing, not for editing.",
    ),
    _qwen(
        "lightning-8-2511", "speed", _2511, "lightx2v/Qwen-Image-Edit-2511-Lightning",
        "Qwen-Image-Edit-2511-Lightning-8steps-V1.0-bf16.safetensors", steps=8, licence=_APACHE, unfit=_NO_SCHEDULE,
    ),
    _qwen(
        "lightning-4-2509", "speed", _2509, _LIGHTNING,
        "Qwen-Image-Edit-2509/Qwen-Image-Edit-2509-Lightning-4steps-V1.0-bf16.safetensors", steps=4, licence=_APACHE,
        unfit=_BY_FEW_STEPS,
    ),
    _qwen(
        "lightning-8-2509", "speed", _2509, _LIGHTNING,
        "Qwen-Image-Edit-2509/Qwen-Image-Edit-2509-Lightning-8steps-V1.0-bf16.safetensors", steps=8, licence=_APACHE,
        unfit=_NO_SCHEDULE,
    ),
    _qwen(
        "lightning-4-edit", "speed", _FIRST, _LIGHTNING, "Qwen-Image-Edit-Lightning-4steps-V1.0-bf16.safetensors",
        steps=4, licence=_APACHE, unfit=_BY_FEW_STEPS,
    ),
    _qwen(
        "lightning-8-edit", "speed", _FIRST, _LIGHTNING, "Qwen-Image-Edit-Lightning-8steps-V1.0-bf16.safetensors",
        steps=8, licence=_APACHE, unfit=_NO_SCHEDULE,
    ),
    _other(
        "viggle-turbo-2.1", "speed", _21, "Viggle/Qwen-Image-2.1-viggle-turbo", steps=6,
        note="Not to be merged; version 0.1 cost variety (0.75 of it).",
    ),
    _other("fun-acc-2.1", "speed", _21, "alibaba-pai/Qwen-Image-2.1-Fun-Acc-LoRAs", steps=4),
    # ── general, and what is no LoRA of an editor
    _qwen(
        "edit-r1", "general", _2509, "chestnutlzj/Edit-R1-Qwen-Image-Edit-2509", "adapter_model.safetensors",
        note="Follows instructions better, without words of its own. Its settings (alpha 64, rank 32) come with it.",
    ),
    EditorLora(
        name="meitu", task="general", base=_FIRST, repo="valiantcat/Qwen-Image-Edit-MeiTu",
        unfit="It is a whole fine-tuned model, not a LoRA.", correction="It was listed as a LoRA.",
    ),
    EditorLora(
        name="controlnet-union", task="pose", base="Qwen-Image", repo="InstantX/Qwen-Image-ControlNet-Union",
        strength=0.9, unfit="It is a ControlNet of the model that draws from text; an editor cannot use it.",
        correction="It was listed as a LoRA; 2509 and 2511 read maps of a pose as a second picture by themselves.",
    ),
    EditorLora(
        name="controlnet-inpainting", task="removal", base="Qwen-Image",
        repo="InstantX/Qwen-Image-ControlNet-Inpainting",
        unfit="It is a ControlNet of the model that draws from text; an editor cannot use it.",
        correction="It was listed as a LoRA.",
    ),
    EditorLora(
        name="controlnet-union-2.1", task="pose", base=_21, repo="alibaba-pai/Qwen-Image-2.1-Fun-Controlnet-Union",
        unfit="It is a ControlNet, and its base is no editor of this studio.",
    ),
)  # fmt: skip
