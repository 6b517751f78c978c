"""Headers of the PROXY protocol, and connections that begin with one."""

import json
import struct

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.protocols.policies import WrappingFactory

from dhtwisted.core.addresses import plain_address
from dhtwisted.transports.proxy_protocol import SIGNATURE, ProxyHeaderError, read_header

ports = st.integers(0, 65535)
extensions = st.binary(max_size=50)


@st.composite
def headers(draw):
    """A header with what it tells."""
    address, port = draw(st.ip_addresses()), draw(ports)
    other = "192.0.2.1" if address.version == 4 else "2001:db8::1"
    if draw(st.booleans()):
        return f"PROXY TCP{address.version} {address} {other} {port} 443\r\n".encode(), (plain_address(str(address)), port)
    family, size = (0x11, 4) if address.version == 4 else (0x21, 16)
    body = address.packed + bytes(size) + struct.pack("!HH", port, 443) + draw(extensions)
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(body)) + body, (plain_address(str(address)), port)


@given(headers(), st.binary())
def test_a_header_in_any_pieces(header, rest):
    data, source = header
    assert read_header(data + rest) == (source, len(data))
    assert all(read_header(data[:length]) is None for length in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        SIGNATURE + b"\x20\x00\x00\x00",
        SIGNATURE + b"\x20\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x00\x00\x00",
        SIGNATURE + b"\x21\x31\x00\xd8" + b"/client".ljust(108, b"\0") * 2,
        SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),
    ],
)
def test_a_connection_of_the_balancers_own_or_of_an_unknown_client(data):
    assert read_header(data + b"GET") == (None, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXY TCP4 a b 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 port 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY " + b"x" * 101,
        SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
    ],
)
def test_what_is_no_header(data):
    with pytest.raises(ProxyHeaderError):
        read_header(data)


@given(st.binary() | st.binary().map(SIGNATURE.__add__) | st.binary().map(b"PROXY ".__add__))
def test_any_bytes_are_read_or_refused(data):
    try:
        header = read_header(data)
    except ProxyHeaderError:
        return
    assert header is None or len(data) >= header[1] > 0


ENDPOINT = "haproxy:tcp:0:interface=127.0.0.1"
INFO = b"GET /info HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest_twisted.ensureDeferred
async def test_a_header_that_comes_byte_by_byte(listen):
    server = await listen(ENDPOINT)
    connection = await server.connect()
    for byte in b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + INFO:
        connection.write(bytes((byte,)))
        connection.transport.doWrite()
        await server.tick()
    assert (await connection.until(b"}")).startswith(b"HTTP/1.1 200 OK")


@pytest_twisted.ensureDeferred
async def test_who_sends_no_header_is_closed_and_the_log_says_so(listen, nothing_logged):
    server = await listen(ENDPOINT)
    connection = await server.connect()
    with capturedLogs() as events:
        connection.write(INFO)
        assert await connection.end() == b""
    assert any("PROXY header" in event.get("log_format", "") for event in events)


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_who_says_nothing_is_dropped_in_time(listen):
    server = await listen(ENDPOINT, limits={"handshake_timeout": 0.1})
    for sent in (b"", b"PROXY TCP4 192.0.2.1"):
        connection = await server.connect()
        connection.write(sent)
        assert (await connection.end()).startswith(b"HTTP/1.1 408 Request Timeout")


@pytest_twisted.ensureDeferred
async def test_a_client_that_closes_its_side_is_still_answered(listen):
    server = await listen(ENDPOINT)
    connection = await server.connect()
    connection.write(b"PROXY UNKNOWN\r\n" + INFO)
    connection.transport.loseWriteConnection()
    _, _, body = (await connection.end()).partition(b"\r\n\r\n")
    assert "webSocketServerUrl" in json.loads(body)


@pytest_twisted.ensureDeferred
async def test_a_client_below_tls_that_closes_its_side_is_closed(listen, nothing_logged):
    """TLS in between has no half of a connection; who asks for it is not sent round in a circle."""
    server = await listen("haproxy:tcp:0:interface=127.0.0.1", wrap=WrappingFactory)
    connection = await server.connect()
    connection.write(b"PROXY UNKNOWN\r\n")
    connection.transport.loseWriteConnection()
    assert await connection.end() == b""
