"""The server's end of the control socket: it executes commands of the shell on the storages that the server has open."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Union

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from dhtwisted import __version__
from dhtwisted.control.command import Command, CommandOutput, Context, write_audit_record
from dhtwisted.control.command_list import COMMANDS
from dhtwisted.control.listener import Listener
from dhtwisted.control.protocol import ALIVE_SECONDS, LONGEST_REQUEST, PORTION, VERSION, Greeting, Reply, data_id, encode_line
from dhtwisted.control.socket_file import account_name, file_identity, listen_at, peer_ids, remove
from dhtwisted.core.server import Server
from dhtwisted.errors import UNREADABLE, ApiError, CommandError, ConfigurationError, StorageError
from dhtwisted.interfaces import IStorage
from dhtwisted.kit.repeated_work import RepeatedWork
from dhtwisted.logs.audit import Audit

MOST_CALLERS = 16
"""Connections at the same time. Each needs a file descriptor."""

REQUEST_SECONDS = 10.0
"""How long a caller may take to send its command."""

UNREAD_SECONDS = 600.0
"""How long a caller may leave output unread. Until it goes on, the command keeps memory, or a copy on the disk."""

STOP_SECONDS = 1.0
"""How long a caller may take to read the last line when the server stops."""

_decode = msgspec.json.Decoder(Union[COMMANDS]).decode

_REPORTED = (CommandError, ConfigurationError, StorageError, OSError)


class ControlServer:
    """Listens at one socket.

    :param path: of the socket.
    :param server: the started server.
    :param storage: the opened storage of entities.
    :param get_state: returns the state of the server, for ``devicehive status``.
    :ivar callers: the open connections.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        path: str,
        server: Server,
        storage: IStorage,
        get_state: Callable[[], Awaitable[dict[str, Any]]],
        audit: Audit,
    ) -> None:
        self.reactor = reactor
        self.path = path
        self.audit = audit
        self.callers: set[Caller] = set()
        self._server = server
        self._storage = storage
        self._get_state = get_state
        self._greeting = encode_line(Greeting(version=VERSION, program=__version__, storage=data_id(server.settings)))
        self._listener: Listener | None = None
        self._file_identity: tuple[int, int] | None = None

    def start(self) -> None:
        """Listen.

        :raises ConfigurationError: the socket cannot be opened; the text says what to do.
        """
        listener = listen_at(self.path)
        self._file_identity = file_identity(self.path)
        self._listener = Listener(self.reactor, listener, self._accept)
        self._listener.startReading()

    async def stop(self) -> None:
        """Stop listening. Cancel long commands, and wait for the others."""
        if self._listener is None:
            return
        remove(self.path, self._file_identity)
        self._listener.close()
        await DeferredList([caller.stop() for caller in list(self.callers)])

    def greet(self, caller: Caller) -> tuple[bytes, bool]:
        """Decide whether a caller may send a command.

        :returns: the first line for the caller, and whether it may.
        """
        _, user = peer_ids(caller.transport.socket)
        if user not in (0, os.geteuid()):
            self.log.warn("{account} was refused at the control socket", account=account_name(user))
            return _refusal(f"the server takes commands of {_permitted()} alone"), False
        if len(self.callers) > MOST_CALLERS:
            return _refusal("the server already executes as many commands as it can at the same time; try again"), False
        caller.operator = account_name(user)
        return self._greeting, True

    def context(self, output: CommandOutput) -> Context:
        """What a command works on."""
        server = self._server
        return Context(server.settings, self._storage, server.messages, server.auth, server.now(), output, server.entities, self._get_state)

    def _accept(self, connection: socket.socket) -> None:
        self.reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, Factory.forProtocol(partial(Caller, self)))


