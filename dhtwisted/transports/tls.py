"""TLS in front of another protocol, by Python's ``ssl``.

Twisted's TLS, on pyOpenSSL, costs an insert a third more processor time than this, and an idle connection 11 KB: each read and write passes
several Python calls and ends in an exception, what is written waits for two more turns of the reactor, and each connection keeps two
buffers. So this uses ``ssl.SSLObject``, and only its public parts:

* All connections of an endpoint share one buffer for each direction (``ssl.MemoryBIO``). It has bytes only within one call here: OpenSSL
  takes all that came, and keeps the beginning of a record itself. What it left after a failure is dropped at once. Each call also looks
  whether a call that failed unexpectedly, as without memory, has left bytes: they never reach another connection.
* The records of one read are decrypted together, and the protocol gets them as one piece.
* What is written goes to the socket in the same turn. Only what the kernel does not take waits in the transport. For this it looks at
  ``dataBuffer`` and ``_tempDataLen`` of Twisted's ``FileDescriptor``; the socket itself is that of ``getHandle``, as in ``writing.py``.

The end is as with Twisted's TLS: the server says that it closes, and waits until the client says so too; deadlines abort a client that does
not.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IHandshakeListener, IProtocol, IProtocolFactory, ISSLTransport, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import classImplements

from dhtwisted.transports.connection_deadlines import socket_of

LONGEST_HANDSHAKE = 16 * 1024
"""The most bytes that a client may send before the TLS handshake is complete: a greeting of 2 KB and some certificates. OpenSSL would
buffer 128 KiB."""

LONGEST_RECORD = 16 * 1024
"""The most bytes in a TLS record. So many are read from a socket at once, too: OpenSSL handles each record by itself, and 64 KiB of tiny
records would be three thousand in one turn of the reactor."""

PORTION = 64 * 1024
"""Bytes that are encrypted at once. The common buffer keeps the size that it once had."""


def is_of_others(error: OSError) -> bool:
    """Whether OpenSSL tells of an error of other code, such as a database's driver, instead of that bytes are missing.

    OpenSSL has one list of errors for a thread, and such code may leave one there. Python has emptied it then, so the call can be repeated.
    """
    return getattr(error, "library", None) not in (None, "SSL")


class TlsConnection(ProtocolWrapper):
    """One connection: the protocol of a socket, and the transport of another protocol.

    :ivar factory: a :class:`TlsFactory`.
    """

    factory: Any
    transport: Any
    wrappedProtocol: Any
    _tls: ssl.SSLObject | None = None
    _is_open = False
    _is_over = False
    _handshake_bytes = 0
    _held = b""
    _producer: Any = None
    _reason: Failure | None = None

    def __init__(self, factory: Any, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._socket: Any = None

    def makeConnection(self, transport: ITransport) -> None:
        bottom = socket_of(transport)
        bottom.bufferSize = LONGEST_RECORD
        if isinstance(bottom, Connection):
            self._socket = bottom
        self._tls = self.factory.new_connection()
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self.wrappedProtocol.makeConnection(self)

    # What the client sends

    def dataReceived(self, data: bytes) -> None:
        if self._is_over or not (self._is_open or self._may_go_on(data)):
            return
        is_new = not self._is_open
        parts, is_end = self._take(data)
        if is_new and self._is_open:
            self._opened()
        if parts:
            self.wrappedProtocol.dataReceived(b"".join(parts) if len(parts) > 1 else parts[0])
        if is_end:
            self._follow_end()

    def _take(self, data: bytes) -> tuple[list[bytes], bool]:
        """Let OpenSSL take all bytes, and send what it answers itself.

        :returns: see :meth:`_decrypt`.
        """
        incoming, outgoing = self.factory.incoming, self.factory.outgoing
        if incoming.pending or outgoing.pending:
            self.factory.empty_buffers()
        incoming.write(data)
        try:
            if not (self._is_open or self._shake_hands()):
                return [], False
            return self._decrypt()
        finally:
            if incoming.pending:
                incoming.read()
            if outgoing.pending:
                self._send()

    def _may_go_on(self, data: bytes) -> bool:
        """Count the bytes of the handshake; abort if there are too many."""
        if self._handshake_bytes > LONGEST_HANDSHAKE:
            self.abortConnection()
            return False
        self._handshake_bytes += len(data)
        return True

    def _shake_hands(self) -> bool:
        """Go on with the handshake.

        :returns: whether it is complete.
        """
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except OSError as error:
            if is_of_others(error):
                return self._shake_hands()
            self._fail(error)
            return False
        self._is_open = True
        return True

    def _opened(self) -> None:
        if self._socket is not None:
            with suppress(AttributeError, OSError):
                # In TLS 1.3 the server says nothing to the last word of the handshake. If it did not acknowledge that at once, a client
                # that does not set TCP_NODELAY would wait 40 ms before its request. Only TCP on Linux has this option.
                self._socket.getHandle().setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if IHandshakeListener.providedBy(self.wrappedProtocol):
            self.wrappedProtocol.handshakeCompleted()
        self._send_held()

    def _decrypt(self) -> tuple[list[bytes], bool]:
        """Decrypt all complete records.

        :returns: what they say, and whether the client ends the connection by them.
        """
        parts: list[bytes] = []
        tls, incoming = self._tls, self.factory.incoming
        try:
            while tls is not None and not self._is_over:
                part = tls.read(LONGEST_RECORD)
                if not part:
                    return parts, True
                parts.append(part)
                if not incoming.pending:
                    break
        except ssl.SSLWantReadError:
            # The rest of a record is missing.
            pass
        except ssl.SSLZeroReturnError:
            return parts, True
        except OSError as error:
            if is_of_others(error):
                more, is_end = self._decrypt()
                return parts + more, is_end
            self._fail(error)
        return parts, False

    def _fail(self, error: OSError) -> None:
        """End the connection: TLS has found a fault, and tells the client by an alert."""
        # Its frames have this object, so they would be a reference cycle.
        self._reason = self._reason or Failure(error.with_traceback(None))
        self._is_over = True
        self._send()
        self._close()

    def _follow_end(self) -> None:
        """End the connection, since the client does."""
        if not self._is_over:
            self._say_end()
            self._is_over = True
            self._close()

    def _close(self) -> None:
        """Close the socket when it has sent everything. It would wait for a producer that it had told to pause."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self.transport.unregisterProducer()
            producer.stopProducing()
        self.transport.loseConnection()

    # What the server sends

    def write(self, data: bytes) -> None:
        if self._is_over or (self.disconnecting and self._producer is None):
            return
        if self._held or not self._is_open:
            self._held += data
            self._send_held()
        elif len(data) <= PORTION:
            self._encrypt(data)
        else:
            self._send_in_portions(data)

    def writeSequence(self, sequence: Iterable[bytes]) -> None:
        """Write, but wait for the next write of this turn: twisted.web writes the head of an answer so, and its body after it."""
        data = b"".join(sequence)
        if self._socket is None or len(self._held) + len(data) > LONGEST_RECORD:
            self.write(data)
        elif not self._is_over and not (self.disconnecting and self._producer is None):
            if not self._held:
                self._socket.reactor.callLater(0, self._send_held)
            self._held += data

    def _send_held(self) -> None:
        """Send what waited for the handshake, or for more."""
        if self._held and self._is_open and not self._is_over:
            data, self._held = self._held, b""
            self._send_in_portions(data)

    def _send_in_portions(self, data: bytes) -> None:
        view = memoryview(data)
        for position in range(0, len(data), PORTION):
            self._encrypt(view[position : position + PORTION])

    def _encrypt(self, data: bytes | memoryview) -> None:
        if self._is_over or not data:
            return
        assert self._tls is not None
        if self.factory.outgoing.pending:
            self.factory.empty_buffers()
        try:
            sent = self._tls.write(data)
            while sent < len(data):
                # OpenSSL may write one record at a time.
                data = memoryview(data)[sent:]
                sent = self._tls.write(data)
        except OSError as error:
            self._fail(error)
        except BaseException:
            self._break_off()
            raise
        else:
            self._send()

    def _send(self) -> None:
        """Send what OpenSSL has written."""
        try:
            data = self.factory.outgoing.read()
        except BaseException:
            self._break_off()
            raise
        if not data:
            return
        bottom = self._socket
        if bottom is not None and bottom.connected and not (bottom.dataBuffer or bottom._tempDataLen):
            try:
                sent = bottom.getHandle().send(data)
            except OSError:
                # The socket is full; or the connection is broken, which the transport finds out itself.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self.transport.write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._is_over:
            producer.stopProducing()
            return
        self._producer = producer
        if not streaming:
            # The socket asks such a producer for more when its own buffer has become empty, so everything must pass through that.
            self._socket = None
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self._producer is not None:
            self._producer = None
            self.transport.unregisterProducer()
            if self.disconnecting and not self._is_over:
                self._say_end()

    # The end

    def _say_end(self) -> None:
        """Tell the client that nothing follows. The socket is closed when the client has said the same."""
        self._send_held()
        assert self._tls is not None
        if self.factory.outgoing.pending:
            self.factory.empty_buffers()
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            is_agreed = False
        except OSError:
            # TLS has failed before; there is nothing to agree upon.
            is_agreed = True
        except BaseException:
            self._break_off()
            raise
        else:
            is_agreed = True
        self._send()
        if is_agreed:
            self.transport.loseConnection()

    def loseConnection(self) -> None:
        if self.disconnecting or not self.connected:
            return
        if not self._is_open:
            self.abortConnection()
            return
        self._send_held()
        self.disconnecting = True
        if self._producer is None and not self._is_over:
            self._say_end()

    def abortConnection(self) -> None:
        """End the connection at once."""
        self._is_over = True
        self.disconnecting = True
        self.transport.abortConnection()

    def _break_off(self) -> None:
        """Abort after an unexpected failure: part of what the client should get may be missing."""
        self.abortConnection()
        self.factory.empty_buffers()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_over = True
        self.connected = 0
        self._held = b""
        # A reference cycle would keep them until the garbage collector runs.
        self._tls = self._socket = self._producer = None
        super().connectionLost(self._reason or reason)


# The methods that are missing are those of the socket.
classImplements(TlsConnection, ISSLTransport)


class TlsFactory(WrappingFactory):
    """Puts TLS in front of another factory.

    :param context: returns the context of new connections.
    :ivar incoming: the common buffer for bytes that come, and ``outgoing`` for those that go.
    """

    protocol = TlsConnection
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, context: Callable[[], ssl.SSLContext]) -> None:
        super().__init__(wrapped)
        self._context = context
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    def new_connection(self) -> ssl.SSLObject:
        """Make the TLS side of a connection."""
        return self._context().wrap_bio(self.incoming, self.outgoing, server_side=True)

    def empty_buffers(self) -> None:
        """Drop what an unexpected failure has left in the common buffers."""
        for buffer in (self.incoming, self.outgoing):
            while buffer.pending:
                buffer.read(LONGEST_RECORD)
