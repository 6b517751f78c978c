"""Inserts and updates that one read has brought: done together, and for the client nothing is different from one after the other."""

import json

import pytest
import pytest_twisted
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.core.access import Permission
from dhtwisted.core.coroutines import run
from dhtwisted.core.request_deadlines import PATIENCE, SWEEP
from dhtwisted.errors import StorageUnavailable, Unstorable
from dhtwisted.fronts.batches import LARGEST_BATCH
from dhtwisted.fronts.reply_order import MAX_UNDER_WAY
from dhtwisted.model import Command, Device, MessageQuery, Notification
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.server import START, MemoryServer, at_once
from tests.support.delaying import DelayingStorage
from tests.support.reads.committing import UNSTORABLE, CommittingStorage
from tests.support.reads.hive import Hive
from tests.support.reads.steps import opening

DEVICES = ("pump", "valve")
BAD = "bad"
"""A name that :class:`Choosy` does not store."""


class Choosy(MemoryStorage):
    """Memory that refuses some messages, and counts its calls.

    :ivar appended: the number of messages of each append, in order.
    :ivar error: the class of the error for messages with the name :data:`BAD`.
    """

    error: type[Exception] = Unstorable

    def __init__(self, reactor):
        super().__init__(reactor)
        self.appended = []

    def append(self, messages):
        self.appended.append(len(messages))
        if any(message.name == BAD for message in messages):
            raise self.error("a test wants it so")
        return super().append(messages)


class Place:
    """A server with two devices, a client and another one that has subscribed to everything.

    :ivar storage: a :class:`DelayingStorage` over :class:`Choosy` memory.
    :ivar published: the names of the messages of each call of the bus, in order.
    """

    def __init__(self, reactor, **sections):
        clock = Clock()
        clock.advance(START)
        self.memory = Choosy(clock)
        self.storage = DelayingStorage(self.memory)
        self.opened = at_once(MemoryServer.open(reactor, storage=self.storage, clock=clock, hash_password=False, **sections))
        self.server, self.clock = self.opened.server, clock
        # Without a Deferred, as the storages of this package answer; a delayed answer comes from the other.
        self.server.messages = self.memory
        for device_id in DEVICES:
            at_once(self.server.entities.insert(Device(id=device_id, name=device_id, network_id=1, device_type_id=1)))
        self.published = []
        publish = self.server.publish

        def record(events):
            self.published.append([event.message.name for event in events])
            publish(events)

        self.server.publish = record
        self.other = at_once(self.opened.client())
        for name in ("notification", "command"):
            at_once(self.other.call(f"{name}/subscribe"))
        at_once(self.other.call("command/subscribe", returnUpdatedCommands=True))
        self.client = at_once(self.opened.client())
        for client in (self.client, self.other):
            client.messages.clear()

    def delay(self):
        """Delay the answers of the storage from now on."""
        self.server.messages = self.storage
        self.storage.delay("append", "update_command")

    def release(self):
        """Let the storage answer all that waits."""
        self.storage.release_all()

    def pass_deadline(self):
        """Let the deadline of all that waits pass."""
        for _ in range(PATIENCE + 1):
            self.clock.advance(SWEEP)

    @property
    def events(self):
        """The names in the events of the other client."""
        return [
            (message.get("notification") or message["command"]).get("notification") or message["command"]["command"]
            for message in self.other.messages
        ]

    @property
    def replies(self):
        """``(requestId, code or None)`` of each reply."""
        return replies_of(self.client)

    @property
    def stored_today(self):
        return self.server.quotas.account(1).today.stored


def replies_of(client):
    return [(message.get("requestId"), message.get("code")) for message in client.messages if "status" in message]


@pytest.fixture
def place(reactor):
    return Place(reactor)


def request(action, number, **members):
    return json.dumps({"action": action, "requestId": number} | members).encode()


def notification(number, name=None, device="pump", **members):
    return request(
        "notification/insert", number, deviceId=device, notification={"notification": f"n{number}" if name is None else name} | members
    )


