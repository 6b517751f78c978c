"""Messages of one kind in memory: by id, by time, by device and time, by arrival; updated commands also by the time of the update.

Every index is a list in ascending ``(timestamp, id)``, one is in ascending ``(arrived, id)``, and commands that have been updated are also
in lists in ascending ``(last_updated, id)``, so that a query costs what it returns and not what is kept. Messages nearly always
arrive with ascending times and leave at the old end; both are quick. Anything else moves part of one list.
"""

from bisect import bisect_left, bisect_right, insort
from heapq import merge
from itertools import islice
from math import inf

from msgspec.structs import replace

from dhtwisted.errors import Duplicate
from dhtwisted.kit.slices import at_once, in_order, sifted
from dhtwisted.model import Command, cut_to_size, payload_size

_COMPACT_ABOVE = 1000
"""So many dead places at the front of a list are not worth a move."""


def chronological(message):
    """The order of messages: by time, then in the order in which they became visible."""
    return message.timestamp, message.id


def by_update(command):
    """The order of updates: by their time, then by id."""
    return command.last_updated, command.id


def by_arrival(message):
    """The order of arrival: by its time, then by id."""
    return message.arrived, message.id


class OrderedMessages:
    """A list of messages in order of time; the oldest leave at small cost.

    :param order: what the list is sorted by, as a function of a message.

    Places before ``start`` are dead. They are cut off when they are the larger part, so that removing at the front moves each message
    once on average instead of all of them each time.
    """

    __slots__ = ("items", "order", "start")

    def __init__(self, order=chronological):
        self.items = []
        self.start = 0
        self.order = order

    def __len__(self):
        return len(self.items) - self.start

    @property
    def first(self):
        """The first message; there must be one."""
        return self.items[self.start]

    def add(self, message):
        """Put a message into its place, which is nearly always the end."""
        items = self.items
        if self.start == len(items) or self.order(items[-1]) <= self.order(message):
            items.append(message)
        else:
            insort(items, message, self.start, key=self.order)

    def remove(self, message):
        """Take a message out; it must be in, or a state that it had before and that has the same place."""
        if self.first.id != message.id:
            del self.items[self._position(message)]
            return
        self.items[self.start] = None
        self.start += 1
        if self.start > _COMPACT_ABOVE and self.start * 2 > len(self.items):
            del self.items[: self.start]
            self.start = 0

    def replace(self, old, new):
        """Put a changed message into the place of the old one; its time and id are the same."""
        self.items[self._position(old)] = new

    def between(self, query):
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

    def _position(self, message):
        return bisect_left(self.items, self.order(message), self.start, key=self.order)


class TimeIndex:
    """Messages of one kind in one order: all together, and of each device.

    :param order: see :class:`OrderedMessages`.
    :ivar all: an :class:`OrderedMessages`.
    :ivar by_device: id of a device -> :class:`OrderedMessages`.
    :ivar latest: no message has a higher ``timestamp``.
    """

    def __init__(self, order):
        self.order = order
        self.all = OrderedMessages(order)
        self.by_device = {}
        self.latest = 0

    def add(self, message):
        """Take a message in."""
        self.latest = max(self.latest, message.timestamp)
        self.all.add(message)
        device = self.by_device.get(message.device_id)
        if device is None:
            device = self.by_device[message.device_id] = OrderedMessages(self.order)
        device.add(message)

    def remove(self, message):
        """Take a message out; it must be in."""
        self.all.remove(message)
        device = self.by_device[message.device_id]
        device.remove(message)
        if not device:
            del self.by_device[message.device_id]

    def replace(self, old, new):
        """Put a changed message into the place of the old one; its place in the order is the same."""
        self.all.replace(old, new)
        self.by_device[old.device_id].replace(old, new)

    def walk(self, query):
        """Go through the messages of a query's devices and times, in its direction."""
        if query.device_ids is None:
            return self.all.between(query)
        devices = [self.by_device[device_id] for device_id in set(query.device_ids) if device_id in self.by_device]
        if len(devices) == 1:
            return devices[0].between(query)
        return merge(*(device.between(query) for device in devices), key=self.order, reverse=query.descending)


