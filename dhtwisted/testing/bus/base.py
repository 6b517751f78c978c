"""The common parts of the contract suites of buses: a receiver in the place of a node, and events."""

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
"""Seconds within which published events must arrive."""

TURNS = 20
"""Turns of the reactor after which an event that has not arrived never will."""

PLACE: dict[str, Any] = {"network_id": 1, "device_type_id": 1, "parameters": b"{}"}
"""The fields that all messages of the suites share."""


class Receiver:
    """Takes the place of a node: it keeps what a bus delivers, and a test can wait for it.

    :param error: raised by every call of ``receive``, after the events are kept.
    :ivar events: all events so far, in the order of arrival.
    :ivar texts: what nodes have said so far.
    :ivar begun: the ``keys`` of every call of ``changed``.
    :ivar history: the events, and the ``keys`` of each call of ``changed`` that succeeded, in the order in which that happened.
    :ivar failures: how many of the next calls of ``changed`` fail.
    :ivar hold: a Deferred that calls of ``changed`` wait for; ``None`` for nothing.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[Event] = []
        self.texts: list[str] = []
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

    def hear(self, text: str) -> None:
        """What an :class:`~dhtwisted.interfaces.INodeBus` calls."""
        self.texts.append(text)
        self._look()
        if self._error is not None:
            raise self._error

    async def changed(self, keys: Keys) -> None:
        """The second callback of ``start``."""
        self.begun.append(keys)
        self._look()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the node cannot process changes now")
        if self.hold is not None:
            await self.hold
        self.history.append(keys)
        self._look()

    async def until(self, condition: Callable[[], object], words: str) -> None:
        """Wait until a condition is true.

        :param condition: a function without arguments.
        :param words: the failure, if it does not become true in time.
        """
        from twisted.internet import reactor

        if condition():
            return
        waiter: Deferred[None] = Deferred()
        self._waiting.append((condition, waiter))
        try:
            await waiter.addTimeout(PATIENCE, reactor)
        except DeferredTimeout:
            pytest.fail(f"after {PATIENCE} s: {words}; received: {self.history}")

    async def expect(self, number: int) -> list[int]:
        """Wait until this many events have arrived in total.

        :returns: the ids of their messages.
        """
        await self.until(lambda: len(self.events) >= number, f"{number} events must arrive")
        return self.ids()

    async def expect_change(self, kind: type[Entity], key: int | str) -> None:
        """Wait until ``changed`` has been called with this key, or with ``None``, and has succeeded."""
        words = f"changed must be called with ({kind.__name__}, {key!r}) when another node publishes the change"
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
    """Whether a change is in the history. ``None`` in the history means any change."""
    return any(entry is None or (kind, key) in entry for entry in history if not isinstance(entry, Event))


def event(device_id: str = "a", message_id: int = 0) -> Event:
    """An event of a notification. Without an id, :meth:`BusContract.store` stamps it later."""
    timestamp = 5 if message_id else None
    return Event("notification/insert", Notification(**PLACE, name="n", device_id=device_id, timestamp=timestamp, id=message_id))


async def some_turns() -> None:
    """Wait for some turns of the reactor."""
    from twisted.internet import reactor

    for _ in range(TURNS):
        await deferLater(reactor, 0)
