"""A server that speaks PostgreSQL's protocol and fails as a test wants (PostgreSQL's manual, "Frontend/Backend Protocol")."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Self

from psycopg2.extensions import make_dsn
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.tcp import Server

Fault = Callable[["ScriptedConnection", list[bytes]], None]
SSL, GSS = 80877103, 80877104
PARAMETERS = {
    "server_version": "16.1",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "default_transaction_read_only": "off",
    "in_hot_standby": "off",
}


def message(kind: bytes, body: bytes = b"") -> bytes:
    """A message of the protocol."""
    return kind + struct.pack("!i", len(body) + 4) + body


def texts(*values: str) -> bytes:
    """Strings as the protocol writes them."""
    return b"".join(value.encode() + b"\0" for value in values)


READY = message(b"Z", b"I")


def error(severity: str = "ERROR", code: str = "57014", text: str = "canceling statement due to statement timeout") -> bytes:
    """An error of a statement."""
    return message(b"E", texts(f"S{severity}", f"V{severity}", f"C{code}", f"M{text}") + b"\0")


def row(value: str) -> list[bytes]:
    """The answer to a statement that gives one row with one text."""
    column = texts("column") + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    return [
        message(b"T", struct.pack("!h", 1) + column),
        message(b"D", struct.pack("!hi", 1, len(value)) + value.encode()),
        message(b"C", texts("SELECT 1")),
    ]


class ScriptedServer(ServerFactory):
    """Answers ``SELECT '<text>'`` with the text, and everything else with a row that nobody reads.

    :param fault: called as ``fault(connection, messages)`` with each answer of the first connection. It sends these messages or others.
        ``None`` for no faults.
    :ivar accepted: the connections so far.
    """

    noisy = False

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.accepted: list[ScriptedConnection] = []

    def listen(self, reactor: Any) -> Self:
        """Start to listen."""
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        return self

    @property
    def dsn(self) -> str:
        """The connection string."""
        return make_dsn(host="127.0.0.1", port=self._port.getHost().port, user="somebody", dbname="somewhere", gssencmode="disable")

    def close(self) -> Deferred[None]:
        """Cut all connections, and stop listening."""
        for connection in self.accepted:
            connection.transport.abortConnection()
        return self._port.stopListening()

    def buildProtocol(self, _: Any) -> ScriptedConnection:
        connection = ScriptedConnection(self.fault if not self.accepted else None)
        self.accepted.append(connection)
        return connection


class ScriptedConnection(Protocol):
    """One connection.

    :ivar statements: the statements so far.
    """

    transport: Server

    def __init__(self, fault: Fault | None) -> None:
        self.statements: list[str] = []
        self._fault = fault
        self._buffer = b""
        self._started = False

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def send(self, messages: list[bytes]) -> None:
        self.transport.write(b"".join(messages))

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while (length := self._length()) and len(self._buffer) >= length:
            received, self._buffer = self._buffer[:length], self._buffer[length:]
            answer = self._answer(received)
            if answer:
                (self._fault or ScriptedConnection.send)(self, answer)

    def _length(self) -> int:
        """The length of the next message; 0 when the length itself has not come yet."""
        start = 1 if self._started else 0
        return start + struct.unpack_from("!i", self._buffer, start)[0] if len(self._buffer) >= start + 4 else 0

    def _answer(self, received: bytes) -> list[bytes]:
        if not self._started:
            if struct.unpack_from("!i", received, 4)[0] in (SSL, GSS):
                return [b"N"]
            self._started = True
            parameters = [message(b"S", texts(*parameter)) for parameter in PARAMETERS.items()]
            return [message(b"R", struct.pack("!i", 0)), *parameters, message(b"K", struct.pack("!ii", 1, 2)), READY]
        if received[:1] == b"X":
            self.transport.loseConnection()
            return []
        statement = received[5:-1].decode()
        self.statements.append(statement)
        if statement.startswith("S") and not statement.startswith("SELECT"):
            return [message(b"C", texts("SET")), READY]
        return [*row(statement.split("'")[1] if statement.startswith("SELECT '") else "1"), READY]
