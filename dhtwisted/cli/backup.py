"""The command ``devicehive backup``."""

from __future__ import annotations

from dhtwisted.cli.execution import ServerCommand
from dhtwisted.cli.options import FileCommand
from dhtwisted.cli.output import BackupFiles
from dhtwisted.control import backup


class Backup(ServerCommand, FileCommand):
    """``devicehive backup FILE``."""

    name = "backup"
    arguments = "[--force] [--no-key] FILE"
    summary = "copy all data for a later restore, and exit"
    longdesc = (
        "Copies all data of one moment to FILE, and checks the copy. The server goes on working. Messages in a separate storage are copied "
        "to FILE.messages, and the signing key to FILE.secret, if it is a file beside the data. Only their owner can read these files."
    )
    optFlags = [
        ["force", "f", "replace existing files"],
        ["no-key", None, "do not copy the signing key: whoever has it can act as any user"],
    ]

    def request(self) -> backup.Backup:
        return backup.Backup(file=self["file"], with_key=not self["no-key"])

    def output(self) -> BackupFiles:
        return BackupFiles(self["file"], bool(self["force"]))
