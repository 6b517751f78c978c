"""An export as a stream of lines: a header, the objects in a fixed order, and their counts. Without the counts it is not complete."""

import zlib
from collections.abc import Callable, Iterator
from typing import IO, Annotated, Any, NamedTuple

import msgspec

from dhtwisted.errors import UNREADABLE, TransferError
from dhtwisted.kit.text_files import without_byte_order_mark
from dhtwisted.model import MESSAGE_KINDS
from dhtwisted.transfer.records import KINDS, decode_line, encode_counts, encode_item, identity

FORMAT = "dhtwisted export"
VERSION = 5
LONGEST_LINE = 256 * 1024**2
"""The most bytes of a line: another kind of file may have no line ends at all, and must not fill the memory."""

_RANKS = {kind: rank for rank, kind in enumerate(KINDS)}
_MESSAGES: tuple[Any, ...] = tuple(MESSAGE_KINDS.values())


class Header(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The first line.

    :ivar format: :data:`FORMAT`.
    :ivar version: :data:`VERSION` of the program that wrote it.
    :ivar program: the release of that program.
    :ivar time: the time of the export, in the form of the API; it also identifies the export.
    """

    format: str
    version: int
    program: str
    time: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}\Z")]


class _AnyHeader(msgspec.Struct, kw_only=True):
    """The members that the first line has in every version."""

    format: str
    version: int
    program: str = "(unknown)"


class Entry(NamedTuple):
    """An object of a file.

    :ivar number: the number of its line, from 1.
    :ivar item: the object, of a class of the model.
    :ivar size: the size of the line in bytes.
    """

    number: int
    item: Any
    size: int

    def error(self, reason: object) -> TransferError:
        """Make the error about this object: its line, what it is, and why it is refused."""
        return TransferError(f"line {self.number}: {identity(self.item)}: {reason}")


class Writer:
    """Writes an export.

    :param write: takes bytes.
    :param program: the release of this program.
    :param time: the time of the export, in the form of the API.
    :ivar counts: name of a kind -> how many objects of it were written.
    """

    def __init__(self, write: Callable[[bytes], object], program: str, time: str) -> None:
        self.counts: dict[str, int] = {kind.KIND: 0 for kind in KINDS}
        self._write = write
        write(msgspec.json.encode(Header(format=FORMAT, version=VERSION, program=program, time=time)) + b"\n")

    def add(self, item: Any) -> None:
        """Write an object. The kinds must come in the order of ``KINDS``, and the objects of a kind in its own order.

        :raises TransferError: the object cannot be written.
        """
        line = encode_item(item) + b"\n"
        if len(line) > LONGEST_LINE:
            raise TransferError(f"{identity(item)} is too large: it cannot be exported")
        self._write(line)
        self.counts[item.KIND] += 1

    def finish(self) -> None:
        """Write the last line."""
        self._write(encode_counts(self.counts) + b"\n")


class Reader:
    """Reads an export and checks everything in it. Iterate over it to get each :class:`Entry`.

    :param check: called with each :class:`Entry`; an error that it raises ends the reading.
    :ivar counts: name of a kind -> how many objects of it were read.
    :raises TransferError: the file is not complete, or is not an export that this program can read; the text names the line. The
        iteration raises it too.
    """

    def __init__(self, file: IO[bytes], check: Callable[[Entry], object] = lambda entry: None) -> None:
        self._check = check
        self.counts: dict[str, int] = {kind.KIND: 0 for kind in KINDS}
        self._file = file
        self._number = 0
        self.header: Header = self._read_header()

    def __iter__(self) -> Iterator[Entry]:
        last: tuple[Any, ...] | None = None
        while True:
            text = self._read_line()
            try:
                item = decode_line(text)
            except ValueError as error:
                raise self._error(f"{error}; export again") from error
            if isinstance(item, dict):
                self._check_end(item)
                return
            entry = Entry(self._number, item, len(text))
            place = _place(item)
            if last is not None and place <= last:
                raise entry.error("appears twice, or is not in the order of an export")
            last = place
            self._check(entry)
            self.counts[item.KIND] += 1
            yield entry

    def _read_header(self) -> Header:
        try:
            # An editor may have put a byte order mark in front.
            text = without_byte_order_mark(self._read_line())
        except ValueError as error:
            raise self._error(str(error)) from error
        try:
            known = msgspec.json.decode(text, type=_AnyHeader)
            if known.format != FORMAT or known.version < 1:
                raise self._error(f"is not the header of an export: its format is {known.format!r}, version {known.version}")
            if known.version > VERSION:
                raise self._error(
                    f"was written by version {known.program!r} in form {known.version}; this program reads form {VERSION}: "
                    "install the newer release"
                )
            return msgspec.json.decode(text, type=Header)
        except UNREADABLE as error:
            raise self._error("is not the header of an export: name a file that devicehive export wrote") from error

    def _read_line(self) -> bytes:
        self._number += 1
        line = self._read_up_to(LONGEST_LINE)
        if line.endswith(b"\n"):
            return line
        if len(line) == LONGEST_LINE:
            raise self._error(f"is longer than {LONGEST_LINE} bytes: this is not an export")
        raise self._error("is cut off or missing: the file is not complete; copy it again, or export again")

    def _read_up_to(self, size: int) -> bytes:
        try:
            return self._file.readline(size)
        except (OSError, EOFError, zlib.error) as error:
            raise self._error(f"cannot be read: {error}") from error

    def _check_end(self, counts: dict[str, int]) -> None:
        # Older programs have fewer kinds.
        if {kind: count for kind, count in counts.items() if count} != {kind: count for kind, count in self.counts.items() if count}:
            raise self._error(f"counts {counts}, but the file has {self.counts}: it is not complete; export again")
        self._number += 1
        if self._read_up_to(1):
            raise self._error("is after the end of the export: the file has more than one export")

    def _error(self, reason: str) -> TransferError:
        return TransferError(f"line {self._number} {reason}")


def _place(item: Any) -> tuple[Any, ...]:
    """The place of an object in the order of a file."""
    own = (item.timestamp, item.id) if isinstance(item, _MESSAGES) else (item.key,)
    return _RANKS[type(item)], *own
