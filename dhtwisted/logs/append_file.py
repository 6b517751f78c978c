"""A file to which lines are appended, and that others may move away meanwhile."""

import os

from dhtwisted.kit.private_files import open_or_create


class AppendFile:
    """Each line is one write at the end of the file, so that lines of several processes do not get mixed. It blocks as long as the disk
    takes for it, which without a wait for the disk to be done is some microseconds.

    When the file is no longer where it was, as after logrotate, another is made.

    :param path: of the file; its directory must be there.
    :param mode: who may read and write a file that is made.
    :raises OSError: it cannot be opened.
    """

    def __init__(self, path, mode):
        self.path = os.path.abspath(path)
        self._mode = mode
        self._is_torn = False
        self._descriptor = self._open()

    def write(self, line):
        """Append a line.

        :param line: bytes, without its end.
        :raises OSError: it is not, or not wholly, in the file. The next line begins anew all the same.
        """
        self.follow()
        data = b"\n" * self._is_torn + line + b"\n"
        written = os.write(self._descriptor, data)
        self._is_torn = written < len(data) and (written > 0 or self._is_torn)
        if written < len(data):
            raise OSError(f"only {written} of {len(data)} bytes could be written")

    def follow(self):
        """Reopen the file if it is no longer where it was.

        :raises OSError: as :meth:`reopen`.
        """
        if is_moved(self.path, self._descriptor):
            self.reopen()

    def reopen(self):
        """Go on in the file that has the path now, made if there is none.

        :raises OSError: it cannot be opened; what was open stays so.
        """
        descriptor = self._open()
        os.close(self._descriptor)
        self._descriptor, self._is_torn = descriptor, False

    def close(self):
        """Let go of it."""
        os.close(self._descriptor)

    def _open(self):
        return open_or_create(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY, self._mode)


def is_moved(path, descriptor):
    """Whether an open file has no longer its path: it was deleted, moved or replaced."""
    try:
        there, ours = os.stat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return True
    return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
