"""Long polls (REST reference, section 9)."""

import pytest
import pytest_twisted

from dhtwisted.core.polls import MAX_POLL_BYTES
from dhtwisted.core.request_deadlines import SWEEP
from dhtwisted.model import Command, Notification, User
from dhtwisted.wire.timestamps import format_timestamp
from tests.support.delaying import DelayingStorage
from tests.support.other_node import OtherNode
from tests.support.rest_api import client

LONG_AGO = "2020-01-01T00:00:00"
MILLISECOND = 0.0011
"""A little more, since the clock counts in floats."""


@pytest_twisted.async_yield_fixture
async def admin(server):
    """The administrator, with the device ``pump``."""
    administrator = client(server)
    await administrator.send("PUT", "/device/pump", {})
    server.clock.advance(1)
    yield administrator


def later(server, seconds=MILLISECOND):
    """Let time pass, each millisecond by itself."""
    for _ in range(max(1, round(min(seconds, 0.2) / MILLISECOND))):
        server.clock.advance(MILLISECOND)
    server.clock.advance(max(0, seconds - 0.2))


async def answered(server, poll):
    """The answer of a poll that reads several pages, between which others have their turn."""
    while not poll.called:
        later(server)
    return await poll


async def insert(admin, name, kind="command", device="pump", **members):
    status, content = await admin.send("POST", f"/device/{device}/{kind}", {kind: name} | members)
    assert status == 201
    return content


def names(answer, kind="command"):
    status, content = answer
    assert status == 200, answer
    return [message[kind] for message in content]


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest.mark.parametrize(
    "path", ["/device/pump/{}/poll", "/device/{}/poll", "/device/{}/poll?deviceId=pump", "/device/{}/poll?deviceIds=pump,x-1"]
)
@pytest_twisted.ensureDeferred
async def test_the_first_event_is_answered_when_its_millisecond_is_over(server, admin, kind, path):
    await admin.send("PUT", "/device/x-1", {})
    later(server)
    poll = client(server).send("GET", path.format(kind))
    await insert(admin, "a", kind)
    await insert(admin, "b", kind)
    assert not poll.called
    later(server)
    assert names(await poll, kind) == ["a", "b"]
    assert len(server.server.polls) == 0


@pytest_twisted.ensureDeferred
async def test_what_is_stored_is_answered_at_once(server, admin):
    await insert(admin, "a")
    later(server)
    await insert(admin, "b")
    later(server)
    answer = await client(server).get(f"/device/pump/command/poll?timestamp={LONG_AGO}")
    assert [command["command"] for command in answer] == ["a", "b"]
    last = answer[-1]["timestamp"]
    assert await client(server).get(f"/device/pump/command/poll?waitTimeout=0&timestamp={last}") == []
    assert names(await client(server).send("GET", f"/device/pump/command/poll?timestamp={answer[0]['timestamp']}")) == ["b"]


@pytest_twisted.ensureDeferred
async def test_an_empty_list_when_time_is_over(server, admin):
    for query, seconds in (("", 30), ("?waitTimeout=60", 60), ("?waitTimeout=", 30), ("?waitTimeout=1", 1)):
        poll = client(server).send("GET", f"/device/pump/command/poll{query}")
        server.clock.advance(seconds - 0.1)
        assert not poll.called
        server.clock.advance(0.1)
        assert await poll == (200, [])
    assert await client(server).get("/device/pump/command/poll?waitTimeout=0") == []


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest_twisted.ensureDeferred
async def test_a_message_that_is_dated_ahead_waits_for_its_time(server, admin, kind):
    """A client that goes on from its time would miss what the server dates meanwhile."""
    path = f"/device/pump/{kind}/poll"
    poll = client(server).send("GET", f"{path}?waitTimeout=60")
    await insert(admin, "ahead", kind, timestamp=server.server.now() + 30_000)
    later(server, 10)
    assert not poll.called
    await insert(admin, "now", kind)
    later(server)
    answer = await poll
    assert names(answer, kind) == ["now"]
    position = answer[1][-1]["timestamp"]
    assert await client(server).get(f"{path}?waitTimeout=0&timestamp={position}") == []
    poll = client(server).send("GET", f"{path}?waitTimeout=60&timestamp={position}")
    later(server, 19.9)
    assert not poll.called
    later(server, 0.2)
    assert names(await poll, kind) == ["ahead"]


