"""The part of the contract of a message storage that an import needs: messages are stored unchanged."""

from __future__ import annotations

from typing import Any

import pytest_twisted
from hypothesis import strategies as st
from msgspec.structs import replace

from dhtwisted.errors import Duplicate, StorageError
from dhtwisted.model import Command, Message, MessageQuery, Notification
from dhtwisted.testing.contract import Watched, must_raise
from dhtwisted.testing.storage.base import EVERYTHING, YEAR, SettableReactor, StorageContract, command, notification, now, outcomes, results
from dhtwisted.testing.storage.model import find_messages
from dhtwisted.testing.storage.queries import names_found
from dhtwisted.testing.strategies import message_queries, stored_messages, timestamps


def old_command(message_id: int, **values: Any) -> Command:
    """A command as another storage had it: updated 5 ms after its time, and arrived 2 ms after it."""
    stamps: dict[str, Any] = {"id": message_id, "timestamp": 1000, "arrived": 1002, "last_updated": 1005}
    return command(**(stamps | {"updated": True, "status": "done"} | values))


def old_notification(message_id: int, **values: Any) -> Notification:
    """A notification as another storage had it."""
    return notification(**({"id": message_id, "timestamp": 1000, "arrived": 1002} | values))


async def stored(storage: Watched) -> list[list[Any]]:
    """All commands and all notifications."""
    return [await storage.find_messages(kind, EVERYTHING) for kind in (Command, Notification)]


