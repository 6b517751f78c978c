"""A real TCP transport of Twisted on a socket that takes what a test wants it to take."""

import errno

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from tests.support.alone import Side


class Socket:
    """Takes so many bytes of each ``send`` as is planned, then everything.

    :ivar received: what the other end has got.
    :ivar sends: the sizes that were given to ``send``.
    """

    def __init__(self, plan=()):
        self.plan = list(plan)
        self.received = bytearray()
        self.sends = []
        self.broken = False

    def send(self, data):
        if self.broken:
            raise OSError(errno.EPIPE, "broken pipe")
        self.sends.append(len(data))
        room = self.plan.pop(0) if self.plan else len(data)
        if room <= 0:
            raise BlockingIOError(errno.EWOULDBLOCK, "full")
        self.received += data[:room]
        return min(room, len(data))

    def fileno(self):
        return 0

    def setblocking(self, flag):
        """As of a socket."""

    def setsockopt(self, *arguments):
        """As of a socket."""

    def shutdown(self, how):
        """As of a socket."""

    def close(self):
        """As of a socket."""


class Reactor(Clock):
    """A clock with the readers and writers of a reactor, which a test runs itself."""

    def __init__(self):
        super().__init__()
        self.writers, self.readers = set(), set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard


class Wire(Connection):
    """Twisted's own TCP transport, connected."""

    def __init__(self, socket, reactor):
        super().__init__(socket, None, reactor)
        self.connected = 1

    def getPeer(self):
        return IPv4Address("TCP", "192.0.2.1", 1)

    getHost = getPeer


class Wired:
    """A protocol of ours on a :class:`Wire`.

    :param limits: settings to change, by name.
    """

    def __init__(self, **limits):
        self.reactor, self.socket = Reactor(), Socket()
        self.transport = Wire(self.socket, self.reactor)
        self.side = Side(clock=self.reactor, transport=self.transport, **limits)
        self.protocol, self.session, self.traffic = self.side.protocol, self.side.session, self.side.traffic
        assert self.socket.received.endswith(b"\r\n\r\n")
        self.forget()

    def forget(self):
        """Count from here."""
        self.socket.received.clear()
        self.socket.sends.clear()
        self.traffic.octets_sent = 0

    @property
    def received(self):
        return bytes(self.socket.received)

    def turn(self):
        """One turn of the reactor: the calls that are due, then a chance to write."""
        self.reactor.advance(0)
        if self.transport in self.reactor.writers:
            end = self.transport.doWrite()
            if end is not None:
                self.transport.connectionLost(Failure(end))

    def drain(self):
        """Let everything be taken."""
        self.socket.plan.clear()
        self.turn()
        while self.transport in self.reactor.writers:
            self.turn()

    def lose(self):
        """Have the connection break; whoever writes finds out."""
        self.socket.broken = True
