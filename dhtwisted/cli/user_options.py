"""``devicehive user`` and ``devicehive token``: what they understand."""

import getopt

from twisted.python import usage

from dhtwisted.cli.options import Command
from dhtwisted.core.rules import is_id


class _Command(Command):
    """One command."""

    def parseOptions(self, options=None):
        """Parse, with options behind the arguments as well: Twisted would take those for arguments."""
        if not getattr(self, "subCommands", None):
            options = self._options_first(options)
        super().parseOptions(options)

    def _options_first(self, options):
        try:
            found, arguments = getopt.gnu_getopt(options, self.shortOpt, self.longOpt)
        except getopt.GetoptError as error:
            raise usage.UsageError(self.place(str(error))) from error
        return [f"{name}={value}" if f"{name[2:]}=" in self.longOpt else name for name, value in found] + ["--", *arguments]


class _OfLogin(_Command):
    """A command about one user."""

    def parseArgs(self, *arguments):
        """Take the login."""
        if len(arguments) != 1:
            raise usage.UsageError(f"one LOGIN is needed: {self.words}")
        (self["login"],) = arguments


def _id(text):
    if not is_id(text):
        raise ValueError(f"{text!r} is no id")
    return int(text)


class _Lists:
    """Options that may be given several times."""

    def _add(self, name, value, kind=_id):
        try:
            self.setdefault(name, []).append(kind(value))
        except ValueError:
            raise usage.UsageError(f"{value!r} is no id: {self.words}") from None


FORCE = ["force", None, "also the last active administrator"]
PASSWORD_FILE = ["password-file", None, None, "read the password from the first line of FILE, - for standard input; else it is asked for"]
RANDOM = ["random", None, "make a password up, and show it"]


class _WithPassword(_OfLogin):
    """A command that takes a password."""

    optFlags = [RANDOM]
    optParameters = [PASSWORD_FILE]

    def postOptions(self):
        """Refuse two passwords."""
        if self["random"] and self["password-file"] is not None:
            raise usage.UsageError(f"either --random or --password-file: {self.words}")


class ListUsers(_Command):
    """``user list``."""

    words = "user list [--json]"
    optFlags = [["json", None, "as lines of JSON"]]


class AddUser(_Lists, _WithPassword):
    """``user add``."""

    words = "user add [--admin] [--network ID]... [--device-type ID]... [--random | --password-file FILE] LOGIN"
    longdesc = "Makes a user. Without --device-type they may use all device types."
    optFlags = [["admin", None, "an administrator"]]

    def opt_network(self, value):
        """a network of theirs; may be given several times"""
        self._add("networks", value)

    def opt_device_type(self, value):
        """a device type of theirs; may be given several times"""
        self._add("device_types", value)


class SetPassword(_WithPassword):
    """``user passwd``."""

    words = "user passwd [--random | --password-file FILE] LOGIN"
    longdesc = "Gives a user another password. All their tokens end."


class Disable(_OfLogin):
    """``user disable``."""

    words = "user disable [--force] LOGIN"
    longdesc = "Lets a user in no more. All their tokens end."
    optFlags = [FORCE]


class Enable(_OfLogin):
    """``user enable``."""

    words = "user enable LOGIN"
    longdesc = "Lets a user in again, by their password."


class Delete(_OfLogin):
    """``user delete``."""

    words = "user delete [--yes] [--force] LOGIN"
    longdesc = "Deletes a user; asks before, unless told --yes."
    optFlags = [["yes", None, "do not ask"], FORCE]


class SetRole(_Command):
    """``user role``."""

    words = "user role [--force] LOGIN admin|client"
    longdesc = "Makes a user an administrator, or a client. All their tokens end."
    optFlags = [FORCE]

    def parseArgs(self, *arguments):
        """Take the login and the role."""
        if len(arguments) != 2 or arguments[1] not in ("admin", "client"):
            raise usage.UsageError(f"a LOGIN and a role are needed: {self.words}")
        self["login"], self["role"] = arguments


class _Group(_Command):
    """Commands under one name."""

    def postOptions(self):
        """Insist on a command."""
        if self.subCommand is None:
            raise usage.UsageError(f"a command is needed: {', '.join(command[0] for command in self.subCommands)}")


class UserOptions(_Group):
    """``devicehive user``."""

    words = "user COMMAND"
    longdesc = (
        "Works on the users of the configured storage: through the server that runs, or without one on the data themselves, as root as "
        "their owner."
    )
    subCommands = [
        ["list", None, ListUsers, "show all users"],
        ["add", None, AddUser, "make a user"],
        ["passwd", None, SetPassword, "give a user another password"],
        ["disable", None, Disable, "let a user in no more"],
        ["enable", None, Enable, "let a user in again"],
        ["role", None, SetRole, "make a user an administrator, or a client"],
        ["delete", None, Delete, "delete a user"],
    ]


class CreateToken(_Lists, _OfLogin):
    """``token create``."""

    words = (
        "token create [--device ID [--label TEXT]] [--expires DURATION|TIME] [--refresh] [--action NAME]... [--network ID]... "
        "[--device-type ID]... LOGIN"
    )
    longdesc = "Writes a token to standard output. Without --action, --network and --device-type it has the rights that a login gives."
    optFlags = [["refresh", None, "a refresh token, which gives access tokens"]]
    optParameters = [
        ["expires", None, None, "how long it is good, such as 12h or 30d, or until when, such as 2030-01-01T00:00:00; else as configured"],
        ["device", None, None, "good for this device alone, and revoked by its id"],
        ["label", None, None, "what a device's token is called in the list"],
    ]

    def opt_action(self, value):
        """an action that it permits, such as GetDevice; may be given several times"""
        self._add("actions", value, str)

    def opt_network(self, value):
        """a network that it opens; may be given several times"""
        self._add("networks", value)

    def opt_device_type(self, value):
        """a device type that it opens; may be given several times"""
        self._add("device_types", value)


class RevokeTokens(_Command):
    """``token revoke``."""

    words = "token revoke LOGIN | --id ID"
    longdesc = "Ends all tokens of a user, who may log in again; or those of one record of a device's tokens, as token list shows them."
    optParameters = [["id", None, None, "of a device's token", _id]]

    def parseArgs(self, *arguments):
        """Take the login."""
        if len(arguments) != (self["id"] is None):
            raise usage.UsageError(f"either a LOGIN or an ID is needed: {self.words}")
        self["login"] = arguments[0] if arguments else None


class ListTokens(_Command):
    """``token list``."""

    words = "token list [--device ID] [--json]"
    longdesc = "Shows what is kept of tokens that are good for one device alone; never the tokens themselves."
    optFlags = [["json", None, "as lines of JSON"]]
    optParameters = [["device", None, None, "of this device alone"]]


class ShowToken(_Command):
    """``token show``."""

    words = "token show"
    longdesc = "Reads a token from standard input, and says whose it is, what it opens, and whether the server accepts it."


class TokenOptions(_Group):
    """``devicehive token``."""

    words = "token COMMAND"
    longdesc = UserOptions.longdesc
    subCommands = [
        ["create", None, CreateToken, "make a token"],
        ["list", None, ListTokens, "show the tokens of devices"],
        ["revoke", None, RevokeTokens, "end all tokens of a user, or one of a device"],
        ["show", None, ShowToken, "say what a token is"],
    ]