def command(number, name=None, device="pump", **members):
    return request("command/insert", number, deviceId=device, command={"command": f"c{number}" if name is None else name} | members)


def update(number, command_id, device="pump", **members):
    return request("command/update", number, deviceId=device, commandId=command_id, command=members)


def stored(storage):
    return [message for kind in (Command, Notification) for message in at_once(storage.find_messages(kind, MessageQuery()))]


def notifications(first, behind):
    return [notification(number) for number in range(first, behind)]


# What is done together


def test_inserts_of_both_kinds_are_stored_published_and_answered_together(place):
    sent = []
    place.client.send_many = lambda payloads: sent.append([json.loads(payload)["requestId"] for payload in payloads])
    place.client.send_texts([notification(1), command(2), notification(3, device="valve"), command(4)])
    assert place.memory.appended == [4]
    assert place.published == [["n1", "c2", "n3", "c4"]]
    assert sent == [[1, 2, 3, 4]]
    assert place.events == ["n1", "c2", "n3", "c4"]
    assert [(message.KIND, message.id) for message in stored(place.memory)] == [
        ("command", 1),
        ("command", 2),
        ("notification", 1),
        ("notification", 2),
    ]


def test_the_replies_are_byte_for_byte_those_of_single_requests(reactor):
    texts = [
        notification(1),
        command("two", result={"a": 1}, lifetime=5),
        notification(None, timestamp="2020-01-02T03:04:05.678"),
        command([3.0, "\u00fc"], timestamp=1_000_000_000_000, status="x"),
        b'{"action":"notification/insert","deviceId":"pump","notification":{"notification":"n","parameters":[1]}}',
    ]
    sent = []
    for together in (False, True):
        place, payloads = Place(reactor), []
        place.client.send = payloads.append
        place.client.send_many = payloads.extend
        if together:
            place.client.send_texts(texts)
        for text in () if together else texts:
            place.client.send_text(text)
        assert place.memory.appended == ([5] if together else [1] * 5)
        sent.append(payloads)
    assert sent[0] == sent[1]


def test_updates_are_published_and_answered_with_the_inserts_around_them(place):
    place.client.send_texts([command(1), command(2)])
    sent = []
    place.client.send_many = lambda payloads: sent.append([json.loads(payload)["requestId"] for payload in payloads])
    texts = [update(3, 1, status="a"), command(4), update(5, 3, status="b"), update(6, 1, result=[1]), notification(7), update(8, 99)]
    place.client.send_texts([*texts, notification(9)])
    assert place.memory.appended == [2, 1, 1, 1]
    assert place.published == [["c1", "c2"], ["c1", "c4", "c4", "c1", "n7", "n9"]]
    assert sent == [[3, 4, 5, 6, 7, 8, 9]]
    commands = [message for message in stored(place.memory) if type(message) is Command]
    assert [(found.id, found.update_id, found.status, found.result) for found in commands] == [
        (1, 3, "a", b"[1]"),
        (2, 0, None, None),
        (3, 2, "b", None),
    ]


def test_of_updates_only_that_of_a_missing_command_is_refused(place):
    place.client.send_texts([command(1), update(2, 1, status="a"), update(3, 9, status="b"), update(4, 1), update(5, 1, device="valve")])
    assert place.replies == [(1, None), (2, None), (3, 404), (4, None), (5, 404)]
    assert place.server.metrics.errors["command/update", 404] == 2
    assert place.stored_today == 3 * 100
    assert [message["action"] for message in place.other.events] == ["command/insert", "command/update", "command/update"]


def test_one_insert_alone_is_no_batch(place):
    sent = []
    place.client.send_many = sent.append
    place.client.send_texts([notification(1)])
    place.client.send_texts([request("server/info", 2), notification(3), request("server/info", 4), command(5)])
    assert sent == []
    assert place.replies == [(number, None) for number in range(1, 6)]


