"""Where an export goes to and comes from: a file, compressed if its name says so, or the standard streams."""

import gzip
import os
import stat
import tempfile
from contextlib import contextmanager

from dhtwisted.errors import TransferError

STANDARD = "-"
"""The name that stands for standard output or input."""

_COMPRESSED = ".gz"
_LEVEL = 6
"""Twice as fast as gzip's 9, and as small to one percent."""


@contextmanager
def open_output(name, replace=False):
    """Open what an export is written to, for a ``with`` block of which every ``OSError`` is one of writing.

    A file is written beside its place, with mode 0600 as there are hashes of passwords in it, and takes its name when the block has ended
    well: whatever has the name is whole.

    :param name: of the file, or :data:`STANDARD`.
    :param replace: a file of that name may be there already.
    :returns: an open binary file.
    :raises TransferError: it cannot be written.
    """
    try:
        with _standard_output() if name == STANDARD else _new_file(name, replace) as file:
            yield file
    except OSError as error:
        shown = "standard output" if name == STANDARD else name
        raise TransferError(f"{shown} cannot be written: {error.strerror or error}") from error


@contextmanager
def open_input(name):
    """Open what an import reads, for a ``with`` block.

    :param name: of the file, or :data:`STANDARD`.
    :returns: an open binary file.
    :raises TransferError: it cannot be read.
    """
    try:
        file = open(0, "rb", closefd=False) if name == STANDARD else open(name, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise TransferError(f"{name} cannot be read: {error.strerror}") from error
    with file:
        if name.endswith(_COMPRESSED):
            with gzip.GzipFile(fileobj=file) as uncompressed:
                yield uncompressed
        else:
            yield file


def is_regular(file):
    """Whether what :func:`open_input` opened can be read twice."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _standard_output():
    return open(1, "wb", closefd=False)


@contextmanager
def _new_file(name, replace):
    path = os.path.realpath(name)
    _check_place(path, name, replace)
    descriptor, part = tempfile.mkstemp(prefix=f"{os.path.basename(path)}.", suffix=".part", dir=os.path.dirname(path))
    try:
        with open(descriptor, "wb") as file:
            if name.endswith(_COMPRESSED):
                with gzip.GzipFile("", "wb", _LEVEL, file) as compressed:
                    yield compressed
            else:
                yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
    _sync_directory(path)


def _check_place(path, name, replace):
    if os.path.exists(path) and not os.path.isfile(path):
        raise TransferError(f"{name} is there and no file: name a file, or {STANDARD} for standard output")
    if os.path.exists(path) and not replace:
        raise TransferError(f"{name} is there already: name another file, or replace it with --force")


def _sync_directory(path):
    """Make the new name durable: who has exported may delete what was exported."""
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
