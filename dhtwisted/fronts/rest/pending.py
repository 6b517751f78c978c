"""A REST call from its beginning to its answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from dhtwisted.core.coroutines import run
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.core.server import Request
from dhtwisted.errors import DeadlinePassed, MethodNotAllowed, NoSuchPath
from dhtwisted.fronts.rest.answers import error_answer, retry_line, success
from dhtwisted.fronts.rest.endpoint import LONGEST_NAME, STRICT

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from dhtwisted.core.server import Server
    from dhtwisted.errors import ApiError
    from dhtwisted.fronts.rest.caller import Call
    from dhtwisted.fronts.rest.endpoint import Endpoint
    from dhtwisted.fronts.rest.paths import Found

Done = Callable[..., object]

ERROR_DELAY = 1.0
"""Seconds before the error of a poll is answered: clients ask again at once (REST reference, section 9.3)."""

MOST_NAMED = 10
"""Unknown parameters in a line of the log."""


class PendingCall:
    """A call that is not answered yet.

    :param found: what is at its path.
    :param done: see :meth:`RestApi.handle() <dhtwisted.fronts.rest.api.RestApi.handle>`.
    """

    __slots__ = ("_call", "_done", "_due", "_endpoint", "_found", "_is_answered", "_request", "_server")

    log = Logger("dhtwisted.fronts.rest.RestApi")  # The name by which operators know these lines.

    def __init__(self, server: Server, call: Call, found: Found | None, done: Done) -> None:
        self._server = server
        self._call = call
        self._done = done
        self._found = found
        self._endpoint: Endpoint | None = None if found is None else found.endpoints.get(call.method)
        self._request: Request | None = None
        self._is_answered = False
        self._due = server.deadlines.due()

    def start(self, depth: int) -> None:
        """Read and execute the request.

        :param depth: ``limits.json_depth``.
        """
        run(self._prepare(depth), self._prepared)
        if not self._is_answered:
            self._server.deadlines.watch(self)

    async def _prepare(self, depth: int) -> Request:
        """Read the request.

        The order of checks is that of REST reference, sections 3.1 and 7: the token, the path, the permission, then the parameters.
        """
        call, server, endpoint, principal = self._call, self._server, self._endpoint, None
        if call.authorization is not None:
            principal = call.caller.principal = await server.authentication.by_header(call.authorization)
        if self._found is None:
            raise NoSuchPath()
        if endpoint is None:
            raise MethodNotAllowed()
        server.check(endpoint.action, principal)
        if call.query:
            self._check_parameters(endpoint)
        return Request(server, call.caller, endpoint.action, endpoint.read(self._found.values, call, depth), principal)

    def _check_parameters(self, endpoint: Endpoint) -> None:
        """Refuse parameters that the route does not have if the client asks for that; else name them in the log, at ``debug``."""
        call = self._call
        if call.query.get(STRICT, [""])[0].lower() == "true":
            endpoint.refuse_unknown(call.query)
        elif self._server.settings.log.level == "debug" and (unknown := endpoint.unknown(call.query)):
            self.log.debug(
                "{action} has no parameters {names}, which were ignored",
                action=endpoint.action.name,
                names=", ".join(name[:LONGEST_NAME] for name in unknown[:MOST_NAMED]) + (", ..." if len(unknown) > MOST_NAMED else ""),
                connection=call.caller.number,
                address=call.caller.address,
            )

    def _prepared(self, request: Request | None, error: BaseException | None) -> None:
        if self._is_answered:
            return
        if error is not None:
            self._refuse(error)
            return
        assert request is not None, "what does not fail is a request"
        # From here on the request has the deadline: a poll moves it.
        self._request = request
        request.due = self._due
        self._server.execute(request, self._finished)

    def _refuse(self, error: BaseException) -> None:
        """Answer a call that is no request: the token, the path or the body is wrong, or the deadline has passed."""
        self._end()
        server, call = self._server, self._call
        action = None if self._endpoint is None else self._endpoint.action
        name = None if action is None else action.name
        client_error = server.client_error(error, name or "a request", call.caller)
        server.metrics.refused_request(client_error)
        if server.trace is not None:
            server.trace.refused(call.caller, name, client_error)
        if server.audit.is_on:
            server.audit.failed(action, call.caller, client_error, has_token=call.authorization is not None)
        self._answer_error(client_error)

    def _finished(self, request: Request, members: Any, error: ApiError | None) -> None:
        self._end()
        assert self._endpoint is not None, "a request has an endpoint"
        if error is None:
            self._done(*success(self._endpoint, members))
        else:
            self._answer_error(error, self._endpoint.route.body)

    def _end(self) -> None:
        self._is_answered = True
        self._server.deadlines.forget(self)

    def _answer_error(self, error: ApiError, body_member: str | None = None) -> None:
        answer = partial(self._done, *error_answer(error, body_member), retry_line(error))
        call, endpoint = self._call, self._endpoint
        if endpoint is None or not endpoint.action.waits or call.query.get("waitTimeout", [""])[0] == "0":
            answer()
        else:
            delayed = self._server.reactor.callLater(ERROR_DELAY, answer)
            call.caller.end_when_gone(partial(_call_now, delayed))

    def answer_due(self, sweep: int) -> bool:
        """See :meth:`Deadlines.watch() <dhtwisted.core.request_deadlines.Deadlines.watch>`."""
        request = self._request
        if sweep < (self._due if request is None else request.due):
            return True
        if request is None:
            self._refuse(DeadlinePassed(PATIENCE))
        else:
            self._server.expire(request, self._finished)
        return False


def _call_now(delayed: IDelayedCall) -> None:
    if delayed.active():
        delayed.reset(0)
