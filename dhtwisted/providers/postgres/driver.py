"""One connection of the driver, changed so that every wait ends by itself, whatever the driver does.

It is built on txpostgres. All code that depends on its internals is in this module:

* ``doRead`` is overridden, because an idle connection that breaks would raise an error into the reactor.
* ``reactor`` is a :class:`~dhtwisted.providers.postgres.watching.WatchingReactor`, because libpq may close sockets at any time.
* ``_pollingD`` is not ``None`` while a caller waits, who then gets the error.
* ``cursorFinished`` would watch the socket again, although libpq has closed it.
* ``connectionLost`` and ``close`` are also called before anything is connected (``_connection``).
* ``close`` would leave a connection that libpq gave up, and its callers, to the garbage collector.
* ``cooperator`` is replaced, so that notifications are delivered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres import txpostgres

from dhtwisted.kit.deadline import Deadline
from dhtwisted.kit.reactor import IReactor
from dhtwisted.providers.postgres.errors import DRIVER_ERRORS, in_one_line
from dhtwisted.providers.postgres.statements import Parameters, Values
from dhtwisted.providers.postgres.watching import WatchingReactor


class _AtOnce:
    """Takes the place of Twisted's cooperator."""

    @staticmethod
    def cooperate(iterator: Iterable[object]) -> None:
        for _ in iterator:
            pass


class DriverConnection(txpostgres.Connection):
    """A connection of txpostgres that reports its loss, also while it is idle.

    There is one wait at a time: for the connection, or for the answer to a statement. It ends when the driver answers, or when the
    connection ends, which has a time limit of its own.

    :param reactor: for sockets and delayed calls.
    :param lost: called with the connection and the reason, perhaps more than once.
    :ivar deadline: a :class:`~dhtwisted.kit.deadline.Deadline`; when it has come, the connection is lost.
    :ivar doubtful: whether its next answer may belong to another statement.
    """

    log = Logger()

    def __init__(self, reactor: IReactor, lost: Callable[[DriverConnection, str], object]) -> None:
        super().__init__(WatchingReactor(reactor), _AtOnce)
        self.deadline = Deadline(reactor, lambda seconds: self._lost(self, f"no answer for {seconds} seconds"))
        self.doubtful = False
        self._lost = lost
        self._given_up = False
        self._waiting: Deferred[Any] | None = None

    def doRead(self) -> None:
        try:
            self._look()
        except DRIVER_ERRORS as error:
            self._lost(self, in_one_line(error))
        else:
            if not self.is_open and self._pollingD is None:
                self._lost(self, "the server closed the connection")

    def _look(self) -> None:
        """Read what has come: the end, or notifications. Then watch the socket, which may be a new one."""
        self.reactor.removeReader(self)
        self.continuePolling()
        if self.is_open and self._pollingD is None:
            self.checkForNotifies()
            self.reactor.addReader(self)

    def cursorFinished(self, cursor: Any) -> None:
        if self.is_open:
            super().cursorFinished(cursor)
        else:
            self._cursors.discard(cursor)

    def connectionLost(self, reason: Failure) -> None:
        if self._connection is not None:
            super().connectionLost(reason)
            self._lost(self, in_one_line(reason.value))

    def close(self, reason: str) -> None:
        """Close the connection, and end the wait.

        :param reason: why, for the caller that waits.
        """
        # Closing reports the loss, and the receiver of the report calls this again.
        if self._given_up:
            return
        self._given_up = True
        self.deadline.cancel()
        try:
            self.reactor.remove_all()
            if self._connection is not None:
                # Also if libpq has given up the connection, because its socket is still open then.
                self._connection.close()
                self._end_wait(reason)
                super().close()
        except Exception:
            self.log.failure("A connection to PostgreSQL was not closed as it should be")
        finally:
            self._end_wait(reason)

    def _end_wait(self, reason: str) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.errback(ConnectionLost(reason))

    @property
    def is_open(self) -> bool:
        """Whether the driver is connected. It may have closed its socket without a report."""
        return self._connection is not None and not self._connection.closed and self._connection.fileno() >= 0

    def establish(self, parameters: Parameters) -> Deferred[Any]:
        """Connect.

        :param parameters: a dictionary for libpq.
        :returns: a Deferred.
        """
        return self._wait_for(self.connect(**parameters))

    async def execute(self, sql: str, values: Values) -> list[Any]:
        """Run one statement, in a transaction of its own.

        :returns: a list of rows; empty for a statement that gives none.
        """
        cursor = self.cursor()
        await self._wait_for(cursor.execute(sql, values))
        if self.getNotifyObservers():
            # A notification that came together with the answer is in libpq's buffer, which is otherwise not read until more comes.
            self._look()
        return cursor.fetchall() if cursor.description else []

    def _wait_for(self, started: Deferred[Any]) -> Deferred[Any]:
        """Wait for a Deferred of the driver, or for the end of the connection."""
        # To cancel a statement txpostgres would connect to the server once more, and block the reactor until it answers.
        waiting: Deferred[Any] = Deferred(self._cancelled)
        self._waiting = waiting
        started.addBoth(lambda result: None if waiting.called else waiting.callback(result))
        return waiting

    def _cancelled(self, waiting: Deferred[Any]) -> None:
        self._lost(self, "a statement was given up")
