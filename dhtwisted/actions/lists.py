"""Lists: read in portions of limited bytes, so that a long list is never in memory as a whole.

Over WebSocket a reply is one message. Its list ends at ``limits.list_bytes`` or ``limits.list_size``, and then the reply has
``"more": true``. Over REST a list is complete: a long one is read and sent portion by portion, as the client reads them.

Each portion begins after the last element of the one before, in the order of the list. So an element that exists and keeps its place comes
exactly once, whatever is inserted and deleted meanwhile.
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
from dhtwisted.model import EntityQuery, Message, MessageQuery, head_of, payload_size
from dhtwisted.wire.envelope import encode
from dhtwisted.wire.message_texts import message_texts

PORTION = 256 * 1024
"""Bytes of JSON that are sent at once over REST. A portion has at least one element."""

PAGE_SIZE = 512 * 1024
"""Bytes that are read from the storage at once. A page has at least one entity or message."""

LONGEST_PAGE = 5000
"""Entities or messages that are read at once, if they are small."""

MESSAGES_AT_ONCE = 100
"""Messages from memory that are made JSON at once."""

_PLACE = b"\0"
"""Marks the place of the elements; JSON never contains it."""


Present = Callable[[Any], Struct]
"""Entity -> the form that clients see."""

PresentPage = Callable[[list[Any]], list[Any]]
"""Entities or messages -> the forms that clients see: structs, or their JSON as ``Raw``."""

Make = Callable[[Any, Any], Struct]
"""``(list as JSON, member more)`` -> reply. The list is one text or a list of elements."""


class Pages:
    """Reads a list from the storage, page by page.

    :param pages: has the ``read`` of a :class:`~dhtwisted.core.stored_pages.StoredPages`.
    :param query: an ``EntityQuery`` or ``MessageQuery``; its ``take`` counts for all pages together.
    :param renew: called before each page after the first. It raises an error if the client may not read the list any more; else it gives
        the fields of the query that depend on the client's rights.
    :ivar is_last: whether the page that was read last is the last one.
    """

    comes_one_by_one = False

    def __init__(self, pages: StoredPages, query: Any, renew: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._pages = pages
        self._first_query = query
        self._renew = renew
        self.begin_anew()

    def begin_anew(self) -> None:
        """Read the first page again, with the rights that the client had at its request."""
        self._query = self._first_query
        self._is_first = True
        self.is_last = self._query.take == 0

    async def read(self) -> list[Any]:
        """The next page; empty at the end."""
        if self.is_last:
            return []
        if not self._is_first:
            self._query = replace(self._query, **await self._renew())
        self._is_first = False
        page, self.is_last = await self._pages.read(self._query, PAGE_SIZE)
        self._query = self._pages.following(self._query, page)
        return page

    def count_no_more(self) -> None:
        """Do not count pages in the server's budget: the caller reserves memory for all of them."""
        self._pages.budget = None


def entity_pages(request: Request, kind: type, query: EntityQuery, conditions: Callable[[], Awaitable[dict[str, Any]]]) -> Pages:
    """The entities of a list.

    :param query: has the conditions for the caller's rights now.
    :param conditions: gives ``equal``, ``like`` and ``within`` of the query for the caller's current rights.
    """

    async def renew() -> dict[str, Any]:
        request.server.check(request.action, request.principal)
        return await conditions()

    pages = EntityPages(request.server.entities, kind, request.server.budget, LONGEST_PAGE)
    return Pages(pages, query, renew)


def message_pages(request: Request, kind: type, query: MessageQuery, find_device: FindDevice) -> Pages:
    """The messages of a list.

    :param find_device: raises an error if the client may not see the device.
    """

    async def renew() -> dict[str, Any]:
        request.server.check(request.action, request.principal)
        await find_device(request, request.fields.device_id)
        return {}

    pages = MessagePages(request.server.messages, kind, request.server.budget, LONGEST_PAGE)
    return Pages(pages, query, renew)


class Given:
    """Reads a list from memory, one element at a time: each may be large as JSON.

    :param values: all elements.
    """

    is_last = comes_one_by_one = True

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = iter(values)

    async def read(self) -> list[Any]:
        """A list of the next element; empty at the end."""
        return list(islice(self._values, 1))

    def count_no_more(self) -> None:
        """Do nothing: these elements are not counted. See :meth:`Pages.count_no_more`."""


