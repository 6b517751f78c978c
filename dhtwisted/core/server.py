"""The server without any network: it executes requests, and has what they share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from inspect import isawaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from dhtwisted.core.addresses import limit_key
from dhtwisted.core.authentication import Authentication
from dhtwisted.core.broker import Broker
from dhtwisted.core.budget import Budget
from dhtwisted.core.bus_receiver import BusReceiver
from dhtwisted.core.client_errors import ClientErrors
from dhtwisted.core.coroutines import Later, resume_after
from dhtwisted.core.counters import Metrics
from dhtwisted.core.entity_cache import EntityCache
from dhtwisted.core.expired_tokens import ExpiredTokens
from dhtwisted.core.logins import Logins
from dhtwisted.core.polls import Polls
from dhtwisted.core.quotas import Quotas
from dhtwisted.core.request_deadlines import PATIENCE, Deadlines
from dhtwisted.errors import ApiError, DeadlinePassed, StorageUnavailable, Unauthorized
from dhtwisted.interfaces import ILocalBus
from dhtwisted.kit.current_client import CURRENT
from dhtwisted.logs.audit import Audit
from dhtwisted.logs.tracing import Trace

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.core.client import IClient
    from dhtwisted.core.quotas import UserAccount
    from dhtwisted.interfaces import IAuthProvider, IEntityStorage, IMessageBus, IMessageStorage
    from dhtwisted.model import Message
    from dhtwisted.wire.fields import Fields

Done = Callable[["Request", Any, ApiError | None], object]
"""Called with the request, and the members of the reply or an error."""

API_VERSION = "4.1.0"
"""The version of the DeviceHive API that the server speaks."""

MOST_AHEAD = 60_000
"""Milliseconds by which a client's clock may be ahead of ours. The time of a message that is further ahead is not kept."""


AnyFields = TypeVar("AnyFields", bound="Fields")


class Request(Struct, Generic[AnyFields], eq=False, gc=False):
    """One request under way. It is a struct, since one is made for every message.

    :ivar server: the server that executes it.
    :ivar session: the client that sent it.
    :ivar action: what it asks for, an :class:`~dhtwisted.actions.table.Action`.
    :ivar fields: its members, a struct of the action's own.
    :ivar principal: its :class:`~dhtwisted.core.access.Principal`; ``None`` for nobody. It is there if the action has permissions.
    :ivar size: bytes of its message.
    :ivar then: called after the reply has left; ``None`` for nothing.
    :ivar reply: its encoded reply, once it is known.
    :ivar is_queued: whether it has a place in the order of replies.
    :ivar done: called with its outcome; ``None`` while it does not wait, and again when it is answered.
    :ivar due: its deadline, from :meth:`Deadlines.due() <dhtwisted.core.request_deadlines.Deadlines.due>`, once it has to wait.
    :ivar is_late: whether its deadline has passed: its client got an error, and it goes on.
    :ivar account: of the user for whom it counts as a request that waits; ``None`` for nobody.
    :ivar charge: bytes that count for the daily quotas if it succeeds.
    :ivar append: stores a message instead of the storage's method with this name: with something else, in the same commit.
    """

    count: ClassVar[int] = 1
    """How many requests it is, for whatever also counts batches."""

    server: Server
    session: IClient
    action: Any
    fields: AnyFields
    principal: Any = None
    size: int = 0
    then: Callable[[], None] | None = None
    reply: bytes | None = None
    is_queued: bool = False
    done: Done | None = None
    due: int = 0
    is_late: bool = False
    account: UserAccount | None = None
    charge: int = 0
    append: Callable[[Sequence[Message]], Awaitable[None]] | None = None

    def check_in_time(self) -> None:
        """Call this before a change to the session, after any wait: a client that got an error must not be changed.

        :raises DeadlinePassed: the client got this error already.
        """
        if self.is_late:
            raise DeadlinePassed(PATIENCE)


