"""The audit log: who did what to users, networks, device types, devices, configuration and tokens, and who was refused.

What of an action is recorded is declared with it, see :mod:`dhtwisted.actions.audit`. The values of passwords, payloads and texts are
never recorded, nor are tokens.
"""

from __future__ import annotations

import json
import time

from twisted.logger import Logger

from dhtwisted.errors import ConfigurationError, Unauthorized
from dhtwisted.logs.append_file import AppendFile
from dhtwisted.logs.line_limit import LineLimit
from dhtwisted.logs.masking import encodable, mask
from dhtwisted.wire.timestamps import format_timestamp

AUDIT_MODE = 0o600

LONGEST = 128
"""Characters of a login, a name or an id that a client made up."""

SUCCESS, FAILED, REFUSED = "success", "failed", "refused"
REFUSALS = (401, 403, 429)


class Audit:
    """Writes the records of one server; without a file, none.

    :param file: its ``write(line)`` takes bytes and raises ``OSError``.
    :param clock: gives the time in seconds.
    :ivar is_on: whether there is a file.
    :ivar lost: how many records could not be written.
    """

    log = Logger()

    def __init__(self, file=None, clock=time.time):
        self.is_on = file is not None
        self.lost = 0
        self._file = file
        self._clock = clock
        self._limit = LineLimit(clock)
        self._is_failing = False
        self._has_started = False

    def succeeded(self, request, details):
        """Record what a request did.

        :param details: members of the record.
        """
        self._record(request.action.name, SUCCESS, _who(request.session, request.principal) | details)

    def failed(self, action, session, error, request=None, has_token=False):
        """Record an action that did not succeed, if it is one that is recorded, or a token that was not good. Many of a kind are counted
        and not written: strangers can cause them.

        :param action: the ``Action``; ``None`` for a request that names none.
        :param session: whose it was, a ``Session`` or what stands for it.
        :param error: the ``ApiError`` that the client is told.
        :param request: the :class:`~dhtwisted.core.server.Request`; ``None`` when it was not read.
        :param has_token: whether a token came with what was not read.
        """
        principal = session.principal if request is None else request.principal
        if action is not None and action.audit is not None:
            details = {} if request is None else action.audit.about(request)
            # Who fails to log in is nobody, whoever has the connection.
            who = _where(session.output) if "login" in details else _who(session, principal)
            login = getattr(error, "login", None)
            self._refused(action.name, who | details | ({} if login is None else {"login": login[:LONGEST]}), error)
        elif isinstance(error, Unauthorized) and (has_token if request is None else request.fields.token is not None):
            self.failed_authentication(session.output, error)

    def failed_authentication(self, output, error):
        """Record a token that was not good.

        :param output: the way to the client, an ``IOutput``.
        """
        self._refused("authenticate", _where(output), error)

    def started(self, **details):
        """Record that the server serves clients."""
        self._has_started = True
        self._record("server/start", SUCCESS, details)

    def lost_data(self, part, loss):
        """Record what an operator had the server start without.

        :param part: ``storage`` or ``messages``.
        :param loss: what is missing, in words.
        """
        self._record("server/loss", SUCCESS, {"part": part, "loss": loss})

    def reloaded(self, is_good, changed):
        """Record that the configuration was read again.

        :param changed: names of the options that it changed.
        """
        self._record("server/reload", SUCCESS if is_good else FAILED, {"changed": list(changed)})

    def done_by_shell(self, command, **details):
        """Record what an operator did by a command of the shell.

        :param command: such as ``user passwd``.
        :param details: members of the record; ``None`` for what does not apply.
        """
        self._record(f"shell/{command}", SUCCESS, {name: value for name, value in details.items() if value is not None})

    def reopen(self):
        """Go on in the file that has the path now.

        :raises OSError: it cannot be opened; the old one goes on.
        """
        if self.is_on:
            self._file.reopen()

    def problem(self):
        """Go on in a new file when somebody has moved or deleted the old one.

        :returns: what is wrong when that cannot be, in one line; empty when nothing is.
        """
        if self.is_on:
            try:
                self._file.follow()
            except OSError as error:
                return f"its file was moved or deleted, and cannot be made again ({error}); let the server write there"
        return ""

    def close(self):
        """Record the end, and let go of the file."""
        if not self.is_on:
            return
        self._tell_left_out(at_once=True)
        if self._has_started:
            self._record("server/stop", SUCCESS, {})
        self.is_on = False
        self._file.close()

    def _refused(self, event, details, error):
        if not self.is_on:
            return
        self._tell_left_out()
        if self._limit.admits((event, details.get("user")), None):
            told = {"error": error.logged} | ({} if error.detail is None else {"detail": error.detail})
            told = {name: mask(text)[: 2 * LONGEST] for name, text in told.items()}
            self._record(event, REFUSED if error.code in REFUSALS else FAILED, details | {"code": error.code} | told)

    def _tell_left_out(self, at_once=False):
        for kind, count in self._limit.left_out(at_once):
            event, user = kind or ("of various kinds", None)
            self._record("audit/limited", FAILED, {"of": event, "count": count} | ({} if user is None else {"user": user}))

    def _record(self, event, result, details):
        if not self.is_on:
            return
        members = {"time": f"{format_timestamp(int(self._clock() * 1000))}Z", "event": event, "result": result} | details
        line = json.dumps({name: encodable(value) if isinstance(value, str) else value for name, value in members.items()})
        try:
            self._file.write(line.encode())
        except OSError as error:
            # The operator's disk must not take the server from its clients; but he has to know.
            self.lost += 1
            if not self._is_failing:
                self._is_failing = True
                self.log.error("The audit log cannot be written, the server goes on without it: {error}", error=str(error))
            return
        if self._is_failing:
            self._is_failing = False
            self.log.warn("The audit log is written again; it lacks {count} events since the start of the server", count=self.lost)
            self._record("audit/lost", FAILED, {"count": self.lost})


def _who(session, principal):
    """Members about the client and its user."""
    if principal is None:
        return _where(session.output)
    user = principal.user
    return {"user": principal.user_id} | ({} if user is None else {"login": user.login}) | _where(session.output)


def _where(output):
    return {"address": output.address, "connection": output.number}


def open_audit(path):
    """Open the audit log.

    :param path: ``[log] audit_file``; empty for none.
    :returns: an :class:`Audit`.
    :raises ConfigurationError: it cannot be written.
    """
    if not path:
        return Audit()
    try:
        return Audit(AppendFile(path, AUDIT_MODE), time.time)
    except OSError as error:
        raise ConfigurationError(f"log.audit_file: {path} cannot be written ({error.strerror}); name another, or none") from error
