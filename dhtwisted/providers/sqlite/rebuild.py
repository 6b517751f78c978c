"""Copies the undamaged part of a data file into a new one, for a start that accepts the loss of the rest.

Messages are read by ranges of ids. A range that cannot be read is halved until only the damaged rows are left. Entities are read from both
ends. The damaged file is kept beside the new one, under another name.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from typing import Any

from dhtwisted.errors import ConfigurationError
from dhtwisted.providers.sqlite.data_files import WRITTEN
from dhtwisted.providers.sqlite.database import connect_writer, sync_directory
from dhtwisted.providers.sqlite.inspection import connect_for_looking
from dhtwisted.providers.sqlite.mark import IN_USE
from dhtwisted.providers.sqlite.messages import MESSAGE_TABLES, MessageTable
from dhtwisted.providers.sqlite.row_checksum import is_whole
from dhtwisted.providers.sqlite.transaction import decode, transaction

PORTION = 512
"""Ids in a range."""

_ENTITIES = "SELECT kind, key, body, checksum FROM entity ORDER BY kind {0}, key {0}"
_PUT_ENTITY = "INSERT OR REPLACE INTO entity (kind, key, body, checksum) VALUES (?, ?, ?, ?)"


def rebuild(path: str, floor: dict[str, int]) -> list[str]:
    """Copy the undamaged part into a new data file, which takes the place of the damaged one.

    :param path: of the damaged file, which nobody uses.
    :param floor: name of a counter -> its lowest permitted value.
    :returns: texts of what is lost, and of where the damaged file is.
    :raises ConfigurationError: it cannot be done.
    """
    new = f"{path}.rebuilt"
    _remove(new)
    try:
        with closing(connect_for_looking(path)) as source, closing(connect_writer(new)) as target:
            source.text_factory = decode
            _check_columns(source)
            with transaction(target):
                losses = _copy(source, target, floor)
        kept = _take_place(path, new)
    except (OSError, sqlite3.Error) as error:
        cure = "make room for another beside it if there is none, or restore a backup"
        raise ConfigurationError(f"storage file {path} is damaged, and what is whole cannot be saved ({error}); {cure}") from error
    finally:
        _remove(new)
    return [*losses, f"was put into a new file as far as it is whole; the damaged one is {kept}"]


def _check_columns(source: sqlite3.Connection) -> None:
    """Make sure that the columns exist. Otherwise a file with other columns would look empty.

    :raises sqlite3.OperationalError: a column is missing.
    """
    for sql in (_ENTITIES.format("ASC"), *(table.select_all for table in MESSAGE_TABLES.values())):
        source.execute(f"{sql} LIMIT 0")


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, floor: dict[str, int]) -> list[str]:
    counters = dict(floor)
    with suppress(sqlite3.Error):
        for name, value in source.execute("SELECT name, value FROM counter WHERE name <> ?", (IN_USE,)):
            counters[name] = max(value, counters.get(name, 0))
    losses = _copy_entities(source, target)
    for kind, table in MESSAGE_TABLES.items():
        last = _first_of(source, f"SELECT max(id) FROM {kind.KIND}", 0)
        counters[kind.KIND] = max(last, counters.get(kind.KIND, 0))
        losses += _copy_messages(source, target, table, counters[kind.KIND])
    target.executemany("INSERT OR REPLACE INTO counter (name, value) VALUES (?, ?)", counters.items())
    return losses


def _copy_entities(source: sqlite3.Connection, target: sqlite3.Connection) -> list[str]:
    rows, is_all = _read_on(source, _ENTITIES.format("ASC"))
    if not is_all:
        rows += _read_on(source, _ENTITIES.format("DESC"))[0]
    target.executemany(_PUT_ENTITY, [row for row in rows if is_whole(row)])
    lost = sorted({f"{kind} {key}" for kind, key, *_ in (row for row in rows if not is_whole(row))})
    return ([f"has lost {', '.join(lost)}"] if lost else []) + ([] if is_all else ["has lost users, networks, devices or other entities"])


def _read_on(source: sqlite3.Connection, sql: str) -> tuple[list[Any], bool]:
    """Read rows up to the first that cannot be read, and return whether all could be read."""
    found = []
    try:
        for row in source.execute(sql):
            found.append(row)
    except sqlite3.Error:
        return found, False
    return found, True


def _copy_messages(source: sqlite3.Connection, target: sqlite3.Connection, table: MessageTable, last: int) -> list[str]:
    kind, lost = table.kind.KIND, []
    insert = f"INSERT {table.into} VALUES ({', '.join('?' * (table.width + 1))})"
    for start in range(_first_of(source, f"SELECT min(id) FROM {kind}", 1), last + 1, PORTION):
        for number, row in _rows(source, table, start, min(start + PORTION, last + 1)):
            try:
                if row is None or not is_whole(row):
                    raise ValueError(number)
                target.execute(insert, row)
            except (ValueError, sqlite3.IntegrityError):
                lost.append(number)
    return [f"has lost {kind}s {_ranges(lost)}"] if lost else []


def _rows(source: sqlite3.Connection, table: MessageTable, start: int, end: int) -> list[tuple[int, Any]]:
    """Read rows with their ids. The row is ``None`` if it cannot be read."""
    try:
        rows = source.execute(table.select_range, (start, end)).fetchall()
    except sqlite3.Error:
        if end - start == 1:
            return [(start, None)]
        middle = (start + end) // 2
        return _rows(source, table, start, middle) + _rows(source, table, middle, end)
    # Rows on a damaged page may appear where they do not belong.
    return [(row[table.width - 1], row) for row in rows if start <= row[table.width - 1] < end]


def _first_of(source: sqlite3.Connection, sql: str, otherwise: int) -> int:
    try:
        (value,) = source.execute(sql).fetchone()
    except sqlite3.Error:
        return otherwise
    return otherwise if value is None else value


def _ranges(numbers: list[int]) -> str:
    """Write ascending numbers as ranges."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{first} to {last}" if last > first else str(first) for first, last in parts)


def _take_place(path: str, new: str) -> str:
    """Put the new file in the place of the damaged one.

    :returns: the new path of the damaged file.
    """
    number = 1
    while os.path.exists(kept := f"{path}.damaged-{number}"):
        number += 1
    os.link(path, kept)
    with suppress(FileNotFoundError):
        os.rename(f"{path}-wal", f"{kept}-wal")
    with suppress(FileNotFoundError):
        os.unlink(f"{path}-shm")
    os.replace(new, path)
    sync_directory(path)
    return kept


def _remove(new: str) -> None:
    for suffix in WRITTEN:
        with suppress(FileNotFoundError):
            os.unlink(new + suffix)
