"""The commands ``devicehive token ...``."""

from __future__ import annotations

from twisted.python import usage

from dhtwisted.cli.execution import ServerCommand
from dhtwisted.cli.options import CommandGroup, GroupOptions, LoginCommand, parse_id, subcommands
from dhtwisted.cli.prompts import read_token
from dhtwisted.control import tokens


class CreateToken(ServerCommand, LoginCommand, GroupOptions):
    """``token create``."""

    name = "token create"
    arguments = (
        "[--device ID [--label TEXT]] [--expires DURATION|TIME] [--refresh] [--action NAME]... [--network ID]... "
        "[--device-type ID]... LOGIN"
    )
    summary = "create a token"
    longdesc = "Writes a token to standard output. Without --action, --network and --device-type it has the rights of a login."
    optFlags = [["refresh", None, "create a refresh token, which can be exchanged for access tokens"]]
    optParameters = [
        ["expires", None, None, "how long it is valid, such as 12h or 30d, or until when, such as 2030-01-01T00:00:00; else as configured"],
        ["device", None, None, "the only device that it is valid for; the token can be revoked alone"],
        ["label", None, None, "the name of a device token in the list"],
    ]

    def opt_action(self, name: str) -> None:
        """an action that it permits, such as GetDevice; can be given several times"""
        self.setdefault("actions", []).append(name)

    def opt_network(self, text: str) -> None:
        """a network that it permits; can be given several times"""
        self.add_id("networks", text)

    def opt_device_type(self, text: str) -> None:
        """a device type that it permits; can be given several times"""
        self.add_id("device_types", text)

    def request(self) -> tokens.CreateToken:
        return tokens.CreateToken(
            login=self["login"],
            refresh=bool(self["refresh"]),
            expires=self["expires"],
            device=self["device"],
            label=self["label"],
            actions=self.get("actions", []),
            networks=self.get("networks"),
            device_types=self.get("device_types"),
        )


class ListTokens(ServerCommand):
    """``token list``."""

    name = "token list"
    arguments = "[--device ID] [--json]"
    summary = "show the device tokens"
    longdesc = "Shows the records of tokens that are valid for one device alone. It never shows the tokens themselves."
    optFlags = [["json", None, "write lines of JSON"]]
    optParameters = [["device", None, None, "show only those of this device"]]

    def request(self) -> tokens.ListTokens:
        return tokens.ListTokens(device=self["device"], json=bool(self["json"]))


class RevokeTokens(ServerCommand):
    """``token revoke``."""

    name = "token revoke"
    arguments = "LOGIN | --id ID"
    summary = "end all tokens of a user, or a device token"
    longdesc = "Ends all tokens of a user, who can log in again; or a device token, by its id in token list."
    optParameters = [["id", None, None, "the id of a device token", parse_id]]

    def parseArgs(self, *arguments: str) -> None:
        if len(arguments) != (self["id"] is None):
            raise usage.UsageError(f"either a LOGIN or an ID is needed: {self.synopsis()}")
        self["login"] = arguments[0] if arguments else None

    def request(self) -> tokens.RevokeTokens:
        return tokens.RevokeTokens(login=self["login"], id=self["id"])


class ShowToken(ServerCommand):
    """``token show``."""

    name = "token show"
    summary = "show what a token permits"
    longdesc = "Reads a token from standard input. Shows the user, what the token permits, and whether the server accepts it."

    def request(self) -> tokens.ShowToken:
        return tokens.ShowToken(token=read_token())


class TokenCommands(CommandGroup):
    """``devicehive token``."""

    name = "token"
    subCommands = subcommands(CreateToken, ListTokens, RevokeTokens, ShowToken)
    summary = f"manage tokens: {', '.join(str(word) for word, *_ in subCommands)}"
    longdesc = (
        "Manages the tokens of users in the configured storage. If a server runs, it executes the command. If none runs, the command opens "
        "the data itself; as root it works as their owner."
    )
