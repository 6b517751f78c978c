"""HTTP and the memory that all connections share: what counts in it, and what happens when it is used up."""

import json

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.support.raw import frame

INFO = b"GET /api/rest/info HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /api/rest/token HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
TOTAL = 200_000


@pytest.fixture
def limited(listen):
    """A function that starts a server with little memory for its clients; gives it, and an account of somebody else's."""

    async def start(**limits):
        server = await listen(limits={"output_total": TOTAL} | limits)
        return server, server.memory.server.budget.account(lambda reason: None)

    return start


async def some_turns(server):
    for _ in range(50):
        await server.tick()


@pytest_twisted.ensureDeferred
async def test_no_request_is_begun_before_there_is_room(limited, nothing_logged):
    server, other = await limited()
    connection = await server.connect()
    other.add(TOTAL)
    connection.write(INFO * 2)
    await some_turns(server)
    assert connection.received == b""
    other.remove(TOTAL)
    for _ in range(2):
        assert (await connection.until(b"}")).startswith(b"HTTP/1.1 200 ")


@pytest_twisted.ensureDeferred
async def test_who_has_waited_too_long_is_told_to_come_again(limited, nothing_logged, monkeypatch):
    monkeypatch.setattr("dhtwisted.transports.http.site.SLOW_SECONDS", 0.2)
    server, other = await limited()
    connection = await server.connect()
    other.add(TOTAL)
    connection.write(INFO)
    answer = await connection.until(b"}")
    assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 1\r\n" in answer
    other.remove(TOTAL)
    await some_turns(server)
    assert connection.received == b"", "it is answered once"
    connection.write(INFO)
    assert (await connection.until(b"}")).startswith(b"HTTP/1.1 200 ")


@pytest_twisted.ensureDeferred
async def test_who_goes_while_waiting_is_forgotten(limited, nothing_logged):
    server, other = await limited()
    connection = await server.connect()
    other.add(TOTAL)
    connection.write(INFO)
    await some_turns(server)
    connection.transport.abortConnection()
    while server.factory.open_connections:
        await server.tick()
    other.remove(TOTAL)
    await some_turns(server)


@pytest_twisted.ensureDeferred
async def test_a_body_counts_until_it_is_answered(limited, nothing_logged):
    server, _ = await limited()
    budget = server.memory.server.budget
    body = json.dumps({"login": "x" * 50_000, "password": "y"}).encode()
    head = b"POST /api/rest/token HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    first, second = await server.connect(), await server.connect()
    first.write(head + body[:40_000])
    second.write(head + body[:40_000])
    while budget.total < 80_000:
        await server.tick()
    assert budget.total == 80_000
    first.transport.abortConnection()
    second.write(body[40_000:])
    assert (await second.until(b"}")).startswith(b"HTTP/1.1 401 ")
    assert not budget.total


