"""The log of this process: it receives the events of ``twisted.logger``, and writes a line for each that is important enough."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.logger import ILogObserver, LogLevel
from twisted.python.components import Componentized
from zope.interface import implementer

from dhtwisted.logs.destinations import Destination, open_destination, takes_priority
from dhtwisted.logs.line_limit import LineLimit
from dhtwisted.logs.lines import LEVELS, Event, JsonLines, Lines, TextLines, level_of
from dhtwisted.logs.tracing import NAMESPACE as TRACE

PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
"""The numbers of syslog and of the journal."""

LEFT_OUT = "{count} more lines like this were left out within a minute: {line}"


@implementer(ILogObserver)
class LineObserver:
    """Writes a line for each event, with any objects in it.

    :param lines: the form of the lines.
    :param destination: where they go.
    :param level: the lowest level: ``debug``, ``info``, ``warn`` or ``error``.
    :param clock: returns the time in seconds.
    :param has_priority: begin each line with its priority, such as ``<4>``, for journald and ``Syslog``.
    """

    def __init__(
        self,
        lines: Lines,
        destination: Destination,
        level: str,
        clock: Callable[[], float] = time.monotonic,
        has_priority: bool = False,
    ) -> None:
        self._has_priority = has_priority
        self._lines = lines
        self._destination = destination
        self._limit = LineLimit(clock)
        self._is_failing = False
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """From now on write events of this level and above."""
        self._lowest = LEVELS[level]

    def __call__(self, event: Event) -> None:
        namespace = event.get("log_namespace")
        # In an event of a library it can be anything, even an object that raises when it is compared.
        if type(namespace) is str and namespace == TRACE:
            # The operator wants every line of a trace.
            self._write(event)
            return
        level = level_of(event)
        if LEVELS[level] < self._lowest:
            return
        self.report_left_out()
        kind = _kind(event, level)
        if self._limit.admits(kind, level):
            self._write(event)

    def report_left_out(self, at_once: bool = False) -> None:
        """Log how many lines of each kind were left out, when their minute is over.

        :param at_once: also before it is over.
        """
        for kind, count in self._limit.left_out(at_once):
            namespace, level, line = kind or ("", "info", "of various kinds")
            self._write(
                {
                    "log_level": LogLevel.levelWithName(level),
                    "log_namespace": namespace,
                    "log_time": time.time(),
                    "log_format": LEFT_OUT,
                    "count": count,
                    "line": line,
                }
            )

    def reopen(self) -> None:
        """Continue in the file that is at the path now."""
        self._destination.reopen()

    def problem(self) -> str:
        """See :meth:`ProcessLog.problem`."""
        try:
            self._destination.follow()
        except OSError as error:
            return f"its file was moved or deleted, and cannot be created again ({error}); give the server the right to write there"
        return ""

    def _write(self, event: Event) -> None:
        try:
            line = self._lines.line(event).encode(errors="backslashreplace")
        except Exception as error:
            # An object that nobody expected. If an observer raises, Twisted silences it or loses the event.
            line = f"an event cannot be written ({type(error).__name__})".encode()
        line = b"<%d>%b" % (PRIORITIES[level_of(event)], line) if self._has_priority else line
        try:
            self._destination.write(line)
        except OSError as error:
            self._write_to_stderr(line, error)
        else:
            self._is_failing = False

    def _write_to_stderr(self, line: bytes, error: OSError) -> None:
        """Write a line to standard error, so that it is not lost: that is the journal, a terminal, or nothing."""
        if sys.__stderr__ is None:
            return
        if not self._is_failing:
            self._is_failing = True
            sys.__stderr__.write(f"The log cannot be written, so it appears here: {error}\n")
        sys.__stderr__.write(f"{line.decode(errors='backslashreplace')}\n")
        sys.__stderr__.flush()


def _kind(event: Event, level: str) -> tuple[str, str, str]:
    """What is the same in lines that differ only in their values."""
    namespace, form = event.get("log_namespace"), event.get("log_format")
    if not isinstance(form, str) or form in ("{log_text}", "{text}", "{log_io}"):
        form = ""
    return namespace if isinstance(namespace, str) else "", level, form


class ProcessLog:
    """The log of a process that is one server.

    :param settings: the whole configuration.
    :param twistd_options: the options of twistd; ``None`` for none.
    """

    def __init__(self, settings: Any, twistd_options: Mapping[str, Any] | None = None) -> None:
        self._settings = settings
        self._options = twistd_options or {}
        self._observer: LineObserver | None = None

    def install(self, application: object) -> None:
        """Make twistd log with this observer. Twisted keeps what was logged before, and passes it on first.

        ``twistd --logger`` takes precedence.

        :param application: which twistd has made of the service.
        :raises ConfigurationError: the file cannot be opened.
        """
        if not isinstance(application, Componentized) or self._options.get("logger"):
            return
        settings = self._settings.log
        destination = open_destination(self._options, settings.file)
        lines: Lines = JsonLines() if settings.format == "json" else TextLines()
        self._observer = LineObserver(lines, destination, settings.level, has_priority=takes_priority(destination))
        application.setComponent(ILogObserver, self._observer)

    def reloadable(self, settings: Any) -> Callable[[], None]:
        """See :attr:`~dhtwisted.config.reloading.Reloading.reloadables`."""
        return partial(self._apply, settings)

    def _apply(self, settings: Any) -> None:
        if self._observer is not None:
            self._observer.set_level(settings.log.level)

    def reopen(self) -> None:
        """Continue in the file that is at the path now.

        :raises OSError: it cannot be opened; the log continues in the old file.
        """
        if self._observer is not None:
            self._observer.reopen()

    def problem(self) -> str:
        """If the file was moved or deleted, continue in a new one.

        :returns: one line that says what is wrong; empty if nothing is.
        """
        return "" if self._observer is None else self._observer.problem()

    def finish(self) -> None:
        """Log at the end how many lines were left out."""
        if self._observer is not None:
            self._observer.report_left_out(at_once=True)
