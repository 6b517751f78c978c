"""Reads a connection. A fast parser takes plain text frames, Autobahn all others. A connection takes a limited number of messages per turn.

This depends on Autobahn's ``state``, ``current_frame`` (its ``length``; ``current_frame_masker`` has the position in it),
``inside_message``, ``data`` and ``_dataReceived``. Both parsers share the buffer ``data``, so each continues where the other ended.
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
    split_text_frames,
)

if TYPE_CHECKING:
    from dhtwisted.core.budget import Account

EMPTY_PONG, LENGTH_OF_EMPTY_PONG = b"\x8a\x80", 6
FIRMWARE_PONG = b"\x8a\x00"

LARGE = 8 * 1024
"""An unfinished message above this size (bytes) counts in the connection's account."""

MESSAGES_IN_TURN = 16
"""Messages of one connection in one reactor turn: with more, other connections wait. One read may contain four hundred."""


class FrameReader:
    """The reading half of a WebSocket protocol.

    :ivar account: an :class:`~dhtwisted.core.budget.Account`.
    :ivar factory: has ``go_on_later``, ``budget`` and ``traffic``.
    :ivar silent_intervals: the number of ping intervals in which the client sent nothing.
    """

    account: Account
    factory: Any
    session: Any
    transport: Any
    # Members of Autobahn.
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
                    # The pong of an idle client, of which there may be ten thousand: Autobahn would need 12 us to ignore it.
                    return
                self._take(data, MESSAGES_IN_TURN)
            else:
                self._finish_frame(data)
            if self._held or self.inside_message or len(self.data) > LARGE:
                self._count_held()
        elif self.state == self.STATE_CONNECTING and not self._reading:
            # TLS delivers buffered data even now. Autobahn would begin a second handshake; it gets the data after this one.
            self.data += data
        elif self.state != CLOSED:
            # TLS delivers data even after the end; Autobahn would only keep it in memory.
            self._dataReceived(data)

    def _count_held(self) -> None:
        """Count the received part of a large message in the account. If the budget is used up, stop reading until there is room."""
        held = len(self.data) + (self.message_data_total_length if self.inside_message else 0)
        held = held if held > LARGE and self.state == OPEN else 0
        self.account.add(held - self._held)
        self.account.expect_more(held > 0)
        self._held = held
        if held and self._reading and self.factory.budget.is_used_up:
            # The server stops reading, so the client is not slow.
            self.account.expect_more(False)
            self.pause()
            self.factory.budget.wait(self.resume)

    def _finish_frame(self, data: bytes) -> None:
        """Give Autobahn the rest of its current frame, and no more."""
        left = self.current_frame.length - self.current_frame_masker.pointer()
        self._dataReceived(data[:left])
        data = data[left:]
        if data and self.state == OPEN:
            self._take(data, MESSAGES_IN_TURN)
        else:
            self._leave_to_autobahn(data)

    def _take(self, data: bytes, most: int) -> None:
        """Take frames; ``data`` begins with a frame. Autobahn gets those that are not plain text, one whole frame at a time."""
        held = self.data
        if held:
            data, self.data = held + data, b""
        while True:
            position, count, rest = self._take_text_frames(data, most)
            most -= count
            if rest == UNFINISHED and (count or len(data) >= 2 * len(held)):
                self.data = data[position:]
                return
            if position == len(data):
                return
            if self.state == OPEN and (rest == FOR_LATER or most <= 0):
                self.data = data[position:]
                self._go_on_later()
                return
            end = end_of_frame(data, position)
            if end is None or self.state != OPEN:
                # Also a frame that arrives in small pieces: Autobahn checks each piece once, without joining them again.
                self._leave_to_autobahn(data[position:])
                return
            self._dataReceived(data[position:end])
            data, held, most = data[end:], b"", most - 1
            if not data:
                return

    def _take_text_frames(self, data: bytes, most: int) -> tuple[int, int, int]:
        """Give the session the plain text frames at the start of ``data``.

        :returns: where the rest begins, how many messages the session took, and the kind of the rest.
        """
        if self.inside_message or self.state != OPEN:
            return 0, 0, FOR_AUTOBAHN
        limit = self.maxMessagePayloadSize
        payloads, position, rest = split_text_frames(data, limit, most)
        count = len(payloads)
        try:
            if count == 1:
                self.session.receive(payloads[0])
            elif count:
                count = self.session.receive_many(payloads)
        except Exception:
            self._session_broken()
            return len(data), 0, FOR_AUTOBAHN
        self.factory.traffic.messages_received += count
        if self.state == OPEN:
            return position, count, rest
        if count < len(payloads):
            # The connection ends in the middle. Autobahn looks for the client's close frame in the rest.
            _, position, _ = split_text_frames(data, limit, count)
        return position, count, FOR_AUTOBAHN

    @property
    def ended(self) -> bool:
        """See :class:`~dhtwisted.interfaces.IOutput`."""
        return self.state != OPEN

    def _leave_to_autobahn(self, data: bytes) -> None:
        """Give data to Autobahn, unless the connection is closed or was ended because of a flood."""
        if data and self.state != CLOSED and (self.state == OPEN or self._reading):
            self._dataReceived(data)

    def _go_on_later(self) -> None:
        """Let other connections have their turn. Reading stops meanwhile, so the end of the connection cannot overtake earlier data."""
        if not self._is_over:
            self._is_over = True
            self.transport.pauseProducing()
        self.factory.go_on_later(self)

    def go_on(self) -> None:
        """Continue with data from an earlier turn."""
        if self.state == CLOSED or (self.state == OPEN and not self._reading):
            return
        self._is_over = False
        self.dataReceived(b"")
        if not self._is_over and self._reading and self.state != CLOSED:
            self.transport.resumeProducing()

    def take_rest(self) -> None:
        """Process data that came before the connection ended and that waits for its turn or for room."""
        if self.state != OPEN or (self._reading and not self._is_over):
            return
        try:
            self.session.writable()
        except Exception:
            self._session_broken()
        if self.current_frame is None:
            self._take(b"", ANY_COUNT)

    def pause(self) -> None:
        """Stop reading until :meth:`resume`."""
        if self._reading:
            self._reading = False
            if not self._is_over:
                self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if not self._reading and self.state in (OPEN, self.STATE_CONNECTING):
            self._reading = True
            if self._is_over:
                self.factory.go_on_later(self)
            else:
                self.transport.resumeProducing()
