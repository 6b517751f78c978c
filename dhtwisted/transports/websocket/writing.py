"""Writes the frames of a connection: they wait in a queue and are sent together at the end of the reactor turn.

The queue is the only buffer. On TCP, the socket is written directly in the same turn: ``transport.write`` would wait for the poller, which
costs two system calls and one more turn per connection. The bytes that the kernel does not take go to ``transport.write``; nothing follows
until the transport is empty. The transport gets a portion at a time. So the server sees whether the client reads, even within a large
message, and no large message is in memory twice.

Waiting bytes count in the connection's account. Nothing is counted while the client reads in time.

This depends on the non-blocking socket that Twisted's ``getHandle`` gives (its own ``writeSomeData`` takes 0.4 us more), and on a pull
producer: it is asked for more only when everything has been sent. TLS and other transports lack this and use ``write``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.tcp import Connection

from dhtwisted.core.client import FLUSH_SIZE
from dhtwisted.transports.websocket.frames import CLOSED, HEADERS, OPEN, PREPARED, event_frames, frame_header, text_frames

if TYPE_CHECKING:
    from dhtwisted.core.budget import Account

FLUSH_AT = FLUSH_SIZE
"""A queue of this size (bytes) is written at once: with more, the kernel's buffer would fill and the queue grow."""

PORTION = 131_072
"""Bytes that a transport gets at once: Twisted's own limit per turn."""

PIECE = PORTION // 4
"""A large reply waits in pieces of this size (bytes), so that sent pieces leave memory."""

BURST_SECONDS = 1
BURST_FACTOR = 16
"""A queue up to this many times the limit is permitted as a burst, for so many seconds: what one turn queues is written only at its end."""


def _pieces(payload: bytes) -> list[bytes]:
    """A large message in pieces. In one piece it would stay in memory until its last byte is sent."""
    return [payload[at : at + PIECE] for at in range(0, len(payload), PIECE)]