@pytest_twisted.ensureDeferred
async def test_so_does_the_update_of_a_command_that_was_dated_ahead(server, admin):
    ahead, command = await insert(admin, "ahead", timestamp=server.server.now() + 30_000), await insert(admin, "now")
    later(server)
    path = f"/device/pump/command/poll?returnUpdatedCommands=true&waitTimeout=60&timestamp={LONG_AGO}"
    for updated in (ahead, command):
        await admin.send("PUT", f"/device/pump/command/{updated['id']}", {"status": "done"})
    later(server)
    assert names(await client(server).send("GET", path)) == ["now"]
    later(server, 30)
    assert names(await client(server).send("GET", path)) == ["now", "ahead"]


@pytest_twisted.ensureDeferred
async def test_of_many_that_are_dated_ahead_a_poll_holds_some_and_misses_none(server, admin):
    """Each client may date messages a minute ahead, and a poll waits for them."""
    start, budget = server.server.now(), server.server.budget
    poll = client(server).send("GET", "/device/pump/notification/poll?waitTimeout=60")
    for number in range(30):
        ahead = start + 30_000 + (number % 3) * 1000
        await insert(admin, f"n{number}", "notification", timestamp=ahead, parameters={"fill": "x" * 100_000})
        assert budget.total <= MAX_POLL_BYTES
    later(server, 31)
    got = []
    while answer := (await answered(server, poll))[1]:
        got += [message["notification"] for message in answer]
        later(server, 1)
        poll = client(server).send("GET", f"/device/pump/notification/poll?waitTimeout=0&timestamp={answer[-1]['timestamp']}")
    assert budget.total == 0
    assert sorted(got) == sorted(f"n{number}" for number in range(30))


@pytest_twisted.ensureDeferred
async def test_a_poll_that_waits_for_such_a_time_ends_with_the_server(server, admin):
    await insert(admin, "ahead", timestamp=server.server.now() + 30_000)
    poll = client(server).send("GET", f"/device/pump/command/poll?waitTimeout=60&timestamp={LONG_AGO}")
    server.server.polls.end_all()
    assert await poll == (200, [])


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("waitTimeout=-1", "Timeout can't be less than 0 seconds. "),
        ("waitTimeout=61", "Timeout can't be more than 60 seconds. "),
        ("limit=-1", "Limit can't be less than 0."),
        ("timestamp=soon", "Unparseable timestamp"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/device/pump/command/poll", "/device/command/poll", "/device/pump/notification/poll", "/device/notification/poll"]
)
@pytest_twisted.ensureDeferred
async def test_parameters_that_are_wrong(server, admin, path, query, text):
    poll = client(server).send("GET", f"{path}?{query}")
    server.clock.advance(1)
    assert await poll == (400, {"error": 400, "message": text})


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest.mark.parametrize(
    ("limit", "expected"), [("1", "a"), ("3", "abc"), ("5", "abcde"), ("6", "abcdef"), ("0", "abcdef"), ("", "abcdef")]
)
@pytest_twisted.ensureDeferred
async def test_a_limit_that_is_named_is_kept_within_a_millisecond(server, admin, kind, limit, expected):
    for name in "abcde":
        await insert(admin, name, kind)
    later(server)
    await insert(admin, "f", kind)
    later(server)
    answer = await client(server).send("GET", f"/device/pump/{kind}/poll?timestamp={LONG_AGO}&limit={limit}")
    assert "".join(names(answer, kind)) == expected


