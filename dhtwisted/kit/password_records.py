"""The text that is stored for a password: how it is written, and which texts can be checked.

A record says how it was made: ``$scrypt$<log2 n>$<r>$<p>$<salt>$<hash>``, salt and hash in base64, or ``$devicehive$<salt>$<hash>`` for
users imported from a DeviceHive server. The hash of the latter is base64 of SHA-256 over the salt (as text) and the password.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

BLOCK_SIZE, PARALLEL = 8, 1
"""The ``r`` and ``p`` of records that the server makes."""

HIGHEST_COST = 20
"""The highest ``auth.password_cost``. No record may take more memory or time than one of this cost."""

LONGEST_RECORD = 1024
SHORTEST_HASH, LONGEST_HASH = 16, 64
"""Bytes. A hash of one byte would match every 256th password."""

SHA_256 = 32


class Cost(NamedTuple):
    """The parameters of scrypt.

    :ivar log_n: log2 of scrypt's ``n``; ``r`` and ``p`` have scrypt's own names.
    """

    log_n: int
    r: int = BLOCK_SIZE
    p: int = PARALLEL

    @property
    def memory(self) -> int:
        """Bytes that a hash needs."""
        return 128 * self.r * (2**self.log_n + self.p)


class ScryptRecord(NamedTuple):
    """A record of scrypt."""

    cost: Cost
    salt: bytes
    digest: bytes


class DeviceHiveRecord(NamedTuple):
    """A record of a DeviceHive server: the salt is text, the digest is base64."""

    salt: str
    digest: str


def format_scrypt(record: ScryptRecord) -> str:
    """Write a :class:`ScryptRecord` as text."""
    salt, digest = (base64.b64encode(part).decode() for part in (record.salt, record.digest))
    return f"$scrypt${record.cost.log_n}${record.cost.r}${record.cost.p}${salt}${digest}"


def parse_record(text: str) -> ScryptRecord | DeviceHiveRecord:
    """Read a record.

    :raises ValueError: the record cannot be checked. The message says why, and shows nothing of the record.
    """
    if len(text) > LONGEST_RECORD:
        raise ValueError(f"has more than {LONGEST_RECORD} characters")
    parts = text.split("$")
    if parts[:2] == ["", "scrypt"] and len(parts) == 7:
        return ScryptRecord(_cost(*parts[2:5]), _bytes(parts[5], 0, LONGEST_RECORD), _bytes(parts[6], SHORTEST_HASH, LONGEST_HASH))
    if parts[:2] == ["", "devicehive"] and len(parts) == 4:
        _bytes(parts[3], SHA_256, SHA_256)
        return DeviceHiveRecord(*parts[2:])
    raise ValueError("is neither $scrypt$<cost>$<r>$<p>$<salt>$<hash> nor $devicehive$<salt>$<hash>")


def _cost(*texts: str) -> Cost:
    if not all(text.isascii() and text.isdigit() and len(text) <= 3 for text in texts):
        raise ValueError("has a cost that is not a number")
    cost = Cost(*map(int, texts))
    # The last bound is scrypt's own (RFC 7914, section 2).
    fits = min(cost) >= 1 and cost.r * cost.p <= 2**8 and cost.log_n <= HIGHEST_COST and cost.log_n < 16 * cost.r
    if not fits or cost.r * cost.p * 2**cost.log_n > BLOCK_SIZE * 2**HIGHEST_COST:
        raise ValueError(f"has a cost that is invalid, or higher than that of auth.password_cost {HIGHEST_COST}")
    return cost


def _bytes(text: str, low: int, high: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("has a salt or a hash that is not base64") from None
    if not low <= len(data) <= high:
        raise ValueError(f"has a hash of {len(data)} bytes")
    return data
