"""Creates files that the server can open, whichever user ran the program that created them.

An operator sometimes works as root, for example to move data or to start the server by hand. A file that root creates in a directory of
another user is given to that user, as SQLite does with the files beside its own.
"""

from __future__ import annotations

import os
import pwd


def open_or_create(path: str, flags: int, mode: int = 0o600) -> int:
    """Open a file; create it if it does not exist.

    :param flags: as for ``os.open``, without ``O_CREAT``.
    :param mode: permissions of a new file.
    :returns: a file descriptor.
    :raises OSError: the file cannot be opened.
    """
    flags |= os.O_CREAT | os.O_CLOEXEC
    try:
        # O_EXCL follows no links. Otherwise the owner of the directory could make root give them a file elsewhere.
        descriptor = os.open(path, flags | os.O_EXCL, mode)
    except FileExistsError:
        return os.open(path, flags, mode)
    give_to_owner_of(os.path.dirname(path) or ".", descriptor)
    return descriptor


def give_to_owner_of(directory: str | os.PathLike[str], descriptor: int) -> None:
    """Give a new file to the owner of its directory, if this process runs as root.

    :raises OSError: the file system does not permit it.
    """
    owner = os.stat(directory)
    if os.geteuid() == 0 and owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def access_problem(path: str, mode: int) -> str | None:
    """Say why this user cannot use an existing file or directory.

    :param mode: the access that is needed: ``os.R_OK``, ``os.W_OK``, ``os.X_OK`` or several of them.
    :returns: the path, the reason and what to do, in one line; ``None`` if there is no problem.
    """
    if os.access(path, mode, effective_ids=os.access in os.supports_effective_ids):
        return None
    if mode & os.W_OK and os.statvfs(path).f_flag & os.ST_RDONLY:
        return f"{path}: its file system is mounted read-only; mount it for writing, or use a path on another one"
    action = "read and write it" if mode & os.W_OK and mode & os.R_OK else "write there" if mode & os.W_OK else "read it"
    owner, me = os.stat(path).st_uid, os.geteuid()
    if owner == me:
        return f"{path}: its owner may not {action}; run: chmod u+rw{'x' * os.path.isdir(path)} {path}"
    return f"{path}: {_name(me)} may not {action}, and it belongs to {_name(owner)}; run this as the server's user, who must be its owner"


def _name(user: int) -> str:
    try:
        return f"user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"user id {user}"
