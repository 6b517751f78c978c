"""Stored messages, then live ones: none missed, none twice (WebSocket reference, section 4.3)."""

import json
from collections import defaultdict
from unittest.mock import patch

import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted import replay
from dhtwisted.model import Command, Device, MessageQuery, Network, Notification, User
from dhtwisted.storage.memory import MemoryStorage
from dhtwisted.testing.server import START, MemoryServer, at_once
from dhtwisted.timestamps import format_timestamp, parse_timestamp
from tests.delaying import DelayingStorage

NOW = int(START * 1000)


class Play:
    """A server on slow storage, one who sends, and one who subscribes in the middle of it.

    :ivar given: message id -> ``(device, name, whether the server stamped it, whether the subscriber had his reply before it was sent)``.
    :ivar before: ids of the messages that were acknowledged when the subscriber asked.
    :ivar in_flight: ids of those that were sent but not acknowledged then.
    """

    def __init__(self, reactor, kind, subscribe, restricted):
        clock = Clock()
        clock.advance(START)
        self.kind = kind
        self.subscribe = subscribe
        self.storage = DelayingStorage(MemoryStorage(clock))
        self.server = at_once(MemoryServer.open(reactor, storage=self.storage, hash_password=False))
        self.clocks = [clock, self.server.clock]
        self.entities = self.server.server.entities
        at_once(self.entities.insert(Network(name="Garden")))
        for device, network in (("a", 1), ("b", 1), ("c", 2)):
            self.create(device, network)
        self.sender = at_once(self.server.client())
        user = at_once(self.server.add_user("anna", network_ids=frozenset({1}))) if restricted else None
        self.client = at_once(self.server.client(user))
        self.client.messages.clear()
        self.restricted = restricted
        self.given = {}
        self.before = None
        self.room = None
        self.client.send = self._fill_up(self.client.send)

    def _fill_up(self, send):
        def send_and_fill_up(payload):
            send(payload)
            if self.room is not None and len(self.client.messages) % self.room == 0:
                self.client.congested = True

        return send_and_fill_up

    def create(self, device, network):
        if self.entities.device(device) is None:
            at_once(self.entities.insert(Device(id=device, name=device, network_id=network, device_type_id=1)))

    # Steps

    def step(self, name, *arguments):
        getattr(self, f"do_{name}")(*arguments)

    def do_insert(self, device, name, offset):
        if self.entities.device(device) is None:
            return
        timestamp = None if offset is None else NOW + offset
        body = {self.kind: name, "timestamp": timestamp}
        self.given[len(self.given) + 1] = (device, name, offset is None, self.replied)
        self.sender.send_text(json.dumps({"action": f"{self.kind}/insert", "deviceId": device, self.kind: body}))

    def do_update(self, command):
        if self.kind == "command" and command in self.given:
            members = {"deviceId": self.given[command][0], "commandId": command, "command": {"status": "done"}}
            self.sender.send_text(json.dumps({"action": "command/update"} | members))

    def do_subscribe(self):
        if self.before is None:
            replies = [message for message in self.sender.messages if message.get("status") and self.kind in message]
            self.before = frozenset(reply[self.kind]["id"] for reply in replies)
            self.in_flight = self.given.keys() - self.before
            self.client.send_text(json.dumps({"action": f"{self.kind}/subscribe", "requestId": "s"} | self.subscribe))

    def do_create(self):
        self.create("new", 1)

    def do_room(self, messages):
        self.room = messages

    def do_drain(self):
        self.client.drain()

    def do_delay(self, *names):
        self.storage.delay(*names)

    def do_prompt(self, *names):
        self.storage.prompt(*names)

    def do_release(self, name, count):
        self.storage.release(name, count)

    def do_advance(self, milliseconds):
        for clock in self.clocks:
            clock.advance(milliseconds / 1000)

    # Results

    @property
    def replied(self):
        return any("status" in message for message in self.client.messages)

    def settle(self):
        """Subscribe if that has not happened yet, and let everything come to its end."""
        self.do_subscribe()
        self.room = None
        self.storage.prompt()
        for _ in range(100):
            self.storage.release_all()
            self.client.drain()
        assert self.storage.waiting == []
        assert self.client.aborted is None

    @property
    def events(self):
        return [event[self.kind] for event in self.client.events]

    def stored(self):
        """All stored messages that the subscription's filter wants, ascending."""
        kind = {"command": Command, "notification": Notification}[self.kind]
        found = at_once(self.storage.find_messages(kind, MessageQuery()))
        return [message for message in found if message.id in self.given and self._wants(message)]

    def _wants(self, message):
        names, device = self.subscribe.get("names"), self.subscribe.get("deviceId")
        in_network = message.network_id == 1 or not (self.restricted or "networkIds" in self.subscribe)
        return (not names or message.name in names) and (device in (None, message.device_id)) and in_network

    def check(self):
        """Hold what arrived against what is stored."""
        replies = [index for index, message in enumerate(self.client.messages) if "status" in message]
        assert replies == [0], "the reply comes first, and once"
        assert self.client.messages[0]["status"] == "success"
        assert {event["subscriptionId"] for event in self.client.events} <= {self.client.messages[0]["subscriptionId"]}
        if self.kind == "command" and self.subscribe.get("returnUpdatedCommands"):
            self._check_updates()
        else:
            self._check_inserts()

    def _check_inserts(self):
        arrived = [event["id"] for event in self.events]
        assert len(arrived) == len(set(arrived)), "none twice"
        stored = self.stored()
        assert set(arrived) <= {message.id for message in stored}, "none that was not asked for"
        since, limit = self.subscribe["timestamp"], self.subscribe.get("limit")
        promised = {message.id for message in stored if message.timestamp >= since and limit is None}
        promised |= {message.id for message in stored if self.given[message.id][3]}
        assert promised <= set(arrived), "none missed"
        earlier = [message for message in stored if message.id in self.before and message.timestamp >= since]
        self._check_order(arrived, earlier)
        unordered = {message.id for message in stored if message.timestamp < since}
        self._check_order_of_devices(arrived, unordered if limit is None else unordered | self.in_flight)
        if limit is not None:
            self._check_limit([message.id for message in earlier], arrived, limit)

    def _check_order(self, arrived, earlier):
        replayed = [message.id for message in earlier if message.id in arrived]
        assert [message for message in arrived if message in replayed] == replayed, "what was stored before comes in ascending order"

    def _check_order_of_devices(self, arrived, unordered):
        """What was stored and not yet acknowledged may come late, if the replay did not have to have it."""
        by_device = defaultdict(list)
        for message in arrived:
            device, _, stamped, _ = self.given[message]
            if stamped and message not in unordered:
                by_device[device].append(message)
        for device, ids in by_device.items():
            assert ids == sorted(ids), f"what the server stamped comes in order of id, device {device}"

    def _check_limit(self, earlier, arrived, limit):
        replayed = [message for message in earlier if message in arrived]
        late = [message for message in earlier if message not in arrived]
        assert earlier == late + replayed, "the newest are sent"
        if len(arrived) == len(replayed):
            assert len(replayed) == min(limit, len(earlier))

    def _check_updates(self):
        states = defaultdict(list)
        for event in self.events:
            states[event["id"]].append(parse_timestamp(event["lastUpdated"]))
        for seen in states.values():
            assert seen == sorted(set(seen)), "each state once, and none after a newer one"
        limit = self.subscribe.get("limit")
        for message in self.stored():
            if message.updated and message.timestamp >= self.subscribe["timestamp"] and limit is None:
                assert states[message.id][-1:] == [message.last_updated], "the last state arrives"


