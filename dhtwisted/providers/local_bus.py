"""The bus of a server that is alone: what is published here is received here, at once."""

from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.interfaces import ILocalBus, IObservedBus


@implementer(ILocalBus, IObservedBus)
class LocalBus:
    """Hands events over within :meth:`publish`, so it is never late."""

    up, lag = True, 0.0

    _log = Logger()

    def __init__(self):
        self._receive = None

    async def start(self, receive, changed):
        """Begin to hand events to ``receive``. There is nobody else who could change an entity."""
        self._receive = receive

    def publish(self, events):
        """Hand over events. What goes wrong in the receiver is logged: the messages are stored, and whoever stored them is not at fault."""
        if self._receive is None:
            return
        try:
            self._receive(events)
        except Exception:
            self._log.failure("The receiver of the message bus failed; subscribers may have missed {count} events", count=len(events))

    def publish_change(self, kind, key):
        """Tell nobody."""

    async def stop(self):
        """Hand over no more."""
        self._receive = None
