"""One client: replies in the order of requests, limits, and the end (WebSocket reference, sections 1.3 and 2.1)."""

import json

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.fronts.reply_order import MAX_SIZE_UNDER_WAY, MAX_UNDER_WAY
from dhtwisted.model import Device, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import MemoryServer, at_once
from tests.support.delaying import DelayingStorage

MALFORMED = {"status": "error", "code": 400, "error": "Malformed Json received."}


class Slow:
    """A server whose storage answers when told, with a device ``d`` and a client.

    :ivar storage: the :class:`DelayingStorage`.
    """

    def __init__(self, reactor, **sections):
        self.storage = DelayingStorage(MemoryStorage(Clock()))
        self.server = at_once(MemoryServer.open(reactor, storage=self.storage, hash_password=False, **sections))
        at_once(self.server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1)))
        self.client = at_once(self.server.client())
        self.client.messages.clear()

    def ask(self, request_id, action, **members):
        """Send a request whose reply may take its time."""
        self.client.send_text(json.dumps({"action": action, "requestId": request_id} | members))

    def insert(self, request_id):
        """Insert a notification."""
        self.ask(request_id, "notification/insert", deviceId="d", notification={"notification": "on"})

    @property
    def replies(self):
        """Request ids of what was answered, in order; ``None`` for an error without one."""
        return [message.get("requestId") for message in self.client.messages if "status" in message]


@pytest.fixture
def slow(reactor):
    return Slow(reactor)


def test_inserts_overlap_and_their_replies_keep_the_order(slow):
    slow.storage.delay("append", "update_command")
    slow.ask(1, "command/insert", deviceId="d", command={"command": "on"})
    slow.insert(2)
    slow.ask(3, "command/update", deviceId="d", commandId=1, command={})
    assert slow.storage.waiting == ["append", "append", "update_command"]
    slow.storage.release("update_command")
    assert slow.replies == []
    slow.storage.release("append")
    assert slow.replies == [1]
    slow.storage.release("append")
    assert slow.replies == [1, 2, 3]
    assert {message["status"] for message in slow.client.messages if "status" in message} == {"success"}


def test_others_wait_for_all_before_them_and_nothing_overtakes_them(slow):
    slow.storage.delay("append", "find_messages")
    slow.insert(1)
    slow.ask(2, "notification/list", deviceId="d")
    slow.insert(3)
    slow.ask(4, "server/info")
    assert slow.storage.waiting == ["append"]
    slow.storage.release()
    assert slow.replies == [1]
    assert slow.storage.waiting == ["find_messages"]
    slow.storage.release()
    assert slow.replies == [1, 2]
    assert slow.storage.waiting == ["append"]
    listed = slow.client.messages[-1]["notifications"]
    assert [notification["id"] for notification in listed] == [1]
    slow.storage.release()
    assert slow.replies == [1, 2, 3, 4]


def test_others_wait_for_every_insert_before_them(slow):
    slow.storage.delay("append")
    slow.insert(1)
    slow.insert(2)
    slow.ask(3, "notification/list", deviceId="d")
    slow.insert(4)
    slow.storage.release()
    assert slow.replies == [1]
    assert slow.storage.waiting == ["append"]
    slow.storage.release()
    assert slow.replies == [1, 2, 3]
    assert [notification["id"] for notification in slow.client.messages[-1]["notifications"]] == [1, 2]


def test_an_authenticate_acts_on_what_comes_after_it_and_on_nothing_before(slow):
    slow.storage.delay("append")
    slow.insert(1)
    slow.ask(2, "authenticate", token=slow.server.token(actions=frozenset({1})))
    slow.insert(3)
    slow.storage.release_all()
    assert [(message["requestId"], message["status"]) for message in slow.client.messages] == [(1, "success"), (2, "success"), (3, "error")]


