"""Exports everything from a storage, even while a server uses it.

An export has every message that was acknowledged before it began and is still stored, and the entities as they are when it begins. It may
also have some of the messages that are stored meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from dhtwisted.core.stored_pages import EntityPages, MessagePages
from dhtwisted.interfaces import IEntityStorage, IMessageStorage
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS, Entity, EntityQuery, MessageQuery
from dhtwisted.transfer.records import KINDS
from dhtwisted.transfer.stream import Writer
from dhtwisted.transfer.unfinished import refuse_unfinished

ENTITIES = 200
"""How many entities are written between two reports."""

Report = Callable[[], Awaitable[None]]


async def export_all(storage: IEntityStorage, messages: IMessageStorage, writer: Writer, now: int, report: Report) -> None:
    """Write all objects of a storage. Messages, and entities of kinds with ``MANY``, are read in pages; all others at once.

    :param storage: the opened storage of entities.
    :param messages: the opened storage of messages; often the same object.
    :param now: when the export begins, in milliseconds since 1970 UTC.
    :param report: called after each portion; an error that it raises ends the export.
    :raises ConfigurationError: the storage has only a part of an import.
    :raises TransferError: an object cannot be written.
    """
    await refuse_unfinished(storage)
    # First the ids, then the entities: a device is registered before its messages come, so the entities have it.
    last_ids = {kind: await _last_id_after(messages, kind, now) for kind in MESSAGE_KINDS.values()}
    entities = {kind: await storage.find(kind, EntityQuery()) for kind in KINDS if kind in ENTITY_KINDS.values() and not kind.MANY}
    for kind in KINDS:
        if kind in entities:
            await _export_entities(entities.pop(kind), writer, report)
        elif kind in ENTITY_KINDS.values():
            async for page in EntityPages(storage, kind).walk(EntityQuery()):
                await _export_entities(page, writer, report)
        else:
            await _export_messages(kind, messages, writer, now, last_ids[kind], report)
    writer.finish()
    await report()


async def _export_entities(entities: Sequence[Entity], writer: Writer, report: Report) -> None:
    for start in range(0, len(entities), ENTITIES):
        for entity in entities[start : start + ENTITIES]:
            writer.add(entity)
        await report()


async def _export_messages(kind: type, messages: IMessageStorage, writer: Writer, now: int, last_id: int, report: Report) -> None:
    """Write the messages of a kind: those up to a time, and those with a later time, given by a client, that were stored before.

    :param now: that time.
    :param last_id: the largest id of those with a later time; 0 if there are none.
    """
    async for page in MessagePages(messages, kind).walk(MessageQuery(before=None if last_id else now + 1)):
        for message in page:
            if (message.timestamp or 0) <= now or message.id <= last_id:
                writer.add(message)
        await report()


async def _last_id_after(messages: IMessageStorage, kind: type, now: int) -> int:
    """The largest id of the messages with a time after ``now``; 0 if there are none. Ids ascend in the order in which messages become
    visible, so no message that becomes visible later has a lower id.
    """
    last = 0
    async for page in MessagePages(messages, kind).walk(MessageQuery(since=now + 1)):
        last = max(last, *(message.id for message in page))
    return last
