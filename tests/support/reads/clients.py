"""A client on Twisted's own TCP transport, whose socket has a buffer of a size that a test sets."""

from typing import Any, cast

from dhtwisted.transports.websocket.protocol import DeviceHiveFactory
from tests.support import strict_json
from tests.support.raw import HANDSHAKE, TEXT, RawConnection
from tests.support.wire import Reactor, Socket, Wire

MARK = "everything was answered"
"""Stands in :attr:`Client.received` where nothing was under way."""


class BufferedSocket(Socket):
    """Takes as many bytes as its buffer has room for.

    :ivar room: in bytes; ``None`` for any number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.room: int | None = None

    def send(self, data: bytes) -> int:
        self.plan = [len(data) if self.room is None else self.room]
        sent = super().send(data)
        if self.room is not None:
            self.room -= sent
        return sent


class Client:
    """One connection.

    :ivar reads: what each of the next reads gives to the server; they happen when the server reads.
    """

    def __init__(self, factory: DeviceHiveFactory, reactor: Reactor, number: int) -> None:
        self.socket = BufferedSocket()
        self.transport = Wire(self.socket, reactor)
        self.reads: list[bytes] = []
        self._reactor = reactor
        self._frames = RawConnection()
        self._log: list[Any] = []
        self.protocol: Any = cast(Any, factory.buildProtocol(None))
        self.protocol.number = number
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self.transport.startReading()
        self.read(HANDSHAKE.format(path="/websocket", port=1, headers="").encode())

    @property
    def session(self) -> Any:
        return self.protocol.session

    @property
    def is_quiet(self) -> bool:
        """Whether the server has taken and answered everything that was sent, and the client has everything that the server sent."""
        if not self.transport.connected:
            self.reads.clear()
        return not self.reads and self.transport not in self._reactor.writers and (self.session is None or _is_idle(self.session))

    def read(self, data: bytes) -> None:
        """Let the server read this, after what it has not read yet."""
        self.reads.append(data)
        self.take()

    def take(self) -> bool:
        """Let the server read once, if it reads.

        :returns: whether it has.
        """
        if self.reads and self.transport in self._reactor.readers:
            self.protocol.dataReceived(self.reads.pop(0))
            return True
        return False

    def mark(self) -> None:
        """Remember that nothing is under way now."""
        self._receive()
        self._log.append(MARK)

    @property
    def received(self) -> list[Any]:
        """What the client has received: decoded messages, other frames as ``(opcode, payload)``, and each :data:`MARK`."""
        self._receive()
        return self._log

    def _receive(self) -> None:
        data = bytes(self.socket.received)
        self.socket.received.clear()
        if not self._log:
            assert data.startswith(b"HTTP/1.1 101 "), data
            data = data.partition(b"\r\n\r\n")[2]
            self._log.append("open")
        self._frames.received += data
        while (frame := self._frames._take_frame()) is not None:
            self._log.append(strict_json.read(frame[1]) if frame[0] == TEXT else frame)


def _is_idle(session: Any) -> bool:
    """Whether no request of a session waits for anything, and no stored messages are still to be sent."""
    order, inbox = session.order, session.inbox
    is_under_way = (order is not None and not order.is_empty) or (inbox is not None and inbox.texts)
    return not is_under_way and not session._replays


def segments(received: list[Any], mixed: frozenset[str]) -> list[tuple[list[Any], list[Any]]]:
    """What a client has received, with the order of which nothing may depend left out: events against replies to its own inserts.

    :param mixed: actions whose replies may come before or after events that came meanwhile.
    :returns: pairs of events and replies. One ends where nothing was under way, with the reply to any other action, and with any other
        frame.
    """
    parts: list[tuple[list[Any], list[Any]]] = [([], [])]
    for message in received:
        is_event = isinstance(message, dict) and "status" not in message
        parts[-1][not is_event].append(message)
        if not is_event and not (isinstance(message, dict) and message.get("action") in mixed):
            parts.append(([], []))
    return parts
