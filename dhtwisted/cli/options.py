"""The base of all commands of ``devicehive``. A command is one class: its options, its help, and ``run``."""

from __future__ import annotations

import getopt
import sys
from typing import Any, ClassVar, NoReturn, Protocol

from twisted.python import usage

from dhtwisted import __version__
from dhtwisted.config.settings import Settings
from dhtwisted.config.sources import Configuration
from dhtwisted.core.rules import is_id
from dhtwisted.kit.speedups import IN_USE


def print_and_exit(text: str) -> NoReturn:
    """Write to standard output, and end with status 0."""
    sys.stdout.write(f"{text}\n")
    raise SystemExit(0)


def print_version() -> NoReturn:
    """Write the version and whether the optional C module is in use, and end with status 0."""
    print_and_exit(f"dhtwisted {__version__} ({IN_USE})")


SERVER_OPTIONS = frozenset({"--config", "--storage", "--messages", "--listen"})


class CommandLine(Protocol):
    """The whole parsed command line, as a command sees it.

    :ivar settings: the configuration in force. A command that reads it itself has none.
    """

    settings: Settings

    def read_configuration(self) -> Configuration:
        """Read the configuration from file, environment and command line.

        :raises ConfigurationError: it is wrong.
        """

    def __getitem__(self, option: str) -> Any:
        """The value of an option of the server."""


class Command(usage.Options):
    """One command of the shell.

    :cvar name: its words after ``devicehive``, such as ``user add``.
    :cvar arguments: its options and arguments, for the help.
    :cvar summary: one line in the list of commands.
    :cvar server_options: the options of the server that can stand before it, for the help.
    :cvar reads_configuration: the configuration is read before the command runs. A mistake in it then ends the process.
    """

    name: ClassVar[str]
    arguments: ClassVar[str] = ""
    summary: ClassVar[str]
    server_options: ClassVar[str] = "[--config FILE] [--storage PROVIDER]"
    reads_configuration: ClassVar[bool] = True

    def run(self, command_line: CommandLine) -> NoReturn:
        """Do what the command says, and end the process: with status 0, or with 1 after one line on standard error.

        :param command_line: of which this command is a part.
        """
        raise NotImplementedError

    @classmethod
    def synopsis(cls) -> str:
        """How the command is written after ``devicehive``."""
        return f"{cls.name} {cls.arguments}".rstrip()

    def parseOptions(self, options=None):  # type: ignore[no-untyped-def] # Twisted does not annotate it.
        """Parse. If an option of the server is in the wrong place, the error says where it belongs."""
        try:
            super().parseOptions(options if getattr(self, "subCommands", None) else self._options_first(options))
        except usage.UsageError as error:
            raise usage.UsageError(self._with_place(str(error))) from error

    def _options_first(self, options: list[str]) -> list[str]:
        """Move options before the arguments. Twisted would take options after an argument for arguments."""
        try:
            found, arguments = getopt.gnu_getopt(options, self.shortOpt, self.longOpt)
        except getopt.GetoptError as error:
            raise usage.UsageError(str(error)) from error
        return [f"{name}={value}" if f"{name[2:]}=" in self.longOpt else name for name, value in found] + ["--", *arguments]

    def _with_place(self, reason: str) -> str:
        if reason.endswith(" not recognized") and reason.split()[1] in SERVER_OPTIONS:
            return f"{reason} here; it must be before the command: devicehive {self.server_options} {self.synopsis()}"
        return reason

    def opt_version(self) -> NoReturn:
        """show the version, and exit"""
        print_version()

    def getSynopsis(self) -> str:
        return f"Usage: devicehive {self.server_options} {self.synopsis()}\n"


class CommandGroup(Command):
    """A word before several commands, such as ``user`` before ``user add``."""

    arguments = "COMMAND"
    subCommands: ClassVar[list[list[Any]]]

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise usage.UsageError(f"a command is needed: {', '.join(word for word, *_ in self.subCommands)}")


class FileCommand(Command):
    """A command with one argument, the name of a file."""

    server_options = "[--config FILE] [--storage PROVIDER] [--messages PROVIDER]"

    def parseArgs(self, *arguments: str) -> None:
        if len(arguments) != 1:
            raise usage.UsageError(f"one FILE is needed: {self.synopsis()}")
        (self["file"],) = arguments


class LoginCommand(Command):
    """A command with one argument, the login of a user."""

    def parseArgs(self, *arguments: str) -> None:
        if len(arguments) != 1:
            raise usage.UsageError(f"one LOGIN is needed: {self.synopsis()}")
        (self["login"],) = arguments


class GroupOptions(Command):
    """A command with ``--network`` and ``--device-type``, each any number of times."""

    def add_id(self, name: str, text: str) -> None:
        """Append an id to an option."""
        self.setdefault(name, []).append(parse_id(text))


def parse_id(text: str) -> int:
    """Read an id from the command line.

    :raises UsageError: it is not an id.
    """
    if not is_id(text):
        raise usage.UsageError(f"{text!r} is no id: an id is a number, see the lists of the API")
    return int(text)


def subcommands(*commands: type[Command]) -> list[list[Any]]:
    """List commands as Twisted's ``subCommands`` needs them."""
    return [[command.name.rpartition(" ")[2], None, command, command.summary] for command in commands]
