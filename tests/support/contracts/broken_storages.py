"""Storages that break the contract, each in one point, and the correct one that they derive from. ``test_refusals`` runs suites on them.

The classes are not called ``Test...``, so pytest collects them only when a command line names them.
"""

import os
import pickle
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer, implementer_only

from dhtwisted.errors import Duplicate, Missing, StorageUnavailable
from dhtwisted.interfaces import IBackedUpStorage, IMessageStorage
from dhtwisted.model import MESSAGE_KINDS, Command, DeviceToken, Entity, EntityQuery, Message, MessageQuery, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.storage import BackedUpStorageContract, DurableStorageContract, EntityStorageContract, MessageStorageContract
from dhtwisted.testing.storage.base import command, notification

CHANGING = ("append", "update_command", "forget_messages", "restore", "insert", "update", "delete", "change_many", "remove_group")


def saving(method: str) -> Any:
    """A method of the memory storage that completes when everything is in the file. If it is ``late``, it completes before that."""

    async def call(self: Any, *arguments: Any) -> Any:
        result = await getattr(MemoryStorage, method)(self, *arguments)
        if method == self.late:
            self.reactor.callLater(0, self.save)
        else:
            self.save()
        return result

    return call


class PickledStorage(MemoryStorage):
    """A memory storage that writes everything to a file with each change.

    :param late: the method that completes before its change is in the file; empty for none.
    """

    durability = "durable"

    def __init__(self, path: Path, reactor: Any, late: str = "") -> None:
        super().__init__(reactor)
        self.path, self.reactor, self.late = path, reactor, late

    append, update_command, forget_messages, restore, insert, update, delete, change_many, remove_group = map(saving, CHANGING)

    async def open(self) -> None:
        if self.path.exists():
            vars(self).update(pickle.loads(self.path.read_bytes()))

    async def close(self) -> None:
        if not self._closed:
            self.save()
        self._closed = True

    def save(self) -> None:
        own = ("path", "reactor", "late", "_seconds", "_slices")
        new = self.path.with_suffix(".new")
        new.write_bytes(pickle.dumps({name: value for name, value in vars(self).items() if name not in own}))
        os.replace(new, self.path)


