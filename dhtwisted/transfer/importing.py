"""Stores everything of an export in an empty storage, or continues an import of the same export that was interrupted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, DeferredList

from dhtwisted.errors import Duplicate, TransferError, Unstorable
from dhtwisted.interfaces import IEntityStorage, IMessageStorage
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS, EntityQuery, Message, MessageQuery
from dhtwisted.transfer.stream import Entry, Reader
from dhtwisted.transfer.unfinished import find_unfinished, mark_unfinished, unmark
from dhtwisted.wire.timestamps import parse_timestamp

MESSAGES_AT_ONCE, ENTITIES_AT_ONCE = 500, 50
"""How many objects are stored together. Entities are fewer, because a storage may commit each by itself, and the last waits for all."""

BATCH_SIZE = 1024**2
"""Bytes of the file after which a batch ends."""


class Import:
    """One import.

    :param storage: the opened storage of entities.
    :param messages: the opened storage of messages; often the same object.
    :param reader: reads the export.
    :param now: the time in milliseconds. An arrival later than this is cut to this, or to the time of the export if that is later, since
        the clock may not be set yet. A message without an arrival, as in exports of older programs, gets its own timestamp as arrival.
    :param report: called after each batch; an error that it raises ends the import.
    :ivar begun: whether something may have been stored.
    :ivar found: how many objects were stored already, by the same import before.
    """

    def __init__(self, storage: IEntityStorage, messages: IMessageStorage, reader: Reader, now: int, report: Callable[[], None]) -> None:
        self.begun = False
        self.found = 0
        self._storage = storage
        self._messages = messages
        self._reader = reader
        self._latest_arrival = max(now, parse_timestamp(reader.header.time))
        self._report = report
        self._continues = False

    async def run(self) -> None:
        """Store everything.

        :raises TransferError: the storage is not empty, the file is not valid, or an object cannot be stored.
        """
        await self._begin()
        for batch in batches(self._reader):
            await (self._restore(batch) if type(batch[0].item) in MESSAGE_KINDS.values() else self._insert_all(batch))
            self._report()
        await unmark(self._storage)

    async def _begin(self) -> None:
        time = await find_unfinished(self._storage)
        if time is None:
            await self._check_empty()
            await mark_unfinished(self._storage, self._reader.header.time)
        elif time != self._reader.header.time:
            raise TransferError(
                f"the storage has a part of the export of {time}, and this file is the export of {self._reader.header.time}: "
                "import that export again, or name an empty storage"
            )
        self._continues = time is not None
        self.begun = True

    async def _check_empty(self) -> None:
        for kind in ENTITY_KINDS.values():
            if await self._storage.count(kind, EntityQuery()):
                raise _not_empty(kind)
        for message_kind in MESSAGE_KINDS.values():
            if await self._messages.find_messages(message_kind, MessageQuery(take=1)):
                raise _not_empty(message_kind)

    async def _insert_all(self, batch: Sequence[Entry]) -> None:
        """Insert entities at the same time, so that they can share a commit."""
        done: list[Any] = await DeferredList([Deferred.fromCoroutine(self._insert(entry)) for entry in batch], consumeErrors=True)
        for success, result in done:
            if not success:
                result.raiseException()

    async def _insert(self, entry: Entry) -> None:
        try:
            await self._storage.insert(entry.item)
        except Duplicate as error:
            if not self._continues or await self._storage.get(type(entry.item), entry.item.key) != entry.item:
                raise entry.error(f"{error}, and it is different") from error
            self.found += 1
        except Unstorable as error:
            raise entry.error(error) from error

    async def _restore(self, batch: Sequence[Entry]) -> None:
        missing = await self._missing(batch) if self._continues else batch
        if not missing:
            return
        missing = sorted(missing, key=lambda entry: entry.item.id)
        for earlier, later in pairwise(missing):
            if earlier.item.id == later.item.id:
                raise later.error("appears twice")
        for entry in missing:
            item = entry.item
            item.arrived = min(item.timestamp if item.arrived is None else item.arrived, self._latest_arrival)
        try:
            await self._messages.restore([entry.item for entry in missing])
        except (Duplicate, Unstorable):
            await self._restore_each(missing)

    async def _restore_each(self, batch: Sequence[Entry]) -> None:
        """Restore messages one by one, to find the one that the storage refuses."""
        for entry in batch:
            try:
                await self._messages.restore([entry.item])
            except Duplicate as error:
                raise entry.error(f"{error}, and it is different") from error
            except Unstorable as error:
                raise entry.error(error) from error

    async def _missing(self, batch: Sequence[Entry]) -> Sequence[Entry]:
        """The entries that are not stored yet. File and storage have the same order, so stored ones follow the first of the batch."""
        first = batch[0].item
        query = MessageQuery(after=(first.timestamp, first.id - 1), take=len(batch))
        there = {message.id: message for message in await self._messages.find_messages(type(first), query)}
        missing = [entry for entry in batch if not self._is_same(there.get(entry.item.id), entry.item)]
        self.found += len(batch) - len(missing)
        return missing

    def _is_same(self, stored: Message | None, item: Message) -> bool:
        """Whether a message is stored already. If its arrival does not come from the file, the earlier import may have chosen another."""
        is_chosen = item.arrived is None or item.arrived > self._latest_arrival
        return stored == item or (stored is not None and is_chosen and replace(stored, arrived=item.arrived) == item)


def batches(reader: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Group the entries of a file into lists of one kind, limited in number and in bytes."""
    batch: list[Entry] = []
    size = 0
    for entry in reader:
        if batch and (type(entry.item) is not type(batch[0].item) or len(batch) == _largest_batch(entry.item) or size >= BATCH_SIZE):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def _largest_batch(item: Any) -> int:
    return MESSAGES_AT_ONCE if type(item) in MESSAGE_KINDS.values() else ENTITIES_AT_ONCE


def _not_empty(kind: Any) -> TransferError:
    return TransferError(f"the storage has a {kind.KIND} already: import needs an empty storage, before the first start of its server")
