"""The log of this process: takes the events of ``twisted.logger``, and writes a line for each one that is wanted."""

import sys
import time
from functools import partial

from twisted.logger import ILogObserver, LogLevel
from twisted.python.components import Componentized
from zope.interface import implementer

from dhtwisted.logs.destinations import open_destination, takes_priority
from dhtwisted.logs.line_limit import LineLimit
from dhtwisted.logs.lines import LEVELS, JsonLines, TextLines, level_of
from dhtwisted.logs.tracing import NAMESPACE as TRACE

PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
"""As syslog and the journal number them."""

LEFT_OUT = "{count} more lines like this were left out within a minute: {line}"


@implementer(ILogObserver)
class LineObserver:
    """Writes a line for each event, whatever is in it.

    :param lines: how they look: its ``line(event)`` returns text.
    :param destination: where they go: its ``write(line)`` takes bytes.
    :param level: the lowest that is wanted: ``debug``, ``info``, ``warn`` or ``error``.
    :param clock: gives the time in seconds.
    :param has_priority: begin each line with ``<4>`` and the like, by which journald and ``Syslog`` know its level.
    """

    def __init__(self, lines, destination, level, clock=time.monotonic, has_priority=False):
        self._has_priority = has_priority
        self._lines = lines
        self._destination = destination
        self._limit = LineLimit(clock)
        self._is_failing = False
        self.set_level(level)

    def set_level(self, level):
        """Write what is at least as important from now on."""
        self._lowest = LEVELS[level]

    def __call__(self, event):
        namespace = event.get("log_namespace")
        # Of a stranger's event it may be anything, also what raises when it is compared.
        if type(namespace) is str and namespace == TRACE:
            # The operator has asked for each of them.
            self._write(event)
            return
        level = level_of(event)
        if LEVELS[level] < self._lowest:
            return
        self.tell_left_out()
        kind = _kind(event, level)
        if self._limit.admits(kind, level):
            self._write(event)

    def tell_left_out(self, at_once=False):
        """Say how many lines there were too many of a kind, when their minute is over.

        :param at_once: also before it is.
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

    def reopen(self):
        """Go on in the file that has the path now, after somebody has moved the other one."""
        self._destination.reopen()

    def problem(self):
        """See :meth:`ProcessLog.problem`."""
        try:
            self._destination.follow()
        except OSError as error:
            return f"its file was moved or deleted, and cannot be made again ({error}); let the server write there"
        return ""

    def _write(self, event):
        try:
            line = self._lines.line(event).encode(errors="backslashreplace")
        except Exception as error:
            # Of objects that nobody has thought of. An observer that raises would be silenced, or lose the event.
            line = f"an event cannot be written ({type(error).__name__})".encode()
        line = b"<%d>%b" % (PRIORITIES[level_of(event)], line) if self._has_priority else line
        try:
            self._destination.write(line)
        except OSError as error:
            self._write_elsewhere(line, error)
        else:
            self._is_failing = False

    def _write_elsewhere(self, line, error):
        """An observer that raises would lose the line in silence. Standard error is the journal, a terminal, or nothing."""
        if sys.__stderr__ is None:
            return
        if not self._is_failing:
            self._is_failing = True
            sys.__stderr__.write(f"The log cannot be written, and comes here until it can: {error}\n")
        sys.__stderr__.write(f"{line.decode(errors='backslashreplace')}\n")
        sys.__stderr__.flush()


def _kind(event, level):
    """What lines have in common that differ only in their values."""
    namespace, form = event.get("log_namespace"), event.get("log_format")
    if not isinstance(form, str) or form in ("{log_text}", "{text}", "{log_io}"):
        form = ""
    return namespace if isinstance(namespace, str) else "", level, form


class ProcessLog:
    """The log of a process that is one server.

    :param settings: the whole configuration.
    :param twistd_options: those of twistd's command line; ``None`` where there are none.
    """

    def __init__(self, settings, twistd_options=None):
        self._settings = settings
        self._options = twistd_options or {}
        self._observer = None

    def install(self, application):
        """Have twistd begin to log by this. What was logged before is kept by Twisted until then, and comes first.

        With ``twistd --logger`` that one says how the log looks, and where it goes.

        :param application: what twistd makes of the service.
        :raises ConfigurationError: the file cannot be opened.
        """
        if not isinstance(application, Componentized) or self._options.get("logger"):
            return
        settings = self._settings.log
        destination = open_destination(self._options, settings.file)
        lines = JsonLines() if settings.format == "json" else TextLines()
        self._observer = LineObserver(lines, destination, settings.level, has_priority=takes_priority(destination))
        application.setComponent(ILogObserver, self._observer)

    def reloadable(self, settings):
        """See :attr:`~dhtwisted.config.reloading.Reloading.reloadables`."""
        return partial(self._take_settings, settings)

    def _take_settings(self, settings):
        if self._observer is not None:
            self._observer.set_level(settings.log.level)

    def reopen(self):
        """Go on in the file that has the path now.

        :raises OSError: it cannot be opened; the log goes on in the old one.
        """
        if self._observer is not None:
            self._observer.reopen()

    def problem(self):
        """Go on in a new file when somebody has moved or deleted the old one.

        :returns: what is wrong when that cannot be, in one line; empty when nothing is.
        """
        return "" if self._observer is None else self._observer.problem()

    def finish(self):
        """Say what is still to be said, at the end."""
        if self._observer is not None:
            self._observer.tell_left_out(at_once=True)
