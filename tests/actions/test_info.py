"""``server/info`` (WebSocket reference, section 3.3)."""

import pytest_twisted


@pytest_twisted.ensureDeferred
async def test_exactly_three_members_that_say_something(server):
    reply = await server.connect().call("server/info")
    assert reply.keys() == {"action", "requestId", "status", "info"}
    assert reply["info"] == {
        "apiVersion": reply["info"]["apiVersion"],
        "serverTimestamp": "2026-01-02T03:04:05.678",
        "restServerUrl": "http://localhost/rest",
    }
    assert reply["info"]["apiVersion"]
    server.clock.advance(1)
    assert (await server.connect().call("server/info"))["info"]["serverTimestamp"] == "2026-01-02T03:04:06.678"


@pytest_twisted.ensureDeferred
async def test_its_time_is_good_for_subscribing(server):
    client = await server.client()
    await client.call("device/save", deviceId="d", device={})
    server.clock.advance(1)
    now = (await client.call("server/info"))["info"]["serverTimestamp"]
    inserted = await client.call("notification/insert", deviceId="d", notification={"notification": "on"})
    await client.call("notification/subscribe", timestamp=now)
    assert [event["notification"]["id"] for event in client.events] == [inserted["notification"]["id"]]
