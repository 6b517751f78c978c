"""Processor time of servers with all their processes."""

from pathlib import Path


def family(*pids):
    """The ids of processes and of their children, which work for them."""
    found = []
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found += [pid, *map(int, children)]
    return found


def cpu_seconds(*pids):
    """Processor time that processes and their children have used so far."""
    paths = (path for pid in family(*pids) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(map(_seconds, paths))


def _seconds(path):
    try:
        return int(path.read_text().split()[0]) / 1e9
    except OSError:
        # The thread has ended meanwhile.
        return 0
