"""JSON schemas of records and parameters, with the docstrings that stand below their fields."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from engines.api.params import kinds
from engines.api.values import allowed

REF = "#/$defs/"


class Described(GenerateJsonSchema):
    """Generates JSON schemas in which a record's fields have the docstrings that stand below them in its source."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """Returns the JSON schema of a dataclass, with its fields described; pydantic calls it."""
        told, docs = super().dataclass_schema(schema), field_docs(schema["cls"])
        for name, inner in told["properties"].items():
            inner.pop("title", None)
            if name in docs:
                inner["description"] = docs[name]
        return told


def field_docs(owner: Any) -> Mapping[str, str]:
    """Returns the docstrings that stand below the fields of a dataclass and of its bases, by the field's name."""
    bases = reversed(owner.__mro__[:-1])  # without `object`
    return {name: text for each in bases for name, text in docs_in(each.__module__)[each.__name__].items()}


@cache
def docs_in(module: str) -> Mapping[str, Mapping[str, str]]:
    """Returns the docstrings that stand below fields in a loaded module, by the class's and the field's name."""
    made = [each for each in ast.parse(inspect.getsource(sys.modules[module])).body if isinstance(each, ast.ClassDef)]
    found: dict[str, dict[str, str]] = {each.name: {} for each in made}
    for each in made:
        for first, second in pairwise(each.body):
            match first, second:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[each.name][name] = " ".join(text.split())
    return found


@cache
def schema_of(kind: Any) -> JsonSchemaValue:
    """Returns the JSON schema of what a record or an annotation is as JSON; the records in it stand in its `$defs`."""
    return TypeAdapter(kind).json_schema(schema_generator=Described, mode="serialization")


def parameters_schema(owner: type[Any], without: tuple[str, ...] = ()) -> JsonSchemaValue:
    """Returns the JSON schema of an object of parameters: of each field of `owner` what it is and what it may be.

    It has no default values, because a parameter that is left out takes the model's own. `without` are names of fields
    that it does not have.
    """
    docs, found = field_docs(owner), {}
    for name, kind in kinds(owner).items():
        schema = _inlined(schema_of(kind))
        plain = len(schema) == 1 or schema["type"] in ("array", "object")
        bounds = "" if plain else f" It is {allowed(kind)}."
        found[name] = {**schema, "description": f"{docs[name]}{bounds}"}
    taken = {name: schema for name, schema in found.items() if name not in without}
    return {"type": "object", "properties": taken, "additionalProperties": False}


def _inlined(schema: Any, defs: Mapping[str, Any] | None = None) -> Any:
    """Returns a JSON schema with what its references stand for in their places."""
    if isinstance(schema, list):
        return [_inlined(each, defs) for each in schema]
    if not isinstance(schema, dict):
        return schema
    defs = schema.get("$defs", defs)
    if "$ref" in schema and defs is not None:
        return _inlined(defs[schema["$ref"].removeprefix(REF)], defs)
    return {name: _inlined(inner, defs) for name, inner in schema.items() if name != "$defs"}
