"""Finds files of weights in folders as other programs lay them out: Hugging Face's cache, ComfyUI's models."""

from __future__ import annotations

from pathlib import Path

from engines.catalogue.formats import GGUF
from engines.catalogue.weights import is_variant

_COMFY = ("diffusion_models", "unet", "checkpoints", "text_encoders", "clip", "vae")
_ENDINGS = (".safetensors", GGUF)


def snapshot(folder: Path, repo: str) -> Path | None:
    """Returns the snapshot that a folder of Hugging Face's cache means; None where it is no such folder.

    `folder`: the cache's root, its `hub`, or the folder of a repository in it, whichever that is; `repo`: the
    repository that is looked for in the cache. The snapshot is that of the main branch, else the newest.
    """
    name = f"models--{repo.replace('/', '--')}"
    held = next(
        (each for each in (folder, folder / name, folder / "hub" / name) if (each / "snapshots").is_dir()), None
    )
    if held is None:
        return None
    ref = held / "refs" / "main"
    main = held / "snapshots" / (ref.read_text(encoding="utf-8").strip() if ref.is_file() else "none")
    newest = sorted((each for each in (held / "snapshots").iterdir() if each.is_dir()), key=lambda s: s.stat().st_mtime)
    return main if main.is_dir() else newest[-1] if newest else None


def single_files(folder: Path) -> list[Path]:
    """Returns the files of weights that ComfyUI reads in its models folder, or those that lie in any other folder.

    `folder`: ComfyUI's folder, its `models`, or one that holds files of weights itself.
    """
    root = folder / "models" if any((folder / "models" / name).is_dir() for name in _COMFY) else folder
    within = [file for name in _COMFY for file in sorted((root / name).rglob("*"))]
    files = [file for file in within or sorted(folder.glob("*")) if file.suffix.lower() in _ENDINGS and file.is_file()]
    return list({file.resolve(): file for file in reversed(files)}.values())[::-1]  # clip may be text_encoders


def plain_or_variant(folder: Path) -> list[Path]:
    """Returns a component's safetensors files; where all are variants, those in bfloat16, or else in float16."""
    files = sorted(folder.glob("*.safetensors"))
    by_kind = (
        [file for file in files if not is_variant(file.name)],
        *([file for file in files if f".{kind}" in file.name] for kind in ("bf16", "fp16")),
    )
    return next((found for found in by_kind if found), [])


def remedy(repo: str, folder: Path) -> str:
    """Describes to the user which folder or file to give instead of `folder`; `repo`: the model's repository."""
    if (folder.parent / "model_index.json").is_file():
        return f"This is one part of a model: give {folder.parent}."
    if found := sorted(folder.glob("*/model_index.json")):
        return f"Give the folder that holds model_index.json: {found[-1].parent}."
    if any(entry for within in ("", "hub/", "*/") for entry in folder.glob(f"{within}models--*")):
        return f"There is no {repo} in that cache: give the folder that holds model_index.json."
    near = next((file for file in sorted(folder.glob("*/*")) if file.suffix.lower() in _ENDINGS), None)
    return f"Give the folder that holds model_index.json, or the transformer's one file{f': {near}' if near else ''}."
