"""A real TCP transport of Twisted on a socket that accepts as many bytes as a test plans."""

import errno
from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from tests.support.alone import Side


class Socket:
    """A socket that accepts a planned number of bytes in each ``send``, and everything after the plan.

    :ivar plan: the numbers of bytes for the next calls; 0: the socket is full.
    :ivar received: the bytes that the other end has received.
    :ivar sends: the number of bytes in each call of ``send``.
    :ivar broken: set it to make the connection fail.
    """

    def __init__(self, plan: Iterable[int] = ()) -> None:
        self.plan = list(plan)
        self.received = bytearray()
        self.sends: list[int] = []
        self.broken = False

    def send(self, data: bytes) -> int:
        if self.broken:
            raise OSError(errno.EPIPE, "broken pipe")
        self.sends.append(len(data))
        room = self.plan.pop(0) if self.plan else len(data)
        if room <= 0:
            raise BlockingIOError(errno.EWOULDBLOCK, "full")
        self.received += data[:room]
        return min(room, len(data))

    def fileno(self) -> int:
        return 0

    def setblocking(self, flag: bool) -> None:
        """Twisted calls this. It does nothing here."""

    def setsockopt(self, *arguments: object) -> None:
        """Twisted calls this. It does nothing here."""

    def shutdown(self, how: int) -> None:
        """Twisted calls this. It does nothing here."""

    def close(self) -> None:
        """Twisted calls this. It does nothing here."""


class Reactor(Clock):
    """A clock with the readers and writers of a reactor. The test runs them."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[Any] = set()
        self.readers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard


class Wire(Connection):
    """Twisted's own TCP transport, connected."""

    def __init__(self, socket: Any, reactor: Reactor) -> None:
        super().__init__(socket, None, reactor)  # type: ignore[arg-type]  # the parts of a reactor and a protocol that it needs
        self.connected = 1

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 1)

    getHost = getPeer


class Wired:
    """The server's WebSocket protocol on a :class:`Wire`.

    :param limits: settings to change, by name.
    """

    def __init__(self, **limits: Any) -> None:
        self.reactor, self.socket = Reactor(), Socket()
        self.transport = Wire(self.socket, self.reactor)
        self.side = Side(clock=self.reactor, transport=self.transport, **limits)
        self.protocol, self.session, self.traffic = self.side.protocol, self.side.session, self.side.traffic
        assert self.socket.received.endswith(b"\r\n\r\n")
        self.forget()

    def forget(self) -> None:
        """Forget what was sent so far."""
        self.socket.received.clear()
        self.socket.sends.clear()
        self.traffic.octets_sent = 0

    @property
    def received(self) -> bytes:
        return bytes(self.socket.received)

    def turn(self) -> None:
        """Run one turn of the reactor: the due calls, then a write if the transport wants one."""
        self.reactor.advance(0)
        if self.transport in self.reactor.writers:
            end = self.transport.doWrite()
            if end is not None:
                self.transport.connectionLost(Failure(end))

    def drain(self) -> None:
        """Let the socket accept everything."""
        self.socket.plan.clear()
        self.turn()
        while self.transport in self.reactor.writers:
            self.turn()

    def lose(self) -> None:
        """Break the connection. The next write notices it."""
        self.socket.broken = True
