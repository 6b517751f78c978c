"""A client subscribes with a timestamp while messages are inserted. Checks what must hold for every order of events."""

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.core.client import FLUSH_SIZE
from dhtwisted.core.replay import ENVELOPE_SIZE
from dhtwisted.model import MESSAGE_KINDS, Device, Message, MessageQuery, Network
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import START, MemoryClient, MemoryServer, at_once
from dhtwisted.wire.timestamps import parse_timestamp
from tests.support.delaying import DelayingStorage

NOW = int(START * 1000)


def ids(client: MemoryClient, kind: str = "notification") -> list[int]:
    """The ids in the events that a client has received."""
    return [event[kind]["id"] for event in client.events]


class Play:
    """A server on slow storage, a client that inserts, and a client that subscribes meanwhile.

    :ivar given: message id -> its device, its name, whether the server gave it its timestamp, and whether the subscriber had its reply
        before the message was sent.
    :ivar before: ids of the messages that were acknowledged before the subscription; ``None`` before the subscription.
    :ivar in_flight: ids of the messages that were sent before the subscription, and not acknowledged by then.
    :ivar room: number of messages after which the subscriber is congested; ``None`` for never.
    """

    def __init__(self, reactor: Any, kind: str, subscribe: dict[str, Any], restricted: bool) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.kind = kind
        self.subscribe = subscribe
        self.truth = MemoryStorage(self.clock)
        self.storage = DelayingStorage(self.truth)
        self.server = self.open_server(reactor)
        self.entities = self.server.server.entities
        at_once(self.entities.insert(Network(name="Garden")))
        for device, network in (("a", 1), ("b", 1), ("c", 2)):
            self.create(device, network)
        self.sender = at_once(self.server.client())
        user = at_once(self.server.add_user("anna", network_ids=frozenset({1}))) if restricted else None
        self.client = at_once(self.server.client(user))
        self.client.messages.clear()
        self.restricted = restricted
        self.given: dict[int, tuple[str, str, bool, bool]] = {}
        self.before: frozenset[int] | None = None
        self.in_flight: set[int] = set()
        self.room: int | None = None
        client: Any = self.client
        client.send = self._fill_up(client.send)

    def open_server(self, reactor: Any, bus: Any = None) -> MemoryServer:
        return at_once(MemoryServer.open(reactor, storage=self.storage, clock=self.clock, bus=bus, hash_password=False))

    def _fill_up(self, send: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def send_and_fill_up(payload: bytes) -> None:
            send(payload)
            if self.room is not None and len(self.client.messages) % self.room == 0:
                self.client.congested = True

        return send_and_fill_up

    def create(self, device: str, network: int) -> None:
        if not self.exists(device):
            at_once(self.entities.insert(Device(id=device, name=device, network_id=network, device_type_id=1)))

    def exists(self, device: str) -> bool:
        return at_once(self.truth.get(Device, device)) is not None

    # Steps

    def step(self, name: str, *arguments: Any) -> None:
        getattr(self, f"do_{name}")(*arguments)

    def do_insert(self, device: str, name: str, offset: int | None) -> None:
        if not self.exists(device):
            return
        timestamp = None if offset is None else NOW + offset
        body = {self.kind: name, "timestamp": timestamp}
        self.given[len(self.given) + 1] = (device, name, offset is None, self.replied)
        self.sender.send_text(json.dumps({"action": f"{self.kind}/insert", "deviceId": device, self.kind: body}))

    def do_update(self, command: int) -> None:
        if self.kind == "command" and command in self.given:
            members = {"deviceId": self.given[command][0], "commandId": command, "command": {"status": "done"}}
            self.sender.send_text(json.dumps({"action": "command/update"} | members))

    def do_subscribe(self) -> None:
        if self.before is None:
            self.before = self.heard()
            self.in_flight = self.given.keys() - self.before
            self.client.send_text(json.dumps({"action": f"{self.kind}/subscribe", "requestId": "s"} | self.subscribe))

    def heard(self) -> frozenset[int]:
        """Ids of the messages that the subscriber's server knows to be stored: those that were acknowledged."""
        replies = [message for message in self.sender.messages if message.get("status") and self.kind in message]
        return frozenset(reply[self.kind]["id"] for reply in replies)

    def do_create(self) -> None:
        self.create("new", 1)

    def do_room(self, messages: int | None) -> None:
        self.room = messages

    def do_drain(self) -> None:
        self.client.drain()

    def do_delay(self, *names: str) -> None:
        self.storage.delay(*names)

    def do_prompt(self, *names: str) -> None:
        self.storage.prompt(*names)

    def do_release(self, name: str | None, count: int) -> None:
        self.storage.release(name, count)

    def do_advance(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)

    # Results

    @property
    def replied(self) -> bool:
        return any("status" in message for message in self.client.messages)

    def settle(self) -> None:
        """Subscribe if that has not happened yet, and let everything finish."""
        self.do_subscribe()
        self.room = None
        self.storage.prompt()
        for _ in range(100):
            self.storage.release_all()
            self.client.drain()
        assert self.storage.waiting == []
        assert self.client.aborted is None

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event[self.kind] for event in self.client.events]

    def stored(self) -> list[Any]:
        """All stored messages that the subscription's filter selects, ascending."""
        found = at_once(self.storage.find_messages(MESSAGE_KINDS[self.kind], MessageQuery()))
        return [message for message in found if message.id in self.given and self._wants(message)]

    def _wants(self, message: Message) -> bool:
        names, device = self.subscribe.get("names"), self.subscribe.get("deviceId")
        in_network = message.network_id == 1 or not (self.restricted or "networkIds" in self.subscribe)
        return (not names or message.name in names) and (device in (None, message.device_id)) and in_network

    def check(self) -> None:
        """Compare what arrived with what is stored."""
        replies = [index for index, message in enumerate(self.client.messages) if "status" in message]
        assert replies == [0], "the reply comes first, and once"
        assert self.client.messages[0]["status"] == "success"
        assert {event["subscriptionId"] for event in self.client.events} <= {self.client.messages[0]["subscriptionId"]}
        if self.kind == "command" and self.subscribe.get("returnUpdatedCommands"):
            self._check_updates()
        else:
            self._check_inserts()

    def _check_inserts(self) -> None:
        arrived = [event["id"] for event in self.events]
        assert len(arrived) == len(set(arrived)), "none twice"
        stored = self.stored()
        assert set(arrived) <= {message.id for message in stored}, "none that was not asked for"
        since, limit = self.subscribe["timestamp"], self.subscribe.get("limit")
        promised = {message.id for message in stored if message.timestamp >= since and limit is None}
        promised |= {message.id for message in stored if self.given[message.id][3]}
        assert promised <= set(arrived), "none missed"
        assert self.before is not None
        earlier = [message for message in stored if message.id in self.before and message.timestamp >= since]
        self._check_order(arrived, earlier)
        unordered = {message.id for message in stored if message.timestamp < since}
        self._check_order_of_devices(arrived, unordered if limit is None else unordered | self.in_flight)
        if limit is not None:
            self._check_limit([message.id for message in earlier], arrived, limit)

    def _check_order(self, arrived: list[int], earlier: list[Any]) -> None:
        replayed = [message.id for message in earlier if message.id in arrived]
        assert [message for message in arrived if message in replayed] == replayed, "what was stored before comes in ascending order"

    def _check_order_of_devices(self, arrived: list[int], unordered: set[int]) -> None:
        """Messages that were stored but not acknowledged may come late, if the replay need not contain them."""
        by_device: dict[str, list[int]] = defaultdict(list)
        for message in arrived:
            device, _, stamped, _ = self.given[message]
            if stamped and message not in unordered:
                by_device[device].append(message)
        for device, ids in by_device.items():
            assert ids == sorted(ids), f"what the server stamped comes in order of id, device {device}"

    def _check_limit(self, earlier: list[int], arrived: list[int], limit: int) -> None:
        replayed = [message for message in earlier if message in arrived]
        late = [message for message in earlier if message not in arrived]
        assert earlier == late + replayed, "the newest are sent"
        if len(arrived) == len(replayed):
            assert len(replayed) == min(limit, len(earlier))

    def _check_updates(self) -> None:
        states: dict[int, list[int]] = defaultdict(list)
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

portions = st.sampled_from([1, 3 * ENVELOPE_SIZE, FLUSH_SIZE])
"""Sizes of a portion: one message, three, all."""
