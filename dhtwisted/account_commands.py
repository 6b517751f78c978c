"""Does what ``devicehive user`` and ``devicehive token`` say: opens the storage as the server does, changes it, and ends."""

import json
import os
import pwd
import secrets
import sys
from dataclasses import replace
from pathlib import Path

from twisted.internet.task import react

from dhtwisted.access import Permission
from dhtwisted.account_input import expiry, given_to
from dhtwisted.accounts import Accounts
from dhtwisted.audit_file import open_audit
from dhtwisted.doctor.data import file_path
from dhtwisted.errors import AccountError, InvalidCredentials, TransferError
from dhtwisted.interfaces import ProviderContext
from dhtwisted.model import ACTIVE, ADMINISTRATOR, EntityQuery, User
from dhtwisted.providers import open_provider
from dhtwisted.service import MENDABLE
from dhtwisted.signing_key import FILE_NAME
from dhtwisted.timestamps import format_timestamp
from dhtwisted.transfer_commands import Watch, in_one_line, need_file, opened, show_warnings

STATUSES = ("active", "locked", "disabled")
ACTIONS = {permission: permission.wire_name for permission in Permission} | {Permission.ANY: "*"}
NEED_KEY = ("token create", "token show")
CHANGING = ("user add", "user passwd", "user disable", "user enable", "user role", "user delete", "token create", "token revoke")
"""What the audit log records."""


def run(options):
    """Do what the command says, and end the process: with status 0, or with 1 after one line on standard error.

    :param options: a parsed :class:`~dhtwisted.tap.Options` with the subcommand ``user`` or ``token``.
    """
    show_warnings()
    name, command = f"{options.subCommand} {options.subOptions.subCommand}", options.subOptions.subOptions
    try:
        given, operator = given_to(name, command), _account(os.getuid())
        directory = _become_owner(options.settings)
        settings = _with_key(options.settings, directory, is_needed=name in NEED_KEY)
    except (AccountError, TransferError, *MENDABLE) as error:
        raise SystemExit(_failure(name, error)) from error
    react(_run, (settings, name, command, given, operator))


def _failure(name, error):
    return f"devicehive: cannot {name}: {in_one_line(error)}"


def _become_owner(settings):
    """Work as the owner of the data, if they are in a file: nothing here needs root.

    :returns: their directory, ``None`` when they are in none.
    """
    from twisted.internet import reactor

    storage = open_provider("storage", settings.storage.provider, ProviderContext(reactor, settings))
    if storage.durability == "volatile":
        raise AccountError("this storage is in the memory of a server, which nobody else can reach; use the API")
    directory = storage.state_directory
    if directory is not None and os.path.isdir(directory):
        _become_owner_of(directory, file_path(settings.storage.provider))
    need_file(settings)
    return directory


def _with_key(settings, directory, is_needed):
    """The settings, with some key where the server's is neither given nor beside the data: none is made there, and hashes need none.

    :param is_needed: it must be the server's.
    """
    auth = settings.auth
    if auth.secret or auth.secret_file or (directory is not None and Path(directory, FILE_NAME).exists()):
        return settings
    if is_needed:
        raise AccountError("the server's signing key is not here; give it as DHTWISTED_AUTH_SECRET or auth.secret_file")
    return replace(settings, auth=replace(auth, secret=secrets.token_hex(32)))


def _become_owner_of(directory, path):
    """Be who has the data file, or the directory of one that is still to be made."""
    owner = os.stat(path if path is not None and os.path.exists(path) else directory)
    if os.geteuid() == 0 and owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    elif os.geteuid() != owner.st_uid and not os.access(directory, os.W_OK | os.X_OK):
        name = _account(owner.st_uid)
        raise AccountError(f"{directory} belongs to {name}: run it as root or as that user, such as: sudo -u {name} devicehive ...")


def _account(number):
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"'#{number}'"  # As sudo takes it, and a shell no comment.


async def _run(reactor, settings, name, command, given, operator):
    try:
        audit = open_audit(settings.log.audit_file if name in CHANGING else "")
        async with opened(reactor, settings, Watch(reactor)) as (storage, messages):
            auth = open_provider("auth", settings.auth.provider, ProviderContext(reactor, settings, storage, messages))
            try:
                if not await storage.count(User, EntityQuery()):
                    raise AccountError("nobody has started a server on this storage, which makes its administrator; start it first")
                accounts = Accounts(storage, auth, int(reactor.seconds() * 1000), settings)
                line = await COMMANDS[name](accounts, command, given, settings, auth)
                audit.done_by_shell(name, operator=operator, **_about(name, command) | accounts.recorded)
            finally:
                await auth.close()
                audit.close()
    except (AccountError, TransferError, *MENDABLE) as error:
        raise SystemExit(_failure(name, error)) from error
    if line:
        sys.stderr.write(f"{line}\n")


def _about(name, command):
    """Members of the record of a change."""
    about = {key: command.get(key) for key in ("login", "role", "device", "label", "id")}
    if name == "user add":
        about["role"] = "admin" if command["admin"] else "client"
    return about


