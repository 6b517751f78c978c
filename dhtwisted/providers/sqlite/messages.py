"""Commands and notifications as rows of SQLite: the tables, the statements, and rows to objects and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, starmap
from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple, replace

from dhtwisted.errors import RowDamaged
from dhtwisted.model import MESSAGE_KINDS, Command, Message, MessageQuery, Notification
from dhtwisted.providers.sqlite.row_checksum import first_damaged

if TYPE_CHECKING:
    from dhtwisted.providers.sqlite.steps import Statement

Term = tuple[str, list[Any]]
"""A condition in SQL, and its values."""


LARGEST = 2**63 - 1
"""SQLite's largest integer."""

FEW = 200
"""Up to so many devices are searched in the index of devices. For more, a walk along the index of times is faster."""


def _command(
    name: str,
    device_id: str,
    network_id: int,
    device_type_id: int,
    user_id: int | None,
    parameters: bytes | None,
    lifetime: int | None,
    status: str | None,
    result: bytes | None,
    timestamp: int,
    arrived: int,
    last_updated: int,
    updated: int,
    update_id: int,
    message_id: int,
    checksum: int | None,
) -> Command:
    return Command(
        name=name,
        device_id=device_id,
        network_id=network_id,
        device_type_id=device_type_id,
        user_id=user_id,
        parameters=parameters,
        lifetime=lifetime,
        status=status,
        result=result,
        timestamp=timestamp,
        arrived=arrived,
        last_updated=last_updated,
        updated=bool(updated),
        update_id=update_id,
        id=message_id,
    )


def _notification(
    name: str,
    device_id: str,
    network_id: int,
    device_type_id: int,
    parameters: bytes | None,
    timestamp: int,
    arrived: int,
    message_id: int,
    checksum: int | None,
) -> Notification:
    return Notification(
        name=name,
        device_id=device_id,
        network_id=network_id,
        device_type_id=device_type_id,
        parameters=parameters,
        timestamp=timestamp,
        arrived=arrived,
        id=message_id,
    )


_OF_ROW: dict[type[Message], Callable[..., Message]] = {Command: _command, Notification: _notification}
"""Written out in the order of the columns. With a dict for each row it would take four times as long, and a list may have ten thousand
rows."""


class MessageTable:
    """The table of one kind of message. Column names are the field names of the kind.

    :param kind: ``Command`` or ``Notification``.
    :ivar into: the statement that stores rows, without its ``INSERT``, up to its ``VALUES``.
    :ivar width: how many values a row has, without its checksum.
    :ivar payloads: where in a row the payloads are.
    :ivar select_all: the statement that reads all rows.
    :ivar select_range: the statement that reads the rows from one id up to, but without, another.
    :ivar put_checksum: the statement that stores the checksum of the row with an id.
    """

    def __init__(self, kind: type[Message]) -> None:
        self.kind = kind
        self._fields = kind.__struct_fields__
        self._flag = self._fields.index("updated") if "updated" in self._fields else None
        self._places = [
            (field, self._fields.index(field)) for field in ("timestamp", "arrived", "last_updated", "id") if field in self._fields
        ]
        self._columns = ", ".join((*self._fields, "checksum"))
        self.into = f"INTO {kind.KIND} ({self._columns})"
        self.select_all = f"SELECT {self._columns} FROM {kind.KIND}"
        self.select_range = f"{self.select_all} WHERE id >= ? AND id < ? ORDER BY id"
        self.put_checksum = f"UPDATE {kind.KIND} SET checksum = ? WHERE id = ?"
        self.width = len(self._fields)
        self.payloads = [self._fields.index(field) for field in ("parameters", "result") if field in self._fields]
        self.update = (
            "UPDATE command SET {assignments}updated = 1, update_id = ?, last_updated = max(?, last_updated + 1)"
            f" WHERE id = ? AND device_id = ? RETURNING {self._columns}"
        )

    def values(self, messages: Sequence[Message]) -> list[Any]:
        """List the values of messages that have their stamps, row after row."""
        values = list(chain.from_iterable(map(astuple, messages)))
        if self._flag is not None:
            # An integer, as SQLite returns it, because the checksum is computed from that.
            values[self._flag :: self.width] = map(int, values[self._flag :: self.width])
        return values

    def values_of_new(self, now: int, messages: Sequence[Message], timestamps: Sequence[int], ids: Sequence[int]) -> list[Any]:
        """List the values of new messages, whose stamps are given separately.

        :param now: their time of arrival.
        """
        values = self.values(messages)
        stamps = {"timestamp": timestamps, "arrived": (now,) * len(ids), "last_updated": timestamps, "id": ids}
        for field, place in self._places:
            values[place :: self.width] = stamps[field]
        return values

    def objects(self, rows: list[tuple[Any, ...]]) -> list[Any]:
        """Make the messages of rows.

        :raises RowDamaged: a row is damaged.
        """
        damaged = first_damaged(rows)
        if damaged is not None:
            raise RowDamaged(self.kind.KIND, damaged[self.width - 1])
        return list(starmap(_OF_ROW[self.kind], rows))

    def get(self, device_id: str, message_id: int) -> Statement:
        """Make the statement that reads one message.

        :returns: SQL and its parameters.
        """
        return f"SELECT {self._columns} FROM {self.kind.KIND} WHERE id = ? AND device_id = ?", (message_id, device_id)

    def taken(self, ids: Sequence[int]) -> Statement:
        """Make the statement that finds one of these ids that is taken.

        :returns: SQL and its parameters.
        """
        condition, parameters = _among("id", ids)
        return f"SELECT id FROM {self.kind.KIND} WHERE {condition} LIMIT 1", parameters

    def find(self, query: MessageQuery) -> Statement:
        """Make the statement for a query.

        :returns: SQL and its parameters.
        """
        fields = query.order_fields
        if not set(fields) <= set(self._fields):
            raise ValueError(f"a {self.kind.__name__} has no field {query.sort!r} to sort by")
        conditions, parameters = self._conditions(query, fields)
        order = ", ".join(f"{field} DESC" if query.descending else field for field in fields)
        take = LARGEST if query.take is None else min(query.take, LARGEST)
        sql = f"SELECT {self._columns} FROM {self.kind.KIND}{conditions} ORDER BY {order} LIMIT ? OFFSET ?"
        return sql, (*parameters, take, min(query.skip, LARGEST))

    def forget(self, query: MessageQuery) -> Statement:
        """Make the statement that deletes the messages that arrived first; of given devices any, because their index has no arrivals.

        :returns: SQL and its parameters.
        """
        conditions, parameters = self._conditions(replace(query, by_arrival=True))
        take = LARGEST if query.take is None else min(query.take, LARGEST)
        order = " ORDER BY arrived, id" if query.device_ids is None else ""
        first = f"SELECT id FROM {self.kind.KIND}{conditions}{order} LIMIT ?"
        return f"DELETE FROM {self.kind.KIND} WHERE id IN ({first})", (*parameters, take)

    def change(self, device_id: str, command_id: int, now: int, update_id: int, changes: dict[str, Any]) -> Statement:
        """Make the statement that updates a command and returns its row.

        :param update_id: the number of this update.
        :param changes: field -> value; only ``status`` and ``result``.
        :returns: SQL and its parameters.
        """
        assignments = "".join(f"{field} = ?, " for field in ("status", "result") if field in changes)
        values = [changes[field] for field in ("status", "result") if field in changes]
        return self.update.format(assignments=assignments), (*values, update_id, now, command_id, device_id)

    def _conditions(self, query: MessageQuery, order: tuple[str, ...] = ()) -> Statement:
        terms = list(_time_terms(query))
        if query.behind is not None:
            terms.append(_behind_term(query, query.behind, order))
        if query.device_ids is not None:
            terms.append(_device_term(query.device_ids))
        if query.names is not None:
            terms.append(_among("name", query.names))
        if self.kind is Command:
            if query.status is not None:
                terms.append(("casefold(status) = ?", [query.status.casefold()]))
            if query.updated:
                terms.append(("updated = 1", []))
        conditions = " AND ".join(sql for sql, _ in terms)
        return f" WHERE {conditions}" if terms else "", [value for _, values in terms for value in values]


