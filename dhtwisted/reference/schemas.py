"""JSON Schemas of the structs of the action table, as components of one document."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct, UnsetType

from dhtwisted.reference.members import describe, members, required
from dhtwisted.wire.fields import Timestamp
from dhtwisted.wire.resources import Resource
from dhtwisted.wire.timestamps import LATEST

SINCE_1970 = "^(19[7-9]|[2-9][0-9]{2})[0-9]-"
GIVEN_TIMESTAMP = {
    "anyOf": [
        {"type": "string", "format": "date-time", "pattern": SINCE_1970},
        {"type": "integer", "minimum": 0, "maximum": LATEST},
    ]
}
"""A zone may be left out, and digits in a query are milliseconds; no format of JSON Schema says either."""


class Schemas:
    """Makes schemas, and keeps those of structs.

    :ivar components: name -> schema.
    """

    def __init__(self):
        self.components = {}
        self._kinds = {}

    def of(self, annotation):
        """The schema of a declared type; a struct becomes a reference."""
        if annotation is Raw:
            return {}
        if annotation is Timestamp:
            return dict(GIVEN_TIMESTAMP)
        if get_origin(annotation) in (Union, UnionType):
            schema = self.of(without_none(annotation))
            return _nullable(schema) if NoneType in get_args(annotation) else schema
        if get_origin(annotation) is list:
            return {"type": "array", "items": self.of(get_args(annotation)[0])}
        if get_origin(annotation) is dict:
            return {"type": "object", "additionalProperties": self.of(get_args(annotation)[1])}
        if isinstance(annotation, type) and issubclass(annotation, Struct):
            return self._reference(annotation)
        return msgspec.json.schema(annotation)

    def of_member(self, kind, field, may_be_null=True):
        """The schema of one member, with what :mod:`~dhtwisted.reference.members` knows of it."""
        meaning, keywords = describe(kind, field.encode_name)
        schema = _narrowed(self.of(without_none(field.type)), keywords)
        if may_be_null and NoneType in get_args(field.type):
            schema = _nullable(schema)
        return schema | {"description": meaning} if meaning else schema

    def of_struct(self, kind, hidden=()):
        """The schema of an object.

        :param hidden: wire names of members that it does not have here.
        """
        shown = [field for field in members(kind) if field.encode_name not in hidden]
        needed = {field.encode_name for field in shown if not _may_be_absent(field)} if issubclass(kind, Resource) else required(kind)
        properties = {}
        for field in shown:
            may_be_null = issubclass(kind, Resource) or field.encode_name not in needed
            properties[field.encode_name] = self.of_member(kind, field, may_be_null)
        schema = {"type": "object", "properties": properties}
        names = [name for name in properties if name in needed]
        return schema | {"required": names} if names else schema

    def _reference(self, kind):
        name = kind.__name__.removesuffix("Resource")
        if name not in self._kinds:
            self._kinds[name] = kind
            self.components[name] = self.of_struct(kind)
        elif self._kinds[name] is not kind:
            raise ValueError(f"two structs would be named {name} in the reference")
        return {"$ref": f"#/components/schemas/{name}"}


def without_none(annotation):
    """A declared type without ``None``, and without what says that a member may be absent."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    return next(choice for choice in get_args(annotation) if choice not in (NoneType, UnsetType))


def without_container(annotation):
    """The type of the elements of a list, or of the values of an object with any names; any other type as it is."""
    return get_args(annotation)[-1] if get_origin(annotation) in (list, dict) else annotation


def _may_be_absent(field):
    return UnsetType in get_args(field.type)


def _narrowed(schema, keywords):
    """Add keywords; those for the elements of a list go to the elements."""
    if "items" in keywords:
        keywords = keywords | {"items": schema["items"] | keywords["items"]}
    return schema | keywords


def _nullable(schema):
    if not schema:
        return schema
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    nullable = schema | {"type": [schema["type"], "null"]}
    return nullable | {"enum": [*schema["enum"], None]} if "enum" in schema else nullable
