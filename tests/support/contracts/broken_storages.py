"""Storages that break the contract, each in one point, and the sound one that they derive from: ``test_refusals`` has suites refuse them.

The classes are not called ``Test...``: pytest collects them only where it is told to.
"""

import os
import pickle
import threading

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer, implementer_only

from dhtwisted.errors import Duplicate, Missing, StorageUnavailable
from dhtwisted.interfaces import IBackedUpStorage, IMessageStorage
from dhtwisted.model import MESSAGE_KINDS, Command, DeviceToken, MessageQuery, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.storage import BackedUpStorageContract, DurableStorageContract, EntityStorageContract, MessageStorageContract
from dhtwisted.testing.storage.base import command, notification

CHANGING = ("append", "update_command", "forget_messages", "restore", "insert", "update", "delete")


def saving(method):
    """A method of the memory storage that completes when everything is in the file; at once if it is ``late``."""

    async def call(self, *arguments):
        result = await getattr(MemoryStorage, method)(self, *arguments)
        if method == self.late:
            self.reactor.callLater(0, self.save)
        else:
            self.save()
        return result

    return call


class PickledStorage(MemoryStorage):
    """A memory storage that is written to a file, all of it with each change.

    :param late: the method that is acknowledged before it is written; empty for none.
    """

    durability = "durable"

    def __init__(self, path, reactor, late=""):
        super().__init__(reactor)
        self.path, self.reactor, self.late = path, reactor, late

    append, update_command, forget_messages, restore, insert, update, delete = map(saving, CHANGING)

    async def open(self):
        if self.path.exists():
            vars(self).update(pickle.loads(self.path.read_bytes()))

    async def close(self):
        if not self._closed:
            self.save()
        self._closed = True

    def save(self):
        own = ("path", "reactor", "late", "_seconds", "_slices")
        new = self.path.with_suffix(".new")
        new.write_bytes(pickle.dumps({name: value for name, value in vars(self).items() if name not in own}))
        os.replace(new, self.path)


class Sound(EntityStorageContract, MessageStorageContract, DurableStorageContract):
    """Keeps the contract; its files are where a fixture says."""

    kind = PickledStorage
    late = ""

    @pytest.fixture(autouse=True)
    def files(self, tmp_path_factory):
        self.place = tmp_path_factory.mktemp("files")

    def make_storage(self, reactor, directory):
        return self.kind(self.place / directory.name, reactor, self.late)


# Acknowledged before it is written

for each in CHANGING:
    globals()[f"Late_{each}"] = type(f"Late_{each}", (Sound,), {"late": each, "__module__": __name__})


# Answers that end at ``size``


class Unbounded(PickledStorage):
    """Says that its answers end at ``size``, and does not end them."""

    async def find_messages(self, kind, query):
        return await super().find_messages(kind, replace(query, size=None))

    async def find(self, kind, query):
        return await super().find(kind, replace(query, size=None))


class UnboundedAnswers(Sound):
    kind = Unbounded


# Barriers and order


class HurriedAppends(PickledStorage):
    """Appends take their times at once and become visible later; a barrier does not wait for them."""

    async def append(self, messages):
        if messages:
            now = self._now()
            await deferLater(self.reactor, 0)
            for message in messages:
                message.timestamp = now if message.timestamp is None else message.timestamp
        await super().append(messages)


class BarrierBeforeAppends(Sound):
    kind = HurriedAppends


class HurriedUpdates(PickledStorage):
    """Updates take their times at once and become visible later; a barrier does not wait for them."""

    async def update_command(self, device_id, command_id, changes):
        now = self._now()
        await deferLater(self.reactor, 0)
        updated = self._log(Command).update_command(device_id, command_id, now, changes)
        self.save()
        return updated


class BarrierBeforeUpdates(Sound):
    kind = HurriedUpdates


class UnorderedStorage(PickledStorage):
    """Every second append completes later than those behind it."""

    async def append(self, messages):
        await super().append(messages)
        if messages and messages[0].id % 2:
            await deferLater(self.reactor, 0)


class OutOfOrder(Sound):
    kind = UnorderedStorage


# Lost over a restart


class LosesField(Sound):
    class kind(PickledStorage):
        async def open(self):
            await super().open()
            for user in list(self._tables[User].entities.values()):
                self._tables[User].put(user.id, replace(user, last_login=None))


class LosesKind(Sound):
    class kind(PickledStorage):
        async def open(self):
            await super().open()
            self._tables[DeviceToken].entities.clear()


class LosesUnique(Sound):
    class kind(PickledStorage):
        async def open(self):
            await super().open()
            for table in self._tables.values():
                for unique_keys in table.unique_keys.values():
                    unique_keys.clear()


class LosesNumber(Sound):
    class kind(PickledStorage):
        async def open(self):
            await super().open()
            for user in list(self._tables[User].entities.values()):
                self._tables[User].put(user.id, replace(user, valid_from=0))


# When messages arrived


class ForgetsByTimestamp(Sound):
    class kind(PickledStorage):
        async def forget_messages(self, kind, query):
            gone = [message for message in self._log(kind).find(query) if message.arrived != message.timestamp]
            return len([self._log(kind)._remove(message) for message in gone]) or await super().forget_messages(kind, query)


class LosesArrivals(Sound):
    class kind(PickledStorage):
        async def open(self):
            await super().open()
            for log in self._logs.values():
                for message in log.by_id.values():
                    message.arrived = message.timestamp