MESSAGE_TABLES: dict[type[Message], MessageTable] = {kind: MessageTable(kind) for kind in MESSAGE_KINDS.values()}


def is_integer_of_sqlite(value: int) -> bool:
    """Whether an integer fits into SQLite. A client may ask for any; beyond these there is nothing."""
    return -LARGEST <= value <= LARGEST


def _time_terms(query: MessageQuery) -> Iterator[Term]:
    time = query.time_field
    if query.since is not None:
        yield f"{time} >= ?", [_within_range(query.since)]
    if query.before is not None:
        yield f"{time} < ?", [_within_range(query.before)]
    if query.after is not None:
        timestamp, message_id = map(_within_range, query.after)
        # The first term alone lets the index be entered at the right place.
        yield f"{time} >= ? AND ({time} > ? OR id > ?)", [timestamp, timestamp, message_id]


def _behind_term(query: MessageQuery, behind: tuple[Any, ...], fields: tuple[str, ...]) -> Term:
    """Make the condition for rows behind a place in the order of these fields. Only a status may be absent; it comes first then."""
    place, sign = list(map(_within_range, behind)), "<" if query.descending else ">"
    if place[0] is None:
        ties = f"{fields[0]} IS NULL AND ({', '.join(fields[1:])}) {sign} (?, ?)"
        return ties if query.descending else f"({fields[0]} IS NOT NULL OR {ties})", place[1:]
    term = f"({', '.join(fields)}) {sign} ({', '.join('?' * len(place))})"
    if len(place) == 2:
        # The first term alone lets the index be entered at the right place.
        return f"{fields[0]} {sign}= ? AND {term}", [place[0], *place]
    return f"({term} OR {fields[0]} IS NULL)" if query.descending else term, place


def _device_term(device_ids: Sequence[str]) -> Term:
    if len(device_ids) <= FEW:
        return _among("device_id", device_ids)
    sql, values = _among("device_id", device_ids)
    return f"+{sql}", values  # the plus keeps SQLite from the index of devices


def _among(column: str, values: Sequence[Any]) -> Term:
    """Make the condition that a column has one of several values. Many are one parameter, because a statement has a limit."""
    if len(values) == 1:
        return f"{column} = ?", list(values)
    if len(values) <= FEW:
        return f"{column} IN ({', '.join('?' * len(values))})", list(values)
    return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(list(values))]


def _within_range(value: Any) -> Any:
    return max(-LARGEST, min(value, LARGEST)) if isinstance(value, int) else value