def test_whatever_is_not_an_insert_is_done_in_its_turn(place):
    place.client.send_texts(
        [
            notification(1),
            notification(2),
            request("notification/list", 3, deviceId="pump"),
            notification(4),
            notification(5),
            b"nonsense",
            notification(7),
            notification(8, name=""),
            notification(9),
            notification(10),
            request("notification/list", 11, deviceId="pump"),
        ]
    )
    assert place.memory.appended == [2, 2, 1, 2]
    assert place.replies == [(n, {8: 400}.get(n)) if n != 6 else (None, 400) for n in range(1, 12)]
    listed = [len(message["notifications"]) for message in place.client.messages if "notifications" in message]
    assert listed == [2, 7]


def test_a_request_with_a_token_of_its_own_is_done_alone(place):
    weak = place.opened.token(actions=frozenset({Permission.GET_NETWORK}))
    with_token = request("notification/insert", 3, deviceId="pump", notification={"notification": "x"}, token=weak)
    place.client.send_texts([notification(1), notification(2), with_token, notification(4), notification(5)])
    assert place.memory.appended == [2, 2]
    assert place.replies == [(1, None), (2, None), (3, 403), (4, None), (5, None)]


@pytest.mark.parametrize("denied", ["command", "notification"])
def test_rights_are_checked_for_each_action_and_device(reactor, denied):
    place = Place(reactor)
    permitted = {"command": Permission.CREATE_DEVICE_NOTIFICATION, "notification": Permission.CREATE_DEVICE_COMMAND}[denied]
    at_once(place.server.entities.insert(Device(id="other", name="other", network_id=2, device_type_id=1)))
    user = at_once(place.opened.add_user("anna", network_ids=frozenset({1}), all_device_types_available=True))
    client = at_once(place.opened.client(user, actions=frozenset({permitted})))
    client.messages.clear()
    make, forbidden = (command, notification) if denied == "notification" else (notification, command)
    client.send_texts([make(1), make(2), forbidden(3), make(4, device="other"), make(5), make(6)])
    assert replies_of(client) == [(1, None), (2, None), (3, 403), (4, 403), (5, None), (6, None)]


def test_a_device_that_is_not_in_the_cache_ends_the_batch(place):
    """Those behind it are done as if they had come alone: each of another device goes on."""
    place.server.entities._devices.discard("valve")
    place.storage.delay("get", "find")
    place.client.send_texts([notification(1), notification(2), notification(3, device="valve"), notification(4), notification(5)])
    assert place.memory.appended == [2, 1, 1]
    assert [number for number, _ in place.replies] == [1, 2]
    place.release()
    assert place.replies == [(number, None) for number in range(1, 6)]
    assert place.events == ["n1", "n2", "n4", "n5", "n3"]


def test_a_read_larger_than_a_batch_is_done_in_several(place):
    place.client.send_texts(notifications(0, 2 * LARGEST_BATCH + 3))
    assert place.memory.appended == [LARGEST_BATCH, LARGEST_BATCH, 3]
    assert place.replies == [(number, None) for number in range(2 * LARGEST_BATCH + 3)]


def test_each_request_counts(place):
    before = place.stored_today
    place.client.send_texts([notification(1, parameters="x" * 50), command(2), command(3)])
    together = place.stored_today - before
    for text in (notification(1, parameters="x" * 50), command(2), command(3)):
        place.client.send_text(text)
    assert place.stored_today == before + 2 * together
    requests = place.server.metrics.requests
    assert (requests["notification/insert"], requests["command/insert"]) == (2, 4)


# What is in the way


def test_a_rate_limit_counts_requests(reactor):
    place = Place(reactor, limits={"requests_per_second": 10})
    place.clock.advance(10)
    place.client.send_texts(notifications(0, 16))
    assert place.memory.appended == [1] * 10
    place.clock.advance(1)
    assert place.replies == [(number, None) for number in range(16)]


