"""The server without any network: identity, rights and handlers for one request, and what they share."""

from __future__ import annotations

from functools import partial
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.access import DevicePrincipal, Principal, is_record_of
from dhtwisted.core.addresses import limit_key
from dhtwisted.core.broker import Broker
from dhtwisted.core.budget import Budget
from dhtwisted.core.bus_receiver import BusReceiver
from dhtwisted.core.coroutines import Later, resume_after
from dhtwisted.core.counters import Metrics
from dhtwisted.core.entity_cache import EntityCache
from dhtwisted.core.expired_tokens import ExpiredTokens
from dhtwisted.core.logins import Logins
from dhtwisted.core.polls import Polls
from dhtwisted.core.quotas import Quotas
from dhtwisted.core.request_deadlines import PATIENCE, Deadlines
from dhtwisted.errors import (
    ApiError,
    AuthUnavailable,
    BadRequest,
    DeadlinePassed,
    Duplicate,
    InternalError,
    InvalidCredentials,
    Missing,
    ObjectChanged,
    Overloaded,
    ServiceOverloaded,
    ServiceUnavailable,
    StorageUnavailable,
    TokenExpired,
    TokenTooLarge,
    Unauthorized,
    Unstorable,
)
from dhtwisted.kit.current_client import CURRENT
from dhtwisted.logs.audit import Audit
from dhtwisted.logs.tracing import Trace
from dhtwisted.model import DeviceToken, User

if TYPE_CHECKING:
    from collections.abc import Callable

    from dhtwisted.core.client import IClient
    from dhtwisted.wire.fields import Fields

API_VERSION = "4.1.0"
"""The version of the DeviceHive API that is spoken here."""

BEARER = "bearer"
NULL = b"null"
LONGEST_REQUEST_ID = 64
"""Bytes of a request's id in a log line; clients may send any JSON."""

MOST_AHEAD = 60_000
"""Milliseconds by which a client's clock may be ahead of ours for the time of its message to be kept."""

REFUSAL_INTERVAL = 1000
"""Milliseconds."""


AnyFields = TypeVar("AnyFields", bound="Fields")


class Request(Struct, Generic[AnyFields], eq=False, gc=False):
    """One request under way. A struct, since one is made for every message.

    :ivar server: the :class:`Server`.
    :ivar session: the client that sent it.
    :ivar action: the :class:`~dhtwisted.actions.table.Action`.
    :ivar fields: its members, a struct of the action's own.
    :ivar principal: its :class:`~dhtwisted.core.access.Principal`; ``None`` for nobody. It is there if the action has permissions.
    :ivar size: bytes of its message.
    :ivar then: called after the reply has left; ``None`` for nothing.
    :ivar reply: its encoded reply, when it is known.
    :ivar is_queued: whether it has a place in the order of replies.
    :ivar done: called with its outcome; ``None`` as long as it does not wait, and again when it is answered.
    :ivar due: its deadline, as of :meth:`Deadlines.due() <dhtwisted.core.request_deadlines.Deadlines.due>`, once it has to wait.
    :ivar is_late: whether its client was told that it failed, by the deadline, while it goes on.
    :ivar account: of the user for whom it counts as one that waits, a :class:`~dhtwisted.core.quotas.UserAccount`; ``None`` for nobody.
    :ivar charge: bytes that count for quotas of today if it succeeds; 0 for nothing.
    """

    server: Server
    session: IClient
    action: Any
    fields: AnyFields
    principal: Any = None
    size: int = 0
    then: Callable[[], None] | None = None
    reply: bytes | None = None
    is_queued: bool = False
    done: Callable | None = None
    due: int = 0
    is_late: bool = False
    account: Any = None
    charge: int = 0

    def check_in_time(self):
        """To be called before a change to the session, by whoever has waited: the client must not get what it was told it did not get.

        :raises DeadlinePassed: it was told so.
        """
        if self.is_late:
            raise DeadlinePassed(PATIENCE)


