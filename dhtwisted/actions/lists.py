"""Lists: read in portions that are counted in bytes, so that one client's list is never in memory as a whole.

Over WebSocket a reply is one message. Its list ends at ``limits.list_bytes`` and ``limits.list_size``, and then the reply has
``"more": true``. Over REST a list is whole: what does not fit into one portion is read and sent portion by portion, as the client takes
them.

Each portion begins behind the place of the last element of the one before, in the order of the list. So an element that is there, and in
its place, all the time comes exactly once, whatever is inserted and deleted meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from itertools import islice
from typing import Any

from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from dhtwisted.actions.lookups import FindDevice
from dhtwisted.core.server import Request
from dhtwisted.core.stored_pages import EntityPages, MessagePages, StoredPages
from dhtwisted.model import EntityQuery, MessageQuery
from dhtwisted.wire.envelope import encode

PORTION = 256 * 1024
"""Bytes of JSON that are sent at once over REST, or one element."""

PAGE_SIZE = 512 * 1024
"""Bytes that are read from the storage at once, or one entity or message."""

LONGEST_PAGE = 5000
"""Entities or messages that are read at once, if they are small."""

_PLACE = b"\0"
"""Stands where elements go; no JSON has it."""


Present = Callable[[Any], Struct]
"""What clients see of an entity or message."""

Make = Callable[[Any, Any], Struct]
"""From a list as JSON, whole or of elements, and the member ``more`` to a reply."""


class Pages:
    """What a list asks for, page by page.

    :param pages: has the ``read`` of a :class:`~dhtwisted.core.stored_pages.StoredPages`.
    :param query: an ``EntityQuery`` or ``MessageQuery``; its ``take`` is of all pages together.
    :param renew: async; before each page but the first it raises what refuses the client by now, or gives fields of the query that have to
        do with what the client may see.
    :ivar is_last: whether nothing comes behind the page that was read last.
    """

    comes_one_by_one = False

    def __init__(self, pages: StoredPages, query: Any, renew: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._pages = pages
        self._first_query = query
        self._renew = renew
        self.begin_anew()

    def begin_anew(self) -> None:
        """Read the first page next, by what the client might see when it asked."""
        self._query = self._first_query
        self._is_first = True
        self.is_last = self._query.take == 0

    async def read(self) -> list[Any]:
        """The next page, a list; an empty one at the end."""
        if self.is_last:
            return []
        if not self._is_first:
            self._query = replace(self._query, **await self._renew())
        self._is_first = False
        page, self.is_last = await self._pages.read(self._query, PAGE_SIZE)
        self._query = self._pages.following(self._query, page)
        return page

    def count_no_more(self) -> None:
        """Do not count pages in the server's budget: who reads them counts what all of them may come to."""
        self._pages.budget = None


def entity_pages(request: Request, kind: type, query: EntityQuery, conditions: Callable[[], Awaitable[dict[str, Any]]]) -> Pages:
    """The entities of a list.

    :param query: with the conditions of now.
    :param conditions: async: ``equal``, ``like`` and ``within`` of the query, by what the caller may see.
    """

    async def renew() -> dict[str, Any]:
        request.server.check(request.action, request.principal)
        return await conditions()

    pages = EntityPages(request.server.entities, kind, request.server.budget, LONGEST_PAGE)
    return Pages(pages, query, renew)


def message_pages(request: Request, kind: type, query: MessageQuery, find_device: FindDevice) -> Pages:
    """The messages of a list.

    :param find_device: async: raises what refuses the client the device.
    """

    async def renew() -> dict[str, Any]:
        request.server.check(request.action, request.principal)
        await find_device(request, request.fields.device_id)
        return {}

    pages = MessagePages(request.server.messages, kind, request.server.budget, LONGEST_PAGE)
    return Pages(pages, query, renew)


class Given:
    """The same of what is in memory, one by one: each may be large as JSON.

    :param values: all of them.
    """

    is_last = comes_one_by_one = True

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = iter(values)

    async def read(self) -> list[Any]:
        """The next, in a list; an empty one at the end."""
        return list(islice(self._values, 1))

    def count_no_more(self) -> None:
        """See :class:`Pages`; nothing is read from a storage here."""


