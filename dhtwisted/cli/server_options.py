"""The command line of ``devicehive``: the options of the server, and the list of all commands."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from twisted.python import usage

from dhtwisted.cli.backup import Backup
from dhtwisted.cli.doctor.command import Doctor
from dhtwisted.cli.options import Command, print_and_exit, print_version, subcommands
from dhtwisted.cli.status import Status
from dhtwisted.cli.tokens import TokenCommands
from dhtwisted.cli.transfer import Export, Import
from dhtwisted.cli.users import UserCommands
from dhtwisted.config.settings import Settings
from dhtwisted.config.sources import Configuration, example_file, load_configuration
from dhtwisted.errors import ConfigurationError
from dhtwisted.providers.lookup import describe_all


class ServerOptions(usage.Options):
    """The command line. A mistake in it ends the process with one line on standard error and status 1.

    :ivar settings: the configuration in force. A command that reads it itself has none.
    :ivar unknown_variables: a line for each variable of the environment that looks like an option but is none.
    """

    settings: Settings

    longdesc = (
        "A DeviceHive-compatible messaging server. Without options it keeps its data in devicehive.sqlite in the current directory and "
        "listens on localhost:8080 only. Options take precedence over the environment (DHTWISTED_<SECTION>_<KEY>), and the environment "
        "over the file."
    )
    optParameters = [
        ["config", "c", None, "TOML file with the configuration"],
        ["storage", None, None, "where to keep all data, such as memory:, file:PATH or postgres:DSN"],
        ["messages", None, None, "where to keep commands and notifications, if not in the storage"],
    ]
    optFlags = [
        ["check-config", None, "check the configuration and the files that it names, report what is wrong, and exit"],
        [
            "accept-loss",
            None,
            "start once although acknowledged data are missing in a data file; the log says which",
        ],
    ]
    subCommands = subcommands(Export, Import, Backup, UserCommands, TokenCommands, Status, Doctor)

    def __init__(self) -> None:
        super().__init__()
        self.unknown_variables: tuple[str, ...] = ()
        self._listen: list[str] = []
        self._mqtt: list[str] = []

    @property
    def command(self) -> Command | None:
        """The command that was given, such as ``user add``; ``None`` to start the server."""
        found: usage.Options = self
        while found.subCommand is not None:
            found = found.subOptions
        return found if isinstance(found, Command) else None

    def opt_listen(self, endpoint: str) -> None:
        """Twisted endpoint to listen on, such as tcp:8080; can be given several times"""
        self._listen.append(endpoint)

    def opt_mqtt(self, endpoint: str) -> None:
        """Twisted endpoint for clients that speak MQTT, such as tcp:1883; can be given several times"""
        self._mqtt.append(endpoint)

    def opt_help_providers(self) -> NoReturn:
        """list the providers that --storage, --messages and the configuration can name, and exit"""
        print_and_exit(describe_all())

    def opt_example_config(self) -> NoReturn:
        """write a configuration file with every option and its default, and exit"""
        print_and_exit(example_file().rstrip())

    def opt_version(self) -> NoReturn:
        """show the version, and exit"""
        print_version()

    def getSynopsis(self) -> str:
        return "Usage: devicehive [options] [command]\n   or: twistd [options of twistd] devicehive [options]\n"

    def parseOptions(self, options=None):  # type: ignore[no-untyped-def] # Twisted does not annotate it.
        """Parse. A mistake is reported in one line, because twistd would write the whole help, which hides it."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"devicehive: {' '.join(str(error).split())}; see devicehive --help") from error
        except ConfigurationError as error:
            raise SystemExit(f"devicehive: {' '.join(str(error).split())}") from error

    def postOptions(self) -> None:
        """Read the configuration, so that a mistake in it is reported before anything is opened."""
        if self["accept-loss"] and self.subCommand is not None:
            raise usage.UsageError("--accept-loss is for a start of the server, without a command")
        if self.command is not None and not self.command.reads_configuration:
            return
        configuration = self.read_configuration()
        self.settings, self.unknown_variables = configuration.settings, configuration.unknown_variables
        if self["check-config"]:
            _report_check(configuration)

    def read_configuration(self) -> Configuration:
        """Read the configuration from the file, the environment and this command line.

        :raises ConfigurationError: it is wrong.
        """
        return load_configuration(self["config"], os.environ, self._overrides())

    def read_settings(self) -> Settings:
        """The settings of :meth:`read_configuration`."""
        return self.read_configuration().settings

    def _overrides(self) -> list[tuple[str, str, str, object]]:
        given = (
            ("--listen", "server", "listen", self._listen or None),
            ("--mqtt", "mqtt", "listen", self._mqtt or None),
            ("--storage", "storage", "provider", self["storage"]),
            ("--messages", "storage", "messages", self["messages"]),
        )
        return [override for override in given if override[-1] is not None]


def _report_check(configuration: Configuration) -> NoReturn:
    from dhtwisted.cli.doctor.check import NOT_LOOKED_AT, check
    from dhtwisted.cli.doctor.findings import WRONG

    findings = check(configuration)
    is_good = all(finding.level != WRONG for finding in findings)
    verdict = "The configuration is good." if is_good else "The configuration cannot work as it is."
    sys.stdout.write("".join(f"{line}\n" for line in [*findings, verdict, NOT_LOOKED_AT]))
    raise SystemExit(0 if is_good else 1)
