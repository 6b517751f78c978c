"""Stored messages, then live ones: none missed, none twice (WebSocket reference, section 4.3)."""

from collections import defaultdict
from unittest.mock import patch

import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st

from dhtwisted.core import replay
from dhtwisted.model import Device, MessageQuery, Network, Notification, User
from dhtwisted.testing.server import MemoryServer, at_once
from dhtwisted.wire.timestamps import format_timestamp
from tests.support.replay_play import NOW, Play, filters, ids, inserts, kinds, places, portions, steps


@settings(max_examples=250)
@given(
    kinds,
    st.lists(inserts, max_size=8),
    st.lists(steps, max_size=40),
    filters,
    places,
    st.booleans(),
    st.sampled_from([1, 2, 500]),
    portions,
)
def test_no_hole_and_no_double(reactor, kind, before, during, wanted, place, restricted, page, portion):
    with patch.multiple(replay, PAGE=page, FLUSH_SIZE=portion, MAX_DEVICES_IN_QUERY=2):
        play = Play(reactor, kind, wanted | place, restricted)
        for step in (*before, *during):
            play.step(*step)
        play.settle()
        play.check()


# Examples


@pytest.fixture
def portions_of_one(monkeypatch):
    """Replays send one message at a time."""
    monkeypatch.setattr(replay, "FLUSH_SIZE", 1)


async def device(server, device_id="d", network=1):
    """A device."""
    return await server.server.entities.insert(Device(id=device_id, name=device_id, network_id=network, device_type_id=1))


async def insert(client, *bodies, device_id="d"):
    """Insert notifications; returns their ids."""
    replies = [await client.call("notification/insert", deviceId=device_id, notification={"notification": "on"} | body) for body in bodies]
    return [reply["notification"]["id"] for reply in replies]


@pytest_twisted.ensureDeferred
async def test_the_bound_is_inclusive(server):
    await device(server)
    client, sender = await server.client(), await server.client()
    sent = await insert(sender, *({"timestamp": NOW + offset} for offset in (-1, 0, 1)))
    await client.call("notification/subscribe", timestamp=format_timestamp(NOW))
    assert ids(client) == sent[1:]


@pytest_twisted.ensureDeferred
async def test_without_a_timestamp_nothing_is_replayed(server):
    await device(server)
    client, sender = await server.client(), await server.client()
    await insert(sender, {})
    await client.call("notification/subscribe", timestamp="", limit=10)
    assert ids(client) == []


@pytest.mark.parametrize(("limit", "expected"), [(None, 1200), (0, 0), (1, 1), (700, 700), (5000, 1200)])
@pytest_twisted.ensureDeferred
async def test_many_pages_and_a_limit(server, limit, expected):
    await device(server)
    client, sender = await server.client(), await server.client()
    sent = await insert(sender, *[{}] * 1200)
    await client.call("notification/subscribe", timestamp=0, limit=limit)
    assert ids(client) == sent[len(sent) - expected :]
    [live] = await insert(sender, {})
    assert ids(client)[-1] == live


@pytest_twisted.ensureDeferred
async def test_a_limit_counts_what_is_wanted(server):
    await device(server)
    await server.server.entities.insert(Network(name="Garden"))
    await device(server, "hidden", network=2)
    user = await server.add_user("anna", network_ids=frozenset({1}))
    client, sender = await server.client(user), await server.client()
    sent = await insert(sender, {}, {}, {})
    await insert(sender, *[{}] * 10, device_id="hidden")
    await insert(sender, *[{"notification": "off"}] * 10)
    await client.call("notification/subscribe", timestamp=0, limit=2, names=["on"])
    assert ids(client) == sent[1:]


@pytest_twisted.ensureDeferred
async def test_updated_commands_come_in_their_present_state(server):
    await device(server)
    sender = await server.client()
    commands = [(await sender.call("command/insert", deviceId="d", command={"command": "on"}))["command"]["id"] for _ in range(3)]
    await sender.call("command/update", deviceId="d", commandId=commands[1], command={"status": "half"})
    await sender.call("command/update", deviceId="d", commandId=commands[1], command={"status": "done"})
    updates, inserts = await server.client(), await server.client()
    await updates.call("command/subscribe", timestamp=NOW, returnUpdatedCommands=True)
    await inserts.call("command/subscribe", timestamp=NOW)
    assert [(e["action"], e["command"]["id"], e["command"]["status"]) for e in updates.events] == [("command/update", commands[1], "done")]
    assert [(e["action"], e["command"]["id"], e["command"]["status"]) for e in inserts.events] == [
        ("command/insert", commands[0], None),
        ("command/insert", commands[1], "done"),
        ("command/insert", commands[2], None),
    ]


@pytest_twisted.ensureDeferred
async def test_a_command_past_its_lifetime_is_not_replayed(server):
    await device(server)
    sender = await server.client()
    commands = [
        (await sender.call("command/insert", deviceId="d", command={"command": "on", "lifetime": lifetime}))["command"]["id"]
        for lifetime in (5, 7, 10, None, 0)
    ]
    server.clock.advance(7)
    client = await server.client()
    await client.call("command/subscribe", timestamp=0)
    assert ids(client, "command") == commands[1:4]


