"""A bus for several servers in one process. The other nodes receive an event in a later turn of the reactor."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.interfaces import IMessageBus, INodeBus
from dhtwisted.model import Entity, Event
from dhtwisted.testing.bus.base import Keys

Step = Callable[[], Awaitable[None]]

PAUSE = 0.01
"""Seconds after which ``changed`` is called again when it has failed."""


class Hub:
    """Connects the buses of the nodes. All of them receive everything in the order of publication.

    :param reactor: for delayed calls: the running reactor, or a ``task.Clock`` with which a test controls when something arrives.
    :param delay: seconds until something arrives at another node.
    """

    def __init__(self, reactor: Any, delay: float = 0) -> None:
        self._reactor = reactor
        self._delay = delay
        self._started: list[SharedBus] = []

    def bus(self) -> SharedBus:
        """Make the bus of another node."""
        return SharedBus(self._reactor, self._delay, self._started)


@implementer(IMessageBus, INodeBus)
class SharedBus:
    """The bus of one node; :meth:`Hub.bus` makes it. It also receives its own changes, which the interface allows."""

    _log = Logger()

    def __init__(self, reactor: Any, delay: float, started: list[SharedBus]) -> None:
        self._reactor = reactor
        self._delay = delay
        self._started = started
        self._receive: Callable[[Sequence[Event]], object]
        self._changed: Callable[[Keys], Awaitable[object]]
        self._heard: Callable[[str], object] = _nobody
        self._on_the_way: deque[tuple[Step, IDelayedCall]] = deque()
        self._arrived: deque[Step] = deque()
        self._busy = False
        self._pause: Deferred[None] | None = None

    async def start(self, receive: Callable[[Sequence[Event]], object], changed: Callable[[Keys], Awaitable[object]]) -> None:
        """Begin to receive and publish."""
        self._receive, self._changed = receive, changed
        self._started.append(self)

    def publish(self, events: Sequence[Event]) -> None:
        """Send events. This node receives them at once, unless an earlier event has not arrived yet."""
        if self not in self._started:
            return
        at_once = not self._on_the_way
        for bus in self._started:
            if bus is not self or not at_once:
                bus._send(partial(bus._hand_over, events))
        if at_once:
            self._take(partial(self._hand_over, events))

    def publish_change(self, kind: type[Entity], key: int | str) -> None:
        """Send a change."""
        if self in self._started:
            for bus in self._started:
                bus._send(partial(bus._tell, ((kind, key),)))

    def listen(self, heard: Callable[[str], object]) -> None:
        """Choose who hears what is said."""
        self._heard = heard

    def tell(self, text: str) -> None:
        """Say a text to all nodes."""
        if self in self._started:
            for bus in self._started:
                bus._send(partial(bus._hear, text))

    def cut(self) -> None:
        """Report an interruption to this node. No event is lost."""
        self._take(partial(self._tell, None))

    async def stop(self) -> None:
        """End. Events that have not arrived at this node are dropped."""
        if self in self._started:
            self._started.remove(self)
        for _, call in self._on_the_way:
            if call.active():
                call.cancel()
        self._on_the_way.clear()
        self._arrived.clear()
        if self._pause is not None:
            self._pause.cancel()

    def _send(self, step: Step) -> None:
        self._on_the_way.append((step, self._reactor.callLater(self._delay, self._arrive)))

    def _arrive(self) -> None:
        # The oldest step: calls of the same time have no fixed order.
        self._take(self._on_the_way.popleft()[0])

    def _take(self, step: Step) -> None:
        self._arrived.append(step)
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._work())

    async def _work(self) -> None:
        while self._arrived:
            await self._arrived.popleft()()
        self._busy = False

    async def _hand_over(self, events: Sequence[Event]) -> None:
        try:
            self._receive(events)
        except Exception:
            self._log.failure("The receiver of a shared bus failed")

    async def _hear(self, text: str) -> None:
        try:
            self._heard(text)
        except Exception:
            self._log.failure("A text of a node could not be processed")

    async def _tell(self, keys: Keys) -> None:
        while self in self._started:
            try:
                await self._changed(keys)
            except Exception:
                self._log.failure("A node could not process changes; it is called again")
            else:
                return
            keys = None
            self._pause = deferLater(self._reactor, PAUSE)
            with suppress(CancelledError):
                await self._pause


def _nobody(text: str) -> None:
    """Hear nothing."""
