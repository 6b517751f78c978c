"""Writes what a connection sends: it waits in a queue and is sent together at the end of the reactor turn.

The queue is the only buffer. On TCP, the socket is written directly in the same turn: ``transport.write`` would wait for the poller, which
costs two system calls and one more turn per connection. The bytes that the kernel does not take go to ``transport.write``; nothing follows
until the transport is empty. The transport gets a portion at a time. So the server sees whether the client reads, even within a large
message, and no large message is in memory twice.

Waiting bytes count in the connection's account. Nothing is counted while the client reads in time.

This depends on the non-blocking socket that Twisted's ``getHandle`` gives (its own ``writeSomeData`` takes 0.4 us more), and on a pull
producer: it is asked for more only when everything has been sent. TLS and other transports lack this and use ``write``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.tcp import Connection

from dhtwisted.core.budget import NOT_READING, SLOW_SECONDS, USED_UP
from dhtwisted.core.client import FLUSH_SIZE
from dhtwisted.kit.reactor import end_of_turn

if TYPE_CHECKING:
    from dhtwisted.core.budget import Account

FLUSH_AT = FLUSH_SIZE
"""A queue of this size (bytes) is written at once: with more, the kernel's buffer would fill and the queue grow."""

PORTION = 131_072
"""Bytes that a transport gets at once: Twisted's own limit per turn."""

SLOW = {
    "queue_full": "its queue is full",
    NOT_READING: f"for {SLOW_SECONDS} seconds",
    USED_UP: "it holds most of what limits.output_total is used up by",
}
"""Why a client is too slow: its name in the metrics -> its text in the log."""


class EndOfTurn:
    """Calls a method of connections at the end of a reactor turn, once for each and all together.

    :param reactor: the reactor.
    :param method: the function of their class. A connection for which it fails is ended by its ``break_off``.
    :param what: what the method does, for the log.
    """

    def __init__(self, reactor: Any, method: Callable[[Any], None], what: str) -> None:
        self._at_end_of_turn = end_of_turn(reactor)
        self._method = method
        self._what = what
        self._waiting: list[Any] = []

    def add(self, connection: Any) -> None:
        """Call the method of this connection."""
        if not self._waiting:
            self._at_end_of_turn(self._call)
        self._waiting.append(connection)

    def _call(self) -> None:
        waiting, self._waiting = self._waiting, []
        method = self._method
        for connection in dict.fromkeys(waiting):
            try:
                method(connection)
            except Exception:
                connection.break_off(self._what)


class QueuedWriter:
    """The writing half of a connection, whatever it speaks.

    :ivar follows_requests: whether the connection served plain HTTP before; its answers may still wait in the transport.
    :ivar account: an :class:`~dhtwisted.core.budget.Account`.
    :ivar factory: has ``flush_later``, ``clock``, ``upkeep`` and ``traffic``.
    :ivar queued: bytes in the queue.
    :ivar congested: whether the transport still has bytes to write, because the client does not read.
    :ivar congested_since: when that began, in seconds of the clock.
    """

    __slots__ = (
        "_counted",
        "_excused",
        "_is_direct",
        "_is_held_back",
        "_left",
        "_queue",
        "_subscribed_to_drain",
        "congested",
        "congested_since",
        "queued",
    )

    account: Account
    factory: Any
    transport: Any
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
        self.has_room()

    def has_room(self) -> None:
        """Called when the client has read everything after a congestion."""

    def stopProducing(self) -> None:
        """Drop the queue: the connection is gone."""
        self.drop_queue()
