"""The part of a message storage's contract that an import relies on: messages stored as they are."""

import pytest_twisted
from hypothesis import strategies as st
from msgspec.structs import replace

from dhtwisted.errors import Duplicate, StorageError
from dhtwisted.model import Command, MessageQuery, Notification
from dhtwisted.testing.contract import must_raise
from dhtwisted.testing.storage.base import EVERYTHING, YEAR, StorageContract, command, notification, now, outcomes, results
from dhtwisted.testing.storage.model import find_messages
from dhtwisted.testing.storage.queries import names_found
from dhtwisted.testing.strategies import message_queries, stored_messages, timestamps


def old_command(message_id, **values):
    """A command as another storage had it: updated 5 ms after its time, and arrived 2 ms after it."""
    stamps = {"id": message_id, "timestamp": 1000, "arrived": 1002, "last_updated": 1005}
    return command(**(stamps | {"updated": True, "status": "done"} | values))


def old_notification(message_id, **values):
    """A notification as another storage had it."""
    return notification(**({"id": message_id, "timestamp": 1000, "arrived": 1002} | values))


async def stored(storage):
    """All commands and all notifications."""
    return [await storage.find_messages(kind, EVERYTHING) for kind in (Command, Notification)]


class MessageRestoring(StorageContract):
    """What :class:`~dhtwisted.testing.storage.MessageStorageContract` says of ``restore``."""

    @pytest_twisted.ensureDeferred
    async def test_restored_messages_are_as_they_were(self, storage):
        given = [
            old_notification(3, parameters=b'{"a": 1.10}'),
            old_command(4, user_id=3, parameters=b" [] ", lifetime=9, result=b"1E5"),
            old_command(9, last_updated=1000, updated=False, status=None),
            old_notification(8, network_id=2, device_type_id=3, arrived=7000),
        ]
        copies = [replace(m) for m in given]
        assert await storage.restore(given) is None, "restore answers nothing"
        assert given == copies, "restore changes none of the messages that it is given"
        assert await stored(storage) == [copies[1:3], [copies[0], copies[3]]], "every field is kept: ids, times, and when it arrived"
        for m in copies:
            assert await storage.get_message(type(m), "a", m.id) == m, "a restored message is found by its id"
        updated = await storage.find_messages(Command, MessageQuery(updated=True, by_update=True, since=1001))
        assert updated == [copies[1]], "and a command by the time of its last update, if it was updated"

    @pytest_twisted.ensureDeferred
    async def test_later_ids_lie_above_restored_ones(self, storage):
        await storage.restore([old_notification(3), old_notification(70)])
        later = [notification(), command()]
        await storage.append(later)
        assert [m.id for m in later] == [71, 1], "append goes on above the highest id that was restored, each kind on its own"
        await storage.restore([old_notification(5)])
        await storage.append(later := [notification()])
        assert later[0].id == 72, "an id restored below others does not turn the count back"

    @pytest_twisted.ensureDeferred
    async def test_ids_may_lie_anywhere(self, storage):
        await storage.append([notification("c", timestamp=1000) for _ in range(3)])
        await storage.restore([old_notification(10, name="e"), old_notification(20, name="f")])
        await storage.restore([old_notification(7, name="d"), old_notification(15, name="x", timestamp=5, arrived=5)])
        await storage.forget_messages(Notification, MessageQuery(before=1000))
        found = [(m.id, m.name) for m in await storage.find_messages(Notification, EVERYTHING)]
        assert found == [(1, "c"), (2, "c"), (3, "c"), (7, "d"), (10, "e"), (20, "f")], "above, below or between those that are there"
        await storage.restore([old_notification(15, name="y")])
        assert await storage.get_message(Notification, "a", 15) is not None, "an id is free when its message is gone"

    @pytest_twisted.ensureDeferred
    async def test_a_taken_id_is_refused_with_all_that_came_along(self, storage):
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
            assert (told.field, str(told)) == ("id", str(expected)), "Duplicate(kind, 'id', id) says which id is taken"
            assert await stored(storage) == before, "a restore that is refused has stored none of its messages, and changed none"
        await storage.append(later := [notification(), command()])
        assert later[0].id > 1, "a refused restore does not disturb what comes after it"
        assert later[1].id > 5, "a refused restore does not disturb what comes after it"

    @pytest_twisted.ensureDeferred
    async def test_what_cannot_be_kept_is_refused_with_all_that_came_along(self, storage):
        """Text that is no Unicode and integers beyond 64 bits: a storage may keep them, or refuse them with all that came along."""
        for bad in (old_notification(5, name="\ud800"), old_notification(5, network_id=2**70), old_command(5, status="\udfff")):
            (outcome,) = await outcomes(storage.restore([old_command(2), old_notification(2), bad]))
            if outcome is None:
                assert [len(found) for found in await stored(storage)] in ([1, 2], [2, 1]), "a restore that completes has stored all"
                for kind in (Command, Notification):
                    await storage.forget_messages(kind, EVERYTHING)
            else:
                assert isinstance(outcome, StorageError), f"a storage raises kinds of StorageError, not {outcome!r}"
                assert await stored(storage) == [[], []], "a restore that fails has stored none of its messages"

    @pytest_twisted.ensureDeferred
    async def test_restored_messages_are_as_old_as_they_were(self, storage, clock):
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
    async def test_restored_times_do_not_move_that_of_the_server(self, storage, clock):
        future = now(clock) + YEAR
        times = {"timestamp": future, "arrived": future}
        await storage.restore([old_notification(1, **times), old_command(1, **times, last_updated=future + 5)])
        await storage.append(later := [notification(), command()])
        assert {m.timestamp for m in later} == {m.arrived for m in later} == {now(clock)}, (
            "a restored time does not move the server's: a client may have given it"
        )
        updated = await storage.update_command("a", later[1].id, {})
        assert now(clock) < updated.last_updated < future, "nor that of later updates"

    @pytest_twisted.ensureDeferred
    async def test_restored_commands_can_be_updated(self, storage, clock):
        given = old_command(5, result=b"1")
        await storage.restore([given])
        updated = await storage.update_command("a", 5, {"status": "again"})
        changes = {"status": "again", "last_updated": now(clock), "update_id": updated.update_id}
        assert updated == replace(given, **changes), "a restored command is updated as any other"
        assert given == old_command(5, result=b"1"), "and the object that was handed in stays as it was"

    @pytest_twisted.ensureDeferred
    async def test_restoring_while_others_append(self, storage):
        appended = [notification(str(n)) for n in range(20)]
        appends = [storage.append([m]) for m in appended]
        restored = [old_notification(1000 + n) for n in range(10)]
        restores = [storage.restore(restored[:5]), storage.restore(restored[5:])]
        await results(*appends[:10], *restores, *appends[10:])
        ids = [m.id for m in await storage.find_messages(Notification, EVERYTHING)]
        assert len(ids) == len(set(ids)) == 30, "no id is given twice, and nothing is lost"
        for m in appended + restored:
            assert await storage.get_message(Notification, "a", m.id) == m, "each is stored as it is stamped"

    @pytest_twisted.ensureDeferred
    async def test_restored_messages_are_found_as_the_model_finds_them(self):
        async def example(storage, given, parts, kind, queries, forgotten):
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
