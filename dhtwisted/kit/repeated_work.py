"""Work that is done again and again, for as long as the server runs."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class RepeatedWork:
    """Work that is done again and again, whatever becomes of one time.

    Twisted's ``LoopingCall`` ends at the first error, which nobody sees: from then on, what it looks after is not looked after any more.
    Here an error is logged, and the work goes on, in time.

    :param clock: gives the time; usually the reactor.
    :param what: names the work in the log.
    :param steps: functions, with or without ``async``, done one after the other. An error of one does not keep the others from being done.
    """

    log = Logger()

    def __init__(self, clock: Any, what: str, *steps: Callable[[], object]) -> None:
        self._what = what
        self._steps = steps
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._do()))
        self._loop.clock = clock
        self._ended: Deferred[Any] = succeed(None)

    @property
    def is_running(self) -> bool:
        """Whether it will be done again."""
        return bool(self._loop.running)

    def start(self, interval: float, now: bool = False) -> None:
        """Do the work every so many seconds. One time that takes longer delays the next. When it is running, nothing happens.

        :param now: do it at once too.
        """
        if not self.is_running:
            self._ended = self._loop.start(interval, now)

    def stop(self) -> Deferred[Any]:
        """Do it no more.

        :returns: fires when what has begun is done.
        """
        if self.is_running:
            self._loop.stop()
        return self._ended

    async def _do(self) -> None:
        for step in self._steps:
            try:
                done = step()
                if isawaitable(done):
                    await done
            except Exception:
                self.log.failure("{what} failed, and goes on", what=self._what)
