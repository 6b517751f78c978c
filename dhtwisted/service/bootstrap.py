"""The first start on an empty storage: creates a network, a device type and an administrator who can log in."""

import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from dhtwisted.config.settings import Settings
from dhtwisted.errors import ConfigurationError, Duplicate, Missing
from dhtwisted.interfaces import IAuthProvider, IEntityStorage
from dhtwisted.model import ADMINISTRATOR, DeviceType, Entity, EntityQuery, Network, User, fold_login
from dhtwisted.transfer.unfinished import refuse_unfinished
from dhtwisted.wire.timestamps import format_timestamp

FILE_NAME = "devicehive.password"
BATCH = 100
"""How many users are changed at once: a storage commits these changes together."""

_RANDOM_BYTES = 15

log = Logger()


async def bootstrap(
    storage: IEntityStorage, auth: IAuthProvider, settings: Settings, show_password: Callable[[str, str], None] | None = None
) -> str | None:
    """Fill a storage that has no user. The administrator is created last, so that the next start completes one that was interrupted.

    A storage with a part of an import is not filled: new objects would conflict with the rest of the import.

    :param storage: an opened storage.
    :param auth: makes the password record.
    :param show_password: called as ``show_password(login, password)`` with a generated password, *before* the password becomes valid. The
        server does not store the password itself: if nobody saw it, nobody could log in.
    :returns: the generated password; ``None`` if there were users already or the configuration has the password.
    :raises ConfigurationError: an import was not completed.
    """
    await refuse_unfinished(storage)
    if await storage.count(User, EntityQuery()):
        await fill_login_keys(storage)
        return None
    configured = settings.auth.admin_password
    password = configured or secrets.token_urlsafe(_RANDOM_BYTES)
    record = await auth.hash_password(password)
    await _insert(storage, Network(id=1, name="Default Network", description="Made at first start"))
    await _insert(storage, DeviceType(id=1, name="Default Device Type", description="Made at first start"))
    if not configured and show_password is not None:
        show_password(settings.auth.admin_login, password)
    if await _insert(storage, _administrator(settings.auth.admin_login, record)):
        return None if configured else password
    log.warn("Another server created the administrator at the same moment; only the password of that server is valid")
    return None


def _administrator(login: str, record: str) -> User:
    return User(
        id=1,
        login=login,
        login_key=fold_login(login),
        password=record,
        role=ADMINISTRATOR,
        network_ids=frozenset({1}),
        device_type_ids=frozenset({1}),
    )


async def fill_login_keys(storage: IEntityStorage) -> None:
    """Give users of older releases their ``login_key``, so that nobody can take a login that differs from theirs only in case.

    If two users differ only in case already, the older one gets the key. Both can still log in.

    :param storage: an opened storage.
    """
    users = await storage.find(User, EntityQuery(equal={"login_key": None}))
    left_out = 0
    for start in range(0, len(users), BATCH):
        changes = [_fill_login_key(storage, user) for user in users[start : start + BATCH]]
        left_out += (await gatherResults(map(Deferred.fromCoroutine, changes), consumeErrors=True)).count(False)
    if left_out:
        log.warn("{count} logins differ from another login only in case; devicehive doctor names them", count=left_out)


async def _fill_login_key(storage: IEntityStorage, user: User) -> bool:
    """Whether the user has the key now, or is gone."""
    try:
        await storage.update(User, user.id, {"login_key": fold_login(user.login)})
    except Duplicate:
        return False
    except Missing:
        return True  # Somebody deleted the user meanwhile.
    return True


async def _insert(storage: IEntityStorage, entity: Entity) -> bool:
    """Whether the entity is new."""
    try:
        await storage.insert(entity)
    except Duplicate:
        # An earlier start was interrupted, or another node does the same at this moment.
        log.info("{kind} {key} exists already", kind=type(entity).__name__, key=entity.key)
        return False
    return True


def print_password(log_format: str, login: str, password: str) -> None:
    """Show a new password on standard output, and not in the log, which may be stored.

    :param log_format: ``text``, or ``json`` if the log on standard output has that format.
    """
    line = f"First start: log in as {login} with the password {password} (shown only now; it is valid even if the start fails)"
    if log_format == "json":
        members = {"level": "info", "logger": __name__, "message": line, "login": login, "password": password}
        line = json.dumps({"time": f"{format_timestamp(int(time.time() * 1000))}Z"} | members)
    if sys.__stdout__ is not None:
        sys.__stdout__.write(f"{line}\n")
        sys.__stdout__.flush()


def is_discarded(stream: TextIO | None) -> bool:
    """Whether a stream writes to the null device."""
    try:
        return stream is not None and os.path.samestat(os.fstat(stream.fileno()), os.stat(os.devnull))
    except (OSError, ValueError):
        return False


def password_file(directory: str | os.PathLike[str] | None) -> Path | None:
    """The file with the first password, if nobody has deleted it yet.

    :param directory: the storage's state directory, or ``None``.
    """
    path = None if directory is None else Path(directory, FILE_NAME)
    return path if path is not None and path.exists() else None


def write_password(directory: str | os.PathLike[str] | None, login: str, password: str) -> None:
    """Write a new password to a file that only the server's user can read, and log the path.

    :param directory: the storage's state directory.
    :raises ConfigurationError: the storage has no directory, or the file cannot be written.
    """
    if directory is None:
        raise ConfigurationError("auth.admin_password: set it for the first start as a daemon, because the storage has no directory")
    path = Path(directory, FILE_NAME)
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{login} {password}\n")
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise ConfigurationError(f"{path}: the administrator's password cannot be written ({error.strerror})") from error
    log.warn("First start: the administrator's password is in {path}; read it, then delete the file", path=str(path))