@pytest.mark.parametrize(("limit", "expected"), [("1", "a"), ("3", "abc"), ("0", "abcde"), ("", "abcde")])
@pytest_twisted.ensureDeferred
async def test_a_limit_that_is_named_is_kept_by_a_poll_that_waits(server, admin, limit, expected):
    poll = client(server).send("GET", f"/device/command/poll?limit={limit}")
    for name in "abcde":
        await insert(admin, name)
    assert "".join(names(await answered(server, poll))) == expected


@pytest_twisted.ensureDeferred
async def test_a_limit_that_is_named_is_kept_by_updates(server, admin):
    for command in [await insert(admin, name) for name in "abcde"]:
        await admin.send("PUT", f"/device/pump/command/{command['id']}", {"status": "done"})
    later(server)
    path = f"/device/command/poll?timestamp={LONG_AGO}&returnUpdatedCommands=true"
    assert len(names(await answered(server, client(server).send("GET", path + "&limit=3")))) == 3
    assert len(names(await answered(server, client(server).send("GET", path)))) == 5


@pytest_twisted.ensureDeferred
async def test_without_a_limit_an_answer_goes_on_to_the_end_of_its_millisecond(server, admin):
    for _ in range(105):
        await insert(admin, "a")
    later(server)
    await insert(admin, "b")
    later(server)
    path = f"/device/command/poll?timestamp={LONG_AGO}"
    assert names(await answered(server, client(server).send("GET", path))) == ["a"] * 105
    assert names(await answered(server, client(server).send("GET", path + "&limit=100"))) == ["a"] * 100


@pytest_twisted.ensureDeferred
async def test_a_hundred_when_no_limit_is_given(server, admin):
    for _ in range(103):
        await insert(admin, "n", "notification")
        later(server)
    path = f"/device/pump/notification/poll?timestamp={LONG_AGO}"
    assert len((await answered(server, client(server).send("GET", path)))[1]) == 100
    assert len((await answered(server, client(server).send("GET", path + "&limit=0")))[1]) == 103


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest_twisted.ensureDeferred
async def test_what_comes_while_more_is_read_than_an_answer_holds_leaves_no_hole(server, admin, kind):
    for number in range(150):
        await insert(admin, f"n{number}", kind)
        later(server)
    path = f"/device/pump/{kind}/poll?timestamp="
    poll = client(server).send("GET", path + LONG_AGO)
    await insert(admin, "n150", kind)
    later(server)
    first = await answered(server, poll)
    second = await answered(server, client(server).send("GET", path + first[1][-1]["timestamp"]))
    assert names(first, kind) + names(second, kind) == [f"n{number}" for number in range(151)]


@pytest_twisted.ensureDeferred
async def test_history_of_many_pages_of_others(server, admin):
    await admin.send("PUT", "/device/other", {})
    for number in range(250):
        await insert(admin, f"n{number}", "notification", "other")
    await insert(admin, "mine", "notification")
    later(server)
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    poll = client(server, anna).send("GET", f"/device/notification/poll?timestamp={LONG_AGO}&names=mine,n1")
    assert names(await answered(server, poll), "notification") == ["n1", "mine"]


@pytest_twisted.ensureDeferred
async def test_the_probe_of_the_python_client_is_held_a_moment(server, admin):
    poll = client(server).send("GET", "/device/command/poll?waitTimeout=0&limit=0")
    assert not poll.called
    server.clock.advance(0.1)
    assert await poll == (200, [])


@pytest_twisted.ensureDeferred
async def test_only_updates_or_only_inserts(server, admin):
    updates = client(server).send("GET", "/device/pump/command/poll?returnUpdatedCommands=true")
    inserts = client(server).send("GET", "/device/pump/command/poll?returnUpdatedCommands=false")
    command = await insert(admin, "a")
    later(server)
    assert names(await inserts) == ["a"]
    assert not updates.called
    second = client(server).send("GET", "/device/pump/command/poll")
    later(server)
    await admin.send("PUT", f"/device/pump/command/{command['id']}", {"status": "done"})
    later(server)
    (updated,) = (await updates)[1]
    assert (updated["status"], updated["lastUpdated"] > updated["timestamp"]) == ("done", True)
    assert not second.called
    second_updates = f"/device/command/poll?returnUpdatedCommands=true&waitTimeout=0&timestamp={updated['lastUpdated']}"
    assert await client(server).get(second_updates) == []


