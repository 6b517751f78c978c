"""Reads stored messages in pages that have a bound in bytes: ten messages or ten thousand, a page is about a megabyte.

A storage stops at ``MessageQuery.size`` by itself. One that does not know it is asked for few messages at first, and then for as many
as the last page makes likely.
"""

from __future__ import annotations

from msgspec.structs import replace

from dhtwisted.model import head_of, payload_size

PAGE, FIRST_PAGE = 500, 8
"""Messages in a page, at most and at first."""

PAGE_SIZE = 1024**2
"""Bytes of payload with which a page ends."""


class MessagePages:
    """Pages of one kind of message, one after the other.

    :param messages: an ``IMessageStorage``.
    :param kind: ``Command`` or ``Notification``.
    :param budget: the :class:`~dhtwisted.budget.Budget` in which a page counts while it is read, and waits when that is used up; ``None``
        where no client asks.
    :param page: messages in a page, at most.
    """

    __slots__ = ("_budget", "_kind", "_length", "_messages", "_page")

    def __init__(self, messages, kind, budget=None, page=PAGE):
        self._messages = messages
        self._kind = kind
        self._budget = budget
        self._page = page
        self._length = min(page, FIRST_PAGE)

    async def read(self, query, max_bytes=PAGE_SIZE):
        """The next page. Where it begins is for the caller to say, by ``after`` or ``skip``.

        :param query: a ``MessageQuery``; its ``take`` is the most that is wanted, ``None`` for any number.
        :param max_bytes: of payload; the message with which they are reached is the last.
        :returns: a list of messages, and whether nothing comes behind it.
        """
        length = self._length if query.take is None else min(self._length, query.take)
        if self._budget is None:
            found = await self._find(query, length, max_bytes)
        else:
            async with self._budget.reserved(max_bytes):
                found = await self._find(query, length, max_bytes)
        size = sum(map(payload_size, found))
        if found:
            self._length = max(1, min(self._page, 4 * len(found), PAGE_SIZE * len(found) // (size + 1)))
        if size < max_bytes:
            return found, len(found) < length
        return list(head_of(found, max_bytes, payload_size)), False

    async def _find(self, query, length, max_bytes):
        return await self._messages.find_messages(self._kind, replace(query, take=length, size=max_bytes))
