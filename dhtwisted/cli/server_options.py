"""The options of the server on its command line, and its commands."""

import os
import sys

from twisted.python import usage

from dhtwisted.cli.options import Command, say, say_version
from dhtwisted.cli.user_options import TokenOptions, UserOptions
from dhtwisted.config.sources import example_file, load_configuration
from dhtwisted.errors import ConfigurationError
from dhtwisted.providers.lookup import describe_all


class TransferOptions(Command):
    """What the commands that move everything have in common: they work on one file."""

    before = "[--config FILE] [--storage PROVIDER] [--messages PROVIDER]"

    def parseArgs(self, *arguments):
        """Take the file."""
        if len(arguments) != 1:
            raise usage.UsageError(f"one FILE is needed: {self.words}")
        (self["file"],) = arguments


class ExportOptions(TransferOptions):
    """``devicehive export FILE``."""

    words = "export [--force] FILE"
    longdesc = (
        "Writes users, networks, device types, devices, their tokens' records, configuration, commands and notifications to FILE, as lines "
        "of JSON: compressed if its name ends in .gz, to standard output if it is -. The file has the hashes of passwords, and only its "
        "owner may read it."
    )
    optFlags = [["force", "f", "replace FILE if it is there already"]]


class ImportOptions(TransferOptions):
    """``devicehive import FILE``."""

    words = "import FILE"
    longdesc = (
        "Puts what devicehive export wrote to FILE, or to standard input if it is -, into an empty storage. An import that was cut short "
        "goes on when it is done again."
    )


class BackupOptions(TransferOptions):
    """``devicehive backup FILE``."""

    words = "backup [--force] [--no-key] FILE"
    longdesc = (
        "Copies the data to FILE, as they are at one moment, and checks the copy; the server goes on. Messages in a storage of their own "
        "are copied to FILE.messages, and the signing key to FILE.secret, where it lies beside the data. Only their owner may read "
        "these files."
    )
    optFlags = [
        ["force", "f", "replace these files if they are there already"],
        ["no-key", None, "leave the signing key out: whoever has it can be anybody"],
    ]


class StatusOptions(Command):
    """``devicehive status``."""

    words = "status"
    longdesc = "Asks the running server how it is, and writes its answer as one object of JSON. The exit status is 1 if none answers."


class DoctorOptions(Command):
    """``devicehive doctor``."""

    words = "doctor"
    before = "[--config FILE] [options of the server]"

    longdesc = (
        "Looks at configuration, ports, storage, signing key, certificates, rights of files, clock, memory and limits, and says in a line "
        "each what is well (ok), should be otherwise (warning), or does not work (wrong), and how to mend it. It changes nothing, and "
        "works while the server runs. Run it as the server's user. The exit status is 1 if anything is wrong, else 0, also with warnings."
    )


class Options(usage.Options):
    """The command line. Whatever is wrong with it ends in one line on standard error and exit status 1."""

    longdesc = (
        "A DeviceHive-compatible messaging server. Without any option it keeps its data in devicehive.sqlite in the current directory and "
        "listens on localhost:8080 only. Options win over the environment (DHTWISTED_<SECTION>_<KEY>), which wins over the file."
    )
    optParameters = [
        ["config", "c", None, "TOML file with the configuration"],
        ["storage", None, None, "where to keep everything, such as memory:, file:PATH or postgres:DSN"],
        ["messages", None, None, "where to keep commands and notifications, if elsewhere"],
    ]
    optFlags = [
        ["check-config", None, "look at the configuration and the files that it names, say what is wrong, and exit"],
        ["accept-loss", None, "start once without what was acknowledged and is missing in a data file, and say in the log what that is"],
    ]
    subCommands = [
        ["export", None, ExportOptions, "write everything that is stored to a file, and exit"],
        ["import", None, ImportOptions, "put everything of such a file into an empty storage, and exit"],
        ["backup", None, BackupOptions, "copy everything, to be restored in case, and exit"],
        ["user", None, UserOptions, "work on users: list, add, passwd, disable, enable, role, delete"],
        ["token", None, TokenOptions, "work on tokens: create, list, revoke, show"],
        ["status", None, StatusOptions, "ask the running server how it is"],
        ["doctor", None, DoctorOptions, "say what is wrong with a server or its machine, and exit"],
    ]

    def __init__(self):
        super().__init__()
        self.settings = None
        self.strangers = ()
        self._listen = []

    def opt_listen(self, endpoint):
        """Twisted endpoint to listen on, such as tcp:8080; may be given several times"""
        self._listen.append(endpoint)

    def opt_help_providers(self):
        """list what --storage, --messages and the configuration may name, and exit"""
        say(describe_all())

    def opt_example_config(self):
        """write a configuration file with every option and its default, and exit"""
        say(example_file().rstrip())

    def opt_version(self):
        """show the version, and exit"""
        say_version()

    def getSynopsis(self):
        """Show both ways to start; twistd knows but one."""
        return "Usage: devicehive [options] [command]\n   or: twistd [options of twistd] devicehive [options]\n"

    def parseOptions(self, options=None):
        """Parse, with one line for a mistake: the whole help, which twistd would write, hides it."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"devicehive: {' '.join(str(error).split())}; see devicehive --help") from error
        except ConfigurationError as error:
            raise SystemExit(f"devicehive: {' '.join(str(error).split())}") from error

    def postOptions(self):
        """Read the configuration, so that what is wrong with it is said before anything is opened."""
        if self["accept-loss"] and self.subCommand is not None:
            raise usage.UsageError("--accept-loss is for a start of the server, without a command")
        if self.subCommand == "doctor":
            return  # It reads the configuration itself: a mistake there is one of its findings.
        configuration = self.read_configuration()
        self.settings, self.strangers = configuration.settings, configuration.strangers
        if self["check-config"]:
            _say_whether_good(configuration)

    def read_configuration(self):
        """The configuration as it is now in the file, under the environment and this command line.

        :returns: a :class:`~dhtwisted.config.sources.Configuration`.
        :raises ConfigurationError: it is wrong.
        """
        return load_configuration(self["config"], os.environ, self._overrides())

    def read_settings(self):
        """The :class:`~dhtwisted.config.settings.Settings` of :meth:`read_configuration`."""
        return self.read_configuration().settings

    def _overrides(self):
        given = (
            ("--listen", "server", "listen", self._listen or None),
            ("--storage", "storage", "provider", self["storage"]),
            ("--messages", "storage", "messages", self["messages"]),
        )
        return [override for override in given if override[-1] is not None]


def _say_whether_good(configuration):
    from dhtwisted.cli.doctor.check import NOT_LOOKED_AT, check
    from dhtwisted.cli.doctor.findings import WRONG

    findings = check(configuration)
    is_good = all(finding.level != WRONG for finding in findings)
    verdict = "The configuration is good." if is_good else "The configuration cannot work as it is."
    sys.stdout.write("".join(f"{line}\n" for line in [*findings, verdict, NOT_LOOKED_AT]))
    raise SystemExit(0 if is_good else 1)
