"""Commands and notifications as rows of PostgreSQL: the statements that read and delete, and rows to objects and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import starmap
from typing import Any

from msgspec.structs import replace

from dhtwisted.model import MESSAGE_KINDS, Command, Message, MessageQuery, Notification
from dhtwisted.providers.postgres.statements import Statement, Term
from dhtwisted.providers.postgres.values import LARGEST, has_nul, up_to_size, within_range

FEW = 200
"""Up to so many devices, each is looked up by the index of devices; above it, reading along the index of times is quicker."""

PAYLOADS = ("parameters", "result")


def _command(
    name: str,
    device_id: str,
    network_id: int,
    device_type_id: int,
    user_id: int | None,
    parameters: str | None,
    lifetime: int | None,
    status: str | None,
    result: str | None,
    timestamp: int,
    arrived: int,
    last_updated: int,
    updated: bool,
    update_id: int,
    message_id: int,
) -> Command:
    return Command(
        name=name,
        device_id=device_id,
        network_id=network_id,
        device_type_id=device_type_id,
        user_id=user_id,
        parameters=None if parameters is None else parameters.encode(),
        lifetime=lifetime,
        status=status,
        result=None if result is None else result.encode(),
        timestamp=timestamp,
        arrived=arrived,
        last_updated=last_updated,
        updated=updated,
        update_id=update_id,
        id=message_id,
    )


def _notification(
    name: str,
    device_id: str,
    network_id: int,
    device_type_id: int,
    parameters: str | None,
    timestamp: int,
    arrived: int,
    message_id: int,
) -> Notification:
    return Notification(
        name=name,
        device_id=device_id,
        network_id=network_id,
        device_type_id=device_type_id,
        parameters=None if parameters is None else parameters.encode(),
        timestamp=timestamp,
        arrived=arrived,
        id=message_id,
    )


_OF_ROW: dict[type[Message], Callable[..., Message]] = {Command: _command, Notification: _notification}
"""Written out in the order of the columns. With a dict for each row it would take eight times as long."""


class MessageTable:
    """The table of one kind of message. Column names are the field names of the kind.

    :param kind: ``Command`` or ``Notification``.
    :ivar name: of the table.
    :ivar columns: what a row for :meth:`message` is made of.
    """

    def __init__(self, kind: type[Message]) -> None:
        self.kind = kind
        self.name = f"{kind.KIND}s"
        self._fields = kind.__struct_fields__
        self._size = " + ".join(f"coalesce(octet_length({field}), 0)" for field in PAYLOADS if field in self._fields)
        # The driver would make objects of json.
        self.columns = ", ".join(f"{field}::text" if field in PAYLOADS else field for field in self._fields)

    def messages(self, rows: Iterable[Sequence[Any]]) -> list[Any]:
        """The messages that rows stand for."""
        return list(starmap(_OF_ROW[self.kind], rows))

    def message(self, row: Sequence[Any]) -> Any:
        """The message that a row stands for."""
        return _OF_ROW[self.kind](*row)

    def get(self, device_id: str, message_id: int) -> Statement:
        """The statement for one message.

        :returns: SQL and its values.
        """
        return f"SELECT {self.columns} FROM {self.name} WHERE id = %s AND device_id = %s", (message_id, device_id)

    def find(self, query: MessageQuery) -> Statement:
        """The statement for a query.

        :returns: SQL and its values.
        """
        take, skip = None if query.take is None else min(query.take, LARGEST), min(query.skip, LARGEST)
        order = self._order(query)
        values: Sequence[Any]
        if query.device_ids is not None and 1 < len(query.device_ids) <= FEW and take is not None:
            sql, values = self._find_of_each(query, query.device_ids, order, take, skip)
        else:
            conditions, values = self._conditions(query, _device_terms(query))
            sql = f"SELECT {self.columns} FROM {self.name}{conditions} ORDER BY {order} LIMIT %s OFFSET %s"
            values = (*values, take, skip)
        if query.size is None:
            return sql, values
        return up_to_size(sql, self._fields, self._size, order), (*values, query.size)

    def _find_of_each(self, query: MessageQuery, device_ids: Sequence[str], order: str, take: int, skip: int) -> Statement:
        """For a few devices: as many of each as could be among the answer, each found by the index, and of those the first.

        Asked for rows of any of several devices, PostgreSQL reads all of them and sorts. Whole rows are read at the end only: 6 ms instead
        of 16 for the newest 500 of 200 devices with 100 each.
        """
        conditions, values = self._conditions(query, [("device_id = device.wanted", [])])
        sorted_by = ", ".join(dict.fromkeys(("id", *self._order_fields(query))))
        sql = (
            f"SELECT {self.columns} FROM {self.name} WHERE id IN (SELECT id FROM unnest(%s::text[]) AS device(wanted), LATERAL"
            f" (SELECT {sorted_by} FROM {self.name}{conditions} ORDER BY {order} LIMIT %s) AS found ORDER BY {order} LIMIT %s OFFSET %s)"
            f" ORDER BY {order}"
        )
        return sql, (list(set(device_ids)), *values, min(skip + take, LARGEST), take, skip)

    def forget(self, query: MessageQuery) -> Statement:
        """The statement that deletes those that arrived first, or of given devices any, since their index has no arrivals. It answers a
        row for each, and steps over rows that another node deletes at this moment.

        :returns: SQL and its values.
        """
        conditions, values = self._conditions(replace(query, by_arrival=True), _device_terms(query))
        order = " ORDER BY arrived, id" if query.device_ids is None else ""
        first = f"SELECT id FROM {self.name}{conditions}{order} LIMIT %s FOR UPDATE SKIP LOCKED"
        return f"DELETE FROM {self.name} WHERE id = ANY(ARRAY({first})) RETURNING 1", (*values, query.take)

    def _order_fields(self, query: MessageQuery) -> tuple[str, ...]:
        fields = query.order_fields
        if not set(fields) <= set(self._fields):
            raise ValueError(f"a {self.kind.__name__} has no field {query.sort!r} to sort by")
        return fields

    def _order(self, query: MessageQuery) -> str:
        # An absent value sorts first. Where there is none, saying so would keep PostgreSQL from its index.
        direction = " DESC" if query.descending else ""
        nulls = {"status": " NULLS LAST" if query.descending else " NULLS FIRST"}
        return ", ".join(f"{field}{direction}{nulls.get(field, '')}" for field in self._order_fields(query))

    def _conditions(self, query: MessageQuery, terms: Sequence[Term]) -> tuple[str, list[Any]]:
        terms = [*terms, *_time_terms(query)]
        if query.names is not None:
            terms.append(("name = ANY(%s::text[])", [[name for name in query.names if not has_nul(name)]]))
        if self.kind is Command:
            if has_nul(query.status):
                terms.append(("false", []))
            elif query.status is not None:
                terms.append(("coalesce(folded_status, lower(status)) = %s", [query.status.casefold()]))
            if query.updated:
                terms.append(("updated", []))
        if query.behind is not None:
            terms.append(_behind_term(query, query.behind, self._order_fields(query)))
        conditions = " AND ".join(sql for sql, _ in terms)
        return f" WHERE {conditions}" if terms else "", [value for _, values in terms for value in values]


MESSAGE_TABLES = {kind: MessageTable(kind) for kind in MESSAGE_KINDS.values()}


def _time_terms(query: MessageQuery) -> Iterator[Term]:
    time = query.time_field
    if query.since is not None:
        yield f"{time} >= %s", [within_range(query.since)]
    if query.before is not None:
        yield f"{time} < %s", [within_range(query.before)]
    if query.after is not None:
        yield f"({time}, id) > (%s, %s)", [within_range(value) for value in query.after]


def _behind_term(query: MessageQuery, behind: tuple[Any, ...], fields: tuple[str, ...]) -> Term:
    """Behind a place in the order of these fields. Of them only a status may be absent, which comes first."""
    place = [within_range(value) if isinstance(value, int) else value for value in behind]
    sign = "<" if query.descending else ">"
    if place[0] is None:
        ties = f"{fields[0]} IS NULL AND ({', '.join(fields[1:])}) {sign} (%s, %s)"
        return ties if query.descending else f"({fields[0]} IS NOT NULL OR {ties})", place[1:]
    term = f"({', '.join(fields)}) {sign} ({', '.join(['%s'] * len(place))})"
    return f"({term} OR {fields[0]} IS NULL)" if query.descending and fields[0] == "status" else term, place


def _device_terms(query: MessageQuery) -> list[Term]:
    device_ids = query.device_ids
    if device_ids is None:
        return []
    if len(device_ids) == 1:
        return [("device_id = %s", list(device_ids))]
    if len(device_ids) <= FEW:
        return [("device_id = ANY(%s::text[])", [list(device_ids)])]
    # What is computed keeps PostgreSQL from the index of devices.
    return [("(device_id || '') = ANY(%s::text[])", [list(device_ids)])]
