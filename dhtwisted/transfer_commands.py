"""``devicehive export FILE`` and ``devicehive import FILE``: open the storages as the server does, move everything, and end."""

import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import react
from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogBeginner, textFileLogObserver

from dhtwisted import __version__
from dhtwisted.doctor.data import file_path
from dhtwisted.errors import TransferError
from dhtwisted.model import EntityQuery, User
from dhtwisted.opening import open_storages
from dhtwisted.service import MENDABLE
from dhtwisted.timestamps import format_timestamp
from dhtwisted.transfer.exporting import export_all
from dhtwisted.transfer.files import open_input, open_output
from dhtwisted.transfer.importing import Import
from dhtwisted.transfer.stream import Reader, Writer

PATIENCE = 30
"""Seconds until a storage must be open."""

LONGEST_REASON = 500
"""Characters of an error: it may quote from a file that holds anything."""


def run(options):
    """Do what the subcommand says, and end the process: with status 0, or with 1 after one line on standard error.

    :param options: a parsed :class:`~dhtwisted.tap.Options` with a subcommand.
    """
    show_warnings()
    react(_run, (options.settings, options.subCommand, options.subOptions))


async def _run(reactor, settings, name, options):
    watch = Watch(reactor)
    work = {"export": export_file, "import": import_file}[name]
    try:
        line = await work(reactor, settings, watch, **options)
    except (TransferError, *MENDABLE) as error:
        watch.clear()
        raise SystemExit(f"devicehive: cannot {name}: {in_one_line(error)}") from error
    watch.clear()
    sys.stderr.write(f"{line}\n")


async def export_file(reactor, settings, watch, file, force):
    """Write all that the configured storages hold into a file.

    :param watch: a :class:`Watch`.
    :param file: its name, or ``-``.
    :param force: whether it may be there already.
    :returns: a line that says what was written.
    """
    need_file(settings)
    async with opened(reactor, settings, watch) as (storage, messages):
        if not await storage.count(User, EntityQuery()):
            raise TransferError("the storage has no users, so no server has worked on it: name the right one with --storage or --config")
        with open_output(file, force) as output:
            writer = Writer(output.write, __version__, format_timestamp(int(reactor.seconds() * 1000)))
            await export_all(storage, messages, writer, lambda: watch.look(writer.counts))
    return f"Exported to {file}: {_told(writer.counts)}."


def need_file(settings):
    """Make no data file where one is misspelt.

    :raises TransferError: there is none.
    """
    path = file_path(settings.storage.provider)
    if path is None:
        return
    try:
        os.stat(path)
    except FileNotFoundError as error:
        raise TransferError(
            f"there is no data file {path}: start a server first, or name the right one with --storage or --config"
        ) from error


async def import_file(reactor, settings, watch, file):
    """Put all that a file holds into the configured storages.

    :param watch: a :class:`Watch`.
    :param file: its name, or ``-``.
    :returns: a line that says what was stored.
    """
    with open_input(file) as source:
        reader = Reader(source)
        async with opened(reactor, settings, watch) as storages:
            if any(storage.durability == "volatile" for storage in storages):
                raise TransferError("the storage would forget everything when this command ends: name another with --storage")
            importing = Import(*storages, reader, int(reactor.seconds() * 1000), lambda: watch.look(reader.counts))
            try:
                await importing.run()
            except (TransferError, *MENDABLE) as error:
                if not importing.begun:
                    raise
                raise TransferError(f"{error}; the storage has a part now: import the same export again, or delete that storage") from error
    again = f"; {importing.found} of them were there already" if importing.found else ""
    return f"Imported from {file}: {_told(reader.counts)}{again}."


class Watch:
    """Looks up between two portions of work: shows on a terminal how far it is, and ends it when SIGINT or SIGTERM came.

    A second signal ends the process at once, as one must when the work waits for a stream or a database.

    :param reactor: gives the time; its own handlers of signals are replaced once it has set them.
    """

    def __init__(self, reactor):
        self._reactor = reactor
        self._signalled = False
        self._shown = None
        self._opening = None
        reactor.callWhenRunning(self._take_signals)

    def look(self, counts):
        """Go on, or not.

        :param counts: name of a kind -> how many objects are done.
        :raises TransferError: a signal came.
        """
        if self._signalled:
            raise TransferError("ended by a signal")
        now = int(self._reactor.seconds())
        if sys.stderr.isatty() and now != self._shown:
            self._shown = now
            sys.stderr.write(f"\r{sum(counts.values())} objects")
            sys.stderr.flush()

    async def wait_for(self, opening):
        """Wait for the storages to be opened, but not as a server would, for ever.

        :raises TransferError: a signal came, or it took too long.
        """
        self._opening = opening
        try:
            return await opening.addTimeout(PATIENCE, self._reactor)
        except CancelledError as error:
            raise TransferError("ended by a signal") from error
        except TimeoutError as error:
            raise TransferError(f"the storage was not there for {PATIENCE} seconds") from error
        finally:
            self._opening = None

    def clear(self):
        """Make room for the line at the end."""
        if self._shown is not None:
            sys.stderr.write("\r")

    def _take_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number, frame):
        self._signalled = True
        signal.signal(number, signal.SIG_DFL)
        if self._opening is not None:
            self._reactor.callFromThread(self._opening.cancel)


@asynccontextmanager
async def opened(reactor, settings, watch):
    """Have the storages open in a block; what was accepted is finished at its end, however it ends."""
    async with AsyncExitStack() as stack:
        opening = open_storages(reactor, settings, lambda role, close: stack.push_async_callback(close))
        yield await watch.wait_for(Deferred.fromCoroutine(opening))


def show_warnings():
    """Have what the storages warn of, and the traceback of a defect, written to standard error."""
    levels = LogLevelFilterPredicate(LogLevel.critical)
    levels.setLogLevelForNamespace("dhtwisted", LogLevel.warn)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [levels])
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)


def _told(counts):
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())


def in_one_line(error):
    """The text of an error as one line that a terminal can show."""
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
    return text if text.isprintable() else ascii(text)
