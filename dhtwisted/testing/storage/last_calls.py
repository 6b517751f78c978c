"""The last call of a process before it is killed: one for each method of a storage that changes data, and a check of its effect."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from dhtwisted.kit.bulk_changes import bulk_changes
from dhtwisted.model import (
    Command,
    Device,
    EntityQuery,
    Message,
    MessageQuery,
    MqttQueued,
    MqttRetained,
    Network,
    Notification,
    Raised,
    User,
    With,
)
from dhtwisted.testing.storage.base import EVERYTHING, command, notification


async def _nothing(storage: Any) -> None:
    """Need nothing before the call."""


@dataclass(frozen=True)
class LastCall:
    """One call; each attribute is a coroutine function of the storage.

    :ivar call: makes the call, and completes when it completes.
    :ivar is_done: tells whether its effect is there.
    :ivar prepare: stores what the call needs.
    """

    call: Callable[[Any], Awaitable]
    is_done: Callable[[Any], Awaitable]
    prepare: Callable[[Any], Awaitable] = _nothing


async def _names(storage: Any, kind: type[Message]) -> list[str]:
    return [message.name for message in await storage.find_messages(kind, EVERYTHING)]


async def _append(storage: Any) -> None:
    await storage.append([notification("last"), command("last")])


async def _is_appended(storage: Any) -> bool:
    return [await _names(storage, kind) for kind in (Notification, Command)] == [["last"], ["last"]]


async def _append_command(storage: Any) -> None:
    await storage.append([command()])


async def _update_command(storage: Any) -> None:
    await storage.update_command("a", 1, {"status": "done", "result": b"[]"})


async def _is_command_updated(storage: Any) -> bool:
    found = await storage.get_message(Command, "a", 1)
    return found is not None and (found.status, found.result, found.updated) == ("done", b"[]", True)


async def _append_two(storage: Any) -> None:
    await storage.append([notification("old"), notification("new")])


async def _forget_messages(storage: Any) -> None:
    await storage.forget_messages(Notification, MessageQuery(take=1))


async def _is_forgotten(storage: Any) -> bool:
    return await _names(storage, Notification) == ["new"]


async def _restore(storage: Any) -> None:
    await storage.restore([notification(id=7, timestamp=5, arrived=5)])


async def _is_restored(storage: Any) -> bool:
    return await storage.get_message(Notification, "a", 7) is not None


async def _insert(storage: Any) -> None:
    await storage.insert(Device(id="last", name="last", network_id=1, device_type_id=1))


async def _is_inserted(storage: Any) -> bool:
    return await storage.get(Device, "last") is not None


async def _insert_user(storage: Any) -> None:
    await storage.insert(User(login="a"))


async def _update(storage: Any) -> None:
    await storage.update(User, 1, {"role": 0, "network_ids": With(frozenset({5})), "valid_from": Raised(7)})


async def _is_updated(storage: Any) -> bool:
    found = await storage.get(User, 1)
    return found is not None and (found.role, found.network_ids, found.valid_from) == (0, frozenset({5}), 7)


async def _insert_two(storage: Any) -> None:
    for name in ("kept", "gone"):
        await storage.insert(Network(name=name))


async def _delete(storage: Any) -> None:
    await storage.delete(Network, 2)


async def _is_deleted(storage: Any) -> bool:
    return [network.name for network in await storage.find(Network, EntityQuery())] == ["kept"]


async def _put_two(storage: Any) -> None:
    await bulk_changes(storage).change_many([_queued("1 a", 1), _queued("1 b", 1)], [])


async def _change_many(storage: Any) -> None:
    changed = MqttRetained(topic="last", payload=b"", qos=0, published=1)
    await bulk_changes(storage).change_many([_queued("1 b", 2), changed], [(MqttQueued, _queued("1 a", 1).key)])


async def _is_many_changed(storage: Any) -> bool:
    found = await storage.find(MqttQueued, EntityQuery())
    return found == [_queued("1 b", 1), _queued("1 b", 2)] and await storage.get(MqttRetained, "last") is not None


async def _remove_group(storage: Any) -> None:
    await bulk_changes(storage).remove_group(MqttQueued, "1 a")


async def _is_group_removed(storage: Any) -> bool:
    return await storage.find(MqttQueued, EntityQuery()) == [_queued("1 b", 1)]


def _queued(session: str, number: int) -> MqttQueued:
    return MqttQueued.of(session, number, topic="a", qos=1)


LAST_CALLS = {
    "append": LastCall(_append, _is_appended),
    "update_command": LastCall(_update_command, _is_command_updated, _append_command),
    "forget_messages": LastCall(_forget_messages, _is_forgotten, _append_two),
    "restore": LastCall(_restore, _is_restored),
    "insert": LastCall(_insert, _is_inserted),
    "update": LastCall(_update, _is_updated, _insert_user),
    "delete": LastCall(_delete, _is_deleted, _insert_two),
    "change_many": LastCall(_change_many, _is_many_changed, _put_two),
    "remove_group": LastCall(_remove_group, _is_group_removed, _put_two),
}
"""Name of the method -> a call of it."""

OF_ENTITIES = ("insert", "update", "delete", "change_many", "remove_group")
"""Those that a provider of messages alone does not have."""
