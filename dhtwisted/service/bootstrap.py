"""The first start on an empty storage: a network, a device type, and an administrator whom somebody can be."""

import json
import os
import secrets
import sys
import time
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from dhtwisted.errors import ConfigurationError, Duplicate, Missing
from dhtwisted.model import ADMINISTRATOR, DeviceType, EntityQuery, Network, User, fold_login
from dhtwisted.transfer.unfinished import refuse_unfinished
from dhtwisted.wire.timestamps import format_timestamp

FILE_NAME = "devicehive.password"
_RANDOM_BYTES = 15
AT_A_TIME = 100
"""Users that are changed at once: a storage commits them together."""

log = Logger()


async def bootstrap(storage, auth, settings, announce=None):
    """Fill a storage that has no user. The administrator comes last, so that a crash on the way is mended by the next start.

    A storage that an import has left half done is not filled: what this made would be in the way of the rest.

    :param storage: an opened entity storage.
    :param auth: the auth provider, for the password's record.
    :param settings: the whole configuration.
    :param announce: called as ``announce(login, password)`` with a password made up here, *before* it becomes good: it is kept nowhere,
        so one that nobody saw would lock everybody out.
    :returns: that password; ``None`` when there were users already or the configuration gives the password.
    :raises ConfigurationError: an import has not ended.
    """
    await refuse_unfinished(storage)
    if await storage.count(User, EntityQuery()):
        await fill_login_keys(storage)
        return None
    given = settings.auth.admin_password
    password = given or secrets.token_urlsafe(_RANDOM_BYTES)
    record = await auth.hash_password(password)
    await _insert(storage, Network(id=1, name="Default Network", description="Made at first start"))
    await _insert(storage, DeviceType(id=1, name="Default Device Type", description="Made at first start"))
    if not given and announce is not None:
        announce(settings.auth.admin_login, password)
    administrator = User(
        id=1,
        login=settings.auth.admin_login,
        login_key=fold_login(settings.auth.admin_login),
        password=record,
        role=ADMINISTRATOR,
        network_ids=frozenset({1}),
        device_type_ids=frozenset({1}),
    )
    if await _insert(storage, administrator):
        return None if given else password
    log.warn("Another server made the administrator at the same moment; only the password that it used is good")
    return None


async def fill_login_keys(storage):
    """Give users of older releases their ``login_key``, so that nobody takes a login that differs from theirs in case alone. Of two who
    differ so already, the one who came first has it; both go on.

    :param storage: an opened entity storage.
    """
    users = await storage.find(User, EntityQuery(equal={"login_key": None}))
    left_out = 0
    for start in range(0, len(users), AT_A_TIME):
        changes = [_fill_login_key(storage, user) for user in users[start : start + AT_A_TIME]]
        left_out += (await gatherResults(map(Deferred.fromCoroutine, changes), consumeErrors=True)).count(False)
    if left_out:
        log.warn("{count} logins differ from another in case alone; devicehive doctor names them", count=left_out)


async def _fill_login_key(storage, user):
    try:
        await storage.update(User, user.id, {"login_key": fold_login(user.login)})
    except Duplicate:
        return False
    except Missing:
        return True  # The user was deleted meanwhile.
    return True


async def _insert(storage, entity):
    try:
        await storage.insert(entity)
    except Duplicate:
        # An earlier start ended in the middle, or another node does the same at this moment.
        log.info("{kind} {key} is there already", kind=type(entity).__name__, key=entity.key)
        return False
    return True


def print_password(form, login, password):
    """Show a new password to the person in front of the terminal, past the log, which may be kept.

    :param form: ``text``, or ``json`` where that is the form of the log, which is shown there as well.
    """
    line = f"First start: log in as {login} with the password {password} (shown only now, and good even if the start fails)"
    if form == "json":
        members = {"level": "info", "logger": __name__, "message": line, "login": login, "password": password}
        line = json.dumps({"time": f"{format_timestamp(int(time.time() * 1000))}Z"} | members)
    sys.__stdout__.write(f"{line}\n")
    sys.__stdout__.flush()


def is_discarded(stream):
    """Whether nobody sees what is written to a stream."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(os.devnull))
    except (AttributeError, OSError, ValueError):
        return False


def password_file(directory) -> Path | None:
    """Where a first start has left the password, if nobody has deleted it yet.

    :param directory: the storage's state directory, or ``None``.
    """
    path = None if directory is None else Path(directory, FILE_NAME)
    return path if path is not None and path.exists() else None


def write_password(directory, login, password):
    """Leave a new password where only the server's user can read it, and log the place.

    :param directory: the storage's state directory.
    :raises ConfigurationError: there is no such directory, or it cannot be written.
    """
    if directory is None:
        raise ConfigurationError("auth.admin_password: must be given for the first start of a daemon whose storage has no directory")
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
