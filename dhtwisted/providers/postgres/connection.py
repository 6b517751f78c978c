"""One connection to PostgreSQL that reconnects by itself. Every call ends within a time limit."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg2
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, TimeoutError, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.kit.reactor import IReactor
from dhtwisted.providers.postgres.driver import DriverConnection
from dhtwisted.providers.postgres.errors import BAD_VALUES, DRIVER_ERRORS, ends_connection, in_one_line, is_refusal, translated
from dhtwisted.providers.postgres.outage import Outage
from dhtwisted.providers.postgres.statements import Execute, Parameters, Values
from dhtwisted.providers.postgres.targets import find_targets

CONNECT_SECONDS = 5
"""Time limit for making a connection."""

GRACE = 1
"""Seconds after the time limit of a statement in which the server can report that it cancelled the statement. Without a report the server
counts as gone, and the connection is closed."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between two attempts to connect. With :data:`CONNECT_SECONDS` for one, a database is found 7 seconds after it is back."""

PING_INTERVAL = 10
PING_SECONDS = 4
"""A connection that was idle for the one is asked whether it lives, and has the other to answer. So a dead one is known in 25 seconds."""

OLDEST_SERVER = 150000

_DOUBT = 0.9
"""Part of a statement's deadline. What took longer may have an error of the deadline behind it, see :meth:`HealingConnection._check`."""

_LIMIT = "SET statement_timeout = %s"
_SETUP = """
SELECT set_config('idle_in_transaction_session_timeout', '60s', false),
       set_config('idle_session_timeout', '0', false),
       set_config('lock_timeout', '0', false),
       CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL THEN set_config('transaction_timeout', '0', false) END,
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('standard_conforming_strings', 'on', false),
       set_config('jit', 'off', false),
       CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN set_config('synchronous_commit', 'on', false) END
"""
"""Whatever the settings of the role or the database say: a reply promises that the commit is on disk, and on standbys that are waited for.
Compiling a statement takes a third of a second, and none of ours runs so long. The limit comes first and alone: under the limit of somebody
else a statement of this size may always be too long."""


