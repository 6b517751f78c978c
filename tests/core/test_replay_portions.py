"""A replay in portions gives a client exactly what it would get message by message, whatever happens while the replay waits."""

import json
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.actions import subscription as subscribing
from dhtwisted.core import replay
from dhtwisted.core.client import FLUSH_SIZE
from dhtwisted.core.replay import ENVELOPE_SIZE
from dhtwisted.model import Device, Network, User
from dhtwisted.testing.server import START, MemoryServer, at_once

NOW = int(START * 1000)
PLACES = {"a": 1, "b": 1, "c": 2}


class OneByOne(replay.Replay):
    """Sends each message by itself, and asks for the client, the device and the rights before each."""

    async def _send_page(self):
        session, page = self._subscription.session, self._page
        while page and not self._cancelled:
            if session.congested:
                await session.drained()
                continue
            await self._send_first()


class Traced:
    """Keeps what a replay logs for an operator who follows its client."""

    def __init__(self):
        self.bodies = []

    def event(self, session, principal, message, body, subscription_id):
        self.bodies.append(body)


class Run:
    """One client that is congested again and again while it gets a replay.

    :param portion: the size of a portion.
    :param waits: the client is congested after so many messages; ``None``: after every portion.
    :ivar waits: after how many messages the client was congested.
    """

    def __init__(self, reactor, kind, portion, stored, members, waits=None):
        self.kind = kind
        self.clock = Clock()
        self.clock.advance(START)
        self.memory = at_once(MemoryServer.open(reactor, clock=self.clock, hash_password=False))
        self.entities = self.memory.server.entities
        at_once(self.entities.insert(Network(name="Garden")))
        for device, network in PLACES.items():
            at_once(self.entities.insert(Device(id=device, name=device, network_id=network, device_type_id=1)))
        self.user = at_once(self.memory.add_user("anna", network_ids=frozenset({1})))
        self.sender = at_once(self.memory.client())
        self.client = at_once(self.memory.client(self.user))
        for deed in stored:
            self.do_insert(*deed)
        self.client.messages.clear()
        self.waits = [] if waits is None else waits
        self.congest(waits is None)
        self.traced = self.memory.server.trace = Traced()
        with patch.object(replay, "FLUSH_SIZE", portion):
            self.play(members)

    def congest(self, after_each_portion):
        client = self.client
        send, send_events = client.send, client.send_events

        def portion(events):
            send_events(events)
            client.congested = True
            self.waits.append(len(client.messages))

        def message(payload):
            send(payload)
            client.congested = client.congested or len(client.messages) in self.waits

        if after_each_portion:
            client.send_events = portion
        else:
            client.send = message

    def play(self, members):
        self.client.send_text(json.dumps({"action": f"{self.kind}/subscribe", "timestamp": 0} | members["subscribe"]))
        for deeds in members["deeds"]:
            for name, *arguments in deeds:
                getattr(self, f"do_{name}")(*arguments)
            self.client.drain()
        for _ in range(50):
            self.client.drain()
        assert not self.client.congested

    # Deeds

    def do_insert(self, device, name, offset, size):
        body = {self.kind: name, "timestamp": None if offset is None else NOW + offset, "parameters": "x" * size}
        if self.kind == "command":
            body["lifetime"] = size
        self.sender.send_text(json.dumps({"action": f"{self.kind}/insert", "deviceId": device, self.kind: body}))

    def do_update(self, command):
        if self.kind == "command":
            for device in PLACES:
                update = {"action": "command/update", "deviceId": device, "commandId": command, "command": {"status": "done"}}
                self.sender.send_text(json.dumps(update))

    def do_give(self, *networks):
        at_once(self.entities.update(User, self.user.id, {"network_ids": frozenset(networks)}))

    def do_move(self, device, network):
        if at_once(self.entities.get(Device, device)) is not None:
            at_once(self.entities.update(Device, device, {"network_id": network}))

    def do_block(self, device):
        if at_once(self.entities.get(Device, device)) is not None:
            at_once(self.entities.update(Device, device, {"is_blocked": True}))

    def do_save(self, device):
        """It makes a ``$device-update``, which only some subscriptions want."""
        saved = {"name": device, "networkId": PLACES[device], "deviceTypeId": 1}
        self.sender.send_text(json.dumps({"action": "device/save", "deviceId": device, "device": saved}))

    def do_delete(self, device):
        at_once(self.entities.delete(Device, device))

    def do_evict(self, device):
        """The device must be read again."""
        at_once(self.entities.changed_elsewhere([(Device, device)]))

    def do_cancel(self):
        for subscription in list(self.client.session.subscriptions.values()):
            self.client.session.unsubscribe(subscription)

    def do_wait(self, seconds):
        self.clock.advance(seconds)


devices = st.sampled_from(list(PLACES))
networks = st.sampled_from([1, 2])
message = st.tuples(
    devices, st.sampled_from(["on", "off", "$device-add"]), st.none() | st.integers(-5, 5), st.sampled_from([0, 2, 300, 5000])
)
inserts = message.map(lambda values: ("insert", *values))
deeds = st.one_of(
    inserts,
    inserts,
    st.tuples(st.just("update"), st.integers(1, 8)),
    st.sampled_from([("give",), ("give", 1), ("give", 2), ("give", 1, 2)]),
    st.tuples(st.just("move"), devices, networks),
    st.tuples(st.sampled_from(["block", "save", "delete", "evict"]), devices),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 3])),
    st.just(("cancel",)),
)
subscribe = st.fixed_dictionaries(
    {},
    optional={
        "names": st.sampled_from([["on"], ["on", "off"]]),
        "limit": st.integers(1, 8),
        "returnUpdatedCommands": st.booleans(),
        "networkIds": st.just([1]),
    },
)
portions = st.sampled_from([2 * ENVELOPE_SIZE, 4 * ENVELOPE_SIZE, FLUSH_SIZE])


@settings(max_examples=300)
@given(
    st.sampled_from(["notification", "command"]),
    st.lists(message, min_size=6, max_size=14),
    subscribe,
    st.lists(st.lists(deeds, min_size=1, max_size=3), min_size=3, max_size=8),
    portions,
    st.sampled_from([3, 500]),
    st.sampled_from([0, 200]),
)
def test_portions_are_the_same_as_message_by_message(reactor, kind, stored, members, deeds, portion, page, most_devices):
    plan = {"subscribe": members, "deeds": deeds}
    with patch.multiple(replay, PAGE=page, MAX_DEVICES_IN_QUERY=most_devices):
        run = Run(reactor, kind, portion, stored, plan)
        with patch.object(subscribing, "Replay", OneByOne):
            same = Run(reactor, kind, portion, stored, plan, waits=run.waits)
    assert run.client.messages == same.client.messages
    assert run.traced.bodies == same.traced.bodies
    assert run.client.account.held == same.client.account.held == 0
