"""The types of SQL statements and their values, as the modules of this provider pass them on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Values = Sequence[Any] | dict[str, Any] | None
"""For ``%s`` or ``%(name)s`` in a statement."""

Statement = tuple[str, Sequence[Any]]
NamedStatement = tuple[str, dict[str, Any]]

Term = tuple[str, Sequence[Any]]
"""A condition in SQL, and its values."""

Parameters = dict[str, Any]
"""Connection parameters of libpq."""


class Execute(Protocol):
    """Runs a statement on one connection."""

    async def __call__(self, sql: str, values: Values = None) -> list[Any]:
        """Run it.

        :returns: a list of rows; empty for a statement that gives none.
        """
        ...
