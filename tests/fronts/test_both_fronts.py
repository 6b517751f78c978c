"""What REST reads in a query or a path it takes as WebSocket takes the same text in a message, and refuses what that refuses."""

from urllib.parse import quote

import pytest
import pytest_twisted

from tests.support.rest_api import client

INTEGERS = ["0", "1", "12", "+1", "-1", "007", "12.0", "1e2", " 1", "1 ", "x", "true", "٣", "1_0", "0x1", "9223372036854775808", "9" * 30]
TIMESTAMPS = [
    "2026-01-02",
    "2026-01-02T03:04",
    "2026-01-02 03:04",
    "2026-01-02T03:04:05.678",
    "2026-01-02 03:04:05.678",
    "2026-01-02T03:04:05Z",
    "2026-01-02T03:04:05 Z",
    "2026-01-02T03:04:05+02:00",
    "2026-01-02T03:04:05.5+0200",
    "2026-01-02 03:04:05+02:00",
    "2026-01-02 03:04+0200",
    "2026-01-02T03:04:05-02:00",
    "1767323045678",
    "1767323045678.5",
    "-1",
    "0",
    "soon",
    "2026-13-01",
    "null",
]


@pytest_twisted.async_yield_fixture
async def fronts(server):
    """Clients of both fronts, by the administrator: by REST, by WebSocket. There is a device with a command and a notification."""
    websocket = await server.client()
    await websocket.call("device/save", deviceId="pump", device={})
    await websocket.call("command/insert", deviceId="pump", command={"command": "on", "timestamp": "2026-01-02T02:00:00"})
    yield client(server), websocket


async def taken(fronts, action, path, **members):
    """How each front answers: whether it takes the text, and what it finds.

    :param path: with the text in its place.
    """
    rest, websocket = fronts
    status, content = await rest.send("GET", path)
    reply = await websocket.request(action, **members)
    by_rest = content if status == 200 else status
    by_websocket = next((reply[name] for name in ("commands", "devices", "network", "count") if name in reply), reply.get("code"))
    return by_rest, by_websocket


@pytest.mark.parametrize("text", INTEGERS)
@pytest_twisted.ensureDeferred
async def test_integers_of_a_query(fronts, text):
    by_rest, by_websocket = await taken(fronts, "command/list", f"/device/pump/command?take={quote(text)}", deviceId="pump", take=text)
    # A page that is negative is an error for WebSocket alone.
    assert by_rest == ([] if text == "-1" else by_websocket)
    by_rest, by_websocket = await taken(fronts, "device/list", f"/device?networkId={quote(text)}", networkId=text)
    assert by_rest == by_websocket


@pytest.mark.parametrize("text", INTEGERS)
@pytest_twisted.ensureDeferred
async def test_integers_of_a_path(fronts, text):
    by_rest, by_websocket = await taken(fronts, "network/get", f"/network/{text}", networkId=text)
    # What is no id is no address: 404 where a message is answered 400.
    assert by_rest == (404 if by_websocket == 400 else by_websocket)


@pytest.mark.parametrize("text", TIMESTAMPS)
@pytest.mark.parametrize("bound", ["start", "end"])
@pytest_twisted.ensureDeferred
async def test_timestamps(fronts, bound, text):
    for encoded in {quote(text), text.replace(" ", "%20")}:
        path = f"/device/pump/command?sortOrder=ASC&{bound}={encoded}"
        by_rest, by_websocket = await taken(fronts, "command/list", path, deviceId="pump", **{bound: text})
        assert by_rest == by_websocket, encoded


@pytest.mark.parametrize("text", ["true", "TRUE", "True", "false", "1", "yes", "0", "null"])
@pytest_twisted.ensureDeferred
async def test_booleans(fronts, text):
    path = f"/device/pump/command?returnUpdated={text}"
    by_rest, by_websocket = await taken(fronts, "command/list", path, deviceId="pump", returnUpdated=text)
    assert by_rest == by_websocket
    assert (by_rest == []) == (text.lower() == "true")


@pytest.mark.parametrize("text", ["pump", "PUMP", "p u", "%", "_", "é", "a,b", "null", "true", "7"])
@pytest_twisted.ensureDeferred
async def test_texts(fronts, text):
    for name in ("name", "namePattern", "networkName", "sortField", "sortOrder"):
        by_rest, by_websocket = await taken(fronts, "device/list", f"/device?{name}={quote(text)}", **{name: text})
        assert by_rest == by_websocket, name


@pytest.mark.parametrize(("texts", "listed"), [(["on"], True), (["on", "off"], True), (["ON"], False), (["off"], False), ([], True)])
@pytest_twisted.ensureDeferred
async def test_lists(fronts, texts, listed):
    path = f"/device/pump/command?names={','.join(texts)}"
    by_rest, by_websocket = await taken(fronts, "command/list", path, deviceId="pump", names=texts)
    assert by_rest == by_websocket
    assert bool(by_rest) == listed
