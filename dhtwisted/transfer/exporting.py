"""Reads everything out of a storage."""

from dhtwisted.model import MESSAGE_KINDS, EntityQuery, MessageQuery
from dhtwisted.transfer.records import KINDS
from dhtwisted.transfer.unfinished import refuse_unfinished

PAGE, FIRST_PAGE = 500, 32
"""Messages in a page, at most and at first."""

PAGE_SIZE = 4 * 1024**2
"""Bytes of payload that a page should have: from what the last one had, the length of the next is reckoned."""


async def export_all(storage, messages, writer, report):
    """Write all objects of a storage. Messages are read in pages; the entities of a kind, which are few, all at once, as they are at one
    moment.

    :param storage: an opened ``IEntityStorage``.
    :param messages: an opened ``IMessageStorage``; often the same object.
    :param writer: a :class:`~dhtwisted.transfer.stream.Writer`.
    :param report: called after each portion; what it raises ends the export.
    :raises ConfigurationError: the storage has only a part of an import.
    :raises TransferError: an object cannot be written.
    """
    await refuse_unfinished(storage)
    for kind in KINDS:
        if kind in MESSAGE_KINDS.values():
            await _export_messages(kind, messages, writer, report)
        else:
            for entity in await storage.find(kind, EntityQuery()):
                writer.add(entity)
            report()
    writer.finish()


async def _export_messages(kind, messages, writer, report):
    length, last = FIRST_PAGE, None
    while length:
        page = await messages.find_messages(kind, MessageQuery(after=last, take=length))
        for message in page:
            writer.add(message)
        report()
        length = _next_length(page) if len(page) == length else 0
        last = (page[-1].timestamp, page[-1].id) if page else None


def _next_length(page):
    size = sum(len(message.parameters or b"") + len(getattr(message, "result", None) or b"") for message in page)
    return max(1, min(PAGE, 4 * len(page), PAGE_SIZE * len(page) // (size + 1)))
