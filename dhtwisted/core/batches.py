"""Inserts and updates of one client that one read has brought and that are done together: one call of the bus, one of the connection, and
one of the storage for the inserts that follow each other.

All that a request is checked for is checked while the batch is gathered, which changes nothing. A request with anything unusual is not
taken in, and is done alone in its turn. So a request in a batch fails only if the storage fails, or has no such command.

The storage is called in the order of the requests. What it has done at once is published and answered together. What it has to wait for
gets its own place in the order of replies: inserts that follow each other one place, an update that of a single request. Each is published
as soon as it is stored: events of several clients must not leave the order of their commits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct
from twisted.internet.defer import fail

from dhtwisted.core.coroutines import after, run
from dhtwisted.core.event_kinds import EventKind
from dhtwisted.core.messages import Change, publish_together, publish_update, start_update
from dhtwisted.core.quotas import BYTES_OF_A_MESSAGE
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.core.server import Request, Server
from dhtwisted.errors import ApiError, CommandNotFound, DeadlinePassed, StorageUnavailable
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.kit.waiter import DONE, Ready
from dhtwisted.model import Command, Device, Message, payload_size

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.core.client import IClient
    from dhtwisted.wire.fields import Fields


class Batching(Struct, frozen=True):
    """How requests of an action are done in a batch.

    :ivar kind: of the event. If it is an update, so is the request; else it is an insert.
    :ivar prepare: called as ``prepare(request, fields, device)``, where the request may be the whole batch: it has ``server`` and
        ``principal``. Makes the message, or the :class:`~dhtwisted.core.messages.Change`, and changes nothing. Raises what the handler of
        the action raises.
    :ivar replies: makes the replies of several requests from their members and the stored messages.
    """

    kind: EventKind
    prepare: Callable[[Any, Any, Device], Message | Change]
    replies: Callable[[Sequence[Any], Sequence[Any]], list[bytes]]


Errors = list[Exception | None]
"""The error of each request; ``None`` for a success."""


class Client(Protocol):
    """What a batch needs of its session."""

    def batch_done(self, batch: Batch, errors: list[ApiError | None] | None) -> object:
        """Take the outcome of a batch: the error of each request, or ``None`` if there is none."""

    def done(self, request: Request, members: Any, error: ApiError | None) -> object:
        """Take the outcome of a request."""

    def put_in_order(self, request: Request | Batch) -> object:
        """Give a request or a batch that waits its place in the order of replies."""


class Batch(Struct, eq=False, gc=False):
    """Requests under way. It has what the order of replies needs of a :class:`~dhtwisted.core.server.Request`.

    :ivar client: the session, for its answers.
    :ivar actions: of each request, its :class:`~dhtwisted.actions.table.Action`.
    :ivar fields: of each request, its members.
    :ivar messages: of each request, its message. Of an update, its change; and the command when it is updated.
    :ivar texts: of each request, what the client sent.
    :ivar has_updates: whether there are updates among them.
    :ivar append: stores messages instead of the storage's method with this name: with something else, in the same commit.
    :ivar reply: the encoded replies, once they are known.
    :ivar is_queued: as in a request, like ``due`` and ``is_late``.
    :ivar waits: whether it has to be answered yet after it had to wait.
    """

    server: Server
    session: IClient
    client: Client
    principal: Principal
    actions: list[Any] = []
    fields: list[Fields] = []
    messages: list[Any] = []
    texts: Sequence[bytes] = ()
    has_updates: bool = False
    reply: list[bytes] | None = None
    then: None = None
    is_queued: bool = False
    due: int = 0
    is_late: bool = False
    waits: bool = False
    append: Callable[[Sequence[Message]], Awaitable[None]] | None = None

    @property
    def action(self) -> Any:
        """The action of the first request. Each of them overlaps with others."""
        return self.actions[0]

    @property
    def count(self) -> int:
        """How many requests there are."""
        return len(self.messages)

    @property
    def size(self) -> int:
        """Bytes of all requests."""
        return sum(map(len, self.texts))

    def runs(self) -> Iterable[tuple[Any, Sequence[Any], Sequence[Any]]]:
        """Requests of one action that follow each other: the action, their members and their messages."""
        actions = self.actions
        if actions.count(actions[0]) == len(actions):
            return ((actions[0], self.fields, self.messages),)
        runs = []
        for action, found in groupby(range(len(actions)), actions.__getitem__):
            places = list(found)
            part = slice(places[0], places[-1] + 1)
            runs.append((action, self.fields[part], self.messages[part]))
        return runs

    def reserve(self) -> bool:
        """Count the messages for the quotas of their user and devices.

        :returns: whether there is room for all of them. If not, nothing is counted, and each request must find out alone.
        """
        account, quotas = self.principal.account, self.server.quotas
        if account.requests + len(self.messages) > quotas.most_requests:
            return False
        size_of: Callable[[Any], int] = _size_of if self.has_updates else payload_size
        messages, device_id = self.messages, self.messages[0].device_id
        if [message.device_id for message in messages].count(device_id) == len(messages):
            charges = {device_id: sum(map(size_of, messages)) + BYTES_OF_A_MESSAGE * len(messages)}
        else:
            charges = {}
            for message in messages:
                charges[message.device_id] = charges.get(message.device_id, 0) + size_of(message) + BYTES_OF_A_MESSAGE
        return quotas.store_together(account, charges)

    def execute(self) -> None:
        """Store the messages, publish their events, and answer. They must be counted for the quotas."""
        requests = self.server.metrics.requests
        for action, _, messages in self.runs():
            requests[action.name] = requests.get(action.name, 0) + len(messages)
        errors: Errors = [None] * len(self.messages)
        start = 0
        for part in self._parts():
            answer = self._store(part)
            if type(answer) is Ready:
                self._take_update(part.start, answer.result, errors)
            elif answer is not DONE:
                self._finish(slice(start, part.start), errors)
                self._wait(part, answer)
                start = part.stop
        self._finish(slice(start, len(self.messages)), errors)

    def _parts(self) -> Iterator[slice]:
        """What one call of the storage does each: inserts that follow each other, or one update."""
        start = 0
        if self.has_updates:
            for index, message in enumerate(self.messages):
                if type(message) is Change:
                    if start < index:
                        yield slice(start, index)
                    start = index + 1
                    yield slice(index, start)
        if start < len(self.messages):
            yield slice(start, len(self.messages))

    def _store(self, part: slice) -> Any:
        """Call the storage, and return its answer."""
        messages = self.messages[part]
        try:
            return (
                start_update(self, messages[0]) if type(messages[0]) is Change else (self.append or self.server.messages.append)(messages)
            )
        except Exception as error:
            return fail(error)

    def _take_update(self, index: int, command: Command | None, errors: Errors) -> None:
        if command is None:
            errors[index] = CommandNotFound(self.messages[index].command_id)
        else:
            self.messages[index] = command

    def _finish(self, part: slice, errors: Errors) -> None:
        """Publish and answer a part that is done."""
        if part.start < part.stop:
            self._cut(part)._answer(errors[part])

    def _cut(self, part: slice) -> Batch:
        if part.stop - part.start == len(self.messages):
            return self
        lists = self.actions[part], self.fields[part], self.messages[part], self.texts[part]
        return Batch(self.server, self.session, self.client, self.principal, *lists, append=self.append)

    def _answer(self, errors: Errors) -> None:
        if any(errors):
            stored = [
                (action, message) for action, message, error in zip(self.actions, self.messages, errors, strict=True) if error is None
            ]
            publish_together(self, [(action.batching.kind, (message,)) for action, message in stored])
        else:
            self._publish()
        self.client.batch_done(self, self._failed(errors))

    def _publish(self) -> None:
        publish_together(self, [(action.batching.kind, messages) for action, _, messages in self.runs()])

    def _failed(self, errors: Errors) -> list[ApiError | None] | None:
        """Record that requests failed.

        :returns: what their client gets.
        """
        if not any(errors):
            return None
        return [None if error is None else self.server.failed(error, self._request(index)) for index, error in enumerate(errors)]

    def _request(self, index: int) -> Request:
        """A request as if it had been done alone."""
        request = Request(self.server, self.session, self.actions[index], self.fields[index], self.principal, len(self.texts[index]))
        request.charge = _size_of(self.messages[index]) + BYTES_OF_A_MESSAGE
        request.is_late = self.is_late
        return request

    # What waits

    def _wait(self, part: slice, answer: Any) -> None:
        """Go on when the storage answers."""
        change = self.messages[part.start]
        if type(change) is not Change:
            self._cut(part)._begin(answer)
            return
        request = self._request(part.start)
        outcome = after(answer, publish_update, (request, change))
        if self.server.go_on(request, outcome, self.client.done, self.principal.account):
            self.client.put_in_order(request)

    def _begin(self, answer: Awaitable[None]) -> None:
        self.server.begin_one()
        self.principal.account.requests += self.count
        self.waits = True
        run_for_client(self.principal.user_id, run, self._publish_when_stored(answer), self._stored)
        if self.waits:
            self.client.put_in_order(self)

    async def _publish_when_stored(self, answer: Awaitable[None]) -> Errors:
        """Publish the events of inserts when they are stored. If the storage cannot keep one of them, it has kept none, and each is stored
        alone.

        :returns: the error of each; empty if there is none.
        :raises StorageUnavailable: nothing is known to be stored.
        """
        try:
            await answer
        except StorageUnavailable:
            raise
        except Exception:
            # All before the first answer, as single requests: they share a commit, and none begins after their deadline.
            answers = [self._store(slice(index, index + 1)) for index in range(self.count)]
            return [await self._publish_one_when_stored(index, answer) for index, answer in enumerate(answers)]
        self._publish()
        return []

    async def _publish_one_when_stored(self, index: int, answer: Awaitable[None]) -> Exception | None:
        try:
            await answer
        except Exception as error:
            return error
        publish_together(self, ((self.actions[index].batching.kind, (self.messages[index],)),))
        return None

    def _stored(self, errors: Errors | None, error: BaseException | None) -> None:
        self.principal.account.requests -= self.count
        if isinstance(error, Exception):
            errors = [error] * self.count
        if self.waits:
            self._end_wait(errors or [])
            return
        for index, found in enumerate(errors or ()):
            self.server.finished_late(self._request(index), found)

    def expire(self) -> None:
        """Answer each request that its deadline has passed. The storage goes on, and its outcome goes only to the log."""
        self.is_late = True
        self._end_wait([DeadlinePassed(PATIENCE)] * self.count)

    def _end_wait(self, errors: Errors) -> None:
        self.waits = False
        self.server.end_one()
        self.client.batch_done(self, self._failed(errors))


def _size_of(message: Message | Change) -> int:
    return message.size if isinstance(message, Change) else payload_size(message)