class Server:
    """One node.

    :param reactor: time and delayed calls.
    :param settings: a ``config.settings.Settings``.
    :param storage: opened.
    :param messages: opened; often the same object as ``storage``.
    :param bus: not started yet.
    :param audit: records changes; ``None`` for no records.
    :ivar bus: carries events to all nodes.
    :ivar bus_receiver: takes the events of the bus.
    :ivar authentication: finds out whose a token is.
    :ivar budget: counts memory that is held for clients.
    :ivar client_error: converts an error; see :meth:`ClientErrors.convert() <dhtwisted.core.client_errors.ClientErrors.convert>`.
    :ivar deadlines: of the requests that wait.
    :ivar execute: runs a request: see :meth:`_execute`.
    :ivar expired_tokens: deletes records of tokens.
    :ivar is_alone: whether the bus reaches no other server.
    :ivar logins: checks passwords.
    :ivar metrics: counters for the operator.
    :ivar polls: the long polls that wait.
    :ivar quotas: what users and devices may have.
    :ivar trace: logs the requests of those whom the operator follows; ``None`` for nobody.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Any,
        storage: IEntityStorage,
        messages: IMessageStorage,
        bus: IMessageBus,
        auth: IAuthProvider,
        audit: Audit | None = None,
    ) -> None:
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
        self.authentication = Authentication(reactor, settings, auth, self.entities, self.quotas)
        self._errors = ClientErrors(self.now)
        self.client_error = self._errors.convert
        self.bus = bus
        self.is_alone = ILocalBus.providedBy(bus)
        self.publish = bus.publish
        self._last_subscription_id = 0
        self.logins = Logins(reactor, settings.limits.logins_per_minute, self.entities, auth, self.metrics.refused)
        self.audit = audit or Audit()
        self._requests = self.metrics.requests
        self.polls = Polls(settings.limits.polls, self.metrics.refused)
        self.trace: Trace | None = None
        self.execute: Callable[[Request, Done], bool] = self._execute
        self._follow(settings.log.trace)
        self._under_way = 0
        self._idle: Deferred[None] | None = None

    def reloadable(self, settings: Any) -> Callable[[], None]:
        """See :attr:`~dhtwisted.config.reloading.Reloading.reloadables`."""
        return partial(self._take_settings, settings)

    def _take_settings(self, settings: Any) -> None:
        self.settings = self.authentication.settings = settings
        self.logins.set_limit(settings.limits.logins_per_minute)
        self.budget.set_limits(settings.limits.output_total, settings.limits.output_queue)
        self.polls.limit = settings.limits.polls
        self.quotas.set_limits(settings.quotas)
        self._follow(settings.log.trace)

    def _follow(self, targets: tuple[str, ...]) -> None:
        """Log the requests of those whom the operator follows, and what they get."""
        self.trace = self.broker.trace = trace = Trace(targets) if targets else None
        # Callers use the attribute: a check for each request would cost time where nobody is followed.
        self.execute = self._execute if trace is None else partial(trace.execute, self._execute)
        self.broker.deliver = self.broker.deliver_now if trace is None else self.broker.deliver_traced

    async def start(self) -> None:
        """Begin to receive events.

        :raises ConfigurationError: the bus does not fit the storages.
        """
        await self.bus.start(self.bus_receiver.receive, self.bus_receiver.entities_changed)
        try:
            await self.bus_receiver.read_newest(self.messages)
        except StorageUnavailable as error:
            self._errors.log_refusal("the last messages", error)
        try:
            await self.quotas.start()
        except StorageUnavailable as error:
            self._errors.log_refusal("what was stored today", error)

    async def stop(self) -> None:
        """End the polls, wait for the requests under way, then stop receiving events."""
        self.polls.end_all()
        if self._under_way:
            self._idle = Deferred()
            await self._idle
        self.deadlines.stop()
        await self.bus.stop()
        self.bus_receiver.drop_waiting()

    def now(self) -> int:
        """Milliseconds since 1970 UTC."""
        return int(self.reactor.seconds() * 1000)

    def time_of_new(self, given: float | None) -> int | None:
        """The time of a message that a client inserts. Clients ask for what is later than the last message they have: after a message from
        2099 they would get nothing.

        :param given: the client's time in milliseconds; ``None`` for none.
        :returns: this time, however long ago; ``None`` if there is none or it is ahead by more than :data:`MOST_AHEAD`: the storage gives
            its own.
        """
        return None if given is None or given > self.now() + MOST_AHEAD else int(given)

    def next_subscription_id(self) -> int:
        """A positive integer, unique on this server, that JavaScript can represent: the clock in microseconds, or the last one and 1."""
        self._last_subscription_id = max(self._last_subscription_id + 1, self.now() * 1000)
        return self._last_subscription_id

    def _execute(self, request: Request, done: Done) -> bool:
        """Run a request. ``execute`` is this, with a trace if anybody is followed.

        :param done: called once; nearly always before this returns.
        :returns: whether the request waits, and ``done`` will be called later.
        """
        action = request.action
        try:
            self._requests[action.name] += 1
        except KeyError:
            self._requests[action.name] = 1
        account = None
        outcome: Any
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
            done(request, None, self.failed(error, request))
            return False
        kind = type(outcome)
        if kind is CoroutineType or kind is Later:
            return self.go_on(request, outcome, done, account)
        done(request, outcome, None)
        return False

    def go_on(self, request: Request, outcome: Any, done: Done, account: UserAccount | None) -> bool:
        """Run a request to its end.

        :param outcome: a coroutine, or a :class:`~dhtwisted.core.coroutines.Later` that has not run.
        :param account: of the user for whom it counts while it waits.
        :returns: as :attr:`execute`.
        """
        if type(outcome) is CoroutineType:
            return self._drive(outcome, request, done, account)
        self._under_way += 1
        if account is not None:
            account.requests += 1
            request.account = account
        request.done = done
        outcome.run(self._finished, request)
        return True

    def _drive(self, coroutine: Coroutine[Any, Any, Any], request: Request, done: Done, account: UserAccount | None) -> bool:
        before, CURRENT.client = CURRENT.client, _client_of(request)
        try:
            return self._drive_on(coroutine, request, done, account)
        finally:
            CURRENT.client = before

    def _drive_on(self, coroutine: Coroutine[Any, Any, Any], request: Request, done: Done, account: UserAccount | None) -> bool:
        try:
            waiting = coroutine.send(None)
        except StopIteration as stop:
            done(request, stop.value, None)
        except Exception as error:
            done(request, None, self.failed(error, request))
        else:
            self._under_way += 1
            if account is not None:
                account.requests += 1
                request.account = account
            request.done = done
            return resume_after(waiting, coroutine, partial(self._finished, request))
        return False

    def _finished(self, request: Request, members: Any, error: Exception | None) -> None:
        if request.account is not None:
            request.account.requests -= 1
        done, request.done = request.done, None
        if done is None:
            self.finished_late(request, error)
            return
        self.end_one()
        done(request, members, None if error is None else self.failed(error, request))

    def begin_one(self) -> None:
        """Have :meth:`stop` wait for one request more, until :meth:`end_one`."""
        self._under_way += 1

    def end_one(self) -> None:
        """Undo :meth:`begin_one`."""
        self._under_way -= 1
        if self._idle is not None and not self._under_way:
            self._idle.callback(None)
            self._idle = None

    def expire(self, request: Request, done: Done) -> None:
        """Answer a request whose deadline has passed. If it has begun, it goes on, and its outcome goes only to the log.

        :param done: as for :attr:`execute`; used if the request has not begun.
        """
        if request.done is not None:
            done, request.done = request.done, None
            request.is_late = True
            self.end_one()
        done(request, None, self.failed(DeadlinePassed(PATIENCE), request))

    def finished_late(self, request: Request, error: Exception | None) -> None:
        """Take the outcome of a request after its client got an error."""
        if error is not None and request.charge:
            self.quotas.take_back(request)
        if error is not None and not isinstance(error, StorageUnavailable):
            self.client_error(error, request.action.name, request.session.output, request)

    def failed(self, error: Exception, request: Request) -> ApiError:
        """Record that a request failed.

        :returns: what its client gets.
        """
        action, session = request.action, request.session
        if request.charge and not request.is_late:
            self.quotas.take_back(request)
        client_error = error if isinstance(error, ApiError) else self.client_error(error, action.name, session.output, request)
        self.metrics.errors[action.name, client_error.code] += 1
        if self.audit.is_on:
            self.audit.failed(action, session, client_error, request)
        return client_error

    async def _execute_with_token(self, request: Request) -> Any:
        principal = request.principal = await self.authentication.by_token(request.fields.token)
        CURRENT.client = principal.user_id
        self.check(request.action, principal)
        account = principal.account
        self.quotas.check_request(account)
        account.requests += 1
        try:
            outcome = request.action.handler(request)
            return await outcome if isawaitable(outcome) else outcome
        finally:
            account.requests -= 1

    @staticmethod
    def check(action: Any, principal: Principal | None) -> None:
        """Refuse an action to those who may not use it.

        :param principal: ``None`` for nobody.
        :raises Unauthorized: there is nobody, or the user is gone.
        :raises AccessDenied: the principal has none of the action's permissions.
        """
        if action.permissions:
            if principal is None:
                raise Unauthorized()
            principal.require(action.permissions)


def _client_of(request: Request) -> int | str:
    """The client of a request, where clients are served in turn."""
    principal = request.principal
    return limit_key(request.session.output.address) if principal is None else principal.user_id
