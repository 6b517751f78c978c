"""Inserts of one client that one read has brought and that are done together: one call of the storage, one of the bus, one place in the
order of replies.

All that a request is checked for is checked while the batch is gathered, which changes nothing. A request with anything unusual is not
taken in, and is done alone in its turn. So a request in a batch fails only if the storage fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from twisted.internet.defer import fail

from dhtwisted.core.coroutines import run
from dhtwisted.core.event_kinds import EventKind
from dhtwisted.core.messages import publish_together
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.core.server import Request, Server
from dhtwisted.errors import ApiError, DeadlinePassed, StorageUnavailable
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.kit.waiter import DONE
from dhtwisted.model import Device, Message, payload_size

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.core.client import IClient
    from dhtwisted.wire.fields import Fields


class Insertion(Struct, frozen=True):
    """How an action inserts its message in a batch.

    :ivar kind: of its event.
    :ivar message: called as ``message(request, fields, device)``, where the request may be the whole batch: it has ``server`` and
        ``principal``. Makes the message and changes nothing. Raises what the handler of the action raises.
    :ivar members: makes the members of the reply from the stored message, as JSON without the opening brace.
    """

    kind: EventKind
    message: Callable[[Any, Any, Device], Message]
    members: Callable[[Any], bytes]


Errors = list[Exception | None]
"""The error of each request; ``None`` for a success."""

BatchDone = Callable[["Batch", list[ApiError | None] | None], object]
"""Called with the batch and what each client's request gets instead of a success; with ``None`` if all have succeeded."""


class Batch(Struct, eq=False, gc=False):
    """Inserts under way. It has what the order of replies needs of a :class:`~dhtwisted.core.server.Request`.

    :ivar actions: of each request, its :class:`~dhtwisted.actions.table.Action`.
    :ivar fields: of each request, its members.
    :ivar messages: of each request, its message.
    :ivar size: bytes of all requests.
    :ivar reply: the encoded replies, once they are known.
    :ivar is_queued: as in a request, like ``due``, ``is_late`` and ``done``.
    """

    server: Server
    session: IClient
    principal: Principal
    actions: list[Any] = []
    fields: list[Fields] = []
    messages: list[Message] = []
    size: int = 0
    reply: list[bytes] | None = None
    then: None = None
    is_queued: bool = False
    due: int = 0
    is_late: bool = False
    done: BatchDone | None = None

    @property
    def action(self) -> Any:
        """The action of the first request. Each of them overlaps with others."""
        return self.actions[0]

    @property
    def count(self) -> int:
        """How many requests there are."""
        return len(self.messages)

    def reserve(self) -> bool:
        """Count the messages for the quotas of their user and devices.

        :returns: whether there is room for all of them. If not, nothing is counted, and each request must find out alone.
        """
        account, quotas = self.principal.account, self.server.quotas
        if account.requests + len(self.messages) > quotas.most_requests:
            return False
        charges: dict[str, int] = {}
        for message in self.messages:
            charges[message.device_id] = charges.get(message.device_id, 0) + quotas.charge(payload_size(message))
        return quotas.store_together(account, charges)

    def execute(self, done: BatchDone) -> bool:
        """Store the messages and publish their events. They must be counted for the quotas.

        :param done: called once; before this returns if the storage does not wait.
        :returns: whether the storage waits, and ``done`` will be called later.
        """
        requests = self.server.metrics.requests
        for action in self.actions:
            requests[action.name] = requests.get(action.name, 0) + 1
        stored: Any
        try:
            stored = self.server.messages.append(self.messages)
        except Exception as error:
            stored = fail(error)
        if stored is DONE:
            self._publish()
            done(self, None)
            return False
        self.server.begin_one()
        self.principal.account.requests += self.count
        self.done = done
        run_for_client(self.principal.user_id, run, self._finish(stored), self._finished)
        return self.done is not None

    async def _finish(self, stored: Awaitable[None]) -> Errors | None:
        """Publish the events when the messages are stored. If the storage cannot keep one of them, each is stored alone.

        :raises StorageUnavailable: nothing is known to be stored.
        """
        try:
            await stored
        except StorageUnavailable:
            raise
        except Exception:
            return [await self._store_alone(index) for index in range(self.count)]
        self._publish()
        return None

    async def _store_alone(self, index: int) -> Exception | None:
        alone = slice(index, index + 1)
        try:
            await self.server.messages.append(self.messages[alone])
        except Exception as error:
            return error
        self._publish(alone)
        return None

    def _publish(self, part: slice = slice(None)) -> None:
        publish_together(self, [action.insertion.kind for action in self.actions[part]], self.messages[part])

    def _finished(self, errors: Errors | None, error: BaseException | None) -> None:
        self.principal.account.requests -= self.count
        if isinstance(error, Exception):
            errors = [error] * self.count
        done, self.done = self.done, None
        if done is not None:
            self.server.end_one()
            done(self, None if errors is None else self._failed(errors))
        elif errors is not None:
            for request, found in zip(self._requests(), errors, strict=True):
                self.server.finished_late(request, found)

    def expire(self) -> None:
        """Answer each request that its deadline has passed. The storage goes on, and its outcome goes only to the log."""
        done, self.done = self.done, None
        assert done is not None  # A batch in the order of replies has begun, and one with replies does not expire.
        self.is_late = True
        self.server.end_one()
        done(self, self._failed([DeadlinePassed(PATIENCE)] * self.count))

    def _failed(self, errors: Errors) -> list[ApiError | None]:
        requests = zip(self._requests(), errors, strict=True)
        return [None if error is None else self.server.failed(error, request) for request, error in requests]

    def _requests(self) -> Iterator[Request]:
        """The requests, as if each had been done alone."""
        for action, fields, message in zip(self.actions, self.fields, self.messages, strict=True):
            charge = self.server.quotas.charge(payload_size(message))
            yield Request(self.server, self.session, action, fields, self.principal, is_late=self.is_late, charge=charge)