class Elements:
    """The elements of a list as JSON, a portion at a time.

    :param pages: has the ``read`` of :class:`Pages`.
    :param present: what clients see of one.
    """

    def __init__(self, pages: Any, present: Present) -> None:
        self._pages = pages
        self._present = present
        self._page: list[Any] = []

    async def has_all(self) -> bool:
        """Whether one page is all that there is."""
        return not (self._page or await self._turn_page()) or self._pages.is_last

    def begin_anew(self) -> None:
        """Forget what was read, and read it again next."""
        self._page = []
        self._pages.begin_anew()

    async def read_whole(self, size: int, count: int = sys.maxsize) -> Raw | None:
        """All of them at once, which costs half of one by one.

        :param size: bytes of them all, with commas.
        :param count: at most so many.
        :returns: the list as ``Raw``; ``None`` where :meth:`read` must be asked, since there is more than one page or than is permitted.
        """
        if self._pages.comes_one_by_one or not (self._page or await self._turn_page()):
            return None
        if not self._pages.is_last or len(self._page) > count:
            return None
        whole = encode(self._page[::-1])
        return Raw(whole) if len(whole) - len(b"[]") <= size else None

    async def read(self, size: int, count: int = sys.maxsize) -> tuple[list[Raw], bool]:
        """The next elements, at least one unless there is none.

        :param size: bytes of them all, with commas.
        :param count: at most so many.
        :returns: a list of ``Raw``, and whether there are more.
        """
        found: list[Raw] = []
        size += 1
        while self._page or await self._turn_page():
            element = encode(self._page[-1])
            size -= len(element) + 1
            if found and (size < 0 or len(found) >= count):
                return found, True
            self._page.pop()
            found.append(Raw(element))
        return found, False

    async def _turn_page(self) -> bool:
        self._page = list(map(self._present, reversed(await self._pages.read())))
        return bool(self._page)


class Streamed:
    """A reply whose list is longer than one portion, for a client that takes it portion by portion.

    :ivar beginning: the reply with the first portion alone, for logs, until that has been sent.
    """

    def __init__(self, request: Request, make: Make, elements: Elements, first: list[Raw]) -> None:
        self.beginning: Struct | None = make(first, True)
        self._request = request
        self._make = make
        self._elements = elements
        self._first: list[Raw] | None = first

    async def portions(self, answer: str | None) -> AsyncGenerator[bytes, None]:
        """The JSON, an asynchronous iterator of bytes. Each portion is read when it is asked for.

        :param answer: the member of the reply that is sent alone; ``None`` for all of it.
        :raises ApiError: the rest cannot be read, or not any more by this client. What the client is not told is in the log.
        """
        reply = self._make([Raw(_PLACE)], UNSET)
        head, tail = encode(reply if answer is None else getattr(reply, answer)).split(_PLACE)
        yield head + b",".join(self._first or ())
        # It has left, and a slow client may take long for the rest.
        self.beginning = self._first = None
        more = True
        while more:
            try:
                portion, more = await self._elements.read(PORTION)
            except Exception as error:
                request = self._request
                raise request.server.client_error(error, f"the rest of {request.action.name}", request.session.output, request) from error
            yield b"".join([b"," + element for element in portion]) + (b"" if more else tail)


async def answer_list(request: Request, pages: Any, present: Present, make: Make) -> Any:
    """The reply of a list.

    :param pages: has the ``read`` of :class:`Pages`.
    :param present: what clients see of one that is found.
    :param make: called with the list as JSON, whole or of elements, and the member ``more``; gives the reply, a struct.
    :returns: that, or a :class:`Streamed`.
    """
    limits, elements = request.server.settings.limits, Elements(pages, present)
    if request.session.conventions.sends_portions:
        if (whole := await elements.read_whole(PORTION)) is not None:
            return make(whole, UNSET)
        found, more = await elements.read(PORTION)
        return Streamed(request, make, elements, found) if more else make(found, UNSET)
    size, count = limits.list_bytes or sys.maxsize, limits.list_size or sys.maxsize
    budget, most = request.server.budget, limits.list_bytes or PAGE_SIZE
    pages.count_no_more()
    # The reply is in the account of its connection, or gone, in the turn in which a reservation ends: nothing else is begun in between.
    async with budget.reserved(PAGE_SIZE) as reservation:
        if (whole := await elements.read_whole(size, count)) is not None:
            return make(whole, UNSET)
        if await elements.has_all() or reservation.extend(most):
            found, more = await elements.read(size, count)
            return make(found, more or UNSET)
        elements.begin_anew()
    async with budget.reserved(PAGE_SIZE + most):
        found, more = await elements.read(size, count)
        return make(found, more or UNSET)
