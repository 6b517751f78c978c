"""The mark: what was given out and acknowledged last, in a small file beside the data file, ``NAME.mark``.

SQLite takes a write-ahead log that is cut or damaged for one that ends there, and a data file without its log for a whole one. Both lack
what was acknowledged last, and would give its ids again. The mark is the second witness. It has the numbers that were given so far: of
batches, of messages and entities of each kind, and the server's time. For each batch the process that writes

1. writes the numbers that the batch leads up to as *given*, past the cache of the system, to the disk;
2. commits. SQLite syncs its log, which makes the disk empty its own cache: what 1 wrote is kept by the same sync as the batch is;
3. writes the same numbers as *acknowledged*, into the cache of the system, which outlives the process;
4. only then answers, and only then begins the next batch.

At a start, the data must have all that was acknowledged: what 3 says, and the batch before the last one of 1, since that one was not begun
before. Less is a loss. More, by one batch, is what nobody was told of. So

- after the end of a process, however it came (kill -9, memory), each batch is proved;
- after a loss of power, when the cache of the system is gone, each batch but the last. Nobody can tell whether that one was not finished,
  or was and then lost by a disk that had said that it was there: both leave the same;
- no number is given twice after either, since a start goes on behind the numbers of 1;
- no start is refused for a crash between any two of these steps.

A sync for 3, so that the last batch is proved after a loss of power too, was measured: it makes inserts wait for the disk twice, and they
took 1.4 times as long. This way it is a write of a block, a tenth of what a commit costs.

The file has three slots of a block each: two for what is given, by the parity of the batch, so that a crash while one is written leaves the
other; and one for what is acknowledged. A slot is a line of text: the CRC-32 of some JSON, and that.

While a server works on the data, the counter ``in_use`` says so in the data file; it goes at a clean stop. Data that say so and have no
mark beside them are a copy of what a server was at, or their mark was lost: nobody can prove then that all is there. Data that do not say
so are whole by themselves: those of a server that was stopped, a backup, or of a release before there were marks.

It imports little: the process that writes is small.
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
"""Bytes of a slot: a write past the cache is of whole blocks, and no two slots share one."""

SLOTS, ACKNOWLEDGED = 3, 2

IN_USE = "in_use"
"""The name of the counter."""

BATCH, TIME = "batch", "server_time"
"""Names of counters, beside those of kinds: how many batches there were, and the last time that was given in milliseconds. The former tells
also whether a batch was committed before the process that was to say so died."""


@dataclass(frozen=True)
class Marked:
    """What a mark says.

    :ivar acknowledged: name -> number, what the data must have.
    :ivar given: name -> number, what must not be given again.
    """

    acknowledged: dict
    given: dict


class Mark:
    """The mark as the process that writes keeps it.

    :param path: of the data file, beside which :func:`settle` has made a mark.
    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._cached = os.open(path + MARK, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._direct = _open_past_cache(path + MARK)
        except BaseException:
            os.close(self._cached)
            raise
        self._block = mmap.mmap(-1, SLOT)  # Such a write must come from an aligned place.
        self._line = b""

    def give(self, counters: dict[str, int]) -> None:
        """Write, before a commit, what it leads up to.

        :param counters: name -> number, of all.
        :raises OSError: it may not be there.
        """
        self._line = _line(counters)
        self._block[:] = self._line.ljust(SLOT, b"\0")
        os.pwrite(self._direct, self._block, counters[BATCH] % 2 * SLOT)

    def acknowledge(self) -> None:
        """Write, after the commit, that it is done.

        :raises OSError: it may not be there.
        """
        os.pwrite(self._cached, self._line, ACKNOWLEDGED * SLOT)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._direct)
        os.close(self._cached)


def settle(path: str, counters: dict[str, int]) -> None:
    """Make a mark, or write all of one, while nobody else does.

    :param path: of the data file.
    :param counters: name -> number, what the data have and the mark must say.
    :raises OSError: it may not be there.
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
    :returns: a :class:`Marked`; ``None`` where there is no mark, or none that can be read.
    :raises OSError: it may not be read.
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
    # Not every system and file system can: there each write is synced.
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_DSYNC)


def _line(counters: dict[str, int]) -> bytes:
    content = json.dumps(counters).encode("ascii")
    return b"%08x %b\n" % (zlib.crc32(content), content)


def _counters(slot: bytes) -> dict[str, int] | None:
    """What a slot says; ``None`` for nothing."""
    head, _, content = slot.partition(b"\n")[0].partition(b" ")
    if head != b"%08x" % zlib.crc32(content) or not content:
        return None
    counters = json.loads(content)
    return counters if isinstance(counters, dict) else None