def test_errors_keep_the_order(slow):
    slow.storage.delay("append", "find_messages")
    slow.insert(1)
    slow.client.send_text("nonsense")
    slow.ask(3, "no/action")
    slow.ask(4, "device/list", take="many")
    slow.insert(5)
    slow.ask(6, "notification/list", deviceId="d")
    slow.client.send_text("[]")
    slow.ask(8, "device/get", deviceId="unknown")
    slow.ask(9, "notification/insert", deviceId="d", notification={})
    assert slow.client.messages == []
    assert slow.storage.waiting == ["append", "append"]
    slow.storage.release("append")
    assert slow.replies == [1, None, 3, 4]
    slow.storage.release_all()
    assert slow.replies == [1, None, 3, 4, 5, 6, None, 8, 9]
    assert slow.client.messages[1] == MALFORMED | {"detail": "the message is not JSON: it cannot be read from character 1 on"}
    assert slow.client.messages[6] == MALFORMED | {"detail": "the message must be a JSON object"}


def test_an_insert_behind_an_error_still_overlaps(slow):
    slow.storage.delay("append")
    slow.insert(1)
    slow.client.send_text("nonsense")
    slow.insert(3)
    assert slow.storage.waiting == ["append", "append"]
    slow.storage.release("append", 2)
    assert slow.replies == [1, None, 3]


def test_storage_that_fails_later_is_503_for_each(slow):
    slow.storage.delay("append")
    slow.storage.fail("append")
    slow.insert(1)
    slow.insert(2)
    slow.ask(3, "server/info")
    slow.storage.release_all()
    assert [(m["requestId"], m.get("code"), m.get("error")) for m in slow.client.messages] == [
        (1, 503, "Service is not available"),
        (2, 503, "Service is not available"),
        (3, None, None),
    ]


def test_an_object_that_vanishes_meanwhile_is_409(slow):
    slow.storage.delay("update", late=True)
    slow.ask(1, "device/save", deviceId="d", device={"name": "x"})
    at_once(slow.server.server.entities.delete(Device, "d"))
    slow.storage.release()
    assert [(m["requestId"], m["code"]) for m in slow.client.messages] == [(1, 409)]


@pytest.mark.parametrize("action", ["server/info", "device/list", "notification/insert"])
def test_thousands_of_requests_do_not_nest(slow, action):
    """Answered at once, answered late, and begun one from the other's reply."""
    count = 2000
    slow.storage.delay("append", "find")
    slow.insert(0)
    slow.ask(1, "device/list")
    for number in range(2, count):
        slow.ask(number, action, deviceId="d", notification={"notification": "on"})
    assert slow.client.paused
    slow.storage.release()
    slow.storage.prompt()
    slow.storage.release_all()
    assert slow.replies == list(range(count))
    assert not slow.client.paused
    assert {message["status"] for message in slow.client.messages if "status" in message} == {"success"}


def test_so_many_are_under_way_and_no_more(slow):
    slow.storage.delay("append")
    for number in range(MAX_UNDER_WAY + 10):
        slow.insert(number)
    assert MAX_UNDER_WAY == 512
    assert len(slow.storage.waiting) == MAX_UNDER_WAY
    assert slow.client.paused
    slow.storage.release("append", 9)
    assert len(slow.storage.waiting) == MAX_UNDER_WAY
    assert slow.client.paused
    slow.storage.release("append")
    assert not slow.client.paused
    slow.storage.release_all()
    assert slow.replies == list(range(MAX_UNDER_WAY + 10))


def test_a_client_that_does_not_read_is_not_served(slow):
    slow.client.congested = True
    slow.insert(1)
    slow.client.send_text("nonsense")
    slow.ask(3, "server/info")
    assert (slow.client.messages, slow.client.paused) == ([], True)
    assert slow.storage.waiting == []
    slow.client.drain()
    assert (slow.replies, slow.client.paused) == ([1, None, 3], False)


def test_what_waits_is_not_begun_while_the_client_does_not_read(slow):
    slow.storage.delay("find_messages")
    for number in range(3):
        slow.ask(number, "notification/list", deviceId="d")
    assert slow.storage.waiting == ["find_messages"]
    slow.client.congested = True
    slow.storage.release("find_messages")
    assert (slow.replies, slow.storage.waiting) == ([0], [])
    slow.client.drain()
    assert slow.storage.waiting == ["find_messages"]
    slow.storage.release_all()
    slow.storage.release_all()
    assert slow.replies == [0, 1, 2]


