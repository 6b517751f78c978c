"""A WebSocket client that may say anything, by a socket of its own."""

import base64
import json
import os
import socket

from tests.support.attacks.corpus import CLOSE, PING, TEXT, frame

__all__ = ["CLOSE", "PING", "TEXT", "Wire"]

SECONDS = 20
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{more}\r\n"
)


class Wire:
    """One connection after its handshake.

    :param context: an ``SSLContext``; ``None`` for no TLS.
    :param window: bytes of the client's own buffer; ``None`` for what the system gives.
    :ivar socket: for what is no frame.
    :ivar head: the answer to the handshake.
    """

    def __init__(self, port, path="/api/websocket", more="", seconds=SECONDS, context=None, window=None):
        self.socket = socket.create_connection(("127.0.0.1", port), seconds)
        if window is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        if context is not None:
            self.socket = context.wrap_socket(self.socket)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(HANDSHAKE.format(path=path, key=base64.b64encode(os.urandom(16)).decode(), more=more).encode())
        self._stream = self.socket.makefile("rb")
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            line = self._stream.readline()
            assert line, f"no handshake: {self.head}"
            self.head += line

    @property
    def is_open(self):
        """Whether the server agreed to the handshake."""
        return self.head.startswith(b"HTTP/1.1 101 ")

    def send_text(self, text):
        """Send a message as it is."""
        self.socket.sendall(frame(text))

    def say(self, **members):
        """Send a request."""
        self.send_text(json.dumps(members).encode())

    def read_frame(self):
        """``(opcode, payload)``; ``None`` at the end."""
        try:
            head = self._stream.read(2)
            if len(head) < 2:
                return None
            length = head[1] & 0x7F
            if length > 125:
                length = int.from_bytes(self._stream.read(2 if length == 126 else 8), "big")
            return head[0] & 0x0F, self._stream.read(length)
        except ConnectionError:
            return None

    def read_text(self):
        """The text of the next message."""
        while (found := self.read_frame()) is not None:
            if found[0] == TEXT:
                return found[1]
            assert found[0] != CLOSE, found
        raise EOFError("the server closed the connection")

    def read_frames(self):
        """All frames up to the end of the connection."""
        while (found := self.read_frame()) is not None:
            yield found

    def close_code(self):
        """Read to the end; the code of the close, 0 for one without, ``None`` for none."""
        codes = [int.from_bytes(payload[:2], "big") for opcode, payload in self.read_frames() if opcode == CLOSE]
        return codes[0] if codes else None

    def close(self):
        """Go away."""
        self._stream.close()
        self.socket.close()
