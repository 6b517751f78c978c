"""One connection to PostgreSQL that comes back by itself, and never leaves a caller waiting.

Built on txpostgres. What leans on its insides is in this module:

* ``doRead`` is overridden, since an idle connection that breaks would raise into the reactor, with nobody to report to.
* ``reactor`` is a :class:`~dhtwisted.postgres.watching.WatchingReactor`, since libpq closes sockets when it likes.
* ``_pollingD`` tells whether somebody waits for the connection, who will be told of its end.
* ``cursorFinished`` would watch the socket again, though libpq has closed it.
* ``connectionLost`` and ``close`` also come when nothing was connected yet (``_connection``).
* ``cooperator`` is replaced, so that notifications are handed over at once.
"""

import random

import psycopg2
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from txpostgres import txpostgres

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.postgres.errors import BAD_VALUES, DRIVER_ERRORS, ends_connection, in_one_line, is_refusal, translated
from dhtwisted.postgres.targets import find_targets
from dhtwisted.postgres.watching import WatchingReactor

CONNECT_SECONDS = 5
"""Until a connection is ready, or given up."""

GRACE = 1
"""Seconds that the server gets, beyond the deadline of a statement, to say that it gave the statement up. Without a word until then it is
taken for gone, and the connection dropped."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between two attempts to connect. With :data:`CONNECT_SECONDS` for one, a database is found 7 seconds after it is back."""

PING_INTERVAL = 10
PING_SECONDS = 4
"""A connection that was idle for the one is asked whether it lives, and has the other to answer. So a dead one is known in 25 seconds."""

OLDEST_SERVER = 150000
NO_LIMIT = 0

_SETUP = """
SELECT set_config('statement_timeout', %s, false),
       set_config('idle_in_transaction_session_timeout', '60s', false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('standard_conforming_strings', 'on', false),
       set_config('jit', 'off', false),
       CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN set_config('synchronous_commit', 'on', false) END
"""
"""Whatever the settings of the role or the database say: a reply promises that the commit is on disk, and on standbys that are waited for.
Compiling a statement takes a third of a second, and none of ours runs so long."""


class _AtOnce:
    """Takes the place of Twisted's cooperator."""

    @staticmethod
    def cooperate(iterator):
        for _ in iterator:
            pass


class _Connection(txpostgres.Connection):
    """A connection of txpostgres that tells when it is lost, also while nobody uses it.

    :param lost: called with the connection and the reason, perhaps more than once.
    """

    def __init__(self, reactor, lost):
        super().__init__(WatchingReactor(reactor), _AtOnce)
        self._lost = lost
        self._given_up = False

    def doRead(self):
        try:
            self._look()
        except DRIVER_ERRORS as error:
            self._lost(self, in_one_line(error))
        else:
            if not self.is_open and self._pollingD is None:
                self._lost(self, "the server closed the connection")

    def _look(self):
        """See what has come: the end, or notifications. Watched is what the socket is afterwards."""
        self.reactor.removeReader(self)
        self.continuePolling()
        if self.is_open and self._pollingD is None:
            self.checkForNotifies()
            self.reactor.addReader(self)

    def cursorFinished(self, cursor):
        if self.is_open:
            super().cursorFinished(cursor)
        else:
            self._cursors.discard(cursor)

    def connectionLost(self, reason):
        if self._connection is not None:
            super().connectionLost(reason)
            self._lost(self, in_one_line(reason.value))

    def close(self):
        # It tells that it is lost, and whoever hears of that closes it.
        if self._connection is not None and not self._given_up:
            self._given_up = True
            self.reactor.remove_all()
            super().close()

    @property
    def is_open(self):
        """Whether the driver thinks that it is connected. It may have closed its socket and not say so yet."""
        return self._connection is not None and not self._connection.closed and self._connection.fileno() >= 0

    async def execute(self, sql, values):
        """Run one statement, in a transaction of its own.

        :returns: a list of rows; empty for a statement that gives none.
        """
        cursor = self.cursor()
        # To cancel a statement txpostgres would connect to the server once more, and block the reactor until it answers.
        done = Deferred(lambda _: self._lost(self, "a statement was given up"))
        cursor.execute(sql, values).addBoth(lambda result: None if done.called else done.callback(result))
        await done
        if self.getNotifyObservers():
            # A notification that came in one piece with the answer lies in libpq's buffer, where nobody looks until more comes.
            self._look()
        return cursor.fetchall() if cursor.description else []


