"""Checksums that detect damaged rows of the SQLite file.

SQLite detects damage to the structure of a page, but not to the content of its rows. So each row has a CRC-32 of its values. It takes 0.5
us for a row and 0.4 us for each kilobyte. Rows from before there were checksums have NULL. The checksum is of all columns: a script of the
schema that adds one, or changes rows, sets the checksums of these rows to NULL.
"""

from __future__ import annotations

import marshal
import zlib
from itertools import repeat
from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:  # The process that writes starts faster without this module.
    from typing import Any

_FORM = 2
"""The version of marshal's format whose bytes depend only on the values. In later versions they also depend on the identity of objects."""

_VALUES, _CHECKSUM = itemgetter(slice(None, -1)), itemgetter(-1)


def checksum_of(values: tuple[Any, ...]) -> int:
    """Compute the checksum of a row.

    :param values: a tuple of integers, texts, bytes and ``None``, as SQLite gives them back.
    """
    return zlib.crc32(marshal.dumps(values, _FORM))


def is_whole(row: tuple[Any, ...]) -> bool:
    """Whether a row is undamaged.

    :param row: its values, then its checksum.
    """
    return row[-1] is None or row[-1] == zlib.crc32(marshal.dumps(row[:-1], _FORM))


def first_damaged(rows: list[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    """Find the first damaged row of many. For undamaged rows it takes three quarters of the time of :func:`is_whole`.

    :param rows: each as for :func:`is_whole`.
    """
    computed = map(zlib.crc32, map(marshal.dumps, map(_VALUES, rows), repeat(_FORM)))
    if list(computed) == list(map(_CHECKSUM, rows)):
        return None
    # There is a damaged row, or one from before there were checksums.
    return next((row for row in rows if not is_whole(row)), None)