@pytest_twisted.ensureDeferred
async def test_updates_are_found_by_their_own_time(server, admin):
    first, second = await insert(admin, "a"), await insert(admin, "b")
    later(server, 5)
    since = format_timestamp(server.server.now())
    later(server)
    await admin.send("PUT", f"/device/pump/command/{second['id']}", {"status": "1"})
    later(server)
    await admin.send("PUT", f"/device/pump/command/{first['id']}", {"status": "2"})
    later(server)
    path = "/device/command/poll?returnUpdatedCommands=true&waitTimeout=0&timestamp="
    answer = await client(server).get(path + since)
    assert [command["status"] for command in answer] == ["1", "2"]
    assert [command["status"] for command in await client(server).get(path + answer[0]["lastUpdated"])] == ["2"]


@pytest_twisted.ensureDeferred
async def test_filters(server, admin):
    await admin.send("PUT", "/device/far", {"networkId": 1, "deviceTypeId": 1})
    for query, expected in (
        ("networkIds=1", "ab"),
        ("deviceTypeIds=1", "ab"),
        ("networkIds=1&deviceTypeIds=1&names=a,x", "a"),
        ("names=b&names=c", "b"),
        ("names=", "ab"),
        ("deviceId=far&names=a", ""),
    ):
        since = format_timestamp(server.server.now())
        later(server)
        await insert(admin, "a")
        await insert(admin, "b")
        later(server)
        assert "".join(names(await client(server).send("GET", f"/device/command/poll?waitTimeout=0&timestamp={since}&{query}"))) == expected


@pytest_twisted.ensureDeferred
async def test_ids_that_the_caller_may_not_see(server, admin):
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    for query in ("networkIds=1,9", "deviceTypeIds=9", "deviceId=unknown"):
        poll = f"/device/command/poll?waitTimeout=0&{query}"
        assert (await admin.send("GET", poll))[0] == 404
        assert await client(server, anna).send("GET", poll) == (403, {"error": 403, "message": "Access is denied"})
    assert (await admin.send("GET", "/device/command/poll?waitTimeout=0&networkIds=1,9"))[1]["message"] == (
        "Networks with such networkIds wasn't found: {[1, 9]}"
    )


@pytest_twisted.ensureDeferred
async def test_who_sees_nothing_waits_all_the_same(server, admin):
    nobody = await server.add_user("nobody")
    poll = client(server, nobody).send("GET", "/device/command/poll?waitTimeout=5")
    await insert(admin, "secret")
    server.clock.advance(4)
    assert not poll.called
    server.clock.advance(1)
    assert await poll == (200, [])


@pytest_twisted.ensureDeferred
async def test_rights_are_those_of_the_moment(server, admin):
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    poll = client(server, anna).send("GET", "/device/command/poll?waitTimeout=5")
    await server.server.entities.update(User, anna.id, {"network_ids": frozenset()})
    await insert(admin, "secret")
    server.clock.advance(5)
    assert await poll == (200, [])


@pytest_twisted.ensureDeferred
async def test_a_message_dated_by_its_client_is_delivered(server, admin):
    poll = client(server).send("GET", "/device/command/poll")
    await insert(admin, "old", timestamp=LONG_AGO)
    later(server)
    assert names(await poll) == ["old"]
    poll = client(server).send("GET", "/device/command/poll")
    await insert(admin, "future", timestamp="2030-01-01T00:00:00")
    later(server, 0.1)
    assert names(await poll) == ["future"]


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_is_forgotten(server, admin):
    gone = client(server)
    poll = gone.send("GET", "/device/command/poll")
    assert len(server.server.polls) == 1
    gone.caller.close()
    assert len(server.server.polls) == 0
    server.clock.advance(SWEEP)
    assert not server.clock.getDelayedCalls()
    assert await poll == (200, [])


