"""Forgetting commands and notifications when their time is over.

It counts from their arrival, by the storage's time. The time that a client gives its message says nothing here: what a device with a wrong
clock was told is stored, stays for as long as anything else.
"""

import time
from datetime import timedelta

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from dhtwisted.errors import StorageUnavailable
from dhtwisted.model import MESSAGE_KINDS, MessageQuery
from dhtwisted.service.patient_clock import PatientClock

INTERVAL = 60
"""Seconds between two looks at the storage."""

SLICE = 100
"""Messages deleted at a time: a thousand would hold up everybody's inserts for up to a tenth of a second."""

PAUSE = 0.005
"""Seconds between two slices, for others to get their turn. So at most 20,000 messages expire in a second."""


def steady():
    """Seconds since the machine was started, also those in which it slept, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Retention:
    """Deletes messages that arrived longer ago than they may be kept, a few at a time.

    When the clock is set forward, or is far ahead of the last arrival at the start, that counts a day later.

    :param reactor: gives time and delayed calls.
    :param messages: an opened :class:`~dhtwisted.interfaces.IMessageStorage`.
    :param lifetime_ms: how long messages are kept, in milliseconds; 0 for ever.
    :param steady: gives seconds that nobody sets.
    """

    _log = Logger()

    def __init__(self, reactor, messages, lifetime_ms, steady=steady):
        self._reactor = reactor
        self._messages = messages
        self._lifetime = lifetime_ms
        self._steady = steady
        self._clock = None
        self._leap = 0.0
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
        try:
            before = await self._now() - self._lifetime
            for kind in MESSAGE_KINDS.values():
                await self._forget(kind, MessageQuery(by_arrival=True, before=before, take=SLICE))
        except StorageUnavailable as error:
            self._log.warn("Old messages are not deleted now, and will be tried again: {reason}", reason=str(error))
        except Exception:
            self._log.failure("Old messages are not deleted now, and will be tried again")

    async def _now(self):
        """Milliseconds."""
        if self._clock is None:
            self._clock = PatientClock(self._reactor.seconds, self._steady, await self._last_arrival() / 1000)
        now = self._clock.seconds()
        leap, self._leap = self._leap, self._clock.leap
        if self._leap > leap:
            self._log.info(
                "No message came for {ahead}, or the clock was set forward; in case it is wrong, old messages are kept for another day",
                ahead=str(timedelta(seconds=round(self._leap))),
            )
        return int(now * 1000)

    async def _last_arrival(self):
        """Milliseconds: the last time that was certainly over, since the storage gave it; now, if there are no messages.

        A message that was imported may say that it arrived in the future. That time is not over, and says nothing.
        """
        query = MessageQuery(by_arrival=True, before=int(self._reactor.seconds() * 1000) + 1, descending=True, take=1)
        last = [message.arrived for kind in MESSAGE_KINDS.values() for message in await self._messages.find_messages(kind, query)]
        return max(last, default=self._reactor.seconds() * 1000)

    async def _forget(self, kind, query):
        while self._loop.running and await self._messages.forget_messages(kind, query) == SLICE:
            await deferLater(self._reactor, PAUSE)
