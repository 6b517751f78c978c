"""Long lists over HTTP: whole, in portions as the client takes them, and never taken for whole when they are not."""

import json

import pytest
import pytest_twisted

from dhtwisted.actions import lists
from dhtwisted.model import Device

DATA = b'"%b"' % (b"x" * 50_000)
MANY = 100


@pytest_twisted.async_yield_fixture
async def full(listen):
    """A server with five megabytes of devices, and the header of its administrator."""
    server = await listen()
    for number in range(MANY):
        device = Device(id=f"d{number:03}", name=str(number), network_id=1, device_type_id=1, data=DATA)
        await server.memory.server.entities.insert(device)
    yield server, f"Authorization: Bearer {server.memory.token()}\r\n"


def unchunked(body):
    """The portions of a chunked body, which must have its end."""
    portions = []
    while True:
        length, _, body = body.partition(b"\r\n")
        size = int(length, 16)
        if not size:
            assert body == b"\r\n"
            return portions
        assert body[size : size + 2] == b"\r\n"
        portions.append(body[:size])
        body = body[size + 2 :]


@pytest.mark.parametrize(("path", "member"), [("/device", None), ("/network/1", "devices"), ("/devicetype/1", "devices")])
@pytest_twisted.ensureDeferred
async def test_a_long_list_is_whole(full, nothing_logged, path, member):
    server, who = full
    status, headers, body = await server.http("GET", f"/api/rest{path}", who)
    assert (status, headers["transfer-encoding"], "content-length" in headers) == (200, "chunked", False)
    portions = unchunked(body)
    assert max(map(len, portions)) <= lists.PORTION + len(DATA)
    found = json.loads(b"".join(portions))
    assert [each["id"] for each in (found[member] if member else found)] == [f"d{number:03}" for number in range(MANY)]


@pytest_twisted.ensureDeferred
async def test_a_short_list_has_a_length(full, nothing_logged):
    server, who = full
    _, headers, body = await server.http("GET", "/api/rest/device?take=2", who)
    assert int(headers["content-length"]) == len(body)


@pytest_twisted.ensureDeferred
async def test_the_head_of_a_long_list_has_no_body(full, nothing_logged):
    server, who = full
    status, _, body = await server.http("HEAD", "/api/rest/device", who)
    assert (status, body) == (200, b"")


@pytest_twisted.ensureDeferred
async def test_a_list_that_breaks_off_has_no_end(full, nothing_logged, monkeypatch):
    server, who = full
    asked = []
    find = server.memory.server.entities.find

    async def fail_later(kind, query):
        asked.append(query)
        if len(asked) == 4:
            await server.memory.storage.close()
        return await find(kind, query)

    monkeypatch.setattr(server.memory.server.entities, "find", fail_later)
    connection = await server.connect()
    connection.write(f"GET /api/rest/device HTTP/1.1\r\nHost: a\r\n{who}\r\n".encode())
    body = await connection.end()
    assert body.startswith(b"HTTP/1.1 200 ")
    assert not body.endswith(b"0\r\n\r\n")
