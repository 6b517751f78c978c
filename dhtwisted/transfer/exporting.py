"""Reads everything out of a storage, also while a server uses it.

An export has every message that was acknowledged before the export began and is still there, and the entities as they are at that moment.
Where the storage answers at once, all entities are of the same moment. Of what is stored later, an export may have some.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from dhtwisted.core.stored_pages import MessagePages
from dhtwisted.interfaces import IEntityStorage, IMessageStorage
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS, EntityQuery, MessageQuery
from dhtwisted.transfer.records import KINDS
from dhtwisted.transfer.stream import Writer
from dhtwisted.transfer.unfinished import refuse_unfinished

ENTITIES = 200
"""Entities that are written at once."""


async def export_all(
    storage: IEntityStorage, messages: IMessageStorage, writer: Writer, now: int, report: Callable[[], Awaitable[None]]
) -> None:
    """Write all objects of a storage. Messages are read in pages; the entities, which are few, all at once.

    :param storage: an opened ``IEntityStorage``.
    :param messages: an opened ``IMessageStorage``; often the same object.
    :param writer: a :class:`~dhtwisted.transfer.stream.Writer`.
    :param now: milliseconds since 1970 UTC, when the export begins.
    :param report: an async callable, called after each portion; what it raises ends the export.
    :raises ConfigurationError: the storage has only a part of an import.
    :raises TransferError: an object cannot be written.
    """
    await refuse_unfinished(storage)
    # Before the messages: a device has been registered before its messages come.
    last_ids = {kind: await _last_id_after(messages, kind, now) for kind in MESSAGE_KINDS.values()}
    entities = {kind: await storage.find(kind, EntityQuery()) for kind in KINDS if kind in ENTITY_KINDS.values()}
    for kind in KINDS:
        if kind in entities:
            await _export_entities(entities.pop(kind), writer, report)
        else:
            await _export_messages(kind, messages, writer, now, last_ids[kind], report)
    writer.finish()
    await report()


async def _export_entities(entities: list, writer: Writer, report: Callable[[], Awaitable[None]]) -> None:
    for start in range(0, len(entities), ENTITIES):
        for entity in entities[start : start + ENTITIES]:
            writer.add(entity)
        await report()


async def _export_messages(
    kind: type, messages: IMessageStorage, writer: Writer, now: int, last_id: int, report: Callable[[], Awaitable[None]]
) -> None:
    """Write the messages of a kind.

    :param now: where they end, but for those that were there before with a later time, which a client has given.
    :param last_id: the largest id of the latter; 0 when there are none.
    """
    async for page in MessagePages(messages, kind).walk(MessageQuery(before=None if last_id else now + 1)):
        for message in page:
            if (message.timestamp or 0) <= now or message.id <= last_id:
                writer.add(message)
        await report()


async def _last_id_after(messages: IMessageStorage, kind: type, now: int) -> int:
    """The largest id of the messages that have a time after this; 0 when there are none. Ids ascend in the order in which messages become
    visible, so none that becomes visible later has a lower one.
    """
    last = 0
    async for page in MessagePages(messages, kind).walk(MessageQuery(since=now + 1)):
        last = max(last, *(message.id for message in page))
    return last
