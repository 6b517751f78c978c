"""The server's end of the control socket: takes commands of the shell and does them on what the server has open."""

import os
import socket
from functools import partial
from typing import Union

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted import __version__
from dhtwisted.control.backup import Backup
from dhtwisted.control.commands import Context, record
from dhtwisted.control.export import Export
from dhtwisted.control.listener import Listener
from dhtwisted.control.place import account_of, identity, listen_at, peer_of, remove
from dhtwisted.control.protocol import ALIVE_SECONDS, LONGEST_REQUEST, PORTION, VERSION, Greeting, Reply, data_id, encode_line
from dhtwisted.control.status import Status
from dhtwisted.control.tokens import TOKEN_COMMANDS
from dhtwisted.control.users import USER_COMMANDS
from dhtwisted.errors import UNREADABLE, ApiError, CommandError, ConfigurationError, StorageError

MOST_CALLERS = 16
"""At once; each has a file open."""

REQUEST_SECONDS = 10.0
"""For a caller to say what it wants."""

UNREAD_SECONDS = 600.0
"""For a caller to read on: what it has begun is in memory, or on the disk, as long as it does not."""

STOP_SECONDS = 1.0
"""For a caller to read the last line, when the server stops."""

COMMANDS = (*USER_COMMANDS, *TOKEN_COMMANDS, Export, Backup, Status)
_decode = msgspec.json.Decoder(Union[COMMANDS]).decode

_TOLD = (CommandError, ConfigurationError, StorageError, OSError)


class ControlServer:
    """Listens at one socket.

    :param reactor: the reactor to run in.
    :param path: of the socket.
    :param server: the :class:`~dhtwisted.core.server.Server`, started.
    :param storage: the opened storage, that of entities.
    :param get_state: an async callable that says how the server is.
    :param audit: an :class:`~dhtwisted.logs.audit.Audit`.
    :ivar callers: the connections that are open.
    """

    log = Logger()

    def __init__(self, reactor, path, server, storage, get_state, audit):
        self.reactor = reactor
        self.path = path
        self.audit = audit
        self.callers = set()
        self._server = server
        self._storage = storage
        self._get_state = get_state
        self._greeting = encode_line(Greeting(version=VERSION, program=__version__, storage=data_id(server.settings)))
        self._listener = self._identity = None

    def start(self):
        """Listen.

        :raises ConfigurationError: it cannot be; the text says how to mend it.
        """
        listener = listen_at(self.path)
        self._identity = identity(self.path)
        self._listener = Listener(self.reactor, listener, self._accept)
        self._listener.startReading()

    async def stop(self):
        """Take nobody any more, end what is long, and wait for the rest."""
        if self._listener is None:
            return
        remove(self.path, self._identity)
        self._listener.close()
        await DeferredList([caller.stop() for caller in list(self.callers)])

    def greet(self, caller):
        """Find out whether a caller may ask for anything.

        :returns: the first line for it, and whether it may.
        """
        _, user = peer_of(caller.transport.socket)
        if user not in (0, os.geteuid()):
            self.log.warn("{account} was refused at the control socket", account=account_of(user))
            return _refusal(f"the server takes commands of {_permitted()} alone"), False
        if len(self.callers) > MOST_CALLERS:
            return _refusal("the server is at as many commands as it takes at once; try again"), False
        caller.operator = account_of(user)
        return self._greeting, True

    def context(self, output):
        """What a command works on."""
        server = self._server
        return Context(server.settings, self._storage, server.messages, server.auth, server.now(), output, server.entities, self._get_state)

    def _accept(self, connection):
        self.reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, Factory.forProtocol(partial(Caller, self)))