class HealingConnection:
    """Keeps one connection. While it is down, statements fail at once.

    :param reactor: for sockets, threads and delayed calls.
    :param parameters: from :func:`dhtwisted.providers.postgres.dsn.parse`.
    :param outage: an :class:`~dhtwisted.providers.postgres.outage.Outage`, which logs when the connection goes and comes back.
    :param seconds: time limit of a statement. The server enforces it, and after :data:`GRACE` this class does.
    :param prepare: ``async prepare(execute)``: called with ``async execute(sql, values=None)`` after each connect, before anybody else may
        use the connection.
    :param notified: called with the payload of each notification.
    :ivar reason: why there is no connection.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        parameters: Parameters,
        outage: Outage,
        seconds: float,
        prepare: Callable[[Execute], Awaitable[None]] | None = None,
        notified: Callable[[str], None] | None = None,
    ) -> None:
        self.reason = "not connected yet"
        self._reactor = reactor
        self._parameters = parameters
        self._outage = outage
        self._seconds = seconds
        self._prepare = prepare
        self._notified = notified
        self._lock = DeferredLock()
        self._connection: DriverConnection | None = None
        self._connecting: DriverConnection | None = None
        self._gone: Deferred[None] = succeed(None)
        self._looking_up: Deferred[list[Parameters]] | None = None
        self._sleeping: Deferred[None] | None = None
        self._attempted: list[Deferred[None]] = []
        self._targets: list[Parameters] = []
        self._refusal: str | None = None
        self._used = False
        self._checks = 0
        self._ping_call: IDelayedCall | None = None
        self._closed = False
        self._ended = succeed(None)

    @property
    def up(self) -> bool:
        """Whether there is a connection for statements."""
        return self._connection is not None

    def open(self) -> None:
        """Start to connect, and to reconnect after losses."""
        self._ended = Deferred.fromCoroutine(self._stay_connected())

    async def wait(self) -> None:
        """Wait until there is a connection, without a limit.

        :raises ConfigurationError: the connection was refused for a reason that waiting does not solve.
        """
        while not self.up:
            if self._closed:
                raise StorageUnavailable("the storage is closed")
            if self._refusal is not None:
                raise ConfigurationError(f"{self._outage.place} refuses this server: {self._refusal}")
            attempted: Deferred[None] = Deferred()
            self._attempted.append(attempted)
            await attempted

    def close(self) -> Deferred[None]:
        """Close the connection for ever. A running statement fails.

        :returns: a Deferred of ``None``.
        """
        self._closed = True
        if self._looking_up is not None:
            self._looking_up.cancel()
        if self._connecting is not None:
            self._connecting.close("closed")
        if self._sleeping is not None:
            self._sleeping.cancel()
        if self._connection is not None:
            self._lose(self._connection, "closed")
        self._report_attempt()
        return self._ended

    async def run(self, sql: str, values: Values = None) -> list[Any]:
        """Run one statement, after those that were submitted before.

        :returns: a list of rows.
        :raises StorageUnavailable: there is no connection, it broke, or the statement took too long. The statement may have taken effect.
        :raises Unstorable: a value does not fit.
        :raises psycopg2.Error: anything else, such as a unique violation.
        """
        await self._lock.acquire()
        connection = self._connection
        if connection is None:
            self._lock.release()
            raise StorageUnavailable(f"{self._outage.place} is away: {self.reason}")
        self._used = True
        connection.deadline.start(self._seconds + GRACE)
        try:
            return await self._execute(connection, sql, values)
        finally:
            connection.deadline.stop()
            if connection.doubtful:
                self._check_in_background(connection, GRACE)
            else:
                self._lock.release()

    async def _execute(self, connection: DriverConnection, sql: str, values: Values = None) -> list[Any]:
        began = self._reactor.seconds()
        try:
            return await connection.execute(sql, values)
        except (*DRIVER_ERRORS, *BAD_VALUES) as error:
            if ends_connection(error) or not connection.is_open:
                reason = in_one_line(error)
                self._lose(connection, reason)
                raise StorageUnavailable(f"{self._outage.place} is away: {reason}") from error
            raise translated(error) from error
        finally:
            if self._reactor.seconds() - began >= self._seconds * _DOUBT:
                connection.doubtful = True

    async def _check(self, connection: DriverConnection) -> None:
        """Check that answers still belong to their statements, and close the connection otherwise.

        If a statement reaches its time limit just as it ends, PostgreSQL (seen with 18) sends its answer and then an error. libpq uses the
        error as the answer to the next statement. Then each statement would get the answer to the one before it.

        :raises StorageUnavailable: the answers do not belong to their statements.
        """
        connection.doubtful = False
        self._checks += 1
        question = f"check {self._checks} of dhtwisted"
        rows = await self._execute(connection, "SELECT %s", (question,))
        if rows != [(question,)] or connection.doubtful:
            self._lose(connection, "its answers come late")
            raise StorageUnavailable(f"{self._outage.place} is away: its answers come late")

    def _check_in_background(self, connection: DriverConnection, seconds: float) -> None:
        """Check a connection, then release it to others. If the check fails, the connection is closed and that is logged."""
        checking = Deferred.fromCoroutine(self._check_in_time(connection, seconds))
        checking.addErrback(lambda failure: failure.trap(StorageUnavailable, psycopg2.Error))

    async def _check_in_time(self, connection: DriverConnection, seconds: float) -> None:
        try:
            if connection is self._connection:
                connection.deadline.start(seconds)
                await self._check(connection)
        except StorageUnavailable as error:
            self._lose(connection, in_one_line(error))
            raise
        finally:
            connection.deadline.stop()
            self._lock.release()

    async def _stay_connected(self) -> None:
        pause = FIRST_PAUSE
        while not self._closed:
            connection = self._connecting = DriverConnection(self._reactor, self._lose)
            try:
                await self._establish(connection)
            except Exception as error:
                if not isinstance(error, (*DRIVER_ERRORS, StorageUnavailable, ConfigurationError, OSError)):
                    # An error must not stop the attempts.
                    self.log.failure("A connection to {place} failed by a defect", place=self._outage.place)
                self._failed(connection, error)
                await self._sleep(pause * random.uniform(0.8, 1.2))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE
                await self._stay_up(connection)

    async def _establish(self, connection: DriverConnection) -> None:
        try:
            parameters = await self._next_target()
            if self._closed:
                raise StorageUnavailable("the storage is closed")
            connection.deadline.start(CONNECT_SECONDS)
            if self._notified is not None:
                connection.addNotifyObserver(lambda notification: self._notified(notification.payload))
            await connection.establish(parameters)
            if connection.server_version < OLDEST_SERVER:
                raise ConfigurationError(f"PostgreSQL 15 or newer is needed, it is {connection.server_version // 10000}")
            await self._set_up(connection)
            if not connection.is_open:
                raise StorageUnavailable("the connection broke at once")
            connection.deadline.stop()
        finally:
            self._connecting = None

    async def _set_up(self, connection: DriverConnection) -> None:
        await self._execute(connection, _LIMIT, (round(self._seconds * 1000),))
        await self._execute(connection, _SETUP)
        await self._check(connection)
        if self._prepare is not None:
            await self._prepare(lambda sql, values=None: self._execute(connection, sql, values))
        if connection.doubtful:
            await self._check(connection)

    async def _next_target(self) -> Parameters:
        """Get the parameters of the next attempt. It goes to the next server in the DSN; names are resolved again in each round."""
        if not self._targets:
            looking_up = self._looking_up = Deferred.fromCoroutine(find_targets(self._reactor, self._parameters))
            try:
                self._targets = await looking_up.addTimeout(CONNECT_SECONDS, self._reactor)
            except TimeoutError as error:
                raise OSError(f"the addresses of its hosts are not found within {CONNECT_SECONDS} seconds") from error
            finally:
                self._looking_up = None
        return self._targets.pop(0)

    def _failed(self, connection: DriverConnection, error: BaseException) -> None:
        self.reason = in_one_line(error)
        connection.close(self.reason)
        if self._closed:
            return
        self._refusal = self.reason if isinstance(error, ConfigurationError) or is_refusal(error) else None
        self._outage.begin(self, self.reason)
        self._report_attempt()

    async def _stay_up(self, connection: DriverConnection) -> None:
        if self._closed:
            connection.close("closed")
            return
        # After a loss, the first server of the DSN is tried first again.
        self._targets = []
        gone: Deferred[None] = Deferred()
        self._gone = gone
        self._connection = connection
        self._ping_call = self._reactor.callLater(PING_INTERVAL, self._ping, connection)
        self._outage.end(self)
        # A caller that waited may use the connection and close it before this returns.
        self._report_attempt()
        await gone

    def _lose(self, connection: DriverConnection, reason: str) -> None:
        """Close a useless connection. Closing it calls this again."""
        if connection is not self._connection:
            connection.close(reason)
            return
        self._connection = None
        self.reason = reason
        connection.close(reason)
        if self._ping_call is not None:
            self._ping_call.cancel()
        if not self._closed:
            self._outage.begin(self, reason)
        self._gone.callback(None)

    def _report_attempt(self) -> None:
        attempted, self._attempted = self._attempted, []
        for waiting in attempted:
            waiting.callback(None)

    async def _sleep(self, seconds: float) -> None:
        if self._closed:
            return
        self._sleeping = deferLater(self._reactor, seconds)
        try:
            await self._sleeping
        except CancelledError:
            return  # it is being closed
        finally:
            self._sleeping = None

    def _ping(self, connection: DriverConnection) -> None:
        self._ping_call = self._reactor.callLater(PING_INTERVAL, self._ping, connection)
        if not self._used:
            self._lock.acquire().addCallback(lambda _: self._check_in_background(connection, PING_SECONDS))
        self._used = False
