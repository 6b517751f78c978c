"""A WebSocket client on a blocking socket. It can send anything."""

import base64
import json
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from tests.support.attacks.corpus import CLOSE, PING, TEXT, frame

__all__ = ["CLOSE", "PING", "TEXT", "Wire"]

SECONDS = 20
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{more}\r\n"
)


class Wire:
    """One connection after its handshake.

    :param more: further lines of the handshake, each with its end.
    :param seconds: the timeout of the socket.
    :param context: for TLS; ``None`` for no TLS.
    :param window: the size of the client's receive buffer in bytes; ``None`` for the system's default.
    :ivar socket: to send bytes that are no frame.
    :ivar head: the answer to the handshake.
    """

    def __init__(
        self,
        port: int,
        path: str = "/api/websocket",
        more: str = "",
        seconds: float = SECONDS,
        context: ssl.SSLContext | None = None,
        window: int | None = None,
    ) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), seconds)
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
            assert line, f"no handshake: {self.head!r}"
            self.head += line

    @property
    def is_open(self) -> bool:
        """Whether the server has accepted the handshake."""
        return self.head.startswith(b"HTTP/1.1 101 ")

    def send_text(self, text: bytes) -> None:
        """Send a message as it is."""
        self.socket.sendall(frame(text))

    def say(self, **members: Any) -> None:
        """Send a request."""
        self.send_text(json.dumps(members).encode())

    def read_frame(self) -> tuple[int, bytes] | None:
        """Read a frame. Returns its opcode and its payload; ``None`` at the end of the connection."""
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

    def read_text(self) -> bytes:
        """Read frames up to the next text message. Returns its text."""
        while (found := self.read_frame()) is not None:
            if found[0] == TEXT:
                return found[1]
            assert found[0] != CLOSE, found
        raise EOFError("the server closed the connection")

    def read_frames(self) -> Iterator[tuple[int, bytes]]:
        """Read all frames up to the end of the connection."""
        while (found := self.read_frame()) is not None:
            yield found

    def close_code(self) -> int | None:
        """Read to the end. Returns the code of the close frame: 0 if it has none, ``None`` if no close frame came."""
        codes = [int.from_bytes(payload[:2], "big") for opcode, payload in self.read_frames() if opcode == CLOSE]
        return codes[0] if codes else None

    def close(self) -> None:
        """Close the connection without a close frame."""
        self._stream.close()
        self.socket.close()
