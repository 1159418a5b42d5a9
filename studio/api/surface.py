"""Describes every call of the scripted surface: what it takes and what it returns, as JSON schemas and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, getdoc, signature
from typing import Any, get_type_hints

from pydantic.json_schema import JsonSchemaValue

from studio.api.api import API_NAMES, Api
from studio.api.describing import REF, schema_of
from studio.api.results import Refusal

_PLAIN: Mapping[str, str] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list",
    "object": "dict",
}
_NULL = {"type": "null"}


@dataclass(frozen=True)
class Argument:
    """Holds what is to be known of one argument of a call; a default of None stands for an optional one without value.

    `kind` is the type in words, without None.
    """

    name: str
    kind: str
    description: str
    schema: JsonSchemaValue
    required: bool
    default: object

    @property
    def example(self) -> object:
        """Returns a value that the call takes: the example of its description, the default, or any text."""
        examples = _given(self.schema).get("examples")
        return examples[0] if examples else "..." if self.default is None else self.default


@dataclass(frozen=True)
class Call:
    """Holds what is to be known of one call: its name, what it does, its arguments, and the schema of its answers.

    `fields` are the fields of its answer with their schemas, `records` all records that lie in it, by their names.
    """

    name: str
    description: str
    arguments: tuple[Argument, ...]
    returns: JsonSchemaValue
    fields: Mapping[str, JsonSchemaValue]
    records: Mapping[str, JsonSchemaValue]

    @property
    def answer(self) -> str:
        """Returns the type of the answer in words, with a description of each field."""
        return f"{in_words(self.returns['anyOf'][0], self.records)} | {Refusal.__name__}"

    @property
    def told(self) -> str:
        """Returns what the call does, in words; the first call also tells of every record that an answer can hold."""
        if self.name != API_NAMES[0]:
            return self.description
        known = (f"{name} is {in_words(schema, definitions())}." for name, schema in records().items())
        return f"{self.description} The records in answers: {' '.join(known)}"


@cache
def calls() -> tuple[Call, ...]:
    """Returns all calls of the scripted surface, in their order."""
    return tuple(map(_call, API_NAMES))


@cache
def definitions() -> Mapping[str, JsonSchemaValue]:
    """Returns the schemas of all records that calls return, and of their choices, by their names."""
    return {name: schema for call in calls() for name, schema in sorted(call.records.items())}


def records() -> Mapping[str, JsonSchemaValue]:
    """Returns the schemas of all records that calls return, by their names in alphabetical order."""
    return {name: schema for name, schema in sorted(definitions().items()) if "enum" not in schema}


def in_words(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """Returns a JSON schema as a type in Python's words, such as `list[str]`; records are called by their names.

    An object with named fields is `dict(name: type (description), ...)`. `defs` are the schemas of the records.
    """
    match schema:
        case {"$ref": str(ref)}:
            name = ref.removeprefix(REF)
            return in_words(defs[name], defs) if "enum" in defs[name] else name
        case {"enum": values}:
            return f"Literal[{', '.join(map(repr, map(str, values)))}]"
        case {"const": value}:
            return f"Literal[{value!r}]"
        case {"format": "filepath"}:
            return "filepath"
        case {"anyOf": kinds}:
            return " | ".join(in_words(each, defs) for each in kinds)
        case {"prefixItems": kinds}:
            return f"tuple[{', '.join(in_words(each, defs) for each in kinds)}]"
        case {"type": "array", "items": inner}:
            return f"list[{in_words(inner, defs)}]"
        case {"type": "object", "properties": inner}:
            told = (
                f"{name}: {in_words(each, defs)}" + (f" ({each['description']})" if "description" in each else "")
                for name, each in inner.items()
            )
            return f"dict({', '.join(told)})"
        case {"type": "object", "additionalProperties": dict(inner)} if inner:
            return f"dict[str, {in_words(inner, defs)}]"
        case {"type": str(name)}:
            return _PLAIN[name]
        case _:
            return "Any"


def _call(name: str) -> Call:
    function = getattr(Api, name)
    kinds = get_type_hints(function.__wrapped__, include_extras=True)
    found = [each for each in signature(function).parameters.values() if each.name != "self"]
    own, refused = dict(schema_of(kinds["return"])), dict(schema_of(Refusal))
    defs = {**own.pop("$defs", {}), **refused.pop("$defs"), Refusal.__name__: _answering(refused, ok=False)}
    answer = _answering(own, ok=True)
    return Call(
        name=name,
        description=getdoc(function) or "",
        arguments=tuple(_argument(each, kinds[each.name]) for each in found),
        returns={"anyOf": [answer, {"$ref": f"{REF}{Refusal.__name__}"}], "$defs": defs},
        fields=answer["properties"],
        records=defs,
    )


def _answering(schema: JsonSchemaValue, *, ok: bool) -> JsonSchemaValue:
    """Returns the schema of an answer: that of its record, with `ok` before its fields."""
    first = {"ok": {"type": "boolean", "const": ok, "description": "Whether the call did what it was asked."}}
    needed = {"required": ["ok", *schema.get("required", ())]}
    return {**schema, "properties": {**first, **schema.get("properties", {})}, **needed}


def _argument(found: Parameter, kind: Any) -> Argument:
    schema = schema_of(kind)
    inner = _given(schema)
    return Argument(
        name=found.name,
        kind=in_words(inner, {}),
        description=inner.get("description", ""),
        schema={**schema, "description": inner.get("description", "")},
        required=found.default is found.empty,
        default=None if found.default is found.empty else found.default,
    )


def _given(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the schema of an argument's value other than null."""
    kinds = schema.get("anyOf", ())
    return next(each for each in kinds if each != _NULL) if _NULL in kinds else schema
