"""Reads what is stored in pages that have a bound in bytes: ten messages or ten thousand, a page is about a megabyte.

A storage that says that it stops at the ``size`` of a query is asked for a whole page at first. Any other is asked for few at first. Both
are asked then for as many as the last page makes likely.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from dhtwisted.interfaces import IBoundedAnswers
from dhtwisted.model import entity_size, head_of, payload_size

PAGE, FIRST_PAGE = 500, 8
"""How many are in a page, at most, and at first of a storage that may not stop by itself."""

PAGE_SIZE = 1024**2
"""Bytes of payload with which a page ends."""


class StoredPages:
    """Pages of entities or messages of one kind, one after the other.

    :param find: called with a query, gives an awaitable of a list.
    :param size_of: bytes of one of them.
    :param is_bounded: whether the storage provides :class:`~dhtwisted.interfaces.IBoundedAnswers`.
    :param budget: the :class:`~dhtwisted.core.budget.Budget` in which a page counts while it is read, and waits when that is used up;
        ``None`` where no client asks.
    :param page: how many are in a page, at most.
    """

    __slots__ = ("_find", "_is_bounded", "_length", "_page", "_size_of", "budget")

    def __init__(self, find, size_of, is_bounded, budget=None, page=PAGE):
        self._find = find
        self._is_bounded = is_bounded
        self._size_of = size_of
        self.budget = budget
        self._page = page
        self._length = min(page, PAGE if is_bounded else FIRST_PAGE)

    async def read(self, query, max_bytes=PAGE_SIZE):
        """The next page. Where it begins is for the caller to say.

        :param query: its ``take`` is the most that is wanted, ``None`` for any number.
        :param max_bytes: of payload; what reaches them is the last.
        :returns: a list, and whether nothing comes behind it.
        """
        wanted = query.take
        length = self._length if query.take is None else min(self._length, query.take)
        query = replace(query, take=length, size=max_bytes)
        if self.budget is None:
            found = await self._find(query)
        else:
            async with self.budget.reserved(max_bytes):
                found = await self._find(query)
        if self._is_bounded and len(found) == wanted:
            return found, False
        size = sum(map(self._size_of, found))
        if found:
            self._length = max(1, min(self._page, 4 * len(found), PAGE_SIZE * len(found) // (size + 1)))
        if size < max_bytes:
            return found, len(found) < length
        return list(head_of(found, max_bytes, self._size_of)), False


class MessagePages(StoredPages):
    """Pages of messages.

    :param messages: an ``IMessageStorage``.
    :param kind: ``Command`` or ``Notification``.
    """

    __slots__ = ()

    def __init__(self, messages, kind, budget=None, page=PAGE):
        super().__init__(partial(messages.find_messages, kind), payload_size, IBoundedAnswers.providedBy(messages), budget, page)


class EntityPages(StoredPages):
    """Pages of entities.

    :param entities: has the ``find`` of an ``IEntityStorage``.
    :param kind: a class of ``model.ENTITY_KINDS``.
    """

    __slots__ = ()

    def __init__(self, entities, kind, budget=None, page=PAGE):
        super().__init__(partial(entities.find, kind), entity_size, IBoundedAnswers.providedBy(entities), budget, page)
