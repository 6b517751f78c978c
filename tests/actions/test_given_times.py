"""The time that a client gives its message: kept when it is past, the server's when it is far ahead (WebSocket reference, section 5.1)."""

import pytest
import pytest_twisted

from dhtwisted.core.server import MOST_AHEAD
from dhtwisted.model import Device
from dhtwisted.wire.timestamps import format_timestamp
from tests.support import rest_api

YEAR_2099 = 4_070_908_800_000


@pytest_twisted.async_yield_fixture
async def device(server):
    """The device ``pump``."""
    yield await server.server.entities.insert(Device(id="pump", name="pump", network_id=1, device_type_id=1))


async def over_websocket(server, kind, time):
    client = await server.client()
    return (await client.call(f"{kind}/insert", deviceId="pump", **{kind: {kind: "x", "timestamp": time}}))[kind]


async def over_rest(server, kind, time):
    status, content = await rest_api.client(server).send("POST", f"/device/pump/{kind}", {kind: "x", "timestamp": time})
    assert status == 201
    return content


@pytest.mark.parametrize("insert", [over_websocket, over_rest])
@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest_twisted.ensureDeferred
async def test_the_reply_says_which_time_it_is(server, device, kind, insert):
    now = server.server.now()
    for given, expected in (
        ("1970-01-01T00:00:00", 0),
        (now // 1000, now // 1000),
        (now - 1, now - 1),
        (now + MOST_AHEAD, now + MOST_AHEAD),
        (now + MOST_AHEAD + 1, now),
        (YEAR_2099, now),
        ("2099-01-01T00:00:00.000Z", now),
        ("", now),
    ):
        stored = await insert(server, kind, given)
        times = [stored["timestamp"], *([stored["lastUpdated"]] if kind == "command" else [])]
        assert times == [format_timestamp(expected)] * len(times), given


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest_twisted.ensureDeferred
async def test_no_client_sees_when_a_message_arrived(server, device, kind):
    client = await server.client()
    await client.call(f"{kind}/subscribe", deviceId="pump", timestamp=0)
    stored = await over_websocket(server, kind, 0)
    assert client.events[-1][kind].keys() == (await client.call(f"{kind}/get", deviceId="pump", **{f"{kind}Id": stored["id"]}))[kind].keys()
    assert "arrived" not in client.events[-1][kind]


@pytest_twisted.ensureDeferred
async def test_one_device_with_a_clock_of_2099_blinds_no_poll(server, device):
    poller = rest_api.client(server)
    await over_rest(server, "notification", YEAR_2099)
    server.clock.advance(0.01)
    first = await poller.get("/device/notification/poll?timestamp=2020-01-01T00:00:00")
    await over_rest(server, "notification", None)
    server.clock.advance(0.01)
    second = await poller.get(f"/device/notification/poll?waitTimeout=0&timestamp={first[-1]['timestamp']}")
    assert [message["id"] for message in first + second] == [1, 2]
