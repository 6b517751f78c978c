"""``devicehive export``, ``import``, ``backup`` and ``status``: from the command line to what is to be done."""

from twisted.internet.task import deferLater, react

from dhtwisted.cli.execution import TOLD, opened, perform
from dhtwisted.cli.sinks import BackupFiles, OneFile, StandardOutput
from dhtwisted.cli.terminal import Watch, failure, show_warnings, tell
from dhtwisted.control.backup import Backup
from dhtwisted.control.export import Export, told
from dhtwisted.control.status import Status
from dhtwisted.errors import TransferError
from dhtwisted.transfer.checking import Checker
from dhtwisted.transfer.files import is_regular, open_input
from dhtwisted.transfer.importing import Import
from dhtwisted.transfer.stream import Reader

OWN_AUTH = "jwt"
"""The provider whose password records are known."""

LOOKED_AT_ONCE = 1000
"""Lines."""

_PART = "the storage has a part now: import the same export again if it is whole; if it is damaged, delete that storage and take a good one"


def run(options):
    """Do what the subcommand says, and end the process: with status 0, or with 1 after one line on standard error.

    :param options: a parsed :class:`~dhtwisted.tap.Options` with a subcommand.
    """
    name, given, settings = options.subCommand, options.subOptions, options.settings
    if name == "export":
        perform(settings, Export(file=given["file"]), OneFile(given["file"], given["force"]))
    elif name == "backup":
        command = Backup(file=given["file"], with_key=not given["no-key"])
        perform(settings, command, BackupFiles(given["file"], given["force"]))
    elif name == "status":
        perform(settings, Status(), StandardOutput())
    else:
        show_warnings()
        react(_import, (settings, given["file"]))


async def _import(reactor, settings, file):
    watch = Watch(reactor)
    try:
        line = await import_file(reactor, settings, watch, file)
    except TOLD as error:
        watch.clear()
        raise SystemExit(failure("import", error)) from error
    watch.clear()
    tell(line)


async def import_file(reactor, settings, watch, file):
    """Put all that a file holds into the configured storages, or nothing where a client could not have stored all of it.

    :param watch: a :class:`~dhtwisted.cli.terminal.Watch`.
    :param file: its name, or ``-``.
    :returns: a line that says what was stored.
    """
    any_password = settings.auth.provider.partition(":")[0] != OWN_AUTH
    with open_input(file) as source:
        if is_regular(source):
            await _look_through(reactor, Reader(source, Checker(any_password).check), watch)
            source.seek(0)
        reader = Reader(source, Checker(any_password).check)
        async with opened(reactor, settings, watch) as storages:
            if any(storage.durability == "volatile" for storage in storages):
                raise TransferError("the storage would forget everything when this command ends: name another with --storage")
            now = int(reactor.seconds() * 1000)
            importing = Import(*storages, reader, now, lambda: watch.look(sum(reader.counts.values())))
            try:
                await importing.run()
            except TOLD as error:
                if not importing.begun:
                    raise
                raise TransferError(f"{error}; {_PART}") from error
    again = f"; {importing.found} of them were there already" if importing.found else ""
    return f"Imported from {file}: {told(reader.counts)}{again}."


async def _look_through(reactor, reader, watch):
    """Find what is wrong with a file before any of it is stored. What comes by a pipe can be read but once: it is checked on the way.

    :raises TransferError: it is not whole, or has what no client could have stored; names the line.
    """
    for number, _ in enumerate(reader):
        if number % LOOKED_AT_ONCE == 0:
            watch.look(0)
            # Signals are taken, and a control-C ends it, between two portions.
            await deferLater(reactor, 0)
