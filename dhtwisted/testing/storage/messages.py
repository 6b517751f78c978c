"""The contract of a message storage."""

import pytest
import pytest_twisted
from msgspec.structs import replace
from zope.interface.verify import verifyObject

from dhtwisted.errors import StorageError
from dhtwisted.interfaces import IBackedUpStorage, IMessageStorage
from dhtwisted.model import Command, MessageQuery, Notification
from dhtwisted.testing.storage.backup import BackedUpStorageContract
from dhtwisted.testing.storage.base import EVERYTHING, command, notification, now, outcomes, refuses_when_closed, results
from dhtwisted.testing.storage.ordering import MessageOrdering
from dhtwisted.testing.storage.queries import MessageQueries, names_found
from dhtwisted.testing.storage.restoring import MessageRestoring
from dhtwisted.testing.strategies import ODD_JSON


class MessageStorageContract(MessageQueries, MessageOrdering, MessageRestoring):
    """What the server relies on when it keeps commands and notifications."""

    def test_provides_message_storage(self, storage):
        assert verifyObject(IMessageStorage, storage.provider), "IMessageStorage: every method, with its arguments"
        assert storage.durability in ("durable", "volatile"), "durability says what was promised, in one of two words"
        assert hasattr(storage, "state_directory"), "state_directory is a path or None"

    def test_copies_of_itself_are_proved(self, storage):
        is_proved = isinstance(self, BackedUpStorageContract)
        assert is_proved == IBackedUpStorage.providedBy(storage), "a storage that provides IBackedUpStorage takes BackedUpStorageContract"

    @pytest_twisted.ensureDeferred
    async def test_append_stamps_in_place(self, storage, clock):
        first, second = command(), notification()
        assert await storage.append((first, second)) is None, "append answers nothing"
        assert (first.id, second.id) == (1, 1), "ids count from 1, each kind on its own"
        assert first.timestamp == second.timestamp == now(clock), "a message without a time gets the reactor's, in milliseconds"
        assert first.last_updated == first.timestamp, "last_updated of a new command is its timestamp"
        assert first.arrived == second.arrived == now(clock), "and it has arrived at that time"
        assert await storage.get_message(Command, "a", 1) == first, "what is stored is what the stamps say"
        assert await storage.get_message(Notification, "a", 1) == second, "what is stored is what the stamps say"

    @pytest_twisted.ensureDeferred
    async def test_a_time_of_the_clients_own_is_kept(self, storage, clock):
        given = [command(timestamp=5), command(timestamp=now(clock) + 86_400_000), command()]
        await storage.append(given)
        assert given[0].timestamp == given[0].last_updated == 5, "a time that the client gave is kept"
        assert given[2].timestamp == now(clock), "a time that a client gave does not move the time of the server"
        assert {m.arrived for m in given} == {now(clock)}, "a message arrives at the storage's time, whatever time its client gave it"
        await storage.append([late := command(timestamp=5, arrived=5)])
        assert late.arrived == now(clock), "nor does it count what the message says of its arrival"
        updated = await storage.update_command("a", late.id, {})
        assert updated == await storage.get_message(Command, "a", late.id), "an update is stored as it is answered"
        assert updated.arrived == now(clock), "an update leaves the arrival as it was"

    @pytest_twisted.ensureDeferred
    async def test_ids_ascend_over_appends_and_deletions(self, storage):
        await storage.append([notification(), notification()])
        await storage.forget_messages(Notification, EVERYTHING)
        later = notification()
        await storage.append([later])
        assert later.id == 3, "an id is never given twice, also when nothing is left that has one"

    @pytest_twisted.ensureDeferred
    async def test_server_time_never_steps_back(self, storage, clock):
        before = notification()
        await storage.append([before])
        clock.time -= 3600
        after, changed = notification(), command()
        await storage.append([after, changed])
        assert after.timestamp >= before.timestamp, "server times never step back, even when the clock does"
        assert after.arrived == after.timestamp, "nor does the time of arrival, which is the same"
        updated = await storage.update_command("a", changed.id, {})
        assert updated.last_updated >= before.timestamp, "nor does the time of an update"

    @pytest_twisted.ensureDeferred
    async def test_concurrent_appends_get_ids_in_order_of_visibility(self, storage):
        seen = []

        async def append(name):
            message = notification(name)
            await storage.append([message])
            seen.append(message)
            found = await storage.find_messages(Notification, EVERYTHING)
            ids = [m.id for m in found]
            assert ids == list(range(1, len(ids) + 1)), "no id is visible before all ids below it are"
            assert message.id in ids, "a message is visible when its append completes"

        await results(*(append(str(n)) for n in range(50)))
        assert sorted(m.id for m in seen) == list(range(1, 51)), "each message has an id of its own"

    @pytest_twisted.ensureDeferred
    async def test_appends_at_once_do_not_mix(self, storage):
        groups = [[notification(name) for _ in range(5)] for name in "abcdefgh"]
        await results(*(storage.append(group) for group in groups))
        for group in groups:
            ids = [m.id for m in group]
            assert ids == list(range(ids[0], ids[0] + 5)), "the messages of one append become visible together, in their order"

    @pytest_twisted.ensureDeferred
    async def test_what_follows_a_barrier_is_not_before_it(self, storage, clock):
        await storage.append([command("before")])
        clock.time += 1
        asked_at = now(clock)
        await storage.append(())
        clock.time -= 3600
        after = notification("after")
        await storage.append([after])
        updated = await storage.update_command("a", 1, {})
        assert after.timestamp >= asked_at, "after an empty append nothing gets a time before that at which it was asked for"
        assert updated.last_updated >= asked_at, "nor does an update"
        assert (after.id, await names_found(storage)) == (1, "after"), "an append of nothing stores nothing, and takes no id"

    @pytest_twisted.ensureDeferred
    async def test_append_is_all_or_none(self, storage):
        """Text that is no Unicode and integers beyond 64 bits: a storage may keep them, or refuse them with all that came along."""
        for bad in (notification("\ud800"), notification(network_id=2**70), command(status="\udfff")):
            good = [notification("good"), command("good")]
            (outcome,) = await outcomes(storage.append([good[0], bad, good[1]]))
            kept = [await storage.find_messages(kind, MessageQuery(names=("good",))) for kind in (Notification, Command)]
            if outcome is None:
                assert [len(found) for found in kept] == [1, 1], "an append that completes has stored every message"
                for kind in (Notification, Command):
                    await storage.forget_messages(kind, EVERYTHING)
            else:
                assert isinstance(outcome, StorageError), f"a storage raises kinds of StorageError, not {outcome!r}"
                assert kept == [[], []], "an append that fails has stored none of its messages"
                assert good[0].timestamp is good[0].arrived is None, "and stamped none: the caller may append them again, with a new time"
        await storage.append([notification("after")])
        assert await names_found(storage, names=("after",)) == "after", "a refused append does not disturb the next"

    @pytest_twisted.ensureDeferred
    async def test_a_bad_message_does_not_harm_its_neighbours(self, storage):
        neighbours = [notification(str(n)) for n in range(10)]
        appends = [storage.append([n]) for n in neighbours]
        found = await outcomes(*appends[:5], storage.append([notification("\ud800")]), *appends[5:])
        assert found[:5] == found[6:] == [None] * 5, "appends that run at the same time fail each for itself"
        stored = await storage.find_messages(Notification, MessageQuery(names=tuple(n.name for n in neighbours)))
        assert {(m.name, m.id) for m in stored} == {(n.name, n.id) for n in neighbours}, "each is stored as it was stamped"

    @pytest.mark.parametrize("text", ODD_JSON, ids=lambda text: ascii(text[:12]))
    @pytest_twisted.ensureDeferred
    async def test_payloads_come_back_byte_for_byte(self, storage, text):
        sent = [command(parameters=text), notification(parameters=text)]
        await storage.append(sent)
        await storage.update_command("a", sent[0].id, {"result": text})
        stored = [await storage.get_message(type(m), "a", m.id) for m in sent]
        assert [m.parameters for m in stored] == [text, text], "parameters come back byte for byte"
        assert stored[0].result == text, "result comes back byte for byte"

    @pytest_twisted.ensureDeferred
    async def test_a_message_is_found_under_its_device_and_kind_alone(self, storage):
        await storage.append([notification()])
        for kind, device_id, message_id in ((Command, "a", 1), (Notification, "b", 1), (Notification, "a", 2), (Notification, "a", 2**70)):
            assert await storage.get_message(kind, device_id, message_id) is None, "None when that device has no such message"

    @pytest_twisted.ensureDeferred
    async def test_update_command(self, storage, clock):
        sent = command(parameters=b'{"a":1}', user_id=3, lifetime=9)
        await storage.append([sent])
        before = replace(sent)
        clock.time += 1
        updated = await storage.update_command("a", 1, {"status": "done", "result": b"[1]"})
        expected = replace(before, status="done", result=b"[1]", updated=True, last_updated=now(clock), update_id=updated.update_id)
        assert updated == expected, "update_command sets what it is given, updated and last_updated, and returns the whole command"
        assert await storage.get_message(Command, "a", 1) == expected, "and so it is stored"
        clock.time += 1
        assert updated.updated is True, "updated is a boolean, whatever the backend makes of it"
        again = await storage.update_command("a", 1, {"status": None})
        expected = replace(expected, status=None, last_updated=now(clock), update_id=again.update_id)
        assert again == expected, "what is not given stays as it was"

    @pytest_twisted.ensureDeferred
    async def test_each_update_is_later_than_the_one_before(self, storage, clock):
        await storage.append([command()])
        updates = await results(*(storage.update_command("a", 1, {"status": str(n)}) for n in range(5)))
        times = [now(clock), *(u.last_updated for u in updates)]
        assert all(earlier < later for earlier, later in zip(times, times[1:], strict=False)), "last_updated ascends by 1 ms at least"

    @pytest_twisted.ensureDeferred
    async def test_updates_are_numbered_in_the_order_of_commits(self, storage, clock):
        await storage.append([command(), command("c", "b")])
        made = await results(*(storage.update_command(*of, {}) for of in [("a", 1), ("b", 2)] * 3))
        assert all(m.update_id > 0 for m in made), "an update has a positive update_id"
        assert len({m.update_id for m in made}) == len(made), "of its own"
        for device_id, command_id in (("a", 1), ("b", 2)):
            numbers = [m.update_id for m in made if m.id == command_id]
            assert numbers == sorted(numbers), "the later of two updates has the higher one"
            stored = await storage.get_message(Command, device_id, command_id)
            assert stored.update_id == numbers[-1], "a command has that of its last update"
        clock.time -= 3600
        last = await storage.update_command("a", 1, {})
        assert last.update_id > max(m.update_id for m in made), "whatever the clock shows"
        await storage.append(later := [command()])
        assert later[0].update_id == 0, "a command without updates has none"

    @pytest_twisted.ensureDeferred
    async def test_update_of_nothing_is_none(self, storage):
        await storage.append([command()])
        for device_id, command_id in (("b", 1), ("a", 2), ("a", 2**70)):
            found = await storage.update_command(device_id, command_id, {"status": "done"})
            assert found is None, "None when that device has no such command"
        assert not (await storage.get_message(Command, "a", 1)).updated, "and nothing is changed"

    @pytest_twisted.ensureDeferred
    async def test_what_was_handed_out_does_not_change(self, storage):
        await storage.append([command()])
        (found,) = await storage.find_messages(Command, EVERYTHING)
        copy = replace(found)
        await storage.update_command("a", 1, {"status": "done"})
        assert found == copy, "a later update makes a new object, it does not change one that was handed out"

    @pytest_twisted.ensureDeferred
    async def test_a_closing_storage_finishes_what_it_accepted(self, storage):
        appended = [storage.append([notification(str(n))]) for n in range(200)]
        found, _ = await results(results(*appended), storage.close())
        assert found == [None] * 200, "close finishes what was accepted"

    @pytest_twisted.ensureDeferred
    async def test_what_was_never_opened_can_be_closed(self, clock, directory):
        storage = self.watched(self.make_storage(clock, directory))
        (outcome,) = await outcomes(storage.close())
        assert outcome is None, f"close is called when open failed, and must do nothing then, instead of {outcome!r}"

    @pytest_twisted.ensureDeferred
    async def test_a_closed_storage_refuses_messages(self, storage):
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
