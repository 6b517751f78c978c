"""The server's end of the process that writes the file: starting it, handing it commits, noticing its end."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from dhtwisted.errors import WriterLost
from dhtwisted.providers.sqlite.inspection import MARK
from dhtwisted.providers.sqlite.steps import END, LENGTH, content_of, length_of

_PACKAGES = str(Path(__file__).parents[3])
_PROGRAM = f"""{MARK}
import sys; sys.path.append({_PACKAGES!r})
from dhtwisted.providers.sqlite.program import main; main()
"""
COMMAND = (sys.executable or "python3", "-S", "-P", "-c", _PROGRAM)
"""How the program is started. It imports nothing but the standard library and this package: without the other packages it starts in half
the time, and nothing in the current directory can take the place of a module."""

FOR_THE_SERVER = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""Signals that a terminal or a supervisor sends to all of a group: the server then stops, and needs its writer to the last."""


class WriterProcess(Protocol):
    """A process that does lists of steps, one list at a time. It exists from the beginning.

    :param reactor: tells what comes from it.
    :param path: of the file.
    :param lock: a descriptor of the lock on the file, to be held by the process as well.
    :ivar ended: a Deferred of ``None``; fires when it has ended, before the Deferred of what it was asked for fails.
    :ivar end: how it did, for the log.
    :raises WriterLost: it cannot be started.
    """

    def __init__(self, reactor, path, lock):
        self._received = bytearray()
        self._answer = None
        self.ended = Deferred()
        self.end = None
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = _start(path, lock, theirs)
            ours.setblocking(False)
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: self))

    def send(self, steps):
        """Have steps done; only when those before are answered.

        :param steps: a frame.
        :returns: a Deferred of the answer. It fails with :class:`~dhtwisted.errors.WriterLost` when the process ends before: then all is
            done, or nothing.
        """
        self._answer = done = Deferred()
        if self._process is None:
            self._lose()
        else:
            self._write(steps)
        return done

    def stop(self):
        """Have the process close the file and end. Nothing is under way.

        :returns: a Deferred of ``None``, when the process has ended.
        """
        if self._process is not None:
            self._write(END)
        return self.ended

    def kill(self):
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    def dataReceived(self, data):
        """Take a part of an answer."""
        self._received += data
        if len(self._received) >= LENGTH and len(self._received) == LENGTH + length_of(self._received):
            answer = content_of(self._received[LENGTH:])
            self._received.clear()
            done, self._answer = self._answer, None
            done.callback(answer)

    def connectionLost(self, reason):
        """The process has ended, or is of no use."""
        process, self._process = self._process, None
        process.kill()
        status = process.wait()
        self.end = f"ended with status {status}" if status >= 0 else f"been ended by signal {-status}"
        self.ended.callback(None)
        if self._answer is not None:
            self._lose()

    def _write(self, data):
        """Send at once what the socket takes: the transport's own way would be one turn of the reactor longer."""
        sent = self.transport.writeSomeData(data)
        if sent != len(data):
            self.transport.write(data[sent:] if isinstance(sent, int) else data)

    def _lose(self):
        done, self._answer = self._answer, None
        done.errback(Failure(WriterLost(f"the process that writes the storage file has {self.end}")))


def _start(path, lock, connection):
    """Start the program. It inherits which signals are blocked, so it has these blocked from its first moment on."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_SERVER)
    try:
        return subprocess.Popen([*COMMAND, path], stdin=connection, stdout=subprocess.DEVNULL, pass_fds=[lock])
    except OSError as error:
        raise WriterLost(f"the process that writes the storage file cannot be started: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
