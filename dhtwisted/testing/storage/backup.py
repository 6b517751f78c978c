"""The contract of a storage that copies itself while it works."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_twisted

from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import IBackedUpStorage, IEntityStorage
from dhtwisted.model import Command, EntityQuery, Network, Notification
from dhtwisted.testing.contract import Watched
from dhtwisted.testing.storage.base import EVERYTHING, SettableReactor, StorageContract, begin, command, notification

MANY = 200
ACKNOWLEDGED = "a copy must have all that was acknowledged before the call"


class Ended(Exception):
    """What ends a copy."""


class BackedUpStorageContract(StorageContract):
    """What ``IBackedUpStorage`` promises, of a storage that says that it provides it."""

    def put_back(self, copy: bytes, directory: Path) -> object:
        """Do as the documentation of the provider says with a copy, so that :meth:`make_storage` with this directory opens it.

        :param copy: its bytes.
        :param directory: a ``pathlib.Path``, empty.
        """
        raise NotImplementedError("a subclass of the contract suite must put a copy back in put_back")

    def test_says_that_it_copies_itself(self, storage: Watched) -> None:
        assert IBackedUpStorage.providedBy(storage), "a storage that has back_up must declare it with implementer(IBackedUpStorage)"

    @pytest_twisted.ensureDeferred
    async def test_a_copy_that_is_put_back_has_all_that_was_acknowledged(
        self, storage: Watched, clock: SettableReactor, directory: Path
    ) -> None:
        sent = [command(parameters=b'{"a": 1.10}'), *(notification(str(n)) for n in range(MANY))]
        await storage.append(sent)
        sent[0] = await storage.update_command("a", 1, {"status": "done"})
        if IEntityStorage.providedBy(storage):
            await storage.insert(Network(name="home"))
        counts, copy = await _copied(storage)
        assert (counts["command"], counts["notification"]) == (1, MANY), "back_up must return the number of copied objects of each kind"
        async with self._put_back(copy, clock, directory) as again:
            assert await again.find_messages(Command, EVERYTHING) == sent[:1], ACKNOWLEDGED
            assert await again.find_messages(Notification, EVERYTHING) == sent[1:], ACKNOWLEDGED
            if IEntityStorage.providedBy(storage):
                assert [network.name for network in await again.find(Network, EntityQuery())] == ["home"], ACKNOWLEDGED
            later = notification()
            await again.append([later])
        assert later.id == MANY + 1, "new ids must be above those of the copy"

    @pytest_twisted.ensureDeferred
    async def test_others_write_meanwhile(self, storage: Watched, clock: SettableReactor, directory: Path) -> None:
        before, meanwhile = [notification(str(n)) for n in range(MANY)], [notification("later") for _ in range(MANY)]
        await storage.append(before)
        copying = begin(_copied(storage))
        for message in meanwhile:
            await storage.append([message])
        counts, copy = await copying
        async with self._put_back(copy, clock, directory) as again:
            found = await again.find_messages(Notification, EVERYTHING)
        assert len(found) == counts["notification"]
        ids = [message.id for message in (*before, *meanwhile)]
        assert [message.id for message in found] == ids[: len(found)], (
            "a copy must be of one moment: it must have the first messages, without a gap"
        )
        assert len(found) >= MANY, ACKNOWLEDGED

    @pytest_twisted.ensureDeferred
    async def test_one_that_is_ended_leaves_nothing_and_can_be_made_again(self, storage: Watched) -> None:
        await storage.append([notification()])

        async def end(data: bytes) -> None:
            raise Ended

        with pytest.raises(Ended):
            await storage.back_up(end)
        cancelled = begin(_copied(storage))
        cancelled.addErrback(lambda failure: None)
        cancelled.cancel()
        await cancelled
        counts, _ = await _copied_at_last(storage)
        assert counts["notification"] == 1

    def _put_back(self, copy: bytes, clock: SettableReactor, directory: Path) -> AbstractAsyncContextManager[Watched]:
        other = directory / "put back"
        other.mkdir()
        self.put_back(copy, other)
        return self.opened(clock, other, has_data=True)


async def _copied(storage: Watched) -> tuple[dict[str, int], bytes]:
    copy = bytearray()

    async def write(data: bytes) -> None:
        copy.extend(data)

    return await storage.back_up(write), bytes(copy)


async def _copied_at_last(storage: Watched) -> tuple[dict[str, int], bytes]:
    """A copy, as soon as one that was cancelled has ended."""
    while True:
        try:
            return await _copied(storage)
        except StorageUnavailable:
            await storage.append(())