def test_a_client_that_does_not_read_is_not_served(place):
    place.client.congested = True
    place.client.send_texts(notifications(0, 4))
    assert (place.memory.appended, place.client.paused) == ([], True)
    place.client.drain()
    assert place.replies == [(number, None) for number in range(4)]


def test_nothing_is_begun_while_the_memory_for_all_is_used_up(place):
    account = place.server.budget.account(lambda reason: None)
    account.add(place.server.budget.limit)
    place.client.send_texts(notifications(0, 4))
    assert (place.memory.appended, place.client.paused) == ([], True)
    account.close()
    place.clock.advance(0)
    assert place.replies == [(number, None) for number in range(4)]


def test_requests_that_wait_are_counted_one_by_one(place):
    place.delay()
    for first in range(0, MAX_UNDER_WAY, 16):
        place.client.send_texts(notifications(first, first + 16))
    assert len(place.storage.waiting) == MAX_UNDER_WAY // 16
    assert not place.client.paused
    place.client.send_texts(notifications(MAX_UNDER_WAY, MAX_UNDER_WAY + 16))
    assert (len(place.storage.waiting), place.client.paused) == (MAX_UNDER_WAY // 16, True)
    place.release()
    assert place.replies == [(number, None) for number in range(MAX_UNDER_WAY + 16)]


def test_the_last_requests_for_which_there_is_room_are_begun_alone(place):
    place.delay()
    for first in range(0, MAX_UNDER_WAY - 16, 16):
        place.client.send_texts(notifications(first, first + 16))
    place.client.send_texts(notifications(0, 7))
    place.client.send_texts(notifications(0, 16))
    assert len(place.storage.waiting) == MAX_UNDER_WAY // 16 - 1 + 1 + 9
    assert place.client.paused


def test_the_quota_of_requests_counts_each(reactor):
    place = Place(reactor, quotas={"requests": 5, "administrators": 1})
    place.delay()
    place.client.send_texts(notifications(0, 4))
    place.client.send_texts(notifications(4, 8))
    assert [len(place.storage.waiting), place.server.quotas.account(1).requests] == [2, 5]
    place.release()
    assert place.replies == [(number, None if number < 5 else 429) for number in range(8)]
    assert place.server.quotas.account(1).requests == 0


@pytest.mark.parametrize("quota", ["stored_per_day", "device_stored_per_day"])
def test_the_quotas_of_a_day_end_in_the_middle(reactor, quota):
    place = Place(reactor, quotas={quota: 1000, "administrators": 1})
    place.client.send_texts(notifications(0, 8))
    place.client.send_texts(notifications(8, 16))
    assert place.replies == [(number, None if number < 10 else 429) for number in range(16)]
    assert len(stored(place.memory)) == 10


def test_a_trace_shows_single_requests(reactor):
    place = Place(reactor, log={"trace": ("user:1",)})
    place.client.send_texts(notifications(0, 4))
    assert place.memory.appended == [1] * 4
    assert place.replies == [(number, None) for number in range(4)]


def test_behind_a_request_that_does_not_overlap_everything_waits(place):
    place.delay()
    place.storage.delay("find_messages")
    place.client.send_texts(
        [notification(1), notification(2), request("notification/list", 3, deviceId="pump"), notification(4), command(5)]
    )
    place.client.send_texts([notification(6), command(7)])
    assert place.storage.waiting == ["append"]
    place.release()
    assert place.replies == [(number, None) for number in range(1, 8)]


# What waits for the storage


def test_a_batch_that_waits_has_one_place_in_the_order(place):
    place.delay()
    place.client.send_text(notification(0))
    place.client.send_texts([notification(1), command(2)])
    place.client.send_texts([b"nonsense", notification(4), notification(5)])
    assert place.storage.waiting == ["append"] * 3
    assert [request.count for request in place.client.session.order.started] == [1, 2, 1, 2]
    assert (place.replies, place.events) == ([], [])
    place.storage.release(count=2)
    assert place.replies == [(0, None), (1, None), (2, None), (None, 400)]
    assert place.events == ["n0", "n1", "c2"]
    place.release()
    assert place.replies[4:] == [(4, None), (5, None)]
    assert place.published == [["n0"], ["n1", "c2"], ["n4", "n5"]]


def test_updates_that_wait_have_a_place_each_and_their_events_keep_the_order_of_the_storage(place):
    place.client.send_texts([command(1), command(2)])
    place.delay()
    place.client.send_texts(
        [notification(3), command(4), update(5, 1, status="a"), update(6, 9), command(7), update(8, 2), notification(9)]
    )
    assert place.storage.waiting == ["append", "update_command", "update_command", "append", "update_command", "append"]
    assert [request.count for request in place.client.session.order.started] == [2, 1, 1, 1, 1, 1]
    assert place.server.quotas.account(1).requests == 7
    place.storage.release("update_command")
    # It is in the storage, so its event may leave. Its reply waits for those before it.
    assert (place.events, place.replies) == (["c1", "c2", "c1"], [(1, None), (2, None)])
    place.release()
    assert place.events == ["c1", "c2", "c1", "n3", "c4", "c7", "c2", "n9"]
    assert place.replies[2:] == [(3, None), (4, None), (5, None), (6, 404), (7, None), (8, None), (9, None)]
    assert place.server.quotas.account(1).requests == 0
    assert place.stored_today == 8 * 100


def test_a_batch_that_does_not_wait_is_answered_behind_older_requests(place):
    place.delay()
    place.client.send_text(notification(0))
    place.server.messages = place.memory
    place.client.send_texts(notifications(1, 3))
    assert (place.replies, place.events) == ([], ["n1", "n2"])
    place.release()
    assert place.replies == [(0, None), (1, None), (2, None)]


@pytest.mark.parametrize("waits", [False, True])
def test_of_a_batch_with_a_message_that_cannot_be_stored_the_others_are(place, waits):
    before = place.stored_today
    if waits:
        place.delay()
        append = place.memory.append

        async def refuse(messages):
            append(messages)

        place.memory.append = refuse
    place.client.send_texts([notification(1), notification(2, name=BAD), command(3)])
    place.release()
    assert place.memory.appended == [3, 1, 1, 1]
    assert place.replies == [(1, None), (2, 400), (3, None)]
    assert place.events == ["n1", "c3"]
    assert [message.name for message in stored(place.memory)] == ["c3", "n1"]
    assert place.stored_today - before == 200
    assert place.server.metrics.errors["notification/insert", 400] == 1


def test_what_is_stored_again_is_in_the_storage_at_once(reactor):
    """One after the other each would wait for a commit of its own, and the last would begin after its deadline."""
    hive = at_once(Hive.open(reactor, True, CommittingStorage))
    for step in opening():
        hive.step(*step)
    hive.do_hold(True)
    hive.do_send(0, [insert("on", UNSTORABLE.decode() if number == 3 else number) for number in range(16)], [])
    commits = 0
    while hive.memory.storage.commit():
        commits += 1
    # One that fails, and one for all messages.
    assert commits == 2
    hive.settle()
    replies = [message.get("code") for message in hive.clients[0].received if isinstance(message, dict) and message["requestId"] == "r"]
    assert replies == [400 if number == 3 else None for number in range(16)]


def insert(name, parameters):
    return {
        "action": "notification/insert",
        "requestId": "r",
        "deviceId": "d1",
        "notification": {"notification": name, "parameters": parameters},
    }


def test_nothing_is_published_where_nothing_was_changed(place):
    place.client.send_texts([update(1, 8, status="done"), update(2, 9, status="done")])
    assert (place.replies, place.published) == ([(1, 404), (2, 404)], [])


@pytest.mark.parametrize("waits", [False, True])
def test_of_a_storage_that_is_unavailable_each_is_told_once_and_nothing_is_tried_again(place, waits):
    before = place.stored_today
    place.memory.error = StorageUnavailable
    if waits:
        place.delay()
        place.storage.fail("append")
    place.client.send_texts([notification(1), notification(2, name=BAD), command(3)])
    place.release()
    assert place.memory.appended in ([3], [])
    assert place.replies == [(1, 503), (2, 503), (3, 503)]
    assert (place.events, stored(place.memory), place.stored_today) == ([], [], before)
    assert place.server.metrics.errors["notification/insert", 503] == 2


def test_a_defect_of_the_storage_is_told_to_those_whom_it_concerns(place):
    place.memory.error = ZeroDivisionError
    place.client.send_texts([notification(1), notification(2, name=BAD), command(3)])
    assert place.replies == [(1, None), (2, 500), (3, None)]


def test_each_gets_the_error_of_a_deadline_once_and_in_order(place):
    place.delay()
    place.client.send_texts([notification(1), command(2)])
    place.client.send_text(notification(3))
    place.pass_deadline()
    assert place.replies == [(1, 503), (2, 503), (3, 503)]
    place.release()
    assert place.replies == [(1, 503), (2, 503), (3, 503)]
    # What is stored late goes to subscribers, and counts.
    assert place.events == ["n1", "c2", "n3"]
    assert place.stored_today > 0
    assert place.server.quotas.account(1).requests == 0


def test_what_fails_after_its_deadline_counts_for_no_quota(place):
    before = place.stored_today
    place.delay()
    place.storage.fail("append")
    place.client.send_texts([notification(1), command(2)])
    place.pass_deadline()
    assert place.stored_today == before + 200
    place.release()
    assert (place.replies, place.events, place.stored_today) == ([(1, 503), (2, 503)], [], before)


def test_what_was_begun_is_finished_for_a_client_that_went(place):
    place.delay()
    place.client.send_texts([notification(1, parameters="x" * 40_000), command(2, parameters="x" * 40_000)])
    place.client.account.close()
    place.client.close()
    assert 80_000 < place.server.budget.total < 81_000
    place.release()
    place.storage.prompt()
    assert place.events == ["n1", "c2"]
    assert place.server.budget.total == 0
    at_once(place.other.call("command/update", deviceId="pump", commandId=1, command={}))
    assert "command/update" not in [message["action"] for message in place.client.messages]


def test_a_stop_waits_for_it(place):
    place.delay()
    place.client.send_texts([notification(1), command(2)])
    stopped = []
    place.client.session.finish(lambda: stopped.append(list(place.replies)))
    run(place.server.stop(), lambda result, error: stopped.append("server"))
    assert stopped == []
    place.release()
    assert stopped == ["server", [(1, None), (2, None)]] or stopped == [[(1, None), (2, None)], "server"]


def test_where_the_connection_ends_nothing_more_is_taken(place):
    session = place.client.session
    assert session.receive_many([notification(1), notification(2)]) == 2
    publish = place.server.publish

    def end(events):
        publish(events)
        place.client.abort("a test wants it so")

    place.server.publish = end
    assert session.receive_many([notification(3), notification(4), request("server/info", 5), notification(6), notification(7)]) == 2
    assert [message.name for message in stored(place.memory)] == ["n1", "n2", "n3", "n4"]


# Events


def test_a_client_that_is_subscribed_itself_gets_the_events_before_the_replies(place):
    at_once(place.client.call("notification/subscribe", deviceId="pump"))
    place.client.messages.clear()
    place.client.send_texts(notifications(1, 4))
    assert [message.get("requestId") or message["notification"]["notification"] for message in place.client.messages] == [
        "n1",
        "n2",
        "n3",
        1,
        2,
        3,
    ]


def test_the_inserter_gets_updates_that_the_events_cause_at_once(place):
    device = place.opened.connect()
    send = device.send

    def answer(payload):
        send(payload)
        latest = device.messages[-1]
        if latest["action"] == "command/insert":
            device.send_text(update(0, latest["command"]["id"], status="done"))

    device.send = answer
    at_once(device.call("authenticate", token=place.opened.token()))
    at_once(device.call("command/subscribe", deviceId="pump"))
    place.client.send_texts([command(1), command(2)])
    assert [message["command"]["id"] for message in place.client.messages if message["action"] == "command/update"] == [1, 2]


# Batch and one by one


PIECES = st.sampled_from(
    [
        lambda n: notification(n),
        lambda n: notification(n, device="valve", parameters={"a": n}),
        lambda n: notification(n, name=""),
        lambda n: notification(n, name="$device-add"),
        lambda n: notification(n, device="unknown"),
        lambda n: notification(n, parameters=[1], timestamp="2021-01-01"),
        lambda n: command(n, status="s", result=n),
        lambda n: command(n, device="valve", name="x" * 300),
        lambda n: update(n, 1 + n % 3, status=str(n)),
        lambda n: update(n, 1, device="valve", result=n),
        lambda n: b"nonsense %d" % n,
        lambda n: request("notification/list", n, deviceId="pump"),
        lambda n: request("command/list", n, deviceId="pump"),
        lambda n: request("notification/subscribe", n, deviceId="pump"),
        lambda n: request("device/delete", n, deviceId="valve"),
        lambda n: request("authenticate", n, token="wrong"),
    ]
)


@given(st.lists(st.lists(PIECES, min_size=1, max_size=8), max_size=6), st.booleans())
@example([[lambda n: notification(n), lambda n: command(n), lambda n: update(n, 1), lambda n: command(n)]], False)
def test_together_is_the_same_as_one_after_the_other(reactor, reads, waits):
    seen = []
    for together in (True, False):
        place, number = Place(reactor), 0
        if waits:
            place.delay()
        for read in reads:
            texts = [make(number + at) for at, make in enumerate(read)]
            number += len(read)
            if together:
                place.client.send_texts(texts)
            for text in () if together else texts:
                place.client.send_text(text)
        place.storage.prompt()
        place.release()
        replies = [message for message in place.client.messages if "status" in message]
        events = [message for message in place.client.messages if "status" not in message]
        requests, errors = place.server.metrics.requests, place.server.metrics.errors
        seen.append((replies, events, place.other.messages, stored(place.memory), place.stored_today, requests, errors))
    for of_batches, of_singles in zip(*seen, strict=True):
        assert without_numbers(of_batches) == without_numbers(of_singles)


def without_numbers(found):
    """Ids of subscriptions depend on the server."""
    return (
        json.loads(json.dumps(found, default=repr), object_hook=lambda members: {n: v for n, v in members.items() if n != "subscriptionId"})
        if isinstance(found, list)
        else found
    )


# Over a file


@pytest_twisted.ensureDeferred
async def test_over_a_file(open_server, reactor, tmp_path):
    storage = FileStorage(str(tmp_path / "data.sqlite"), reactor)
    await storage.open()
    try:
        server = await open_server(storage=storage, real_time=True)
        await server.server.entities.insert(Device(id="pump", name="pump", network_id=1, device_type_id=1))
        client, other = await server.client(), await server.client()
        await other.call("notification/subscribe")
        await other.call("command/subscribe")
        for listener in (client, other):
            listener.messages.clear()
        client.send_texts([notification(1), command(2), update(3, 1, status="done"), notification(4), notification(5, name=""), command(6)])
        await client.call("server/info")
        assert replies_of(client)[:-1] == [(1, None), (2, None), (3, None), (4, None), (5, 400), (6, None)]
        assert [message["action"] for message in other.events] == [
            "notification/insert",
            "command/insert",
            "notification/insert",
            "command/insert",
        ]
        listed = (await client.call("command/list", deviceId="pump"))["commands"]
        assert [(found["id"], found["command"], found["status"]) for found in listed] == [(1, "c2", "done"), (2, "c6", None)]
    finally:
        await storage.close()