@pytest_twisted.ensureDeferred
async def test_a_lifetime_counts_from_when_the_command_came(server):
    """Whatever the clock of the one who sent it says."""
    await device(server)
    sender = await server.client()
    commands = [
        (await sender.call("command/insert", deviceId="d", command={"command": "on", "lifetime": 5, "timestamp": time}))["command"]["id"]
        for time in (0, 1_700_000, server.server.now() + 60_000)
    ]
    for seconds, expected in ((5, commands), (1, [])):
        server.clock.advance(seconds)
        client = await server.client()
        await client.call("command/subscribe", timestamp=0)
        assert ids(client, "command") == expected


@pytest_twisted.ensureDeferred
async def test_who_goes_on_from_a_message_that_was_dated_ahead_misses_nothing(server):
    await device(server)
    sender, client = await server.client(), await server.client()
    await client.call("notification/subscribe", timestamp=server.server.now())
    await insert(sender, {})
    server.clock.advance(1)
    [ahead] = await insert(sender, {"timestamp": server.server.now() + 30_000})
    last = client.events[-1]["notification"]["timestamp"]
    server.clock.advance(1)
    [missed] = await insert(sender, {})
    server.clock.advance(1)
    again = await server.client()
    await again.call("notification/subscribe", timestamp=last)
    [live] = await insert(sender, {})
    assert ids(again) == [missed, ahead, live], "what came since, though its time is lower"
    server.clock.advance(30)
    later = await server.client()
    await later.call("notification/subscribe", timestamp=last)
    assert ids(later) == [ahead], "its time has come: nothing is stored below it any more"


@pytest_twisted.ensureDeferred
async def test_a_device_that_moved_is_replayed_where_it_is_now(server):
    await server.server.entities.insert(Network(name="Garden"))
    for name, network in (("came", 2), ("went", 1), ("stayed", 1)):
        await device(server, name, network)
    user = await server.add_user("anna", network_ids=frozenset({1}))
    sender = await server.client()
    [came] = await insert(sender, {}, device_id="came")
    await insert(sender, {}, device_id="went")
    [stayed] = await insert(sender, {}, device_id="stayed")
    await server.server.entities.update(Device, "came", {"network_id": 1})
    await server.server.entities.update(Device, "went", {"network_id": 2})
    for subscriber, place in ((await server.client(user), {}), (await server.client(), {"networkIds": [1]})):
        await subscriber.call("notification/subscribe", timestamp=0, **place)
        assert ids(subscriber) == [came, stayed]


@pytest_twisted.ensureDeferred
async def test_more_devices_than_a_query_names(server):
    user = await server.add_user("anna", network_ids=frozenset({1}))
    await server.server.entities.insert(Network(name="Garden"))
    client, sender = await server.client(user), await server.client()
    sent = []
    for number in range(replay.MAX_DEVICES_IN_QUERY + 50):
        await device(server, f"d{number}")
        sent += await insert(sender, {}, device_id=f"d{number}")
    await device(server, "hidden", network=2)
    await insert(sender, {}, device_id="hidden")
    await client.call("notification/subscribe", timestamp=0)
    assert ids(client) == sent


@pytest_twisted.ensureDeferred
async def test_a_replay_waits_for_a_slow_client(server, portions_of_one):
    await device(server)
    client, sender = await server.client(), await server.client()
    sent = await insert(sender, *[{}] * 5)
    client.messages.clear()
    send = client.send

    def send_one(payload):
        send(payload)
        client.congested = True

    client.send = send_one
    await client.call("notification/subscribe", timestamp=0)
    assert ids(client) == []
    client.drain()
    assert ids(client) == sent[:1]
    sent += await insert(sender, {})
    for count in range(2, 7):
        client.drain()
        assert ids(client) == sent[:count]


@pytest_twisted.ensureDeferred
async def test_an_unsubscribe_ends_a_replay(server, portions_of_one):
    await device(server)
    client, sender = await server.client(), await server.client()
    await insert(sender, *[{}] * 5)
    send = client.send

    def send_two(payload):
        send(payload)
        client.congested = len(client.events) == 2

    client.send = send_two
    await client.call("notification/subscribe", timestamp=0)
    assert len(client.events) == 2
    [subscription] = client.session.subscriptions.values()
    client.session.unsubscribe(subscription)
    client.drain()
    assert len(client.events) == 2


@pytest_twisted.ensureDeferred
async def test_a_replay_ends_with_the_rights(server, portions_of_one):
    await device(server)
    user = await server.add_user("anna", network_ids=frozenset({1}))
    client, sender = await server.client(user), await server.client()
    await insert(sender, *[{}] * 5)
    send = client.send

    def send_two(payload):
        send(payload)
        client.congested = len(client.events) == 2

    client.send = send_two
    await client.call("notification/subscribe", timestamp=0)
    await server.server.entities.update(User, user.id, {"network_ids": frozenset()})
    client.drain()
    assert len(client.events) == 2


