"""How frames leave a connection: they gather in a queue and go out together at the end of the reactor turn.

The queue is the only buffer. A TCP transport is written to directly, in the turn itself: ``transport.write`` would only ask the poller for
a chance to write, which costs two system calls and one more turn for each connection. What the kernel does not take at once goes to
``transport.write`` after all, and nothing follows it until the transport says that it is empty. It gets a portion at a time: so it is seen
whether the client takes anything, however large a message is, and no large one is in memory twice.

What stays behind counts in the connection's account. Nothing is counted while the client takes what is sent.

This leans on Twisted's ``writeSomeData``, which is what ``transport.write`` itself sends by, and on a producer that is asked for more when,
and only when, everything has been sent. TLS and other transports have no such way; they are written to by ``write``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.tcp import Connection

from dhtwisted.transports.websocket.frames import CLOSED, OPEN

if TYPE_CHECKING:
    from dhtwisted.core.budget import Account

FLUSH_AT = 32768
"""Bytes that are worth a system call of their own: more would only make the kernel's buffer full, and the queue large."""

PORTION = 131_072
"""Bytes that a transport is given at once: as many as Twisted has a socket take in a turn."""

PIECE = PORTION // 4
"""Bytes in which a large reply waits, so that what has left of it is not in memory any more."""

BURST_SECONDS = 1
BURST_FACTOR = 16
"""So many times the permitted queue, for so long, is taken for a burst: what one reactor turn brings cannot be written before its end."""


def frame_header(length: int) -> bytes:
    """Header of an unmasked, unfragmented text frame."""
    if length < 126:
        return bytes((0x81, length))
    if length < 65536:
        return struct.pack("!BBH", 0x81, 126, length)
    return struct.pack("!BBQ", 0x81, 127, length)


HEADERS = tuple(map(frame_header, range(2048)))
"""Those of the usual lengths, so that none is packed for each message."""

PREPARED = len(HEADERS)


