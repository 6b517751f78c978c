"""The part of the contract of a message storage about finding and deleting."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from hypothesis import strategies as st
from msgspec.structs import replace

from dhtwisted.interfaces import IBoundedAnswers
from dhtwisted.model import Command, Message, MessageQuery, Notification, payload_size
from dhtwisted.testing.contract import Watched
from dhtwisted.testing.storage.base import EVERYTHING, START, YEAR, SettableReactor, StorageContract, command, notification, now
from dhtwisted.testing.storage.model import find_messages
from dhtwisted.testing.strategies import message_queries, messages


async def names_found(storage: Any, **conditions: Any) -> str:
    """The names of the notifications that a query finds, one after the other."""
    return "".join(message.name for message in await storage.find_messages(Notification, MessageQuery(**conditions)))


class MessageQueries(StorageContract):
    """What :class:`~dhtwisted.testing.storage.MessageStorageContract` says of queries."""

    @pytest_twisted.ensureDeferred
    async def test_time_bounds(self, storage: Watched) -> None:
        await storage.append([notification(name, timestamp=time) for name, time in zip("abcde", (10, 20, 20, 30, 5), strict=True)])
        assert await names_found(storage) == "eabcd", "messages must be sorted by time, and by id for equal times"
        assert await names_found(storage, since=20) == "bcd", "`since` must match times at or after it"
        assert await names_found(storage, before=20) == "ea", "`before` must match earlier times only"
        assert await names_found(storage, after=(20, 2)) == "cd", "`after` must match later times, and the same time with a higher id"
        assert await names_found(storage, after=(20, 2), descending=True) == "dc", (
            "`descending` must reverse the order, but not the condition"
        )
        assert await names_found(storage, since=30, before=20) == "", "bounds that exclude everything must find nothing"

    @pytest_twisted.ensureDeferred
    async def test_the_time_of_updates(self, storage: Watched) -> None:
        await storage.append(
            [command(name, device_id, timestamp=1000 + n) for n, (name, device_id) in enumerate(zip("abcd", "xyxy", strict=True))]
        )
        updated = [await storage.update_command(device_id, id, {}) for device_id, id in (("y", 4), ("x", 1), ("y", 2), ("x", 1))]
        first, last = updated[0].last_updated, updated[-1].last_updated

        async def found(**conditions: Any) -> str:
            query = MessageQuery(updated=True, by_update=True, **conditions)
            return "".join(m.name for m in await storage.find_messages(Command, query))

        order = "".join(m.name for m in sorted((updated[0], updated[2], updated[3]), key=lambda m: (m.last_updated, m.id)))
        assert await found() == order, "by_update must sort by the time of the last update, and by id for equal times"
        assert await found(descending=True) == order[::-1], "with by_update, `descending` must reverse the order"
        assert await found(device_ids=("x",)) == "a", "by_update must work for one device"
        assert await found(device_ids=("x", "y", "z")) == order, "by_update must work for several devices"
        assert await found(since=first) == order, "with by_update, `since` must mean the time of the update"
        assert await found(since=last + 1) == "", "with by_update, `since` after the last update must find nothing"
        assert await found(before=first) == "", "with by_update, `before` the first update must find nothing"
        assert await found(after=(first, 0), take=1) == order[0], "with by_update, `after` must mean the time of the update and the id"
        rest = await found(after=(updated[3].last_updated, 1))
        assert "a" not in rest, "`after` must be exclusive"
        await storage.forget_messages(Command, MessageQuery(device_ids=("x",)))
        assert sorted(await found()) == ["b", "d"], "deleted messages must not be found"

    @pytest_twisted.ensureDeferred
    async def test_conditions(self, storage: Watched) -> None:
        sent = [("a", "x", "Done"), ("b", "x", "failed"), ("a", "y", "DONE"), ("b", "z", None), ("A", "z", "")]
        await storage.append([command(name, device_id, status=status) for name, device_id, status in sent])
        await storage.update_command("y", 3, {})
        for expected, conditions in (
            ([1, 3], {"status": "done"}),
            ([5], {"status": ""}),
            ([3], {"updated": True}),
            ([1, 3], {"names": ("a",)}),
            ([1, 3, 5], {"names": ("a", "A", "a", "c")}),
            ([1, 2, 3], {"device_ids": ("x", "y", "x", "nobody")}),
            ([3], {"device_ids": ("x", "y"), "names": ("a",), "status": "DONE", "updated": True}),
            ([], {"device_ids": ("nobody",)}),
        ):
            found = [m.id for m in await storage.find_messages(Command, MessageQuery(**conditions))]
            assert found == expected, f"conditions combine with AND, status ignores case, nothing comes twice: {conditions}"

    @pytest.mark.parametrize(
        ("stored", "asked"),
        [("Done", "dONE"), ("ÄRGER", "ärger"), ("Straße", "STRASSE"), ("ΟΔΟΣ", "οδος"), ("\u212a", "k")],
        ids=["ASCII", "umlaut", "sharp-s", "final-sigma", "Kelvin-sign"],
    )
    @pytest_twisted.ensureDeferred
    async def test_case_is_ignored_as_casefold_does(self, storage: Watched, stored: str, asked: str) -> None:
        await storage.append([command(status=stored), command(), command(status=f"{stored}."), command(status="")])
        await storage.update_command("a", 2, {"status": asked})
        for status in (stored, asked):
            found = [m.id for m in await storage.find_messages(Command, MessageQuery(status=status))]
            assert found == [1, 2], (
                f"status {status!r} must find {stored!r} and {asked!r}: ignoring case means that str.casefold() of both is equal. Where "
                "the backend does otherwise with letters beyond ASCII, keep the folded status in a column of its own"
            )

    @pytest_twisted.ensureDeferred
    async def test_accents_are_not_ignored(self, storage: Watched) -> None:
        await storage.append([command(status=status) for status in ("Ärger", "Arger", "ärger", "A\u0308rger")])
        found = [m.id for m in await storage.find_messages(Command, MessageQuery(status="ÄRGER"))]
        assert found == [1, 3], "only case may be ignored: letters with other accents, or accents in another Unicode form, differ"

    @pytest_twisted.ensureDeferred
    async def test_texts_sort_by_code_point(self, storage: Watched) -> None:
        texts = ["\U0001f600", "ä", "a", "Z", "\uff5e", "z", "-", "", "a-b", "ab"]
        await storage.append([command(text, status=text) for text in texts])
        for field in ("name", "status"):
            found = [m.name for m in await storage.find_messages(Command, MessageQuery(sort=field))]
            assert found == sorted(texts), f'{field} sorts by code point, as Python and COLLATE "C" do, not by the rules of a language'

    @pytest_twisted.ensureDeferred
    async def test_empty_conditions_permit_nothing(self, storage: Watched) -> None:
        await storage.append([notification()])
        assert await names_found(storage, device_ids=()) == "", "an empty tuple of devices must match nothing"
        assert await names_found(storage, names=()) == "", "an empty tuple of names must match nothing"
        assert await storage.forget_messages(Notification, MessageQuery(device_ids=())) == 0, (
            "forget_messages with an empty tuple of devices must delete nothing"
        )

    @pytest.mark.parametrize("count", [1, 2, 20, 250, 3000])
    @pytest_twisted.ensureDeferred
    async def test_any_number_of_devices(self, storage: Watched, count: int) -> None:
        await storage.append([notification("x", f"d{n}", timestamp=n) for n in range(0, count + 5)])
        wanted = tuple(f"d{n}" for n in range(count))
        assert len(await names_found(storage, device_ids=wanted)) == count, "thousands of device_ids must be possible"
        newest = await storage.find_messages(Notification, MessageQuery(device_ids=wanted, descending=True, take=1))
        assert [m.device_id for m in newest] == [f"d{count - 1}"], "messages of all devices must be sorted together"

    @pytest_twisted.ensureDeferred
    async def test_sorting_and_paging(self, storage: Watched) -> None:
        texts = ["b", None, "a", "B", None, ""]
        await storage.append([command(str(n), status=status, timestamp=10 - n % 2) for n, status in enumerate(texts)])
        query = MessageQuery(sort="status")
        ascending = [m.name for m in await storage.find_messages(Command, query)]
        assert ascending == list("145320"), "absent values must come first, then texts by code point, then time and id"
        descending = [m.name for m in await storage.find_messages(Command, replace(query, descending=True))]
        assert descending == ascending[::-1], "`descending` must be the exact reverse"
        paged = [m.name for m in await storage.find_messages(Command, replace(query, skip=2, take=3))]
        assert paged == ascending[2:5], "skip and take must come after sorting"

    @pytest.mark.parametrize("sort", ["timestamp", "name", "status"])
    @pytest.mark.parametrize("descending", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_a_list_goes_on_behind_a_place(self, storage: Watched, sort: str, descending: bool) -> None:
        texts = ["b", None, "a", "B", None, "", "b"]
        await storage.append([command("xy"[n % 2], status=status, timestamp=10 - n % 2) for n, status in enumerate(texts)])
        for device_ids in (None, ("x", "y")):
            query = MessageQuery(sort=sort, descending=descending, device_ids=device_ids, take=10)
            found = await storage.find_messages(Command, query)
            for index, each in enumerate(found):
                behind = replace(query, behind=query.place(each))
                assert await storage.find_messages(Command, behind) == found[index + 1 :], f"behind: what comes behind {each}, in {query}"
                page = await storage.find_messages(Command, replace(behind, skip=1, take=2))
                assert page == found[index + 2 : index + 4], "skip and take must count from the place in `behind`"

    @pytest_twisted.ensureDeferred
    async def test_an_answer_may_end_where_it_has_its_bytes(self, storage: Watched) -> None:
        sizes = (10, 30, 0, 60, 5)
        await storage.append(
            [command(str(n), "ab"[n % 2], parameters=b'"%b"' % (b"x" * (size - 2)) if size else None) for n, size in enumerate(sizes)]
        )
        await storage.update_command("a", 1, {"result": b'"result"'})
        for size in (1, 10, 18, 40, 100, 1000):
            for query in (MessageQuery(), MessageQuery(sort="name", descending=True), MessageQuery(device_ids=("a", "b"), take=4, skip=1)):
                found = await storage.find_messages(Command, replace(query, size=size))
                whole = await storage.find_messages(Command, query)
                assert found == whole[: len(found)], f"size {size}: an answer that ends early is the first part of the whole one, {query}"
                assert len(found) == len(whole) or sum(map(payload_size, found)) >= size, f"it ends only when it has so many bytes, {query}"
                if IBoundedAnswers.providedBy(storage):
                    assert sum(map(payload_size, found[:-1])) < size, (
                        f"IBoundedAnswers: an answer ends with what reaches size, this one goes on. Stop there, or do not say so: {query}"
                    )

    @pytest_twisted.ensureDeferred
    async def test_forgets_first_what_arrived_first(self, storage: Watched, clock: SettableReactor) -> None:
        begun = now(clock)
        for name, device_id, time in zip("abcdef", "xyxyxy", (50, 40, 30, 20, 10, 60), strict=True):
            await storage.append([notification(name, device_id, timestamp=time)])
            clock.time += 1
        await storage.append([command(timestamp=1)])
        before = MessageQuery(before=begun + 3000, take=2)
        assert await storage.forget_messages(Notification, before) == 2, (
            "forget_messages must delete `take` messages at most, and return how many"
        )
        assert await names_found(storage) == "edcf", (
            "forget_messages must delete those first that arrived first, whatever timestamp their clients gave"
        )
        assert await storage.forget_messages(Notification, before) == 1, "`before` must be exclusive"
        assert await storage.forget_messages(Notification, MessageQuery(device_ids=("x", "z"))) == 1, (
            "forget_messages must only delete messages of the given devices"
        )
        assert await storage.forget_messages(Notification, MessageQuery(device_ids=("y",), before=begun + 5000)) == 1, (
            "forget_messages of given devices must respect `before`"
        )
        assert await names_found(storage) == "f", "forget_messages must not delete other messages"
        assert await storage.get_message(Command, "a", 1) is not None, "forget_messages must not delete messages of the other kind"

    @pytest_twisted.ensureDeferred
    async def test_how_long_a_message_is_kept_is_not_its_clients_to_say(self, storage: Watched, clock: SettableReactor) -> None:
        arrived = now(clock)
        sent = [notification("p", timestamp=0), notification("n"), notification("f", timestamp=arrived + YEAR)]
        await storage.append([*sent, command("p", timestamp=0)])
        for kind in (Notification, Command):
            gone = await storage.forget_messages(kind, MessageQuery(before=arrived, take=100))
            assert gone == 0, "forget_messages must use arrived, not timestamp: a message with an old timestamp has just arrived"
        await storage.update_command("a", 1, {})
        for kind, count in ((Notification, 3), (Command, 1)):
            gone = await storage.forget_messages(kind, MessageQuery(before=arrived + 1, take=100))
            assert gone == count, (
                "forget_messages must use arrived: a timestamp in the future, or an update, must not keep a message longer"
            )

    @pytest_twisted.ensureDeferred
    async def test_the_time_of_arrival(self, storage: Watched, clock: SettableReactor) -> None:
        begun = now(clock)
        for name, device_id, time in zip("abcd", "xyxy", (4, 3, 2, 1), strict=True):
            await storage.append([notification(name, device_id, timestamp=time)])
            clock.time += 1
        assert await names_found(storage, by_arrival=True) == "abcd", "by_arrival must sort by arrival"
        assert await names_found(storage, by_arrival=True, descending=True, take=1) == "d", (
            "with by_arrival, `descending` must reverse the order"
        )
        assert await names_found(storage, by_arrival=True, since=begun + 1000, before=begun + 3000) == "bc", (
            "since and before are of arrival"
        )
        assert await names_found(storage, by_arrival=True, after=(begun + 1000, 2)) == "cd", (
            "with by_arrival, `after` must mean the arrival and the id"
        )
        assert await names_found(storage, by_arrival=True, device_ids=("x",)) == "ac", "by_arrival must work for one device"

    @pytest_twisted.ensureDeferred
    async def test_finds_what_the_model_finds(self) -> None:
        async def example(
            storage: Watched,
            groups: list[list[Message]],
            updates: list[tuple[int, str, str]],
            forgotten: MessageQuery,
            kind: type[Message],
            data: list[MessageQuery],
        ) -> None:
            for group in groups:
                await storage.append([replace(m) for m in group])
            for command_id, device_id, status in updates:
                await storage.update_command(device_id, command_id, {"status": status})
            stored = await storage.find_messages(kind, EVERYTHING)
            for query in data:
                assert await storage.find_messages(kind, query) == find_messages(stored, query), f"find_messages {query}"
            first = find_messages(stored, replace(forgotten, by_arrival=True))
            assert await storage.forget_messages(kind, forgotten) == len(first), f"forget_messages {forgotten}"
            left = [m for m in stored if m not in first]
            for query in (EVERYTHING, *data):
                assert await storage.find_messages(kind, query) == find_messages(left, query), f"after forget_messages, {query}"

        for kind in (Command, Notification):
            await self.for_all(
                example,
                groups=st.lists(st.lists(messages, max_size=6), max_size=4),
                updates=st.lists(st.tuples(st.integers(1, 9), st.sampled_from("abc"), st.sampled_from(["done", "Failed"])), max_size=4),
                forgotten=st.builds(MessageQuery, before=st.sampled_from([None, START * 1000, START * 1000 + 1]), take=st.integers(0, 9)),
                kind=st.just(kind),
                data=st.lists(message_queries(kind), min_size=1, max_size=6),
            )
