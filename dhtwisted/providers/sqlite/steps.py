"""What the server asks of the process that writes the file, and what that answers.

Both go over a socket as frames: the length in four bytes, then the content as :mod:`marshal` writes it. That is as quick as anything, takes
all that Python has, and needs no import that the process would start slower for; both run the same Python. A frame from the server is a
list of steps, of which all are done in one transaction, or none; an answer is a tuple that begins with its sort. There is never more than
one frame on the way. The empty frame asks for the end.
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
"""All is committed and synced; followed by a list with what each :func:`run` and :func:`change` found."""

REFUSED = "refused"
"""A value does not fit, and nothing is done; followed by the reason."""

UNAVAILABLE = "unavailable"
"""The file cannot be written now, and nothing is done; followed by the reason."""

DAMAGED = "damaged"
"""The file is damaged or the disk fails, and nothing is done; followed by the reason, and whether it lasts."""

TAKEN = "taken"
"""An id is not free, and nothing is done; followed by the name of the kind of message, and the id."""

LENGTH = 4
"""Bytes of the length of a frame."""

END = bytes(LENGTH)
"""The empty frame."""


def insert(into: str, width: int, values: list[Any]) -> Step:
    """Insert many rows, each with its checksum behind its values.

    :param into: the statement up to its ``VALUES``.
    :param width: how many values a row has, without the checksum.
    :param values: a list of those of all rows, one row after the other.
    """
    return INSERT, into, width, values


def run(sql: str, parameters: Sequence[Any]) -> Step:
    """Execute a statement; the answer has ``(count of rows, rows)`` for it."""
    return RUN, sql, parameters


def run_many(sql: str, parameters: Sequence[Sequence[Any]]) -> Step:
    """Execute a statement once for each of several tuples of parameters."""
    return RUN_MANY, sql, parameters


def change(select: Statement, update: Statement, put_checksum: str) -> Step:
    """Change a row if it is there and as it was stored, and have its checksum fit again.

    :param select: the statement for the row with its checksum, and its parameters.
    :param update: the same for what changes it and returns it.
    :param put_checksum: the statement that takes the new checksum and the row's id, which is before the checksum.
    :returns: a step; the answer has ``(count of rows, rows)`` for it. A row that is not as it was stored is answered as it is.
    """
    return CHANGE, select, update, put_checksum


def count(counters: dict[str, int]) -> Step:
    """Put counters, and have the mark say so when all is committed.

    :param counters: name -> number, of those that have changed.
    """
    return COUNT, counters


def require_free(kind: str, sql: str, parameters: Sequence[Any]) -> Step:
    """Do nothing at all if a query finds an id that is taken.

    :param kind: the name of the kind of message.
    """
    return REQUIRE_FREE, kind, sql, parameters


def frame(content: Any) -> bytes:
    """Steps, or an answer, as they go over the socket.

    :returns: bytes.
    :raises ValueError: there is something in it that is no plain value.
    :raises OverflowError: it is larger than 4 GiB.
    """
    body = marshal.dumps(content)
    return len(body).to_bytes(LENGTH, "big") + body


def content_of(body: bytes | bytearray) -> Any:
    """What is in a frame, without its length."""
    return marshal.loads(body)


def length_of(head: bytes | bytearray) -> int:
    """How many bytes follow the first four."""
    return int.from_bytes(head[:LENGTH], "big")