def test_what_waits_is_begun_when_there_is_memory_for_the_answers(slow):
    budget = slow.server.server.budget
    other = budget.account(lambda reason: None)
    other.add(budget.limit)
    slow.insert(1)
    slow.ask(2, "server/info")
    assert (slow.replies, slow.client.paused) == ([], True)
    other.close()
    slow.server.clock.advance(0)
    assert (slow.replies, slow.client.paused) == ([1, 2], False)


STEPS = st.lists(st.sampled_from(["insert", "large", "info", "list", "nonsense", "fill", "drain", "answer"]), max_size=40)


@given(STEPS)
def test_when_all_is_answered_nothing_is_held(reactor, steps):
    slow = Slow(reactor)
    slow.storage.delay("append", "find_messages")
    asks = {
        "insert": lambda: slow.insert("i"),
        "large": lambda: slow.insert("i" * 40_000),
        "info": lambda: slow.ask("j" * 40_000, "server/info"),
        "list": lambda: slow.ask(1, "notification/list", deviceId="d"),
        "nonsense": lambda: slow.client.send_text(b'{"action":"none","requestId":"%b"}' % (b"n" * 40_000)),
        "fill": lambda: setattr(slow.client, "congested", True),
        "drain": lambda: slow.client.drain(),
        "answer": lambda: slow.storage.release_all(),
    }
    for step in steps:
        asks[step]()
    slow.storage.prompt()
    slow.client.drain()
    while slow.storage.waiting:
        slow.storage.release_all()
    assert len(slow.replies) == sum(step not in ("fill", "drain", "answer") for step in steps)
    assert slow.server.server.budget.total == 0


def test_congestion_in_the_middle_holds_the_rest(slow):
    send = slow.client.send

    def send_and_fill(payload):
        send(payload)
        slow.client.congested = len(slow.client.messages) % 2 == 0

    slow.client.send = send_and_fill
    for number in range(1, 6):
        slow.ask(number, "server/info")
    assert slow.replies == [1, 2]
    slow.client.drain()
    assert slow.replies == [1, 2, 3, 4]
    slow.client.drain()
    assert slow.replies == [1, 2, 3, 4, 5]
    slow.ask(6, "server/info")
    assert slow.replies[-1] == 6


def test_finish_answers_what_was_begun_and_takes_nothing_more(slow):
    done = []
    slow.storage.delay("append")
    slow.insert(1)
    slow.ask(2, "server/info")
    slow.client.session.finish(lambda: done.append(True))
    slow.insert(3)
    assert (slow.replies, done) == ([], [])
    slow.storage.release_all()
    assert (slow.replies, done) == ([1, 2], [True])


def test_finish_without_anything_under_way_is_done_at_once(slow):
    done = []
    slow.client.session.finish(lambda: done.append(True))
    assert done == [True]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_was_begun_counts_also_when_its_client_has_gone(slow, count):
    budget = slow.server.server.budget
    slow.storage.delay("append")
    for _ in range(count):
        slow.insert("i" * 40_000)
    slow.ask(1, "server/info")
    slow.client.account.close()
    slow.client.close()
    assert count * 40_000 < budget.total < count * 41_000
    while slow.storage.waiting:
        slow.storage.release()
    assert budget.total == 0


def test_what_was_begun_is_finished_for_a_client_that_went(slow):
    slow.storage.delay("append", late=True)
    slow.insert(1)
    slow.ask(2, "device/save", deviceId="never", device={})
    slow.client.close()
    slow.storage.prompt()
    slow.storage.release_all()
    other = at_once(slow.server.client())
    assert at_once(other.call("notification/list", deviceId="d"))["notifications"][0]["id"] == 1
    assert at_once(other.refused("device/get", deviceId="never"))[0] == 404


