"""Forgetting commands and notifications when their time is over."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from dhtwisted.errors import StorageUnavailable
from dhtwisted.model import MESSAGE_KINDS, MessageQuery

INTERVAL = 60
"""Seconds between two looks at the storage."""

SLICE = 100
"""Messages deleted at a time: a thousand would hold up everybody's inserts for up to a tenth of a second."""

PAUSE = 0.005
"""Seconds between two slices, for others to get their turn. So at most 20,000 messages expire in a second."""


class Retention:
    """Deletes messages that are older than they may become, a few at a time.

    :param reactor: gives time and delayed calls.
    :param messages: an opened :class:`~dhtwisted.interfaces.IMessageStorage`.
    :param lifetime_ms: how long messages are kept, in milliseconds; 0 for ever.
    """

    _log = Logger()

    def __init__(self, reactor, messages, lifetime_ms):
        self._reactor = reactor
        self._messages = messages
        self._lifetime = lifetime_ms
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._sweep()))
        self._loop.clock = reactor
        self._ended = succeed(None)

    def start(self):
        """Look at once, and then every :data:`INTERVAL` seconds. A look that takes longer delays the next."""
        if self._lifetime:
            self._ended = self._loop.start(INTERVAL)

    def stop(self):
        """Delete no more.

        :returns: a Deferred; it fires when the slice under way is done.
        """
        if self._loop.running:
            self._loop.stop()
        return self._ended

    async def _sweep(self):
        """Delete what is too old. A failure is logged and left to the next time: it must not end the timer."""
        before = int(self._reactor.seconds() * 1000) - self._lifetime
        try:
            for kind in MESSAGE_KINDS.values():
                await self._forget(kind, MessageQuery(before=before, take=SLICE))
        except StorageUnavailable as error:
            self._log.warn("Old messages are not deleted now, and will be tried again: {reason}", reason=str(error))
        except Exception:
            self._log.failure("Old messages are not deleted now, and will be tried again")

    async def _forget(self, kind, query):
        while self._loop.running and await self._messages.forget_messages(kind, query) == SLICE:
            await deferLater(self._reactor, PAUSE)
