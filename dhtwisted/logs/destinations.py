"""Where the lines of the log go: what the command line of twistd says, else what the configuration says, else standard output."""

import os
import re
import signal
import sys
import syslog

from twisted.python.logfile import LogFile

from dhtwisted.errors import ConfigurationError
from dhtwisted.logs.append_file import AppendFile, is_moved

FILE_MODE = 0o640
TWISTD_LOG = "twistd.log"
_PRIORITY = re.compile(rb"(?:<([0-7])>)?(.*)", re.DOTALL)


class Stream:
    """A standard stream, which somebody else opened and closes."""

    def __init__(self, stream):
        self._stream = stream

    def follow(self):
        """It cannot be moved."""

    def write(self, line):
        """Write a line, given as bytes without its end."""
        self._stream.flush()
        self._stream.buffer.write(line + b"\n")
        self._stream.buffer.flush()

    def reopen(self):
        """There is nothing to be opened again."""


class Syslog:
    """What ``twistd --syslog`` asks for.

    :param prefix: the name of the program in each line.
    """

    def __init__(self, prefix):
        syslog.openlog(prefix, 0, syslog.LOG_DAEMON)

    def follow(self):
        """It cannot be moved."""

    def write(self, line):
        """Write a line, given as bytes without its end, with its priority in front as the journal has it."""
        priority, text = _PRIORITY.fullmatch(line).groups()
        syslog.syslog(syslog.LOG_INFO if priority is None else int(priority), text.decode())

    def reopen(self):
        """There is nothing to be opened again."""


class RotatingFile:
    """The file of ``twistd --logfile``: it is moved aside when it is full (1 MB), or by SIGUSR1. When somebody else has moved or deleted
    it, another is made.

    :raises OSError: it cannot be opened.
    """

    def __init__(self, path):
        self._file = LogFile.fromFullPath(path)

    def follow(self):
        """Reopen the file if it is no longer where it was.

        :raises OSError: it cannot be opened.
        """
        if is_moved(self._file.path, self._file._file.fileno()):
            self.reopen()

    def write(self, line):
        """Write a line, given as bytes without its end.

        :raises OSError: it cannot be written.
        """
        self.follow()
        self._file.write(line + b"\n")
        self._file.flush()

    def reopen(self):
        """Go on in the file that has the path now.

        :raises OSError: it cannot be opened; what was open stays so.
        """
        file = LogFile.fromFullPath(self._file.path)
        self._file.close()
        self._file = file

    def rotate(self):
        """Move it aside, and go on in another."""
        self._file.rotate()


def open_destination(twistd_options, configured):
    """Open where the log goes.

    :param twistd_options: those that stand before the word ``devicehive`` on the command line; ``None`` where there are none.
    :param configured: ``[log] file``.
    :returns: an object with ``write(line)``, ``reopen()``, and ``follow()``, which goes on in a new file when somebody has moved the old
        one. Each may raise ``OSError``.
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


def takes_priority(destination):
    """Whether lines are to begin with their priority: for syslog, and where systemd takes what is written into its journal."""
    return isinstance(destination, Syslog) or (isinstance(destination, Stream) and is_kept(sys.__stdout__))


def is_kept(stream):
    """Whether systemd takes a stream into its journal. It names the journal's end by device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _open_rotating(path):
    file = RotatingFile(path)
    if not signal.getsignal(signal.SIGUSR1):
        # As twistd does it.
        signal.signal(signal.SIGUSR1, lambda number, frame: _from_reactor(file.rotate))
    return file


def _from_reactor(function):
    from twisted.internet import reactor

    reactor.callFromThread(function)
