"""The server's side of the process that writes the file: starts it, sends it commits, notices its end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorSocket
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from dhtwisted.errors import WriterLost
from dhtwisted.providers.sqlite.inspection import MARK
from dhtwisted.providers.sqlite.steps import END, LENGTH, content_of, length_of

if TYPE_CHECKING:
    from dhtwisted.providers.sqlite.steps import Answer


_PACKAGES = str(Path(__file__).parents[3])
_PROGRAM = f"""{MARK}
import sys; sys.path.append({_PACKAGES!r})
from dhtwisted.providers.sqlite.program import main; main()
"""
COMMAND = (sys.executable or "python3", "-S", "-P", "-c", _PROGRAM)
"""Starts the program without site packages, which takes half the time. It imports the standard library and this package only. ``-P`` keeps
files in the current directory from being imported instead of modules."""

FOR_THE_SERVER = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""Signals that a terminal or a supervisor sends to all processes of a group. The process that writes ignores them, because the server needs
it until it has stopped."""


class WriterProcess(Protocol):
    """A process that executes lists of steps, one list at a time. The constructor starts it.

    :param reactor: receives its answers.
    :param path: of the data file.
    :param lock: descriptor of the lock on the file. The process holds the lock too.
    :ivar ended: fires when the process has ended, before the Deferred of an unanswered list fails.
    :ivar end: how it ended, in words, for the log.
    :raises WriterLost: it cannot be started.
    """

    def __init__(self, reactor: IReactorSocket, path: str, lock: int) -> None:
        self._received = bytearray()
        self._answer: Deferred[Answer] | None = None
        self.ended: Deferred[None] = Deferred()
        self.end = ""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process: subprocess.Popen[bytes] | None = _start(path, lock, theirs)
            ours.setblocking(False)
            factory: Any = Factory.forProtocol(lambda: self)
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)

    def send(self, steps: bytes) -> Deferred[Answer]:
        """Send steps. The answer to those before must have come.

        :param steps: a frame.
        :returns: a Deferred of the answer. It fails with :class:`~dhtwisted.errors.WriterLost` if the process ends without an answer. Then
            all steps were executed, or none.
        """
        done: Deferred[Answer] = Deferred()
        self._answer = done
        if self._process is None:
            self._fail()
        else:
            self._write(steps)
        return done

    def stop(self) -> Deferred[None]:
        """Ask the process to close the file and end. No steps may be unanswered.

        :returns: fires when the process has ended.
        """
        if self._process is not None:
            self._write(END)
        return self.ended

    def kill(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()

    def dataReceived(self, data: bytes) -> None:
        """Receive a part of an answer."""
        self._received += data
        if len(self._received) >= LENGTH and len(self._received) == LENGTH + length_of(self._received):
            answer = content_of(self._received[LENGTH:])
            self._received.clear()
            done, self._answer = self._answer, None
            if done is not None:
                done.callback(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone: the process has ended, or is useless."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        status = process.wait()
        self.end = f"ended with status {status}" if status >= 0 else f"been ended by signal {-status}"
        self.ended.callback(None)
        self._fail()

    def _write(self, data: bytes) -> None:
        """Send at once what the socket takes. The transport would wait for the next turn of the reactor."""
        transport: Any = self.transport
        sent = transport.writeSomeData(data)
        if sent != len(data):
            transport.write(data[sent:] if isinstance(sent, int) else data)

    def _fail(self) -> None:
        done, self._answer = self._answer, None
        if done is not None:
            done.errback(Failure(WriterLost(f"the process that writes the storage file has {self.end}")))


def _start(path: str, lock: int, connection: socket.socket) -> subprocess.Popen[bytes]:
    """Start the program. It inherits the blocked signals, so they are blocked from its first moment."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_SERVER)
    try:
        return subprocess.Popen([*COMMAND, path], stdin=connection.fileno(), stdout=subprocess.DEVNULL, pass_fds=[lock])
    except OSError as error:
        raise WriterLost(f"the process that writes the storage file cannot be started: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