class Sound(EntityStorageContract, MessageStorageContract, DurableStorageContract):
    """Keeps the contract. Its files lie in a directory of a fixture."""

    kind: type[PickledStorage] = PickledStorage
    late = ""
    place: Path

    @pytest.fixture(autouse=True)
    def files(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.place = tmp_path_factory.mktemp("files")

    def make_storage(self, reactor: Any, directory: Path) -> PickledStorage:
        return self.kind(self.place / directory.name, reactor, self.late)


# Completes before the change is in the file

for each in CHANGING:
    globals()[f"Late_{each}"] = type(f"Late_{each}", (Sound,), {"late": each, "__module__": __name__})


# Answers that end at ``size``


class Unbounded(PickledStorage):
    """Declares that its answers end at ``size``, and gives longer ones."""

    async def find_messages(self, kind: type[Message], query: MessageQuery) -> list[Any]:
        return await super().find_messages(kind, replace(query, size=None))

    async def find(self, kind: type[Entity], query: EntityQuery) -> list[Any]:
        return await super().find(kind, replace(query, size=None))


class UnboundedAnswers(Sound):
    kind = Unbounded


# Barriers and order


class HurriedAppends(PickledStorage):
    """Appended messages get their times at once and become visible later. A barrier does not wait for them."""

    async def append(self, messages: Sequence[Message]) -> None:  # type: ignore[override]  # no Done, but a coroutine is as good
        if messages:
            now = self._now()
            await deferLater(self.reactor, 0)
            for message in messages:
                message.timestamp = now if message.timestamp is None else message.timestamp
        await super().append(messages)


class BarrierBeforeAppends(Sound):
    kind = HurriedAppends


class HurriedUpdates(PickledStorage):
    """Updates get their times at once and become visible later. A barrier does not wait for them."""

    async def update_command(self, device_id: str, command_id: int, changes: dict[str, Any]) -> Command | None:
        now = self._now()
        await deferLater(self.reactor, 0)
        updated = self._log(Command).update_command(device_id, command_id, now, changes)
        self.save()
        return updated


class BarrierBeforeUpdates(Sound):
    kind = HurriedUpdates


class UnorderedStorage(PickledStorage):
    """Every second append completes after the appends that follow it."""

    async def append(self, messages: Sequence[Message]) -> None:  # type: ignore[override]  # no Done, but a coroutine is as good
        await super().append(messages)
        if messages and messages[0].id % 2:
            await deferLater(self.reactor, 0)


class OutOfOrder(Sound):
    kind = UnorderedStorage


# Many entities at once


class ManyStorage(PickledStorage):
    """What follows changes one method of it."""

    async def change_many(self, put: Sequence[Any], removed: Any, messages: Any = ()) -> None:  # type: ignore[override]  # as for append
        await super().change_many(put, removed, messages)


class KeepsTheFirst(Sound):
    class kind(ManyStorage):
        async def change_many(self, put: Sequence[Any], removed: Any, messages: Any = ()) -> None:  # type: ignore[override]  # as for append
            fresh = [entity for entity in put if await self.get(type(entity), entity.key) is None]
            await super().change_many(fresh, removed, messages)


class StoresOrRemoves(Sound):
    class kind(ManyStorage):
        async def change_many(self, put: Sequence[Any], removed: Any, messages: Any = ()) -> None:  # type: ignore[override]  # as for append
            await super().change_many(put, () if put else removed, messages)


class RemovesSimilarGroups(Sound):
    class kind(ManyStorage):
        async def remove_group(self, kind: type[Entity], group: str) -> None:
            for entity in await self.find(kind, EntityQuery()):
                if entity.key.startswith(group):
                    await self.delete(kind, entity.key)


class NeedsThePlace(Sound):
    """Looks for the entity behind which a page begins."""

    class kind(ManyStorage):
        async def find(self, kind: type[Entity], query: EntityQuery) -> list[Any]:
            if query.after and await self.get(kind, query.after[-1]) is None:
                return []
            return await super().find(kind, query)


class TakesAThousand(Sound):
    class kind(ManyStorage):
        async def change_many(self, put: Sequence[Any], removed: Any, messages: Any = ()) -> None:  # type: ignore[override]  # as for append
            await super().change_many(put[:1000], removed[:1000], messages)


class CutsContents(Sound):
    class kind(ManyStorage):
        async def change_many(self, put: Sequence[Any], removed: Any, messages: Any = ()) -> None:  # type: ignore[override]  # as for append
            cut = [replace(each, payload=each.payload[:65_535]) if hasattr(each, "payload") else each for each in put]
            await super().change_many(cut, removed, messages)


class MixesGroups(Sound):
    """Finds a group by the beginning of its name."""

    class kind(ManyStorage):
        async def find(self, kind: type[Entity], query: EntityQuery) -> list[Any]:
            group = query.equal.get("session")
            if group is None:
                return await super().find(kind, query)
            found = await super().find(kind, replace(query, equal={}, take=None, size=None))
            return [each for each in found if each.session.startswith(group)][: query.take]


class OvertakesItself(Sound):
    """Every second call completes after those that follow it."""

    class kind(ManyStorage):
        calls = 0

        async def change_many(self, put: Sequence[Any], removed: Any, messages: Any = ()) -> None:  # type: ignore[override]  # as for append
            self.calls += 1
            if self.calls % 2:
                await deferLater(self.reactor, 0)
            await super().change_many(put, removed, messages)


# Lost over a restart


class LosesField(Sound):
    class kind(PickledStorage):
        async def open(self) -> None:
            await super().open()
            for user in list(self._tables[User].entities.values()):
                self._tables[User].put(user.id, replace(user, last_login=None))


class LosesKind(Sound):
    class kind(PickledStorage):
        async def open(self) -> None:
            await super().open()
            self._tables[DeviceToken].entities.clear()


class LosesUnique(Sound):
    class kind(PickledStorage):
        async def open(self) -> None:
            await super().open()
            for table in self._tables.values():
                for unique_keys in table.unique_keys.values():
                    unique_keys.clear()


class LosesNumber(Sound):
    class kind(PickledStorage):
        async def open(self) -> None:
            await super().open()
            for user in list(self._tables[User].entities.values()):
                self._tables[User].put(user.id, replace(user, valid_from=0))


# When messages arrived


class ForgetsByTimestamp(Sound):
    class kind(PickledStorage):
        async def forget_messages(self, kind: type[Message], query: MessageQuery) -> int:
            gone = [message for message in self._log(kind).find(query) if message.arrived != message.timestamp]
            for message in gone:
                self._log(kind)._remove(message)
            return len(gone) or await super().forget_messages(kind, query)


class LosesArrivals(Sound):
    class kind(PickledStorage):
        async def open(self) -> None:
            await super().open()
            for log in self._logs.values():
                for message in log.by_id.values():
                    message.arrived = message.timestamp


class RestoresAsNew(Sound):
    class kind(PickledStorage):
        async def restore(self, messages: Sequence[Message]) -> None:
            await super().restore([replace(message, arrived=self._now()) for message in messages])


# Calls that do not end


class NeverUpdates(Sound):
    call_seconds = 0.2

    class kind(PickledStorage):
        def update_command(self, device_id: str, command_id: int, changes: dict[str, Any]) -> Deferred[Command | None]:  # type: ignore[override]  # the mistake
            return Deferred()


class NeverOpens(Sound):
    call_seconds = 0.2

    class kind(PickledStorage):
        def open(self) -> Deferred[None]:  # type: ignore[override]  # the mistake
            return Deferred()


class NeverCloses(Sound):
    call_seconds = 0.2

    class kind(PickledStorage):
        def close(self) -> Deferred[None]:  # type: ignore[override]  # the mistake
            return Deferred()


class NothingToAwait(Sound):
    class kind(PickledStorage):
        def update_command(self, device_id: str, command_id: int, changes: dict[str, Any]) -> None:  # type: ignore[override]  # the mistake
            return None


class ClosesWhatIsOpen(Sound):
    class kind(PickledStorage):
        is_open = False

        async def open(self) -> None:
            await super().open()
            self.is_open = True

        async def close(self) -> None:
            if not self.is_open:
                raise StorageUnavailable("not open")
            await super().close()


# Storages that are not new, and suites that cannot go to another process


class Shared(Sound):
    """The same storage for every test."""

    class kind(PickledStorage):
        async def close(self) -> None:
            """Stay open."""

    one: PickledStorage | None = None

    def make_storage(self, reactor: Any, directory: Path) -> PickledStorage:
        Shared.one = Shared.one or super().make_storage(reactor, directory)
        return Shared.one


class Leftovers(Sound):
    """Has messages of another run in a new directory."""

    class kind(PickledStorage):
        async def open(self) -> None:
            is_new = not self.path.exists()
            await super().open()
            if is_new:
                await self.append([notification("last"), command("last")])


class Removing(Sound):
    """Prints the name of each directory whose data it removes."""

    async def remove_storage(self, directory: Path) -> None:
        print(f"removed {directory.name}, closed: {self.made[-1]._closed}")

    def make_storage(self, reactor: Any, directory: Path) -> PickledStorage:
        self.made = [*getattr(self, "made", []), super().make_storage(reactor, directory)]
        return self.made[-1]


class Unpicklable(Sound):
    """Needs a lock, which no other process can have."""

    @pytest.fixture(autouse=True)
    def lock(self) -> None:
        self.guard = threading.Lock()

    def make_storage(self, reactor: Any, directory: Path) -> PickledStorage:
        assert self.guard
        return super().make_storage(reactor, directory)


def _made_here() -> type[Sound]:
    class Hidden(Sound):
        """Cannot be imported."""

    return Hidden


Hidden = _made_here()


# Messages alone


@implementer_only(IMessageStorage)
class PickledMessages(PickledStorage):
    """Declares that it keeps no entities."""


class MessagesAlone(MessageStorageContract, DurableStorageContract):
    def make_storage(self, reactor: Any, directory: Path) -> PickledMessages:
        return PickledMessages(directory / "data", reactor)


# Errors of a driver


class RawErrors(Sound):
    """Raises the errors of its driver."""

    class kind(PickledStorage):
        def _check_open(self) -> None:
            if self._closed:
                raise ConnectionError("no connection")

        async def insert(self, entity: Entity) -> Any:
            try:
                return await super().insert(entity)
            except Duplicate as error:
                raise KeyError(entity.key) from error

        async def update(self, kind: type[Entity], key: Any, changes: dict[str, Any]) -> Any:
            try:
                return await super().update(kind, key, changes)
            except (Duplicate, Missing) as error:
                raise KeyError(key) from error

        async def restore(self, messages: Sequence[Message]) -> None:
            try:
                return await super().restore(messages)
            except Duplicate as error:
                raise KeyError("id") from error

        async def update_command(self, device_id: str, command_id: int, changes: dict[str, Any]) -> Command | None:
            raise ConnectionError("no connection")


class Silent(Sound):
    """Raises no error when something is wrong."""

    class kind(PickledStorage):
        def _check_open(self) -> None:
            """Answer although it is closed."""

        async def update(self, kind: type[Entity], key: Any, changes: dict[str, Any]) -> Any:
            try:
                return await super().update(kind, key, changes)
            except Missing:
                return None


# Texts


class OwnTexts(Sound):
    """Compares and sorts texts as databases do by default."""

    class kind(PickledStorage):
        async def find_messages(self, kind: type[Message], query: MessageQuery) -> list[Any]:
            if query.status is not None and not query.status.isascii():
                found = await super().find_messages(kind, replace(query, status=None))
                return [message for message in found if message.status == query.status]
            found = await super().find_messages(kind, query)
            if query.sort == "timestamp":
                return found
            return sorted(found, key=lambda message: ((getattr(message, query.sort) or "\uffff").casefold(), message.id))

        async def find(self, kind: type[Entity], query: EntityQuery) -> list[Any]:
            found = await super().find(kind, query)
            if not query.sort:
                return found
            return sorted(found, key=lambda entity: str(getattr(entity, query.sort) or "\uffff").casefold())


# Copies


@implementer(IBackedUpStorage)
class CopiedStorage(PickledStorage):
    """A storage that backs itself up: the copy is its file."""

    async def back_up(self, write: Callable[[bytes], Awaitable[None]]) -> dict[str, int]:
        counts = {kind: len(await self.find_messages(MESSAGE_KINDS[kind], MessageQuery())) for kind in MESSAGE_KINDS}
        self.save()
        await write(self.path.read_bytes())
        return counts


class SoundCopy(Sound, BackedUpStorageContract):
    """Keeps the contract of copies, too."""

    kind = CopiedStorage

    def put_back(self, copy: bytes, directory: Path) -> None:
        (self.place / directory.name).write_bytes(copy)


class EmptyCopy(SoundCopy):
    """A copy lacks messages that were acknowledged."""

    class kind(CopiedStorage):
        async def back_up(self, write: Callable[[bytes], Awaitable[None]]) -> dict[str, int]:
            empty = CopiedStorage(self.path.with_suffix(".copy"), self.reactor)
            empty.save()
            await write(empty.path.read_bytes())
            return {"command": 1, "notification": 200}


class CopiesInSecret(SoundCopy):
    """It has ``back_up``, and does not declare it."""

    class kind(PickledStorage):
        back_up = CopiedStorage.back_up


class UnprovedCopies(Sound):
    """It declares that it backs itself up, and has no suite for that."""

    kind = CopiedStorage
