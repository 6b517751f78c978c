"""The session of one WebSocket client: requests in, replies and events out, without I/O.

A request that does not wait is answered before the next one is read: most requests are only this. What happens else is in other files:
:mod:`~dhtwisted.fronts.inbox` has messages that are not read yet, :mod:`~dhtwisted.fronts.reply_order` the requests that wait for a storage
or for each other, and :mod:`~dhtwisted.fronts.subscriber` identity, subscriptions and events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dhtwisted.core.batches import Batch
from dhtwisted.core.server import Request
from dhtwisted.fronts.batches import ACTIONS_BY_FIELDS, LARGEST_BATCH, gather, has_batch_form
from dhtwisted.fronts.inbox import Inbox
from dhtwisted.fronts.reply_order import ReplyOrder
from dhtwisted.fronts.subscriber import Subscriber
from dhtwisted.wire import envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dhtwisted.actions import Action
    from dhtwisted.core.server import Server
    from dhtwisted.errors import ApiError
    from dhtwisted.interfaces import IOutput
    from dhtwisted.wire.fields import Fields


class SessionFactory:
    """Makes the sessions of one server, and has what they share."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._decoder = envelope.RequestDecoder(list(ACTIONS_BY_FIELDS), server.settings.limits.json_depth)

    def build(self, output: IOutput) -> Session:
        """Make a session.

        :param output: the way to its client.
        """
        return Session(self.server, self._decoder, output)


