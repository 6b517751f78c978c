"""All open connections of a server, whatever they speak: their numbers, their deadlines, and their end when the server stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from dhtwisted.transports.admission import Admission
from dhtwisted.transports.connection_deadlines import ConnectionDeadlines

if TYPE_CHECKING:
    from dhtwisted.core.server import Server

STOP_SECONDS = 10


class OpenConnections:
    """The open connections of one server.

    :param server: a :class:`~dhtwisted.core.server.Server`.
    :ivar all: each has ``finish``, which answers the current requests and closes, and a ``transport``.
    :ivar admission: an :class:`~dhtwisted.transports.admission.Admission`, which counts them.
    :ivar deadlines: a :class:`~dhtwisted.transports.connection_deadlines.ConnectionDeadlines`.
    """

    log = Logger()

    def __init__(self, server: Server) -> None:
        self.all: set[Any] = set()
        self.admission = Admission(server.settings, server.metrics.refused)
        self.deadlines = ConnectionDeadlines(server.reactor)
        self._clock = server.reactor
        self._last_number = 0
        self._all_gone: Deferred[None] | None = None

    def next_number(self) -> int:
        """The number of a new connection, for log lines."""
        self._last_number += 1
        return self._last_number

    def discard(self, connection: Any) -> None:
        """Forget a connection that has ended."""
        self.all.discard(connection)
        if self._all_gone is not None and not self.all:
            all_gone, self._all_gone = self._all_gone, None
            all_gone.callback(None)

    async def finish(self) -> None:
        """Let all connections answer their requests and close, and wait until they are closed.

        It takes at most :data:`STOP_SECONDS`.
        """
        if not self.all:
            return
        all_gone: Deferred[None] = Deferred()
        self._all_gone = all_gone
        limit = self._clock.callLater(STOP_SECONDS, self._abort_all)
        for connection in list(self.all):
            connection.finish()
        await all_gone
        if limit.active():
            limit.cancel()

    def _abort_all(self) -> None:
        self.log.warn("{count} clients did not go in time", count=len(self.all))
        for connection in list(self.all):
            connection.transport.abortConnection()