class FrameWriter:
    """The writing half of a WebSocket protocol.

    :ivar follows_requests: whether plain HTTP was spoken before; what was answered may still wait in the transport.
    :ivar account: an :class:`~dhtwisted.core.budget.Account`.
    :ivar factory: has ``flush_later``, ``clock``, ``output_queue``, ``watch`` and ``traffic``.
    :ivar queued: bytes that wait in the queue.
    :ivar congested: true while the transport has something to write, since the client does not take what is sent.
    :ivar congested_since: when that began, in seconds of the clock.
    """

    account: Account
    factory: Any
    session: Any
    transport: Any
    state: int
    _too_slow: Callable[[str], None]
    follows_requests = False

    def begin_output(self) -> None:
        """Get ready to write; call it when there is a transport."""
        self._queue: list[Any] = []
        self.queued = 0
        self.congested = False
        self.congested_since = 0.0
        # Of what waits: what does not count against a client who falls behind with events, what the transport has, what is counted.
        self._excused = self._left = self._counted = 0
        self._is_held_back = False
        self._subscribed_to_drain = False
        self._is_direct = isinstance(self.transport, Connection) and not self.transport.TLS
        if not self._is_direct:
            self.transport.registerProducer(self, True)
        elif self.follows_requests:
            self._hold_back(0)
            self._wait_for_transport()
            self.transport.startWriting()

    def send(self, payload: bytes) -> None:
        """Send one whole message, however large."""
        if self.state != OPEN:
            return
        length, queue = len(payload), self._queue
        if not queue:
            self.factory.flush_later(self)
        header = HEADERS[length] if length < PREPARED else frame_header(length)
        if length > PORTION:
            # A whole one would be in memory until its last byte has left.
            queue += (header, *[payload[at : at + PIECE] for at in range(0, length, PIECE)])
        else:
            queue += (header, payload)
        self.queued = queued = self.queued + len(header) + length
        if self.congested:
            self._excused += length
        if queued > FLUSH_AT:
            self.flush()

    def send_event(self, prefix: bytes, body: bytes) -> None:
        """Send one whole message given in two parts, unless the client has fallen too far behind."""
        if self.state != OPEN:
            return
        length, queue = len(prefix) + len(body), self._queue
        if self.congested and self._is_overfull(length):
            self._too_slow("queue_full")
            return
        if not queue:
            self.factory.flush_later(self)
        header = HEADERS[length] if length < PREPARED else frame_header(length)
        queue += (header, prefix, body)
        self.queued = queued = self.queued + len(header) + length
        if queued > FLUSH_AT:
            self.flush()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Send what Autobahn has to say; as part of the same queue, or it could get into the middle of a frame."""
        if self.state == CLOSED:
            return
        if not self._queue:
            self.factory.flush_later(self)
        self._queue.append(data)
        self.queued += len(data)
        if self.state != OPEN:
            self.flush()

    def flush(self) -> None:
        """Write what is queued, unless the transport has something to write already."""
        if self._queue:
            if self.congested:
                self._count()
            else:
                self._write()

    def _write(self) -> None:
        """Write what is queued, or of much a portion."""
        if self.queued > PORTION:
            data = self._take_portion()
        else:
            data = b"".join(self._queue)
            self._queue.clear()
            self.queued = 0
        self.factory.traffic.octets_sent += len(data)
        if not self._is_direct:
            self._write_indirectly(data)
            return
        sent = self.transport.writeSomeData(data)
        if sent != len(data):
            self._leave_to_transport(data, sent)
        elif self._queue:
            # Others have their turn.
            self._hold_back(0)
            self._wait_for_transport()
            self.transport.startWriting()

    def _write_indirectly(self, data: bytes) -> None:
        """Write to a transport that says when it has too much: in the middle of the writing."""
        self._left = len(data)
        self.transport.write(data)
        while self._queue and not self._is_held_back:
            data = self._take_portion()
            self._left = len(data)
            self.factory.traffic.octets_sent += len(data)
            self.transport.write(data)
        if not self._is_held_back:
            self._left = 0

    def _take_portion(self) -> bytes:
        """Take so much from the queue as a transport is given at once. A large event is cut without a copy: others get it too."""
        queue, room, count = self._queue, PORTION, 0
        while count < len(queue) and len(queue[count]) <= room:
            room -= len(queue[count])
            count += 1
        taken = queue[:count]
        del queue[:count]
        if queue:
            rest = memoryview(queue[0])
            taken.append(rest[:room])
            queue[0] = rest[room:]
        data = b"".join(taken)
        self.queued -= len(data)
        self._excused = min(self._excused, self.queued)
        return data

    def _leave_to_transport(self, data: bytes, sent: int | Exception) -> None:
        """Have the transport send the rest, and say when that is done. It also finds out what is wrong with a broken connection."""
        rest = data if isinstance(sent, Exception) else data[sent:]
        self._hold_back(len(rest))
        self.transport.write(rest)
        self._wait_for_transport()

    def _wait_for_transport(self) -> None:
        # A pull producer is asked once when it is registered, and then when the transport's buffer is empty.
        self._subscribed_to_drain = False
        self.transport.registerProducer(self, False)
        self._subscribed_to_drain = True

    def leave_all_to_transport(self) -> None:
        """Give the transport what waits for it to be empty; to be called before ``loseConnection``, which nothing can follow."""
        if self._queue:
            data = b"".join(self._queue)
            self._left += len(data)
            self.drop_queue()
            self.factory.traffic.octets_sent += len(data)
            self.transport.write(data)

    def _hold_back(self, left: int) -> None:
        """Write nothing more until the transport is empty.

        :param left: bytes that it has.
        """
        self._is_held_back = True
        self._left = left
        if not self.congested:
            self.congested = True
            self.congested_since = self.factory.clock.seconds()
            # It was sent while the client took everything.
            self._excused = self.queued
            self.factory.upkeep.congested.add(self)
            self.account.block()
        self._count()

    def _count(self) -> None:
        """Have the account know what waits. What was cut is in memory as a whole until the last of it has left."""
        first = self._queue[0] if self._queue else b""
        held = self.queued + self._left
        if type(first) is memoryview:
            held += len(cast(bytes, first.obj)) - len(first)
        self.account.add(held - self._counted)
        self._counted = held

    def _is_overfull(self, more: int) -> bool:
        """Whether a client has fallen too far behind with events. Replies that it asked for do not count, however large."""
        limit, behind = self.factory.output_queue, self.queued - self._excused + more
        if not limit or behind <= limit:
            return False
        return behind > BURST_FACTOR * limit or self.factory.clock.seconds() - self.congested_since > BURST_SECONDS

    def lose_output(self) -> None:
        """There is nobody to send to any more: what is sent from now on goes nowhere, and nobody waits for room."""
        self._is_direct = self.congested = False

    def drop_queue(self) -> None:
        """Forget what has not been written."""
        self._queue.clear()
        self.queued = self._excused = 0
        self._count()

    # What the transport calls

    def pauseProducing(self) -> None:
        """The buffer of a transport that is not written to directly is full."""
        self._hold_back(self._left)

    def resumeProducing(self) -> None:
        """The transport has sent everything."""
        if self._is_direct:
            if not self._subscribed_to_drain:
                return
            self._subscribed_to_drain = False
            self.transport.unregisterProducer()
        self._is_held_back = False
        self._left = 0
        self.account.progress()
        if self._queue:
            self._write()
        self._count()
        if self.congested and not self._is_held_back:
            self._taken()

    def _taken(self) -> None:
        """The client has taken everything."""
        self.congested = False
        self.factory.upkeep.congested.discard(self)
        self.account.unblock()
        if self.session is not None:
            self.session.writable()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.drop_queue()
