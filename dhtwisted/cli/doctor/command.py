"""The command ``devicehive doctor``."""

from __future__ import annotations

from typing import NoReturn

from dhtwisted.cli.options import Command, CommandLine


class Doctor(Command):
    """``devicehive doctor``. It reads the configuration itself: a mistake in it is one of its findings."""

    name = "doctor"
    summary = "find what is wrong with a server or its machine, and exit"
    server_options = "[--config FILE] [options of the server]"
    reads_configuration = False
    longdesc = (
        "Examines configuration, ports, storage, signing key, certificates, rights of files, clock, memory and limits. It writes one line "
        "for each: ok, warning (should be changed) or wrong (does not work), and says what to do. It changes nothing, and works while the "
        "server runs. Run it as the server's user. The exit status is 1 if anything is wrong, else 0, also with warnings."
    )

    def run(self, command_line: CommandLine) -> NoReturn:
        from dhtwisted.cli.doctor import examination

        raise SystemExit(examination.run(command_line))
