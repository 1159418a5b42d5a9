"""The scripted surface under its explicit names: what gradio_client calls is `studio.api.api`, nothing else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from engines.api.errors import BadInput
from studio.api.answers import answers
from studio.api.api import API_NAMES, Api
from studio.records.words import demand_text

Json = dict[str, Any]


def register(api: Api) -> None:
    """Publish every name of `API_NAMES`; files may be paths on this machine, or uploaded by the client."""
    taken = {"image_import": _image_import(api), "correction_add": _correction_add(api), "mask_set": _mask_set(api)}
    for name in API_NAMES:
        gr.api(taken.get(name) or getattr(api, name), api_name=name, concurrency_limit=None)


def _image_import(api: Api) -> Any:
    @answers
    def image_import(character_id: str, files: list[Any], key: str = "") -> Json:
        """Import pictures, folders and zips now; answers what came in, what was refused and why."""
        return api.image_import(character_id, [local_path(file) for file in files], key)

    return image_import


def _correction_add(api: Api) -> Any:
    @answers
    def correction_add(
        character_id: str,
        image_id: str,
        file: str | dict[str, Any],
        reason: str = "",
        reviewer: str = "owner",
    ) -> Json:
        """Give the mended picture of a wrong edit; both become a golden triplet for the editor."""
        return api.correction_add(character_id, image_id, local_path(file), reason, reviewer)

    return correction_add


def _mask_set(api: Api) -> Any:
    @answers
    def mask_set(character_id: str, image_id: str, file: str | dict[str, Any]) -> Json:
        """Give a picture a mask of its own size: white counts in training, black hardly; the picture is not changed."""
        return api.mask_set(character_id, image_id, local_path(file))

    return mask_set


def local_path(file: Any) -> str:
    """The path of a file that a script named or uploaded.

    Raises: BadInput for what is no file, and for an upload that does not lie where uploads go.
    """
    if isinstance(file, str):
        return file
    if not (isinstance(file, dict) and isinstance(file.get("path"), str)):
        raise BadInput(f"{file!r:.80} is no file.", "Send it with gradio_client's handle_file, or name its path.")
    demand_text("The file", file["path"])
    path = Path(file["path"]).resolve()
    inbox = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio").resolve()
    if not path.is_relative_to(inbox):
        raise BadInput("The file was not uploaded.", "Send it with gradio_client's handle_file, or name its path.")
    return str(path)
