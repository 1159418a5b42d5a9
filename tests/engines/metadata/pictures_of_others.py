"""Provides picture files as generating programs write them: the same prompt and settings in each one's own form."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from PIL import Image
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

PROMPT: Final = 'a "red" fox, 小红: (snow:1.2)'
NEGATIVE: Final = "blurry, dark"
PAIRS: Final = {"Steps": "20", "Seed": "7", "Size": "768x1024"}
_A1111 = (
    f"{PROMPT} <lora:film:0.8>\nNegative prompt: {NEGATIVE}\n"
    "Steps: 20, Sampler: Euler, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 7, Size: 768x1024, Model: flux1-dev"
)
_SWARMUI = {
    "sui_image_params": {
        "prompt": PROMPT, "negativeprompt": NEGATIVE, "model": "Flux/flux1-dev", "seed": 7, "steps": "20",
        "cfgscale": 1.0, "fluxguidancescale": 3.5, "width": 768, "height": 1024, "loras": ["film"],
        "loraweights": ["0.8"], "sampler": "euler", "swarm_version": "0.9.6",
    },
    "sui_extra_data": {"date": "2026-11-13"},
}  # fmt: skip
_FOOOCUS = {
    "prompt": PROMPT, "negative_prompt": NEGATIVE, "full_prompt": [PROMPT, "cinematic"], "steps": 20, "seed": "7",
    "guidance_scale": 4.0, "resolution": "(768, 1024)", "base_model": "juggernautXL",
    "loras": [["film", 0.8, "abc"]], "version": "Fooocus v2.5.5",
}  # fmt: skip
_INVOKEAI = {
    "positive_prompt": PROMPT, "negative_prompt": NEGATIVE, "width": 768, "height": 1024, "seed": 7, "steps": 20,
    "cfg_scale": 1.0, "guidance": 3.5, "scheduler": "euler", "model": {"key": "k", "name": "FLUX Dev"},
    "loras": [{"model": {"key": "k", "name": "film", "hash": "blake3:1"}, "weight": 0.8}],
}  # fmt: skip
_NOVELAI = {
    "prompt": PROMPT, "uc": NEGATIVE, "steps": 20, "height": 1024, "width": 768, "scale": 5.0, "seed": 7,
    "sampler": "k_euler",
}  # fmt: skip
COMFYUI: Final[Mapping[str, Any]] = {  # of ComfyUI's example for FLUX.1, with a text node and a LoRA
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["40", 0], "clip": ["11", 0]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["13", 0], "vae": ["10", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    "10": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
    "11": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "t5.safetensors", "type": "flux"}},
    "12": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
    "13": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": ["25", 0],
            "guider": ["22", 0],
            "sampler": ["16", 0],
            "sigmas": ["17", 0],
            "latent_image": ["27", 0],
        },
    },
    "16": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "17": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 20, "model": ["30", 0]}},
    "22": {"class_type": "BasicGuider", "inputs": {"model": ["30", 0], "conditioning": ["26", 0]}},
    "25": {"class_type": "RandomNoise", "inputs": {"noise_seed": 7}},
    "26": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["6", 0]}},
    "27": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 768, "height": 1024, "batch_size": 1}},
    "30": {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"model": ["12", 0], "lora_name": "film.safetensors", "strength_model": 0.8},
    },
    "40": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": PROMPT}},
}


def png(**texts: str) -> bytes:
    """Returns a PNG with text chunks."""
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    return _saved("PNG", pnginfo=info)


def with_comment(form: str, comment: bytes | str, *, inside: bool = True) -> bytes:
    """Returns a JPEG or WebP with a comment in EXIF; `inside` puts it where the standard wants it."""
    exif = Image.Exif()
    (exif.get_ifd(0x8769) if inside else exif)[Base.UserComment] = comment
    return _saved(form, exif=exif)


def with_graph(form: str, graph: Mapping[str, Any]) -> bytes:
    """Returns a picture as ComfyUI writes a WebP: its graph in one of EXIF's tags."""
    exif = Image.Exif()
    exif[Base.Model] = f"prompt:{json.dumps(graph)}"
    exif[Base.Make] = 'workflow:{"nodes": []}'
    return _saved(form, exif=exif)


def _saved(form: str, **told: Any) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(buffer, form, **told)
    return buffer.getvalue()


WRITTEN: Final[Mapping[str, Callable[[], bytes]]] = {
    "AUTOMATIC1111 and Forge": lambda: png(parameters=_A1111),
    "AUTOMATIC1111's JPEG": lambda: with_comment("JPEG", b"UNICODE\0" + _A1111.encode("utf-16-be")),
    "AUTOMATIC1111's WebP": lambda: with_comment("WEBP", b"UNICODE\0" + _A1111.encode("utf-16-le")),
    "ComfyUI": lambda: png(prompt=json.dumps(COMFYUI), workflow='{"nodes": []}'),
    "ComfyUI's WebP": lambda: with_graph("WEBP", COMFYUI),
    "InvokeAI": lambda: png(invokeai_metadata=json.dumps(_INVOKEAI)),
    "SwarmUI": lambda: png(parameters=json.dumps(_SWARMUI, indent=2)),
    "SwarmUI's JPEG": lambda: with_comment("JPEG", b"UNICODE\0" + json.dumps(_SWARMUI).encode("utf-16-le")),
    "Fooocus": lambda: png(parameters=json.dumps(_FOOOCUS), fooocus_scheme="fooocus"),
    "Fooocus's JPEG": lambda: with_comment("JPEG", json.dumps(_FOOOCUS), inside=False),
    "NovelAI": lambda: png(Title="AI generated image", Description=PROMPT, Comment=json.dumps(_NOVELAI)),
}
"""For each program and format of file what returns the bytes of such a picture."""
