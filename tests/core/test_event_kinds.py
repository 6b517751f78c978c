"""What is declared of each kind of event fits what the storage does."""

import pytest
from twisted.internet.task import Clock

from dhtwisted.actions import ACTIONS
from dhtwisted.core.event_kinds import COMMAND_INSERTED, COMMAND_UPDATED, EVENT_KINDS, NOTIFICATION_INSERTED
from dhtwisted.model import COMMAND_INSERT, COMMAND_UPDATE, NOTIFICATION_INSERT, Command, Notification
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import at_once

PLACE = {"device_id": "d", "network_id": 1, "device_type_id": 1}
SECOND = 1000


@pytest.fixture
def storage():
    """Two messages of each kind a second apart, of which the client dated the later one back, and updates in the other order."""
    clock = Clock()
    storage = MemoryStorage(clock)
    for timestamp in (None, 1):
        clock.advance(1)
        at_once(storage.append((Command(name="c", timestamp=timestamp, **PLACE), Notification(name="n", timestamp=timestamp, **PLACE))))
    for command_id in (2, 1):
        clock.advance(1)
        at_once(storage.update_command("d", command_id, {"status": "done"}))
    return storage


def found(storage, kind, query):
    return [message.id for message in at_once(storage.find_messages(kind.message_kind, query))]


def test_there_is_one_of_each_name():
    assert {name: kind.name for name, kind in EVENT_KINDS.items()} == {
        name: name for name in (COMMAND_INSERT, COMMAND_UPDATE, NOTIFICATION_INSERT)
    }


@pytest.mark.parametrize("kind", EVENT_KINDS.values(), ids=EVENT_KINDS)
def test_a_subscriber_needs_the_permission_of_the_action_that_subscribes(kind):
    assert ACTIONS[f"{kind.message_kind.KIND}/subscribe"].permissions == {kind.permission}


@pytest.mark.parametrize(("kind", "last"), [(COMMAND_INSERTED, 2), (NOTIFICATION_INSERTED, 2), (COMMAND_UPDATED, 1)])
def test_the_newest_is_what_was_stored_last(storage, kind, last):
    assert found(storage, kind, kind.newest_stored()) == [last]
    assert found(storage, kind, kind.newest_stored(before=SECOND)) == []


@pytest.mark.parametrize(("kind", "in_order"), [(COMMAND_INSERTED, [2, 1]), (NOTIFICATION_INSERTED, [2, 1]), (COMMAND_UPDATED, [2, 1])])
def test_the_order_of_time_is_what_clients_go_on_by(storage, kind, in_order):
    messages = at_once(storage.find_messages(kind.message_kind, kind.by_time()))
    assert [message.id for message in messages] == in_order
    assert [kind.time_of(message) for message in messages] == sorted(kind.time_of(message) for message in messages)
    assert found(storage, kind, kind.by_time(newest=True)) == in_order[-1:]
    assert found(storage, kind, kind.by_time(since=kind.time_of(messages[1]))) == in_order[1:]


@pytest.mark.parametrize("kind", EVENT_KINDS.values(), ids=EVENT_KINDS)
def test_numbers_ascend_in_the_order_of_commits(storage, kind):
    messages = sorted(at_once(storage.find_messages(kind.message_kind, kind.by_time())), key=kind.stored_at)
    assert [kind.number_of(message) for message in messages] == [1, 2]
