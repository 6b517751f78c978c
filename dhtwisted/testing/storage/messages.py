"""The contract of a message storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import replace
from zope.interface.verify import verifyObject

from dhtwisted.errors import StorageError
from dhtwisted.interfaces import IBackedUpStorage, IMessageStorage
from dhtwisted.model import Command, Message, MessageQuery, Notification
from dhtwisted.testing.contract import Watched
from dhtwisted.testing.storage.backup import BackedUpStorageContract
from dhtwisted.testing.storage.base import EVERYTHING, SettableReactor, command, notification, now, outcomes, refuses_when_closed, results
from dhtwisted.testing.storage.ordering import MessageOrdering
from dhtwisted.testing.storage.queries import MessageQueries, names_found
from dhtwisted.testing.storage.restoring import MessageRestoring
from dhtwisted.testing.strategies import ODD_JSON


class MessageStorageContract(MessageQueries, MessageOrdering, MessageRestoring):
    """What the server relies on when it keeps commands and notifications."""

    def test_provides_message_storage(self, storage: Watched) -> None:
        assert verifyObject(IMessageStorage, storage.provider), "IMessageStorage: every method, with its arguments"
        assert storage.durability in ("durable", "volatile"), "durability must be 'durable' or 'volatile'"
        assert hasattr(storage, "state_directory"), "a storage must have state_directory: a path or None"

    def test_copies_of_itself_are_proved(self, storage: Watched) -> None:
        is_proved = isinstance(self, BackedUpStorageContract)
        assert is_proved == IBackedUpStorage.providedBy(storage), (
            "the tests of a storage that provides IBackedUpStorage must use BackedUpStorageContract"
        )

    @pytest_twisted.ensureDeferred
    async def test_append_stamps_in_place(self, storage: Watched, clock: SettableReactor) -> None:
        first, second = command(), notification()
        assert await storage.append((first, second)) is None, "append must return None"
        assert (first.id, second.id) == (1, 1), "ids must begin at 1, for each kind separately"
        assert first.timestamp == second.timestamp == now(clock), (
            "a message without a timestamp must get the reactor's time, in milliseconds"
        )
        assert first.last_updated == first.timestamp, "last_updated of a new command must be its timestamp"
        assert first.arrived == second.arrived == now(clock), "arrived must be the storage's time of the append"
        assert await storage.get_message(Command, "a", 1) == first, "get_message must return the message with its stamps"
        assert await storage.get_message(Notification, "a", 1) == second, "get_message must return the message with its stamps"

    @pytest_twisted.ensureDeferred
    async def test_a_time_of_the_clients_own_is_kept(self, storage: Watched, clock: SettableReactor) -> None:
        given = [command(timestamp=5), command(timestamp=now(clock) + 86_400_000), command()]
        await storage.append(given)
        assert given[0].timestamp == given[0].last_updated == 5, "append must keep a timestamp from a client"
        assert given[2].timestamp == now(clock), "a timestamp from a client must not change the server's time"
        assert {m.arrived for m in given} == {now(clock)}, "arrived must be the storage's time, whatever timestamp the client gave"
        await storage.append([late := command(timestamp=5, arrived=5)])
        assert late.arrived == now(clock), "append must replace a given arrived by the storage's time"
        updated = await storage.update_command("a", late.id, {})
        assert updated == await storage.get_message(Command, "a", late.id), "update_command must return the command as it is stored"
        assert updated.arrived == now(clock), "update_command must not change arrived"

    @pytest_twisted.ensureDeferred
    async def test_ids_ascend_over_appends_and_deletions(self, storage: Watched) -> None:
        await storage.append([notification(), notification()])
        await storage.forget_messages(Notification, EVERYTHING)
        later = notification()
        await storage.append([later])
        assert later.id == 3, "an id must not be used twice, even if no message is left"

    @pytest_twisted.ensureDeferred
    async def test_server_time_never_steps_back(self, storage: Watched, clock: SettableReactor) -> None:
        before: Any = notification()
        await storage.append([before])
        clock.time -= 3600
        after: Any = notification()
        changed = command()
        await storage.append([after, changed])
        assert after.timestamp >= before.timestamp, "server times must not step back, even if the clock does"
        assert after.arrived == after.timestamp, "arrived must be the server's time, and must not step back"
        updated = await storage.update_command("a", changed.id, {})
        assert updated.last_updated >= before.timestamp, "last_updated must not step back, even if the clock does"

    @pytest_twisted.ensureDeferred
    async def test_concurrent_appends_get_ids_in_order_of_visibility(self, storage: Watched) -> None:
        seen = []

        async def append(name: str) -> None:
            message = notification(name)
            await storage.append([message])
            seen.append(message)
            found = await storage.find_messages(Notification, EVERYTHING)
            ids = [m.id for m in found]
            assert ids == list(range(1, len(ids) + 1)), "an id must not be visible before all lower ids are"
            assert message.id in ids, "a message must be visible when its append completes"

        await results(*(append(str(n)) for n in range(50)))
        assert sorted(m.id for m in seen) == list(range(1, 51)), "each message must have an id of its own"

    @pytest_twisted.ensureDeferred
    async def test_appends_at_once_do_not_mix(self, storage: Watched) -> None:
        groups = [[notification(name) for _ in range(5)] for name in "abcdefgh"]
        await results(*(storage.append(group) for group in groups))
        for group in groups:
            ids = [m.id for m in group]
            assert ids == list(range(ids[0], ids[0] + 5)), "the messages of one append must become visible together, in their order"

    @pytest_twisted.ensureDeferred
    async def test_what_follows_a_barrier_is_not_before_it(self, storage: Watched, clock: SettableReactor) -> None:
        await storage.append([command("before")])
        clock.time += 1
        asked_at = now(clock)
        await storage.append(())
        clock.time -= 3600
        after: Any = notification("after")
        await storage.append([after])
        updated = await storage.update_command("a", 1, {})
        assert after.timestamp >= asked_at, "after an empty append, no message may get a time before the call of that append"
        assert updated.last_updated >= asked_at, "after an empty append, no update may get a time before the call of that append"
        assert (after.id, await names_found(storage)) == (1, "after"), "an append of nothing must store nothing, and use no id"

    @pytest_twisted.ensureDeferred
    async def test_append_is_all_or_none(self, storage: Watched) -> None:
        """Text that is no Unicode and integers beyond 64 bits: a storage may keep them, or refuse them with all that came along."""
        for bad in (notification("\ud800"), notification(network_id=2**70), command(status="\udfff")):
            good: list[Message] = [notification("good"), command("good")]
            (outcome,) = await outcomes(storage.append([good[0], bad, good[1]]))
            kept = [await storage.find_messages(kind, MessageQuery(names=("good",))) for kind in (Notification, Command)]
            if outcome is None:
                assert [len(found) for found in kept] == [1, 1], "an append that completes must have stored every message"
                for kind in (Notification, Command):
                    await storage.forget_messages(kind, EVERYTHING)
            else:
                assert isinstance(outcome, StorageError), f"a storage raises kinds of StorageError, not {outcome!r}"
                assert kept == [[], []], "an append that fails must not have stored any message"
                assert good[0].timestamp is good[0].arrived is None, (
                    "an append that fails must not stamp any message: the caller may append them again"
                )
        await storage.append([notification("after")])
        assert await names_found(storage, names=("after",)) == "after", "a refused append must not affect the next"

    @pytest_twisted.ensureDeferred
    async def test_a_bad_message_does_not_harm_its_neighbours(self, storage: Watched) -> None:
        neighbours = [notification(str(n)) for n in range(10)]
        appends = [storage.append([n]) for n in neighbours]
        found = await outcomes(*appends[:5], storage.append([notification("\ud800")]), *appends[5:])
        assert found[:5] == found[6:] == [None] * 5, "concurrent appends must fail separately"
        stored = await storage.find_messages(Notification, MessageQuery(names=tuple(n.name for n in neighbours)))
        assert {(m.name, m.id) for m in stored} == {(n.name, n.id) for n in neighbours}, (
            "each message must be stored with the stamps that it got"
        )

    @pytest.mark.parametrize("text", ODD_JSON, ids=lambda text: ascii(text[:12]))
    @pytest_twisted.ensureDeferred
    async def test_payloads_come_back_byte_for_byte(self, storage: Watched, text: bytes) -> None:
        sent: list[Message] = [command(parameters=text), notification(parameters=text)]
        await storage.append(sent)
        await storage.update_command("a", sent[0].id, {"result": text})
        stored = [await storage.get_message(type(m), "a", m.id) for m in sent]
        assert [m.parameters for m in stored] == [text, text], "parameters must come back byte for byte"
        assert stored[0].result == text, "result must come back byte for byte"

    @pytest_twisted.ensureDeferred
    async def test_a_message_is_found_under_its_device_and_kind_alone(self, storage: Watched) -> None:
        await storage.append([notification()])
        for kind, device_id, message_id in ((Command, "a", 1), (Notification, "b", 1), (Notification, "a", 2), (Notification, "a", 2**70)):
            assert await storage.get_message(kind, device_id, message_id) is None, "None when that device has no such message"

    @pytest_twisted.ensureDeferred
    async def test_update_command(self, storage: Watched, clock: SettableReactor) -> None:
        sent = command(parameters=b'{"a":1}', user_id=3, lifetime=9)
        await storage.append([sent])
        before = replace(sent)
        clock.time += 1
        updated = await storage.update_command("a", 1, {"status": "done", "result": b"[1]"})
        expected = replace(before, status="done", result=b"[1]", updated=True, last_updated=now(clock), update_id=updated.update_id)
        assert updated == expected, "update_command must set the given fields, updated and last_updated, and return the whole command"
        assert await storage.get_message(Command, "a", 1) == expected, "the update must be stored"
        clock.time += 1
        assert updated.updated is True, "updated must be a boolean, whatever the backend stores"
        again = await storage.update_command("a", 1, {"status": None})
        expected = replace(expected, status=None, last_updated=now(clock), update_id=again.update_id)
        assert again == expected, "update_command must not change fields that are not given"

    @pytest_twisted.ensureDeferred
    async def test_each_update_is_later_than_the_one_before(self, storage: Watched, clock: SettableReactor) -> None:
        await storage.append([command()])
        updates = await results(*(storage.update_command("a", 1, {"status": str(n)}) for n in range(5)))
        times = [now(clock), *(u.last_updated for u in updates)]
        assert all(earlier < later for earlier, later in zip(times, times[1:], strict=False)), "last_updated must ascend by 1 ms at least"

    @pytest_twisted.ensureDeferred
    async def test_updates_are_numbered_in_the_order_of_commits(self, storage: Watched, clock: SettableReactor) -> None:
        await storage.append([command(), command("c", "b")])
        made = await results(*(storage.update_command(*of, {}) for of in [("a", 1), ("b", 2)] * 3))
        assert all(m.update_id > 0 for m in made), "update_id of an update must be positive"
        assert len({m.update_id for m in made}) == len(made), "each update must have an update_id of its own"
        for device_id, command_id in (("a", 1), ("b", 2)):
            numbers = [m.update_id for m in made if m.id == command_id]
            assert numbers == sorted(numbers), "a later update must have a higher update_id"
            stored = await storage.get_message(Command, device_id, command_id)
            assert stored.update_id == numbers[-1], "update_id of a command must be that of its last update"
        clock.time -= 3600
        last = await storage.update_command("a", 1, {})
        assert last.update_id > max(m.update_id for m in made), "update_id must ascend, even if the clock steps back"
        await storage.append(later := [command()])
        assert later[0].update_id == 0, "update_id of a command without updates must be 0"

    @pytest_twisted.ensureDeferred
    async def test_update_of_nothing_is_none(self, storage: Watched) -> None:
        await storage.append([command()])
        for device_id, command_id in (("b", 1), ("a", 2), ("a", 2**70)):
            found = await storage.update_command(device_id, command_id, {"status": "done"})
            assert found is None, "None when that device has no such command"
        assert not (await storage.get_message(Command, "a", 1)).updated, "an update for another device must not change anything"

    @pytest_twisted.ensureDeferred
    async def test_what_was_handed_out_does_not_change(self, storage: Watched) -> None:
        await storage.append([command()])
        (found,) = await storage.find_messages(Command, EVERYTHING)
        copy = replace(found)
        await storage.update_command("a", 1, {"status": "done"})
        assert found == copy, "a later update must make a new object, and not change one that was returned before"

    @pytest_twisted.ensureDeferred
    async def test_a_closing_storage_finishes_what_it_accepted(self, storage: Watched) -> None:
        appended = [storage.append([notification(str(n))]) for n in range(200)]
        found, _ = await results(results(*appended), storage.close())
        assert found == [None] * 200, "close must finish all accepted calls"

    @pytest_twisted.ensureDeferred
    async def test_what_was_never_opened_can_be_closed(self, clock: SettableReactor, directory: Path) -> None:
        storage = self.watched(self.make_storage(clock, directory))
        (outcome,) = await outcomes(storage.close())
        assert outcome is None, f"close is called when open failed, and must do nothing then, instead of {outcome!r}"

    @pytest_twisted.ensureDeferred
    async def test_a_closed_storage_refuses_messages(self, storage: Watched) -> None:
        await storage.append([notification(), command()])
        await storage.close()
        await refuses_when_closed(
            storage,
            ("append", [notification()]),
            ("append", ()),
            ("update_command", "a", 1, {"status": "done"}),
            ("get_message", Notification, "a", 1),
            ("find_messages", Notification, EVERYTHING),
            ("forget_messages", Notification, EVERYTHING),
            ("restore", [notification(id=7, timestamp=1, arrived=1)]),
        )
