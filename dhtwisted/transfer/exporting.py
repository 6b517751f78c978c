"""Reads everything out of a storage, also one on which a server works meanwhile.

What is in an export: every message that was acknowledged before it began and is still there, and the entities as they are when it begins,
all of one moment where the storage answers at once. Of what is stored meanwhile, there may be some.
"""

from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS, EntityQuery, MessageQuery
from dhtwisted.transfer.records import KINDS
from dhtwisted.transfer.unfinished import refuse_unfinished

PAGE, FIRST_PAGE = 500, 4
"""Messages in a page, at most and at first: they may be of a megabyte each."""

PAGE_SIZE = 4 * 1024**2
"""Bytes of payload that a page should have: from what the last one had, the length of the next is reckoned."""

ENTITIES = 200
"""Entities that are written at once."""


async def export_all(storage, messages, writer, now, report):
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


async def _export_entities(entities, writer, report):
    for start in range(0, len(entities), ENTITIES):
        for entity in entities[start : start + ENTITIES]:
            writer.add(entity)
        await report()


async def _export_messages(kind, messages, writer, now, last_id, report):
    """Write the messages of a kind.

    :param now: where they end, but for those that were there before with a later time, which a client has given.
    :param last_id: the largest id of the latter; 0 when there are none.
    """
    async for page in _pages(messages, kind, MessageQuery(before=None if last_id else now + 1)):
        for message in page:
            if message.timestamp <= now or message.id <= last_id:
                writer.add(message)
        await report()


async def _last_id_after(messages, kind, now):
    """The largest id of the messages that have a time after this; 0 when there are none. Ids ascend in the order in which messages become
    visible, so none that becomes visible later has a lower one.
    """
    last = 0
    async for page in _pages(messages, kind, MessageQuery(since=now + 1)):
        last = max(last, *(message.id for message in page))
    return last


async def _pages(messages, kind, query):
    """The messages that a query finds, in lists."""
    length, last = FIRST_PAGE, None
    while length:
        page = await messages.find_messages(kind, _page_of(query, last, length))
        if page:
            yield page
        length = _next_length(page) if len(page) == length else 0
        last = (page[-1].timestamp, page[-1].id) if page else None


def _page_of(query, last, length):
    return MessageQuery(since=query.since, before=query.before, after=last, take=length)


def _next_length(page):
    size = sum(len(message.parameters or b"") + len(getattr(message, "result", None) or b"") for message in page)
    return max(1, min(PAGE, 4 * len(page), PAGE_SIZE * len(page) // (size + 1)))
