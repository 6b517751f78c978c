"""Ends the servers of a test process when that process has ended: ``python -m tests.support.postgres.keeper DIRECTORY``.

The program reads process ids from its standard input, one per line. The input ends when the test process ends, however it ends. Then the
program kills these processes and their children, and removes the directory.
"""

import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.postgres.processes import kill, remove_shared_memory


def keep(directory: str, lines: Iterable[str]) -> None:
    """Wait for the end of the input, and clean up."""
    processes = []
    for line in lines:
        # A process that has ended already needs nothing.
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(int(line)))
    for process in processes:
        kill(process)
    for data in Path(directory).glob("*/data"):
        remove_shared_memory(data)
    shutil.rmtree(directory)


if __name__ == "__main__":
    keep(sys.argv[1], sys.stdin)
