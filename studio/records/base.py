"""The base classes of all records: frozen dataclasses that convert to JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar, Self, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

Json = dict[str, Any]

UNLESS_DEFAULT: Mapping[str, bool] = {"unless_default": True}
"""The metadata of a field that is left out of the JSON form when it has its default value."""


def now() -> str:
    """Returns the present time in UTC as ISO 8601 text with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, kw_only=True)
class Part:
    """The base class of dataclasses that convert to JSON and back, such as parts of records."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def to_json(self) -> Json:
        """Returns a plain dict from which `from_json` builds an equal value."""
        return {
            each.name: plain(value)
            for each in dataclasses.fields(self)
            if (value := getattr(self, each.name)) != _default(each) or "unless_default" not in each.metadata
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Returns the object described by a dict that `to_json` made.

        Raises: ValueError that names the first field that does not fit.
        """
        try:
            found: Self = _adapter(cls).validate_python(dict(data))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"{place}: {first['msg']}") from None
        return found

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with the given fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Record(Part):
    """The base class of records, which the store keeps one by one: each has an id and its time of creation."""

    id: str
    """The record's id."""
    created: str = field(default_factory=now)
    """When it was made, in UTC."""


def plain(value: Any) -> Any:
    """Returns a value converted to the types of JSON: dataclasses and mappings to dicts, sequences to lists.

    Any other value is returned as it is.
    """
    if isinstance(value, Part):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return _made(cast(Hashable, kind))


@cache
def _made(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
