"""Where the lines of the log go: to the place in twistd's command line, else in the configuration, else to standard output."""

from __future__ import annotations

import os
import re
import signal
import sys
import syslog
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.python.logfile import LogFile

from dhtwisted.errors import ConfigurationError
from dhtwisted.logs.append_file import AppendFile, is_moved

FILE_MODE = 0o640
TWISTD_LOG = "twistd.log"
_PRIORITY = re.compile(rb"(?:<([0-7])>)?(.*)", re.DOTALL)


class Destination(Protocol):
    """Where lines go. Each method may raise ``OSError``."""

    def write(self, line: bytes) -> None:
        """Write a line, without its end."""

    def follow(self) -> None:
        """If the file was moved or deleted, continue in a new one."""

    def reopen(self) -> None:
        """Continue in the file that is at the path now."""


class Stream:
    """A standard stream. It is not opened and closed here."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def follow(self) -> None:
        """Do nothing: it cannot be moved."""

    def write(self, line: bytes) -> None:
        """Write a line, without its end."""
        self._stream.flush()
        self._stream.buffer.write(line + b"\n")
        self._stream.buffer.flush()

    def reopen(self) -> None:
        """Do nothing: it stays open."""


class Syslog:
    """The destination of ``twistd --syslog``.

    :param prefix: the name of the program in each line.
    """

    def __init__(self, prefix: str) -> None:
        syslog.openlog(prefix, 0, syslog.LOG_DAEMON)

    def follow(self) -> None:
        """Do nothing: it cannot be moved."""

    def write(self, line: bytes) -> None:
        """Write a line, without its end. It begins with its priority, in the form of the journal."""
        match = _PRIORITY.fullmatch(line)
        assert match is not None  # The expression matches everything.
        priority, text = match.groups()
        syslog.syslog(syslog.LOG_INFO if priority is None else int(priority), text.decode())

    def reopen(self) -> None:
        """Do nothing: it stays open."""


class RotatingFile:
    """The file of ``twistd --logfile``. It is rotated when it is full (1 MB), or by SIGUSR1. If another program has moved or deleted it, a
    new file is created.

    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._file = LogFile.fromFullPath(path)

    def follow(self) -> None:
        """Reopen the file if it is no longer at its path.

        :raises OSError: it cannot be opened.
        """
        if is_moved(self._file.path, self._file._file.fileno()):
            self.reopen()

    def write(self, line: bytes) -> None:
        """Write a line, without its end.

        :raises OSError: it cannot be written.
        """
        self.follow()
        self._file.write(line + b"\n")
        self._file.flush()

    def reopen(self) -> None:
        """Continue in the file that is at the path now.

        :raises OSError: it cannot be opened; the old file stays open.
        """
        file = LogFile.fromFullPath(self._file.path)
        self._file.close()
        self._file = file

    def rotate(self) -> None:
        """Rename the file, and continue in a new one."""
        self._file.rotate()


def open_destination(twistd_options: Mapping[str, Any] | None, configured: str) -> Destination:
    """Open where the log goes.

    :param twistd_options: the options before the word ``devicehive`` on the command line; ``None`` for none.
    :param configured: ``[log] file``.
    :raises ConfigurationError: it cannot be opened.
    """
    options = twistd_options or {}
    if options.get("syslog"):
        return Syslog(options.get("prefix") or "devicehive")
    given = options.get("logfile") or ""
    is_foreground = bool(options.get("nodaemon", True))
    if given == "-" and not is_foreground:
        raise ConfigurationError("--logfile: a daemon has no standard output; name a file")
    if given == "-" or (is_foreground and not (given or configured)):
        return Stream(sys.stdout)
    path = given or configured or TWISTD_LOG
    try:
        return AppendFile(path, FILE_MODE) if configured and not given else _open_rotating(path)
    except OSError as error:
        place = "--logfile" if given else "log.file" if configured else "log"
        raise ConfigurationError(f"{place}: {path} cannot be written ({error.strerror})") from error


def takes_priority(destination: Destination) -> bool:
    """Whether lines must begin with their priority: for syslog, and if systemd writes them to its journal."""
    return isinstance(destination, Syslog) or (isinstance(destination, Stream) and is_kept(sys.__stdout__))


def is_kept(stream: Any) -> bool:
    """Whether systemd writes a stream to its journal. ``JOURNAL_STREAM`` has the device and inode of such a stream."""
    try:
        status = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _open_rotating(path: str) -> RotatingFile:
    file = RotatingFile(path)
    if not signal.getsignal(signal.SIGUSR1):
        # twistd does the same.
        signal.signal(signal.SIGUSR1, lambda number, frame: _from_reactor(file.rotate))
    return file


def _from_reactor(function: Callable[[], None]) -> None:
    from twisted.internet import reactor

    reactor.callFromThread(function)  # type: ignore[attr-defined] # The type of the reactor is not declared.