class Session(Subscriber):
    """One client.

    :param decoder: reads messages.
    :ivar inbox: the messages that wait to be read; ``None`` if there are none and no rate limit.
    :ivar order: the requests that wait; ``None`` if none does, or did in the last second.
    :ivar finishing: the function to call when everything is answered; see :meth:`finish`.
    """

    __slots__ = ("_awaits_room", "_budget", "_decoder", "_is_over", "finishing", "inbox", "order")

    def __init__(self, server: Server, decoder: envelope.RequestDecoder, output: IOutput) -> None:
        super().__init__(server, output)
        self._decoder = decoder
        self._budget = server.budget
        self._awaits_room = False
        self._is_over = False
        self.finishing: Callable[[], object] | None = None
        self.order: ReplyOrder | None = None
        per_second = server.settings.limits.requests_per_second
        self.inbox = Inbox(self, server, per_second) if per_second else None

    # Requests

    def receive(self, text: bytes, is_held: bool = False, decoded: Fields | envelope.Refused | None = None) -> None:
        """Take one message from the client.

        :param text: UTF-8.
        :param is_held: the message comes from the inbox: it has waited already.
        :param decoded: the message, if it is decoded already.
        """
        if self._is_over:
            return
        order, inbox = self.order, self.inbox
        if order is not None and not (order.started or order.waiting):
            order = None
        if not is_held and (
            inbox is not None or self.output.congested or self._budget.is_used_up or (order is not None and order.is_full())
        ):
            self._put_into_inbox(text)
            return
        try:
            fields: Any = decoded or self._decoder.decode(text)
        except envelope.Refused as refused:
            fields = refused
        server, action = self._server, ACTIONS_BY_FIELDS.get(type(fields))
        if action is None:
            self._refuse(fields)
            return
        request = Request(server, self, action, fields, self.principal, len(text))
        if inbox is not None and inbox.due:
            request.due = inbox.due
            if request.due <= server.deadlines.sweeps:
                self._expire(request)
                return
        if order is not None and (order.waiting or (order.started and (order.is_exclusive or not action.overlaps))):
            # It must wait for those before it.
            order.add_waiting(request)
        elif server.execute(request, self.done):
            self.put_in_order(request)

    def put_in_order(self, request: Request | Batch) -> None:
        """Give a request or a batch that waits its place in the order of replies."""
        if self.order is None:
            self.order = ReplyOrder(self, self._server)
        self.order.add(request)

    def receive_many(self, texts: Sequence[bytes]) -> int:
        """Take the messages that were read together, until the connection ends. Inserts and updates are done together.

        :returns: how many were taken.
        """
        taken = 0
        while taken < len(texts) and not self.output.ended:
            if self._may_take_together():
                taken += self._receive_together(texts[taken : taken + LARGEST_BATCH])
            else:
                self.receive(texts[taken])
                taken += 1
        return taken

    def _may_take_together(self) -> bool:
        """Whether nothing is in the way of a batch: no limit, no lack of room, and no trace of single requests."""
        return (
            self.principal is not None
            and self.inbox is None
            and self._server.trace is None
            and not (self._is_over or self.output.congested or self._budget.is_used_up)
        )

    def _receive_together(self, texts: Sequence[bytes]) -> int:
        """Take messages, with inserts and updates that follow each other together, until something is in the way of that.

        :returns: how many messages were taken.
        """
        requests = self._decoder.decode_many(texts)
        taken = 0
        while True:
            if has_batch_form(requests[taken]):
                taken += self._do_together(texts[taken:], requests[taken:])
            if taken < len(texts) and not self.output.ended:
                # It has no batch form, or the batch has ended before it.
                self.receive(texts[taken], decoded=requests[taken])
                taken += 1
            if taken == len(texts) or self.output.ended or not self._may_take_together():
                return taken

    def _do_together(self, texts: Sequence[bytes], requests: list[Any]) -> int:
        """Do inserts and updates at the start of some messages together.

        :param requests: the messages, decoded.
        :returns: how many messages were taken; the next one must be done alone.
        """
        assert self.principal is not None  # See _may_take_together.
        if len(texts) == 1 or not (self.order is None or self.order.has_room_for(texts)):
            return 0
        batch = Batch(self._server, self, self, self.principal)
        gather(batch, requests)
        count = batch.count
        batch.texts, batch.fields = texts[:count], requests[:count]
        if count > 1 and batch.reserve():
            batch.execute()
            return count
        return self._receive_each(batch.texts, batch.fields)

    def _receive_each(self, texts: Sequence[bytes], decoded: Sequence[Fields]) -> int:
        taken = 0
        for text, fields in zip(texts, decoded, strict=True):
            if self.output.ended:
                break
            self.receive(text, decoded=fields)
            taken += 1
        return taken

    def _put_into_inbox(self, text: bytes) -> None:
        if self.inbox is None:
            self.inbox = Inbox(self, self._server, 0)
        self.inbox.put(text)

    def _refuse(self, refused: envelope.Refused) -> None:
        """Answer a message that cannot be read."""
        self._server.metrics.refused_request(refused.error)
        if self._server.trace is not None:
            action = refused.action.decode(errors="replace").strip('"') if refused.action else None
            self._server.trace.refused(self, action, refused.error, refused.request_id)
        reply = envelope.error_reply(refused.error, refused.action, refused.request_id)
        if self.order is None or self.order.is_empty:
            self.output.send(reply)
        else:
            self.order.add_refusal(reply)

    def _expire(self, request: Request) -> None:
        """Answer a request whose deadline passed in the inbox."""
        if self.order is None:
            self._server.expire(request, self.done)
        else:
            self.order.expire(request)

    def done(self, request: Request, members: Any, error: ApiError | None) -> None:
        """Take the outcome of a request, and answer at once unless older requests have no reply yet."""
        if error is None:
            reply = envelope.reply(request.action.reply_head, request.fields.request_id, members)
        else:
            request.then = None
            reply = _error_reply(request.action, request.fields, error)
        order = self.order
        if order is None or not (order.started or request.is_queued):
            self.send(request, reply)
        else:
            order.answer(request, reply)

    def batch_done(self, batch: Batch, errors: list[ApiError | None] | None) -> None:
        """Take the outcome of a batch; as :meth:`done`."""
        replies = _replies(batch, errors)
        order = self.order
        if order is None or not (order.started or batch.is_queued):
            self.output.send_many(replies)
        else:
            order.answer(batch, replies)

    def send(self, request: Request | Batch, reply: bytes | list[bytes]) -> None:
        """Send a reply, or those of a batch, now."""
        if isinstance(reply, list):
            self.output.send_many(reply)
            return
        self.output.send(reply)
        if request.then is not None:
            request.then()

    def advanced(self) -> None:
        """Go on after replies of the order have left: there may be room for more, or nothing may be left."""
        if self.inbox is not None and self.inbox.texts:
            self.inbox.take()
        self._report_finished()

    # Room for what waits

    def is_full(self) -> bool:
        """Whether no more requests may be under way."""
        return self.order is not None and self.order.is_full()

    def has_started(self) -> bool:
        """Whether any request is under way."""
        return self.order is not None and bool(self.order.started)

    def has_room(self) -> bool:
        """Whether there is room for one more reply: the client reads, and the memory for all clients is not used up."""
        if self.output.congested:
            return False
        if self._budget.is_used_up:
            if not self._awaits_room:
                self._awaits_room = True
                self._budget.wait(self._room_made)
            return False
        return True

    def _room_made(self) -> None:
        self._awaits_room = False
        self.go_on()

    def go_on(self) -> None:
        """Begin what had to wait for room."""
        if self.order is not None:
            self.order.go_on()
        if self.inbox is not None:
            self.inbox.take()

    def writable(self) -> None:
        """The client reads again; the transport calls this after congestion."""
        super().writable()
        if self.order is not None:
            self.order.renew_deadlines()
        self.go_on()

    # The end

    def finish(self, done: Callable[[], object]) -> None:
        """Accept nothing more, and call ``done`` when the replies to all that was accepted have left."""
        if self.inbox is not None:
            self.inbox.clear()
        self._is_over = True
        self.finishing = done
        self._report_finished()

    def _report_finished(self) -> None:
        if self.finishing is not None and (self.order is None or self.order.is_empty):
            done, self.finishing = self.finishing, None
            done()

    def close(self) -> None:
        """Forget everything of a client that is gone. Requests that have begun are finished, and not answered."""
        if not self._is_closed and self.order is not None:
            self.order.close()
        self._is_over = True
        if self.inbox is not None:
            self.inbox.close()
            self.inbox = None
        super().close()


def _error_reply(action: Action, fields: Fields, error: ApiError) -> bytes:
    return envelope.error_reply(error, envelope.encode_text(action.name), bytes(fields.request_id))


def _replies(batch: Batch, errors: list[ApiError | None] | None) -> list[bytes]:
    replies: list[bytes] = []
    if errors is None:
        for action, requests, messages in batch.runs():
            replies += action.batching.replies(requests, messages)
        return replies
    for action, fields, message, error in zip(batch.actions, batch.fields, batch.messages, errors, strict=True):
        if error is None:
            replies += action.batching.replies((fields,), (message,))
        else:
            replies.append(_error_reply(action, fields, error))
    return replies
