"""Values for PostgreSQL: bounds of integers, cheap parameters for columns of many rows, and results that end at a size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg2.extensions import QuotedString

LARGEST = 2**63 - 1
"""The largest ``bigint``."""

SEPARATOR, ABSENT = "\x1f", "\x18"
"""Stand between two texts of a column, and for NULL. JSON has no control characters, and other texts hardly ever do."""


def within_range(value: int) -> int:
    """The nearest integer that is a ``bigint``."""
    return max(-LARGEST, min(value, LARGEST))


def is_bigint(value: int) -> bool:
    """Whether an integer is a ``bigint``. A client may ask for any id; beyond these there is nothing."""
    return -LARGEST <= value <= LARGEST


def has_nul(value: object) -> bool:
    """Whether a value is a text with NUL, which PostgreSQL cannot store, so nothing there is equal to it."""
    return isinstance(value, str) and "\0" in value


class JoinedTexts:
    """A ``text[]`` as one string that the server splits. Quoting each text alone costs nine times as much.

    :param text: what :data:`SEPARATOR` joined, not empty.
    """

    def __init__(self, text: str) -> None:
        self._quoted = QuotedString(text)

    def __conform__(self, protocol: object) -> JoinedTexts:
        return self

    def prepare(self, connection: Any) -> None:
        """Take the connection's encoding."""
        self._quoted.prepare(connection)

    def getquoted(self) -> bytes:
        """The SQL."""
        return b"string_to_array(" + self._quoted.getquoted() + rb", E'\x1f', E'\x18')"


def text_column(texts: list[str | None]) -> JoinedTexts | list[str | None]:
    """A value for a ``text[]``.

    :param texts: a list of texts and ``None``.
    """
    joined = SEPARATOR.join([ABSENT if text is None else text for text in texts])
    if not joined or joined.count(SEPARATOR) != len(texts) - 1 or joined.count(ABSENT) != texts.count(None):
        # An empty text would be cut into no element at all, and characters that stand for something else must not be within a text.
        return texts
    return JoinedTexts(joined)


def payload_column(payloads: list[bytes | None]) -> JoinedTexts | list[str | None]:
    """A value for a ``text[]``.

    :param payloads: a list of JSON texts in bytes, and ``None``.
    """
    return text_column([None if payload is None else payload.decode() for payload in payloads])


def integer_column(integers: list[int | None]) -> str:
    """A value for a ``bigint[]``.

    :param integers: a list of integers and ``None``.
    """
    return f"{{{','.join(['NULL' if integer is None else str(integer) for integer in integers])}}}"


def up_to_size(sql: str, fields: Sequence[str], size: str, order: str) -> str:
    """The statement for the first rows of another, up to the one with which they have so many bytes; the number is one more value.

    :param fields: the columns of ``sql``.
    :param size: SQL for the bytes of a row.
    :param order: that of ``sql``.
    """
    fields = ", ".join(fields)
    before = f"sum({size}) OVER (ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    weighed = f"SELECT {fields}, {before} AS size_before FROM ({sql}) AS found"
    return f"SELECT {fields} FROM ({weighed}) AS weighed WHERE coalesce(size_before, 0) < %s ORDER BY {order}"


def folded(status: str | None) -> str | None:
    """A status without upper case, where the ``lower`` of SQL does not do, which knows but the letters of ASCII; else ``None``."""
    return None if status is None or status.isascii() else status.casefold()
