"""Reads stored entities and messages in pages of about a megabyte, whether they are small or large: for lists, replays, polls and exports.

A storage that ends its answers at the ``size`` of a query is asked for a whole page at first, any other for a few. After that, the last
page says how many probably fit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar, cast

from msgspec.structs import replace

from dhtwisted.core.budget import Budget
from dhtwisted.interfaces import IBoundedAnswers
from dhtwisted.model import Entity, EntityQuery, Message, MessageQuery, entity_size, head_of, payload_size

PAGE, FIRST_PAGE = 500, 8
"""How many are in a page at most, and in the first page of a storage that does not end its answers by size."""

PAGE_SIZE = 1024**2
"""Bytes with which a page ends."""

T = TypeVar("T")
Query = TypeVar("Query", EntityQuery, MessageQuery)


class StoredPages(Generic[T, Query]):
    """Pages of entities or messages of one kind.

    :param find: called with a query; gives an awaitable of a list.
    :param size_of: bytes of one of them.
    :param is_bounded: whether the storage provides :class:`~dhtwisted.interfaces.IBoundedAnswers`.
    :param budget: each page is reserved in this budget while it is read, and waits when the budget is used up; ``None`` where no client
        asks.
    :param page: how many are in a page at most.
    """

    __slots__ = ("_find", "_is_bounded", "_length", "_page", "_size_of", "budget")

    _position: ClassVar[str]
    """The field of a query that says behind which place it begins."""

    def __init__(
        self,
        find: Callable[[Query], Awaitable[list[T]]],
        size_of: Callable[[T], int],
        is_bounded: bool,
        budget: Budget | None = None,
        page: int = PAGE,
    ) -> None:
        self._find: Callable[[Query], Awaitable[list[T]]] = find
        self._is_bounded = is_bounded
        self._size_of = size_of
        self.budget = budget
        self._page = page
        self._length = min(page, PAGE if is_bounded else FIRST_PAGE)

    async def read(self, query: Query, max_bytes: int = PAGE_SIZE) -> tuple[list[T], bool]:
        """Read the first page of a query; :meth:`following` gives the query of the next one.

        :param query: its ``take`` is how many are wanted at most; ``None`` for all.
        :param max_bytes: the page ends with the element that reaches it.
        :returns: the page, and whether it is the last one of this query.
        """
        wanted = query.take
        length = self._length if wanted is None else min(self._length, wanted)
        query = replace(query, take=length, size=max_bytes)
        if self.budget is None:
            found = await self._find(query)
        else:
            async with self.budget.reserved(max_bytes):
                found = await self._find(query)
        if self._is_bounded and len(found) == wanted:
            return found, True
        size = sum(map(self._size_of, found))
        if found:
            self._length = max(1, min(self._page, 4 * len(found), max_bytes * len(found) // (size + 1)))
        if size < max_bytes:
            return found, len(found) < length or len(found) == wanted
        page = list(head_of(found, max_bytes, self._size_of))
        return page, len(page) == wanted

    def following(self, query: Query, page: list[T]) -> Query:
        """The query for what comes behind a page, in the order of the query, whatever is stored or deleted meanwhile.

        :param query: the one that gave the page.
        """
        position: dict[str, Any] = {self._position: query.place(cast(Any, page[-1]))} if page else {}
        return replace(query, skip=0, take=None if query.take is None else query.take - len(page), **position)

    async def walk(self, query: Query) -> AsyncIterator[list[T]]:
        """Read all pages of a query, one after the other; none is empty."""
        is_last = False
        while not is_last:
            page, is_last = await self.read(query)
            if page:
                yield page
            query = self.following(query, page)


class MessagePages(StoredPages[Message, MessageQuery]):
    """Pages of messages.

    :param messages: an ``IMessageStorage``.
    :param kind: ``Command`` or ``Notification``.
    """

    __slots__ = ()

    _position = "behind"

    def __init__(self, messages: Any, kind: type, budget: Budget | None = None, page: int = PAGE) -> None:
        super().__init__(partial(messages.find_messages, kind), payload_size, IBoundedAnswers.providedBy(messages), budget, page)


class EntityPages(StoredPages[Entity, EntityQuery]):
    """Pages of entities.

    :param entities: has the ``find`` of an ``IEntityStorage``.
    :param kind: a class of ``model.ENTITY_KINDS``.
    """

    __slots__ = ()

    _position = "after"

    def __init__(self, entities: Any, kind: type[Entity], budget: Budget | None = None, page: int = PAGE) -> None:
        super().__init__(partial(entities.find, kind), entity_size, IBoundedAnswers.providedBy(entities), budget, page)
