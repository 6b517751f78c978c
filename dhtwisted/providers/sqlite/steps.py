"""What the server and the process that writes the file say to each other.

Both sides send frames over a socket: the length in four bytes, then the content in the format of :mod:`marshal`. This is fast, can hold all
plain values, and needs no import that would slow the start of the process; both sides run the same Python. A frame from the server is a
list of steps. All of them are executed in one transaction, or none. An answer is a tuple whose first element is its kind. There is never
more than one frame on the way. The empty frame asks the process to stop.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:  # The process that writes starts faster without these modules.
    from collections.abc import Sequence
    from typing import Any

    Statement = tuple[str, Sequence[Any]]
    Step = tuple[Any, ...]
    Answer = tuple[Any, ...]

INSERT, RUN, RUN_MANY, REQUIRE_FREE, CHANGE, COUNT = "insert", "run", "run many", "require free", "change", "count"

DONE = "done"
"""Everything is committed and synced. A list of the results of each :func:`run` and :func:`change` follows."""

REFUSED = "refused"
"""A value cannot be stored, and nothing is done. The reason follows."""

UNAVAILABLE = "unavailable"
"""The file cannot be written now, and nothing is done. The reason follows."""

DAMAGED = "damaged"
"""The file is damaged or the disk fails, and nothing is done. The reason follows, and whether the damage lasts."""

TAKEN = "taken"
"""An id is taken, and nothing is done. The name of the kind of message and the id follow."""

LENGTH = 4
"""Bytes of the length of a frame."""

END = bytes(LENGTH)
"""The empty frame."""


def insert(into: str, width: int, values: list[Any]) -> Step:
    """Insert many rows. The process adds the checksum of each row behind its values.

    :param into: the statement without its ``INSERT``, up to its ``VALUES``.
    :param width: how many values a row has, without the checksum.
    :param values: the values of all rows in one list, row after row.
    """
    return INSERT, into, width, values


def run(sql: str, parameters: Sequence[Any]) -> Step:
    """Execute a statement. Its result in the answer is ``(count of rows, rows)``."""
    return RUN, sql, parameters


def run_many(sql: str, parameters: Sequence[Sequence[Any]]) -> Step:
    """Execute a statement once for each of several tuples of parameters."""
    return RUN_MANY, sql, parameters


def change(select: Statement, update: Statement, put_checksum: str) -> Step:
    """Change a row if it exists and is not damaged, and update its checksum.

    :param select: the statement that reads the row with its checksum, and its parameters.
    :param update: the statement that changes the row and returns it, and its parameters.
    :param put_checksum: the statement that stores the checksum. Its parameters are the checksum and the id, the last value of the row.
    :returns: a step. Its result in the answer is ``(count of rows, rows)``. A damaged row is returned unchanged.
    """
    return CHANGE, select, update, put_checksum


def count(counters: dict[str, int]) -> Step:
    """Store counters, and write them into the mark after the commit.

    :param counters: name -> number; only those that have changed.
    """
    return COUNT, counters


def require_free(kind: str, sql: str, parameters: Sequence[Any]) -> Step:
    """Refuse the whole list if a query finds a taken id.

    :param kind: the name of the kind of message.
    """
    return REQUIRE_FREE, kind, sql, parameters


def frame(content: Any) -> bytes:
    """Encode steps or an answer for the socket.

    :raises ValueError: something in it is not a plain value.
    :raises OverflowError: it is larger than 4 GiB.
    """
    body = marshal.dumps(content)
    return len(body).to_bytes(LENGTH, "big") + body


def content_of(body: bytes | bytearray) -> Any:
    """Decode the content of a frame."""
    return marshal.loads(body)


def length_of(head: bytes | bytearray) -> int:
    """Decode the length of a frame: how many bytes follow the first four."""
    return int.from_bytes(head[:LENGTH], "big")
