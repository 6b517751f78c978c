"""Twisted's reactor for Linux, with less work for each read from a client.

For each event, Twisted's own sets up a context for log lines of its old log module: 1.6 us, a tenth of a request that is alone in its read.
Here this is left out for a plain read from a client, and only there: everything else, also an error or an end found by such a read, goes
through Twisted's own methods.

What is to happen at the end of a turn is in a list instead of a delayed call, which costs 1.5 us more, and which the system clock can delay
when it is set back.

This depends on Twisted's ``_poller``, ``_selectables``, ``_doReadOrWrite`` and ``_disconnectSelectable``. Without them this is the plain
reactor with that list.
"""

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLIN

from twisted.internet import tcp, unix
from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger
from twisted.python import log as old_log

INTERNALS = ("_poller", "_selectables", "_doReadOrWrite", "_disconnectSelectable")
"""What :meth:`LeanReactor.doPoll` needs of Twisted."""

CLIENTS = frozenset({tcp.Server, unix.Server})
"""The transports of clients. Over TLS, the bytes come through these too."""


class LeanReactor(EPollReactor):
    """See the module."""

    log = Logger()

    def __init__(self) -> None:
        self._at_end: list[Callable[[], object]] = []
        super().__init__()
        if not all(hasattr(self, name) for name in INTERNALS):
            self.doIteration = super().doIteration  # type: ignore[method-assign]

    def call_at_end_of_turn(self, call: Callable[[], object]) -> None:
        """Call a function once, before the reactor waits for events again. Only for the reactor's thread.

        What is asked for by such a call comes one turn later.
        """
        self._at_end.append(call)

    def stop(self) -> None:
        super().stop()
        # If a call at the end of the turn does it, the reactor would wait for an event first.
        self.wakeUp()

    def runUntilCurrent(self) -> None:
        super().runUntilCurrent()
        if self._at_end:
            calls, self._at_end = self._at_end, []
            for call in calls:
                try:
                    call()
                except BaseException:
                    # As for a delayed call of Twisted. The others must come, since who has asked for one asks for no second.
                    self.log.failure("A call at the end of a turn failed")

    def timeout(self) -> float | None:
        return 0 if self._at_end else super().timeout()

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, and handle them. As in Twisted, one turn handles at most one event of each descriptor."""
        selectables = self._selectables
        for number, event in self._poller.poll(timeout, len(selectables)):
            # An earlier event of this turn may have closed it.
            selectable = selectables.get(number)
            if event != EPOLLIN or selectable.__class__ not in CLIENTS:
                if selectable is not None:
                    old_log.callWithLogger(selectable, self._doReadOrWrite, selectable, number, event)
                continue
            end: object
            try:
                end = selectable.doRead()
            except BaseException as error:
                # As Twisted does: a connection whose protocol fails is closed.
                old_log.callWithLogger(selectable, old_log.err)
                end = error
            if end:
                old_log.callWithLogger(selectable, self._disconnectSelectable, selectable, end, True)

    doIteration = doPoll
