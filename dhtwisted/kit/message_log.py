"""Messages of one kind in memory, found by id, time, device, arrival, and (commands only) time of the last update.

Each index is a sorted list, so a query costs what it returns and not what is stored. Messages nearly always arrive with ascending times and
are removed at the old end; both are fast. Anything else moves a part of one list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import inf
from typing import Any

from msgspec.structs import replace

from dhtwisted.errors import Duplicate
from dhtwisted.kit.message_index import Order, OrderedMessages, TimeIndex, by_arrival, by_update, chronological
from dhtwisted.kit.slices import Walk, run_to_end, select, select_sorted
from dhtwisted.model import Command, Message, MessageQuery, cut_to_size, payload_size


class MessageLog:
    """All messages of one kind.

    :param kind: ``model.Command`` or ``model.Notification``.
    :ivar last_id: the highest id that was ever used.
    :ivar by_id: id -> message.
    :ivar last_update_id: the highest number of an update of a command.
    """

    def __init__(self, kind: type[Message]) -> None:
        self.kind = kind
        self.last_id = 0
        self.last_update_id = 0
        self.by_id: dict[int, Any] = {}
        self._times = TimeIndex(chronological)
        self._updates = TimeIndex(by_update)
        # The messages as they arrived. An update does not change the place of a command here.
        self._arrivals = OrderedMessages(by_arrival)
        self._last_arrival = 0
        self._are_commands = kind is Command

    def __len__(self) -> int:
        return len(self.by_id)

    def add(self, message: Message, now: int) -> None:
        """Stamp a new message and store it.

        :param now: server time in milliseconds: when it arrives, and its timestamp if it has none. It must not go back.
        """
        message.id = self.last_id = message_id = self.last_id + 1
        timestamp = message.timestamp
        if timestamp is None:
            timestamp = message.timestamp = now
        if self._are_commands:
            message.last_updated = timestamp  # type: ignore[union-attr]  # a check of the type would cost time for each message
        message.arrived = now
        self.by_id[message_id] = message
        if now < self._last_arrival:
            self._arrivals.add(message)
        else:
            self._arrivals.items.append(message)
        times = self._times
        device = times.by_device.get(message.device_id)
        if device is None or timestamp < times.latest:
            times.add(message)
        else:
            # Nearly always: the message belongs to the ends of the lists.
            times.latest = timestamp
            times.all.items.append(message)
            device.items.append(message)

    def add_many(self, messages: Sequence[Message], now: int) -> None:
        """The same as :meth:`add` for each. What is usual costs half of it: none has a timestamp of its own, and no time lies ahead."""
        times = self._times
        if now < times.latest or now < self._last_arrival or [True for message in messages if message.timestamp is not None]:
            for message in messages:
                self.add(message, now)
            return
        by_id, message_id, are_commands = self.by_id, self.last_id, self._are_commands
        device_id = None
        for message in messages:
            message_id += 1
            message.id = message_id
            message.timestamp = message.arrived = now
            if are_commands:
                message.last_updated = now  # type: ignore[union-attr]  # as in add
            by_id[message_id] = message
            if message.device_id != device_id:
                device_id = message.device_id
                device = times.of_device(device_id)
            device.items.append(message)
        self.last_id = message_id
        times.latest = now
        times.all.items += messages
        self._arrivals.items += messages

    def put(self, message: Message) -> None:
        """Store a message that has its stamps, when data are read again or restored. Its id must be free."""
        assert message.arrived is not None
        if message.id > self.last_id:
            self.last_id = message.id
        self.by_id[message.id] = message
        self._times.add(message)
        self._arrivals.add(message)
        self._last_arrival = max(self._last_arrival, message.arrived)
        if isinstance(message, Command) and message.updated:
            self._updates.add(message)

    def check_free(self, message_id: int) -> None:
        """Make sure that no message has an id.

        :raises Duplicate: a message has it.
        """
        if message_id in self.by_id:
            raise Duplicate(self.kind, "id", message_id)

    def get(self, device_id: str, message_id: int) -> Any:
        """Find one message of a device, or ``None``."""
        message = self.by_id.get(message_id)
        return message if message is not None and message.device_id == device_id else None

    def update_command(self, device_id: str, command_id: int, now: int, changes: dict[str, Any]) -> Command | None:
        """Update a command. The update is a new object; the one that was returned before does not change.

        :param now: server time in milliseconds.
        :param changes: ``status``, ``result``, both or neither.
        :returns: the new command, or ``None``.
        """
        message = self.get(device_id, command_id)
        if message is None:
            return None
        self.last_update_id += 1
        stamps = {"last_updated": max(now, message.last_updated + 1), "updated": True, "update_id": self.last_update_id}
        changed: Command = replace(message, **stamps, **changes)
        self.by_id[message.id] = changed
        self._times.replace(message, changed)
        if message.updated:
            self._updates.remove(message)
        self._updates.add(changed)
        return changed

    def find(self, query: MessageQuery) -> list[Any]:
        """List the messages that a query matches."""
        return run_to_end(self.find_in_slices(query))

    def find_in_slices(self, query: MessageQuery) -> Walk[list[Any]]:
        """As :meth:`find`, as a walk of :mod:`~dhtwisted.kit.slices`, for a storage that serves others meanwhile."""
        if query.behind is not None and query.sort == "timestamp":
            query = _narrowed(query, query.behind[0])
        index = self._updates if query.by_update else self._times
        walk, order = (self._arrived(query), by_arrival) if query.by_arrival else (index.walk(query), index.order)
        matches = self._condition(query)
        if query.behind is not None:
            is_behind = _is_behind(query, query.behind)
            matches = is_behind if matches is None else _both(matches, is_behind)
        limit = None if query.take is None else query.skip + query.take
        if query.sort == "timestamp":
            found = yield from select(walk, matches, limit)
        else:
            found = yield from select_sorted(walk, matches, _sort_key(query.sort, order), query.descending, limit)
        found = found[query.skip :]
        return found if query.size is None else cut_to_size(found, query.size, payload_size)

    def forget(self, query: MessageQuery) -> int:
        """Delete messages that a query matches: those first that arrived first; of given devices in any order.

        :param query: see ``IMessageStorage.forget_messages``.
        :returns: how many were deleted.
        """
        if query.device_ids is None:
            found = self._arrived(query)
        else:
            found = self._times.walk(replace(query, before=None))
            if (before := query.before) is not None:
                found = (message for message in found if message.arrived < before)
        deleted = list(islice(found, query.take))
        for message in deleted:
            self._remove(message)
        return len(deleted)

    def first_arrival(self) -> float:
        """When the oldest message arrived, in milliseconds; infinite if there is none."""
        return self._arrivals.first.arrived if self._arrivals else inf

    def forget_first(self) -> None:
        """Delete the message that arrived first; there must be one."""
        self._remove(self.by_id[self._arrivals.first.id])

    def _arrived(self, query: MessageQuery) -> Iterator[Any]:
        """Walk through messages in the order of their arrival, in their present state."""
        found = (self.by_id[message.id] for message in self._arrivals.between(query))
        if query.device_ids is None:
            return found
        devices = frozenset(query.device_ids)
        return (message for message in found if message.device_id in devices)

    def _remove(self, message: Message) -> None:
        del self.by_id[message.id]
        self._times.remove(message)
        self._arrivals.remove(message)
        if isinstance(message, Command) and message.updated:
            self._updates.remove(message)

    def _condition(self, query: MessageQuery) -> Callable[[Any], bool] | None:
        """What a query asks for besides time and device; ``None`` for nothing."""
        names = None if query.names is None else frozenset(query.names)
        commands = self.kind is Command
        status = query.status.casefold() if commands and query.status is not None else None
        updated = commands and query.updated
        if names is None and status is None and not updated:
            return None

        def matches(message: Any) -> bool:
            return (
                (names is None or message.name in names)
                and (status is None or (message.status is not None and message.status.casefold() == status))
                and (not updated or message.updated)
            )

        return matches


def _both(matches: Callable[[Any], bool], is_behind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda message: matches(message) and is_behind(message)


def _narrowed(query: MessageQuery, time: int) -> MessageQuery:
    """Add the bound that follows from the time of ``query.behind``, so that the walk begins there."""
    if query.descending:
        return replace(query, before=time + 1 if query.before is None else min(query.before, time + 1))
    return replace(query, since=time if query.since is None else max(query.since, time))


def _is_behind(query: MessageQuery, behind: tuple[Any, ...]) -> Callable[[Any], bool]:
    """Make a function that tells whether a message comes behind ``query.behind``."""
    key: Callable[[Any], tuple[Any, ...]]
    if query.sort == "timestamp":
        place, key = behind, query.place
    else:
        (value, *rest), key = behind, _sort_key(query.sort, lambda message: query.place(message)[1:])
        place = value is not None, value or "", tuple(rest)
    return lambda message: key(message) < place if query.descending else key(message) > place


def _sort_key(field: str, order: Order) -> Callable[[Any], tuple[Any, ...]]:
    def key(message: Any) -> tuple[Any, ...]:
        value = getattr(message, field, None)
        return value is not None, value or "", order(message)

    return key