class RestoresAsNew(Sound):
    class kind(PickledStorage):
        async def restore(self, messages):
            await super().restore([replace(message, arrived=self._now()) for message in messages])


# Calls that do not end


class NeverUpdates(Sound):
    call_seconds = 0.2

    class kind(PickledStorage):
        def update_command(self, device_id, command_id, changes):
            return Deferred()


class NeverOpens(Sound):
    call_seconds = 0.2

    class kind(PickledStorage):
        def open(self):
            return Deferred()


class NeverCloses(Sound):
    call_seconds = 0.2

    class kind(PickledStorage):
        def close(self):
            return Deferred()


class NothingToAwait(Sound):
    class kind(PickledStorage):
        def update_command(self, device_id, command_id, changes):
            return None


class ClosesWhatIsOpen(Sound):
    class kind(PickledStorage):
        is_open = False

        async def open(self):
            await super().open()
            self.is_open = True

        async def close(self):
            if not self.is_open:
                raise StorageUnavailable("not open")
            await super().close()


# Storages that are not new, and what cannot go to another process


class Shared(Sound):
    """The same storage for every test."""

    class kind(PickledStorage):
        async def close(self):
            """Stay open."""

    one = None

    def make_storage(self, reactor, directory):
        Shared.one = Shared.one or super().make_storage(reactor, directory)
        return Shared.one


class Leftovers(Sound):
    """Has in a new directory what another run has left."""

    class kind(PickledStorage):
        async def open(self):
            is_new = not self.path.exists()
            await super().open()
            if is_new:
                await self.append([notification("last"), command("last")])


class Removing(Sound):
    """Says on its output which directory's data it removes."""

    async def remove_storage(self, directory):
        print(f"removed {directory.name}, closed: {self.made[-1]._closed}")

    def make_storage(self, reactor, directory):
        self.made = [*getattr(self, "made", []), super().make_storage(reactor, directory)]
        return self.made[-1]


class Unpicklable(Sound):
    """Needs what no other process can have."""

    @pytest.fixture(autouse=True)
    def lock(self):
        self.guard = threading.Lock()

    def make_storage(self, reactor, directory):
        assert self.guard
        return super().make_storage(reactor, directory)


def _made_here():
    class Hidden(Sound):
        """Cannot be imported."""

    return Hidden


Hidden = _made_here()


# Messages alone


@implementer_only(IMessageStorage)
class PickledMessages(PickledStorage):
    """Says that it keeps no entities."""


class MessagesAlone(MessageStorageContract, DurableStorageContract):
    def make_storage(self, reactor, directory):
        return PickledMessages(directory / "data", reactor)


# Errors of somebody else


class RawErrors(Sound):
    """Raises what its driver raises."""

    class kind(PickledStorage):
        def _check_open(self):
            if self._closed:
                raise ConnectionError("no connection")

        async def insert(self, entity):
            try:
                return await super().insert(entity)
            except Duplicate as error:
                raise KeyError(entity.key) from error

        async def update(self, kind, key, changes):
            try:
                return await super().update(kind, key, changes)
            except (Duplicate, Missing) as error:
                raise KeyError(key) from error

        async def restore(self, messages):
            try:
                return await super().restore(messages)
            except Duplicate as error:
                raise KeyError("id") from error

        async def update_command(self, device_id, command_id, changes):
            raise ConnectionError("no connection")


class Silent(Sound):
    """Does not say that something is wrong."""

    class kind(PickledStorage):
        def _check_open(self):
            """Answer although it is closed."""

        async def update(self, kind, key, changes):
            try:
                return await super().update(kind, key, changes)
            except Missing:
                return None


# Texts


class OwnTexts(Sound):
    """Compares and sorts as a database may that was not told otherwise."""

    class kind(PickledStorage):
        async def find_messages(self, kind, query):
            if query.status is not None and not query.status.isascii():
                found = await super().find_messages(kind, replace(query, status=None))
                return [message for message in found if message.status == query.status]
            found = await super().find_messages(kind, query)
            if query.sort == "timestamp":
                return found
            return sorted(found, key=lambda message: ((getattr(message, query.sort) or "\uffff").casefold(), message.id))

        async def find(self, kind, query):
            found = await super().find(kind, query)
            if not query.sort:
                return found
            return sorted(found, key=lambda entity: str(getattr(entity, query.sort) or "\uffff").casefold())


# Copies


@implementer(IBackedUpStorage)
class CopiedStorage(PickledStorage):
    """One that copies itself: what is handed over is its file."""

    async def back_up(self, write):
        counts = {kind: len(await self.find_messages(MESSAGE_KINDS[kind], MessageQuery())) for kind in MESSAGE_KINDS}
        self.save()
        await write(self.path.read_bytes())
        return counts


class SoundCopy(Sound, BackedUpStorageContract):
    """Keeps the contract of copies too."""

    kind = CopiedStorage

    def put_back(self, copy, directory):
        (self.place / directory.name).write_bytes(copy)


class EmptyCopy(SoundCopy):
    """A copy lacks what was acknowledged."""

    class kind(CopiedStorage):
        async def back_up(self, write):
            empty = CopiedStorage(self.path.with_suffix(".copy"), self.reactor)
            empty.save()
            await write(empty.path.read_bytes())
            return {"command": 1, "notification": 200}


class CopiesInSecret(SoundCopy):
    """It has ``back_up``, and does not say so."""

    class kind(PickledStorage):
        back_up = CopiedStorage.back_up


class UnprovedCopies(Sound):
    """It says that it copies itself, and does not have that proved."""

    kind = CopiedStorage
