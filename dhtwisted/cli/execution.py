"""Does a command for the shell: by the server that has the data, or without one on storages that are opened here."""

import os
import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from dhtwisted.cli.control_client import connect
from dhtwisted.cli.terminal import ENDED, Progress, Watch, ended_by_signals, failure, show_warnings, tell
from dhtwisted.control.commands import Context, record
from dhtwisted.control.place import account_of, belongs_to_another
from dhtwisted.errors import AccountError, CommandError, TransferError
from dhtwisted.interfaces import ProviderContext
from dhtwisted.logs.audit import open_audit
from dhtwisted.providers.jwt.signing_key import FILE_NAME
from dhtwisted.providers.lookup import open_provider
from dhtwisted.providers.opening import data_file, open_storages
from dhtwisted.service.bootstrap import fill_login_keys
from dhtwisted.service.service import EXPECTED_FAILURES

TOLD = (CommandError, *EXPECTED_FAILURES)
"""What the operator is told in a line. Anything else is a defect, and its traceback is wanted."""


def perform(settings, command, sink):
    """Do a command, and end the process: with status 0, or with 1 after one line on standard error.

    :param settings: the configuration, as the shell finds it.
    :param command: a :class:`~dhtwisted.control.commands.Command`.
    :param sink: a :class:`~dhtwisted.cli.sinks.Sink` for its output.
    """
    show_warnings()
    operator = account_of(os.getuid())
    try:
        connection = connect(settings)
        if connection is not None:
            line = _by_server(connection, command, sink)
        elif command.needs_server:
            raise CommandError("no server that runs has this configuration and a control socket")
        else:
            settings = _prepared(settings, command)
    except TOLD as error:
        raise SystemExit(failure(command.name, error)) from error
    if connection is None:
        react(_run, (settings, command, sink, operator))
    tell(line)
    raise SystemExit(0)


def _by_server(connection, command, sink):
    progress = Progress(time.monotonic)
    words = f"{ENDED}; what the server had begun, it finishes" if command.needs_auth else ENDED
    try:
        with ended_by_signals(words), connection, sink:
            return connection.perform(command, sink, progress.look)
    finally:
        progress.clear()


def _prepared(settings, command):
    """Become who may work on the data, and find what is needed for it.

    :returns: the settings to work with.
    """
    if not command.needs_auth:
        need_file(settings)
        return settings
    directory = _become_owner(settings)
    return _with_key(settings, directory, command.needs_key)


def need_file(settings):
    """Make no data file where one is misspelt.

    :raises TransferError: there is none.
    """
    path = data_file("storage", settings.storage.provider)
    if path is None:
        return
    try:
        os.stat(path)
    except FileNotFoundError as error:
        raise TransferError(
            f"there is no data file {path}: start a server first, or name the right one with --storage or --config"
        ) from error


def _become_owner(settings):
    """Work as the owner of the data, if they are in a file: nothing here needs root.

    :returns: their directory, ``None`` when they are in none.
    """
    from twisted.internet import reactor

    storage = open_provider("storage", settings.storage.provider, ProviderContext(reactor, settings))
    if storage.durability == "volatile":
        raise AccountError(
            "this storage is in the memory of a server, which nobody else can reach; use the API, or have it set server.control_socket"
        )
    directory = storage.state_directory
    if directory is not None and os.path.isdir(directory):
        _become_owner_of(directory, data_file("storage", settings.storage.provider))
    need_file(settings)
    return directory


def _become_owner_of(directory, path):
    """Be who has the data file, or the directory of one that is still to be made."""
    owner = os.stat(path if path is not None and os.path.exists(path) else directory)
    if os.geteuid() == 0 and owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    elif os.geteuid() != owner.st_uid and not os.access(directory, os.W_OK | os.X_OK):
        raise belongs_to_another(directory, owner.st_uid)


def _with_key(settings, directory, is_needed):
    """The settings, with some key where the server's is neither given nor beside the data: none is made there, and hashes need none.

    :param is_needed: it must be the server's.
    """
    auth = settings.auth
    if auth.secret or auth.secret_file or (directory is not None and Path(directory, FILE_NAME).exists()):
        return settings
    if is_needed:
        raise AccountError("the server's signing key is not here; give it as DHTWISTED_AUTH_SECRET or auth.secret_file")
    return replace(settings, auth=replace(auth, secret=secrets.token_hex(32)))


async def _run(reactor, settings, command, sink, operator):
    watch = Watch(reactor)
    try:
        line = await _do(reactor, settings, command, sink, operator, watch)
    except TOLD as error:
        watch.clear()
        raise SystemExit(failure(command.name, error)) from error
    watch.clear()
    tell(line)


async def _do(reactor, settings, command, sink, operator, watch):
    async with AsyncExitStack() as stack:
        audit = open_audit(settings.log.audit_file if command.is_recorded else "")
        stack.callback(audit.close)
        storage, messages = await stack.enter_async_context(opened(reactor, settings, watch))
        auth = None
        if command.needs_auth:
            auth = open_provider("auth", settings.auth.provider, ProviderContext(reactor, settings, storage, messages))
            stack.push_async_callback(auth.close)
        context = Context(settings, storage, messages, auth, int(reactor.seconds() * 1000), _Output(sink, watch))
        if command.needs_auth and await context.is_unused():
            raise AccountError("nobody has started a server on this storage, which makes its administrator; start it first")
        if command.needs_auth:
            await fill_login_keys(storage)
        with sink:
            work = Deferred.fromCoroutine(command.run(context))
            line = await (watch.until(work) if command.is_cancelled else work)
        record(audit, command, context, operator)
        return line


@asynccontextmanager
async def opened(reactor, settings, watch):
    """Have the storages open in a block; what was accepted is finished at its end, however it ends.

    :param watch: a :class:`~dhtwisted.cli.terminal.Watch`.
    """
    async with AsyncExitStack() as stack:
        opening = open_storages(reactor, settings, lambda role, close: stack.push_async_callback(close))
        yield await watch.wait_for(Deferred.fromCoroutine(opening))


class _Output:
    """What a command writes to, an :class:`~dhtwisted.control.commands.Output`."""

    def __init__(self, sink, watch):
        self._sink, self._watch = sink, watch

    async def write(self, data, part=""):
        self._sink.write(data, part)

    async def progress(self, objects):
        self._watch.look(objects)
