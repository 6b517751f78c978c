"""The commands ``devicehive user ...``."""

from __future__ import annotations

from twisted.python import usage

from dhtwisted.cli.execution import ServerCommand
from dhtwisted.cli.options import CommandGroup, GroupOptions, LoginCommand, subcommands
from dhtwisted.cli.prompts import confirm_deletion, read_password
from dhtwisted.control import users

FORCE = ["force", None, "do it also to the last active administrator"]


class PasswordCommand(ServerCommand, LoginCommand):
    """A command that sets a password."""

    optFlags = [["random", None, "generate a password, and show it"]]
    optParameters = [
        ["password-file", None, None, "read the password from the first line of FILE, - for standard input; without it you are asked"]
    ]

    def postOptions(self) -> None:
        if self["random"] and self["password-file"] is not None:
            raise usage.UsageError(f"give either --random or --password-file: {self.synopsis()}")

    def read_password(self) -> str:
        """The password as the options say."""
        return read_password(bool(self["random"]), self["password-file"])


class ListUsers(ServerCommand):
    """``user list``."""

    name = "user list"
    arguments = "[--json]"
    summary = "show all users"
    optFlags = [["json", None, "write lines of JSON"]]

    def request(self) -> users.ListUsers:
        return users.ListUsers(json=bool(self["json"]))


class AddUser(PasswordCommand, GroupOptions):
    """``user add``."""

    name = "user add"
    arguments = "[--admin] [--network ID]... [--device-type ID]... [--random | --password-file FILE] LOGIN"
    summary = "create a user"
    longdesc = "Creates a user. Without --device-type they can use all device types."
    optFlags = [["admin", None, "make them an administrator"]]

    def opt_network(self, text: str) -> None:
        """a network that they can use; can be given several times"""
        self.add_id("networks", text)

    def opt_device_type(self, text: str) -> None:
        """a device type that they can use; can be given several times"""
        self.add_id("device_types", text)

    def request(self) -> users.AddUser:
        return users.AddUser(
            login=self["login"],
            password=self.read_password(),
            random=bool(self["random"]),
            admin=bool(self["admin"]),
            networks=self.get("networks", []),
            device_types=self.get("device_types"),
        )


class SetPassword(PasswordCommand):
    """``user passwd``."""

    name = "user passwd"
    arguments = "[--random | --password-file FILE] LOGIN"
    summary = "set a new password for a user"
    longdesc = "Sets a new password for a user. All their tokens end."

    def request(self) -> users.SetPassword:
        return users.SetPassword(login=self["login"], password=self.read_password(), random=bool(self["random"]))


class DisableUser(ServerCommand, LoginCommand):
    """``user disable``."""

    name = "user disable"
    arguments = "[--force] LOGIN"
    summary = "forbid a user to log in"
    longdesc = "Forbids a user to log in. All their tokens end."
    optFlags = [FORCE]

    def request(self) -> users.DisableUser:
        return users.DisableUser(login=self["login"], force=bool(self["force"]))


class EnableUser(ServerCommand, LoginCommand):
    """``user enable``."""

    name = "user enable"
    arguments = "LOGIN"
    summary = "permit a user to log in again"
    longdesc = "Permits a user to log in again, with their password."

    def request(self) -> users.EnableUser:
        return users.EnableUser(login=self["login"])


class SetRole(ServerCommand):
    """``user role``."""

    name = "user role"
    arguments = "[--force] LOGIN admin|client"
    summary = "make a user an administrator or a client"
    longdesc = "Makes a user an administrator or a client. All their tokens end."
    optFlags = [FORCE]

    def parseArgs(self, *arguments: str) -> None:
        if len(arguments) != 2 or arguments[1] not in ("admin", "client"):
            raise usage.UsageError(f"a LOGIN and a role are needed: {self.synopsis()}")
        self["login"], self["role"] = arguments

    def request(self) -> users.SetRole:
        return users.SetRole(login=self["login"], role=self["role"], force=bool(self["force"]))


class DeleteUser(ServerCommand, LoginCommand):
    """``user delete``."""

    name = "user delete"
    arguments = "[--yes] [--force] LOGIN"
    summary = "delete a user"
    longdesc = "Deletes a user. Without --yes it asks first."
    optFlags = [["yes", None, "do not ask"], FORCE]

    def request(self) -> users.DeleteUser:
        if not self["yes"]:
            confirm_deletion(self["login"])
        return users.DeleteUser(login=self["login"], force=bool(self["force"]))


class UserCommands(CommandGroup):
    """``devicehive user``."""

    name = "user"
    subCommands = subcommands(ListUsers, AddUser, SetPassword, DisableUser, EnableUser, SetRole, DeleteUser)
    summary = f"manage users: {', '.join(str(word) for word, *_ in subCommands)}"
    longdesc = (
        "Manages the users in the configured storage. If a server runs, it executes the command. If none runs, the command opens the data "
        "itself; as root it works as their owner."
    )