METHODS = ("append", "update_command", "find_messages", "find", "count", "get")
devices = st.sampled_from(["a", "b", "c", "new"])
names = st.sampled_from(["on", "off"])
offsets = st.sampled_from([None, None, None, -2000, -1000, 0, 1, 500, 5000])
inserts = st.tuples(st.just("insert"), devices, names, offsets)
steps = st.one_of(
    inserts,
    inserts,
    st.tuples(st.just("update"), st.integers(1, 8)),
    st.tuples(st.just("subscribe")),
    st.tuples(st.just("create")),
    st.tuples(st.just("room"), st.sampled_from([None, 1, 2, 3])),
    st.tuples(st.just("drain")),
    st.tuples(st.just("delay"), st.sampled_from(METHODS)),
    st.tuples(st.just("delay"), st.just("find_messages")),
    st.tuples(st.just("prompt"), st.sampled_from(METHODS)),
    st.tuples(st.just("release"), st.sampled_from((None, *METHODS)), st.integers(1, 3)),
    st.tuples(st.just("release"), st.just("find_messages"), st.just(1)),
    st.tuples(st.just("advance"), st.sampled_from([1, 400])),
)
filters = st.fixed_dictionaries(
    {"timestamp": st.sampled_from([0, NOW - 1500, NOW, NOW + 1])},
    optional={
        "names": st.sampled_from([["on"], ["on", "off"], []]),
        "limit": st.integers(0, 5),
        "returnUpdatedCommands": st.booleans(),
    },
)
kinds = st.sampled_from(["notification", "command"])
places = st.sampled_from([{}, {}, {"networkIds": [1]}, {"deviceId": "a"}])


@settings(max_examples=250)
@given(kinds, st.lists(inserts, max_size=8), st.lists(steps, max_size=40), filters, places, st.booleans(), st.sampled_from([1, 2, 500]))
def test_no_hole_and_no_double(reactor, kind, before, during, wanted, place, restricted, page):
    with patch.object(replay, "PAGE", page), patch.object(replay, "MAX_DEVICES_IN_QUERY", 2):
        play = Play(reactor, kind, wanted | place, restricted)
        for step in (*before, *during):
            play.step(*step)
        play.settle()
        play.check()


# Examples


async def device(server, device_id="d", network=1):
    """A device."""
    return await server.server.entities.insert(Device(id=device_id, name=device_id, network_id=network, device_type_id=1))


async def insert(client, *bodies, device_id="d"):
    """Insert notifications; returns their ids."""
    replies = [await client.call("notification/insert", deviceId=device_id, notification={"notification": "on"} | body) for body in bodies]
    return [reply["notification"]["id"] for reply in replies]


def ids(client, kind="notification"):
    """Ids of the events that came."""
    return [event[kind]["id"] for event in client.events]


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
async def test_a_replay_waits_for_a_slow_client(server):
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
async def test_an_unsubscribe_ends_a_replay(server):
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
async def test_a_replay_ends_with_the_rights(server):
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
