"""The data, where no server runs: the shell opens them itself, as their owner, with the server's signing key."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from dhtwisted.cli.terminal import WorkMonitor
from dhtwisted.config.settings import Settings
from dhtwisted.control.socket_file import wrong_account
from dhtwisted.errors import AccountError, TransferError
from dhtwisted.interfaces import ProviderContext
from dhtwisted.providers.jwt.signing_key import FILE_NAME
from dhtwisted.providers.lookup import open_provider
from dhtwisted.providers.opening import data_file, open_storages


def prepare(settings: Settings, needs_auth: bool, needs_key: bool) -> Settings:
    """Become the account that may work on the data, and find the signing key.

    :param needs_auth: the command works on users or tokens.
    :param needs_key: the signing key must be that of the server.
    :returns: the settings to work with.
    :raises CommandError: the data or the key are missing, or belong to another account.
    """
    if not needs_auth:
        require_data_file(settings)
        return settings
    directory = _become_owner(settings)
    return _with_key(settings, directory, needs_key)


def require_data_file(settings: Settings) -> None:
    """Check that the data file exists. Without the check, a misspelt name would create a new file.

    :raises TransferError: it does not exist.
    """
    path = data_file("storage", settings.storage.provider)
    if path is None:
        return
    try:
        os.stat(path)
    except FileNotFoundError as error:
        raise TransferError(
            f"there is no data file {path}: start a server first, or name the right file with --storage or --config"
        ) from error


@asynccontextmanager
async def opened_storages(reactor: Any, settings: Settings, monitor: WorkMonitor) -> AsyncIterator[tuple[Any, Any]]:
    """Open the storages for a block. At its end they finish what they have accepted, and close."""
    async with AsyncExitStack() as stack:
        opening = open_storages(reactor, settings, lambda role, close: stack.push_async_callback(close))
        yield await monitor.wait_until_open(Deferred.fromCoroutine(opening))


def _become_owner(settings: Settings) -> str | os.PathLike[str] | None:
    """If the data are in a file, and this is root, become the owner of the file: nothing needs root.

    :returns: the directory of the data; ``None`` if they are in no directory.
    """
    from twisted.internet import reactor

    storage = open_provider("storage", settings.storage.provider, ProviderContext(reactor, settings))
    if storage.durability == "volatile":
        raise AccountError(
            "the storage is in the memory of a server, where only that server can reach it; use the API, or set server.control_socket"
        )
    directory = storage.state_directory
    if directory is not None and os.path.isdir(directory):
        _become_owner_of(directory, data_file("storage", settings.storage.provider))
    require_data_file(settings)
    return directory


def _become_owner_of(directory: str, path: str | None) -> None:
    """Become the owner of the data file; if it does not exist yet, of its directory."""
    owner = os.stat(path if path is not None and os.path.exists(path) else directory)
    if os.geteuid() == 0 and owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    elif os.geteuid() != owner.st_uid and not os.access(directory, os.W_OK | os.X_OK):
        raise wrong_account(directory, owner.st_uid)


def _with_key(settings: Settings, directory: str | os.PathLike[str] | None, needs_key: bool) -> Settings:
    """The settings with a signing key. If the server's key is missing, it must not be created here: a random key is used, which is
    sufficient for password hashes.

    :param needs_key: a random key is not sufficient.
    """
    auth = settings.auth
    if auth.secret or auth.secret_file or (directory is not None and Path(directory, FILE_NAME).exists()):
        return settings
    if needs_key:
        raise AccountError("the server's signing key is not here; give it as DHTWISTED_AUTH_SECRET or auth.secret_file")
    return replace(settings, auth=replace(auth, secret=secrets.token_hex(32)))
