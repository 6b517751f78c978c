"""The shell's dealings with the person in front of it: lines on standard error, how far a command is, signals."""

import signal
import sys
from contextlib import contextmanager

from twisted.internet.defer import CancelledError, TimeoutError
from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogBeginner, textFileLogObserver

from dhtwisted.errors import TransferError

PATIENCE = 30
"""Seconds until a storage must be open."""

LONGEST_REASON = 500
"""Characters of an error: it may quote from a file that holds anything."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ENDED = "ended by a signal"


class Progress:
    """Shows on a terminal how far a command is.

    :param seconds: gives the time.
    """

    def __init__(self, seconds):
        self._seconds = seconds
        self._shown = None

    def look(self, objects):
        """Be told how many objects are done."""
        now = int(self._seconds())
        if sys.stderr.isatty() and now != self._shown:
            self._shown = now
            sys.stderr.write(f"\r{objects} objects")
            sys.stderr.flush()

    def clear(self):
        """Make room for the line at the end."""
        if self._shown is not None:
            sys.stderr.write("\r")


class Watch(Progress):
    """Looks up between two portions of work: shows how far it is, and ends it when SIGINT or SIGTERM came.

    A second signal ends the process at once, as one must when the work waits for a stream or a database.

    :param reactor: gives the time; its own handlers of signals are replaced once it has set them.
    """

    def __init__(self, reactor):
        super().__init__(reactor.seconds)
        self._reactor = reactor
        self._signalled = False
        self._waiting = None
        reactor.callWhenRunning(self._take_signals)

    def look(self, objects):
        """Go on, or not.

        :param objects: how many are done.
        :raises TransferError: a signal came.
        """
        if self._signalled:
            raise TransferError(ENDED)
        super().look(objects)

    async def wait_for(self, opening):
        """Wait for the storages to be opened, but not as a server would, for ever.

        :raises TransferError: a signal came, or it took too long.
        """
        try:
            return await self.until(opening.addTimeout(PATIENCE, self._reactor))
        except TimeoutError as error:
            raise TransferError(f"the storage was not there for {PATIENCE} seconds") from error

    async def until(self, work):
        """Wait for a Deferred, which a signal cancels.

        :raises TransferError: one came.
        """
        self._waiting = work
        try:
            return await work
        except CancelledError as error:
            raise TransferError(ENDED) from error
        finally:
            self._waiting = None

    def _take_signals(self):
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number, frame):
        self._signalled = True
        signal.signal(number, signal.SIG_DFL)
        if self._waiting is not None:
            self._reactor.callFromThread(self._waiting.cancel)


@contextmanager
def ended_by_signals(words=ENDED):
    """Have a signal end the block, which runs without a reactor; a second one ends the process.

    :raises TransferError: one came.
    """

    def end(number, frame):
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise TransferError(words)

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show_warnings():
    """Have what the storages warn of, and the traceback of a defect, written to standard error."""
    levels = LogLevelFilterPredicate(LogLevel.critical)
    levels.setLogLevelForNamespace("dhtwisted", LogLevel.warn)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [levels])
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)


def tell(line):
    """Write a line to standard error; ``None`` is none."""
    if line:
        sys.stderr.write(f"{line}\n")


def failure(name, error):
    """The line of a command that could not be done."""
    return f"devicehive {name}: {in_one_line(error)}"


def in_one_line(error):
    """The text of an error as one line that a terminal can show."""
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
    return text if text.isprintable() else ascii(text)
