"""A storage whose answers come when a test says so."""

from twisted.internet.defer import Deferred
from zope.interface import implementer

from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import IStorage


@implementer(IStorage)
class DelayingStorage:
    """Passes everything on to another storage, and may keep the answers back.

    A delayed call does its work at once and answers later, as a commit does whose confirmation is on its way; a *late* one also does its
    work only then. Answers of calls to the same method come in the order of the calls: a storage commits in one order.

    :ivar waiting: method names of the answers that are kept back, in order of the calls.
    """

    def __init__(self, storage):
        self._storage = storage
        self._modes = {}
        self._calls = []
        self.durability = storage.durability
        self.state_directory = storage.state_directory

    @property
    def waiting(self):
        return [name for name, _, _ in self._calls]

    def delay(self, *names, late=False):
        """Keep back the answers of these methods from now on."""
        self._modes |= dict.fromkeys(names, "late" if late else "delayed")

    def prompt(self, *names):
        """Answer calls to these methods at once again, unless older ones wait; to all, when none is named."""
        for name in names or list(self._modes):
            self._modes.pop(name, None)

    def fail(self, *names):
        """Be unavailable for these methods from now on. The error of a delayed one comes as late as its answer would."""
        for name in names:
            self._modes[name] = "failing late" if name in self._modes else "failing"

    def release(self, name=None, count=1):
        """Give so many answers that were kept back, the oldest first.

        :param name: of this method alone.
        :returns: how many there were.
        """
        given = 0
        for call in [call for call in self._calls if name in (None, call[0])][:count]:
            self._calls.remove(call)
            if call[2]:
                call[1].errback(StorageUnavailable("a test wants it so"))
            else:
                call[1].callback(None)
            given += 1
        return given

    def release_all(self):
        """Give answers until none is kept back, those to calls made meanwhile too."""
        while self.release():
            pass

    async def _call(self, name, *arguments):
        mode = self._modes.get(name) or ("delayed" if name in self.waiting else "")
        if mode == "failing":
            raise StorageUnavailable("a test wants it so")
        method = getattr(self._storage, name)
        if not mode:
            return await method(*arguments)
        outcome = await _outcome(method, arguments) if mode == "delayed" else None
        released = Deferred()
        self._calls.append((name, released, mode == "failing late"))
        await released
        if outcome is None:
            return await method(*arguments)
        result, error = outcome
        if error is not None:
            raise error
        return result

    async def open(self):
        await self._storage.open()

    async def close(self):
        await self._storage.close()

    async def get(self, kind, key):
        return await self._call("get", kind, key)

    async def find(self, kind, query):
        return await self._call("find", kind, query)

    async def count(self, kind, query):
        return await self._call("count", kind, query)

    async def holdings(self, owner):
        return await self._call("holdings", owner)

    async def insert(self, entity):
        return await self._call("insert", entity)

    async def update(self, kind, key, changes):
        return await self._call("update", kind, key, changes)

    async def delete(self, kind, key):
        return await self._call("delete", kind, key)

    async def append(self, messages):
        return await self._call("append", messages)

    async def update_command(self, device_id, command_id, changes):
        return await self._call("update_command", device_id, command_id, changes)

    async def get_message(self, kind, device_id, message_id):
        return await self._call("get_message", kind, device_id, message_id)

    async def find_messages(self, kind, query):
        return await self._call("find_messages", kind, query)

    async def forget_messages(self, kind, query):
        return await self._call("forget_messages", kind, query)

    async def restore(self, messages):
        return await self._call("restore", messages)


async def _outcome(method, arguments):
    try:
        return await method(*arguments), None
    except Exception as error:
        return None, error
