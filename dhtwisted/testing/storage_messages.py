"""The contract of a message storage."""

import pytest
import pytest_twisted
from hypothesis import strategies as st
from msgspec.structs import replace
from zope.interface.verify import verifyObject

from dhtwisted.errors import StorageError, StorageUnavailable
from dhtwisted.interfaces import IMessageStorage
from dhtwisted.model import Command, MessageQuery, Notification
from dhtwisted.testing.storage_base import StorageContract, now, outcomes, results
from dhtwisted.testing.storage_model import find_messages
from dhtwisted.testing.strategies import ODD_JSON, message_queries, messages

EVERYTHING = MessageQuery()


def notification(name="n", device_id="a", **values):
    """A notification of network 1 and type 1, unless said otherwise."""
    return Notification(**({"name": name, "device_id": device_id, "network_id": 1, "device_type_id": 1} | values))


def command(name="c", device_id="a", **values):
    """A command of network 1 and type 1, unless said otherwise."""
    return Command(**({"name": name, "device_id": device_id, "network_id": 1, "device_type_id": 1} | values))


async def names_found(storage, **conditions):
    """The names of the notifications that a query finds, one after the other."""
    return "".join(message.name for message in await storage.find_messages(Notification, MessageQuery(**conditions)))


class MessageStorageContract(StorageContract):
    """What the server relies on when it keeps commands and notifications."""

    def test_provides_message_storage(self, storage):
        assert verifyObject(IMessageStorage, storage), "IMessageStorage: every method, with its arguments"
        assert storage.durability in ("durable", "volatile"), "durability says what was promised, in one of two words"
        assert hasattr(storage, "state_directory"), "state_directory is a path or None"

    @pytest_twisted.ensureDeferred
    async def test_append_stamps_in_place(self, storage, clock):
        first, second = command(), notification()
        assert await storage.append((first, second)) is None, "append answers nothing"
        assert (first.id, second.id) == (1, 1), "ids count from 1, each kind on its own"
        assert first.timestamp == second.timestamp == now(clock), "a message without a time gets the reactor's, in milliseconds"
        assert first.last_updated == first.timestamp, "last_updated of a new command is its timestamp"
        assert await storage.get_message(Command, "a", 1) == first, "what is stored is what the stamps say"
        assert await storage.get_message(Notification, "a", 1) == second, "what is stored is what the stamps say"

    @pytest_twisted.ensureDeferred
    async def test_a_time_of_the_clients_own_is_kept(self, storage, clock):
        given = [command(timestamp=5), command(timestamp=now(clock) + 86_400_000), command()]
        await storage.append(given)
        assert given[0].timestamp == given[0].last_updated == 5, "a time that the client gave is kept"
        assert given[2].timestamp == now(clock), "a time that a client gave does not move the time of the server"

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
                assert good[0].timestamp is None, "and stamped none: the caller may append them again, with a new time"
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
        expected = replace(before, status="done", result=b"[1]", updated=True, last_updated=now(clock))
        assert updated == expected, "update_command sets what it is given, updated and last_updated, and returns the whole command"
        assert await storage.get_message(Command, "a", 1) == expected, "and so it is stored"
        clock.time += 1
        again = await storage.update_command("a", 1, {"status": None})
        assert again == replace(expected, status=None, last_updated=now(clock)), "what is not given stays as it was"

    @pytest_twisted.ensureDeferred
    async def test_each_update_is_later_than_the_one_before(self, storage, clock):
        await storage.append([command()])
        updates = await results(*(storage.update_command("a", 1, {"status": str(n)}) for n in range(5)))
        times = [now(clock), *(u.last_updated for u in updates)]
        assert all(earlier < later for earlier, later in zip(times, times[1:], strict=False)), "last_updated ascends by 1 ms at least"

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
    async def test_time_bounds(self, storage):
        await storage.append([notification(name, timestamp=time) for name, time in zip("abcde", (10, 20, 20, 30, 5), strict=True)])
        assert await names_found(storage) == "eabcd", "by time, and by id within a time, also when old times come late"
        assert await names_found(storage, since=20) == "bcd", "since: at or after"
        assert await names_found(storage, before=20) == "ea", "before: earlier, not at"
        assert await names_found(storage, after=(20, 2)) == "cd", "after: later time, or the same time and a higher id"
        assert await names_found(storage, after=(20, 2), descending=True) == "dc", "descending turns the order, not the condition"
        assert await names_found(storage, since=30, before=20) == "", "bounds that leave nothing"

    @pytest_twisted.ensureDeferred
    async def test_empty_conditions_permit_nothing(self, storage):
        await storage.append([notification()])
        assert await names_found(storage, device_ids=()) == "", "an empty tuple of devices means none, not all"
        assert await names_found(storage, names=()) == "", "an empty tuple of names means none, not all"
        assert await storage.forget_messages(Notification, MessageQuery(device_ids=())) == 0, "the same when deleting"

    @pytest.mark.parametrize("count", [1, 2, 20, 250, 3000])
    @pytest_twisted.ensureDeferred
    async def test_any_number_of_devices(self, storage, count):
        await storage.append([notification("x", f"d{n}", timestamp=n) for n in range(0, count + 5)])
        wanted = tuple(f"d{n}" for n in range(count))
        assert len(await names_found(storage, device_ids=wanted)) == count, "device_ids may be long"
        newest = await storage.find_messages(Notification, MessageQuery(device_ids=wanted, descending=True, take=1))
        assert [m.device_id for m in newest] == [f"d{count - 1}"], "the order is over all devices"

    @pytest_twisted.ensureDeferred
    async def test_sorting_and_paging(self, storage):
        texts = ["b", None, "a", "B", None, ""]
        await storage.append([command(str(n), status=status, timestamp=10 - n % 2) for n, status in enumerate(texts)])
        query = MessageQuery(sort="status")
        ascending = [m.name for m in await storage.find_messages(Command, query)]
        assert ascending == list("145320"), "absent first, then by code point; ties by time and id"
        descending = [m.name for m in await storage.find_messages(Command, replace(query, descending=True))]
        assert descending == ascending[::-1], "descending is the exact reverse"
        paged = [m.name for m in await storage.find_messages(Command, replace(query, skip=2, take=3))]
        assert paged == ascending[2:5], "skip and take come after sorting"

    @pytest_twisted.ensureDeferred
    async def test_forgets_the_oldest_first(self, storage):
        times = zip("abcdef", "xyxyxy", (50, 40, 30, 20, 10, 60), strict=True)
        await storage.append([notification(name, device_id, timestamp=time) for name, device_id, time in times])
        await storage.append([command(timestamp=1)])
        assert await storage.forget_messages(Notification, MessageQuery(before=40, take=2)) == 2, "at most take, and says how many"
        assert await names_found(storage) == "cbaf", "the oldest go first"
        assert await storage.forget_messages(Notification, MessageQuery(before=40, take=2)) == 1, "before is exclusive"
        assert await storage.forget_messages(Notification, MessageQuery(device_ids=("y",))) == 2, "of these devices alone"
        assert await names_found(storage) == "a", "the others stay"
        assert await storage.get_message(Command, "a", 1) is not None, "the other kind stays"

    @pytest_twisted.ensureDeferred
    async def test_finds_what_the_model_finds(self):
        async def example(storage, groups, updates, forgotten, kind, data):
            for group in groups:
                await storage.append([replace(m) for m in group])
            for command_id, device_id, status in updates:
                await storage.update_command(device_id, command_id, {"status": status})
            stored = await storage.find_messages(kind, EVERYTHING)
            for query in data:
                assert await storage.find_messages(kind, query) == find_messages(stored, query), f"find_messages {query}"
            oldest = find_messages(stored, forgotten)
            assert await storage.forget_messages(kind, forgotten) == len(oldest), f"forget_messages {forgotten}"
            left = [m for m in stored if m not in oldest]
            for query in (EVERYTHING, *data):
                assert await storage.find_messages(kind, query) == find_messages(left, query), f"after forget_messages, {query}"

        for kind in (Command, Notification):
            await self.for_all(
                example,
                groups=st.lists(st.lists(messages, max_size=6), max_size=4),
                updates=st.lists(st.tuples(st.integers(1, 9), st.sampled_from("abc"), st.sampled_from(["done", "Failed"])), max_size=4),
                forgotten=st.builds(MessageQuery, before=st.none() | st.integers(1_000_000, 1_000_010), take=st.integers(0, 9)),
                kind=st.just(kind),
                data=st.lists(message_queries(kind), min_size=1, max_size=6),
            )

    @pytest_twisted.ensureDeferred
    async def test_a_closing_storage_finishes_what_it_accepted(self, storage):
        appended = [storage.append([notification(str(n))]) for n in range(200)]
        found, _ = await results(results(*appended), storage.close())
        assert found == [None] * 200, "close finishes what was accepted"

    @pytest_twisted.ensureDeferred
    async def test_a_closed_storage_refuses(self, storage):
        await storage.append([notification(), command()])
        await storage.close()
        calls = (
            lambda: storage.append([notification()]),
            lambda: storage.update_command("a", 1, {"status": "done"}),
            lambda: storage.get_message(Notification, "a", 1),
            lambda: storage.find_messages(Notification, EVERYTHING),
            lambda: storage.forget_messages(Notification, EVERYTHING),
        )
        for call in calls:
            with pytest.raises(StorageUnavailable):
                await call()
