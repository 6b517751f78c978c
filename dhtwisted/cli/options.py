"""What the subcommands of ``devicehive`` have in common on the command line."""

import sys

from twisted.python import usage

from dhtwisted import __version__


def say(text):
    """Answer on standard output, and end with status 0."""
    sys.stdout.write(f"{text}\n")
    raise SystemExit(0)


def say_version():
    """Say which program this is."""
    say(f"dhtwisted {__version__}")


OF_SERVER = frozenset({"--config", "--storage", "--messages", "--listen"})


class Command(usage.Options):
    """One subcommand.

    :ivar words: how it is written behind ``devicehive``.
    :ivar before: which options of the server may stand between.
    """

    words = ""
    before = "[--config FILE] [--storage PROVIDER]"

    def parseOptions(self, options=None):
        """Parse; an option of the server is told its place."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise usage.UsageError(self.place(str(error))) from error

    def place(self, reason):
        """Say more about an option that is not known here."""
        if reason.endswith(" not recognized") and reason.split()[1] in OF_SERVER:
            return f"{reason} here; it stands before: devicehive {self.before} {self.words}"
        return reason

    def opt_version(self):
        """show the version, and exit"""
        say_version()

    def getSynopsis(self):
        """Show where the options of the server stand."""
        return f"Usage: devicehive {self.before} {self.words}\n"
