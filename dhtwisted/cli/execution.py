"""Executes a command: through the running server, or, if none runs, on the data themselves."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from dhtwisted.cli import control_client, local_data
from dhtwisted.cli.options import Command, CommandLine
from dhtwisted.cli.output import Output, StandardOutput
from dhtwisted.cli.terminal import (
    INTERRUPTED,
    Progress,
    WorkMonitor,
    error_line,
    interrupted_by_signals,
    log_warnings_to_stderr,
    print_line,
)
from dhtwisted.config.settings import Settings
from dhtwisted.control import command as control
from dhtwisted.control.socket_file import account_name
from dhtwisted.errors import AccountError, CommandError
from dhtwisted.interfaces import ProviderContext
from dhtwisted.logs.audit import open_audit
from dhtwisted.providers.lookup import open_provider
from dhtwisted.service.bootstrap import fill_login_keys
from dhtwisted.service.service import EXPECTED_FAILURES

REPORTED = (CommandError, *EXPECTED_FAILURES)
"""Errors that the operator gets as one line. Any other is a defect, and its traceback is needed."""


class ServerCommand(Command):
    """A command that the server executes. If no server runs, the shell executes it."""

    def request(self) -> control.Command:
        """Make what the server executes. May ask the person at the terminal.

        :raises AccountError: an answer is missing or wrong.
        :raises OSError: a file of the options cannot be read.
        """
        raise NotImplementedError

    def output(self) -> Output:
        """Where the shell puts the output."""
        return StandardOutput()

    def run(self, command_line: CommandLine) -> NoReturn:
        try:
            request = self.request()
        except REPORTED as error:
            raise SystemExit(error_line(self.name, error)) from error
        execute(command_line.settings, request, self.output())


def execute(settings: Settings, command: control.Command, output: Output) -> NoReturn:
    """Execute a command, and end the process: with status 0, or with 1 after one line on standard error.

    :param settings: the configuration as the shell finds it.
    """
    log_warnings_to_stderr()
    operator = account_name(os.getuid())
    line = None
    try:
        connection = control_client.connect(settings)
        if connection is not None:
            line = _through_server(connection, command, output)
        elif command.needs_server:
            raise CommandError("no running server has this configuration and a control socket")
        else:
            settings = local_data.prepare(settings, command.needs_auth, command.needs_key)
    except REPORTED as error:
        raise SystemExit(error_line(command.name, error)) from error
    if connection is None:
        react(_run_locally, (settings, command, output, operator))
    print_line(line)
    raise SystemExit(0)


def _through_server(connection: control_client.Connection, command: control.Command, output: Output) -> str | None:
    progress = Progress(time.monotonic)
    reason = f"{INTERRUPTED}; the server finishes what it has begun" if command.needs_auth else INTERRUPTED
    try:
        with interrupted_by_signals(reason), connection, output:
            return connection.execute(command, output, progress.show)
    finally:
        progress.clear()


async def _run_locally(reactor: Any, settings: Settings, command: control.Command, output: Output, operator: str) -> None:
    monitor = WorkMonitor(reactor)
    try:
        line = await _execute_locally(reactor, settings, command, output, operator, monitor)
    except REPORTED as error:
        monitor.clear()
        raise SystemExit(error_line(command.name, error)) from error
    monitor.clear()
    print_line(line)


async def _execute_locally(
    reactor: Any, settings: Settings, command: control.Command, output: Output, operator: str, monitor: WorkMonitor
) -> str | None:
    async with AsyncExitStack() as stack:
        audit = open_audit(settings.log.audit_file if command.is_audited else "")
        stack.callback(audit.close)
        storage, messages = await stack.enter_async_context(local_data.opened_storages(reactor, settings, monitor))
        auth = None
        if command.needs_auth:
            auth = open_provider("auth", settings.auth.provider, ProviderContext(reactor, settings, storage, messages))
            stack.push_async_callback(auth.close)
        context = control.Context(settings, storage, messages, auth, int(reactor.seconds() * 1000), _LocalOutput(output, monitor))
        if command.needs_auth and await context.is_unused():
            raise AccountError("no server has started on this storage yet; the first start creates the administrator, so start one first")
        if command.needs_auth:
            await fill_login_keys(storage)
        with output:
            work = Deferred.fromCoroutine(command.run(context))
            line = await (monitor.wait_for(work) if command.is_cancellable else work)
        control.write_audit_record(audit, command, context, operator)
        return line


class _LocalOutput:
    """What a command writes to, as :class:`~dhtwisted.control.command.CommandOutput`."""

    def __init__(self, output: Output, monitor: WorkMonitor) -> None:
        self._output, self._monitor = output, monitor

    async def write(self, data: bytes, part: str = "") -> None:
        self._output.write(data, part)

    async def progress(self, objects: int) -> None:
        self._monitor.show(objects)