class HealingConnection:
    """Keeps one connection. While there is none, whoever asks is refused at once.

    :param reactor: for sockets, threads and delayed calls.
    :param parameters: from :func:`dhtwisted.postgres.dsn.parse`.
    :param outage: an :class:`~dhtwisted.postgres.outage.Outage`, which is told when the connection comes and goes.
    :param seconds: deadline of a statement, kept by the server; :data:`NO_LIMIT` for none.
    :param prepare: ``async prepare(execute)``: called with ``async execute(sql, values=None)`` after each connect, before anybody else may
        use the connection.
    :param notified: called with the payload of each notification.
    :ivar reason: why there is no connection.
    """

    log = Logger()

    def __init__(self, reactor, parameters, outage, seconds, prepare=None, notified=None):
        self.reason = "not connected yet"
        self._reactor = reactor
        self._parameters = parameters
        self._outage = outage
        self._seconds = seconds
        self._prepare = prepare
        self._notified = notified
        self._lock = DeferredLock()
        self._connection = None
        self._connecting = None
        self._gone = None
        self._sleeping = None
        self._attempted = []
        self._targets = []
        self._refusal = None
        self._used = False
        self._ping_call = None
        self._closed = False
        self._ended = succeed(None)

    @property
    def up(self):
        """Whether a statement may be run."""
        return self._connection is not None

    def open(self):
        """Begin to connect, and to stay connected."""
        self._ended = Deferred.fromCoroutine(self._stay_connected())

    async def wait(self):
        """Wait until there is a connection, however long that takes.

        :raises ConfigurationError: it was refused for a reason that waiting does not mend.
        """
        while not self.up:
            if self._closed:
                raise StorageUnavailable("the storage is closed")
            if self._refusal is not None:
                raise ConfigurationError(f"{self._outage.place} refuses this server: {self._refusal}")
            attempted = Deferred()
            self._attempted.append(attempted)
            await attempted

    def close(self):
        """Let go of the connection, for good; a statement under way fails.

        :returns: a Deferred of ``None``.
        """
        self._closed = True
        if self._connecting is not None:
            self._connecting.close()
        if self._sleeping is not None:
            self._sleeping.cancel()
        if self._connection is not None:
            self._lose(self._connection, "closed")
        self._tell_attempted()
        return self._ended

    async def run(self, sql, values=None):
        """Run one statement, when those asked for before it are done.

        :returns: a list of rows.
        :raises StorageUnavailable: there is no connection, or it broke, or the statement took too long; its effect may have taken place.
        :raises Unstorable: a value does not fit.
        :raises psycopg2.Error: anything else, such as a unique violation.
        """
        await self._lock.acquire()
        try:
            if self._connection is None:
                raise StorageUnavailable(f"{self._outage.place} is away: {self.reason}")
            self._used = True
            return await self._execute(self._connection, sql, values, self._seconds)
        finally:
            self._lock.release()

    async def _execute(self, connection, sql, values, seconds):
        deadline = None
        if seconds != NO_LIMIT:
            deadline = self._reactor.callLater(seconds + GRACE, self._lose, connection, f"no answer for {seconds + GRACE} seconds")
        try:
            return await connection.execute(sql, values)
        except (*DRIVER_ERRORS, *BAD_VALUES) as error:
            if ends_connection(error) or not connection.is_open:
                self._lose(connection, in_one_line(error))
                raise StorageUnavailable(f"{self._outage.place} is away: {self.reason}") from error
            raise translated(error) from error
        finally:
            if deadline is not None and deadline.active():
                deadline.cancel()

    async def _stay_connected(self):
        pause = FIRST_PAUSE
        while not self._closed:
            connection = self._connecting = _Connection(self._reactor, self._lose)
            try:
                await self._establish(connection)
            except Exception as error:
                if not isinstance(error, (*DRIVER_ERRORS, StorageUnavailable, ConfigurationError, OSError)):
                    # It must not end the attempts.
                    self.log.failure("A connection to {place} failed by a defect", place=self._outage.place)
                self._failed(connection, error)
                await self._sleep(pause * random.uniform(0.8, 1.2))
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE
                await self._stay_up(connection)

    async def _establish(self, connection):
        parameters = await self._next_target()
        if self._closed:
            raise StorageUnavailable("the storage is closed")
        deadline = self._reactor.callLater(CONNECT_SECONDS, connection.close)
        try:
            if self._notified is not None:
                connection.addNotifyObserver(lambda notification: self._notified(notification.payload))
            await connection.connect(**parameters)
            if connection.server_version < OLDEST_SERVER:
                raise ConfigurationError(f"PostgreSQL 15 or newer is needed, it is {connection.server_version // 10000}")
            await self._execute(connection, _SETUP, (f"{self._seconds * 1000}",), CONNECT_SECONDS)
            if self._prepare is not None:
                await self._prepare(lambda sql, values=None: self._execute(connection, sql, values, CONNECT_SECONDS))
            if not connection.is_open:
                raise StorageUnavailable("the connection broke at once")
        finally:
            if deadline.active():
                deadline.cancel()
            self._connecting = None

    async def _next_target(self):
        """Parameters for one attempt. Each goes to the next server of those that the DSN names, and names are looked up for each round."""
        if not self._targets:
            self._targets = await find_targets(self._reactor, self._parameters)
        return self._targets.pop(0)

    def _failed(self, connection, error):
        connection.close()
        self.reason = in_one_line(error)
        if self._closed:
            return
        self._refusal = self.reason if isinstance(error, ConfigurationError) or is_refusal(error) else None
        self._outage.begin(self, self.reason)
        self._tell_attempted()

    async def _stay_up(self, connection):
        if self._closed:
            connection.close()
            return
        # After a loss, the first server of the DSN is tried first again.
        self._targets = []
        gone = self._gone = Deferred()
        self._connection = connection
        self._ping_call = self._reactor.callLater(PING_INTERVAL, self._ping)
        self._outage.end(self)
        # Whoever waited for the connection may be done with it, and close it, before this returns.
        self._tell_attempted()
        await gone

    def _lose(self, connection, reason):
        """Drop a connection that is of no more use. Closing it comes back here."""
        if connection is not self._connection:
            connection.close()
            return
        self._connection = None
        self.reason = reason
        connection.close()
        self._ping_call.cancel()
        if not self._closed:
            self._outage.begin(self, reason)
        gone, self._gone = self._gone, None
        gone.callback(None)

    def _tell_attempted(self):
        attempted, self._attempted = self._attempted, []
        for waiting in attempted:
            waiting.callback(None)

    async def _sleep(self, seconds):
        if self._closed:
            return
        self._sleeping = deferLater(self._reactor, seconds)
        try:
            await self._sleeping
        except CancelledError:
            return  # it is being closed
        finally:
            self._sleeping = None

    def _ping(self):
        self._ping_call = self._reactor.callLater(PING_INTERVAL, self._ping)
        if not self._used:
            # A failure ends the connection, and that is reported.
            Deferred.fromCoroutine(self._ask()).addErrback(lambda failure: failure.trap(StorageUnavailable, psycopg2.Error))
        self._used = False

    async def _ask(self):
        await self._lock.acquire()
        try:
            if self._connection is not None:
                await self._execute(self._connection, "SELECT 1", None, PING_SECONDS)
        finally:
            self._lock.release()
