"""Lists of messages in order of a time: of one kind together, and of each device."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from heapq import merge
from typing import Any

from dhtwisted.model import Command, Message, MessageQuery

_MIN_REMOVED = 1000
"""Fewer removed places than this at the front of a list are not worth a move of the rest."""

Order = Callable[[Any], tuple[Any, ...]]
"""Gives the place of a message in an order: a time and the id."""


def chronological(message: Message) -> tuple[Any, int]:
    """The order of messages: by time, then by id, which is the order in which they became visible."""
    return message.timestamp, message.id


def by_update(command: Command) -> tuple[Any, int]:
    """The order of updates: by the time of the update, then by id."""
    return command.last_updated, command.id


def by_arrival(message: Message) -> tuple[Any, int]:
    """The order of arrival: by the storage's time, then by id."""
    return message.arrived, message.id


class OrderedMessages:
    """A list of messages in an order. Removing the oldest costs little.

    Places before ``start`` are empty. They are cut off when they are the larger part, so that removing at the front moves each message once
    on average, and not all of them each time.

    :param order: what the list is sorted by.
    """

    __slots__ = ("items", "order", "start")

    def __init__(self, order: Order = chronological) -> None:
        self.items: list[Any] = []
        self.start = 0
        self.order = order

    def __len__(self) -> int:
        return len(self.items) - self.start

    @property
    def first(self) -> Any:
        """The first message; there must be one."""
        return self.items[self.start]

    def add(self, message: Message) -> None:
        """Add a message at its place, which is nearly always the end."""
        items = self.items
        if self.start == len(items) or self.order(items[-1]) <= self.order(message):
            items.append(message)
        else:
            insort(items, message, self.start, key=self.order)

    def remove(self, message: Message) -> None:
        """Remove a message. It, or an earlier state of it with the same place, must be there."""
        if self.first.id != message.id:
            del self.items[self._position(message)]
            return
        self.items[self.start] = None
        self.start += 1
        if self.start > _MIN_REMOVED and self.start * 2 > len(self.items):
            del self.items[: self.start]
            self.start = 0

    def replace(self, old: Message, new: Message) -> None:
        """Replace a message by a changed one with the same time and id."""
        self.items[self._position(old)] = new

    def between(self, query: MessageQuery) -> Iterator[Any]:
        """Walk through the messages within the times of a query, in its direction."""
        low, high = self.start, len(self.items)
        if query.since is not None:
            low = bisect_left(self.items, (query.since,), low, key=self.order)
        if query.after is not None:
            low = max(low, bisect_right(self.items, tuple(query.after), self.start, key=self.order))
        if query.before is not None:
            high = bisect_left(self.items, (query.before,), self.start, key=self.order)
        positions = range(high - 1, low - 1, -1) if query.descending else range(low, high)
        return map(self.items.__getitem__, positions)

    def _position(self, message: Message) -> int:
        return bisect_left(self.items, self.order(message), self.start, key=self.order)


class TimeIndex:
    """Messages of one kind in one order: all together, and of each device.

    :param order: what the lists are sorted by.
    :ivar all: all messages.
    :ivar by_device: id of a device -> its messages.
    :ivar latest: the highest ``timestamp`` of any message.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.all = OrderedMessages(order)
        self.by_device: dict[str, OrderedMessages] = {}
        self.latest = 0

    def add(self, message: Message) -> None:
        """Add a message that has its stamps."""
        assert message.timestamp is not None
        self.latest = max(self.latest, message.timestamp)
        self.all.add(message)
        self.of_device(message.device_id).add(message)

    def of_device(self, device_id: str) -> OrderedMessages:
        """The messages of a device. A message must be added if there is none."""
        device = self.by_device.get(device_id)
        if device is None:
            device = self.by_device[device_id] = OrderedMessages(self.order)
        return device

    def remove(self, message: Message) -> None:
        """Remove a message, which must be there."""
        self.all.remove(message)
        device = self.by_device[message.device_id]
        device.remove(message)
        if not device:
            del self.by_device[message.device_id]

    def replace(self, old: Message, new: Message) -> None:
        """Replace a message by a changed one with the same place in the order."""
        self.all.replace(old, new)
        self.by_device[old.device_id].replace(old, new)

    def walk(self, query: MessageQuery) -> Iterator[Any]:
        """Walk through the messages of a query's devices and times, in its direction."""
        if query.device_ids is None:
            return self.all.between(query)
        devices = [self.by_device[device_id] for device_id in set(query.device_ids) if device_id in self.by_device]
        if len(devices) == 1:
            return devices[0].between(query)
        return merge(*(device.between(query) for device in devices), key=self.order, reverse=query.descending)
