"""The registration of the scripted API with Gradio: gradio_client calls the methods of `studio.api.api`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import APIInfo
from starlette.requests import Request
from starlette.responses import JSONResponse

from engines.api.errors import BadInput, UserError
from studio.api.answers import refusal
from studio.api.api import API_NAMES, Api
from studio.api.surface import calls
from studio.records.base import Json
from studio.records.words import demand_text
from tabs.serving import Handler

Call = Callable[..., Json]

_UPLOADS = {"image_import": "files", "correction_add": "file", "mask_set": "file", "character_import": "file"}


class Described(gr.Blocks):
    """A Gradio app whose API description tells of the scripted surface all that `studio.api.surface` knows."""

    def get_api_info(self, all_endpoints: bool = False, page: str | None = None) -> APIInfo:
        """Returns the description of all endpoints, which `view_api` of gradio_client prints; Gradio calls it.

        A page asks for what it needs itself each time it is opened, with its own name in `page`: Gradio's own words do.
        """
        info = super().get_api_info(all_endpoints, page)
        for call in calls() if page is None else ():
            found = info["named_endpoints"][f"/{call.name}"]
            for told, argument in zip(found["parameters"], call.arguments, strict=True):
                told["label"], told["type"], told["example_input"] = argument.name, argument.schema, argument.example
                told["python_type"] = {"type": argument.kind, "description": argument.description}
            (answer,) = found["returns"]
            answer["label"], answer["type"] = "answer", call.returns
            answer["python_type"] = {"type": call.answer, "description": call.told}
        return info


def register(api: Api) -> None:
    """Registers every method of `api` in API_NAMES as an endpoint of the Gradio app that is being built.

    An endpoint that takes a file accepts a path on this machine, or a file that the client has uploaded.
    """
    for name in API_NAMES:
        call: Call = getattr(api, name)
        published = _with_uploads(call, _UPLOADS[name]) if name in _UPLOADS else call
        gr.api(published, api_name=name, concurrency_limit=None)


def _with_uploads(call: Call, argument: str) -> Call:
    """Returns the call with uploads accepted as well, for the file or list of files in `argument`."""
    place, many = list(signature(call).parameters).index(argument), argument == "files"

    @wraps(call)
    def taking_uploads(*given: Any) -> Json:
        values = list(given)
        try:
            value = values[place]
            values[place] = list(map(_path, value)) if many and isinstance(value, list) else _path(value)
        except UserError as error:
            return refusal(error)
        return call(*values)

    return taking_uploads


def _path(value: Any) -> Any:
    """Returns the path of an upload; returns any other value unchanged, which the call itself then checks."""
    return local_path(value) if isinstance(value, dict) and isinstance(value.get("path"), str) else value


def by_names(api: Api) -> Handler:
    """Returns a function that answers API requests whose named arguments do not fit the called method.

    Gradio raises a TypeError for a request in which an argument is missing or unknown. The function then answers with
    HTTP status 422 and an error as JSON, which it gets by calling the method with these arguments. Any other exception
    is raised again.
    """

    async def answer(request: Request, error: Exception) -> JSONResponse:
        name = str(request.path_params.get("api_name", ""))
        if name not in API_NAMES:
            raise error
        call: Call = getattr(api, name)
        given = await request.json()
        try:
            signature(call).bind(**given)
        except TypeError:
            return JSONResponse(call(**given), 422)
        raise error  # the arguments fit, so the error has another cause

    return answer


def local_path(file: Any) -> str:
    """Returns the path of the file that a script named or uploaded, as text.

    `file` is a path as text, which is returned without a check, or the dict by which Gradio describes an upload.
    Raises: BadInput for any other value, and for an upload outside the folder of uploads.
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
