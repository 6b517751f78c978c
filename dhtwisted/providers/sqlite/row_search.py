"""Searches a data file for damaged rows. SQLite's own check examines only the structure of the file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from typing import Any

from dhtwisted.providers.sqlite.inspection import SEARCH_SECONDS, connect_for_looking
from dhtwisted.providers.sqlite.messages import MESSAGE_TABLES
from dhtwisted.providers.sqlite.row_checksum import is_whole
from dhtwisted.providers.sqlite.transaction import decode

MOST_NAMED = 10
_ENTITIES = "SELECT kind, key, body, checksum FROM entity"


def check_rows(connection: sqlite3.Connection) -> Iterator[str | None]:
    """Check all rows, one after the other. This takes one or two microseconds for each.

    :param connection: to a file with an undamaged structure. From now on it decodes texts as the checksums need it.
    :returns: for each row ``None``, or its name, such as ``notification 978``, if it is damaged.
    """
    connection.text_factory = decode
    for row in _rows(connection, _ENTITIES):
        yield None if is_whole(row) else f"{row[0]} {row[1]}"
    for kind, table in MESSAGE_TABLES.items():
        for row in _rows(connection, table.select_all):
            yield None if is_whole(row) else f"{kind.KIND} {row[table.width - 1]}"


def first_damaged_row(path: str) -> str | None:
    """Search a file with an undamaged structure for the first damaged row.

    :returns: which row it is, in words; ``None`` if none is damaged.
    """
    with closing(connect_for_looking(path)) as connection:
        return next((describe_rows([name]) for name in check_rows(connection) if name is not None), None)


def damaged_rows(path: str) -> tuple[str | None, bool]:
    """Check the rows of a file, for :data:`~dhtwisted.providers.sqlite.inspection.SEARCH_SECONDS` at most.

    :returns: what is damaged, in words, or ``None``; and whether all rows were checked.
    """
    end, names, is_all = time.monotonic() + SEARCH_SECONDS, [], True
    try:
        with closing(connect_for_looking(path)) as connection:
            for name in check_rows(connection):
                if name is not None:
                    names.append(name)
                if time.monotonic() > end:
                    is_all = False
                    break
    except sqlite3.Error as error:
        return str(error), False
    return (describe_rows(names) if names else None), is_all


def describe_rows(names: list[str]) -> str:
    """Name damaged rows.

    :param names: as :func:`check_rows` gives them, at least one.
    """
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"not as it was stored: {', '.join(names[:MOST_NAMED])}{more}"


def _rows(connection: sqlite3.Connection, sql: str) -> Iterable[tuple[Any, ...]]:
    with suppress(sqlite3.OperationalError):  # A schema of before there were checksums has none to look at.
        connection.execute(f"{sql} LIMIT 0")
        return connection.execute(sql)
    return ()
