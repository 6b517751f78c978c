"""The audit log: who did what to users, networks, device types, devices, configuration and tokens, and who was refused.

The declaration of an action says what is recorded, see :mod:`dhtwisted.actions.audit`. Passwords, payloads, texts and tokens are never
recorded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger

from dhtwisted.errors import ApiError, ConfigurationError, Unauthorized
from dhtwisted.logs.append_file import AppendFile
from dhtwisted.logs.line_limit import LineLimit
from dhtwisted.logs.masking import digest, encodable, mask
from dhtwisted.wire.timestamps import format_timestamp

AUDIT_MODE = 0o600

LONGEST = 128
"""Characters of a login, a name or an id of a client."""

SUCCESS, FAILED, REFUSED = "success", "failed", "refused"
MQTT_LOGIN = "mqtt/login"
REFUSALS = (401, 403, 429)


class Audit:
    """Writes the records of one server. Without a file it writes nothing.

    :param clock: returns the time in seconds.
    :ivar is_on: whether there is a file.
    :ivar lost: how many records could not be written.
    """

    log = Logger()

    def __init__(self, file: AppendFile | None = None, clock: Callable[[], float] = time.time) -> None:
        self.is_on = file is not None
        self.lost = 0
        self._file = file
        self._clock = clock
        self._limit = LineLimit(clock)
        self._is_failing = False
        self._has_started = False

    def succeeded(self, request: Any, details: dict[str, Any]) -> None:
        """Record what a request did.

        :param details: members of the record.
        """
        self._record(request.action.name, SUCCESS, _who(request.session, request.principal) | details)

    def failed(self, action: Any, session: Any, error: ApiError, request: Any = None, has_token: bool = False) -> None:
        """Record an audited action that failed, or an invalid token. If there are many of one kind, they are only counted: any client can
        cause them.

        :param action: the ``Action``; ``None`` for a request that names none.
        :param session: whose it was, a ``Session`` or what stands for it.
        :param error: the ``ApiError`` that the client gets.
        :param request: the :class:`~dhtwisted.core.server.Request`; ``None`` when it was not read.
        :param has_token: whether a token came with what was not read.
        """
        principal = session.principal if request is None else request.principal
        if action is not None and action.audit is not None:
            details = {} if request is None else action.audit.about(request)
            # A failed login belongs to no user, even on an authenticated connection.
            who = _where(session.output) if "login" in details else _who(session, principal)
            login = getattr(error, "login", None)
            self._refused(action.name, who | details | ({} if login is None else {"login": login[:LONGEST]}), error)
        elif isinstance(error, Unauthorized) and (has_token if request is None else request.fields.token is not None):
            self.failed_authentication(session.output, error)

    def failed_authentication(self, output: Any, error: ApiError) -> None:
        """Record an invalid token.

        :param output: the way to the client, an ``IOutput``.
        """
        self._refused("authenticate", _where(output), error)

    def logged_in(self, output: Any, user: Any, client_id: str) -> None:
        """Record a login by user name and password over MQTT, where no token is made.

        :param output: the way to the client.
        """
        if self.is_on:
            who = {"user": user.id, "login": user.login} | _where(output)
            self._record(MQTT_LOGIN, SUCCESS, who | {"client": client_id[:LONGEST]})

    def failed_login(self, output: Any, login: str | None, client_id: str, error: ApiError) -> None:
        """Record that a client of MQTT was refused.

        :param output: the way to the client.
        :param login: as the client gave it; ``None`` if it gave none. It is shown if it is a user's.
        """
        known = getattr(error, "login", None)
        shown = known or (None if login is None else digest(login))
        who = _where(output) | ({} if shown is None else {"login": shown[:LONGEST]})
        self._refused(MQTT_LOGIN, who | {"client": client_id[:LONGEST]}, error)

    def started(self, **details: Any) -> None:
        """Record that the server has started to serve clients."""
        self._has_started = True
        self._record("server/start", SUCCESS, details)

    def lost_data(self, part: str, loss: str) -> None:
        """Record a loss with which an operator has started the server.

        :param part: ``storage`` or ``messages``.
        :param loss: what is missing, in words.
        """
        self._record("server/loss", SUCCESS, {"part": part, "loss": loss})

    def reloaded(self, is_good: bool, changed: Sequence[str]) -> None:
        """Record that the configuration was read again.

        :param changed: names of the options that it changed.
        """
        self._record("server/reload", SUCCESS if is_good else FAILED, {"changed": list(changed)})

    def done_by_shell(self, command: str, **details: Any) -> None:
        """Record what an operator did with a command of the shell.

        :param command: such as ``user passwd``.
        :param details: members of the record; ``None`` for what does not apply.
        """
        self._record(f"shell/{command}", SUCCESS, {name: value for name, value in details.items() if value is not None})

    def reopen(self) -> None:
        """Continue in the file that is at the path now.

        :raises OSError: it cannot be opened; the old file stays in use.
        """
        if self._file is not None:
            self._file.reopen()

    def problem(self) -> str:
        """If the file was moved or deleted, continue in a new one.

        :returns: one line that says what is wrong; empty if nothing is.
        """
        if self._file is not None:
            try:
                self._file.follow()
            except OSError as error:
                return f"its file was moved or deleted, and cannot be created again ({error}); give the server the right to write there"
        return ""

    def close(self) -> None:
        """Record the end, and close the file."""
        if self._file is None:
            return
        self._record_left_out(at_once=True)
        if self._has_started:
            self._record("server/stop", SUCCESS, {})
        self.is_on = False
        self._file.close()
        self._file = None

    def _refused(self, event: str, details: dict[str, Any], error: ApiError) -> None:
        if not self.is_on:
            return
        self._record_left_out()
        if self._limit.admits((event, details.get("user")), None):
            texts = {"error": error.logged} | ({} if error.detail is None else {"detail": error.detail})
            texts = {name: mask(text)[: 2 * LONGEST] for name, text in texts.items()}
            self._record(event, REFUSED if error.code in REFUSALS else FAILED, details | {"code": error.code} | texts)

    def _record_left_out(self, at_once: bool = False) -> None:
        for kind, count in self._limit.left_out(at_once):
            event, user = kind or ("of various kinds", None)
            self._record("audit/limited", FAILED, {"of": event, "count": count} | ({} if user is None else {"user": user}))

    def _record(self, event: str, result: str, details: dict[str, Any]) -> None:
        if self._file is None:
            return
        members = {"time": f"{format_timestamp(int(self._clock() * 1000))}Z", "event": event, "result": result} | details
        line = json.dumps({name: encodable(value) if isinstance(value, str) else value for name, value in members.items()})
        try:
            self._file.write(line.encode())
        except OSError as error:
            # A full disk must not stop the server. But the operator must know.
            self.lost += 1
            if not self._is_failing:
                self._is_failing = True
                self.log.error("The audit log cannot be written, the server goes on without it: {error}", error=str(error))
            return
        if self._is_failing:
            self._is_failing = False
            self.log.warn("The audit log is written again; it lacks {count} events since the start of the server", count=self.lost)
            self._record("audit/lost", FAILED, {"count": self.lost})


def _who(session: Any, principal: Any) -> dict[str, Any]:
    """Members about the client and its user."""
    if principal is None:
        return _where(session.output)
    user = principal.user
    return {"user": principal.user_id} | ({} if user is None else {"login": user.login}) | _where(session.output)


def _where(output: Any) -> dict[str, Any]:
    return {"address": output.address, "connection": output.number}


def open_audit(path: str) -> Audit:
    """Open the audit log.

    :param path: ``[log] audit_file``; empty for none.
    :raises ConfigurationError: it cannot be written.
    """
    if not path:
        return Audit()
    try:
        return Audit(AppendFile(path, AUDIT_MODE), time.time)
    except OSError as error:
        raise ConfigurationError(
            f"log.audit_file: {path} cannot be written ({error.strerror}); name another file, or leave it empty"
        ) from error
