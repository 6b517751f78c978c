"""Searches a write-ahead log for damage that SQLite treats as the end of the log.

SQLite reads frames up to the first one with a wrong checksum or salt, and treats the last commit before it as the last of all. This is
right after a crash during a commit. But a commit begins only when the one before it is on the disk. So if two commits of the same log end
behind a bad frame, that frame was undamaged before. The format is that of https://www.sqlite.org/fileformat2.html#walformat.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

_HEAD = struct.Struct(">8I")
_FRAME_HEAD = struct.Struct(">6I")
_MAGIC, _LARGER_FIRST = 0x377F0682, 1
"""The magic number, and its bit for checksums of words in the order of the network."""

_ENDS = 2


def damage_of_log(path: str) -> str | None:
    """Find out whether there are commits behind a damaged frame.

    :param path: of the data file; the log is beside it.
    :returns: what is damaged, in a few words; ``None`` if no damage can be proved.
    """
    try:
        with open(f"{path}-wal", "rb") as file:
            return _walk(file)
    except FileNotFoundError:
        return None


def _walk(file: BinaryIO) -> str | None:
    head = file.read(_HEAD.size)
    if not head.strip(b"\0"):
        return _damage(0) if file.read(_FRAME_HEAD.size).strip(b"\0") else None
    if len(head) < _HEAD.size:
        return None
    magic, _, page_size, _, *salts, first, second = _HEAD.unpack(head)
    order = ">" if magic & _LARGER_FIRST else "<"
    if magic & ~_LARGER_FIRST != _MAGIC or _sum(head[:24], order, (0, 0)) != (first, second):
        return _damage(0)
    sums, number, ends = (first, second), 0, 0
    bad: int | None = None
    while len(frame := file.read(_FRAME_HEAD.size + page_size)) == _FRAME_HEAD.size + page_size:
        number += 1
        _, commit, *found_salts, first, second = _FRAME_HEAD.unpack_from(frame)
        if bad is None:
            sums = _sum(frame[_FRAME_HEAD.size :], order, _sum(frame[:8], order, sums))
            if found_salts != salts or sums != (first, second):
                bad = number
        if bad is not None and commit and found_salts == salts:
            ends += 1
    return _damage(bad) if bad is not None and ends >= _ENDS else None


def _damage(number: int) -> str:
    return f"frame {number} of its -wal cannot be read, and whole commits stand behind it"


def _sum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """Continue SQLite's checksum over pairs of words."""
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}2I", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