@pytest_twisted.ensureDeferred
async def test_a_body_counts_until_it_is_answered_also_when_its_client_has_gone(limited, nothing_logged):
    server, _ = await limited()
    budget, prepared = server.memory.server.budget, Deferred()
    plain = server.memory.server.authentication.by_header

    async def authenticate(header):
        await prepared
        return await plain(header)

    server.memory.server.authentication.by_header = authenticate
    connection = await server.connect()
    connection.write(POST + b"Authorization: Bearer x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
    while budget.total < 1000:
        await server.tick()
    connection.transport.abortConnection()
    while server.factory.open_connections:
        await server.tick()
    assert budget.total == 1000
    prepared.callback(None)
    await some_turns(server)
    assert not budget.total


@pytest_twisted.ensureDeferred
async def test_the_beginning_of_a_body_is_gone_with_its_client(limited, nothing_logged):
    server, _ = await limited()
    connection = await server.connect()
    connection.write(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 999)
    while not server.memory.server.budget.total:
        await server.tick()
    (port,) = server.factory.open.all
    (request,) = port._target.requests
    connection.transport.abortConnection()
    while server.factory.open_connections:
        await server.tick()
    assert not request.body, "whoever holds the request, until the garbage collector comes"


@pytest_twisted.ensureDeferred
async def test_the_beginning_of_a_frame_counts(limited, nothing_logged):
    server, _ = await limited()
    connection = await server.websocket()
    connection.write(frame("x" * 20_000)[:10_000])
    while server.memory.server.budget.total < 9_990:
        await server.tick()
    connection.transport.abortConnection()
    while server.factory.open_connections:
        await server.tick()
    assert not server.memory.server.budget.total


@pytest_twisted.ensureDeferred
async def test_bodies_are_read_no_further_while_there_is_no_room(limited, nothing_logged):
    server, other = await limited()
    budget = server.memory.server.budget
    body = json.dumps({"login": "x" * 150_000, "password": "y"}).encode()
    connection = await server.connect()
    other.add(TOTAL)
    connection.write(
        b"POST /api/rest/token HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    connection.write(body)
    await some_turns(server)
    assert TOTAL < budget.total <= TOTAL + 65536, "one read"
    other.remove(TOTAL)
    assert (await connection.until(b"}")).startswith(b"HTTP/1.1 ")
    assert not budget.total


@pytest_twisted.ensureDeferred
async def test_a_large_answer_for_which_there_is_no_room_is_refused(limited, nothing_logged):
    server, other = await limited()
    token = f"Authorization: Bearer {server.memory.token()}\r\n"
    body = json.dumps({"name": "d", "networkId": 1, "deviceTypeId": 1, "data": {"x": "y" * 150_000}}).encode()
    status, _, _ = await server.http("PUT", "/api/rest/device/d", token + "Content-Type: application/json\r\n", body)
    assert status == 204
    assert (await server.http("GET", "/api/rest/device/d", token))[0] == 200
    other.add(TOTAL // 2)
    status, headers, _ = await server.http("GET", "/api/rest/device/d", token)
    assert status == 503 and headers["retry-after"] == "1"
    other.remove(TOTAL // 2)
    assert (await server.http("GET", "/api/rest/device/d", token))[0] == 200


@pytest_twisted.ensureDeferred
async def test_others_have_their_turn_between_pipelined_requests(listen, nothing_logged):
    server = await listen()
    many, other = await server.connect(), await server.connect()
    answered = []
    plain = server.factory.site.process

    def process(request):
        answered.append(request.channel.number)
        plain(request)

    server.factory.site.process = process
    many.write(INFO * 1000)
    while not answered:
        await server.tick()
    other.write(INFO)
    await other.until(b"}")
    assert answered.count(1) < 300
    for _ in range(1000):
        await many.until(b"}")


@pytest.mark.parametrize(
    "rest",
    [
        b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nab\r\n" * 5000,
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a\r\n" * 5000,
        b"".join(b"%x:\r\n" % number for number in range(101)) + b"Content-Length: 5\r\n\r\n",
    ],
    ids=["chunks", "trailers", "headers"],
)
@pytest_twisted.ensureDeferred
async def test_many_small_parts_are_refused(limited, rest, nothing_logged):
    """Each takes up many times its size, and time."""
    server, _ = await limited()
    connection = await server.connect()
    connection.write(POST + rest)
    assert (await connection.until(b"}")).startswith(b"HTTP/1.1 400 ")
    await connection.end()
    assert not server.memory.server.budget.total


@pytest_twisted.ensureDeferred
async def test_a_body_in_small_chunks_is_read(limited, nothing_logged):
    server, _ = await limited()
    connection = await server.connect()
    body = b'{"login": "a", "password": "%b"}' % (b"x" * 300)
    connection.write(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nA: b\r\n\r\n")
    assert (await connection.until(b"}")).startswith(b"HTTP/1.1 401 ")


@pytest_twisted.ensureDeferred
async def test_who_is_kept_from_sending_a_body_does_not_stall(limited, nothing_logged):
    server, other = await limited()
    ended = server.memory.server.metrics.ended
    ends = []
    server.memory.server.metrics.ended = lambda reason: (ends.append(reason), ended(reason))
    connection = await server.connect()
    connection.write(POST + b"Content-Length: 150000\r\n\r\n" + b"x" * 1000)
    while not server.memory.server.budget.total:
        await server.tick()
    other.add(TOTAL)
    connection.write(b"x" * 1000)
    await some_turns(server)
    server.memory.server.budget.tick(server.reactor.seconds() + 2)
    assert ends == []
    other.remove(TOTAL)
    connection.transport.abortConnection()
