"""The HTTP side of the endpoints for health and metrics. It has limits, since anybody may be able to reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import connectionDone
from twisted.web.server import Site

from dhtwisted.core.budget import Budget
from dhtwisted.kit.repeated_work import RepeatedWork
from dhtwisted.transports.connection_deadlines import ConnectionDeadlines, DroppedConnection
from dhtwisted.transports.http.channel import BoundedChannel

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

MOST_CONNECTIONS = 16
"""Connections at the same time. Each uses a reserved descriptor (:data:`dhtwisted.transports.capacity.OTHER_FILES`)."""

SECONDS = 10.0
"""Seconds for the head of a request."""

IDLE_SECONDS = 75.0
"""Seconds between two requests: Prometheus usually asks at least once a minute and keeps its connection."""

NO_BODY = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class MonitorChannel(BoundedChannel):
    """One connection. No request has a body."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.channels[self] = None

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.factory.channels.pop(self, None)
        super().connectionLost(reason)

    def allHeadersReceived(self) -> None:
        if self.length == 0:
            super().allHeadersReceived()
        else:
            self.transport.write(NO_BODY)
            self.loseConnection()


class MonitorSite(Site):
    """Serves pages to at most :data:`MOST_CONNECTIONS` connections.

    :param root: a ``Resource``.
    :param clock: an ``IReactorTime``.
    :ivar channels: the connections that are open, in the order of opening.
    """

    protocol: Any = MonitorChannel
    noisy = False
    head_timeout = body_timeout = SECONDS
    idle_timeout = IDLE_SECONDS

    def __init__(self, root: Any, clock: IReactorTime) -> None:
        super().__init__(root, timeout=None, reactor=clock)
        self.channels: dict[MonitorChannel, None] = {}
        self.deadlines = ConnectionDeadlines(clock)
        self.budget = Budget(clock)
        self._timer = RepeatedWork(clock, "watching connections of monitoring", self._tick_deadlines, self._tick_budget)

    def log(self, request: Any) -> None:
        """Log nothing: a line for each scrape would hide important lines."""

    def acceptableProtocols(self) -> list[bytes]:
        """The protocols for ALPN; the channel supports only this one."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Start the timer, but not Twisted's access log, which has its own file and timer."""
        self._timer.start(1.0)

    def stopFactory(self) -> None:
        self._timer.stop()
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def buildProtocol(self, addr: object) -> Any:
        if len(self.channels) >= MOST_CONNECTIONS and not self._make_room():
            return DroppedConnection()
        return super().buildProtocol(addr)

    def _make_room(self) -> bool:
        """End the oldest idle connection."""
        for channel in self.channels:
            if channel.is_idle:
                del self.channels[channel]
                channel.transport.abortConnection()
                return True
        return False

    def _tick_deadlines(self) -> None:
        self.deadlines.tick(self.reactor.seconds())

    def _tick_budget(self) -> None:
        self.budget.tick(self.reactor.seconds())