@pytest_twisted.ensureDeferred
async def test_only_so_many_wait(open_server):
    server = await open_server(limits={"polls": 2})
    first = [client(server).send("GET", "/device/command/poll?waitTimeout=9") for _ in range(2)]
    refused = client(server).send("GET", "/device/command/poll?waitTimeout=9")
    server.clock.advance(1)
    assert await refused == (429, {"error": 429, "message": "Too many requests", "retryAfter": 10})
    server.clock.advance(8)
    assert [await poll for poll in first] == [(200, [])] * 2


@pytest_twisted.ensureDeferred
async def test_polls_are_answered_when_the_server_stops(server, admin):
    polls = [client(server).send("GET", f"/device/{kind}/poll") for kind in ("command", "notification")]
    await server.server.stop()
    assert [await poll for poll in polls] == [(200, [])] * 2


@pytest_twisted.ensureDeferred
async def test_nothing_of_a_millisecond_is_lost_while_it_is_being_stored(server, admin):
    server.server.messages = storage = DelayingStorage(server.storage)
    poll = client(server).send("GET", "/device/notification/poll")
    # Both have the same time, and the second is still being stored when the first has been delivered.
    first = await insert(admin, "first", "notification")
    storage.delay("append", late=True)
    second = admin.send("POST", "/device/pump/notification", {"notification": "second", "timestamp": first["timestamp"]})
    later(server)
    assert not poll.called
    storage.release_all()
    assert (await second)[0] == 201
    assert names(await poll, "notification") == ["first", "second"]


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest_twisted.ensureDeferred
async def test_a_message_of_the_millisecond_in_which_the_poll_came_is_not_missed(server, admin, kind):
    server.server.messages = storage = DelayingStorage(server.storage)
    storage.delay("find_messages", late=True)
    poll = client(server).send("GET", f"/device/{kind}/poll?deviceId=pump")
    await insert(admin, "same", kind)
    storage.prompt()
    storage.release_all()
    later(server)
    assert names(await poll, kind) == ["same"]


@pytest_twisted.ensureDeferred
async def test_waiting_for_a_command(server, admin):
    command = await insert(admin, "a")
    path = f"/device/pump/command/{command['id']}/poll"
    first, second = client(server).send("GET", path), client(server).send("GET", path + "?waitTimeout=2")
    assert await client(server).send("GET", path + "?waitTimeout=0") == (204, None)
    server.clock.advance(2)
    assert await second == (204, None)
    other = await insert(admin, "b")
    await admin.send("PUT", f"/device/pump/command/{other['id']}", {"status": "no"})
    assert not first.called
    await admin.send("PUT", f"/device/pump/command/{command['id']}", {"status": "yes", "result": {"x": 1}})
    status, answer = await first
    assert (status, answer["id"], answer["status"], answer["result"]) == (200, command["id"], "yes", {"x": 1})
    assert (await client(server).get(path + "?waitTimeout=0"))["status"] == "yes"
    assert len(server.server.polls) == 0


@pytest_twisted.ensureDeferred
async def test_waiting_for_what_is_not_there(server, admin):
    assert await admin.send("GET", "/device/pump/command/99/poll") == (204, None)
    assert (await admin.send("GET", "/device/unknown/command/1/poll?waitTimeout=0"))[0] == 404
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    assert (await client(server, anna).send("GET", "/device/unknown/command/1/poll?waitTimeout=0"))[0] == 403
    refused = admin.send("GET", "/device/pump/command/1/poll?waitTimeout=61")
    server.clock.advance(1)
    assert await refused == (400, {"error": 400, "message": "Timeout can't be more than 60 seconds. "})


# Messages that another node stores, and of which this one hears late


@pytest.fixture
def node(reactor):
    node = OtherNode(reactor)
    node.save("pump")
    node.carry()
    return node