class GivenMessages(Given):
    """Reads a list of messages from memory, as many at a time as make a small part of a portion."""

    async def read(self) -> list[Any]:
        """The next messages; empty at the end."""
        return list(head_of(islice(self._values, MESSAGES_AT_ONCE), PORTION // 4, payload_size))


def each(present: Present) -> PresentPage:
    """Present the elements of a page one by one."""
    return lambda page: list(map(present, page))


def present_messages(page: list[Message]) -> list[Raw]:
    """Present messages together, as JSON: that takes half the time."""
    return list(map(Raw, message_texts(page)))


class Elements:
    """The elements of a list as JSON, a portion at a time.

    :param pages: :class:`Pages` or :class:`Given`.
    :param present: makes the forms that clients see.
    """

    def __init__(self, pages: Any, present: PresentPage) -> None:
        self._pages = pages
        self._present = present
        self._page: list[Any] = []

    async def has_all(self) -> bool:
        """Whether one page has the whole list."""
        return not (self._page or await self._turn_page()) or self._pages.is_last

    def begin_anew(self) -> None:
        """Start again with the first page."""
        self._page = []
        self._pages.begin_anew()

    async def read_whole(self, size: int, count: int = sys.maxsize) -> Raw | None:
        """All elements at once, which costs half as much as one by one.

        :param size: the largest list, in bytes with commas.
        :param count: the largest number of elements.
        :returns: the list as ``Raw``; ``None`` if the list is longer than a page or a limit, so that :meth:`read` must be used.
        """
        if self._pages.comes_one_by_one or not (self._page or await self._turn_page()):
            return None
        if not self._pages.is_last or len(self._page) > count:
            return None
        whole = encode(self._page[::-1])
        return Raw(whole) if len(whole) - len(b"[]") <= size else None

    async def read(self, size: int, count: int = sys.maxsize) -> tuple[list[Raw], bool]:
        """The next elements, at least one if there is any.

        :param size: the largest list, in bytes with commas.
        :param count: the largest number of elements.
        :returns: the elements, and whether there are more.
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
        page = await self._pages.read()
        self._page = self._present(page[::-1])
        return bool(self._page)


class Streamed:
    """A reply whose list is longer than one portion. It is sent portion by portion.

    :ivar beginning: the reply with only the first portion, for logs; ``None`` after that was sent.
    """

    def __init__(self, request: Request, make: Make, elements: Elements, first: list[Raw]) -> None:
        self.beginning: Struct | None = make(first, True)
        self._request = request
        self._make = make
        self._elements = elements
        self._first: list[Raw] | None = first

    async def portions(self, answer: str | None) -> AsyncGenerator[bytes, None]:
        """The JSON in portions. Each is read when the iterator is asked for it.

        :param answer: send only this member of the reply; ``None`` for the whole reply.
        :raises ApiError: the rest cannot be read, or the client may not read it any more. Details that the client must not see are logged.
        """
        reply = self._make([Raw(_PLACE)], UNSET)
        head, tail = encode(reply if answer is None else getattr(reply, answer)).split(_PLACE)
        yield head + b",".join(self._first or ())
        # It was sent, and a slow client may need long for the rest.
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

    :param pages: :class:`Pages` or :class:`Given`.
    :param present: makes the form of an element that clients see.
    :param make: makes the reply, see :data:`Make`.
    :returns: the reply, or a :class:`Streamed`.
    """
    return await _answer(request, pages, Elements(pages, each(present)), make)


async def answer_messages(request: Request, pages: Any, make: Make) -> Any:
    """The reply of a list of commands or notifications; see :func:`answer_list`.

    :param pages: :class:`Pages` or :class:`GivenMessages`.
    """
    return await _answer(request, pages, Elements(pages, present_messages), make)


async def _answer(request: Request, pages: Any, elements: Elements, make: Make) -> Any:
    limits = request.server.settings.limits
    if request.session.conventions.sends_portions:
        if (whole := await elements.read_whole(PORTION)) is not None:
            return make(whole, UNSET)
        found, more = await elements.read(PORTION)
        return Streamed(request, make, elements, found) if more else make(found, UNSET)
    size, count = limits.list_bytes or sys.maxsize, limits.list_size or sys.maxsize
    budget, most = request.server.budget, limits.list_bytes or PAGE_SIZE
    pages.count_no_more()
    # The connection's account counts the reply in the same reactor turn in which the reservation ends, so nothing is uncounted in between.
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
