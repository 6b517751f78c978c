"""Requests that come in one read have the same effect as the same requests one by one.

A read of one frame is the reference. Compared is all that anybody can see: replies and events of each connection in their order, what is
stored, counters, quotas, audit, traces and the log. Only this may differ: where a connection gets events while its inserts are answered,
which of the two comes first.
"""

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from dhtwisted.providers.postgres.bus import PostgresBus
from dhtwisted.providers.postgres.storage import PostgresStorage
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.server import MemoryServer
from tests.support.reads import steps
from tests.support.reads.committing import UNSTORABLE, CommittingStorage
from tests.support.reads.hive import Hive, play, play_on, without_times

some = settings(max_examples=60, derandomize=True)
fewer = settings(max_examples=40, derandomize=True)
on_disk = settings(max_examples=8, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
FEW = {"requests": 6, "stored_per_day": 20_000, "device_stored_per_day": 6000, "administrators": 1}
"""Quotas that are soon used up."""


def check(reactor, moves, storage=None, **sections):
    """Play the same, once with a read for each frame."""
    expected, found = (play(reactor, [*steps.opening(), *moves], is_cut, storage, **sections) for is_cut in (False, True))
    compare(expected, found)


def compare(expected, found):
    for name in expected:
        assert found[name] == expected[name], name


anything = steps.joined(steps.several, steps.several, steps.long, steps.controls, steps.ends, steps.time, steps.losses)
on_a_disk = steps.joined(steps.alone, steps.alone, steps.controls).map(steps.without_replays)
waiting = steps.joined(steps.several, steps.several, steps.held, steps.held, steps.failing, steps.time, steps.losses)


@some
@given(anything)
def test_in_memory(reactor, moves):
    check(reactor, moves)


@some
@given(waiting)
def test_where_the_storage_is_waited_for(reactor, moves):
    check(reactor, moves, CommittingStorage)


@fewer
@given(steps.joined(steps.several, steps.long, steps.time))
def test_at_the_end_of_quotas(reactor, moves):
    check(reactor, moves, quotas=FEW)


@fewer
@given(waiting)
def test_at_the_end_of_quotas_where_the_storage_is_waited_for(reactor, moves):
    check(reactor, moves, CommittingStorage, quotas=FEW)


@fewer
@given(steps.joined(steps.alone))
def test_above_a_rate(reactor, moves):
    """Pings come by the clock, and so between other replies."""
    check(reactor, moves, limits={"requests_per_second": 5, "ping_interval": 0.0})


@fewer
@given(steps.joined(steps.several, steps.unread, steps.unread, steps.time))
def test_for_clients_that_do_not_read(reactor, moves):
    check(reactor, moves)


@fewer
@given(
    steps.joined(steps.several, steps.several, steps.losses),
    st.sampled_from([None, CommittingStorage]),
    st.sampled_from(["device:d1", "user:2"]),
)
def test_for_those_who_are_traced(reactor, moves, storage, target):
    check(reactor, moves, storage, log={"trace": (target,)})


async def check_on(reactor, moves, open_one):
    """As :func:`check`, each time on a new storage."""
    outcomes = []
    for is_cut in (False, True):
        storage = open_one()
        await storage.open()
        outcomes.append(await play_on(reactor, [*steps.opening(), *moves], is_cut, storage))
        await storage.close()
    compare(*outcomes)


@on_disk
@given(on_a_disk)
def test_on_a_file(reactor, tmp_path_factory, moves):
    def open_one():
        return FileStorage(str(tmp_path_factory.mktemp("data") / "data.sqlite"), reactor)

    return Deferred.fromCoroutine(check_on(reactor, moves, open_one))


@pytest.mark.slow
@on_disk
@given(on_a_disk)
def test_on_postgres(reactor, postgres, moves):
    async def on_postgres():
        databases = [postgres.create_database() for _ in range(2)]
        opened = (PostgresStorage(database, reactor) for database in databases)
        await check_on(reactor, moves, lambda: next(opened))
        for database in databases:
            postgres.drop_database(database)

    return Deferred.fromCoroutine(on_postgres())


# Examples


def inserts(count, parameters=None, kind="notification"):
    """Inserts of one client."""
    return [
        {"action": f"{kind}/insert", "requestId": number, "deviceId": "d1", kind: {kind: "on", "parameters": parameters or number}}
        for number in range(count)
    ]


def with_updates(count):
    """Commands and updates of them, mixed."""
    commands = inserts(count, kind="command")
    updates = [
        {
            "action": "command/update",
            "requestId": f"u{number}",
            "deviceId": "d1",
            "commandId": number // 2 + 1,
            "command": {"status": f"{number}"},
        }
        for number in range(count)
    ]
    return [request for pair in zip(commands, updates, strict=True) for request in pair]


def unstorable(place):
    """Inserts of which the one at a place cannot be stored."""
    requests = inserts(12)
    requests[place]["notification"]["parameters"] = UNSTORABLE.decode()
    return requests


SENDER, ADMINISTRATOR, ITSELF = 0, 1, 3
HELD, RELEASED = ("hold", True), ("hold", False)
SHUT = {"action": "user/update", "requestId": "shut", "userId": 2, "user": {"status": 1}}
GONE = {"action": "device/delete", "requestId": "gone", "deviceId": "d1"}
MOVED = {"action": "device/save", "requestId": "moved", "deviceId": "d1", "device": {"networkId": 2}}


@pytest.mark.parametrize("sender", [SENDER, ITSELF])
@pytest.mark.parametrize(
    "moves",
    [
        [("send", unstorable(0), [])],
        [("send", unstorable(5), [])],
        [("send", unstorable(11), [])],
        [HELD, ("send", inserts(16), []), ("seconds", 12), RELEASED],
        [HELD, ("send", with_updates(8), []), ("seconds", 12), ("fail", True), RELEASED],
        [HELD, ("send", inserts(8), []), ("send", with_updates(8), []), ("lose",), RELEASED],
        [HELD, ("send", inserts(8), []), ("send", with_updates(8), []), ("stop",), RELEASED],
        [HELD, ("send", with_updates(8), []), ("seconds", 5), ("send", inserts(16), []), ("seconds", 5), RELEASED],
        [("fail", True), ("send", with_updates(8), []), ("turn",), ("fail", False), ("send", with_updates(8), [])],
        [("send", inserts(40, "y" * 3000), [])],
        [("send", inserts(600), []), ("turn",), ("send", with_updates(300), [])],
    ],
)
def test_what_happens_meanwhile(reactor, sender, moves):
    """A message that cannot be stored, a storage that fails or answers late, a connection that ends, more than may be under way."""
    moves = [(step[0], sender, *step[1:]) if step[0] in ("send", "lose", "stop") else step for step in moves]
    check(reactor, [*moves, ("turn",)], CommittingStorage)


@pytest.mark.parametrize(("last", "commits"), [([], 1), ([{"action": "server/info", "requestId": "i"}], 2)])
def test_what_is_answered_makes_room_for_what_comes(reactor, last, commits):
    """Also where something is always under way, or waits for it: after many reads as many requests begin as at first."""
    read = ("send", SENDER, [*inserts(15), *last], [])
    moves = [read, *[("commit",)] * commits] * 50
    check(reactor, [HELD, *moves, read, ("look",), RELEASED, ("turn",)], CommittingStorage)


@pytest.mark.parametrize(("client", "limits"), [(ITSELF, {}), (SENDER, {"output_total": 20_000})])
def test_nothing_begins_for_who_does_not_read_or_while_memory_is_used_up(reactor, client, limits):
    stuck = [("room", ITSELF, 0), ("send", ITSELF, inserts(5, "y" * 5000), []), ("turn",)]
    behind = [("send", client, with_updates(8), []), ("turn",), ("look",)]
    check(reactor, [*stuck, *behind, ("room", ITSELF, None), ("turn",)], limits=limits)


@pytest.mark.parametrize("change", [SHUT, GONE, MOVED])
@pytest.mark.parametrize("storage", [None, CommittingStorage])
def test_rights_that_end_meanwhile(reactor, change, storage):
    """Before and behind other inserts of the same read, and in another connection while inserts are under way."""
    within = [*inserts(5), change, *inserts(5), *with_updates(3)]
    between = [
        HELD,
        ("send", SENDER, inserts(8), []),
        ("send", ADMINISTRATOR, [change], []),
        ("send", SENDER, with_updates(4), []),
        RELEASED,
    ]
    check(reactor, [("send", ADMINISTRATOR, within, []), ("turn",), ("send", ITSELF, with_updates(4), []), ("turn",)], storage)
    check(reactor, [*between, ("turn",), ("send", SENDER, inserts(4), []), ("turn",)], storage)


def test_another_identity_in_the_middle_of_a_read(reactor):
    """What follows ``authenticate`` is done with the new rights."""
    requests = [
        step for token in ("berta", "admin", "mute", "device", "forged") for step in (*inserts(3), authenticate(token), *with_updates(2))
    ]
    for storage in (None, CommittingStorage):
        check(reactor, [("send", SENDER, requests, [200, 900]), ("turn",)], storage)


def authenticate(token):
    return {"action": "authenticate", "requestId": "a", "token": token}


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_events_reach_another_node_in_the_same_order(reactor, postgres):
    """Two nodes on one PostgreSQL: both ways, their subscribers get the same."""
    sent, updates, received = [*inserts(40), *inserts(10, kind="command")], with_updates(10)[1::2], []
    for is_cut in (False, True):
        dsn = postgres.create_database()
        storages = [PostgresStorage(dsn, reactor) for _ in range(2)]
        for storage in storages:
            await storage.open()
        hive = await Hive.open(reactor, is_cut, storages[0], bus=PostgresBus(dsn, reactor, storages[0]))
        other = await MemoryServer.open(
            reactor, storage=storages[1], bus=PostgresBus(dsn, reactor, storages[1]), clock=hive.reactor, hash_password=False
        )
        subscriber = await other.client()
        for action in ("notification", "command"):
            await subscriber.call(f"{action}/subscribe")
        await subscriber.call("command/subscribe", returnUpdatedCommands=True)
        for step in [*steps.opening(), ("send", SENDER, sent, []), ("send", SENDER, updates, []), ("send", ITSELF, inserts(16), [])]:
            hive.step(*step)
            await hive.answered()
        while len(subscriber.events) < len(sent) + len(updates) + 16:
            await deferLater(reactor, 0)
        received.append([without_times(event) for event in subscriber.events])
        assert [event["notification"]["id"] for event in subscriber.events if "notification" in event] == list(range(1, 57))
        hive.lose_all()
        await hive.memory.close()
        await other.close()
        for storage in storages:
            await storage.close()
        postgres.drop_database(dsn)
    assert by_kind(received[0]) == by_kind(received[1])


def by_kind(events):
    """Events of each kind in their order. Between kinds the order is that of commits."""
    return {
        kind: [event for event in events if event["action"] == kind] for kind in ("notification/insert", "command/insert", "command/update")
    }