@implementer(IPushProducer)
class Caller(Protocol):
    """One connection: a command and its output, which it takes as an :class:`~dhtwisted.control.commands.Output`.

    :ivar operator: the account at the other end.
    """

    log = Logger()

    def __init__(self, control):
        self.operator = None
        self._control = control
        self._received = bytearray()
        self._limit = None
        self._command = self._work = None
        self._ended = Deferred()
        self._room = None
        self._given_up = None
        self._alive = LoopingCall(self._say_alive)
        self._alive.clock = control.reactor

    def connectionMade(self):
        self._control.callers.add(self)
        greeting, may_ask = self._control.greet(self)
        self._write(greeting)
        if may_ask:
            self.transport.registerProducer(self, True)
            self._set_limit(REQUEST_SECONDS)
        else:
            self.transport.loseConnection()

    def dataReceived(self, data):
        if self._work is not None or self.operator is None:
            return  # There is one command, and the client waits for its end.
        self._received += data
        end = self._received.find(b"\n")
        if end < 0 and len(self._received) <= LONGEST_REQUEST:
            return
        self._set_limit(None)
        request = bytes(self._received[:end]) if 0 <= end <= LONGEST_REQUEST else b""
        self._received.clear()
        self._work = Deferred.fromCoroutine(self._perform(request))
        self._work.addErrback(self._failed).addBoth(self._finished)

    async def _perform(self, request):
        try:
            self._command = command = _decode(request)
        except UNREADABLE as error:
            raise CommandError("this is no command that the server knows; is it of the same version?") from error
        self._alive.start(ALIVE_SECONDS, now=False)
        context = self._control.context(self)
        line = await command.run(context)
        if command.is_recorded:
            self.log.info("{operator} did {command} from the shell", operator=self.operator, command=command.name)
        record(self._control.audit, command, context, self.operator)
        return Reply(done=True, line=line)

    def _failed(self, failure):
        error = failure.value
        if isinstance(error, CancelledError):
            return Reply(error=self._given_up)
        if isinstance(error, _TOLD):
            return Reply(error=str(error))
        if isinstance(error, ApiError):
            return Reply(error=error.text)
        self.log.failure("A command of the shell failed", failure=failure)
        return Reply(error="it has failed by a defect; the log of the server has it")

    def _finished(self, reply):
        self._command = None
        if self._alive.running:
            self._alive.stop()
        self._set_limit(REQUEST_SECONDS)
        self._write(encode_line(reply))
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    async def write(self, data, part=""):
        """Send output; returns when there is room for more, and others had their turn.

        :raises CommandError: nobody takes it.
        """
        for start in range(0, len(data), PORTION):
            portion = data[start : start + PORTION]
            self._write(encode_line(Reply(output=len(portion), part=part)) + portion)
            await self._has_room()

    async def progress(self, objects):
        """Say how many objects are done."""
        self._write(encode_line(Reply(objects=objects)))
        await self._has_room()

    async def _has_room(self):
        if self._room is not None and self._given_up is None:
            self._set_limit(UNREAD_SECONDS)
            await self._room
            self._set_limit(None)
        if self._given_up is not None:
            raise CommandError(self._given_up)
        await deferLater(self._control.reactor, 0)

    def _write(self, data):
        if self.connected:
            self.transport.write(data)

    def _say_alive(self):
        if self._room is None:
            self._write(encode_line(Reply()))

    def _set_limit(self, seconds):
        """Drop the connection after a time; ``None``: not any more."""
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = None
        if seconds is not None and self.connected:
            self._limit = self._control.reactor.callLater(seconds, self.transport.abortConnection)

    def pauseProducing(self):
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self):
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self):
        """The connection is lost, as :meth:`connectionLost` will be told."""

    def stop(self):
        """End what is long, and let the rest finish.

        :returns: a Deferred; fires when the connection is gone.
        """
        if self._work is None:
            self.transport.abortConnection()
        elif self._command is None:
            self._set_limit(STOP_SECONDS)
        else:
            self._give_up("the server stops")
        return self._ended

    def _give_up(self, reason):
        """End a command that has more to write. One that changes something is finished, whoever is there to hear of it."""
        self._given_up = reason
        if self._command is not None and self._command.is_cancelled:
            self._work.cancel()
        self.resumeProducing()

    def connectionLost(self, reason):
        self._set_limit(None)
        self._control.callers.discard(self)
        self._give_up("nobody takes what was asked for")
        self._ended.callback(None)


def _permitted():
    return " and ".join(dict.fromkeys(map(account_of, (0, os.geteuid()))))


def _refusal(reason):
    return encode_line(Reply(error=reason))
