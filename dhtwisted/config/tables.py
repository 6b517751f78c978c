"""Options that are tables, one after the other: ``[[mqtt.access]]``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dhtwisted.config.kinds import Kind
from dhtwisted.config.suggestions import printable, suggestion
from dhtwisted.config.topic_templates import Template


@dataclass(frozen=True)
class Column:
    """A key of such a table.

    :ivar kind: the form of its value.
    :ivar default: its value where the table does not have it; ``None``: the key is required.
    :ivar attribute: the name of the value for ``make``, if it differs from the key.
    """

    kind: Kind
    default: Any = None
    attribute: str = ""


class _InTable(ValueError):
    """A mistake in one table. The text says what is expected."""


class Tables(Kind):
    """A tuple of objects, each from one table.

    In the environment and on the command line the value is a TOML list of inline tables: ``[{who = "*", publish = ["tele/#"]}]``.

    :param columns: the keys of a table.
    :param make: makes the object of the values by attribute. It raises ``ValueError`` if they do not fit each other; the text
        continues a sentence that begins with the table.
    :param example: the lines of a table for the example file, which shows them as comments: after ``access = []`` TOML permits no
        ``[[mqtt.access]]``.
    """

    def __init__(self, columns: Mapping[str, Column], make: Callable[..., Any], example: tuple[str, ...]) -> None:
        self._columns = columns
        self._make = make
        self.example = example
        self.expected = f"tables with {', '.join(columns)}"

    def show(self, value: Any) -> str:
        return "it" if isinstance(value, (list, tuple)) else super().show(value)

    def explain(self, value: Any, error: ValueError) -> str:
        return str(error) if isinstance(error, _InTable) else super().explain(value, error)

    def from_toml(self, value: Any) -> Any:
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            raise ValueError("is no list of tables")
        return tuple(self._object(number, table) for number, table in enumerate(value, 1))

    def from_text(self, text: str) -> Any:
        try:
            return self.from_toml(tomllib.loads(f"value = {text or '[]'}")["value"])
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ValueError(f"is no TOML list of tables in one line ({error})") from error

    def to_toml(self, value: Any) -> str:
        raise NotImplementedError("the example file shows an example")

    def to_json(self, value: Any) -> Any:
        return [{key: _plain(getattr(one, column.attribute or key)) for key, column in self._columns.items()} for one in value]

    def _object(self, number: int, table: dict[str, Any]) -> Any:
        try:
            return self._make(**self._values(table))
        except ValueError as error:
            raise _InTable(f"table {number}: {error}") from error

    def _values(self, table: dict[str, Any]) -> dict[str, Any]:
        for key in table:
            if key not in self._columns:
                raise ValueError(f"{printable(key)} is no key; {suggestion(key, self._columns)}")
        return {column.attribute or key: _value(key, column, table) for key, column in self._columns.items()}


def _value(key: str, column: Column, table: dict[str, Any]) -> Any:
    if key not in table:
        if column.default is None:
            raise ValueError(f"{key} is missing")
        return column.default
    try:
        return column.kind.from_toml(table[key])
    except ValueError as error:
        raise ValueError(f"{key}: {column.kind.explain(table[key], error)}") from error


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, Template) else value


def quoted(text: str) -> str:
    """A text as it stands in TOML."""
    return json.dumps(text, ensure_ascii=False)
