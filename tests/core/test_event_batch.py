"""Events that are delivered together reach everybody as if they were delivered one by one."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from dhtwisted.core import event_batch
from dhtwisted.core.event_kinds import DEVICE_UPDATE, EVENT_KINDS
from dhtwisted.model import COMMAND_INSERT, COMMAND_UPDATE, NOTIFICATION_INSERT
from dhtwisted.testing.server import START
from dhtwisted.wire.events import event_bodies
from dhtwisted.wire.timestamps import format_timestamp
from tests.support.delivery_play import DEVICES, USERS, Hive

LONG_AGO = format_timestamp(int(START * 1000) - 1000)

POLLS = ["/device/notification/poll", "/device/notification/poll?limit=1&deviceIds=d11", "/device/command/poll?networkIds=1"]

some = st.integers(0, 2)
users = st.sampled_from(["administrator", "administrator", *USERS])
names = st.sampled_from(["on", "off", DEVICE_UPDATE])
devices = st.sampled_from(sorted(DEVICES))
ids = st.lists(st.integers(1, 2), min_size=1, max_size=2, unique=True)
filters = st.fixed_dictionaries(
    {},
    optional={
        "deviceId": devices,
        "deviceIds": st.lists(devices, min_size=1, max_size=3, unique=True),
        "networkIds": ids,
        "deviceTypeIds": ids,
        "names": st.lists(names, min_size=1, max_size=2, unique=True),
        "timestamp": st.just(LONG_AGO),
        "returnUpdatedCommands": st.booleans(),
    },
)
sizes = st.integers(0, 60) | st.sampled_from([500, 900, 40_000])
event = st.tuples(st.sampled_from(list(EVENT_KINDS)), devices, names, sizes)
publish = st.tuples(st.just("publish"), st.lists(event, min_size=2, max_size=12))
subscribe = st.tuples(st.just("subscribe"), some, st.sampled_from(["notification/subscribe", "command/subscribe"]), filters)
disturbance = st.one_of(
    subscribe,
    st.tuples(st.just("subscribe"), some, st.sampled_from(["notification/unsubscribe", "command/unsubscribe"]), st.just({})),
    st.tuples(st.just("store"), st.lists(event, min_size=1, max_size=3)),
    st.tuples(st.just("poll"), users, st.sampled_from(POLLS)),
    st.tuples(st.just("room"), some, st.lists(st.integers(0, 2000) | st.just(0), min_size=1, max_size=20)),
    st.tuples(st.just("break"), some),
    st.tuples(st.just("forget_devices")),
    st.tuples(st.just("rights"), st.sampled_from(list(USERS)), ids),
    st.tuples(st.just("trace"), st.booleans()),
    st.tuples(st.just("delay")),
    st.tuples(st.just("release"), some),
    st.tuples(st.just("prompt")),
    st.tuples(st.just("turn"), st.sampled_from([0.0, 0.01, 2.0])),
)
rounds = st.lists(st.tuples(st.lists(disturbance, max_size=2), publish), min_size=1, max_size=5)
connections = st.lists(st.tuples(st.just("connect"), users), min_size=1, max_size=3)
waiting = st.lists(st.just(("delay",)), max_size=1)
END = [("prompt",), ("turn", 0.01), ("turn", 61.0)]


def compare(reactor, steps):
    together, one_by_one = (Hive(reactor, together) for together in (True, False))
    with capturedLogs() as logs:
        for step in steps:
            together.step(*step)
            one_by_one.step(*step)
            assert together.state() == one_by_one.state(), step
    assert not [event for event in logs if "log_failure" in event]


@given(connections, waiting, st.lists(subscribe, min_size=2, max_size=8), rounds, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_together_is_the_same_as_one_by_one(reactor, connections, waiting, subscriptions, rounds, is_cut):
    """Whatever sorts of subscriptions there are, with replays under way, clients that do not read, and connections that break."""
    steps = [step for disturbances, published in rounds for step in (*disturbances, published)]
    with pytest.MonkeyPatch.context() as patch:
        if is_cut:
            for name, value in {"RUN": 3, "MAX_BYTES": 1000, "MAX_DELIVERIES": 4}.items():
                patch.setattr(event_batch, name, value)
        compare(reactor, (*connections, *waiting, *subscriptions, *steps, *END))


def notification(device="d11", name="on", size=10):
    return NOTIFICATION_INSERT, device, name, size


def test_a_replay_that_watches_for_late_events_keeps_its_place(reactor):
    """A subscription whose replay takes its events itself, between two others of the same connection."""
    steps = [
        ("connect", "administrator"),
        ("subscribe", 0, "notification/subscribe", {"deviceId": "d11"}),
        ("store", [notification()]),
        ("subscribe", 0, "notification/subscribe", {"deviceId": "d11", "timestamp": LONG_AGO}),
        ("subscribe", 0, "notification/subscribe", {"networkIds": [1]}),
        ("publish", [notification(size=size) for size in (1, 2, 40_000, 4)] + [notification("d12")]),
        ("turn", 61.0),
        ("publish", [notification(size=size) for size in range(5)]),
    ]
    compare(reactor, steps)


def test_updates_keep_their_order_beside_one_that_goes_to_its_inserter(reactor):
    """The second of three commands was inserted by a connection without a subscription."""
    subscribe = ("subscribe", 0, "command/subscribe", {"deviceId": "d11", "returnUpdatedCommands": True})
    commands = [(COMMAND_INSERT, "d11", "on", size) for size in (0, 1, 2)]
    updates = [(COMMAND_UPDATE, "d11", "done", number) for number in (0, 1, 2)]
    compare(reactor, [("connect", "administrator"), ("connect", "administrator"), subscribe, ("publish", commands), ("publish", updates)])


def hive_with(reactor, *subscriptions):
    hive = Hive(reactor, together=True)
    for which, (action, members) in enumerate(subscriptions):
        hive.step("connect", "administrator")
        hive.step("subscribe", which, action, members)
    hive.turn()
    return hive


def texts(connection):
    """What a connection has received, as text, from its first event on."""
    received = bytes(connection.socket.received)
    return received[received.index(b'{"action":"notification/insert"') :]


def test_what_a_delivery_publishes_comes_after_the_events_that_are_being_delivered(reactor):
    """A poll ends within a delivery, and another request of its client, which waited behind it, may insert."""
    hive = hive_with(reactor, ("notification/subscribe", {"networkIds": [1]}), ("notification/subscribe", {"deviceId": "d11"}))
    published = []

    class Publishing:
        """Subscribes in the place of a poll."""

        def deliver(self, subscription, message, body):
            if not published:
                published.append(message)
                hive.step("publish", [notification(name="later")])

    hive.subscribe_directly(Publishing(), "d11")
    hive.step("publish", [notification(name=name) for name in ("first", "second")])
    hive.turn()
    for connection in hive.connections:
        assert [text.split(b'"')[0] for text in texts(connection).split(b'"notification":"')[1:]] == [b"first", b"second", b"later"]


def test_a_subscription_that_a_delivery_ends_gets_nothing_more(reactor):
    """A poll ends its subscription when it has its event."""
    hive = hive_with(reactor, ("notification/subscribe", {"deviceId": "d11"}))
    got = []

    class Ending:
        """Subscribes in the place of a poll."""

        def deliver(self, subscription, message, body):
            got.append(message.id)
            hive.server.broker.remove(subscription)

    hive.subscribe_directly(Ending(), "d11")
    hive.step("publish", [notification()] * 4)
    assert got == [1]
    assert hive.server.broker.deliveries == 5


@pytest.mark.parametrize("broken", ["send_event", "deliver", "body"])
def test_an_error_with_one_event_or_receiver_does_not_affect_others(reactor, broken, monkeypatch):
    hive = hive_with(reactor, *[("notification/subscribe", {"deviceId": "d11"})] * 3)
    if broken == "send_event":
        Breaking(monkeypatch, hive.connections[1].protocol)
    elif broken == "deliver":
        hive.subscribe_directly(None, "d11")
    wanted = [notification(name=name) for name in ("first", "bad" if broken == "body" else "second", "third")]
    if broken == "body":
        monkeypatch.setattr(event_batch, "event_bodies", refuse_bad)
        monkeypatch.setattr(event_batch, "event_body", lambda message: refuse_bad([message])[0])
    with capturedLogs() as logs:
        hive.step("publish", wanted)
    hive.turn()
    failures = [event["id"] for event in logs if "log_failure" in event]
    names = [[text.split(b'"')[0] for text in texts(each).split(b'"notification":"')[1:]] for each in hive.connections]
    complete = [b"first", b"second", b"third"]
    if broken == "send_event":
        assert (failures, names) == ([2], [complete, [b"first", b"third"], complete])
    elif broken == "deliver":
        assert (failures, names) == ([1, 2, 3], [complete] * 3)
    else:
        assert (failures, names) == ([2], [[b"first", b"third"]] * 3)


def test_an_inserter_whose_rights_cannot_be_read_keeps_no_update_from_others(reactor, monkeypatch):
    hive = hive_with(reactor, ("command/subscribe", {"deviceId": "d11", "returnUpdatedCommands": True}), ("command/list", {}))
    hive.step("publish", [(COMMAND_INSERT, "d11", "on", size) for size in (0, 1, 2)])
    monkeypatch.setattr(hive.connections[1].protocol.session, "principal", object())
    with capturedLogs() as logs:
        hive.step("publish", [(COMMAND_UPDATE, "d11", "done", number) for number in (0, 1, 2)])
    hive.turn()
    assert [event["id"] for event in logs if "log_failure" in event] == [2]
    assert bytes(hive.connections[0].socket.received).count(b'{"action":"command/update"') == 3


class Breaking:
    """Makes the second event of an output an error."""

    def __init__(self, monkeypatch, output):
        self._send_event, self._count = output.send_event, 0
        monkeypatch.setattr(output, "send_event", self.send_event)
        monkeypatch.setattr(output, "send_events", self.send_events)

    def send_events(self, events):
        for prefix, body in events:
            self.send_event(prefix, body)

    def send_event(self, prefix, body):
        self._count += 1
        if self._count == 2:
            raise RuntimeError("broken")
        self._send_event(prefix, body)


def refuse_bad(messages):
    if any(message.name == "bad" for message in messages):
        raise ValueError("no JSON")
    return event_bodies(messages)
