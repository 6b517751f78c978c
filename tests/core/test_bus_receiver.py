"""What the bus brings, on its way to subscribers: devices that are not at hand, deleted ones, and which events have come."""

import pytest
from twisted.logger import LogLevel, capturedLogs

from dhtwisted.core import bus_receiver as module
from dhtwisted.core import entity_cache as entities
from dhtwisted.core.bus_receiver import LONGEST_DELAY, RETRY_PAUSE, BusReceiver, ReceivedNumbers
from dhtwisted.core.coroutines import run
from dhtwisted.core.event_kinds import COMMAND_INSERTED, COMMAND_UPDATED, NOTIFICATION_INSERTED
from dhtwisted.model import Command, Device, Network, Notification, User
from dhtwisted.testing.server import at_once
from tests.support.other_node import OtherNode
from tests.support.rest_api import client as rest_client


class Node(OtherNode):
    """A server that knows of devices from another node alone."""

    def client(self, networks=None, kind="notification", **members):
        """A subscriber, who may use these networks alone if any are given."""
        user = None
        if networks is not None:
            user = at_once(self.server.add_user(f"user-{networks}", network_ids=frozenset(networks)))
        client = at_once(self.server.client(user))
        at_once(client.call(f"{kind}/subscribe", **members))
        self.carry()
        return client


@pytest.fixture
def node(reactor):
    node = Node(reactor)
    at_once(node.storage.insert(Network(name="Garden")))
    return node


def ids(client):
    return [event[event["action"].partition("/")[0]]["id"] for event in client.events]


def test_an_event_waits_for_its_device_and_later_events_wait_behind_it(node):
    node.save("known")
    client = node.client()
    known = [node.insert("known")]
    node.delaying.delay("find")
    for device in ("a", "b"):
        node.save(device)
    later = [node.insert(device) for device in ("a", "known", "b", "a")]
    assert ids(client) == known
    assert node.delaying.waiting == ["find"]
    node.delaying.release_all()
    assert ids(client) == known + later


def test_devices_of_several_events_are_read_together(node):
    client = node.client()
    for number in range(5):
        node.save(f"device-{number}")
    node.delaying.delay("find")
    sent = [node.insert(f"device-{number}") for number in range(5)]
    assert node.delaying.release() == 1, "the first is read alone, since it came alone"
    assert node.delaying.release() == 1, "the others, which came meanwhile, together"
    assert node.delaying.waiting == []
    assert ids(client) == sent


def test_the_present_place_counts_and_not_that_of_the_message(node):
    node.save("lamp", network=2)
    first, second, everything = node.client([1]), node.client([2]), node.client()
    sent = node.insert("lamp", network_id=1)
    assert [ids(client) for client in (first, second, everything)] == [[], [sent], [sent]]


def test_a_command_of_old_is_updated_where_its_device_is_now(node):
    node.save("lamp", network=1)
    command = node.store("lamp", Command).message
    node.save("lamp", network=2)
    first, second = [node.client([network], "command", returnUpdatedCommands=True) for network in (1, 2)]
    node.tell(node.update("lamp", command.id))
    assert [ids(client) for client in (first, second)] == [[], [command.id]]


def test_nothing_is_read_for_nobody(node):
    for device in ("lamp", "pump"):
        node.save(device)
    others = node.client(kind="command", returnUpdatedCommands=True), node.client(deviceId="pump")
    node.delaying.fail("find", "get")
    for kind in (Notification, Command):
        node.insert("lamp", kind)
    assert not node.clock.getDelayedCalls(), "nobody waits for a storage that cannot answer"
    assert [client.events for client in others] == [[], []]


def test_the_inserter_hears_of_an_update_though_the_device_is_not_at_hand(node):
    node.save("lamp")
    inserter = at_once(node.server.client())
    command = at_once(inserter.call("command/insert", deviceId="lamp", command={"command": "on"}))["command"]["id"]
    node.save("lamp")
    node.carry()
    assert node.server.server.entities.device("lamp") is None, "else this shows nothing"
    node.tell(node.update("lamp", command))
    assert ids(inserter) == [command]


def test_events_of_a_device_that_is_gone_hold_nothing_up(node):
    client = node.client()
    node.save("lamp")
    node.insert("gone")
    lamp = node.insert("lamp")
    node.delaying.delay("find")
    node.insert("gone")
    node.insert("gone")
    later = node.insert("lamp")
    node.delaying.release_all()
    assert ids(client) == [lamp, later]


def test_devices_that_are_gone_and_others_beyond_one_query(node, monkeypatch):
    monkeypatch.setattr(module, "MAX_KEYS", 1)
    client = node.client()
    node.save("lamp")
    node.delaying.delay("find")
    sent = [node.insert(device) for device in ("gone", "lamp", "gone", "lamp")]
    node.delaying.release_all()
    assert ids(client) == sent[1::2]


