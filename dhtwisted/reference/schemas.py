"""JSON Schemas of the structs of the action table, as components of one document."""

from __future__ import annotations

from collections.abc import Collection
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Raw, Struct, UnsetType
from msgspec.structs import FieldInfo

from dhtwisted.reference.members import members
from dhtwisted.wire.declared import allows, is_required, meaning, notes, plain_type
from dhtwisted.wire.fields import Timestamp
from dhtwisted.wire.resources import Resource
from dhtwisted.wire.timestamps import LATEST

Schema = dict[str, Any]
"""A JSON Schema."""

SINCE_1970 = "^(19[7-9]|[2-9][0-9]{2})[0-9]-"
GIVEN_TIMESTAMP = {
    "anyOf": [
        {"type": "string", "format": "date-time", "pattern": SINCE_1970},
        {"type": "integer", "minimum": 0, "maximum": LATEST},
    ]
}
"""A time that a client sends. JSON Schema cannot say that the zone may be missing, and that digits in a query are milliseconds."""


class Schemas:
    """Makes schemas.

    :ivar components: name of a struct -> its schema; filled as references are made.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._kinds: dict[str, type[Struct]] = {}

    def of(self, annotation: Any) -> Schema:
        """The schema of a declared type. That of a struct is a reference to :attr:`components`."""
        schema = self.of_value(annotation)
        return _nullable(schema) if allows(annotation, NoneType) else schema

    def of_value(self, annotation: Any) -> Schema:
        """The same for values other than null."""
        schema = self._of_plain(plain_type(annotation))
        for note in reversed(list(notes(annotation))):
            bounds = {"minimum": note.ge, "maximum": note.le}
            schema |= {name: bound for name, bound in bounds.items() if bound is not None} | (note.extra_json_schema or {})
        return schema

    def _of_plain(self, kind: Any) -> Schema:
        if kind is Raw:
            return {}
        if kind is Timestamp:
            return dict(GIVEN_TIMESTAMP)
        if get_origin(kind) is list:
            return {"type": "array", "items": self.of(get_args(kind)[0])}
        if get_origin(kind) is dict:
            return {"type": "object", "additionalProperties": self.of(get_args(kind)[1])}
        return self._reference(kind) if issubclass(kind, Struct) else msgspec.json.schema(kind)

    def of_member(self, field: FieldInfo, may_be_null: bool = True) -> Schema:
        """The schema of one member, with its meaning."""
        schema = (self.of if may_be_null else self.of_value)(field.type)
        description = meaning(field.type)
        return schema | {"description": description} if description else schema

    def of_struct(self, kind: type[Struct], hidden: Collection[str] = ()) -> Schema:
        """The schema of an object.

        :param hidden: wire names of members to leave out.
        """
        is_reply = issubclass(kind, Resource)
        properties, needed = {}, []
        for field in members(kind):
            if field.encode_name in hidden:
                continue
            is_needed = not allows(field.type, UnsetType) if is_reply else is_required(field.type)
            properties[field.encode_name] = self.of_member(field, may_be_null=is_reply or not is_needed)
            needed += [field.encode_name] if is_needed else []
        schema: Schema = {"type": "object", "properties": properties}
        return schema | {"required": needed} if needed else schema

    def _reference(self, kind: type[Struct]) -> Schema:
        name = kind.__name__.removesuffix("Resource")
        if name not in self._kinds:
            self._kinds[name] = kind
            self.components[name] = self.of_struct(kind)
        elif self._kinds[name] is not kind:
            raise ValueError(f"two structs would be named {name} in the reference")
        return {"$ref": f"#/components/schemas/{name}"}


def without_container(annotation: Any) -> Any:
    """The plain type of the elements of a list or the values of a dict; the plain type itself if it is neither."""
    kind = plain_type(annotation)
    return plain_type(get_args(kind)[-1]) if get_origin(kind) in (list, dict) else kind


def _nullable(schema: Schema) -> Schema:
    if not schema:
        return schema
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    nullable = schema | {"type": [schema["type"], "null"]}
    return nullable | {"enum": [*schema["enum"], None]} if "enum" in schema else nullable