@pytest.mark.parametrize("timestamp", [None, "2020-01-01"])
def test_a_subscription_of_a_client_that_went_meanwhile_leaves_nothing(slow, timestamp):
    slow.storage.delay("count")
    slow.ask(1, "notification/subscribe", networkIds=[1], timestamp=timestamp)
    assert slow.storage.waiting == ["count"]
    slow.client.close()
    slow.storage.release_all()
    assert slow.client.session.subscriptions == {}
    slow.client.messages.clear()
    at_once(at_once(slow.server.client()).call("notification/insert", deviceId="d", notification={"notification": "on"}))
    assert slow.client.events == []


def test_a_command_of_a_client_that_went_meanwhile_leaves_nothing(slow):
    slow.storage.delay("append")
    slow.ask(1, "command/insert", deviceId="d", command={"command": "on"})
    slow.client.close()
    slow.storage.release_all()
    slow.client.messages.clear()
    at_once(at_once(slow.server.client()).call("command/update", deviceId="d", commandId=1, command={}))
    assert slow.client.messages == []


def test_an_event_stands_before_the_reply_of_a_later_request(slow):
    slow.ask(1, "notification/subscribe")
    slow.insert(2)
    slow.ask(3, "notification/unsubscribe")
    slow.insert(4)
    assert [message.get("requestId", "event") for message in slow.client.messages] == [1, "event", 2, 3, 4]


# Limits


def test_requests_per_second(reactor):
    slow = Slow(reactor, limits={"requests_per_second": 3})
    clock = slow.server.clock
    clock.advance(10)
    for number in range(8):
        slow.ask(number, "server/info")
    assert (slow.replies, slow.client.paused) == ([0, 1, 2], True)
    clock.advance(1 / 3)
    assert slow.replies == [0, 1, 2, 3]
    clock.advance(1)
    clock.advance(1)
    assert (slow.replies, slow.client.paused) == (list(range(8)), False)


def test_a_client_that_waits_for_its_rate_may_go(reactor):
    slow = Slow(reactor, limits={"requests_per_second": 1})
    for number in range(3):
        slow.ask(number, "server/info")
    slow.client.close()
    slow.client.messages.clear()
    assert slow.server.clock.getDelayedCalls() == []
    slow.server.clock.advance(10)
    assert slow.client.messages == []


def test_json_depth(reactor):
    slow = Slow(reactor, limits={"json_depth": 4})
    slow.client.send_text('{"action":"server/info","requestId":1,"a":[[[]]]}')
    slow.client.send_text('{"action":"server/info","requestId":2,"a":[[[[]]]]}')
    assert [(m["requestId"], m["status"]) for m in slow.client.messages] == [(1, "success"), (2, "error")]


@pytest_twisted.ensureDeferred
async def test_a_user_who_ends_is_refused_on_an_open_connection(server):
    user = await server.add_user("anna", network_ids=frozenset({1}))
    client = await server.client(user)
    await client.call("device/list")
    await server.server.entities.update(User, user.id, {"status": 2})
    assert await client.refused("device/list") == (401, "Unauthorized")
    assert (await client.request("server/info"))["status"] == "success"
    await server.server.entities.update(User, user.id, {"status": 0})
    await client.call("device/list")


def test_large_requests_are_taken_a_few_at_a_time(slow):
    size, count = MAX_SIZE_UNDER_WAY // 4, 20
    slow.storage.delay("append")
    for number in range(count):
        slow.ask(number, "notification/insert", deviceId="d", notification={"notification": "on", "parameters": "x" * size})
    assert slow.client.paused
    assert slow.storage.waiting == ["append"] * 4
    slow.storage.release_all()
    assert slow.replies == list(range(count))
    assert not slow.client.paused


def test_an_order_of_replies_exists_only_while_something_waits(slow):
    session, clock = slow.client.session, slow.server.clock
    slow.insert(1)
    assert session.order is None
    slow.storage.delay("append")
    slow.insert(2)
    slow.insert(3)
    assert len(session.order.started) == 2
    clock.advance(1)
    slow.storage.release_all()
    assert slow.replies == [1, 2, 3]
    clock.advance(1)
    assert session.order is None
    assert session.inbox is None
