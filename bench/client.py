"""A small WebSocket client that blocks: it prepares servers, and times single requests. Load is the generator's work."""

import json
import os
import socket
import struct
from base64 import b64encode
from itertools import islice

from bench.figures import Failed

SECONDS = 120
_CHUNK = 1 << 20
_NO_MASK = b"\0\0\0\0"


class Client:
    """A connection to a server of this machine.

    :param port: of 127.0.0.1.
    """

    def __init__(self, port, path="/api/websocket"):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = bytearray()
        key = b64encode(os.urandom(16)).decode()
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._socket.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        while b"\r\n\r\n" not in self._data:
            self._read()
        answer, _, self._data = self._data.partition(b"\r\n\r\n")
        if b" 101 " not in answer:
            raise Failed(f"no WebSocket at port {port}: {answer.decode(errors='replace')}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def _read(self):
        chunk = self._socket.recv(_CHUNK)
        if not chunk:
            raise Failed("the server closed a connection")
        self._data += chunk
        return chunk

    def send(self, data):
        """Send frames made by :func:`frame`."""
        self._socket.sendall(data)

    def receive(self):
        """The payload of the next text, as bytes."""
        while True:
            found = _cut(self._data)
            if found is None:
                self._read()
                continue
            opcode, payload, end = found
            del self._data[:end]
            if opcode == 1:
                return payload
            if opcode == 8:
                raise Failed(f"the server closed a connection: {payload!r}")
            if opcode == 9:
                self.send(frame(payload, opcode=10))

    def call(self, action, **members):
        """Send a request that must succeed, and return its reply."""
        self.send(frame(json.dumps({"action": action, "requestId": 1, **members}).encode()))
        reply = json.loads(self.receive())
        if reply.get("status") != "success":
            raise Failed(f"{action} was refused: {reply}")
        return reply

    def call_many(self, requests, batch=500):
        """Send requests that must all succeed, many at once.

        :param requests: texts, as bytes; an iterable.
        """
        requests = iter(requests)
        while frames := [frame(request) for request in islice(requests, batch)]:
            self.send(b"".join(frames))
            for _ in frames:
                reply = self.receive()
                if b'"success"' not in reply:
                    raise Failed(f"a request was refused: {reply.decode()}")

    def take(self, request, mark, count):
        """Send a request, and read until a mark has come so often, which is quicker than to read frames.

        :returns: all that has come, with the heads of frames.
        """
        self.send(request)
        seen = 0
        while seen < count:
            before = max(len(self._data) - len(mark) + 1, 0)
            self._read()
            seen += self._data.count(mark, before)
        taken, self._data = self._data, bytearray()
        return taken


def frame(payload, opcode=1):
    """Make a frame. It is masked, as it must be, with zeros, which is quickest for us and the same work for a server."""
    size = len(payload)
    head = struct.pack(">BB", 0x80 | opcode, 0x80 | size) if size < 126 else struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
    return head + _NO_MASK + payload


def texts(data):
    """The payloads of all texts in what :meth:`Client.take` returned."""
    position = 0
    while found := _cut(data, position):
        opcode, payload, position = found
        if opcode == 1:
            yield payload


def _cut(data, start=0):
    """The first frame of some bytes: opcode, payload, and where the next begins; ``None`` while it is not whole. Servers do not mask."""
    if len(data) < start + 2:
        return None
    size, head = data[start + 1] & 127, start + 2
    if size > 125:
        width = 2 if size == 126 else 8
        if len(data) < head + width:
            return None
        size, head = int.from_bytes(data[head : head + width], "big"), head + width
    if len(data) < head + size:
        return None
    return data[start] & 15, bytes(data[head : head + size]), head + size