class FrameWriter:
    """The writing half of a WebSocket protocol.

    :ivar follows_requests: whether the connection served plain HTTP before; its answers may still wait in the transport.
    :ivar account: an :class:`~dhtwisted.core.budget.Account`.
    :ivar factory: has ``flush_later``, ``clock``, ``output_queue``, ``watch`` and ``traffic``.
    :ivar queued: bytes in the queue.
    :ivar congested: whether the transport still has bytes to write, because the client does not read.
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
        """Get ready to write; to be called when there is a transport."""
        self._queue: list[Any] = []
        self.queued = 0
        self.congested = False
        self.congested_since = 0.0
        # Waiting bytes: those that do not count against a slow client, those in the transport, those counted in the account.
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
        queue += (header, payload) if length <= PORTION else (header, *_pieces(payload))
        self.queued = queued = self.queued + len(header) + length
        if self.congested:
            self._excused += length
        if queued > FLUSH_AT:
            self.flush()

    def send_event(self, prefix: bytes, body: bytes) -> None:
        """Send one whole message given in two parts. A client that is too far behind is disconnected instead."""
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

    def send_many(self, payloads: Iterable[bytes]) -> None:
        """Send several whole messages, as :meth:`send` for each."""
        rest = iter(payloads)
        while self._may_queue():
            room = FLUSH_AT - self.queued
            frames, large = text_frames(rest, room, FLUSH_AT)
            self._put(frames)
            if large is not None:
                self.send(large)
            elif len(frames) <= room:
                return
        for payload in rest:
            self.send(payload)

    def send_events(self, events: Iterable[tuple[bytes, bytes]]) -> None:
        """Send several messages given in two parts, as :meth:`send_event` for each."""
        rest = iter(events)
        while self._may_queue():
            room = FLUSH_AT - self.queued
            frames, large = event_frames(rest, room, FLUSH_AT)
            self._put(frames)
            if large is not None:
                self.send_event(*large)
            elif len(frames) <= room:
                return
        for prefix, body in rest:
            self.send_event(prefix, body)

    def _may_queue(self) -> bool:
        """Whether messages may be put in the queue without a check of each."""
        return self.state == OPEN and not self.congested

    def _put(self, frames: bytes) -> None:
        """Put frames in the queue, and write it if it is large enough."""
        if not frames:
            return
        if not self._queue:
            self.factory.flush_later(self)
        self._queue.append(frames)
        self.queued += len(frames)
        if self.queued > FLUSH_AT:
            self.flush()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Send bytes of Autobahn. They use the same queue; otherwise they could get into the middle of a frame."""
        if self.state == CLOSED:
            return
        if not self._queue:
            self.factory.flush_later(self)
        self._queue.append(data)
        self.queued += len(data)
        if self.state != OPEN:
            self.flush()

    def flush(self) -> None:
        """Write the queue, unless the transport still has bytes to write."""
        if self._queue:
            if self.congested:
                self._count()
            else:
                self._write()

    def _write(self) -> None:
        """Write the queue, at most a portion of it."""
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
        try:
            sent = self.transport.getHandle().send(data)
        except OSError:
            # The socket is full; or the connection is broken, which the transport finds out itself.
            sent = 0
        if sent != len(data):
            self._leave_to_transport(data[sent:])
        elif self._queue:
            # Other connections have their turn.
            self._hold_back(0)
            self._wait_for_transport()
            self.transport.startWriting()

    def _write_indirectly(self, data: bytes) -> None:
        """Write to a transport that calls :meth:`pauseProducing` during ``write`` when it is full."""
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
        """Take at most a :data:`PORTION` from the queue. A large event is cut without a copy, since other clients get it too."""
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

    def _leave_to_transport(self, rest: bytes) -> None:
        """Let the transport send the rest and report when it is done. The transport also handles a broken connection."""
        self._hold_back(len(rest))
        self.transport.write(rest)
        self._wait_for_transport()

    def _wait_for_transport(self) -> None:
        # A pull producer is asked once when it is registered, and then when the transport's buffer is empty.
        self._subscribed_to_drain = False
        self.transport.registerProducer(self, False)
        self._subscribed_to_drain = True

    def leave_all_to_transport(self) -> None:
        """Give the transport the whole queue. To be called before ``loseConnection``: nothing can be written after it."""
        if self._queue:
            data = b"".join(self._queue)
            self._left += len(data)
            self.drop_queue()
            self.factory.traffic.octets_sent += len(data)
            self.transport.write(data)

    def _hold_back(self, left: int) -> None:
        """Write nothing more until the transport is empty.

        :param left: bytes in the transport.
        """
        self._is_held_back = True
        self._left = left
        if not self.congested:
            self.congested = True
            self.congested_since = self.factory.clock.seconds()
            # It was queued while the client read in time.
            self._excused = self.queued
            self.factory.upkeep.congested.add(self)
            self.account.block()
        self._count()

    def _count(self) -> None:
        """Count waiting bytes in the account. A message that was cut stays in memory as a whole until all of it is sent."""
        first = self._queue[0] if self._queue else b""
        held = self.queued + self._left
        if type(first) is memoryview:
            held += len(cast(bytes, first.obj)) - len(first)
        self.account.add(held - self._counted)
        self._counted = held

    def _is_overfull(self, more: int) -> bool:
        """Whether a client is too far behind with events. Replies to its requests do not count, however large."""
        limit, behind = self.factory.output_queue, self.queued - self._excused + more
        if not limit or behind <= limit:
            return False
        return behind > BURST_FACTOR * limit or self.factory.clock.seconds() - self.congested_since > BURST_SECONDS

    def lose_output(self) -> None:
        """Drop all output from now on, and stop waiting for room: the connection is gone."""
        self._is_direct = self.congested = False

    def drop_queue(self) -> None:
        """Drop the queue."""
        self._queue.clear()
        self.queued = self._excused = 0
        self._count()

    # Called by the transport

    def pauseProducing(self) -> None:
        """Stop writing: the buffer of a transport is full that is written to indirectly."""
        self._hold_back(self._left)

    def resumeProducing(self) -> None:
        """Write more: the transport has sent everything."""
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
        """End the congestion: the client has read everything."""
        self.congested = False
        self.factory.upkeep.congested.discard(self)
        self.account.unblock()
        if self.session is not None:
            self.session.writable()

    def stopProducing(self) -> None:
        """Drop the queue: the connection is gone."""
        self.drop_queue()
