"""Puts everything of an export into an empty storage, or goes on where the same import was cut short."""

from itertools import pairwise

from msgspec.structs import replace
from twisted.internet.defer import Deferred, DeferredList

from dhtwisted.errors import Duplicate, TransferError, Unstorable
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS, EntityQuery, MessageQuery
from dhtwisted.transfer.unfinished import find_unfinished, mark_unfinished, unmark
from dhtwisted.wire.timestamps import parse_timestamp

MESSAGES_AT_ONCE, ENTITIES_AT_ONCE = 500, 50
"""Of entities fewer: each has a commit of its own where a storage does not gather them, and the last of them waits for all."""

SIZE = 1024**2
"""Bytes of the file after which no more are gathered."""


class Import:
    """One import.

    :param storage: an opened ``IEntityStorage``.
    :param messages: an opened ``IMessageStorage``; often the same object.
    :param reader: a :class:`~dhtwisted.transfer.stream.Reader`.
    :param now: milliseconds. No message arrived later than this, nor than the export if that is still later: a clock may not be set
        yet. One that does not say when it arrived, as in exports of older programs, arrived at its own time.
    :param report: called after each portion; what it raises ends the import.
    :ivar begun: something may have been stored.
    :ivar found: how many objects were there already, from the same import before.
    """

    def __init__(self, storage, messages, reader, now, report):
        self.begun = False
        self.found = 0
        self._storage = storage
        self._messages = messages
        self._reader = reader
        self._latest = max(now, parse_timestamp(reader.header.time))
        self._report = report
        self._again = False

    async def run(self):
        """Store everything.

        :raises TransferError: the storage is not empty, the file is not good, or an object cannot be kept.
        """
        await self._begin()
        for batch in batches(self._reader):
            await (self._restore(batch) if type(batch[0].item) in MESSAGE_KINDS.values() else self._insert_all(batch))
            self._report()
        await unmark(self._storage)

    async def _begin(self):
        time = await find_unfinished(self._storage)
        if time is None:
            await self._check_empty()
            await mark_unfinished(self._storage, self._reader.header.time)
        elif time != self._reader.header.time:
            raise TransferError(
                f"the storage holds a part of the export of {time}, and this is that of {self._reader.header.time}: "
                "import that one again, or name an empty storage"
            )
        self._again = time is not None
        self.begun = True

    async def _check_empty(self):
        for kind in ENTITY_KINDS.values():
            if await self._storage.count(kind, EntityQuery()):
                raise _not_empty(kind)
        for kind in MESSAGE_KINDS.values():
            if await self._messages.find_messages(kind, MessageQuery(take=1)):
                raise _not_empty(kind)

    async def _insert_all(self, batch):
        """Insert entities at once, so that they may share a commit."""
        done = await DeferredList([Deferred.fromCoroutine(self._insert(entry)) for entry in batch], consumeErrors=True)
        for success, result in done:
            if not success:
                result.raiseException()

    async def _insert(self, entry):
        try:
            await self._storage.insert(entry.item)
        except Duplicate as error:
            if not self._again or await self._storage.get(type(entry.item), entry.item.key) != entry.item:
                raise entry.refused(f"{error}, and it is not the same") from error
            self.found += 1
        except Unstorable as error:
            raise entry.refused(error) from error

    async def _restore(self, batch):
        missing = await self._missing(batch) if self._again else batch
        if not missing:
            return
        missing = sorted(missing, key=lambda entry: entry.item.id)
        for earlier, later in pairwise(missing):
            if earlier.item.id == later.item.id:
                raise later.refused("comes twice")
        for entry in missing:
            item = entry.item
            item.arrived = min(item.timestamp if item.arrived is None else item.arrived, self._latest)
        try:
            await self._messages.restore([entry.item for entry in missing])
        except (Duplicate, Unstorable):
            await self._restore_each(missing)

    async def _restore_each(self, batch):
        """Restore messages one by one, to find the one that is refused."""
        for entry in batch:
            try:
                await self._messages.restore([entry.item])
            except Duplicate as error:
                raise entry.refused(f"{error}, and it is not the same") from error
            except Unstorable as error:
                raise entry.refused(error) from error

    async def _missing(self, batch):
        """What of a batch is not there yet. Both are in the same order, so what is there follows the first of the batch."""
        first = batch[0].item
        query = MessageQuery(after=(first.timestamp, first.id - 1), take=len(batch))
        there = {message.id: message for message in await self._messages.find_messages(type(first), query)}
        missing = [entry for entry in batch if not self._is_same(there.get(entry.item.id), entry.item)]
        self.found += len(batch) - len(missing)
        return missing

    def _is_same(self, stored, item):
        """Whether a message is stored already; an arrival that was not taken from the file, any import may have decided."""
        is_decided = item.arrived is None or item.arrived > self._latest
        return stored == item or (stored is not None and is_decided and replace(stored, arrived=item.arrived) == item)


def batches(reader):
    """Gather the entries of a file into lists of one kind, bounded in number and in bytes."""
    batch, size = [], 0
    for entry in reader:
        if batch and (type(entry.item) is not type(batch[0].item) or len(batch) == _most(entry.item) or size >= SIZE):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def _most(item):
    return MESSAGES_AT_ONCE if type(item) in MESSAGE_KINDS.values() else ENTITIES_AT_ONCE


def _not_empty(kind):
    return TransferError(f"there is a {kind.KIND} already: import goes into an empty storage, before the first start of its server")
