"""Stored messages, then live ones, where other nodes store them and their events are late: none missed, none twice."""

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.core import replay
from dhtwisted.core.bus_receiver import LONGEST_DELAY
from dhtwisted.model import Command, Notification
from dhtwisted.testing.bus.shared import Hub
from dhtwisted.testing.server import at_once
from tests.support.other_node import OtherNode
from tests.support.replay_play import NOW, Play, filters, ids, inserts, kinds, places, portions, steps


class TwoNodes(Play):
    """The same, with a second node to which others are connected, and a bus that takes its time."""

    def __init__(self, reactor, kind, subscribe, restricted):
        self.carrier = Clock()
        hub = Hub(self.carrier, delay=1)
        self.bus = hub.bus()
        super().__init__(reactor, kind, subscribe, restricted)
        self.other = super().open_server(reactor, hub.bus())
        self.senders = [self.sender, at_once(self.other.client())]
        self.do_send_from(1)
        self.watcher = at_once(self.server.client())
        at_once(self.watcher.call(f"{kind}/subscribe"))
        self.carry()

    def open_server(self, reactor, bus=None):
        return super().open_server(reactor, self.bus)

    def heard(self):
        """Ids of the messages whose events have come."""
        return frozenset(event[self.kind]["id"] for event in self.watcher.events)

    def do_send_from(self, node):
        self.sender = self.senders[node]

    def do_carry(self, seconds):
        self.carrier.advance(seconds)

    def do_cut(self):
        self.bus.cut()

    def carry(self):
        while self.carrier.getDelayedCalls():
            self.carrier.advance(1)

    def settle(self):
        self.do_subscribe()
        self.storage.prompt()
        for _ in range(10):
            self.storage.release_all()
            self.carry()
        super().settle()


on_two_nodes = st.one_of(
    steps.filter(lambda step: step != ("delay", "get")),
    inserts,
    st.tuples(st.just("subscribe")),
    st.tuples(st.just("delay"), st.just("find_messages")),
    st.tuples(st.just("send_from"), st.integers(0, 1)),
    st.tuples(st.just("carry"), st.sampled_from([0.5, 1])),
    st.tuples(st.just("carry"), st.just(1)),
    st.tuples(st.just("cut")),
)


@pytest.mark.slow
@pytest.mark.lowest
@settings(max_examples=250)
@given(kinds, st.lists(on_two_nodes, max_size=40), filters, places, st.booleans(), st.sampled_from([1, 2, 500]), portions)
def test_no_hole_and_no_double_between_two_nodes(reactor, kind, steps, wanted, place, restricted, page, portion):
    with patch.multiple(replay, PAGE=page, FLUSH_SIZE=portion, MAX_DEVICES_IN_QUERY=2):
        play = TwoNodes(reactor, kind, wanted | place, restricted)
        for step in steps:
            play.step(*step)
        play.settle()
        play.check()


class Behind(OtherNode):
    """A server that hears of messages late."""

    def __init__(self, reactor, ahead=0):
        super().__init__(reactor, ahead)
        for device_id in "ab":
            self.save(device_id)
        self.carry()
        self.client = at_once(self.server.client())

    def subscribe(self, kind, timestamp=0, **members):
        at_once(self.client.call(f"{kind}/subscribe", timestamp=timestamp, **members))

    @property
    def replay(self):
        """The replay of the only subscription, if it has anything to do yet."""
        [subscription] = self.client.session.subscriptions.values()
        return subscription.replay


@pytest.fixture
def behind(reactor):
    return Behind(reactor)


@pytest.mark.parametrize("kind", [Command, Notification])
@pytest.mark.parametrize("timestamp", [None, NOW - 10**9], ids=["now", "dated by the client"])
def test_the_late_event_of_another_node_comes_once(behind, kind, timestamp):
    late = behind.store("a", kind, timestamp=timestamp)
    behind.subscribe(kind.KIND)
    behind.clock.advance(5)
    later = behind.store("a", kind)
    behind.tell(late, later)
    assert ids(behind.client, kind.KIND) == [1, 2]


def test_an_event_that_others_overtook_comes_once(behind):
    """The order is kept for each device, and no further."""
    events = [behind.store(device_id) for device_id in "abab"]
    behind.tell(events[0], events[3])
    behind.subscribe("notification")
    behind.tell(events[1], events[2])
    assert ids(behind.client) == [1, 2, 3, 4]


def test_the_late_event_of_an_update_comes_once(behind):
    behind.tell(behind.store("a", Command))
    late = [behind.update("a", 1, status) for status in ("half", "done")]
    behind.subscribe("command", returnUpdatedCommands=True)
    behind.clock.advance(5)
    behind.tell(*late, behind.update("a", 1, "more"))
    assert [event["command"]["status"] for event in behind.client.events] == ["done", "more"]


@pytest.mark.parametrize("ahead", [-120, 0, 120, 86400])
def test_late_events_of_updates_come_once_whatever_the_clocks_of_the_nodes_show(reactor, ahead):
    behind = Behind(reactor, ahead)
    for device_id in "ab":
        behind.tell(behind.store(device_id, Command))
    late = [behind.update(device_id, command_id, status) for status in ("half", "done") for device_id, command_id in (("a", 1), ("b", 2))]
    for _ in range(2):
        behind.subscribe("command", returnUpdatedCommands=True)
    behind.clock.advance(5)
    behind.tell(*late, behind.update("a", 1, "more"), behind.update("b", 2, "more"))
    for subscription in behind.client.session.subscriptions:
        told = [(e["command"]["id"], e["command"]["status"]) for e in behind.client.events if e["subscriptionId"] == subscription]
        assert told == [(1, "done"), (2, "done"), (1, "more"), (2, "more")]


@pytest.mark.parametrize("minutes", [(0, 0), (3, 0), (0, 3), (3, 3)])
def test_what_comes_after_a_cut_of_minutes_comes_once(behind, minutes):
    """Messages are stored after the cut; the client subscribes some minutes later, and the bus is back some minutes later still."""
    before_subscribing, after_subscribing = minutes
    events = [behind.store("a", Command), behind.update("a", 1, "done"), behind.store("a", Command)]
    behind.clock.advance(60 * before_subscribing)
    behind.subscribe("command", returnUpdatedCommands=True)
    behind.subscribe("command")
    behind.clock.advance(60 * after_subscribing)
    behind.bus.cut()
    behind.tell(*events, behind.store("a", Command))
    arrived = [(event["action"], event["command"]["id"]) for event in behind.client.events]
    assert sorted(arrived) == [("command/insert", 1), ("command/insert", 2), ("command/insert", 3), ("command/update", 1)]


def test_late_events_are_looked_out_for_no_longer_than_need_be(behind):
    behind.tell(*(behind.store("a") for _ in range(3)))
    behind.subscribe("notification")
    assert behind.replay is None, "all events have come before"
    behind.client.session.unsubscribe(*behind.client.session.subscriptions.values())
    late = behind.store("a")
    behind.subscribe("notification")
    behind.clock.advance(LONGEST_DELAY / 1000 - 1)
    behind.tell(late)
    assert behind.replay is not None
    behind.clock.advance(2)
    behind.tell(behind.store("a"))
    assert behind.replay is None