class MessageRestoring(StorageContract):
    """What :class:`~dhtwisted.testing.storage.MessageStorageContract` says of ``restore``."""

    @pytest_twisted.ensureDeferred
    async def test_restored_messages_are_as_they_were(self, storage: Watched) -> None:
        given: list[Message] = [
            old_notification(3, parameters=b'{"a": 1.10}'),
            old_command(4, user_id=3, parameters=b" [] ", lifetime=9, result=b"1E5"),
            old_command(9, last_updated=1000, updated=False, status=None),
            old_notification(8, network_id=2, device_type_id=3, arrived=7000),
        ]
        copies = [replace(m) for m in given]
        assert await storage.restore(given) is None, "restore must return None"
        assert given == copies, "restore must not change the given messages"
        assert await stored(storage) == [copies[1:3], [copies[0], copies[3]]], "restore must keep every field: ids, times and the arrival"
        for m in copies:
            assert await storage.get_message(type(m), "a", m.id) == m, "get_message must find a restored message by its id"
        updated = await storage.find_messages(Command, MessageQuery(updated=True, by_update=True, since=1001))
        assert updated == [copies[1]], "by_update must find a restored command by the time of its last update"

    @pytest_twisted.ensureDeferred
    async def test_later_ids_lie_above_restored_ones(self, storage: Watched) -> None:
        await storage.restore([old_notification(3), old_notification(70)])
        later: list[Message] = [notification(), command()]
        await storage.append(later)
        assert [m.id for m in later] == [71, 1], "append must give ids above the highest restored id, for each kind separately"
        await storage.restore([old_notification(5)])
        await storage.append(later := [notification()])
        assert later[0].id == 72, "a restored id below others must not lower the next id"

    @pytest_twisted.ensureDeferred
    async def test_ids_may_lie_anywhere(self, storage: Watched) -> None:
        await storage.append([notification("c", timestamp=1000) for _ in range(3)])
        await storage.restore([old_notification(10, name="e"), old_notification(20, name="f")])
        await storage.restore([old_notification(7, name="d"), old_notification(15, name="x", timestamp=5, arrived=5)])
        await storage.forget_messages(Notification, MessageQuery(before=1000))
        found = [(m.id, m.name) for m in await storage.find_messages(Notification, EVERYTHING)]
        assert found == [(1, "c"), (2, "c"), (3, "c"), (7, "d"), (10, "e"), (20, "f")], (
            "restore must accept ids above, below and between the stored ids"
        )
        await storage.restore([old_notification(15, name="y")])
        assert await storage.get_message(Notification, "a", 15) is not None, "the id of a deleted message must be free for restore"

    @pytest_twisted.ensureDeferred
    async def test_a_taken_id_is_refused_with_all_that_came_along(self, storage: Watched) -> None:
        await storage.append([notification(), command()])
        await storage.restore([old_command(5)])
        before = await stored(storage)
        for expected, given in (
            (Duplicate(Command, "id", 5), [old_notification(2), old_command(2), old_command(5), old_command(6)]),
            (Duplicate(Command, "id", 1), [old_command(1, device_id="b"), old_notification(2)]),
            (Duplicate(Notification, "id", 1), [old_command(2), old_notification(1), old_notification(2)]),
        ):
            with must_raise(Duplicate, "restore of a taken id") as caught:
                await storage.restore(given)
            told = caught.value
            assert (told.field, str(told)) == ("id", str(expected)), "restore must raise Duplicate(kind, 'id', id) with the taken id"
            assert await stored(storage) == before, "a refused restore must not store or change any message"
        later: list[Message] = [notification(), command()]
        await storage.append(later)
        assert later[0].id > 1, "a refused restore must not affect later calls"
        assert later[1].id > 5, "a refused restore must not affect later calls"

    @pytest_twisted.ensureDeferred
    async def test_what_cannot_be_kept_is_refused_with_all_that_came_along(self, storage: Watched) -> None:
        """Text that is no Unicode and integers beyond 64 bits: a storage may keep them, or refuse them with all that came along."""
        for bad in (old_notification(5, name="\ud800"), old_notification(5, network_id=2**70), old_command(5, status="\udfff")):
            (outcome,) = await outcomes(storage.restore([old_command(2), old_notification(2), bad]))
            if outcome is None:
                assert [len(found) for found in await stored(storage)] in ([1, 2], [2, 1]), (
                    "a restore that completes must have stored all messages"
                )
                for kind in (Command, Notification):
                    await storage.forget_messages(kind, EVERYTHING)
            else:
                assert isinstance(outcome, StorageError), f"a storage raises kinds of StorageError, not {outcome!r}"
                assert await stored(storage) == [[], []], "a restore that fails must not have stored any message"

    @pytest_twisted.ensureDeferred
    async def test_restored_messages_are_as_old_as_they_were(self, storage: Watched, clock: SettableReactor) -> None:
        arrived = now(clock)
        await storage.append([notification("b")])
        await storage.restore([old_notification(2, name="a", timestamp=arrived, arrived=arrived - YEAR)])
        await storage.restore([old_notification(3, name="c", timestamp=0, arrived=arrived + 1)])
        for name in "abc":
            first = await names_found(storage, by_arrival=True, take=1)
            assert (first, await storage.forget_messages(Notification, MessageQuery(take=1))) == (name, 1), (
                "a restored message has its arrival"
            )

    @pytest_twisted.ensureDeferred
    async def test_restored_times_do_not_move_that_of_the_server(self, storage: Watched, clock: SettableReactor) -> None:
        future = now(clock) + YEAR
        times = {"timestamp": future, "arrived": future}
        await storage.restore([old_notification(1, **times), old_command(1, **times, last_updated=future + 5)])
        later: list[Message] = [notification(), command()]
        await storage.append(later)
        assert {m.timestamp for m in later} == {m.arrived for m in later} == {now(clock)}, (
            "the times of restored messages must not affect the server's time: a client may have given them"
        )
        updated = await storage.update_command("a", later[1].id, {})
        assert now(clock) < updated.last_updated < future, "the times of restored messages must not affect the times of later updates"

    @pytest_twisted.ensureDeferred
    async def test_restored_commands_can_be_updated(self, storage: Watched, clock: SettableReactor) -> None:
        given = old_command(5, result=b"1")
        await storage.restore([given])
        updated = await storage.update_command("a", 5, {"status": "again"})
        changes = {"status": "again", "last_updated": now(clock), "update_id": updated.update_id}
        assert updated == replace(given, **changes), "update_command must work on a restored command"
        assert given == old_command(5, result=b"1"), "update_command must not change the object that was given to restore"

    @pytest_twisted.ensureDeferred
    async def test_restoring_while_others_append(self, storage: Watched) -> None:
        appended = [notification(str(n)) for n in range(20)]
        appends = [storage.append([m]) for m in appended]
        restored = [old_notification(1000 + n) for n in range(10)]
        restores = [storage.restore(restored[:5]), storage.restore(restored[5:])]
        await results(*appends[:10], *restores, *appends[10:])
        ids = [m.id for m in await storage.find_messages(Notification, EVERYTHING)]
        assert len(ids) == len(set(ids)) == 30, "concurrent restore and append must not use an id twice or lose a message"
        for m in appended + restored:
            assert await storage.get_message(Notification, "a", m.id) == m, "each message must be stored with the stamps that it got"

    @pytest_twisted.ensureDeferred
    async def test_restored_messages_are_found_as_the_model_finds_them(self) -> None:
        async def example(
            storage: Watched, given: list[Any], parts: int, kind: type[Message], queries: list[MessageQuery], forgotten: MessageQuery
        ) -> None:
            for n in range(parts):
                part = sorted(given[n::parts], key=lambda m: m.id)
                if part:
                    await storage.restore(part)
            of_kind = [m for m in given if type(m) is kind]
            for query in (EVERYTHING, *queries):
                assert await storage.find_messages(kind, query) == find_messages(of_kind, query), f"find_messages {query}"
            first = find_messages(of_kind, replace(forgotten, by_arrival=True))
            assert await storage.forget_messages(kind, forgotten) == len(first), f"forget_messages {forgotten}"
            left = [m for m in of_kind if m not in first]
            for query in (EVERYTHING, *queries):
                assert await storage.find_messages(kind, query) == find_messages(left, query), f"after forget_messages, {query}"

        for kind in (Command, Notification):
            queries = st.lists(message_queries(kind), max_size=4)
            forgotten = st.builds(MessageQuery, before=st.none() | timestamps, take=st.integers(0, 9))
            await self.for_all(
                example, given=stored_messages, parts=st.integers(1, 3), kind=st.just(kind), queries=queries, forgotten=forgotten
            )
