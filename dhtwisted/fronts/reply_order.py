"""The order of the replies to one client: a reply leaves after the replies to all earlier requests.

The requests that wait are in two queues: ``started``, whose replies leave in order, and ``waiting``, which have not begun. Actions that
overlap (inserts, ``command/update``) begin while others of that kind are under way: else one connection could have no more than one of them
in each commit of the storage. Any other action begins when all before it are done, and nothing begins before it is done.

A session has no such object until a request has to wait. It goes away at the first sweep of the deadlines that finds it empty.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from msgspec import Struct

from dhtwisted.core.batches import Batch
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.fronts.queues import EMPTY, append

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dhtwisted.core.access import Principal
    from dhtwisted.core.server import Request, Server
    from dhtwisted.fronts.inbox import Inbox
    from dhtwisted.interfaces import IOutput

MAX_UNDER_WAY = 512
MAX_SIZE_UNDER_WAY = 4 * 1024**2
"""Bytes of requests under way, without the last one: 512 requests of 1 MiB each would be too many."""

COUNTED = 64 * 1024
"""Bytes of requests under way that are counted in one step: nothing is counted for a client that keeps up."""


class _Refusal(Struct, gc=False):
    """A request that could not be read, in the order of replies. It has what :class:`ReplyOrder` needs of a ``Request``.

    :ivar size: of the reply, the only thing in memory.
    """

    reply: bytes
    size: int
    count: ClassVar[int] = 1
    then: None = None
    is_queued: bool = True
    due: int = 0


class Ordered(Protocol):
    """What the order needs of its session."""

    output: IOutput
    principal: Principal | None
    inbox: Inbox | None
    finishing: Callable[[], object] | None
    order: ReplyOrder | None

    def done(self, request: Request, members: Any, error: Any) -> None:
        """Take the outcome of a request; see ``Server.execute``."""

    def send(self, request: Request | Batch, reply: bytes | list[bytes]) -> None:
        """Send a reply, or those of a batch, now."""

    def has_room(self) -> bool:
        """Whether there is room for one more reply."""

    def advanced(self) -> None:
        """Some requests have been answered."""


class ReplyOrder:
    """The requests of one client that wait for something, or whose replies wait for the reply to an older request.

    :ivar started: requests and batches under way, in the order of their arrival. Those with a ``reply`` wait for an older one.
    :ivar waiting: requests that have not begun.
    :ivar is_exclusive: whether the latest of ``started`` does not overlap, so that nothing begins before it is done.
    """

    __slots__ = (
        "_advancing",
        "_counted",
        "_in_batches",
        "_is_closed",
        "_server",
        "_session",
        "_size",
        "is_exclusive",
        "started",
        "waiting",
    )

    def __init__(self, session: Ordered, server: Server) -> None:
        self.started: deque[Any] = deque()
        self.waiting: deque[Any] = EMPTY
        self._session = session
        self._server = server
        self._size = self._counted = self._in_batches = 0
        self._advancing = self.is_exclusive = self._is_closed = False
        server.deadlines.watch(self)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is under way."""
        return not (self.started or self.waiting)

    def is_full(self) -> bool:
        """Whether no more requests may be under way."""
        return self._count() >= MAX_UNDER_WAY or self._size >= MAX_SIZE_UNDER_WAY

    def has_room_for(self, texts: Sequence[bytes]) -> bool:
        """Whether so many requests may begin together, all of which overlap with others."""
        if self.waiting or (self.started and self.is_exclusive):
            return False
        return self._count() + len(texts) <= MAX_UNDER_WAY and self._size + sum(map(len, texts)) <= MAX_SIZE_UNDER_WAY

    def _count(self) -> int:
        return len(self.started) + len(self.waiting) + self._in_batches

    def add(self, request: Request | Batch) -> None:
        """Give a request or a batch that has begun its place."""
        request.is_queued = True
        self._in_batches += request.count - 1
        self._size = size = self._size + request.size
        if size - self._counted >= COUNTED:
            self._resize(0)
        self.started.append(request)
        self.is_exclusive = not request.action.overlaps
        if not request.due:
            request.due = self._server.deadlines.sweeps + PATIENCE

    def add_waiting(self, request: Request) -> None:
        """Begin a request when those before it are done."""
        self._resize(request.size)
        self.waiting = append(self.waiting, request)
        if not request.due:
            request.due = self._server.deadlines.sweeps + PATIENCE

    def add_refusal(self, reply: bytes) -> None:
        """Send a reply that is known already after those before it."""
        size = len(reply)
        self._resize(size)
        if self.waiting:
            self.waiting.append(_Refusal(reply, size))
        else:
            self.started.append(_Refusal(reply, size))

    def expire(self, request: Request) -> None:
        """Answer, in its turn, a request whose deadline passed before it was read."""
        if self.waiting:
            request.is_queued = True
            self.add_waiting(request)
        self._server.expire(request, self._session.done)

    def answer(self, request: Any, reply: bytes | list[bytes]) -> None:
        """Take the reply to a request, or those of a batch. It leaves now if the request is the oldest."""
        request.reply = reply
        started, session = self.started, self._session
        if not request.is_queued:
            self.add(request)
        elif started and started[0] is request and not self._advancing:
            if (
                self.waiting
                or session.finishing is not None
                or (session.inbox is not None and session.inbox.texts)
                or (len(started) > 1 and started[1].reply is not None)
            ):
                self._advance()
            else:
                # The usual case, without calls: nothing else can be sent or begun.
                started.popleft()
                self._in_batches -= request.count - 1
                self._size = size = self._size - request.size
                if size < self._counted:
                    self._resize(0)
                session.send(request, reply)

    def go_on(self) -> None:
        """Begin what had to wait for room."""
        if self.waiting and not self._advancing:
            self._advance()

    def renew_deadlines(self) -> None:
        """Give the requests that have not begun all of their time again: their client did not read."""
        for request in self.waiting:
            if request.reply is None:
                request.due = self._server.deadlines.due()

    def answer_due(self, sweep: int) -> bool:
        """Answer the requests whose deadline has passed, and begin none of them; see
        :meth:`Deadlines.watch() <dhtwisted.core.request_deadlines.Deadlines.watch>`. Their deadlines come in the order of their arrival.
        """
        oldest = self.started or self.waiting
        if not oldest:
            self._session.order = None
            return False
        if not self.started and self._session.output.congested:
            # Nothing begins because the client does not read.
            return True
        if oldest[0].due <= sweep:
            self._expire_due(sweep)
        return True

    def close(self) -> None:
        """The client is gone. What has begun goes on, and counts in the budget: the account of the connection is closed."""
        self._is_closed = True
        self.waiting = EMPTY
        if self.started:
            self._size = self._counted = sum(request.size for request in self.started)
            self._server.budget.count(self._size)

    def _resize(self, size: int) -> None:
        """Count the bytes of requests under way.

        :param size: how many bytes have come, or gone if negative.
        """
        self._size += size
        if self._is_closed:
            self._server.budget.count(self._size - self._counted)
            self._counted = self._size
        elif not 0 <= self._size - self._counted < COUNTED:
            counted = self._size - self._size % COUNTED
            self._session.output.account.add(counted - self._counted)
            self._counted = counted

    def _expire_due(self, sweep: int) -> None:
        self._advancing = True
        try:
            for request in (*self.started, *self.waiting):
                if request.reply is None and request.due <= sweep:
                    self._expire(request)
        finally:
            self._advancing = False
        self._advance()

    def _expire(self, request: Any) -> None:
        if isinstance(request, Batch):
            request.expire()
        else:
            request.is_queued = True
            self._server.expire(request, self._session.done)

    def _advance(self) -> None:
        """Send the replies whose turn it is, then begin what may begin now."""
        if self.waiting:
            self._send_and_begin()
        else:
            self._send_due()
        self._session.advanced()

    def _send_and_begin(self) -> None:
        self._advancing = True
        try:
            self._send_due()
            while self._begin_next():
                self._send_due()
        finally:
            self._advancing = False

    def _send_due(self) -> None:
        started = self.started
        while started and started[0].reply is not None:
            request = started.popleft()
            self._in_batches -= request.count - 1
            self._resize(-request.size)
            self._session.send(request, request.reply)

    def _begin_next(self) -> bool:
        """Begin the next waiting request if it may begin now.

        :returns: whether there was one.
        """
        session = self._session
        if not self.waiting or (self.started and self.is_exclusive) or session.output.congested:
            return False
        request = self.waiting[0]
        if request.reply is not None:
            # It needs no room any more.
            self.started.append(self._next_waiting())
        elif session.has_room() and (not self.started or request.action.overlaps):
            self._resize(-request.size)
            self._begin(self._next_waiting())
        else:
            return False
        return True

    def _next_waiting(self) -> Any:
        request = self.waiting.popleft()
        if not self.waiting:
            self.waiting = EMPTY
        return request

    def _begin(self, request: Request) -> None:
        """Execute a request that had to wait, as the present principal: an ``authenticate`` before it has had its effect."""
        request.principal = self._session.principal
        if self._server.execute(request, self._session.done):
            self.add(request)
