"""The HTTP side of the endpoints of health and metrics: as bounded as that of clients, since they may be open to the same strangers."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import LoopingCall
from twisted.web.server import Site

from dhtwisted.core.budget import Budget
from dhtwisted.transports.connection_deadlines import Deadlines, Unheard
from dhtwisted.transports.http.channel import BoundedChannel

MOST_CONNECTIONS = 16
"""At once; each has a descriptor of the reserve (:data:`dhtwisted.service.process.OTHER_FILES`)."""

SECONDS = 10.0
"""For the head of a request."""

IDLE_SECONDS = 75.0
"""Between two requests: Prometheus asks each minute at the latest, and keeps its connection."""

NO_BODY = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class MonitorChannel(BoundedChannel):
    """One connection. No request has a body."""

    def connectionMade(self):
        super().connectionMade()
        self.factory.channels[self] = None

    def connectionLost(self, reason):
        self.factory.channels.pop(self, None)
        super().connectionLost(reason)

    def allHeadersReceived(self):
        if self.length == 0:
            super().allHeadersReceived()
        else:
            self.transport.write(NO_BODY)
            self.loseConnection()


class MonitorSite(Site):
    """Serves pages to some callers at once.

    :param root: a ``Resource``.
    :param clock: an ``IReactorTime``.
    :ivar channels: the connections that are open, in the order of opening.
    """

    protocol: Any = MonitorChannel
    noisy = False
    head_timeout = body_timeout = SECONDS
    idle_timeout = IDLE_SECONDS

    def __init__(self, root, clock):
        super().__init__(root, timeout=None, reactor=clock)
        self.channels = {}
        self.deadlines = Deadlines(clock)
        self.budget = Budget(clock)
        self._timer = LoopingCall(self._tick)
        self._timer.clock = clock

    def log(self, request):
        """No line: one for each scrape would bury what matters."""

    def acceptableProtocols(self):
        """What is offered by ALPN; the channel speaks no other."""
        return [b"http/1.1"]

    def startFactory(self):
        """Without Twisted's access log, which has a file and a timer of its own."""
        self._timer.start(1.0, now=False)

    def stopFactory(self):
        self._timer.stop()
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def buildProtocol(self, addr):
        if len(self.channels) >= MOST_CONNECTIONS and not self._make_room():
            return Unheard()
        return super().buildProtocol(addr)

    def _make_room(self):
        """End the oldest connection that is kept without a request."""
        for channel in self.channels:
            if channel.is_idle:
                del self.channels[channel]
                channel.transport.abortConnection()
                return True
        return False

    def _tick(self):
        now = self.reactor.seconds()
        self.deadlines.tick(now)
        self.budget.tick(now)
