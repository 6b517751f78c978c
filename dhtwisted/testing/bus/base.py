"""What the contract suites of buses have in common: what stands for a node, and events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import deferLater

from dhtwisted.model import Entity, Event, Notification

Keys = Sequence[tuple[type[Entity], int | str]] | None
"""What ``changed`` gets; see :meth:`~dhtwisted.interfaces.IMessageBus.start`."""

PATIENCE = 30
"""Seconds until what was published must have arrived."""

TURNS = 20
"""Turns of the reactor in which what must not arrive is looked out for."""

PLACE: dict[str, Any] = {"network_id": 1, "device_type_id": 1, "parameters": b"{}"}
"""What every message of the suites has."""


class Receiver:
    """Stands for a node: keeps what a bus hands over, and lets a test wait for it.

    :param error: raised by every call of ``receive``, after the events are kept.
    :ivar events: all events so far, in the order of arrival.
    :ivar begun: the ``keys`` of every call of ``changed``.
    :ivar history: the events, and the ``keys`` of each call of ``changed`` that succeeded, in the order in which that happened.
    :ivar failures: so many of the next calls of ``changed`` fail.
    :ivar hold: a Deferred that calls of ``changed`` wait for; ``None`` for nothing.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[Event] = []
        self.begun: list[Keys] = []
        self.history: list[Event | Keys] = []
        self.failures = 0
        self.hold: Deferred[None] | None = None
        self._error = error
        self._waiting: list[tuple[Callable[[], object], Deferred[None]]] = []

    def receive(self, events: Sequence[Event]) -> None:
        """The first callback of ``start``."""
        self.events.extend(events)
        self.history.extend(events)
        self._look()
        if self._error is not None:
            raise self._error

    async def changed(self, keys: Keys) -> None:
        """The second callback of ``start``."""
        self.begun.append(keys)
        self._look()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the node cannot take account of changes now")
        if self.hold is not None:
            await self.hold
        self.history.append(keys)
        self._look()

    async def until(self, condition: Callable[[], object], words: str) -> None:
        """Wait until something is so.

        :param condition: a function without arguments.
        :param words: what is missing when it does not become so.
        """
        from twisted.internet import reactor

        if condition():
            return
        waiter: Deferred[None] = Deferred()
        self._waiting.append((condition, waiter))
        try:
            await waiter.addTimeout(PATIENCE, reactor)
        except DeferredTimeout:
            pytest.fail(f"after {PATIENCE} s: {words}; there came {self.history}")

    async def expect(self, number: int) -> list[int]:
        """Wait for so many events in all.

        :returns: the ids of their messages.
        """
        await self.until(lambda: len(self.events) >= number, f"{number} events must arrive")
        return self.ids()

    async def expect_change(self, kind: type[Entity], key: int | str) -> None:
        """Wait until ``changed`` has been called with this key, or with ``None``, and has succeeded."""
        words = f"changed must be called with ({kind.__name__}, {key!r}) when another node says so"
        await self.until(lambda: has_change(self.history, kind, key), words)

    def ids(self) -> list[int]:
        """The ids of the messages of all events so far."""
        return [event.message.id for event in self.events]

    def _look(self) -> None:
        ready = [entry for entry in self._waiting if entry[0]()]
        self._waiting = [entry for entry in self._waiting if entry not in ready]
        for _, waiter in ready:
            waiter.callback(None)


def has_change(history: Sequence[Event | Keys], kind: type[Entity], key: int | str) -> bool:
    """Whether a change is among what came; ``None`` means any."""
    return any(entry is None or (kind, key) in entry for entry in history if not isinstance(entry, Event))


def event(device_id: str = "a", message_id: int = 0) -> Event:
    """An event of a notification that :meth:`BusContract.store` is still to stamp, unless an id is given."""
    timestamp = 5 if message_id else None
    return Event("notification/insert", Notification(**PLACE, name="n", device_id=device_id, timestamp=timestamp, id=message_id))


async def some_turns() -> None:
    """Let the reactor do what it has to do."""
    from twisted.internet import reactor

    for _ in range(TURNS):
        await deferLater(reactor, 0)
