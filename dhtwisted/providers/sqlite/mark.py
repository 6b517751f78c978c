"""The mark: a small file ``NAME.mark`` beside the data file. It says which numbers were assigned and acknowledged last.

If the write-ahead log is cut or damaged, SQLite treats the damage as the end of the log. If the log is missing, SQLite treats the data file
as complete. Both lack what was acknowledged last, and would assign its ids again. The mark proves that. It has the last numbers: of
batches, of messages and entities of each kind, and the server time. For each batch the process that writes

1. writes the numbers after the batch as *given* to the disk, past the cache of the system;
2. commits. SQLite syncs its log, which empties the cache of the disk: the same sync secures the batch and what step 1 wrote;
3. writes the same numbers as *acknowledged* into the cache of the system, which survives the process;
4. then answers, and then begins the next batch.

At a start, the data must have everything that was acknowledged: what step 3 wrote, and the batch before the last one of step 1, because
that one began later. If there is less, data are lost. If there is one batch more, it was committed but not acknowledged. So

- after the end of the process, for whatever reason (kill -9, no memory), every batch is proved;
- after a loss of power, when the cache of the system is lost, every batch but the last is proved. The last one may be unfinished, or lost
  by a disk that had confirmed it. Both look the same;
- no number is assigned twice in either case, because a start continues behind the numbers of step 1;
- no start is refused because of a crash between two of these steps.

With a sync in step 3 the last batch would be proved after a loss of power too. But inserts would wait for the disk twice, and took 1.4
times as long when measured. Without it the step is a write of one block, a tenth of the cost of a commit.

The file has three slots of one block each: two for given numbers, used by odd and even batches in turn, so that a crash during a write
leaves the other one; and one for acknowledged numbers. A slot is a line of text: the CRC-32 of some JSON, then the JSON.

While a server uses the data, the data file has the counter ``in_use``. A clean stop deletes it. Data with this counter but without a mark
are a copy of the files of a running server, or their mark was lost: then nobody can prove that they are complete. Data without this counter
are complete by themselves: the server was stopped, or they are a backup, or belong to a release before there were marks.

This module imports little, because the process that writes must start fast.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import zlib
from dataclasses import dataclass

from dhtwisted.kit.private_files import open_or_create
from dhtwisted.providers.sqlite.data_files import MARK

SLOT = 4096
"""Bytes of a slot. A write past the cache needs whole blocks, and two slots must not share one."""

SLOTS, ACKNOWLEDGED = 3, 2

IN_USE = "in_use"
"""The name of the counter."""

BATCH, TIME = "batch", "server_time"
"""Names of counters besides those of kinds: the number of batches, and the last server time in milliseconds. The number of batches also
shows whether a batch was committed before the process died."""


@dataclass(frozen=True)
class Marked:
    """The content of a mark.

    :ivar acknowledged: name -> number that the data must have reached.
    :ivar given: name -> number that must not be assigned again.
    """

    acknowledged: dict
    given: dict


class Mark:
    """Writes the mark, in the process that writes the file.

    :param path: of the data file; :func:`write_whole_mark` has made its mark.
    :raises OSError: the mark cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._cached = os.open(path + MARK, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._direct = _open_past_cache(path + MARK)
        except BaseException:
            os.close(self._cached)
            raise
        self._block = mmap.mmap(-1, SLOT)  # A write past the cache needs aligned memory.
        self._line = b""

    def give(self, counters: dict[str, int]) -> None:
        """Write the given numbers, before a commit.

        :param counters: name -> number, of all counters after the commit.
        :raises OSError: the write failed.
        """
        self._line = _line(counters)
        self._block[:] = self._line.ljust(SLOT, b"\0")
        os.pwrite(self._direct, self._block, counters[BATCH] % 2 * SLOT)

    def acknowledge(self) -> None:
        """Write the acknowledged numbers, after the commit.

        :raises OSError: the write failed.
        """
        os.pwrite(self._cached, self._line, ACKNOWLEDGED * SLOT)

    def close(self) -> None:
        """Close the file."""
        os.close(self._direct)
        os.close(self._cached)


def write_whole_mark(path: str, counters: dict[str, int]) -> None:
    """Write all slots of a mark, which is created if it is missing. Nobody else may write it now.

    :param path: of the data file.
    :param counters: name -> number in the data.
    :raises OSError: the write failed.
    """
    descriptor = open_or_create(path + MARK, os.O_RDWR)
    try:
        os.pwrite(descriptor, _line(counters).ljust(SLOT, b"\0") * SLOTS, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_mark(path: str) -> Marked | None:
    """Read a mark.

    :param path: of the data file.
    :returns: its content; ``None`` if there is no mark, or none with a valid slot.
    :raises OSError: the file cannot be read.
    """
    try:
        with open(path + MARK, "rb") as file:
            *given, acknowledged = [_counters(file.read(SLOT)) for _ in range(SLOTS)]
    except FileNotFoundError:
        return None
    found = [counters for counters in (*given, acknowledged) if counters is not None]
    if not found:
        return None
    last = max([counters[BATCH] - 1 for counters in given if counters is not None], default=0)
    last = last if acknowledged is None else max(last, acknowledged[BATCH])
    nearest = max((counters for counters in found if counters[BATCH] <= last), key=lambda counters: counters[BATCH], default={})
    names = set().union(*found)
    return Marked(nearest | {BATCH: last}, {name: max(counters.get(name, 0) for counters in found) for name in names})


def _open_past_cache(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_DIRECT)
    except AttributeError:
        pass
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # Not every system and file system can do that. There each write is synced.
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_DSYNC)


def _line(counters: dict[str, int]) -> bytes:
    content = json.dumps(counters).encode("ascii")
    return b"%08x %b\n" % (zlib.crc32(content), content)


def _counters(slot: bytes) -> dict[str, int] | None:
    """Read a slot; ``None`` if it is not valid."""
    head, _, content = slot.partition(b"\n")[0].partition(b" ")
    if head != b"%08x" % zlib.crc32(content) or not content:
        return None
    counters = json.loads(content)
    return counters if isinstance(counters, dict) else None
