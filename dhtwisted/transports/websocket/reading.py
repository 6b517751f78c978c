"""How a connection is read: plain text frames the fast way, everything else by Autobahn, and nobody for long.

This leans on Autobahn's ``state``, ``current_frame`` (its ``length``; ``current_frame_masker`` tells how much of it came),
``inside_message`` and ``data``, and on ``_dataReceived``, which takes bytes from there on. Its buffer ``data`` also holds what is left of
ours, so that either way of reading goes on where the other ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dhtwisted.transports.websocket.frames import (
    ANY_COUNT,
    CLOSED,
    FOR_AUTOBAHN,
    FOR_LATER,
    OPEN,
    UNFINISHED,
    end_of_frame,
    take_text_frames,
)

if TYPE_CHECKING:
    from dhtwisted.core.budget import Account

EMPTY_PONG, LENGTH_OF_EMPTY_PONG = b"\x8a\x80", 6
FIRMWARE_PONG = b"\x8a\x00"

LARGE = 8 * 1024
"""Bytes of an unfinished message from which on it counts as held."""

MESSAGES_IN_TURN = 16
"""Of one connection, in one turn of the reactor: more only make others wait. A chunk may hold four hundred."""


class FrameReader:
    """The reading half of a WebSocket protocol.

    :ivar account: an :class:`~dhtwisted.core.budget.Account`.
    :ivar factory: has ``go_on_later``, ``budget`` and ``traffic``.
    :ivar silent_intervals: in how many intervals of pings nothing has come.
    """

    account: Account
    factory: Any
    session: Any
    transport: Any
    # Autobahn's.
    state: int
    STATE_CONNECTING: int
    data: bytes
    current_frame: Any
    current_frame_masker: Any
    inside_message: bool
    message_data_total_length: int
    maxMessagePayloadSize: int
    _dataReceived: Callable[[bytes], None]
    _session_broken: Callable[[], None]

    def begin_input(self) -> None:
        """Get ready to read."""
        self._reading = True
        self._is_over = False
        self._held = 0
        self.silent_intervals = 0

    def dataReceived(self, data: bytes) -> None:
        self.silent_intervals = 0
        self.factory.traffic.octets_received += len(data)
        if self.state == OPEN:
            if self.current_frame is None:
                if not self.data and (data == FIRMWARE_PONG or (len(data) == LENGTH_OF_EMPTY_PONG and data.startswith(EMPTY_PONG))):
                    # What ten thousand idle clients answer to their pings: Autobahn would take 12 us to do nothing with it.
                    return
                self._take(data, MESSAGES_IN_TURN)
            else:
                self._finish_frame(data)
            if self._held or self.inside_message or len(self.data) > LARGE:
                self._count_held()
        elif self.state == self.STATE_CONNECTING and not self._reading:
            # TLS still delivers what it had. Autobahn takes it after the handshake that waits, and would begin another now.
            self.data += data
        elif self.state != CLOSED:
            # TLS goes on delivering after the end, and Autobahn would only keep it.
            self._dataReceived(data)

    def _count_held(self) -> None:
        """Have the account know how much of a large message is here; when memory is used up, no more of it is read until there is room."""
        held = len(self.data) + (self.message_data_total_length if self.inside_message else 0)
        held = held if held > LARGE and self.state == OPEN else 0
        self.account.add(held - self._held)
        self.account.expect_more(held > 0)
        self._held = held
        if held and self._reading and self.factory.budget.is_used_up:
            # It is we who do not read.
            self.account.expect_more(False)
            self.pause()
            self.factory.budget.wait(self.resume)

    def _finish_frame(self, data: bytes) -> None:
        """Give Autobahn the rest of the frame that it is in, and no more."""
        left = self.current_frame.length - self.current_frame_masker.pointer()
        self._dataReceived(data[:left])
        data = data[left:]
        if data and self.state == OPEN:
            self._take(data, MESSAGES_IN_TURN)
        else:
            self._leave_to_autobahn(data)

    def _take(self, data: bytes, most: int) -> None:
        """Take frames, from the beginning of one on. What is no plain text frame is for Autobahn, one whole frame at a time."""
        held = self.data
        if held:
            data, self.data = held + data, b""
        while True:
            position, count, rest = self._take_text_frames(data, most)
            most -= count
            if rest is UNFINISHED and (count or len(data) >= 2 * len(held)):
                self.data = data[position:]
                return
            if position == len(data):
                return
            if self.state == OPEN and (rest is FOR_LATER or most <= 0):
                self.data = data[position:]
                self._go_on_later()
                return
            end = end_of_frame(data, position)
            if end is None or self.state != OPEN:
                # Also a frame that comes in small pieces: Autobahn checks each as it comes, without joining and checking all again.
                self._leave_to_autobahn(data[position:])
                return
            self._dataReceived(data[position:end])
            data, held, most = data[end:], b"", most - 1
            if not data:
                return

    def _take_text_frames(self, data: bytes, most: int) -> tuple[int, int, str]:
        if self.inside_message or self.state != OPEN:
            return 0, 0, FOR_AUTOBAHN
        try:
            found = take_text_frames(data, self.maxMessagePayloadSize, self.session.receive, self, most)
        except Exception:
            self._session_broken()
            return len(data), 0, FOR_AUTOBAHN
        self.factory.traffic.messages_received += found[1]
        return found

    def _leave_to_autobahn(self, data: bytes) -> None:
        """Have Autobahn go on, unless nothing more is to be read: the connection is closed, or a flood was ended."""
        if data and self.state != CLOSED and (self.state == OPEN or self._reading):
            self._dataReceived(data)

    def _go_on_later(self) -> None:
        """Let others have their turn. Nothing is read meanwhile: the end of the connection would overtake what came before it."""
        if not self._is_over:
            self._is_over = True
            self.transport.pauseProducing()
        self.factory.go_on_later(self)

    def go_on(self) -> None:
        """Take more of what came in an earlier turn."""
        if self.state == CLOSED or (self.state == OPEN and not self._reading):
            return
        self._is_over = False
        self.dataReceived(b"")
        if not self._is_over and self._reading and self.state != CLOSED:
            self.transport.resumeProducing()

    def take_rest(self) -> None:
        """Take what came before the connection ended, if anything had to wait for its turn or for room."""
        if self.state != OPEN or (self._reading and not self._is_over):
            return
        try:
            self.session.writable()
        except Exception:
            self._session_broken()
        if self.current_frame is None:
            self._take(b"", ANY_COUNT)

    def pause(self) -> None:
        """Take no more input until :meth:`resume`."""
        if self._reading:
            self._reading = False
            if not self._is_over:
                self.transport.pauseProducing()

    def resume(self) -> None:
        """Take input again."""
        if not self._reading and self.state in (OPEN, self.STATE_CONNECTING):
            self._reading = True
            if self._is_over:
                self.factory.go_on_later(self)
            else:
                self.transport.resumeProducing()
