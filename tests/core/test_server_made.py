"""Who hears ``$device-add`` and ``$device-update``: live, in a replay, in a poll (WebSocket reference, section 4.6)."""

import pytest
import pytest_twisted

from dhtwisted.wire.timestamps import format_timestamp
from tests.support.rest_api import client

ADD, UPDATE = "$device-add", "$device-update"
BOTH = [ADD, UPDATE]
LONG_AGO = "2020-01-01T00:00:00"

FILTERS = [
    ({}, [ADD, "told", UPDATE]),
    ({"deviceId": "pump"}, ["told"]),
    ({"deviceIds": ["pump"]}, ["told"]),
    ({"networkIds": [1]}, ["told"]),
    ({"deviceTypeIds": [1]}, ["told"]),
    ({"networkIds": [1], "deviceTypeIds": [1]}, ["told"]),
    ({"deviceIds": [], "networkIds": [], "deviceTypeIds": [], "names": []}, [ADD, "told", UPDATE]),
    ({"names": ["told"]}, ["told"]),
    ({"names": [ADD]}, [ADD]),
    ({"deviceId": "pump", "names": [UPDATE, "told"]}, ["told", UPDATE]),
    ({"networkIds": [1], "names": BOTH}, BOTH),
    ({"deviceTypeIds": [1], "names": BOTH}, BOTH),
]
each_filter = pytest.mark.parametrize(("given", "expected"), FILTERS, ids=[str(given) for given, _ in FILTERS])


async def save_tell_save(server, device_id="pump"):
    """A device is created, tells something, and is changed; the three notifications are a moment apart."""
    administrator = await server.client()
    await administrator.call("device/save", deviceId=device_id, device={"name": "Old"})
    server.clock.advance(0.01)
    await administrator.call("notification/insert", deviceId=device_id, notification={"notification": "told"})
    server.clock.advance(0.01)
    await administrator.call("device/save", deviceId=device_id, device={"name": "New"})
    server.clock.advance(0.01)


def heard(subscriber):
    return [event["notification"]["notification"] for event in subscriber.events]


@each_filter
@pytest_twisted.ensureDeferred
async def test_live(server, given, expected):
    administrator, subscriber = await server.client(), await server.client()
    await administrator.call("device/save", deviceId="pump", device={})
    await subscriber.call("notification/subscribe", **given)
    await save_tell_save(server)
    assert heard(subscriber) == [name for name in (UPDATE, "told", UPDATE) if name in expected]


@pytest.mark.parametrize(("given", "expected"), [({}, [ADD]), ({"networkIds": [1]}, []), ({"networkIds": [1], "names": BOTH}, [ADD])])
@pytest_twisted.ensureDeferred
async def test_of_a_new_device(server, given, expected):
    administrator, subscriber = await server.client(), await server.client()
    await subscriber.call("notification/subscribe", **given)
    await administrator.call("device/save", deviceId="pump", device={})
    assert heard(subscriber) == expected


@each_filter
@pytest.mark.parametrize("limit", [None, 100])
@pytest_twisted.ensureDeferred
async def test_in_a_replay(server, given, expected, limit):
    await save_tell_save(server)
    subscriber = await server.client()
    await subscriber.call("notification/subscribe", **given, timestamp=LONG_AGO, limit=limit)
    assert heard(subscriber) == expected


@pytest_twisted.ensureDeferred
async def test_they_are_not_counted_where_a_replay_is_limited(server):
    await save_tell_save(server)
    subscriber = await server.client()
    await subscriber.call("notification/subscribe", deviceId="pump", timestamp=LONG_AGO, limit=1)
    assert heard(subscriber) == ["told"]


def path_of(given, **more):
    """A poll; a list is its elements with commas."""
    values = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in (given | more).items()}
    return "/device/notification/poll?" + "&".join(f"{name}={value}" for name, value in values.items())


def names(answer):
    status, content = answer
    assert status == 200, answer
    return [notification["notification"] for notification in content]


@each_filter
@pytest_twisted.ensureDeferred
async def test_in_a_poll_of_what_is_stored(server, given, expected):
    await save_tell_save(server)
    assert names(await client(server).send("GET", path_of(given, timestamp=LONG_AGO, waitTimeout=0))) == expected


@pytest_twisted.ensureDeferred
async def test_in_a_poll_by_the_path_of_the_device(server):
    await save_tell_save(server)
    assert names(await client(server).send("GET", f"/device/pump/notification/poll?timestamp={LONG_AGO}")) == ["told"]


@pytest.mark.parametrize(("given", "expected"), [({}, [UPDATE]), ({"deviceId": "pump"}, ["told"]), ({"names": [UPDATE]}, [UPDATE])])
@pytest_twisted.ensureDeferred
async def test_in_a_poll_that_waits(server, given, expected):
    administrator = await server.client()
    await administrator.call("device/save", deviceId="pump", device={})
    server.clock.advance(0.01)
    poll = client(server).send("GET", path_of(given, timestamp=format_timestamp(server.server.now())))
    server.clock.advance(0.01)
    await administrator.call("device/save", deviceId="pump", device={"name": "New"})
    server.clock.advance(0.01)
    await administrator.call("notification/insert", deviceId="pump", notification={"notification": "told"})
    while not poll.called:
        server.clock.advance(0.01)
    assert names(await poll) == expected


@pytest_twisted.ensureDeferred
async def test_lists_show_them(server):
    await save_tell_save(server)
    administrator = await server.client()
    reply = await administrator.call("notification/list", deviceId="pump")
    assert [notification["notification"] for notification in reply["notifications"]] == [ADD, "told", UPDATE]
    assert sorted(names(await client(server).send("GET", "/device/pump/notification"))) == [ADD, UPDATE, "told"]


@pytest_twisted.ensureDeferred
async def test_a_command_of_such_a_name_is_like_any_other(server):
    administrator, subscriber = await server.client(), await server.client()
    await administrator.call("device/save", deviceId="pump", device={})
    await subscriber.call("command/subscribe", deviceId="pump")
    await administrator.call("command/insert", deviceId="pump", command={"command": ADD})
    await subscriber.call("command/unsubscribe")
    await subscriber.call("command/subscribe", deviceId="pump", timestamp=LONG_AGO)
    assert [event["command"]["command"] for event in subscriber.events] == [ADD, ADD]
