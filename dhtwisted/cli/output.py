"""Where the shell puts the output of a command."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import ExitStack
from typing import IO, Any, Self

from dhtwisted.control.backup import STORAGE, SUFFIXES
from dhtwisted.errors import CommandError
from dhtwisted.transfer.files import STANDARD, open_output


class Output:
    """Receives the output of one command, within a ``with`` block. If the block ends with an error, the output does not count."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return None

    def write(self, data: bytes, part: str = "") -> None:
        """Receive bytes.

        :param part: which of several outputs.
        """
        raise NotImplementedError


class StandardOutput(Output):
    """Text for standard output."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    def __exit__(self, *error: Any) -> None:
        sys.stdout.flush()

    def write(self, data: bytes, part: str = "") -> None:
        sys.stdout.write(self._decode(data))


class CapturedOutput(Output):
    """Keeps the output for the program.

    :ivar data: all of it.
    """

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes, part: str = "") -> None:
        self.data += data


class OutputFile(Output):
    """One file, as :func:`~dhtwisted.transfer.files.open_output` writes it."""

    def __init__(self, name: str, replace: bool) -> None:
        self._opening = open_output(name, replace)

    def __enter__(self) -> Self:
        self._file: IO[bytes] = self._opening.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._opening.__exit__(*error)

    def write(self, data: bytes, part: str = "") -> None:
        self._file.write(data)


class BackupFiles(Output):
    """The files of a backup, one for each part. The file of the storage gets its name last: where it is, the others are."""

    def __init__(self, name: str, replace: bool) -> None:
        self._name, self._replace = name, replace
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Self:
        if self._name == STANDARD:
            raise CommandError("a backup can have several files: name the first, not -")
        for suffix in SUFFIXES.values():
            if os.path.exists(self._name + suffix) and not self._replace:
                raise CommandError(f"{self._name}{suffix} is there already: name another file, or replace it with --force")
        with ExitStack() as stack:
            self._files[STORAGE] = stack.enter_context(open_output(self._name, self._replace))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, data: bytes, part: str = "") -> None:
        if part not in self._files:
            self._files[part] = self._stack.enter_context(open_output(f"{self._name}{SUFFIXES[part]}", self._replace))
        self._files[part].write(data)
