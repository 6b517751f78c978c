"""Malformed inputs: texts, WebSocket frames and HTTP requests. They are the same in every run."""

import json
import random
import struct
from collections.abc import Iterator
from typing import Any

from dhtwisted.testing.requests import WEIRD_JSON
from tests.support.token_matrix import TABLE

SEED = 20260102
MASK = b"\x01\x02\x03\x04"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
PLACES = ("deviceId", "commandId", "notificationId", "networkId", "deviceTypeId", "userId", "subscriptionId", "name", "value", "token")
WORDS = ("take", "skip", "limit", "timestamp", "start", "end", "names", "sortField", "sortOrder", "waitTimeout", "status", "requestId")


def _valid(choose: random.Random) -> dict[str, Any]:
    """A valid request of a random action from the table of rights."""
    action = choose.choice(list(TABLE))
    _, members, _ = TABLE[action]
    request = {"action": action, "requestId": choose.randrange(10**6)} | json.loads(json.dumps(members, default=lambda _: 1))
    if action == "token":
        # To hash a password takes a hundred times as long as everything else. An unknown login needs no hash.
        request["login"] = ""
    return request


def _replaced(choose: random.Random, value: dict[str, Any], text: bytes) -> bytes:
    """The request as text, with a random value replaced by a text."""
    mark = "mark-of-the-place"
    holder = value
    while True:
        name = choose.choice([*holder, *PLACES, *WORDS])
        if isinstance(holder.get(name), dict) and choose.random() < 0.8:
            holder = holder[name]
        else:
            holder[name] = mark
            return json.dumps(value).encode().replace(json.dumps(mark).encode(), text)


def _damaged(choose: random.Random, text: bytes) -> bytes:
    """A text with some bytes changed, removed, doubled or cut off."""
    damaged = bytearray(text)
    for _ in range(choose.randint(1, 3)):
        place = choose.randrange(len(damaged) + 1)
        length = choose.randint(1, 6)
        kind = choose.randrange(5)
        if kind == 0:
            damaged[place : place + length] = bytes(choose.randrange(256) for _ in range(length))
        elif kind == 1:
            del damaged[place : place + length]
        elif kind == 2:
            damaged[place:place] = damaged[max(0, place - 20) : place]
        elif kind == 3:
            damaged[place:place] = choose.choice(WEIRD_JSON)[:200]
        else:
            del damaged[place:]
    return bytes(damaged)


def texts(count: int, seed: int = SEED) -> Iterator[bytes]:
    """Texts of messages. All are valid UTF-8, and most are almost a request."""
    choose = random.Random(seed)
    short = [text for text in WEIRD_JSON if len(text) < 2000]
    for _ in range(count):
        kind = choose.randrange(10)
        if kind < 4:
            yield _replaced(choose, _valid(choose), choose.choice(short))
        elif kind < 8:
            yield _damaged(choose, json.dumps(_valid(choose)).encode()).decode(errors="ignore").encode()
        elif kind == 8:
            yield choose.choice(WEIRD_JSON)
        else:
            value = choose.choice(short)
            yield b'{"action":%b,"requestId":%b,%b:%b}' % (value, choose.choice(short), choose.choice(short), value)


def frame(payload: bytes, opcode: int = TEXT, first: int = 0x80, masked: bool = True, length: int | None = None) -> bytes:
    """One frame, right or wrong.

    :param first: FIN and reserved bits.
    :param length: a wrong length in its head; ``None`` for the true one.
    """
    length = len(payload) if length is None else length
    head = bytes([first | opcode])
    bit = 0x80 if masked else 0
    if length < 126:
        head += bytes([bit | length])
    elif length < 2**16:
        head += struct.pack("!BH", bit | 126, length)
    else:
        head += struct.pack("!BQ", bit | 127, length)
    return head + (MASK + bytes(byte ^ MASK[place % 4] for place, byte in enumerate(payload)) if masked else payload)


def frames(count: int, seed: int = SEED) -> Iterator[bytes]:
    """Bytes to send after a good WebSocket handshake. They break the protocol at some place, or nearly do."""
    choose = random.Random(seed)
    for _ in range(count):
        payload = bytes(choose.randrange(256) for _ in range(choose.choice((0, 1, 2, 5, 125, 126, 300))))
        opcode = choose.randrange(16)
        first = choose.choice((0x80, 0x80, 0, 0xC0, 0xA0, 0x90, 0x40))
        length = choose.choice((None, None, None, 2**16, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 127))
        broken = frame(payload, opcode, first, masked=choose.random() < 0.8, length=length)
        before = choose.choice((b"", frame(b'{"action":"server/info"}'), frame(b"{", TEXT, 0), frame(b"", PING), frame(b"\x03\xe8", CLOSE)))
        yield before + _damaged(choose, broken) if choose.random() < 0.3 else before + broken


METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "G\x00T", "", "X" * 300)
PATHS = (
    "/api/rest/info",
    "/api/rest/device",
    "/api/rest/device/pump",
    "/api/rest/device/pump/command",
    "/api/rest/device/pump/notification/1",
    "/api/rest/user/1",
    "/api/rest/network/1",
    "/api/rest/token/refresh",
    "/api/rest/configuration/colour",
    "/api/rest/device/%2e%2e/%2e%2e/etc/passwd",
    "/api/rest/device/%ff%fe",
    "/api/rest/device/%00",
    "/api/rest/user/99999999999999999999",
    "/api/rest/user/-1",
    "//api//rest//info//",
    "/api/rest/../../etc/passwd",
    "/%",
    "*",
    "http://elsewhere/api/rest/info",
    "api/rest/info",
    "/" + "a" * 5000,
)
HEADERS = (
    b"Content-Type: application/json",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Type: \xff",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 5, 6",
    b"Content-Length: 0x10",
    b"Authorization: Bearer",
    b"Authorization: Basic eDp5",
    b"Authorization: Bearer \xff\x00",
    b"X-HTTP-Method-Override: DELETE",
    b"Expect: 100-continue",
    b"Connection: close",
    b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99",
    b" folded: header",
    b"no colon",
    b": empty name",
    b"Origin: null\r\nOrigin: null",
    b"Cookie: " + b"c" * 3000,
    b"Range: bytes=0-1",
    b"A\x00B: x",
)


def http_requests(count: int, seed: int = SEED, authorization: bytes = b"") -> Iterator[bytes]:
    """Whole HTTP requests. A client sends each on a connection of its own.

    :param authorization: a header line that most requests get; empty for none.
    """
    choose = random.Random(seed)
    inputs = texts(count, seed)
    for text in inputs:
        text = text[:4000]
        query = choose.choice(
            ("", "", "?take=-1", "?skip=x", "?%ff=%", "?a=1&a=2&" + "b=&" * 50, "?waitTimeout=0&names=%00", "?sortOrder=up")
        )
        line = (
            f"{choose.choice(METHODS[:4] * 5 + METHODS)} {choose.choice(PATHS)}{query} {choose.choice(('HTTP/1.1',) * 9 + ('HTTP/9', ''))}"
        )
        headers = choose.sample(HEADERS, choose.randrange(3))
        if not any(header.startswith(b"Content-Length") for header in headers):
            headers.append(b"Content-Length: %d" % len(text))
        if authorization and choose.random() < 0.7:
            headers.append(authorization)
        request = b"\r\n".join([line.encode("latin-1"), b"Host: h", *headers]) + b"\r\n\r\n" + text
        yield _damaged(choose, request) if choose.random() < 0.2 else request
