"""An HTTP connection that uses a bounded amount of memory and time, whatever its client does.

It uses Twisted's parser, but not the flow of Twisted's channel. That channel answers all pipelined requests, even if the client does not
read the answers, and its timeout restarts with each byte. Here one request is read and answered at a time. The next is read when the
transport has room and other connections had their turn. The class depends on these internals of Twisted: ``paused`` and ``_buffer`` of the
line receiver, ``requestDone`` (replaced), ``_handlingRequest``, ``_transferDecoder``, ``_waitingForTransport``, ``_dataBuffer``,
``_networkProducer`` and ``_optimisticEagerReadSize``.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.web.http import HTTPChannel

TURN = 16
"""Requests of one connection that are answered before other connections have their turn. They take 3 ms."""


LONGEST_TRAILER = 1024
"""Bytes of the headers after a chunked body. Nothing uses them. Twisted would keep 64 KiB of them, in thirty times that memory."""


class BoundedChannel(HTTPChannel):
    """One connection.

    :ivar factory: has ``reactor``, ``deadlines``, ``budget``, ``head_timeout``, ``body_timeout``, ``idle_timeout``, and a ``timeOut`` of
        ``None``: the deadlines replace Twisted's timer.
    :ivar is_idle: whether no request has begun.
    :ivar account: counts the memory of this connection, an :class:`~dhtwisted.core.budget.Account`.
    """

    events = Logger()
    maxHeaders = 100
    is_idle = False
    _is_closing = False
    _yields = False
    _waits_for_budget = False
    _in_turn = 0
    _room: Deferred[None] | None = None
    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        super().connectionMade()
        self.account = self.factory.budget.account(self._ended)
        self._expect_request()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self._is_closing = True
        self.factory.deadlines.forget(self)
        super().connectionLost(reason)
        # Otherwise they stay in memory until the garbage collector runs.
        self._buffer, self._dataBuffer = b"", []
        self.account.close()
        self._give_room()

    def _ended(self, reason: str) -> None:
        """Abort: the client uses too much memory, or reads nothing."""
        self.transport.abortConnection()

    # What the client sends

    def dataReceived(self, data: bytes) -> None:
        if self._is_closing:
            return
        if not self._busyReceiving:
            self._in_turn = 0
        super().dataReceived(data)
        self._has_read()

    def _has_read(self) -> None:
        """Start the deadline of a head if a request has begun. Empty lines between requests do not begin one."""
        if self.is_idle and not self.paused and (self.requests or self._buffer.strip()):
            self.is_idle = False
            self.factory.deadlines.set(self, self.factory.head_timeout, self.head_late)

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        if self.length is None:
            self._transferDecoder._maxTrailerHeadersSize = LONGEST_TRAILER
        if self.length != 0:
            self.is_idle = False
            self.factory.deadlines.set(self, self.factory.body_timeout, self.body_late)

    def allContentReceived(self) -> None:
        self.is_idle = False
        self.factory.deadlines.clear(self)
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """Read on after an answer, unless other connections come first or the client must read some of the answer."""
        del self.requests[0]
        if not self.persistent:
            # What follows is not read.
            self.loseConnection()
            return
        self._handlingRequest = False
        self._in_turn += 1
        if self._in_turn >= TURN and not self._yields:
            self._yields = True
            self.factory.reactor.callLater(0, self._next_turn)
        self._expect_request()
        self.factory.deadlines.watch_output(self, self.transport, self.account)
        # What came during the request, and what came while the channel was paused.
        self._buffer = b"".join(self._dataBuffer) + self._buffer
        self._dataBuffer = []
        self.line_mode = 1
        self._read_on()

    def _expect_request(self) -> None:
        self.is_idle = True
        if self._waitingForTransport:
            # The time begins when the client has read the answer.
            self.factory.deadlines.clear(self)
        else:
            self.factory.deadlines.set(self, self.factory.idle_timeout, self.loseConnection)

    def _next_turn(self) -> None:
        self._yields = False
        self._read_on()

    def _read_on(self) -> None:
        """Read what has come, and receive more while there is room."""
        if self._is_closing:
            return
        self.paused = self._waitingForTransport or self._yields or self._waits_for_budget
        if self.paused or sum(map(len, self._dataBuffer)) > self._optimisticEagerReadSize:
            self._networkProducer.pauseProducing()
            return
        self._networkProducer.resumeProducing()
        if self._buffer and not self._busyReceiving:
            waiting, self._buffer = self._buffer, b""
            self.dataReceived(waiting)

    def lacks_memory(self, size: int) -> bool:
        """Whether ``size`` more bytes exceed the budget of all connections. A single answer may exceed it."""
        budget = self.factory.budget
        return budget.total > 0 and budget.total + size > budget.limit > 0

    def wait_for_budget(self) -> None:
        """Stop reading until the budget has room."""
        if not self._waits_for_budget:
            self._waits_for_budget = True
            self.factory.budget.wait(self._has_budget)
            self._read_on()

    def _has_budget(self) -> None:
        if self.factory.budget.is_used_up and not self._is_closing:
            self.factory.budget.wait(self._has_budget)
        else:
            self._waits_for_budget = False
            self._read_on()

    # Called by the transport

    def pauseProducing(self) -> None:
        super().pauseProducing()
        self._update_output()
        if self.is_idle:
            self.factory.deadlines.clear(self)
        self._read_on()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self._is_closing:
            return
        self._update_output()
        if self.is_idle:
            self._expect_request()
        self._give_room()
        self._read_on()

    def _update_output(self) -> None:
        self.factory.deadlines.watch_output(self, self.transport, self.account)
        self.factory.deadlines.update_output(self)

    def room(self) -> Deferred[None] | None:
        """A Deferred that fires when the transport has room or the connection is closed. ``None`` if there is room now."""
        if self._is_closing or not self._waitingForTransport:
            return None
        self._room = Deferred()
        return self._room

    def _give_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    # The end

    def head_late(self) -> None:
        """Close: the head of a request did not arrive in time."""
        self.loseConnection()

    def body_late(self) -> None:
        """Close: the body of a request did not arrive in time."""
        self.loseConnection()

    def loseConnection(self) -> None:
        self._is_closing = True
        super().loseConnection()
        self.factory.deadlines.ensure_closed(self, self.transport)

    def finish(self) -> None:
        """Answer the current request, then close."""
        if self.requests and self._handlingRequest:
            self.persistent = 0
        else:
            self.loseConnection()
