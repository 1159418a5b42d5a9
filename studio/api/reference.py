"""Writes docs/api.md, the reference of the scripted surface: `python -m studio.api.reference`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic.json_schema import JsonSchemaValue

import studio
from studio.api.surface import Argument, calls, definitions, in_words, records

PAGE = Path(studio.__file__).parent.parent / "docs" / "api.md"
_OPENING = """# The scripted surface

Written by `python -m studio.api.reference` from the code; change it there. The same is told by a running studio:
`Client(URL).view_api()` prints it in short, `view_api(return_format="dict")` has the JSON schema of every argument and
answer, and `URL/gradio_api/openapi.json` describes the same calls for other languages.

- **A call** is `Client(URL).predict(argument=value, …, api_name="/NAME")`. Its answer has `ok`: true with the fields
  below, or false with a [Refusal](#refusal) that says what is wrong and what to do. Nothing is half done.
- **A job**: what takes time answers at once with a `job_id`. `job_status` follows it until its `state` is done, failed
  (`error` says why), cancelled (by `job_cancel`) or interrupted (the studio was closed or crashed); its `artifacts` are
  the results. `job_resume` goes on with one that is not done.
- **A file that you give** is a path on the studio's own machine, as text (`image_import` takes folders and zips,
  too), or `gradio_client.handle_file(PATH)`, which uploads one of yours.
- **A file that you get** is a path on the studio's machine. Over HTTP it is `URL/gradio_api/file=PATH`.
- **`params`** take what the call lists, each within its bounds; what is left out keeps the model's own value.
  `loras` in them are community LoRA files: `[{"file": "/path/on/the/machine.safetensors", "weight": 0.8}]`.
"""


def page() -> str:
    """Returns the reference as Markdown: every call with its arguments and its answer, then every record."""
    told = [_OPENING, "## Calls\n"]
    for call in calls():
        told.append(f"### {call.name}\n\n{call.description}\n")
        if call.arguments:
            told.append("Takes:\n\n" + _list(_arguments(call.arguments)))
        fields = {name: schema for name, schema in call.fields.items() if name != "ok"}
        told.append("Returns:\n\n" + _list(_fields(fields)))
    told.append("## Records\n")
    for name, schema in records().items():
        about = "\n\n".join(" ".join(part.split()) for part in schema["description"].split("\n\n"))
        told += [f"### {name}\n\n{about}\n", _list(_fields(schema.get("properties", {})))]
    return "\n".join(told).rstrip() + "\n"


def _arguments(found: Iterable[Argument]) -> Iterator[str]:
    """Yields a line for each argument, with lines for the parameters in it."""
    for argument in found:
        asked = "required" if argument.required else f"default `{argument.default!r}`"
        inner = argument.schema.get("anyOf", [argument.schema])[0].get("properties", {})
        kind = "dict" if inner else argument.kind
        told = "".join(f"\n  - {each}" for each in _fields(inner))
        yield f"`{argument.name}`: `{kind}`, {asked}. {argument.description}{told}"


def _fields(found: Mapping[str, JsonSchemaValue]) -> Iterator[str]:
    """Yields a line for each field: its name, its type, and what it is."""
    for name, schema in found.items():
        yield f"`{name}`: `{in_words(schema, definitions())}`. {schema.get('description', '')}".rstrip()


def _list(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
