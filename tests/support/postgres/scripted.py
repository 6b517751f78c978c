"""A server that speaks PostgreSQL's protocol and fails as a test says, message by message (its manual, "Frontend/Backend Protocol")."""

import struct

from psycopg2.extensions import make_dsn
from twisted.internet.protocol import Protocol, ServerFactory

SSL, GSS = 80877103, 80877104
PARAMETERS = {
    "server_version": "16.1",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "default_transaction_read_only": "off",
    "in_hot_standby": "off",
}


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def texts(*values):
    return b"".join(value.encode() + b"\0" for value in values)


READY = message(b"Z", b"I")


def error(severity="ERROR", code="57014", text="canceling statement due to statement timeout"):
    return message(b"E", texts(f"S{severity}", f"V{severity}", f"C{code}", f"M{text}") + b"\0")


def row(value):
    """The answer to a statement that gives one row of one text."""
    column = texts("column") + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    return [
        message(b"T", struct.pack("!h", 1) + column),
        message(b"D", struct.pack("!hi", 1, len(value)) + value.encode()),
        message(b"C", texts("SELECT 1")),
    ]


class ScriptedServer(ServerFactory):
    """Answers ``SELECT '<text>'`` with the text, and anything else with a row that nobody looks at.

    :param fault: ``fault(connection, messages)``: called with each answer, a list of messages, of the first connection; it sends them, or
        what it likes. ``None`` for no faults.
    :ivar accepted: the connections so far.
    """

    noisy = False

    def __init__(self, fault=None):
        self.fault = fault
        self.accepted = []

    def listen(self, reactor):
        """Begin; returns itself."""
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        return self

    @property
    def dsn(self):
        """How to connect."""
        return make_dsn(host="127.0.0.1", port=self._port.getHost().port, user="somebody", dbname="somewhere", gssencmode="disable")

    def close(self):
        """End, with all connections; returns a Deferred."""
        for connection in self.accepted:
            connection.transport.abortConnection()
        return self._port.stopListening()

    def buildProtocol(self, _):
        connection = ScriptedConnection(self.fault if not self.accepted else None)
        self.accepted.append(connection)
        return connection


class ScriptedConnection(Protocol):
    """One connection.

    :ivar statements: what was asked so far.
    """

    def __init__(self, fault):
        self.statements = []
        self._fault = fault
        self._buffer = b""
        self._started = False

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def send(self, messages):
        self.transport.write(b"".join(messages))

    def dataReceived(self, data):
        self._buffer += data
        while (length := self._length()) and len(self._buffer) >= length:
            received, self._buffer = self._buffer[:length], self._buffer[length:]
            answer = self._answer(received)
            if answer:
                (self._fault or ScriptedConnection.send)(self, answer)

    def _length(self):
        """Of the message that comes next; 0 when too little of it is there."""
        start = 1 if self._started else 0
        return start + struct.unpack_from("!i", self._buffer, start)[0] if len(self._buffer) >= start + 4 else 0

    def _answer(self, received):
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
