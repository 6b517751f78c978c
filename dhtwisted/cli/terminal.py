"""What the person at the terminal sees and does: lines on standard error, progress, signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogBeginner, textFileLogObserver

from dhtwisted.errors import TransferError

OPENING_SECONDS = 30
"""Seconds until a storage must be open."""

LONGEST_REASON = 500
"""Characters of an error. It can quote any bytes of a file."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = "ended by a signal"

T = TypeVar("T")


class Progress:
    """Shows on a terminal how many objects are done.

    :param seconds: returns the time.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._shown: int | None = None

    def show(self, objects: int) -> None:
        """Show how many objects are done, once a second."""
        now = int(self._seconds())
        if sys.stderr.isatty() and now != self._shown:
            self._shown = now
            sys.stderr.write(f"\r{objects} objects")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for the last line."""
        if self._shown is not None:
            sys.stderr.write("\r")


class WorkMonitor(Progress):
    """Shows the progress of local work, and ends it when SIGINT or SIGTERM comes.

    A signal takes effect between two portions of work. A second signal ends the process at once, in case the work waits for a stream or a
    database.

    :param reactor: returns the time. Its handlers of signals are replaced after it has set them.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor.seconds)
        self._reactor = reactor
        self._is_interrupted = False
        self._waiting: Deferred[Any] | None = None
        reactor.callWhenRunning(self._handle_signals)

    def show(self, objects: int) -> None:
        """Show how many objects are done.

        :raises TransferError: a signal came, so the work must end.
        """
        if self._is_interrupted:
            raise TransferError(INTERRUPTED)
        super().show(objects)

    async def wait_until_open(self, opening: Deferred[T]) -> T:
        """Wait until the storages are open. A server would wait for ever.

        :raises TransferError: a signal came, or it took too long.
        """
        try:
            return await self.wait_for(opening.addTimeout(OPENING_SECONDS, self._reactor))
        except TimeoutError as error:
            raise TransferError(f"the storage could not be opened within {OPENING_SECONDS} seconds") from error

    async def wait_for(self, work: Deferred[T]) -> T:
        """Wait for work that a signal cancels.

        :raises TransferError: a signal came.
        """
        self._waiting = work
        try:
            return await work
        except CancelledError as error:
            raise TransferError(INTERRUPTED) from error
        finally:
            self._waiting = None

    def _handle_signals(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        signal.signal(number, signal.SIG_DFL)
        if self._waiting is not None:
            self._reactor.callFromThread(self._waiting.cancel)


@contextmanager
def interrupted_by_signals(reason: str = INTERRUPTED) -> Iterator[None]:
    """Let a signal end a block that runs without a reactor. A second signal ends the process.

    :param reason: the text of the error.
    :raises TransferError: a signal came.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise TransferError(reason)

    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_warnings_to_stderr() -> None:
    """Write the warnings of the storages, and the traceback of a defect, to standard error."""
    levels = LogLevelFilterPredicate(LogLevel.critical)
    levels.setLogLevelForNamespace("dhtwisted", LogLevel.warn)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [levels])
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)


def print_line(line: str | None) -> None:
    """Write a line to standard error; nothing for ``None``."""
    if line:
        sys.stderr.write(f"{line}\n")


def error_line(name: str, error: object) -> str:
    """The line for a command that failed.

    :param name: the name of the command, such as ``user add``.
    """
    return f"devicehive {name}: {in_one_line(error)}"


def in_one_line(error: object) -> str:
    """The text of an error as one line. Characters that could control the terminal are escaped."""
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
    return text if text.isprintable() else ascii(text)
