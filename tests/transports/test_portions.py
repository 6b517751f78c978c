"""Answers that are sent in portions: when each is asked for, what ends them, and what the client sees."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from dhtwisted.errors import ServiceUnavailable
from dhtwisted.transports.http.request import HttpRequest

LARGE = b"x" * 1_000_000


class Portions:
    """An async iterator that tells what is done with it.

    :param portions: bytes, or an exception to be raised in their place.
    """

    def __init__(self, *portions):
        self._left = list(portions)
        self.asked = 0
        self.closed = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        self.asked += 1
        if not self._left:
            raise StopAsyncIteration
        portion = self._left.pop(0)
        if isinstance(portion, Exception):
            raise portion
        return await portion if isinstance(portion, Deferred) else portion

    async def aclose(self):
        self.closed += 1


@pytest.fixture
def answering(listen, monkeypatch):
    """A function that starts a server whose every answer to ``/info`` has a given body."""

    async def start(*portions):
        body = Portions(*portions)
        plain = HttpRequest.answer

        def answer(request, status, content, *others):
            plain(request, status, body if request.uri.endswith(b"/info") and status == 200 else content, *others)

        monkeypatch.setattr(HttpRequest, "answer", answer)
        return await listen(), body

    return start


def ask(version="1.1", method="GET"):
    return f"{method} /api/rest/info HTTP/{version}\r\nHost: h\r\n\r\n".encode()


def unchunked(data):
    """The body of an answer in chunks, and what follows it."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        chunk, data = data[: int(size, 16)], data[int(size, 16) :]
        assert data.startswith(b"\r\n")
        data = data[2:]
        if not chunk:
            return body, data
        body += chunk


@pytest_twisted.ensureDeferred
async def test_they_are_chunks_and_the_connection_is_kept(answering, nothing_logged):
    server, body = await answering(b"[1", b"", b",2" * 100_000, b"]")
    connection = await server.connect()
    connection.write(ask() + ask().replace(b"info", b"none"))
    head = await connection.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"Transfer-Encoding: chunked\r\n" in head and b"Content-Length" not in head
    assert b"Content-Type: application/json\r\n" in head
    await connection.until(b"\r\n0\r\n\r\n")
    assert (await connection.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert body.closed == 1


@pytest_twisted.ensureDeferred
async def test_the_content_is_whole(answering, nothing_logged):
    server, _ = await answering(*(bytes([65 + number]) * 70_000 for number in range(20)))
    connection = await server.connect()
    connection.write(ask().replace(b"Host", b"Connection: close\r\nHost"))
    head, _, rest = (await connection.end()).partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    assert unchunked(rest) == (b"".join(bytes([65 + number]) * 70_000 for number in range(20)), b"")


@pytest_twisted.ensureDeferred
async def test_an_old_client_reads_to_the_end(answering, nothing_logged):
    server, body = await answering(b"[1", b"]")
    connection = await server.connect()
    connection.write(ask("1.0"))
    head, _, rest = (await connection.end()).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head and rest == b"[1]"
    assert body.closed == 1


@pytest_twisted.ensureDeferred
async def test_head_asks_for_no_portion(answering, nothing_logged):
    server, body = await answering(b"[]")
    connection = await server.connect()
    connection.write(ask(method="HEAD") + ask(method="HEAD"))
    for _ in range(2):
        assert (await connection.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert connection.received == b"" and body.asked == 0 and body.closed == 2


@pytest_twisted.ensureDeferred
async def test_the_next_is_asked_for_when_the_last_has_been_taken(answering, nothing_logged):
    server, body = await answering(*[LARGE] * 100)
    connection = await server.connect()
    connection.transport.pauseProducing()
    connection.write(ask())
    asked = -1
    while asked != body.asked or not asked:
        asked = body.asked
        for _ in range(20):
            await server.tick()
    assert body.asked < 20, "what the kernel takes, and one"
    assert server.memory.server.budget.total <= len(LARGE) + 100_000
    connection.transport.resumeProducing()
    while not connection.received.endswith(b"\r\n0\r\n\r\n"):
        connection.received = connection.received[-7:]
        await connection.more()
    assert body.asked == 101 and body.closed == 1


@pytest_twisted.ensureDeferred
async def test_it_is_closed_when_the_client_goes(answering, nothing_logged):
    server, body = await answering(*[LARGE] * 100)
    connection = await server.connect()
    connection.write(ask())
    await connection.until(b"\r\n\r\n")
    connection.transport.abortConnection()
    while not body.closed:
        await server.tick()
    assert body.asked < 100
    assert not server.memory.server.budget.total


@pytest_twisted.ensureDeferred
async def test_it_is_closed_when_the_client_goes_while_a_portion_is_made(answering, nothing_logged):
    portion = Deferred()
    server, body = await answering(b"[", portion)
    connection = await server.connect()
    connection.write(ask())
    await connection.until(b"[")
    connection.transport.abortConnection()
    while server.factory.open_connections:
        await server.tick()
    portion.callback(b"1")
    await server.tick()
    assert body.closed == 1


@pytest_twisted.ensureDeferred
async def test_an_error_in_the_middle_breaks_the_connection_off(answering):
    server, body = await answering(b"[1", RuntimeError("a defect"))
    connection = await server.connect()
    with capturedLogs() as logs:
        connection.write(ask())
        assert not (await connection.end()).endswith(b"0\r\n\r\n")
    assert body.closed == 1
    assert [event["connection"] for event in logs if "log_failure" in event] == [1]


@pytest_twisted.ensureDeferred
async def test_an_error_before_all_is_an_answer(answering, nothing_logged):
    server, body = await answering(ServiceUnavailable())
    connection = await server.connect()
    connection.write(ask() + ask().replace(b"info", b"none"))
    assert (await connection.until(b"}")).startswith(b"HTTP/1.1 503 ")
    assert (await connection.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert body.closed == 1


@pytest_twisted.ensureDeferred
async def test_a_defect_before_all_is_an_answer_and_is_logged(answering):
    server, _ = await answering(RuntimeError("none of the client's business"))
    connection = await server.connect()
    with capturedLogs() as logs:
        connection.write(ask())
        answer = await connection.until(b"}")
    assert answer.startswith(b"HTTP/1.1 500 ") and b"business" not in answer
    assert [event["connection"] for event in logs if "log_failure" in event] == [1]


@pytest_twisted.ensureDeferred
async def test_who_closes_its_side_gets_all(answering, nothing_logged):
    server, _ = await answering(LARGE, LARGE)
    connection = await server.connect()
    connection.write(ask())
    connection.transport.loseWriteConnection()
    _, _, rest = (await connection.end()).partition(b"\r\n\r\n")
    assert unchunked(rest) == (LARGE * 2, b"")