class Server:
    """One node.

    :param reactor: time and delayed calls.
    :param settings: a ``config.Settings``.
    :param storage: an opened ``IEntityStorage``.
    :param messages: an opened ``IMessageStorage``; often the same object.
    :param bus: an ``IMessageBus``, not started.
    :param auth: an ``IAuthProvider``.
    :param audit: an :class:`~dhtwisted.logs.audit.Audit`; ``None`` for one that records nothing.
    :ivar bus_receiver: gets events from the bus, :class:`~dhtwisted.core.bus_receiver.BusReceiver`.
    :ivar budget: what is held in memory for clients, :class:`~dhtwisted.core.budget.Budget`.
    :ivar logins: lets users in by password, :class:`~dhtwisted.core.logins.Logins`.
    :ivar metrics: what is counted for the operator, :class:`~dhtwisted.core.counters.Metrics`.
    :ivar polls: the long polls that wait, :class:`~dhtwisted.core.polls.Polls`.
    :ivar deadlines: those of the requests that wait, :class:`~dhtwisted.core.request_deadlines.Deadlines`.
    :ivar execute: runs a request: see :meth:`_execute`.
    :ivar expired_tokens: the :class:`~dhtwisted.core.expired_tokens.ExpiredTokens`.
    :ivar quotas: what users and devices may have, :class:`~dhtwisted.core.quotas.Quotas`.
    :ivar trace: writes what becomes of those whom the operator follows, :class:`~dhtwisted.logs.tracing.Trace`; ``None`` for
        nobody.
    """

    log = Logger()

    def __init__(self, reactor, settings, storage, messages, bus, auth, audit=None):
        self.reactor = reactor
        self.settings = settings
        self.messages = messages
        self.auth = auth
        self.deadlines = Deadlines(reactor)
        self.entities = EntityCache(storage, bus.publish_change, self.deadlines)
        self.broker = Broker(settings.server.updates_to_inserter)
        self.bus_receiver = BusReceiver(reactor, self.entities, self.broker)
        self.budget = Budget(reactor, settings.limits.output_total, settings.limits.output_queue)
        self.metrics = Metrics()
        self.quotas = Quotas(reactor, settings.quotas, storage, self.entities, self.metrics.quota_exceeded)
        self.expired_tokens = ExpiredTokens(self.entities, self.now)
        self._bus = bus
        self.publish = bus.publish
        self._last_subscription_id = 0
        self.logins = Logins(reactor, settings.limits.logins_per_minute, self.entities, auth, self.metrics.refused)
        self.audit = audit or Audit()
        self._requests = self.metrics.requests
        self.polls = Polls(settings.limits.polls, self.metrics.refused)
        self.execute = self._execute
        self._follow(settings.log.trace)
        self._under_way = 0
        self._refusals = 0
        self._refusal_logged_at = 0
        self._idle = None

    def reloadable(self, settings):
        """See :attr:`~dhtwisted.config.reloading.Reloading.reloadables`."""
        return partial(self._take_settings, settings)

    def _take_settings(self, settings):
        self.settings = settings
        self.logins.set_limit(settings.limits.logins_per_minute)
        self.budget.set_limits(settings.limits.output_total, settings.limits.output_queue)
        self.polls.limit = settings.limits.polls
        self.quotas.set_limits(settings.quotas)
        self._follow(settings.log.trace)

    def _follow(self, targets):
        """Write what is asked of this server, and what it sends, for those whom the operator follows."""
        self.trace = self.broker.trace = trace = Trace(targets) if targets else None
        # Whoever asks calls what is in the attribute: a question here for each request would cost those that nobody follows.
        self.execute = self._execute if trace is None else partial(trace.execute, self._execute)
        self.broker.deliver = self.broker.deliver_now if trace is None else self.broker.deliver_traced

    async def start(self):
        """Begin to receive events.

        :raises ConfigurationError: the bus does not fit the storages.
        """
        await self._bus.start(self.bus_receiver.receive, self.bus_receiver.entities_changed)
        try:
            await self.bus_receiver.read_newest(self.messages)
        except StorageUnavailable as error:
            self._log_refusal("the last messages", error)
        try:
            await self.quotas.start()
        except StorageUnavailable as error:
            self._log_refusal("what was stored today", error)

    async def stop(self):
        """Wait for the requests under way, polls being ended, then receive no more events."""
        self.polls.end_all()
        if self._under_way:
            self._idle = Deferred()
            await self._idle
        self.deadlines.stop()
        await self._bus.stop()
        self.bus_receiver.drop_waiting()

    def now(self):
        """Milliseconds since 1970 UTC."""
        return int(self.reactor.seconds() * 1000)

    def time_of_new(self, given):
        """What time a message that a client inserts has. Clients take the time of the last message for where they go on: by one from 2099
        nobody would get any more.

        :param given: what the client says, in milliseconds; ``None`` for nothing.
        :returns: that, also when it is long ago; ``None``, for the storage to give its own, when it is ahead by more than
            :data:`MOST_AHEAD`, or nothing.
        """
        return None if given is None or given > self.now() + MOST_AHEAD else int(given)

    def next_subscription_id(self):
        """A positive integer, unique on this server, that JavaScript can hold: microseconds of the clock, moved on where they repeat."""
        self._last_subscription_id = max(self._last_subscription_id + 1, self.now() * 1000)
        return self._last_subscription_id

    def _execute(self, request, done):
        """Run a request to its end, which is nearly always now. ``execute`` is this, with a trace where somebody is followed.

        :param done: called once with ``(request, members, None)`` or ``(request, None, ApiError)``.
        :returns: whether it waits, so that ``done`` will be called later.
        """
        action = request.action
        try:
            self._requests[action.name] += 1
        except KeyError:
            self._requests[action.name] = 1
        account = None
        try:
            if request.fields.token is not None and not action.own_token:
                outcome = self._execute_with_token(request)
            else:
                if request.principal is None:
                    self.check(action, None)
                elif action.permissions:
                    request.principal.require(action.permissions)
                    account = request.principal.account
                    if account.requests >= self.quotas.most_requests:
                        self.quotas.check_request(account)
                outcome = action.handler(request)
        except Exception as error:
            done(request, None, self._failed(error, request))
            return False
        sort = type(outcome)
        if sort is CoroutineType:
            return self._drive(outcome, request, done, account)
        if sort is Later:
            self._under_way += 1
            if account is not None:
                account.requests += 1
                request.account = account
            request.done = done
            outcome.run(self._finished, request)
            return True
        done(request, outcome, None)
        return False

    def _drive(self, coroutine, request, done, account):
        before, CURRENT.client = CURRENT.client, _client_of(request)
        try:
            return self._drive_on(coroutine, request, done, account)
        finally:
            CURRENT.client = before

    def _drive_on(self, coroutine, request, done, account):
        try:
            waiting = coroutine.send(None)
        except StopIteration as stop:
            done(request, stop.value, None)
        except Exception as error:
            done(request, None, self._failed(error, request))
        else:
            self._under_way += 1
            if account is not None:
                account.requests += 1
                request.account = account
            request.done = done
            return resume_after(waiting, coroutine, partial(self._finished, request))
        return False

    def _finished(self, request, members, error):
        if request.account is not None:
            request.account.requests -= 1
        done, request.done = request.done, None
        if done is None:
            self._finished_late(request, error)
            return
        self._end_one()
        done(request, members, None if error is None else self._failed(error, request))

    def _end_one(self):
        self._under_way -= 1
        if self._idle is not None and not self._under_way:
            self._idle.callback(None)
            self._idle = None

    def expire(self, request, done):
        """Answer a request whose deadline is past. If it was begun, it goes on, and its outcome goes to the log alone.

        :param done: as for :attr:`execute`, of a request that was not begun.
        """
        if request.done is not None:
            done, request.done = request.done, None
            request.is_late = True
            self._end_one()
        done(request, None, self._failed(DeadlinePassed(PATIENCE), request))

    def _finished_late(self, request, error):
        """What a request came to that was answered before. That it came to nothing is what its client was told."""
        if error is not None and request.charge:
            self.quotas.take_back(request)
        if error is not None and not isinstance(error, StorageUnavailable):
            self.client_error(error, request.action.name, request.session.output, request)

    def _failed(self, error, request):
        action, session = request.action, request.session
        if request.charge and not request.is_late:
            self.quotas.take_back(request)
        client_error = error if isinstance(error, ApiError) else self.client_error(error, action.name, session.output, request)
        self.metrics.errors[action.name, client_error.code] += 1
        if self.audit.is_on:
            self.audit.failed(action, session, client_error, request)
        return client_error

    async def _execute_with_token(self, request):
        request.principal = await self.authenticate(request.fields.token)
        CURRENT.client = request.principal.user_id
        self.check(request.action, request.principal)
        account = request.principal.account
        self.quotas.check_request(account)
        account.requests += 1
        try:
            outcome = request.action.handler(request)
            return await outcome if isawaitable(outcome) else outcome
        finally:
            account.requests -= 1

    @staticmethod
    def check(action, principal):
        """Let through who may use an action.

        :param principal: ``None`` for nobody.
        :raises Unauthorized: he is nobody, or no longer anybody.
        :raises AccessDenied: he has none of the action's permissions.
        """
        if action.permissions:
            if principal is None:
                raise Unauthorized()
            principal.require(action.permissions)

    def client_error(self, error, what, output, request=None):
        """What a client is told of an error; what it is not told goes to the log.

        :param what: what was being done, for the log; nothing that a client made up.
        :param output: the way to the client, an ``IOutput``.
        :param request: the :class:`Request`, if it was read.
        :returns: an :class:`~dhtwisted.errors.ApiError`.
        """
        if isinstance(error, ApiError):
            return error
        if isinstance(error, (StorageUnavailable, AuthUnavailable)):
            self._log_refusal(what, error)
            return ServiceOverloaded() if isinstance(error, Overloaded) else ServiceUnavailable()
        if isinstance(error, (Duplicate, Missing)):
            return ObjectChanged()
        if isinstance(error, Unstorable):
            return BadRequest(
                detail="a value cannot be stored: a text has a NUL character or is not valid Unicode, or a number is too large"
            )
        self.log.failure("{what} failed", failure=Failure(error), what=what, **_identity(output, request))
        return InternalError()

    def _log_refusal(self, what, error):
        """Log that a provider could not do it: at most once in a second, since thousands may be refused in one."""
        self._refusals += 1
        if abs(self.now() - self._refusal_logged_at) >= REFUSAL_INTERVAL:
            self.log.warn(
                "{what} refused, {whose} unavailable: {error} ({count} since the last such line)",
                what=what,
                whose="storage" if isinstance(error, StorageUnavailable) else "auth provider",
                error=str(error),
                count=self._refusals,
            )
            self._refusals, self._refusal_logged_at = 0, self.now()

    async def authenticate(self, token):
        """Find out whose access token this is.

        :returns: a :class:`~dhtwisted.core.access.Principal`.
        :raises Unauthorized: no token.
        :raises InvalidCredentials: not good, a refresh token, revoked, or of a user who is unknown or not active.
        :raises TokenExpired: past its time.
        :raises TokenTooLarge: it names too much.
        """
        if not token:
            raise Unauthorized()
        claims = self.auth.verify(token)
        if claims.refresh:
            raise InvalidCredentials()
        if claims.expires <= self.now():
            raise TokenExpired()
        await self.check_claims(claims)
        kind = Principal if claims.device_id is None else DevicePrincipal
        clock = self.reactor if self.settings.auth.strict_expiry else None
        return kind(claims, self.entities, clock, self.settings.compatibility.loose_token_lists, self.quotas.account(claims.user_id))

    async def authenticate_by_header(self, authorization):
        """Find out who asks by the header ``Authorization``: of a REST request, or of the handshake of a WebSocket.

        :param authorization: ``Bearer`` in any case, and an access token; the space between may be missing.
        :returns: a :class:`~dhtwisted.core.access.Principal`.
        :raises Unauthorized: another scheme, or a token that is no good. Which of the two is not said.
        :raises TokenExpired: past its time.
        """
        scheme, token = authorization[: len(BEARER)], authorization[len(BEARER) :]
        if scheme.lower() != BEARER:
            raise Unauthorized()
        try:
            return await self.authenticate(token.strip())
        except InvalidCredentials:
            raise Unauthorized() from None

    async def check_claims(self, claims):
        """Let through a token, of any sort, whose user takes it now.

        :raises TokenTooLarge: it names more than ``limits.token_ids``: each of its connections would hold all that.
        :raises InvalidCredentials: its user is unknown or not active, or it was revoked.
        """
        limit = self.settings.limits.token_ids
        if limit and claims.size > limit:
            raise TokenTooLarge(claims.size, limit)
        entities, is_bound = self.entities, claims.device_id is not None
        await entities.get(User, claims.user_id)
        if is_bound:
            await entities.get(DeviceToken, claims.token_id)
        # As they are now: of those who waited for the same answer one may have gone on before, and deleted what it was about.
        user, record = entities.user(claims.user_id), entities.device_token(claims.token_id)
        if user is None or not user.accepts(claims) or (is_bound and (record is None or not is_record_of(record, claims))):
            raise InvalidCredentials()


def _client_of(request):
    """For whom a request is, where clients are served in turn."""
    principal = request.principal
    return limit_key(request.session.output.address) if principal is None else principal.user_id


def _identity(output, request):
    """Fields of a log line that say whose request it was."""
    fields = {"connection": output.number, "address": output.address}
    if request is None:
        return fields
    if request.principal is not None:
        fields["user"] = request.principal.user_id
    request_id = bytes(request.fields.request_id)
    if request_id != NULL:
        fields["request"] = request_id[:LONGEST_REQUEST_ID].decode(errors="replace")
    return fields | {"action": request.action.name}
