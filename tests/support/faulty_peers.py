"""Small servers of other protocols that make one mistake, or none: HTTP, NATS and PostgreSQL. They test the load generator."""

from __future__ import annotations

import struct

from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Factory, Protocol

from tests.support.faulty_servers import _Base


class Peer(_Base, Factory):
    """Answers every request; the fault changes the answers.

    :param protocol: one of the classes below.
    """

    def __init__(self, protocol: type[PeerConnection]) -> None:
        self.protocol = protocol  # type: ignore[assignment]  # Twisted's annotation declares no subclasses
        self.start_counting()


class PeerConnection(Protocol):
    """One connection.

    :ivar answer: what every answer is; ``{n}`` stands for the number of the request where the protocol has it.
    """

    factory: Peer
    transport: ITransport
    waiting = b""

    def dataReceived(self, data: bytes) -> None:
        self.waiting += data
        while (length := self.whole()) and len(self.waiting) >= length:
            message, self.waiting = self.waiting[:length], self.waiting[length:]
            self.treat(message)

    def whole(self) -> int:
        """The length of the next message; 0 while it is not known."""
        raise NotImplementedError

    def treat(self, message: bytes) -> None:
        """Take a whole message."""
        raise NotImplementedError

    def send_text(self, message: bytes) -> None:
        self.transport.write(message)


class HttpConnection(PeerConnection):
    """HTTP/1.1, with a body that has no number in it."""

    requests: list[bytes] = []

    def whole(self) -> int:
        head, end, _ = self.waiting.partition(b"\r\n\r\n")
        _, _, size = head.partition(b"Content-Length: ")
        return len(head) + 4 + int(size.partition(b"\r\n")[0] or 0) if end else 0

    def treat(self, message: bytes) -> None:
        self.requests.append(message)
        self.factory.pass_on("answer", self, b'HTTP/1.1 201 Created\r\ncontent-length: 8\r\nX: y\r\n\r\n{"id":1}')


class NatsConnection(PeerConnection):
    """The protocol of NATS, with the acknowledgements of JetStream."""

    def connectionMade(self) -> None:
        self.transport.write(b'INFO {"server_id":"x"}\r\n')

    def whole(self) -> int:
        line, end, _ = self.waiting.partition(b"\r\n")
        size = int(line.split()[-1]) + 2 if line.startswith(b"PUB") else 0
        return len(line) + 2 + size if end else 0

    def treat(self, message: bytes) -> None:
        if message.startswith(b"PING"):
            self.transport.write(b"PONG\r\nPING\r\n")
        elif message.startswith(b"PUB"):
            self.acknowledge(message.split()[2])

    def acknowledge(self, subject: bytes) -> None:
        self.factory.pass_on("answer", self, b"MSG " + subject + b' 1 9\r\n{"seq":1}\r\n')


def _message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


READY = _message(b"Z", b"I")


class PostgresConnection(PeerConnection):
    """The protocol of PostgreSQL; asks for no password."""

    started = False

    def whole(self) -> int:
        head = 1 if self.started else 0
        return head + int(struct.unpack(">i", self.waiting[head : head + 4])[0]) if len(self.waiting) >= head + 4 else 0

    def treat(self, message: bytes) -> None:
        if not self.started:
            self.started = True
            self.transport.write(_message(b"R", bytes(4)) + _message(b"K", bytes(8)) + READY)
        elif message[:1] == b"P":
            self.answers = _message(b"1")
        elif message[:1] == b"B":
            self.answers = _message(b"2") + _message(b"C", b"INSERT 0 1\0")
        elif message[:1] == b"S" and self.answers.startswith(b"1"):
            self.transport.write(self.answers + READY)
        elif message[:1] == b"S":
            self.factory.pass_on("answer", self, self.answers + READY)
