"""How a connection is read: plain text frames the fast way, everything else by Autobahn, and nobody for long.

This leans on Autobahn's ``state``, ``current_frame``, ``inside_message`` and ``data``, which tell whether it is between two messages, and
on ``_dataReceived``, which takes bytes from there on. Its buffer ``data`` also holds what is left of ours, so that either way of reading
goes on where the other ended.
"""

from __future__ import annotations

from dhtwisted.transports.frames import CLOSED, FOR_LATER, OPEN, UNFINISHED, take_text_frames

EMPTY_PONG, LENGTH_OF_EMPTY_PONG = b"\x8a\x80", 6

MESSAGES_IN_TURN = 16
"""Of one connection, in one turn of the reactor: more only make others wait. A chunk may hold four hundred, of ten milliseconds."""


class TurnwiseInput:
    """The reading half of a WebSocket protocol.

    :ivar factory: has ``go_on_later`` and ``traffic``.
    :ivar silent_intervals: in how many intervals of pings nothing has come.
    """

    def begin_input(self):
        """Get ready to read."""
        self._reading = True
        self._is_over = False
        self.silent_intervals = 0

    def dataReceived(self, data):
        self.silent_intervals = 0
        self.factory.traffic.octets_received += len(data)
        if self.state != OPEN or self.current_frame is not None or self.inside_message:
            self._dataReceived(data)
            return
        if len(data) == LENGTH_OF_EMPTY_PONG and data.startswith(EMPTY_PONG) and not self.data:
            # What ten thousand idle clients answer to their pings: Autobahn would take 40 us to do nothing with it.
            return
        held = self.data
        if held:
            data, self.data = held + data, b""
        try:
            position, count, rest = take_text_frames(data, self.maxMessagePayloadSize, self.session.receive, self, MESSAGES_IN_TURN)
        except Exception:
            self._session_broken()
            return
        self.factory.traffic.messages_received += count
        if rest is FOR_LATER:
            self.data = data[position:]
            self._go_on_later()
        elif rest is UNFINISHED and (count or len(data) >= 2 * len(held)):
            self.data = data[position:]
        elif position < len(data):
            # Also a frame that comes in small pieces: Autobahn checks each as it comes, without joining and checking all again.
            self._dataReceived(data[position:])

    def _go_on_later(self):
        """Let others have their turn. Nothing is read meanwhile: the end of the connection would overtake what came before it."""
        if not self._is_over:
            self._is_over = True
            self.transport.pauseProducing()
        self.factory.go_on_later(self)

    def go_on(self):
        """Take more of what came in an earlier turn."""
        if self.state == CLOSED or (self.state == OPEN and not self._reading):
            return
        self._is_over = False
        self.dataReceived(b"")
        if not self._is_over and self._reading and self.state != CLOSED:
            self.transport.resumeProducing()

    def take_rest(self):
        """Take what came before the connection ended, if anything had to wait for its turn or for room."""
        if self.state != OPEN or (self._reading and not self._is_over):
            return
        data, self.data = self.data, b""
        try:
            self.session.writable()
            _, count, _ = take_text_frames(data, self.maxMessagePayloadSize, self.session.receive, self)
        except Exception:
            self._session_broken()
        else:
            self.factory.traffic.messages_received += count

    def pause(self):
        """Take no more input until :meth:`resume`."""
        if self._reading:
            self._reading = False
            if not self._is_over:
                self.transport.pauseProducing()

    def resume(self):
        """Take input again."""
        if not self._reading and self.state == OPEN:
            self._reading = True
            if self._is_over:
                self.factory.go_on_later(self)
            else:
                self.transport.resumeProducing()
