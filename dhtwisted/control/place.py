"""Where the control socket is, and how it is opened there: for its owner alone from its first moment, in the place of a dead one only."""

import errno
import fcntl
import os
import pwd
import secrets
import socket
import stat
import struct
import time
from contextlib import contextmanager

from dhtwisted.config.endpoints import LONGEST_PATH
from dhtwisted.errors import CommandError, ConfigurationError
from dhtwisted.providers.opening import data_file

OFF = "off"
FILE_NAME = "devicehive.control"
OPTION = "server.control_socket"
BACKLOG = 128
PATIENCE, PAUSE = 2.0, 0.02
"""Seconds for another server that looks at the same place at this moment."""

_CREDENTIALS = struct.Struct("iII")


def socket_path(settings, directory):
    """Where the socket is.

    :param settings: a :class:`~dhtwisted.config.settings.Settings`.
    :param directory: the storage's ``state_directory``.
    :returns: an absolute path; ``None`` for no socket.
    """
    given = settings.server.control_socket
    if given:
        return None if given == OFF else os.path.abspath(given)
    path = data_file("storage", settings.storage.provider)
    if path is not None:
        # Servers with other files in the same directory have sockets of their own.
        return f"{path}.control"
    return None if directory is None else os.path.join(os.path.abspath(directory), FILE_NAME)


def listen_at(path):
    """Open the socket.

    :returns: a ``socket`` that listens.
    :raises ConfigurationError: it cannot be opened; the text says how to mend it.
    """
    directory, name = os.path.split(path)
    try:
        with _directory(directory, os.O_RDONLY) as descriptor, _alone(descriptor, path):
            _check_place(path)
            return _bind(directory, descriptor, name)
    except OSError as error:
        cure = f'name another in {OPTION}, or "{OFF}"'
        raise ConfigurationError(f"{OPTION}: {path}: cannot be made ({error.strerror or error}); {cure}") from error


def remove(path, opened):
    """Remove the socket's file, unless another server has put its own there.

    :param opened: what :func:`identity` said when it was made.
    """
    if identity(path) == opened:
        os.unlink(path)


def identity(path):
    """Tell one file of this name from another; ``None`` for no file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def connect_to(path):
    """Connect to the server.

    :returns: a ``socket``; ``None`` where no server listens.
    :raises CommandError: this account may not connect, or the socket is that of a stranger.
    :raises TimeoutError: the server takes nobody.
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


def peer_of(connection):
    """Who is at the other end.

    :param connection: a Unix ``socket``.
    :returns: the ids of process and user.
    """
    process, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return process, user


def account_of(number):
    """The name of a user id."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"'#{number}'"  # As sudo takes it, and a shell no comment.


def belongs_to_another(directory, number):
    """The error for an account that has no business with the data there.

    :param number: the user id of the owner.
    """
    name = account_of(number)
    return CommandError(f"{directory} belongs to {name}: run it as root or as that user, such as: sudo -u {name} devicehive ...")


@contextmanager
def _directory(path, access=os.O_PATH):
    descriptor = os.open(path, access | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _alone(descriptor, path):
    """Let no other server look at the place meanwhile, which would find no server there either."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                raise ConfigurationError(f"{OPTION}: {path}: another program has locked the directory; name another place") from None
        time.sleep(PAUSE)
    yield  # The lock ends with the descriptor.


def _check_place(path):
    """Find out whether the name is free, or that of a socket whose server is dead."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ConfigurationError(f"{OPTION}: {path}: is there and no socket; name another place")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            if _try_to_connect(probe, path) == errno.ECONNREFUSED:
                return
        except PermissionError:
            pass  # It is another account's, and may well live.
    raise ConfigurationError(f'{OPTION}: {path}: another server listens there; give this one another, or "{OFF}"')


def _bind(directory, descriptor, name):
    """Bind under another name, which nobody knows, and take the place of what is there at one stroke."""
    hidden = f".devicehive-{secrets.token_hex(4)}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the file the mode that the socket has.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(_short(directory, descriptor, hidden))
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


def _short(directory, descriptor, name):
    """An address of a file, also where the whole path has more bytes than an address has room for."""
    path = os.path.join(directory, name)
    return path if len(os.fsencode(path)) <= LONGEST_PATH else f"/proc/self/fd/{descriptor}/{name}"


def _try_to_connect(client, path):
    """:returns: 0, or the number of an error that says that there is nobody, or that he takes nobody now."""
    directory, name = os.path.split(path)
    with _directory(directory) as descriptor:
        number = client.connect_ex(_short(directory, descriptor, name))
    if number not in (0, errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN):
        raise OSError(number, os.strerror(number), path)
    return number


def _is_connected(client, path):
    client.setblocking(False)
    end = time.monotonic() + PATIENCE
    try:
        # Where many connect at once there may be no room for a moment.
        while (number := _try_to_connect(client, path)) == errno.EAGAIN:
            if time.monotonic() > end:
                raise TimeoutError(f"{path}: its server takes nobody")
            time.sleep(PAUSE)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise _forbidden(path) from error
    return number == 0


def _forbidden(path):
    """The error for an account that may not go there: it names the first directory that it can see, whose owner keeps it out."""
    directory = os.path.dirname(path)
    while True:
        try:
            return belongs_to_another(directory, os.stat(directory).st_uid)
        except PermissionError:
            directory = os.path.dirname(directory)


def _check_server(client, path):
    """Tell no passwords to a program that a stranger has put there."""
    _, user = peer_of(client)
    if user not in (0, os.geteuid(), os.stat(os.path.dirname(path)).st_uid):
        raise CommandError(f"{path} is the socket of {account_of(user)}, who is neither root nor you nor the owner of its directory")
