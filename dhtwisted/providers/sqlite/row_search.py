"""A search for rows of a data file that are not as they were stored. SQLite's own search for damage looks at the form of the file alone."""

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
    """Look at all rows, one after the other, a microsecond or two for each.

    :param connection: of a file whose form is whole. Its texts are decoded as the checksums need it from now on.
    :returns: an iterator with an item for each row: ``None``, or the name, such as ``notification 978``, of one that is damaged.
    """
    connection.text_factory = decode
    for row in _rows(connection, _ENTITIES):
        yield None if is_whole(row) else f"{row[0]} {row[1]}"
    for kind, table in MESSAGE_TABLES.items():
        for row in _rows(connection, table.select_all):
            yield None if is_whole(row) else f"{kind.KIND} {row[table.width - 1]}"


def first_damaged_row(path: str) -> str | None:
    """Look for a row that is not as it was stored, in all of a file whose form is whole.

    :returns: which it is, in words; ``None`` for none.
    """
    with closing(connect_for_looking(path)) as connection:
        return next((describe_rows([name]) for name in check_rows(connection) if name is not None), None)


def damaged_rows(path: str) -> tuple[str | None, bool]:
    """Look at the rows of a file, for :data:`~dhtwisted.providers.sqlite.inspection.SEARCH_SECONDS` at most.

    :returns: what is damaged, in words, ``None`` for nothing; and whether all rows were looked at.
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
    """Say which rows are damaged.

    :param names: as :func:`check_rows` gives them, at least one.
    """
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"not as it was stored: {', '.join(names[:MOST_NAMED])}{more}"


def _rows(connection: sqlite3.Connection, sql: str) -> Iterable[tuple[Any, ...]]:
    with suppress(sqlite3.OperationalError):  # A schema of before there were checksums has none to look at.
        connection.execute(f"{sql} LIMIT 0")
        return connection.execute(sql)
    return ()