async def _list(accounts, command, *_):
    users = await accounts.all()
    if command["json"]:
        for user in users:
            sys.stdout.write(json.dumps(_shown(user)) + "\n")
        return
    for user in users:
        shown = _shown(user)
        sys.stdout.write(f"{user.id:>6} {shown['role']:<13} {shown['status']:<8} {shown['lastLogin'] or 'never':<23} {user.login}\n")


def _shown(user):
    return {
        "id": user.id,
        "login": user.login,
        "role": "administrator" if user.role == ADMINISTRATOR else "client",
        "status": STATUSES[user.status],
        "lastLogin": None if user.last_login is None else format_timestamp(user.last_login),
        "networks": sorted(user.network_ids),
        "deviceTypes": "all" if user.all_device_types_available else sorted(user.device_type_ids),
    }


def _made_up(command, password):
    """Show a password that nobody has seen yet: on standard output, by itself."""
    if command["random"]:
        sys.stdout.write(f"{password}\n")


async def _add(accounts, command, password, *_):
    user = await accounts.add(command["login"], password, bool(command["admin"]), command.get("networks", ()), command.get("device_types"))
    _made_up(command, password)
    return f"Made user {user.id}, {user.login}."


async def _passwd(accounts, command, password, *_):
    await accounts.set_password(command["login"], password)
    _made_up(command, password)
    return f"{command['login']} has another password; his tokens are no good any more."


async def _disable(accounts, command, *_):
    await accounts.disable(command["login"], command["force"])
    return f"{command['login']} is disabled; his tokens are no good any more."


async def _enable(accounts, command, *_):
    await accounts.enable(command["login"])
    return f"{command['login']} may log in."


async def _role(accounts, command, *_):
    await accounts.set_role(command["login"], command["role"] == "admin", command["force"])
    return f"{command['login']} is {command['role']} now; his tokens are no good any more."


async def _delete(accounts, command, *_):
    user = await accounts.delete(command["login"], command["force"])
    return f"Deleted user {user.id}, {user.login}."


async def _create(accounts, command, given, settings, auth):
    lifetime = settings.auth.refresh_lifetime if command["refresh"] else settings.auth.access_lifetime
    token = await accounts.token(
        command["login"],
        expiry(command["expires"], accounts.now, lifetime),
        bool(command["refresh"]),
        command.get("actions", ()),
        command.get("networks"),
        command.get("device_types"),
        command["device"],
        command["label"],
    )
    sys.stdout.write(f"{token}\n")


async def _list_tokens(accounts, command, *_):
    for record in await accounts.device_tokens(command["device"]):
        shown = {"id": record.id, "device": record.device_id, "user": record.user_id, "label": record.label}
        shown |= {"created": format_timestamp(record.created), "expires": format_timestamp(record.expires)}
        text = "{id:>16} {created} {expires} user {user:<6} {device}".format_map(shown)
        line = json.dumps(shown) if command["json"] else f"{text} {record.label or ''}".rstrip()
        sys.stdout.write(f"{line if line.isprintable() else ascii(line)}\n")


async def _revoke(accounts, command, *_):
    if command["id"] is not None:
        await accounts.revoke_device_token(command["id"])
        return f"The tokens of record {command['id']} are no good any more."
    await accounts.revoke(command["login"])
    return f"All tokens of {command['login']} are no good any more."


async def _show(accounts, command, token, settings, auth):
    try:
        claims = auth.verify(token)
    except InvalidCredentials:
        raise AccountError("this is no token, or not signed with this server's key") from None
    user = next((user for user in await accounts.all() if user.id == claims.user_id), None)
    told = {
        "user": user and user.login,
        "userId": claims.user_id,
        "sort": "refresh" if claims.refresh else "access",
        "expires": format_timestamp(claims.expires),
        "device": claims.device_id,
        "actions": None if claims.actions is None else [ACTIONS.get(action, action) for action in sorted(claims.actions)],
        "networks": None if claims.network_ids is None else sorted(claims.network_ids),
        "deviceTypes": None if claims.device_type_ids is None else sorted(claims.device_type_ids),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    is_bound = claims.device_id is not None
    is_gone = is_bound and claims.token_id not in [record.id for record in await accounts.device_tokens(claims.device_id)]
    _refuse_dead(claims, user, is_gone, accounts.now)
    return "The server accepts this token."


def _refuse_dead(claims, user, is_gone, now):
    if user is None:
        words = "its user is deleted"
    elif user.status != ACTIVE:
        words = "its user is not active"
    elif is_gone or not user.accepts(claims):
        words = "it was revoked"
    elif claims.expires <= now:
        words = "it has expired"
    else:
        return
    raise AccountError(f"the server does not accept this token: {words}")


COMMANDS = {
    "user list": _list,
    "user add": _add,
    "user passwd": _passwd,
    "user disable": _disable,
    "user enable": _enable,
    "user role": _role,
    "user delete": _delete,
    "token create": _create,
    "token list": _list_tokens,
    "token revoke": _revoke,
    "token show": _show,
}
