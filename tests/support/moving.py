"""Fill a storage, export it, and import an export into another storage."""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dhtwisted.errors import Duplicate
from dhtwisted.model import (
    ADMINISTRATOR,
    Configuration,
    Device,
    DeviceToken,
    DeviceType,
    Entity,
    EntityQuery,
    Message,
    MessageQuery,
    MqttQueued,
    MqttReceived,
    MqttRetained,
    MqttSession,
    Network,
    User,
)
from dhtwisted.model.mqtt import MqttSubscription, MqttWill
from dhtwisted.testing.storage.base import command, notification
from dhtwisted.transfer.exporting import export_all
from dhtwisted.transfer.importing import Import
from dhtwisted.transfer.records import KINDS
from dhtwisted.transfer.stream import Reader, Writer

TIME = "2026-01-02T03:04:05.678"
RECORD = "$scrypt$10$8$1$c2FsdA==$" + "A" * 43 + "="
NOW = 2**41
"""Later than all messages."""

ENTITIES: list[Entity] = [
    Network(name="home", description="Ä", id=3),
    Network(name="away", id=9, owner_id=5),
    DeviceType(name="lamp", id=4),
    Device(id="d-1", name="lamp", network_id=3, device_type_id=4, data=b'{"price": 1.10}', is_blocked=True, owner_id=5),
    Device(id="D-2", name="D-2", network_id=9, device_type_id=4),
    Configuration(name="colour", value="red", entity_version=7, id=2),
    DeviceToken(id=8, device_id="d-1", user_id=5, created=1234, expires=2**40, label="shed"),
    User(
        id=5,
        login="anna",
        login_key="anna",
        known_addresses=(("192.0.2.1", 1234),),
        password=RECORD,
        role=ADMINISTRATOR,
        data=b" {} ",
        network_ids=frozenset({3, 9}),
    ),
    User(
        id=6,
        login="Bob",
        login_key="bob",
        status=1,
        intro_reviewed=True,
        last_login=1234,
        all_device_types_available=False,
        device_type_ids=frozenset({4}),
    ),
    MqttSession(
        id="5 shed",
        user_id=5,
        client_id="shed",
        created=1234,
        ended=2345,
        subscriptions=(MqttSubscription("tele/+/ä", 1), MqttSubscription("dh/#", 2, is_device=True)),
        will=MqttWill("gone", b"\x00\xff"),
    ),
    MqttRetained(topic="tele/shed/ä", payload=b"\x00\xff", qos=1, published=1234, user_id=5),
    MqttQueued.of("5 shed", 7, topic="tele/shed/ä", qos=1, payload=b"21.50"),
    MqttQueued.of("5 shed", 12, topic="dh/notification/3/4/gone/t", qos=2, message="notification", device_id="gone", message_id=31),
    MqttReceived.of("5 shed", 3),
]
MESSAGES: list[Message] = [
    command("on", "d-1", id=2, timestamp=5, arrived=6, last_updated=5),
    command(
        "off", "d-1", id=7, timestamp=3, arrived=11, last_updated=9, updated=True, user_id=5, lifetime=60, status="done", result=b"[ 1 ]"
    ),
    notification("t", "D-2", id=1, timestamp=8, arrived=8, parameters=b'{"celsius":21.50}'),
    notification("t", "D-2", id=30, timestamp=8, arrived=9, network_id=9, device_type_id=4),
    notification("t", "gone", id=31, timestamp=2, arrived=10, parameters=b"null"),
]


async def fill(storage: Any, messages: Any = None, entities: Iterable[Entity] = ENTITIES, stored: Sequence[Message] = MESSAGES) -> None:
    """Insert entities and messages into a storage. Entities that it has already are left out."""
    for entity in entities:
        try:
            await storage.insert(entity)
        except Duplicate:
            continue
    if stored:
        await (messages or storage).restore(sorted(stored, key=lambda message: message.id))


async def contents(storage: Any, messages: Any = None) -> dict[type, list[Any]]:
    """Everything in a storage: kind -> objects."""
    found = {kind: await storage.find(kind, EntityQuery()) for kind in KINDS if hasattr(kind, "KEY")}
    return found | {kind: await (messages or storage).find_messages(kind, MessageQuery()) for kind in KINDS if not hasattr(kind, "KEY")}


async def exported(storage: Any, messages: Any = None, report: Callable[[], None] = lambda: None, now: int = NOW) -> bytes:
    """The export of a storage, as bytes.

    :param now: milliseconds. A client has given messages with a later timestamp that timestamp.
    """
    file = io.BytesIO()

    async def report_later() -> None:
        report()

    await export_all(storage, messages or storage, Writer(file.write, "1.2.3", TIME), now, report_later)
    return file.getvalue()


async def imported(data: bytes, storage: Any, messages: Any = None, report: Callable[[], None] = lambda: None, now: int = 0) -> Import:
    """Import an export into a storage.

    :param now: milliseconds.
    :returns: the :class:`Import`, done.
    """
    work = Import(storage, messages or storage, Reader(io.BytesIO(data)), now, report)
    await work.run()
    return work


def changed(data: bytes, old: bytes, new: bytes) -> bytes:
    """An export with one text replaced. The text must occur once."""
    assert data.count(old) == 1
    return data.replace(old, new)
