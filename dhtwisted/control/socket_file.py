"""The file of the control socket: its path, opening it for a server, connecting to it from the shell.

Only its owner can use the file, from the moment it exists. A server replaces the socket of a dead server, but not of a running one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import secrets
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dhtwisted.config.endpoints import LONGEST_PATH
from dhtwisted.config.settings import Settings
from dhtwisted.errors import CommandError, ConfigurationError
from dhtwisted.providers.opening import data_file

OFF = "off"
FILE_NAME = "devicehive.control"
OPTION = "server.control_socket"
BACKLOG = 128
PATIENCE, PAUSE = 2.0, 0.02
"""Seconds to wait for another server that opens a socket in the same directory at this moment, or that has no room for callers."""

_CREDENTIALS = struct.Struct("iII")


def socket_path(settings: Settings, directory: str | os.PathLike[str] | None) -> str | None:
    """Where the socket is.

    :param directory: the storage's ``state_directory``.
    :returns: an absolute path; ``None`` for no socket.
    """
    given = settings.server.control_socket
    if given:
        return None if given == OFF else os.path.abspath(given)
    path = data_file("storage", settings.storage.provider)
    if path is not None:
        # Each data file has its own socket: several servers may keep their files in one directory.
        return f"{path}.control"
    return None if directory is None else os.path.join(os.path.abspath(directory), FILE_NAME)


def listen_at(path: str) -> socket.socket:
    """Open the socket.

    :returns: a listening socket.
    :raises ConfigurationError: it cannot be opened; the text says what to do.
    """
    directory, name = os.path.split(path)
    try:
        with _open_directory(directory, os.O_RDONLY) as descriptor, _exclusive_lock(descriptor, path):
            _require_free_path(path)
            return _bind(directory, descriptor, name)
    except OSError as error:
        cure = f'set {OPTION} to another path, or to "{OFF}"'
        raise ConfigurationError(f"{OPTION}: {path}: cannot be created ({error.strerror or error}); {cure}") from error


def remove(path: str, created: tuple[int, int] | None) -> None:
    """Remove the socket's file, unless another server has replaced it.

    :param created: what :func:`file_identity` returned when the file was created.
    """
    if file_identity(path) == created:
        os.unlink(path)


def file_identity(path: str) -> tuple[int, int] | None:
    """Device and inode of the file at a path; ``None`` for no file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def connect_to(path: str) -> socket.socket | None:
    """Connect to the server.

    :returns: ``None`` where no server listens.
    :raises CommandError: this account may not connect, or the socket belongs to a foreign account.
    :raises TimeoutError: the server does not accept the connection.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_connected(client, path):
            _check_server(client, path)
            return client
    except BaseException:
        client.close()
        raise
    client.close()
    return None


def peer_ids(connection: socket.socket) -> tuple[int, int]:
    """The ids of process and user at the other end of a Unix socket."""
    process, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return process, user


def account_name(user_id: int) -> str:
    """The name of an account of this machine."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"'#{user_id}'"  # sudo accepts this form. The quotes keep a shell from reading a comment.


def wrong_account(directory: str, owner_id: int) -> CommandError:
    """The error for an account that may not use the data in a directory.

    :param owner_id: the user id of the owner.
    """
    name = account_name(owner_id)
    return CommandError(f"{directory} belongs to {name}: run it as root or as that user, such as: sudo -u {name} devicehive ...")


@contextmanager
def _open_directory(path: str, access: int = os.O_PATH) -> Iterator[int]:
    descriptor = os.open(path, access | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _exclusive_lock(descriptor: int, path: str) -> Iterator[None]:
    """Lock the directory, so that two servers do not both find the path free."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                raise ConfigurationError(f"{OPTION}: {path}: another program has locked the directory; use another directory") from None
        time.sleep(PAUSE)
    yield  # The lock ends with the descriptor.


def _require_free_path(path: str) -> None:
    """Check that there is no file, or only the socket of a dead server.

    :raises ConfigurationError: there is another file, or a server listens.
    """
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ConfigurationError(f"{OPTION}: {path}: is there and no socket; use another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            if _try_to_connect(probe, path) == errno.ECONNREFUSED:
                return
        except PermissionError:
            pass  # It belongs to another account, and its server may be running.
    raise ConfigurationError(f'{OPTION}: {path}: another server listens there; set another path for this server, or "{OFF}"')


def _bind(directory: str, descriptor: int, name: str) -> socket.socket:
    """Bind under a random name, then rename: so the socket replaces an old file in one step."""
    hidden = f".devicehive-{secrets.token_hex(4)}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the file the mode of the socket.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(_address(directory, descriptor, hidden))
        try:
            os.chmod(hidden, 0o600, dir_fd=descriptor)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            os.rename(hidden, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        except BaseException:
            os.unlink(hidden, dir_fd=descriptor)
            raise
    except BaseException:
        listener.close()
        raise
    return listener


def _address(directory: str, descriptor: int, name: str) -> str:
    """The address of a file. A path can be longer than an address may be: then the address goes through the open directory."""
    path = os.path.join(directory, name)
    return path if len(os.fsencode(path)) <= LONGEST_PATH else f"/proc/self/fd/{descriptor}/{name}"


def _try_to_connect(client: socket.socket, path: str) -> int:
    """:returns: 0, or the number of an error which says that no server listens, or that it has no room at this moment."""
    directory, name = os.path.split(path)
    with _open_directory(directory) as descriptor:
        number = client.connect_ex(_address(directory, descriptor, name))
    if number not in (0, errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN):
        raise OSError(number, os.strerror(number), path)
    return number


def _is_connected(client: socket.socket, path: str) -> bool:
    client.setblocking(False)
    end = time.monotonic() + PATIENCE
    try:
        # If many connect at once, there may be no room for a moment.
        while (number := _try_to_connect(client, path)) == errno.EAGAIN:
            if time.monotonic() > end:
                raise TimeoutError(f"{path}: its server does not accept connections")
            time.sleep(PAUSE)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise _forbidden(path) from error
    return number == 0


def _forbidden(path: str) -> CommandError:
    """The error for an account that may not reach the socket. It names the lowest directory that the account can see, and its owner."""
    directory = os.path.dirname(path)
    while True:
        try:
            return wrong_account(directory, os.stat(directory).st_uid)
        except PermissionError:
            directory = os.path.dirname(directory)


def _check_server(client: socket.socket, path: str) -> None:
    """Check whose program listens. Another account could have put it there to read passwords.

    :raises CommandError: it belongs to a foreign account.
    """
    _, user = peer_ids(client)
    if user not in (0, os.geteuid(), os.stat(os.path.dirname(path)).st_uid):
        raise CommandError(f"{path} is the socket of {account_name(user)}, who is neither root nor you nor the owner of its directory")
