"""A file to which lines are appended. Other programs may move it, as logrotate does."""

from __future__ import annotations

import os

from dhtwisted.kit.private_files import open_or_create


class AppendFile:
    """Each line is one write at the end of the file, so lines of several processes do not mix. A write blocks for some microseconds: it
    does not wait for the disk.

    When the file is no longer at its path, a new file is created there.

    :param path: of the file; its directory must exist.
    :param mode: the mode of a file that is created.
    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: str, mode: int) -> None:
        self.path = os.path.abspath(path)
        self._mode = mode
        self._is_torn = False
        self._descriptor = self._open()

    def write(self, line: bytes) -> None:
        """Append a line.

        :param line: without its end.
        :raises OSError: the line is not in the file, or only a part. The next line begins on a new line anyway.
        """
        self.follow()
        data = b"\n" * self._is_torn + line + b"\n"
        written = os.write(self._descriptor, data)
        self._is_torn = written < len(data) and (written > 0 or self._is_torn)
        if written < len(data):
            raise OSError(f"only {written} of {len(data)} bytes could be written")

    def follow(self) -> None:
        """Reopen the file if it is no longer at its path.

        :raises OSError: as :meth:`reopen`.
        """
        if is_moved(self.path, self._descriptor):
            self.reopen()

    def reopen(self) -> None:
        """Continue in the file that is at the path now. If there is none, create it.

        :raises OSError: it cannot be opened; the old file stays open.
        """
        descriptor = self._open()
        os.close(self._descriptor)
        self._descriptor, self._is_torn = descriptor, False

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _open(self) -> int:
        return open_or_create(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY, self._mode)


def is_moved(path: str, descriptor: int) -> bool:
    """Whether an open file is no longer at its path: it was deleted, moved or replaced."""
    try:
        there, ours = os.stat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return True
    return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