@pytest.mark.parametrize("kind", [Command, Notification])
@pytest_twisted.ensureDeferred
async def test_what_was_answered_before_its_event_came_is_not_answered_again(node, kind):
    late = []
    for _ in range(3):
        late += [node.store("pump", kind), node.store("pump", kind)]
        node.clock.advance(MILLISECOND)
    admin, path = client(node.server), f"/device/pump/{kind.KIND}/poll?timestamp="
    answer = await admin.get(path + LONG_AGO)
    assert [message["id"] for message in answer] == [1, 2, 3, 4, 5, 6]
    poll = admin.send("GET", path + answer[-1]["timestamp"])
    node.tell(*late)
    later(node)
    assert not poll.called
    node.insert("pump", kind)
    later(node)
    assert [message["id"] for message in (await poll)[1]] == [7]


@pytest_twisted.ensureDeferred
async def test_nor_is_what_comes_while_others_are_answered(node):
    early = node.store("pump")
    node.clock.advance(MILLISECOND)
    since = format_timestamp(node.server.server.now())
    node.clock.advance(MILLISECOND)
    node.store("pump")
    poll = client(node.server).send("GET", f"/device/pump/notification/poll?timestamp={since}")
    node.tell(early)
    later(node)
    assert [message["id"] for message in (await poll)[1]] == [2]


@pytest_twisted.ensureDeferred
async def test_nor_is_an_update(node):
    command = node.store("pump", Command).message
    later(node)
    late = [node.update("pump", command.id, status) for status in ("half", "done")]
    later(node, 3 * MILLISECOND)
    admin, path = client(node.server), "/device/command/poll?returnUpdatedCommands=true&timestamp="
    (answer,) = await admin.get(path + LONG_AGO)
    assert answer["status"] == "done"
    poll = admin.send("GET", path + answer["lastUpdated"])
    node.tell(*late)
    later(node)
    assert not poll.called
    node.tell(node.update("pump", command.id, "more"))
    later(node)
    assert [command["status"] for command in (await poll)[1]] == ["more"]


@pytest.mark.parametrize("since", [LONG_AGO, "2026-01-02T03:04:05.678", "2027-01-01T00:00:00"])
@pytest_twisted.ensureDeferred
async def test_what_a_client_dates_before_the_poll_is_delivered_all_the_same(node, since):
    node.insert("pump", timestamp=1)
    poll = client(node.server).send("GET", f"/device/pump/notification/poll?timestamp={since}")
    node.clock.advance(MILLISECOND)
    node.insert("pump", timestamp=1000)
    later(node)
    assert [message["id"] for message in (await poll)[1]] == [2]


@pytest_twisted.ensureDeferred
async def test_updates_are_delivered_though_the_storage_is_behind(node, monkeypatch):
    command = node.store("pump", Command).message
    since = format_timestamp(node.server.server.now())
    monkeypatch.setattr(node.server.server, "now", lambda: int(node.clock.seconds() * 1000) + 40)
    poll = client(node.server).send("GET", f"/device/command/poll?returnUpdatedCommands=true&timestamp={since}")
    later(node)
    node.tell(node.update("pump", command.id))
    later(node)
    assert [command["status"] for command in (await poll)[1]] == ["done"]


@pytest_twisted.ensureDeferred
async def test_updates_are_delivered_though_the_client_is_ahead(node):
    command = node.store("pump", Command).message
    poll = client(node.server).send("GET", "/device/command/poll?returnUpdatedCommands=true&timestamp=2027-01-01T00:00:00")
    node.clock.advance(MILLISECOND)
    node.tell(node.update("pump", command.id))
    later(node)
    assert [command["status"] for command in (await poll)[1]] == ["done"]


@pytest_twisted.ensureDeferred
async def test_what_is_stored_while_the_device_of_a_poll_is_looked_up_is_not_missed(node):
    node.delaying.delay("get", late=True)
    poll = client(node.server).send("GET", "/device/notification/poll?deviceId=pump&waitTimeout=1")
    later(node)
    assert node.delaying.waiting
    node.store("pump")
    later(node)
    node.delaying.prompt()
    node.delaying.release_all()
    later(node)
    assert [message["id"] for message in (await answered(node, poll))[1]] == [1]
