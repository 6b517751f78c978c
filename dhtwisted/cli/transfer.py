"""The commands ``devicehive export`` and ``devicehive import``."""

from __future__ import annotations

from typing import Any, NoReturn

from twisted.internet.task import deferLater, react

from dhtwisted.cli.execution import REPORTED, ServerCommand
from dhtwisted.cli.local_data import opened_storages
from dhtwisted.cli.options import CommandLine, FileCommand
from dhtwisted.cli.output import OutputFile
from dhtwisted.cli.terminal import WorkMonitor, error_line, log_warnings_to_stderr, print_line
from dhtwisted.config.settings import Settings
from dhtwisted.control import export
from dhtwisted.control.export import format_counts
from dhtwisted.errors import TransferError
from dhtwisted.transfer.checking import Checker
from dhtwisted.transfer.files import is_regular, open_input
from dhtwisted.transfer.importing import Import as ImportRun
from dhtwisted.transfer.stream import Reader

OWN_AUTH = "jwt"
"""The auth provider whose password records can be checked."""

LINES_AT_ONCE = 1000
"""Lines of a file that are checked before the reactor handles signals."""

_INCOMPLETE = (
    "the storage now has a part of the data: repeat the import if the export is complete; if it is damaged, delete the storage and import "
    "a good export"
)


class Export(ServerCommand, FileCommand):
    """``devicehive export FILE``."""

    name = "export"
    arguments = "[--force] FILE"
    summary = "write all stored data to a file, and exit"
    longdesc = (
        "Writes users, networks, device types, devices, records of device tokens, configuration, commands and notifications to FILE, as "
        "lines of JSON. FILE is compressed if its name ends in .gz; - is standard output. It contains password hashes, so only its owner "
        "can read it."
    )
    optFlags = [["force", "f", "replace an existing FILE"]]

    def request(self) -> export.Export:
        return export.Export(file=self["file"])

    def output(self) -> OutputFile:
        return OutputFile(self["file"], bool(self["force"]))


class Import(FileCommand):
    """``devicehive import FILE``. No server may run, so the shell does it alone."""

    name = "import"
    arguments = "FILE"
    summary = "store all data of such a file in an empty storage, and exit"
    longdesc = (
        "Stores the data that devicehive export has written to FILE in an empty storage; - is standard input. To continue an interrupted "
        "import, repeat it."
    )

    def run(self, command_line: CommandLine) -> NoReturn:
        log_warnings_to_stderr()
        react(_import, (command_line.settings, self["file"]))
        raise SystemExit(0)  # Not reached: react ends the process.


async def _import(reactor: Any, settings: Settings, file: str) -> None:
    monitor = WorkMonitor(reactor)
    try:
        line = await import_file(reactor, settings, monitor, file)
    except REPORTED as error:
        monitor.clear()
        raise SystemExit(error_line("import", error)) from error
    monitor.clear()
    print_line(line)


async def import_file(reactor: Any, settings: Settings, monitor: WorkMonitor, file: str) -> str:
    """Store all data of a file in the configured storages; nothing, if a client could not have stored all of it.

    :param file: its name, or ``-``.
    :returns: a line that says what was stored.
    """
    any_password = settings.auth.provider.partition(":")[0] != OWN_AUTH
    with open_input(file) as source:
        if is_regular(source):
            await _check(reactor, Reader(source, Checker(any_password).check), monitor)
            source.seek(0)
        reader = Reader(source, Checker(any_password).check)
        async with opened_storages(reactor, settings, monitor) as storages:
            if any(storage.durability == "volatile" for storage in storages):
                raise TransferError("the storage would lose all data at the end of this command: name another with --storage")
            now = int(reactor.seconds() * 1000)
            importing = ImportRun(*storages, reader, now, lambda: monitor.show(sum(reader.counts.values())))
            try:
                await importing.run()
            except REPORTED as error:
                if not importing.begun:
                    raise
                raise TransferError(f"{error}; {_INCOMPLETE}") from error
    again = f"; {importing.found} of them were there already" if importing.found else ""
    return f"Imported from {file}: {format_counts(reader.counts)}{again}."


async def _check(reactor: Any, reader: Reader, monitor: WorkMonitor) -> None:
    """Check a whole file before any of it is stored. A pipe can be read only once: it is checked during the import.

    :raises TransferError: the file is incomplete, or has what no client could have stored; the text names the line.
    """
    for number, _ in enumerate(reader):
        if number % LINES_AT_ONCE == 0:
            monitor.show(0)
            # The reactor handles signals between two portions, so control-C ends it.
            await deferLater(reactor, 0)
