"""The bus of a single server: what is published here is received here, at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.interfaces import ILocalBus, IObservedBus
from dhtwisted.model import Entity, Event


@implementer(ILocalBus, IObservedBus)
class LocalBus:
    """Delivers events within :meth:`publish`, so it is never late."""

    up, lag = True, 0.0

    _log = Logger()

    def __init__(self) -> None:
        self._receive: Callable[[Sequence[Event]], object] | None = None

    async def start(self, receive: Callable[[Sequence[Event]], object], changed: Callable[..., Any]) -> None:
        """Begin to deliver events to ``receive``. Nobody else could change an entity, so ``changed`` is never called."""
        self._receive = receive

    def publish(self, events: Sequence[Event]) -> None:
        """Deliver events. An error in the receiver is logged: the messages are stored, and their sender is not at fault."""
        if self._receive is None:
            return
        try:
            self._receive(events)
        except Exception:
            self._log.failure("The receiver of the message bus failed; subscribers may have missed {count} events", count=len(events))

    def publish_change(self, kind: type[Entity], key: int | str) -> None:
        """Do nothing: there is no other node."""

    async def stop(self) -> None:
        """Deliver no more."""
        self._receive = None