def test_storage_that_fails_under_a_replay_ends_the_connection(reactor):
    play = Play(reactor, "notification", {"timestamp": 0}, restricted=False)
    play.storage.delay("find_messages")
    play.storage.fail("find_messages")
    play.do_subscribe()
    assert play.replied
    assert play.client.aborted is None
    play.storage.release_all()
    assert play.client.aborted == "storage unavailable"


def test_an_event_that_comes_after_the_replay_had_its_message_comes_once(reactor):
    """A storage may show a message to a reader before the one who stored it hears that it is stored."""
    play = Play(reactor, "notification", {"timestamp": 0}, restricted=False)
    play.do_delay("append")
    play.do_insert("a", "on", None)
    play.do_subscribe()
    assert [event["id"] for event in play.events] == [1]
    play.settle()
    assert [event["id"] for event in play.events] == [1]
    play.do_advance(100_000)
    for number in (2, 3):
        play.do_insert("a", "on", None)
        assert [event["id"] for event in play.events][-1] == number


def test_a_device_that_came_under_a_slow_replay_is_not_lost(reactor):
    with patch.object(replay, "PAGE", 1):
        play = Play(reactor, "notification", {"timestamp": 0}, restricted=True)
        for _ in range(3):
            play.do_insert("a", "on", None)
        play.do_room(1)
        play.do_subscribe()
        play.do_create()
        for _ in range(6):
            play.do_insert("new", "on", None)
        play.settle()
    assert [event["id"] for event in play.events] == list(range(1, 10))


def test_an_update_that_is_told_after_the_replay_had_it_comes_once(reactor):
    play = Play(reactor, "command", {"timestamp": 0, "returnUpdatedCommands": True}, restricted=False)
    play.do_insert("a", "on", None)
    play.do_delay("update_command")
    play.do_update(1)
    play.do_subscribe()
    assert [event["status"] for event in play.events] == ["done"]
    play.settle()
    assert len(play.events) == 1
    play.do_update(1)
    assert len(play.events) == 2


def test_what_is_not_sent_yet_is_not_held_whatever_the_limit(reactor):
    with patch.object(replay, "PAGE", 2):
        play = Play(reactor, "notification", {"timestamp": 0, "limit": 8}, restricted=False)
        for _ in range(10):
            play.do_insert("a", "on", None)
        play.do_room(1)
        play.do_subscribe()
        at_once(play.storage.forget_messages(Notification, MessageQuery(take=10)))
        play.settle()
    assert [event["id"] for event in play.events] == [3, 4]


def test_messages_of_a_new_device_do_not_push_out_older_ones(reactor):
    with patch.object(replay, "PAGE", 1):
        play = Play(reactor, "notification", {"timestamp": 0}, restricted=True)
        for _ in range(3):
            play.do_insert("a", "on", None)
        play.do_room(1)
        play.do_subscribe()
        play.do_create()
        play.do_insert("new", "on", None)
        play.do_drain()
        for _ in range(6):
            play.do_insert("new", "on", None)
        play.settle()
    assert [event["id"] for event in play.events] == list(range(1, 11))


def test_replays_of_one_client_take_turns(reactor):
    with patch.object(replay, "PAGE", 2):
        play = Play(reactor, "notification", {"timestamp": 0}, restricted=False)
        for _ in range(5):
            play.do_insert("a", "on", None)
        play.do_delay("find_messages")
        for _ in range(3):
            play.before = None
            play.do_subscribe()
        subscriptions = [message["subscriptionId"] for message in play.client.messages]
        while play.storage.waiting:
            assert play.storage.waiting == ["find_messages"]
            play.do_insert("a", "on", None) if len(play.given) < 8 else None
            play.storage.release()
    arrived = defaultdict(list)
    for event in play.client.events:
        arrived[event["subscriptionId"]].append(event["notification"]["id"])
    assert arrived == {subscription: list(range(1, 9)) for subscription in subscriptions}
    assert [event["subscriptionId"] for event in play.client.events][:6] == [each for each in subscriptions for _ in range(2)]


def test_a_limit_holds_for_what_an_earlier_server_stored(reactor):
    play = Play(reactor, "notification", {"timestamp": 0, "limit": 2}, restricted=False)
    for _ in range(4):
        play.do_insert("a", "on", None)
    client = at_once(at_once(MemoryServer.open(reactor, storage=play.storage, hash_password=False)).client())
    at_once(client.call("notification/subscribe", **play.subscribe))
    assert ids(client) == [3, 4]


def test_what_comes_while_a_limited_replay_waits_for_its_turn_does_not_count(reactor):
    play = Play(reactor, "notification", {"timestamp": 0, "limit": 2}, restricted=False)
    for _ in range(4):
        play.do_insert("a", "on", None)
    play.do_delay("find_messages")
    play.do_subscribe()
    play.before = None
    play.do_subscribe()
    for _ in range(3):
        play.do_insert("a", "on", None)
    play.settle()
    last = max(event["subscriptionId"] for event in play.client.events)
    assert [event["notification"]["id"] for event in play.client.events if event["subscriptionId"] == last] == [3, 4, 5, 6, 7]