@implementer(IPushProducer)
class Caller(Protocol):
    """One connection: it receives one command and is its :class:`~dhtwisted.control.command.CommandOutput`.

    :ivar operator: the account at the other end; ``None`` if it may not send a command.
    """

    log = Logger()

    transport: Any

    def __init__(self, control: ControlServer) -> None:
        self.operator: str | None = None
        self._control = control
        self._received = bytearray()
        self._timeout: Any = None
        self._command: Command | None = None
        self._work: Deferred[None] | None = None
        self._ended: Deferred[None] = Deferred()
        self._room: Deferred[None] | None = None
        self._given_up: str | None = None
        self._alive = RepeatedWork(control.reactor, "telling the shell that its command goes on", self._send_alive)

    def connectionMade(self) -> None:
        self._control.callers.add(self)
        greeting, is_permitted = self._control.greet(self)
        self._write(greeting)
        if is_permitted:
            self.transport.registerProducer(self, True)
            self._set_timeout(REQUEST_SECONDS)
        else:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self._work is not None or self.operator is None:
            return  # A connection carries one command, and the client waits for its end.
        self._received += data
        end = self._received.find(b"\n")
        if end < 0 and len(self._received) <= LONGEST_REQUEST:
            return
        self._set_timeout(None)
        request = bytes(self._received[:end]) if 0 <= end <= LONGEST_REQUEST else b""
        self._received.clear()
        self._work = Deferred.fromCoroutine(self._execute(request)).addErrback(self._failed).addCallback(self._finished)

    async def _execute(self, request: bytes) -> Reply:
        try:
            self._command = command = _decode(request)
        except UNREADABLE as error:
            raise CommandError("this is no command that the server knows; check whether server and shell have the same version") from error
        self._alive.start(ALIVE_SECONDS)
        context = self._control.context(self)
        line = await command.run(context)
        if command.is_audited:
            self.log.info("{operator} did {command} from the shell", operator=self.operator, command=command.name)
        write_audit_record(self._control.audit, command, context, str(self.operator))
        return Reply(done=True, line=line)

    def _failed(self, failure: Failure) -> Reply:
        error = failure.value
        if isinstance(error, CancelledError):
            return Reply(error=self._given_up)
        if isinstance(error, _REPORTED):
            return Reply(error=str(error))
        if isinstance(error, ApiError):
            return Reply(error=error.text)
        self.log.failure("A command of the shell failed", failure=failure)
        return Reply(error="the command failed because of a defect; the log of the server has the details")

    def _finished(self, reply: Reply) -> None:
        self._command = None
        self._alive.stop()
        self._set_timeout(REQUEST_SECONDS)
        self._write(encode_line(reply))
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    async def write(self, data: bytes, part: str = "") -> None:
        """Send output. Returns when there is room for more, and the reactor has served others.

        :raises CommandError: the caller has gone, or the server stops.
        """
        for start in range(0, len(data), PORTION):
            portion = data[start : start + PORTION]
            self._write(encode_line(Reply(output=len(portion), part=part)) + portion)
            await self._has_room()

    async def progress(self, objects: int) -> None:
        """Send how many objects are done."""
        self._write(encode_line(Reply(objects=objects)))
        await self._has_room()

    async def _has_room(self) -> None:
        if self._room is not None and self._given_up is None:
            self._set_timeout(UNREAD_SECONDS)
            await self._room
            self._set_timeout(None)
        if self._given_up is not None:
            raise CommandError(self._given_up)
        await deferLater(self._control.reactor, 0)

    def _write(self, data: bytes) -> None:
        if self.connected:
            self.transport.write(data)

    def _send_alive(self) -> None:
        if self._room is None:
            self._write(encode_line(Reply()))

    def _set_timeout(self, seconds: float | None) -> None:
        """Drop the connection after a time; ``None``: never."""
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()
        self._timeout = None
        if seconds is not None and self.connected:
            self._timeout = self._control.reactor.callLater(seconds, self.transport.abortConnection)

    def pauseProducing(self) -> None:
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost. Twisted will call :meth:`connectionLost`."""

    def stop(self) -> Deferred[None]:
        """Cancel a long command, and let another finish.

        :returns: fires when the connection is closed.
        """
        if self._work is None:
            self.transport.abortConnection()
        elif self._command is None:
            self._set_timeout(STOP_SECONDS)
        else:
            self._give_up("the server stops")
        return self._ended

    def _give_up(self, reason: str) -> None:
        """Cancel a command that only writes. A command that changes data goes on to its end."""
        self._given_up = reason
        if self._command is not None and self._command.is_cancellable and self._work is not None:
            self._work.cancel()
        self.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._set_timeout(None)
        self._control.callers.discard(self)
        self._give_up("the caller has closed the connection")
        self._ended.callback(None)


def _permitted() -> str:
    return " and ".join(dict.fromkeys(map(account_name, (0, os.geteuid()))))


def _refusal(reason: str) -> bytes:
    return encode_line(Reply(error=reason))
