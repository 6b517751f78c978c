"""Ends what a test process has started when that process is gone, however it went: ``python -m tests.support.postgres.keeper DIRECTORY``.

It reads the ids of processes from its standard input, one a line. The input's end is that of the test process: then they are killed,
with their children, and the directory is removed.
"""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.postgres.processes import kill, remove_shared_memory


def keep(directory, lines):
    """Wait for the end, and clean up."""
    processes = []
    for line in lines:
        # One that has ended meanwhile needs no end.
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(int(line)))
    for process in processes:
        kill(process)
    for data in Path(directory).glob("*/data"):
        remove_shared_memory(data)
    shutil.rmtree(directory)


if __name__ == "__main__":
    keep(sys.argv[1], sys.stdin)
