"""Deadlines of connections, and how they end: one timer for all connections of a port.

A connection has one deadline at any time: for its handshake (TLS included), the head and the body of a request, the next request, and for
taking what is sent. A polite close is no end, since the peer must agree to it, above all over TLS: what is closed is aborted soon after the
peer has taken the last byte, or when it takes nothing.
"""

from __future__ import annotations

import fcntl
import math
import struct
import termios
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionAborted
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from dhtwisted.core.budget import SLOW_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from twisted.internet.interfaces import IReactorTime

    from dhtwisted.core.budget import Account

LINGER_SECONDS = 0.5
"""Seconds for a peer that has read everything to close its side. The timer runs once a second, so it may be up to two."""


def socket_of(transport: Any) -> Any:
    """The transport at the bottom, below TLS and PROXY protocol."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def buffered(transport: Any) -> int:
    """Bytes that a transport holds in memory, since the kernel has not taken them."""
    bottom = socket_of(transport)
    return len(bottom.dataBuffer) - bottom.offset + bottom._tempDataLen if isinstance(bottom, FileDescriptor) else 0


def untaken(transport: Any) -> int:
    """Bytes that the peer has not read yet: in memory, and in the kernel."""
    bottom = socket_of(transport)
    if not isinstance(bottom, FileDescriptor) or bottom.disconnected:
        return 0
    try:
        (queued,) = struct.unpack("i", fcntl.ioctl(bottom.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:
        # Only some systems tell it.
        queued = 0
    return buffered(bottom) + queued


class ClosingConnection:
    """A connection that has been closed politely.

    :param now: seconds of the clock.
    """

    __slots__ = ("_left", "_transport", "since")

    def __init__(self, transport: Any, now: float) -> None:
        self._transport = transport
        self._left: float = math.inf
        self.since = now

    def is_over(self, now: float) -> bool:
        """Whether its time is over; to be called once a second."""
        left = untaken(self._transport)
        if left < self._left:
            self.since = now
        self._left = left
        return now - self.since >= (SLOW_SECONDS if left else LINGER_SECONDS)

    def abort(self) -> None:
        """End it, whatever the peer does."""
        self._transport.abortConnection()


class UnsentOutput:
    """Counts the bytes that a transport still has to send in an account."""

    __slots__ = ("_account", "_counted", "_left", "_transport")

    def __init__(self, transport: Any, account: Account) -> None:
        self._transport, self._account = transport, account
        self._counted = self._left = 0

    def update(self) -> bool:
        """Bring the account up to date.

        :returns: whether anything is left.
        """
        held, left = buffered(self._transport), untaken(self._transport)
        self._account.add(held - self._counted) if held > self._counted else self._account.remove(self._counted - held)
        self._counted = held
        if not left:
            self._account.unblock()
        elif not self._account.is_blocked:
            self._account.block()
        elif left < self._left:
            self._account.progress()
        self._left = left
        return bool(left)


class ConnectionDeadlines:
    """The deadlines of one port.

    :param clock: an ``IReactorTime``.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._seconds = clock.seconds
        self._due: dict[Hashable, tuple[float, float, Callable[[], object]]] = {}
        self._leaving: dict[Hashable, ClosingConnection] = {}
        self._outputs: dict[Hashable, UnsentOutput] = {}

    def set(self, connection: Any, seconds: float, end: Callable[[], object]) -> None:
        """Give a connection another deadline.

        :param seconds: from now; 0 for none.
        :param end: called when it is over.
        """
        if seconds and connection not in self._leaving:
            self._due[connection] = self._seconds() + seconds, seconds, end
        else:
            self._due.pop(connection, None)

    def clear(self, connection: Any) -> None:
        """Remove the deadline of a connection: it waits for the server, which has its own deadlines."""
        self._due.pop(connection, None)

    def watch_output(self, connection: Any, transport: Any, account: Account) -> None:
        """Watch whether the peer reads what is sent, until it has."""
        if connection not in self._outputs:
            self._outputs[connection] = UnsentOutput(transport, account)

    def update_output(self, connection: Any) -> None:
        """Update the account of a connection now, since much has been sent or read."""
        self._outputs[connection].update()

    def ensure_closed(self, connection: Any, transport: Any) -> None:
        """Ensure that a connection ends that has been closed politely."""
        self._due.pop(connection, None)
        if connection not in self._leaving:
            self._leaving[connection] = ClosingConnection(transport, self._seconds())

    def forget(self, connection: Any) -> None:
        """Forget a connection: it has ended, or another object checks it."""
        self._due.pop(connection, None)
        self._leaving.pop(connection, None)
        self._outputs.pop(connection, None)

    def tick(self, now: float) -> None:
        """End connections whose time is over; to be called once a second.

        :param now: seconds of the clock.
        """
        for connection, output in list(self._outputs.items()):
            if not output.update():
                del self._outputs[connection]
        for leaving in [leaving for leaving in self._leaving.values() if leaving.is_over(now)]:
            self._end(leaving.abort)
        for connection, due in [(connection, due) for connection, due in self._due.items() if now >= due[0]]:
            # The end of one may have been the end of another, or have given it more time.
            if self._due.get(connection) is due:
                del self._due[connection]
                self._end(due[2])

    def _end(self, end: Callable[[], object]) -> None:
        try:
            end()
        except Exception:
            self.log.failure("a connection whose time is over could not be ended")

    def clock_set_back(self, step: float) -> None:
        """Adjust the deadlines to the clock's new time.

        :param step: seconds, less than 0.
        """
        now = self._seconds()
        for connection, (time, seconds, end) in self._due.items():
            # What was set after the step is right as it is.
            if time - now > seconds:
                self._due[connection] = time + step, seconds, end
        for leaving in self._leaving.values():
            leaving.since = min(leaving.since, now)


class DroppedConnection(Protocol):
    """A connection that is dropped at once, since there is no descriptor to refuse it. Its own is free before the next is accepted."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.abortConnection()
        # The abort would come in the next turn, and this one may accept a hundred more.
        socket_of(self.transport).connectionLost(Failure(ConnectionAborted()))