class MessageLog:
    """All messages of one kind.

    :ivar last_id: the highest id that was ever there.
    :ivar by_id: id -> message.
    :ivar last_update_id: the highest number of an update of a command.
    """

    def __init__(self, kind):
        self.kind = kind
        self.last_id = 0
        self.last_update_id = 0
        self.by_id = {}
        self._times = TimeIndex(chronological)
        self._updates = TimeIndex(by_update)
        # As they were when they came: what becomes of a command does not change its place.
        self._arrivals = OrderedMessages(by_arrival)
        self._last_arrival = 0
        self._are_commands = kind is Command

    def __len__(self):
        return len(self.by_id)

    def add(self, message, now):
        """Stamp a new message and keep it.

        :param now: server time in milliseconds: when it arrives, and its time if it has none of its own. It never steps back.
        """
        message.id = self.last_id = message_id = self.last_id + 1
        timestamp = message.timestamp
        if timestamp is None:
            timestamp = message.timestamp = now
        if self._are_commands:
            message.last_updated = timestamp
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
            # Nearly always: it goes to the ends.
            times.latest = timestamp
            times.all.items.append(message)
            device.items.append(message)

    def put(self, message):
        """Keep a message that has its stamps, as when data is read again or restored. No other has its id."""
        if message.id > self.last_id:
            self.last_id = message.id
        self.by_id[message.id] = message
        self._times.add(message)
        self._arrivals.add(message)
        self._last_arrival = max(self._last_arrival, message.arrived)
        if self.kind is Command and message.updated:
            self._updates.add(message)

    def check_free(self, message_id):
        """Make sure that no message has an id.

        :raises Duplicate: one has it.
        """
        if message_id in self.by_id:
            raise Duplicate(self.kind, "id", message_id)

    def get(self, device_id, message_id):
        """Find one message of a device, or ``None``."""
        message = self.by_id.get(message_id)
        return message if message is not None and message.device_id == device_id else None

    def update_command(self, device_id, command_id, now, changes):
        """Record what became of a command, in a new object: the one handed out before stays as it was.

        :param now: server time in milliseconds.
        :returns: the new command, or ``None``.
        """
        message = self.get(device_id, command_id)
        if message is None:
            return None
        self.last_update_id += 1
        stamps = {"last_updated": max(now, message.last_updated + 1), "updated": True, "update_id": self.last_update_id}
        changed = replace(message, **stamps, **changes)
        self.by_id[message.id] = changed
        self._times.replace(message, changed)
        if message.updated:
            self._updates.remove(message)
        self._updates.add(changed)
        return changed

    def find(self, query):
        """List what a query asks for."""
        return at_once(self.search(query))

    def search(self, query):
        """The same as work of :mod:`~dhtwisted.kit.slices`, for a storage that serves others meanwhile."""
        if query.behind is not None and query.sort == "timestamp":
            query = _narrowed(query)
        index = self._updates if query.by_update else self._times
        walk, order = (self._arrived(query), by_arrival) if query.by_arrival else (index.walk(query), index.order)
        matches = self._condition(query)
        if query.behind is not None:
            matches = _both(matches, _is_behind(query))
        most = None if query.take is None else query.skip + query.take
        if query.sort == "timestamp":
            found = yield from sifted(walk, matches, most)
        else:
            found = yield from in_order(walk, matches, _sort_key(query.sort, order), query.descending, most)
        found = found[query.skip :]
        return found if query.size is None else cut_to_size(found, query.size, payload_size)

    def forget(self, query):
        """Remove messages that a query asks for, those first that arrived first, and say how many; of given devices in any order."""
        if query.device_ids is None:
            found = self._arrived(query)
        else:
            found = self._times.walk(replace(query, before=None))
            if query.before is not None:
                found = (message for message in found if message.arrived < query.before)
        gone = list(islice(found, query.take))
        for message in gone:
            self._remove(message)
        return len(gone)

    def first_arrival(self):
        """When the first of those that are here arrived.

        :returns: a number; infinite for none.
        """
        return self._arrivals.first.arrived if self._arrivals else inf

    def forget_first(self):
        """Remove the one that arrived first; there must be one."""
        self._remove(self.by_id[self._arrivals.first.id])

    def _arrived(self, query):
        """Walk through messages in the order of their arrival, as they are now."""
        found = (self.by_id[message.id] for message in self._arrivals.between(query))
        if query.device_ids is None:
            return found
        devices = frozenset(query.device_ids)
        return (message for message in found if message.device_id in devices)

    def _remove(self, message):
        del self.by_id[message.id]
        self._times.remove(message)
        self._arrivals.remove(message)
        if self.kind is Command and message.updated:
            self._updates.remove(message)

    def _condition(self, query):
        names = None if query.names is None else frozenset(query.names)
        commands = self.kind is Command
        status = query.status.casefold() if commands and query.status is not None else None
        updated = commands and query.updated

        def matches(message):
            return (
                (names is None or message.name in names)
                and (status is None or (message.status is not None and message.status.casefold() == status))
                and (not updated or message.updated)
            )

        return matches


def _both(matches, is_behind):
    return lambda message: matches(message) and is_behind(message)


def _narrowed(query):
    """A query with the bounds that follow from ``query.behind``, so that nothing before it is walked through."""
    time = query.behind[0]
    if query.descending:
        return replace(query, before=time + 1 if query.before is None else min(query.before, time + 1))
    return replace(query, since=time if query.since is None else max(query.since, time))


def _is_behind(query):
    """Whether a message comes behind ``query.behind``, as a function."""
    if query.sort == "timestamp":
        place, key = query.behind, query.place
    else:
        (value, *rest), key = query.behind, _sort_key(query.sort, lambda message: query.place(message)[1:])
        place = value is not None, value or "", tuple(rest)
    return lambda message: key(message) < place if query.descending else key(message) > place


def _sort_key(field, order):
    def key(message):
        value = getattr(message, field, None)
        return value is not None, value or "", order(message)

    return key
