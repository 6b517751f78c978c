"""Writes the frames of a connection, by the queue of :mod:`dhtwisted.transports.writing`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dhtwisted.transports.websocket.frames import CLOSED, HEADERS, OPEN, PREPARED, event_frames, frame_header, text_frames
from dhtwisted.transports.writing import FLUSH_AT, PORTION, QueuedWriter

PIECE = PORTION // 4
"""A large reply waits in pieces of this size (bytes), so that sent pieces leave memory."""

BURST_SECONDS = 1
BURST_FACTOR = 16
"""A queue up to this many times the limit is permitted as a burst, for so many seconds: what one turn queues is written only at its end."""


def _pieces(payload: bytes) -> list[bytes]:
    """A large message in pieces. In one piece it would stay in memory until its last byte is sent."""
    return [payload[at : at + PIECE] for at in range(0, len(payload), PIECE)]


class FrameWriter(QueuedWriter):
    """The writing half of a WebSocket protocol.

    :ivar factory: has ``output_queue`` too.
    """

    session: Any
    state: int
    _too_slow: Callable[[str], None]

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

    def _is_overfull(self, more: int) -> bool:
        """Whether a client is too far behind with events. Replies to its requests do not count, however large."""
        limit, behind = self.factory.output_queue, self.queued - self._excused + more
        if not limit or behind <= limit:
            return False
        return behind > BURST_FACTOR * limit or self.factory.clock.seconds() - self.congested_since > BURST_SECONDS

    def has_room(self) -> None:
        """The client has read everything."""
        if self.session is not None:
            self.session.writable()
