"""The contract of a storage that says ``durable``: what was acknowledged is there after a restart, and after kill -9."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import replace

from dhtwisted.errors import Duplicate
from dhtwisted.model import (
    Command,
    Configuration,
    Device,
    DeviceToken,
    DeviceType,
    Entity,
    EntityQuery,
    Holding,
    Message,
    MessageQuery,
    MqttQueued,
    MqttReceived,
    MqttRetained,
    MqttSession,
    Network,
    Notification,
    Raised,
    StoredBytes,
    User,
)
from dhtwisted.model.mqtt import SENT, MqttSubscription, MqttWill
from dhtwisted.testing.contract import Watched, must_raise
from dhtwisted.testing.storage.base import EVERYTHING, SettableReactor, command, need_entities, notification, now
from dhtwisted.testing.storage.killed import KilledStorage

ENTITIES = (
    User(
        id=8,
        login="änna",
        password="$scrypt$x",
        role=0,
        status=2,
        data=b'{"a": 1.10}',
        intro_reviewed=True,
        last_login=5,
        all_device_types_available=False,
        network_ids=frozenset({1, 2**40}),
        device_type_ids=frozenset({3}),
        valid_from=2**45,
        login_key="änna",
        known_addresses=(("2001:db8::/64", 2**45), ("192.0.2.1", 2**45 + 1)),
    ),
    Network(id=8, name="nét", description="a network", owner_id=2**40),
    DeviceType(id=8, name="type", description="a type", owner_id=2**40),
    Device(id="a-1", name="lamp", network_id=2**40, device_type_id=3, data=b"[ 1.0]", is_blocked=True, owner_id=2**40),
    Configuration(id=8, name="key", value="välue", entity_version=3),
    DeviceToken(id=8, device_id="a-1", user_id=2**40, created=2**45, expires=2**45 + 1, label="lābel"),
    StoredBytes(id="20260102 user 3", size=2**40),
    MqttSession(
        id="3 länna",
        user_id=3,
        client_id="länna",
        created=2**45,
        version=5,
        expiry=2**31,
        ended=2**45 + 1,
        subscriptions=(
            MqttSubscription("tele/+/ä", 2, True, True, 2, 268_435_455),
            MqttSubscription("dh/notification/#", 1, is_plain=True, is_device=True),
        ),
        will=MqttWill("gone/ä", b"\x00\xff", 2, True, b"\x01\x00", 30, 60),
        claims=b'{"a": 1.10}',
        device_state=b"\x00\xff",
        last_packet_id=65_535,
    ),
    MqttRetained(
        topic="tele/ä/\U0001f321",
        payload=b"\x00\xff",
        qos=2,
        published=2**45,
        user_id=2**40,
        client_id="länna",
        properties=b"\x01\x00",
        expires=2**45 + 1,
    ),
    MqttQueued.of(
        "3 länna",
        2**40,
        topic="tele/ä",
        qos=2,
        packet_id=65_535,
        state=SENT,
        retain=True,
        payload=b"\x00\xff",
        properties=b"\x01\x00",
        identifiers=(1, 268_435_455),
        expires=2**45,
        message="command_update",
        device_id="ä",
        message_id=2**40,
    ),
    MqttReceived.of("3 länna", 65_535, 0x10),
)
"""One of each kind, with no field as it is by default."""


class DurableStorageContract(KilledStorage):
    """What ``durable`` promises."""

    def test_says_durable(self, storage: Watched) -> None:
        assert storage.durability == "durable", "a durable storage must have the durability 'durable'"

    @pytest_twisted.ensureDeferred
    async def test_messages_outlive_a_restart(self, clock: SettableReactor, directory: Path) -> None:
        values: dict[str, Any] = {"network_id": 2**40, "device_type_id": 3, "parameters": b'{"a": 1.10}'}
        sent = [command(user_id=4, lifetime=9, **values), notification("first"), notification("second", timestamp=5, **values)]
        async with self.opened(clock, directory) as storage:
            await storage.append(sent[1:2])
            clock.time += 1
            await storage.append([sent[0], sent[2]])
            sent[0] = await storage.update_command("a", 1, {"status": "done", "result": b"[]"})
            await storage.forget_messages(Notification, MessageQuery(before=now(clock)))
        arrived, clock.time = now(clock), clock.time + 1
        async with self.opened(clock, directory) as storage:
            assert await storage.find_messages(Command, EVERYTHING) == [sent[0]], (
                "a command must be unchanged after a restart, with its update"
            )
            found = await storage.find_messages(Notification, EVERYTHING)
            assert found == [sent[2]], "after a restart deleted messages must be gone, and the others unchanged, with their arrival"
            for before, gone in ((arrived, 0), (arrived + 1, 1)):
                query = MessageQuery(before=before, take=100)
                assert await storage.forget_messages(Notification, query) == gone, (
                    "forget_messages must use the same arrival after a restart"
                )

    @pytest_twisted.ensureDeferred
    async def test_ids_and_times_go_on_after_a_restart(self, clock: SettableReactor, directory: Path) -> None:
        before: Any = notification()
        after: Any = notification()
        async with self.opened(clock, directory) as storage:
            await storage.append(())
            await storage.append([before])
            await storage.forget_messages(Notification, EVERYTHING)
        clock.time -= 3600
        async with self.opened(clock, directory) as storage:
            await storage.append([after])
        assert after.id == before.id + 1, "ids must continue after a restart, even if no message is left"
        assert after.timestamp >= before.timestamp, "server times must not step back after a restart, even if the clock did"

    @pytest_twisted.ensureDeferred
    async def test_numbers_of_updates_go_on_over_a_restart(self, clock: SettableReactor, directory: Path) -> None:
        async with self.opened(clock, directory) as storage:
            await storage.append([command(), command("gone", "b")])
            before = await storage.update_command("a", 1, {})
            gone = await storage.update_command("b", 2, {})
            await storage.forget_messages(Command, MessageQuery(device_ids=("b",), take=1))
        clock.time -= 3600
        async with self.opened(clock, directory) as storage:
            assert await storage.get_message(Command, "a", 1) == before, "update_id must be unchanged after a restart"
            after = await storage.update_command("a", 1, {})
        assert after.update_id > gone.update_id > before.update_id, (
            "update_id must continue after a restart, even if the last updated command is gone"
        )

    @pytest_twisted.ensureDeferred
    async def test_restored_messages_outlive_a_restart(self, clock: SettableReactor, directory: Path) -> None:
        kept = command(id=7, timestamp=5, arrived=8, last_updated=9, updated=True, status="done", result=b"[ 1.0]")
        gone = notification(id=12, timestamp=5, arrived=5)
        later: list[Message] = [command(), notification()]
        async with self.opened(clock, directory) as storage:
            await storage.restore([kept, gone])
            await storage.forget_messages(Notification, EVERYTHING)
        async with self.opened(clock, directory) as storage:
            assert await storage.find_messages(Command, EVERYTHING) == [kept], "a restored message must be unchanged after a restart"
            await storage.append(later)
        assert [m.id for m in later] == [8, 13], (
            "new ids must be above all restored ids after a restart, even if no restored message is left"
        )

    @pytest_twisted.ensureDeferred
    async def test_entities_outlive_a_restart(self, clock: SettableReactor, directory: Path) -> None:
        async with self.opened(clock, directory) as storage:
            need_entities(storage)
            kept, removed = await storage.insert(Network(name="a")), await storage.insert(Network(name="b"))
            kept = await storage.update(Network, kept.id, {"description": "changed"})
            await storage.delete(Network, removed.id)
        async with self.opened(clock, directory) as storage:
            assert await storage.find(Network, EntityQuery()) == [kept], "changes and deletions of entities must survive a restart"
            assert (await storage.insert(Network(name="c"))).id == removed.id + 1, "a key must not be used again after a restart"

    @pytest_twisted.ensureDeferred
    async def test_holdings_outlive_a_restart(self, clock: SettableReactor, directory: Path) -> None:
        async with self.opened(clock, directory) as storage:
            need_entities(storage)
            for entity in ENTITIES:
                await storage.insert(entity)
            before = await storage.holdings(2**40)
        assert before[Device] == Holding(1, 6), "holdings must count a device and its data for the user in owner_id"
        async with self.opened(clock, directory) as storage:
            assert await storage.holdings(2**40) == before, "holdings must be the same after a restart"

    @pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.KIND)
    @pytest_twisted.ensureDeferred
    async def test_every_field_outlives_a_restart(self, clock: SettableReactor, directory: Path, entity: Entity) -> None:
        kind = type(entity)
        async with self.opened(clock, directory) as storage:
            need_entities(storage)
            await storage.insert(entity)
        async with self.opened(clock, directory) as storage:
            found = await storage.get(kind, entity.key)
            assert found is not None, f"a {kind.__name__} is gone after a restart: every kind of model.ENTITY_KINDS must be kept"
            for field in kind.__struct_fields__:
                stored, value = getattr(found, field), getattr(entity, field)
                assert stored == value, f"{kind.__name__}.{field} was {value!r} and is {stored!r} after a restart: every field must be kept"

    @pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.KIND)
    @pytest_twisted.ensureDeferred
    async def test_what_is_unique_stays_unique_over_a_restart(self, clock: SettableReactor, directory: Path, entity: Entity) -> None:
        kind, other_key = type(entity), "b-2" if isinstance(entity.key, str) else 9
        async with self.opened(clock, directory) as storage:
            need_entities(storage)
            await storage.insert(entity)
        async with self.opened(clock, directory) as storage:
            with must_raise(Duplicate, f"after a restart insert of a {kind.__name__} with a taken {kind.KEY}"):
                await storage.insert(replace(entity, **{field: "other" for field in kind.UNIQUE}))
            for field in kind.UNIQUE:
                with must_raise(Duplicate, f"after a restart insert of a {kind.__name__} with a taken {field}"):
                    await storage.insert(replace(entity, **{kind.KEY: other_key}))
                found = await storage.find(kind, EntityQuery(equal={field: getattr(entity, field)}))
                assert found == [entity], f"after a restart a {kind.__name__} must be found by its {field}"

    @pytest_twisted.ensureDeferred
    async def test_a_number_is_raised_above_what_it_was_before_a_restart(self, clock: SettableReactor, directory: Path) -> None:
        async with self.opened(clock, directory) as storage:
            need_entities(storage)
            user = await storage.insert(User(login="a"))
            before = await storage.update(User, user.id, {"valid_from": Raised(1000)})
        async with self.opened(clock, directory) as storage:
            after = await storage.update(User, user.id, {"valid_from": Raised(5)})
        assert after.valid_from > before.valid_from, (
            f"model.Raised after a restart made {after.valid_from} of {before.valid_from}: a number never falls, or revoked tokens "
            "are good again"
        )
