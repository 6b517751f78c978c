"""Opens the file of an export: a file, compressed if its name ends in ``.gz``, or a standard stream."""

import gzip
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from dhtwisted.errors import TransferError

STANDARD = "-"
"""The name that means standard output or input."""


_COMPRESSED = ".gz"
_LEVEL = 6
"""Twice as fast as gzip's 9, and as small to one percent."""


@contextmanager
def open_output(name: str, replace: bool = False) -> Iterator[IO[bytes]]:
    """Open the output of an export, for a ``with`` block. An ``OSError`` in the block counts as an error of writing.

    The file is written under a temporary name in the same directory, and gets its name when the block ends without an error. So a file
    with that name is always complete. Its mode is 0600, because it has password hashes.

    :param name: the name of the file, or :data:`STANDARD`.
    :param replace: whether a file with that name may be replaced.
    :raises TransferError: the file cannot be written.
    """
    try:
        with _standard_output() if name == STANDARD else _new_file(name, replace) as file:
            yield file
    except OSError as error:
        shown = "standard output" if name == STANDARD else name
        raise TransferError(f"{shown} cannot be written: {error.strerror or error}") from error


@contextmanager
def open_input(name: str) -> Iterator[IO[bytes]]:
    """Open the input of an import, for a ``with`` block.

    :param name: the name of the file, or :data:`STANDARD`.
    :raises TransferError: the file cannot be read.
    """
    try:
        file = open(0, "rb", closefd=False) if name == STANDARD else open(name, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise TransferError(f"{name} cannot be read: {error.strerror}") from error
    with file:
        if name.endswith(_COMPRESSED):
            with gzip.GzipFile(fileobj=file) as uncompressed:
                yield cast("IO[bytes]", uncompressed)
        else:
            yield file


def is_regular(file: IO[bytes]) -> bool:
    """Whether a file from :func:`open_input` can be read twice."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _standard_output() -> IO[bytes]:
    return open(1, "wb", closefd=False)


@contextmanager
def _new_file(name: str, replace: bool) -> Iterator[IO[bytes]]:
    path = os.path.realpath(name)
    _check_place(path, name, replace)
    descriptor, part = tempfile.mkstemp(prefix=f"{os.path.basename(path)}.", suffix=".part", dir=os.path.dirname(path))
    try:
        with open(descriptor, "wb") as file:
            if name.endswith(_COMPRESSED):
                with gzip.GzipFile("", "wb", _LEVEL, file) as compressed:
                    yield cast("IO[bytes]", compressed)
            else:
                yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
    _sync_directory(path)


def _check_place(path: str, name: str, replace: bool) -> None:
    if os.path.exists(path) and not os.path.isfile(path):
        raise TransferError(f"{name} is not a file: name a file, or {STANDARD} for standard output")
    if os.path.exists(path) and not replace:
        raise TransferError(f"{name} is there already: name another file, or replace it with --force")


def _sync_directory(path: str) -> None:
    """Make the new name durable: after an export, somebody may delete the exported data."""
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
