"""``devicehive user`` and ``devicehive token``: from the command line to what is to be done."""

from dhtwisted.cli.execution import TOLD, perform
from dhtwisted.cli.prompts import given_to
from dhtwisted.cli.sinks import StandardOutput
from dhtwisted.cli.terminal import failure
from dhtwisted.control import tokens, users


def run(options):
    """Do what the command says, and end the process: with status 0, or with 1 after one line on standard error.

    :param options: a parsed :class:`~dhtwisted.tap.Options` with the subcommand ``user`` or ``token``.
    """
    name, told = f"{options.subCommand} {options.subOptions.subCommand}", options.subOptions.subOptions
    try:
        given = given_to(name, told)
    except TOLD as error:
        raise SystemExit(failure(name, error)) from error
    perform(options.settings, _MAKERS[name](told, given), StandardOutput())


def _add(told, password):
    return users.AddUser(
        login=told["login"],
        password=password,
        random=bool(told["random"]),
        admin=bool(told["admin"]),
        networks=told.get("networks", []),
        device_types=told.get("device_types"),
    )


def _create(told, _):
    return tokens.CreateToken(
        login=told["login"],
        refresh=bool(told["refresh"]),
        expires=told["expires"],
        device=told["device"],
        label=told["label"],
        actions=told.get("actions", []),
        networks=told.get("networks"),
        device_types=told.get("device_types"),
    )


_MAKERS = {
    "user list": lambda told, _: users.ListUsers(json=bool(told["json"])),
    "user add": _add,
    "user passwd": lambda told, password: users.SetPassword(login=told["login"], password=password, random=bool(told["random"])),
    "user disable": lambda told, _: users.Disable(login=told["login"], force=bool(told["force"])),
    "user enable": lambda told, _: users.Enable(login=told["login"]),
    "user role": lambda told, _: users.SetRole(login=told["login"], role=told["role"], force=bool(told["force"])),
    "user delete": lambda told, _: users.Delete(login=told["login"], force=bool(told["force"])),
    "token create": _create,
    "token list": lambda told, _: tokens.ListTokens(device=told["device"], json=bool(told["json"])),
    "token revoke": lambda told, _: tokens.RevokeTokens(login=told["login"], id=told["id"]),
    "token show": lambda _, token: tokens.ShowToken(token=token),
}
