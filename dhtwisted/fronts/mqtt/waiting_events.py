"""Events that wait in memory for a client that is a little behind, so that they need not be read from the storage.

What waits for one client is bounded, and so is what waits for all. An event for which there is no room is read from the storage later.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from dhtwisted.fronts.queues import EMPTY, append
from dhtwisted.model import Device, Message

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.event_messages import EventMessage

MOST_EVENTS = 1000
"""Events that wait for one client in one stream."""

MOST_BYTES = 256 * 1024
"""Their bytes."""

MOST_BYTES_OF_ALL = 16 * 1024**2
"""Bytes of what waits for all clients of a server. An event counts for each of them, though they share it."""


class WaitingEvent(Struct, gc=False, eq=False):
    """An event that a client gets when it has room.

    :ivar source: the stored notification or command.
    :ivar device: as it was when the rights and the topic were found out; ``None`` if that is to be done again.
    """

    number: int
    source: Message
    device: Device | None
    message: EventMessage
    qos: int
    identifiers: tuple[int, ...]


class WaitingRoom:
    """What all clients of a server share.

    :ivar left: bytes for which there is room.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MOST_BYTES_OF_ALL


class WaitingEvents:
    """The events that wait for one client in one stream, in their order."""

    __slots__ = ("_events", "_room", "_size")

    def __init__(self, room: WaitingRoom) -> None:
        self._events: deque[WaitingEvent] = EMPTY
        self._room = room
        self._size = 0

    def __len__(self) -> int:
        return len(self._events)

    @property
    def first(self) -> WaitingEvent:
        """The one whose turn it is."""
        return self._events[0]

    def append(self, event: WaitingEvent) -> bool:
        """Take an event.

        :returns: false if there is no room for it.
        """
        size = event.message.size
        if len(self._events) >= MOST_EVENTS or self._size + size > MOST_BYTES or size > self._room.left:
            return False
        self._events = append(self._events, event)
        self._size += size
        self._room.left -= size
        return True

    def drop_first(self) -> None:
        """Its turn is over."""
        size = self._events.popleft().message.size
        self._size -= size
        self._room.left += size

    def clear(self) -> list[WaitingEvent]:
        """Let none of them wait any more.

        :returns: those that waited.
        """
        events, self._events = list(self._events), EMPTY
        self._room.left += self._size
        self._size = 0
        return events
