"""One client: identity, subscriptions, and replies in the order of requests. Bytes in, bytes out, no I/O.

A request that does not wait is answered before the next one is read. Where requests wait (for storage), they queue in two parts:
``_started``, whose replies leave in order, and ``_waiting``, not begun. Actions declared as overlapping (inserts, ``command/update``) are
begun while others of that sort are under way, else one connection could do no more than one of them for each commit; any other action
begins when all before it are done, and nothing begins before it is. Nothing at all begins while the client does not take what is sent, or
the memory for what waits for clients is used up (``limits.output_total``).
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.actions import ACTIONS
from dhtwisted.core.client import WEBSOCKET, ISubscriber
from dhtwisted.core.coroutines import run
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.core.server import Request
from dhtwisted.core.throttle import RateLimit
from dhtwisted.errors import StorageUnavailable
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.wire import envelope

ACTIONS_BY_FIELDS = {action.fields: action for action in ACTIONS.values()}

MAX_UNDER_WAY = 512
MAX_SIZE_UNDER_WAY = 4 * 1024**2
"""Bytes of requests that are under way, apart from the last one: 512 of 1 MiB each would be too many."""

COUNTED = 64 * 1024
"""Bytes of requests under way that are counted at once: of a client that keeps up, nothing is."""

NONE = ()
"""Stands for an empty queue: a deque takes 0.6 KB also when nothing is in it, and most of ten thousand connections are idle."""

MAX_REMEMBERED_COMMANDS = 10_000


class SessionFactory:
    """Makes the sessions of one server; holds what they share."""

    def __init__(self, server):
        self.server = server
        self._decode = envelope.RequestDecoder(list(ACTIONS_BY_FIELDS), server.settings.limits.json_depth).decode

    def build(self, output):
        """Make a session.

        :param output: the way to its client, an ``IOutput``.
        """
        return Session(self.server, self._decode, output)


class _Refusal(Struct, gc=False):
    """A request that was refused unread, in the order of replies: what there is to be known of it in a place of ``Request``.

    :ivar size: of the reply, which is all that is held.
    """

    reply: bytes
    size: int
    then: None = None
    is_queued: bool = True
    due: int = 0


def _with(queue, item):
    """The queue with an item at its end."""
    if queue is NONE:
        return deque((item,))
    queue.append(item)
    return queue


@implementer(ISubscriber)
class Session:
    """A client of any transport.

    :ivar principal: who the client is; ``None`` before ``authenticate``.
    :ivar subscriptions: id -> :class:`~dhtwisted.core.subscription.Subscription`.
    """

    log = Logger()
    conventions = WEBSOCKET

    __slots__ = (
        "_advancing",
        "_awaits_room",
        "_budget",
        "_busy",
        "_closed",
        "_commands",
        "_counted",
        "_decode",
        "_drained",
        "_ended",
        "_exclusive",
        "_finished",
        "_held_due",
        "_inbox",
        "_is_watched",
        "_rate",
        "_rate_call",
        "_replays",
        "_server",
        "_size",
        "_started",
        "_waiting",
        "output",
        "principal",
        "subscriptions",
    )

    def __init__(self, server, decode, output):
        self.output = output
        self.principal = None
        self.subscriptions = {}
        self._server = server
        self._decode = decode
        self._started = NONE
        self._waiting = NONE
        self._inbox = NONE
        self._held_due = None
        self._is_watched = False
        self._size = 0
        self._counted = 0
        self._budget = server.budget
        self._awaits_room = False
        self._exclusive = False
        self._advancing = False
        self._busy = False
        self._commands = NONE
        self._drained = None
        self._replays = NONE
        self._closed = False
        self._ended = False
        self._finished = None
        self._rate_call = None
        per_second = server.settings.limits.requests_per_second
        self._rate = RateLimit(server.reactor, per_second) if per_second else None

    # Requests

    def receive(self, text, is_held=False):
        """Take one message from the client.

        :param text: bytes, known to be UTF-8.
        :param is_held: it has waited for its turn, which is now.
        """
        if self._ended:
            return
        if not is_held and (
            self._inbox or self._rate is not None or self.output.congested or self._budget.is_used_up or (self._started and self._is_full())
        ):
            self._receive_in_turn(text)
            return
        try:
            fields = self._decode(text)
        except envelope.Refused as refused:
            self._answer_refused(refused)
            return
        server, action = self._server, ACTIONS_BY_FIELDS[type(fields)]
        request = Request(server, self, action, fields, self.principal, len(text))
        if self._held_due is not None and self._held_due <= server.deadlines.sweeps:
            self._refuse_late(request)
        elif self._waiting or (self._started and (self._exclusive or not action.overlaps)):
            self._put_behind(request)
        elif server.execute(request, self._done):
            self._put_in_order(request)

    def _is_full(self):
        """Whether as much is under way as may be."""
        return len(self._started) + len(self._waiting) >= MAX_UNDER_WAY or self._size >= MAX_SIZE_UNDER_WAY

    def _receive_in_turn(self, text):
        if self._inbox or self._must_hold():
            if not self._inbox:
                is_ours = self._is_full() or (self._budget.is_used_up and not self.output.congested)
                self._held_due = self._server.deadlines.due() if is_ours else None
                if is_ours and not self._is_watched:
                    self._watch()
            self._inbox = _with(self._inbox, text)
            self.output.account.add(len(text))
            self.output.pause()
        else:
            self.receive(text, True)

    def _must_hold(self):
        """Whether the next request has to wait: its reply would find no room, too many are under way, or it comes too soon.

        Where its client is to blame, its time begins when that is over.
        """
        if self._is_full():
            return True
        if self.output.congested:
            self._held_due = None
            return True
        if not self._has_room():
            return True
        if self._rate is None or self._rate.take():
            return False
        self._held_due = None
        if self._rate_call is None:
            self._server.metrics.refused("requests_per_second")
            self._rate_call = self._server.reactor.callLater(self._rate.delay, self._rate_passed)
        return True

    def _has_room(self):
        """Whether there is room for one more reply: the client takes what is sent, and there is memory for it."""
        if self.output.congested:
            return False
        if self._budget.is_used_up:
            if not self._awaits_room:
                self._awaits_room = True
                self._budget.wait(self._room_made)
            return False
        return True

    def _room_made(self):
        self._awaits_room = False
        self._go_on()

    def _go_on(self):
        """Begin what had to wait for room."""
        if self._waiting and not self._advancing:
            self._advance()
        self._take_held()

    def _resize(self, size):
        """Note that so many bytes of requests more are under way, or less."""
        self._size += size
        if self._closed:
            self._budget.count(self._size - self._counted)
            self._counted = self._size
        elif not 0 <= self._size - self._counted < COUNTED:
            counted = self._size - self._size % COUNTED
            self.output.account.add(counted - self._counted)
            self._counted = counted

    def _rate_passed(self):
        self._rate_call = None
        self._take_held()

    def _take_held(self):
        """Accept what had to wait, as far as there is room now. A loop and a flag, since requests that do not wait would nest here."""
        if self._busy or self._closed:
            return
        self._busy = True
        try:
            while self._inbox and not self._must_hold():
                text = self._inbox.popleft()
                self.output.account.remove(len(text))
                self.receive(text, True)
        finally:
            self._busy = False
        if not self._inbox:
            self._held_due = None
            if not self._closed:
                self.output.resume()

    def _answer_refused(self, refused):
        self._server.metrics.refused_request(refused.error)
        if self._server.trace is not None:
            action = refused.action and refused.action.decode(errors="replace").strip('"')
            self._server.trace.refused(self, action, refused.error, refused.request_id)
        reply = envelope.error_reply(refused.error, refused.action, refused.request_id)
        if not (self._started or self._waiting):
            self.output.send(reply)
            return
        self._resize(len(reply))
        if self._waiting:
            self._waiting = _with(self._waiting, _Refusal(reply, len(reply)))
        else:
            self._started = _with(self._started, _Refusal(reply, len(reply)))

    def _begin(self, request):
        """Work on a request that had to wait. The principal is the one of now: an ``authenticate`` before it has had its effect."""
        request.principal = self.principal
        if self._server.execute(request, self._done):
            self._put_in_order(request)

    def _put_in_order(self, request):
        request.is_queued = True
        self._size = size = self._size + request.size
        if size - self._counted >= COUNTED:
            self._resize(0)
        self._started = _with(self._started, request)
        self._exclusive = not request.action.overlaps
        if not request.due:
            request.due = self._held_due or self._server.deadlines.sweeps + PATIENCE
        if not self._is_watched:
            self._watch()

    def _watch(self):
        """Have the deadlines looked at."""
        self._is_watched = True
        self._server.deadlines.watch(self)

    def _put_behind(self, request):
        """Begin it when those before it are done."""
        self._resize(request.size)
        self._waiting = _with(self._waiting, request)
        request.due = self._held_due or self._server.deadlines.sweeps + PATIENCE

    def _refuse_late(self, request):
        """Answer, in its turn, a request that was not read before its deadline."""
        if self._waiting:
            request.is_queued = True
            self._put_behind(request)
        self._server.expire(request, self._done)

    def answer_due(self, sweep):
        """Answer the requests whose deadline is past, and do not begin those of them that have not begun; see :class:`Deadlines
        <dhtwisted.core.request_deadlines.Deadlines>`. They are due in the order in which they came.
        """
        if not (self._started or self._waiting or (self._inbox and self._held_due)):
            self._is_watched = False
            return False
        if not self._started and self.output.congested:
            # That nothing begins is the client's own fault.
            return True
        oldest = self._started or self._waiting
        if oldest and oldest[0].due <= sweep:
            self._expire_due(sweep)
        if self._inbox and self._held_due and self._held_due <= sweep:
            self._refuse_held()
        return True

    def _expire_due(self, sweep):
        self._advancing = True
        try:
            for request in (*self._started, *self._waiting):
                if request.reply is None and request.due <= sweep:
                    request.is_queued = True
                    self._server.expire(request, self._done)
        finally:
            self._advancing = False
        self._advance()

    def _refuse_held(self):
        """Answer what has not been read in time, also where there is no room to begin anything."""
        while self._inbox and not self._closed:
            text = self._inbox.popleft()
            self.output.account.remove(len(text))
            self.receive(text, True)
        if self._waiting:
            self._advance()
        self._take_held()

    def _done(self, request, members, error):
        """Answer a request at once, unless older ones have not been answered."""
        if error is None:
            reply = envelope.reply(request.action.reply_head, request.fields.request_id, members)
        else:
            request.then = None
            reply = envelope.error_reply(error, envelope.encode_text(request.action.name), bytes(request.fields.request_id))
        started = self._started
        if not (started or request.is_queued):
            self._send(request, reply)
            return
        request.reply = reply
        if not request.is_queued:
            self._put_in_order(request)
        elif started and started[0] is request and not self._advancing:
            if len(started) > 1 and started[1].reply is None and not (self._waiting or self._inbox):
                # What most come to: it is the oldest, and the only one that is due.
                del started[0]
                self._size = size = self._size - request.size
                if size < self._counted:
                    self._resize(0)
                self._send(request, reply)
            else:
                self._advance()

    def _send(self, request, reply):
        self.output.send(reply)
        if request.then is not None:
            request.then()

    def _advance(self):
        """Send the replies that are due, then begin what they made way for."""
        if self._waiting:
            self._send_and_begin()
        else:
            self._send_due()
        if self._inbox:
            self._take_held()
        if self._finished is not None:
            self._report_finished()

    def _send_and_begin(self):
        self._advancing = True
        try:
            self._send_due()
            while self._begin_next():
                self._send_due()
        finally:
            self._advancing = False

    def _send_due(self):
        started = self._started
        while started and started[0].reply is not None:
            request = started.popleft()
            self._resize(-request.size)
            self._send(request, request.reply)
        if not started:
            self._started = NONE
            self._exclusive = False

    def _begin_next(self):
        """Begin the next waiting request if it may begin now; true when one was taken."""
        if not self._waiting or (self._started and self._exclusive) or self.output.congested:
            return False
        request = self._waiting[0]
        if request.reply is not None:
            # It needs no room any more.
            self._started = _with(self._started, self._waiting.popleft())
        elif self._has_room() and (not self._started or request.action.overlaps):
            self._resize(-request.size)
            self._begin(self._waiting.popleft())
        else:
            return False
        return True

    # Identity, subscriptions and events

    def authenticated(self, principal):
        """Take on an identity; the subscriptions are on its behalf from now on.

        :raises QuotaExceeded: its user has no room for the connection, or for them; the identity is the one of before.
        """
        if not self._closed:
            self._count_for(principal.account)
        if self._server.settings.compatibility.frozen_connections:
            principal = principal.frozen()
        self.principal = principal
        for subscription in self.subscriptions.values():
            subscription.principal = principal
        if principal.device_id is not None:
            self._keep_to(principal.device_id)
        if self._server.settings.log.level == "debug":
            self.log.debug("authenticated", connection=self.output.number, address=self.output.address, user=principal.user_id)

    def begin_as(self, principal):
        """Have an identity from the start."""
        self._count_for(principal.account)
        self.principal = principal

    def _count_for(self, account):
        """Have the connection count for the user of an identity, with the subscriptions that counted for others."""
        quotas, before = self._server.quotas, None if self.principal is None else self.principal.account
        moving = [subscription for subscription in self.subscriptions.values() if subscription.principal.account is not account]
        ids = sum(subscription.id_count for subscription in moving)
        quotas.take(account, connections=int(before is not account), subscriptions=len(moving), subscription_ids=ids)
        for subscription in moving:
            self._count_no_longer(subscription)
        if before not in (None, account):
            quotas.give_back(before, connections=1)

    def _count_no_longer(self, subscription):
        self._server.quotas.give_back(subscription.principal.account, subscriptions=1, subscription_ids=subscription.id_count)

    def _keep_to(self, device_id):
        """Forget what was asked for under another identity, and is not of this device alone."""
        for subscription in list(self.subscriptions.values()):
            if subscription.device_ids != {device_id}:
                self.unsubscribe(subscription)
        for command_id in self._commands:
            self._server.broker.forget_inserter(command_id)
        self._commands = NONE

    def subscribe(self, subscription, replay=None):
        """Begin a subscription; its events follow the reply to the request under way.

        :param replay: sends stored messages before the live ones; call :meth:`start_replay` when the reply has left.
        :raises QuotaExceeded: its user has enough of them.
        """
        if self._closed:
            return
        self._server.quotas.take(subscription.principal.account, subscriptions=1, subscription_ids=subscription.id_count)
        if replay is None:
            self.go_live(subscription)
        else:
            subscription.replay = replay
        self.subscriptions[subscription.id] = subscription
        self._server.broker.add(subscription)

    def go_live(self, subscription):
        """Let events pass to the client as they come."""
        subscription.replay = None
        subscription.send = self.output.send_event

    def start_replay(self, subscription):
        """Send what is stored, in turn with other replays of this client: all at once would hold a page each."""
        if self._closed:
            return
        others = bool(self._replays)
        self._replays = _with(self._replays, subscription.replay)
        if not others:
            run_for_client(self.principal and self.principal.user_id, run, self._send_replays(), self._replays_ended)

    async def _send_replays(self):
        while self._replays:
            more = await self._replays[0].advance()
            self._replays.rotate(-1)
            if not more:
                self._replays.pop()

    def _replays_ended(self, _, error):
        self._replays = NONE
        if error is None or self._closed:
            return
        # The client was promised all messages since its timestamp: without them it must not go on as if it had them.
        reason = "storage unavailable" if isinstance(error, StorageUnavailable) else "replay failed"
        self.log.error(
            "a subscription ends, {reason}: {error}",
            reason=reason,
            error=str(error),
            connection=self.output.number,
            address=self.output.address,
        )
        self.output.abort(reason)

    def unsubscribe(self, subscription):
        """End a subscription; nothing of it follows."""
        del self.subscriptions[subscription.id]
        self._count_no_longer(subscription)
        self._server.broker.remove(subscription)
        subscription.send = None
        if subscription.replay is not None:
            subscription.replay.cancel()

    def deliver(self, subscription, message, body):
        """Take an event for one of the subscriptions; called by the broker."""
        if subscription.replay is not None:
            subscription.replay.take(message, body)
        else:
            self.output.send_event(subscription.prefix, body)

    def send_event(self, prefix, body):
        """Send an event as it is."""
        self.output.send_event(prefix, body)

    def disconnect(self, reason):
        """End the connection, since it missed events.

        :param reason: a few words, for the log.
        """
        self.output.abort(reason)

    def remember_command(self, command_id):
        """Have the updates of a command that this client inserted sent to it, without a subscription, for its last 10,000 commands."""
        if self._closed:
            return
        self._commands = _with(self._commands, command_id)
        self._server.broker.remember_inserter(command_id, self)
        if len(self._commands) > MAX_REMEMBERED_COMMANDS:
            self._server.broker.forget_inserter(self._commands.popleft())

    # The state of the connection

    @property
    def congested(self):
        """True while the client does not take what is sent."""
        return self.output.congested

    def drained(self):
        """A Deferred that fires when the client takes more, or is gone."""
        if self._drained is None:
            self._drained = Deferred()
        waiting = Deferred()
        self._drained.addBoth(lambda _: waiting.callback(None))
        return waiting

    def writable(self):
        """The client takes more; called by the transport after congestion."""
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
        for request in self._waiting:
            # That they have not begun was their client's own fault.
            if request.reply is None:
                request.due = self._server.deadlines.due()
        self._go_on()

    def finish(self, done):
        """Accept nothing more, and call ``done`` when the replies to what was accepted have left."""
        self.output.account.remove(sum(map(len, self._inbox)))
        self._inbox = NONE
        self._ended = True
        self._finished = done
        self._report_finished()

    def _report_finished(self):
        if self._finished is not None and not (self._started or self._waiting):
            done, self._finished = self._finished, None
            done()

    def close(self):
        """Forget everything of a client that is gone. What it asked for and was begun is finished, unanswered."""
        if self.principal is not None and not self._closed:
            self._server.quotas.give_back(self.principal.account, connections=1)
        if not self._closed and self._started:
            # Its account is closed with the connection.
            self._size = self._counted = sum(request.size for request in self._started)
            self._budget.count(self._size)
        self._closed = self._ended = True
        self._inbox = self._waiting = NONE
        for subscription in list(self.subscriptions.values()):
            self.unsubscribe(subscription)
        for command_id in self._commands:
            self._server.broker.forget_inserter(command_id)
        self._commands = NONE
        if self._rate_call is not None:
            self._rate_call.cancel()
            self._rate_call = None
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
