"""Deletes old commands and notifications.

The age of a message counts from its arrival, by the storage's time. The time that the client gave does not matter: a message from a device
with a wrong clock is kept as long as any other.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import IMessageStorage
from dhtwisted.kit.repeated_work import RepeatedWork
from dhtwisted.model import MESSAGE_KINDS, MessageQuery
from dhtwisted.service.patient_clock import PatientClock

INTERVAL = 60
"""Seconds between two rounds."""

SLICE = 100
"""How many messages are deleted at a time. A thousand would delay all inserts by up to a tenth of a second."""

PAUSE = 0.005
"""Seconds between two slices, in which other work gets its turn. So at most 20,000 messages are deleted per second."""


def steady() -> float:
    """Seconds since the machine was started, including those of its sleep if the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Retention:
    """Deletes messages when their lifetime is over, a few at a time.

    If the clock is set forward, or is far ahead of the last arrival at the start, that counts a day later.

    :param reactor: gives time and delayed calls.
    :param messages: an opened storage.
    :param lifetime_ms: how long messages are kept, in milliseconds; 0 for ever.
    :param steady: gives seconds of a clock that nobody sets.
    """

    _log = Logger()

    def __init__(self, reactor: Any, messages: IMessageStorage, lifetime_ms: int, steady: Callable[[], float] = steady) -> None:
        self._reactor = reactor
        self._messages = messages
        self._lifetime = lifetime_ms
        self._steady = steady
        self._clock: PatientClock | None = None
        self._jump = 0.0
        self._loop = RepeatedWork(reactor, "deleting old messages", self._delete_old)

    def start(self) -> None:
        """Delete at once, and then every :data:`INTERVAL` seconds. A round that takes longer delays the next."""
        if self._lifetime:
            self._loop.start(INTERVAL, now=True)

    def stop(self) -> Deferred[Any]:
        """Delete no more.

        :returns: a Deferred; it fires when the current slice is done.
        """
        return self._loop.stop()

    async def _delete_old(self) -> None:
        """Delete what is too old. A failure is logged, and the next round tries again: it must not end the timer."""
        try:
            before = await self._now() - self._lifetime
            for kind in MESSAGE_KINDS.values():
                await self._delete(kind, MessageQuery(by_arrival=True, before=before, take=SLICE))
        except StorageUnavailable as error:
            self._log.warn("Old messages could not be deleted, the server tries again: {reason}", reason=str(error))
        except Exception:
            self._log.failure("Old messages could not be deleted, the server tries again")

    async def _now(self) -> int:
        """The time in milliseconds, by the patient clock."""
        if self._clock is None:
            self._clock = PatientClock(self._reactor.seconds, self._steady, await self._last_arrival() / 1000)
        now = self._clock.seconds()
        jump, self._jump = self._jump, self._clock.pending_jump
        if self._jump > jump:
            self._log.info(
                "No message arrived for {ahead}, or the clock was set forward; in case it is wrong, old messages stay for another day",
                ahead=str(timedelta(seconds=round(self._jump))),
            )
        return int(now * 1000)

    async def _last_arrival(self) -> float:
        """When the newest message arrived, in milliseconds; now, if there are no messages.

        An imported message may have an arrival in the future. Such a message is ignored.
        """
        query = MessageQuery(by_arrival=True, before=int(self._reactor.seconds() * 1000) + 1, descending=True, take=1)
        found = [message for kind in MESSAGE_KINDS.values() for message in await self._messages.find_messages(kind, query)]
        return max((message.arrived for message in found), default=self._reactor.seconds() * 1000)

    async def _delete(self, kind: type, query: MessageQuery) -> None:
        while self._loop.is_running and await self._messages.forget_messages(kind, query) == SLICE:
            await deferLater(self._reactor, PAUSE)
