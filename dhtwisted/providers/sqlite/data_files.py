"""The files of an SQLite storage, examined without SQLite. This module imports little, because the process that writes must start fast."""

from __future__ import annotations

import os

from dhtwisted.kit.private_files import access_problem

TYPE_CHECKING = False
if TYPE_CHECKING:  # The process that writes starts faster without these modules.
    from collections.abc import Iterable

WRITTEN = ("", "-wal", "-shm")
"""The files of SQLite: the data file, its write-ahead log, and the shared memory of its connections."""

LOCK = ".lock"
MARK = ".mark"
"""Says what was acknowledged last; see :mod:`~dhtwisted.providers.sqlite.mark`."""

KEPT_OPEN = (*WRITTEN, LOCK, MARK)
"""The files that the process that writes keeps open."""


def open_problem(path: str) -> str | None:
    """Find what prevents a data file from being opened or created. Nothing is changed.

    :param path: of the data file.
    :returns: path, reason and what to do, in one line; ``None`` if there is no problem.
    """
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        return f"{path}: there is no directory {directory}; make it, or name another"
    if os.path.exists(path) and not os.path.isfile(path):
        return f"{path}: is no file; name another"
    if not os.path.exists(path) and os.path.exists(f"{path}-wal"):
        return f"{path}: is gone, but {path}-wal has what was stored last; restore a backup, or move the -wal away to begin without data"
    reason = access_problem(directory, os.W_OK | os.X_OK)
    for file in (path, path + LOCK):
        if reason is None and os.path.exists(file):
            reason = access_problem(file, os.R_OK | os.W_OK)
    return reason


class DataFiles:
    """Notices when files of an open storage are moved or replaced. The server and SQLite have them open by inode, others find them by name.

    :param path: of the data file; the files beside it are there too.
    :param suffixes: of the files that are checked.
    """

    def __init__(self, path: str, suffixes: Iterable[str]) -> None:
        self._path = path
        self._first = {suffix: identity(path + suffix) for suffix in suffixes}

    def problem(self) -> str:
        """Compare the files with those at the start. This takes some microseconds for each.

        :returns: what is wrong with the first file that differs, and what to do, in one line; empty if none differs.
        """
        for suffix, first in self._first.items():
            if identity(self._path + suffix) != first:
                return loss(self._path, suffix)
        return ""


def identity(path: str) -> tuple[int, int] | None:
    """Identify a file whatever its name: device and inode; ``None`` if there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def loss(path: str, suffix: str) -> str:
    """Say that the name leads to another file than the one that the server uses, and what to do, in one line."""
    what = f"{path}{suffix}: was deleted, moved or replaced while the server works on it"
    if suffix == LOCK:
        return f"{what}; restart the server, since another could start on the same data"
    if suffix == MARK:
        return f"{what}; restart the server, which makes another: until then nothing could prove after a crash that all is there"
    if suffix:
        return f"{what}, so nothing more is stored; stop the server (not by kill -9), which saves all that is stored, and start it again"
    cure = 'see "A data file that is gone" in docs/operation-service.md'
    return f"{what}, so nothing more is stored; do not stop the server before you have saved what it has: {cure}"