def test_a_storage_that_cannot_answer_is_asked_again(node):
    client = node.client()
    node.save("lamp")
    node.delaying.fail("find")
    with capturedLogs() as logs:
        sent = [node.insert("lamp") for _ in range(3)]
        for _ in range(3):
            node.clock.advance(RETRY_PAUSE)
    assert [event["log_level"] for event in logs] == [LogLevel.warn] * 4
    assert ids(client) == []
    node.delaying.prompt()
    node.clock.advance(RETRY_PAUSE)
    assert ids(client) == sent


def test_too_many_events_that_wait_are_lost_and_their_subscribers_come_again(node, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    subscriber, other, inserter = node.client(), node.client(kind="command", deviceIds=None), at_once(node.server.client())
    node.save("lamp")
    at_once(inserter.call("command/insert", deviceId="lamp", command={"command": "on"}))
    bystander = at_once(node.server.client())
    poll = rest_client(node.server).send("GET", "/device/notification/poll")
    node.save("lamp")
    node.carry()
    subscriber.messages.clear()
    node.delaying.fail("find")
    for _ in range(3):
        node.insert("lamp")
    assert subscriber.aborted is None
    node.insert("lamp")
    assert [client.aborted is not None for client in (subscriber, other, inserter, bystander)] == [True, True, True, False]
    assert poll.called
    node.delaying.prompt()
    assert [call.func.__qualname__ for call in node.clock.getDelayedCalls()] == ["Deadlines._sweep"], "it is not tried again"
    last = node.insert("lamp")
    assert ids(subscriber) == [last], "and what comes then is delivered"


def test_many_events_may_wait_for_a_storage_that_is_slow(node, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    client = node.client()
    node.save("lamp")
    node.delaying.delay("find")
    sent = [node.insert("lamp") for _ in range(9)]
    node.delaying.release_all()
    assert (ids(client), client.aborted) == (sent, None)


def test_a_server_that_stops_waits_for_no_device(node):
    node.client()
    node.save("lamp")
    node.delaying.fail("find")
    node.insert("lamp")
    assert node.clock.getDelayedCalls()
    at_once(node.server.server.stop())
    assert not node.clock.getDelayedCalls()


def test_an_event_that_cannot_be_delivered_stops_no_other(node, monkeypatch):
    client = node.client()
    node.save("lamp")
    node.delaying.delay("find")
    bad, good = node.insert("lamp"), node.insert("lamp")
    send = client.send

    def send_or_break(payload):
        if len(client.events) == 0 and not failed:
            failed.append(True)
            raise RuntimeError("broken")
        send(payload)

    failed = []
    monkeypatch.setattr(client, "send", send_or_break)
    with capturedLogs() as logs:
        node.delaying.release_all()
    assert ids(client) == [good]
    assert [event["id"] for event in logs if "log_failure" in event] == [bad]


@pytest.mark.parametrize("cut", [False, True], ids=["told", "after a cut"])
def test_a_device_deleted_elsewhere_is_forgotten_by_its_own_subscriptions(node, cut):
    for device in ("lamp", "pump"):
        node.save(device)
    lamp, pump, both = node.client(deviceId="lamp"), node.client(deviceId="pump"), node.client(networkIds=[1])
    if cut:
        at_once(node.storage.delete(Device, "lamp"))
        at_once(node.server.server.bus_receiver.entities_changed(None))
    else:
        node.delete(Device, "lamp")
        node.carry()
    node.save("lamp")
    sent = [node.insert(device) for device in ("lamp", "pump")]
    assert [ids(client) for client in (lamp, pump, both)] == [[], sent[1:], sent]
    assert at_once(lamp.call("subscription/list"))["subscriptions"], "though they stay listed"


def test_a_device_saved_anew_while_its_deletion_is_looked_into_keeps_its_new_subscriptions(node):
    node.save("lamp")
    node.client(deviceId="lamp")
    node.delete(Device, "lamp")
    node.delaying.delay("find")
    node.carry()
    assert node.delaying.waiting == ["find"]
    node.save("lamp")
    client = node.client(deviceId="lamp")
    sent = node.insert("lamp")
    node.delaying.release_all()
    assert ids(client) == [sent]


def test_a_device_saved_anew_while_others_are_looked_into_keeps_its_new_subscriptions(node, monkeypatch):
    monkeypatch.setattr(entities, "MAX_KEYS", 1)
    devices = ["lamp", "pump"]
    for device in devices:
        node.save(device)
        node.client(deviceId=device)
        at_once(node.storage.delete(Device, device))
    node.delaying.delay("find")
    run(node.server.server.bus_receiver.entities_changed(None), lambda result, error: None)
    # The administrator and one of the devices have been read, and the other one is being read.
    assert node.delaying.release(count=1) + node.delaying.release(count=1) == 2
    for device in devices:
        node.save(device)
    node.delaying.prompt("find")
    clients = [node.client(deviceId=device) for device in devices]
    node.delaying.release_all()
    sent = [node.insert(device) for device in devices]
    assert [ids(client) for client in clients] == [[one] for one in sent]


def test_users_are_read_before_later_events(node):
    node.save("lamp")
    client = node.client([1])
    before = node.insert("lamp")
    node.delaying.delay("find")
    node.change(User, 2, network_ids=frozenset())
    node.insert("lamp")
    node.delaying.release_all()
    assert ids(client) == [before]


# Which events have come


def test_ids_that_come_in_order_have_all_come():
    ids = ReceivedNumbers(NOTIFICATION_INSERTED)
    assert ids.last_settled(0) == 0
    for message_id in (1, 2, 3):
        ids.add(message_id, 0.005)
        assert ids.last_settled(5) == message_id


def test_one_that_was_passed_over_is_waited_for():
    ids = ReceivedNumbers(NOTIFICATION_INSERTED)
    for message_id in (1, 3, 5, 4):
        ids.add(message_id, 0.1)
    assert ids.last_settled(100) == 1
    ids.add(2, 0.1)
    assert ids.last_settled(100) == 5


def test_one_that_does_not_come_is_given_up():
    ids = ReceivedNumbers(NOTIFICATION_INSERTED)
    ids.add(1, 0)
    ids.add(3, 0)
    ids.add(5, 0.01)
    assert ids.last_settled(LONGEST_DELAY - 1) == 1
    assert ids.last_settled(LONGEST_DELAY) == 3
    assert ids.last_settled(LONGEST_DELAY + 10) == 5
    ids.add(2, (LONGEST_DELAY + 20) / 1000)
    assert ids.last_settled(LONGEST_DELAY + 20) == 5


@pytest.mark.parametrize("first", [10**6, 2**62])
def test_a_node_that_has_just_begun_is_not_sure(first):
    ids = ReceivedNumbers(NOTIFICATION_INSERTED)
    ids.add(first, 1)
    ids.add(first + 1, 2)
    assert ids.last_settled(999 + LONGEST_DELAY) == 0
    assert ids.last_settled(1000 + LONGEST_DELAY) == first + 1


def test_many_holes_take_no_room(monkeypatch):
    monkeypatch.setattr(module, "MAX_MISSING", 3)
    ids = ReceivedNumbers(NOTIFICATION_INSERTED)
    for message_id in range(1, 100, 2):
        ids.add(message_id, message_id / 1000)
    assert len(ids._missing) <= 3
    assert ids.last_settled(100) == 0
    assert ids.last_settled(100 + LONGEST_DELAY) == 99


def horizons(receiver):
    return tuple(receiver.last_settled(kind) for kind in (NOTIFICATION_INSERTED, COMMAND_INSERTED, COMMAND_UPDATED))


def test_the_horizon_of_updates_goes_by_their_numbers(node):
    receiver = node.server.server.bus_receiver
    node.insert("lamp")
    node.insert("lamp", Command)
    node.insert("lamp", Command)
    assert horizons(receiver) == (1, 2, 0)
    first, second, third = (node.update("lamp", command_id) for command_id in (2, 1, 2))
    assert horizons(receiver) == (1, 2, 0), "whatever time has passed"
    node.tell(first)
    assert horizons(receiver) == (1, 2, 1)
    node.tell(third)
    assert horizons(receiver) == (1, 2, 1)
    node.tell(second)
    assert horizons(receiver) == (1, 2, 3)


def test_what_was_stored_long_before_a_server_began_comes_no_more(node):
    """Else replays would remember all of it, as long as no event comes."""
    for _ in range(3):
        node.store("lamp")
        node.store("lamp", Command, timestamp=5)
    for command_id in (3, 1):
        node.clock.advance(1)
        node.update("lamp", command_id)
    node.clock.advance(LONGEST_DELAY / 1000 + 1)
    node.store("lamp")
    node.store("lamp", Command)
    node.update("lamp", 2)
    receiver = BusReceiver(node.clock, node.server.server.entities, node.server.server.broker)
    at_once(receiver.read_newest(node.storage))
    assert horizons(receiver) == (3, 3, 2), "those of the last minute may come"
    node.clock.advance(LONGEST_DELAY / 1000 + 1)
    assert horizons(receiver) == (4, 4, 3)
