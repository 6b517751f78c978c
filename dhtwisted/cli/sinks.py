"""Where the shell puts the output of a command."""

import codecs
import os
import sys
from contextlib import ExitStack

from dhtwisted.control.backup import STORAGE, SUFFIXES
from dhtwisted.errors import CommandError
from dhtwisted.transfer.files import STANDARD, open_output


class Sink:
    """Takes the output of one command, within a ``with`` block. What is written counts when the block has ended well."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def write(self, data, part=""):
        """Take bytes.

        :param part: which of several outputs.
        """
        raise NotImplementedError


class StandardOutput(Sink):
    """Text for whoever reads standard output."""

    def __init__(self):
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    def __exit__(self, *error):
        sys.stdout.flush()

    def write(self, data, part=""):
        sys.stdout.write(self._decode(data))


class Gathered(Sink):
    """Keeps the output, for a program.

    :ivar data: all of it.
    """

    def __init__(self):
        self.data = b""

    def write(self, data, part=""):
        self.data += data


class OneFile(Sink):
    """A file of its own, with what :func:`~dhtwisted.transfer.files.open_output` promises."""

    def __init__(self, name, replace):
        self._opening = open_output(name, replace)

    def __enter__(self):
        self._file = self._opening.__enter__()
        return self

    def __exit__(self, *error):
        return self._opening.__exit__(*error)

    def write(self, data, part=""):
        self._file.write(data)


class BackupFiles(Sink):
    """The files of a backup: one for each part. That of the storage gets its name last, so where it is, the others are."""

    def __init__(self, name, replace):
        self._name, self._replace = name, replace

    def __enter__(self):
        if self._name == STANDARD:
            raise CommandError("a backup may be several files: name the first, not -")
        for suffix in SUFFIXES.values():
            if os.path.exists(self._name + suffix) and not self._replace:
                raise CommandError(f"{self._name}{suffix} is there already: name another file, or replace it with --force")
        with ExitStack() as stack:
            self._files = {STORAGE: stack.enter_context(open_output(self._name, self._replace))}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def write(self, data, part=""):
        if part not in self._files:
            self._files[part] = self._stack.enter_context(open_output(f"{self._name}{SUFFIXES[part]}", self._replace))
        self._files[part].write(data)
