"""What the figures were measured on: processor, kernel, file system, versions; and the cores that sides are given."""

import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("Twisted", "autobahn", "msgspec", "txpostgres", "psycopg2-binary")
IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Checkout:
    """A working copy of this project, and the Python that runs it.

    :ivar path: its directory.
    :ivar python: the path of a Python with its requirements.
    """

    path: Path = CHECKOUT
    python: str = sys.executable

    @property
    def version(self):
        """The version of its package, with the commit that is checked out."""
        code = f"import sys; sys.path.insert(0, {str(self.path)!r}); import dhtwisted; print(dhtwisted.__version__)"
        state = said_by("git", "-C", self.path, "describe", "--always", "--dirty", "--exclude=*")
        return said_by(self.python, "-c", code) + (f" ({state})" if state else "")


THIS = Checkout()
"""The one that this benchmark belongs to."""


@dataclass(frozen=True)
class Cores:
    """Which core each side runs on.

    :ivar server: of the server under test, a set with one.
    :ivar generator: of the load generator and the benchmark itself.
    :ivar everything: all that this process may use.
    """

    server: frozenset
    generator: frozenset
    everything: frozenset

    @property
    def two(self):
        """For a server that may use two: the second is the generator's only where there is no other."""
        others = sorted(self.everything - self.server - self.generator) or sorted(self.generator)
        return self.server | {others[0]}

    @property
    def second(self):
        """For the second of two servers; also the generator's where there are but two."""
        return self.two - self.server or self.server

    @property
    def shared(self):
        """Whether there is but one."""
        return self.server == self.generator


def choose_cores(allowed=None, sibling=None):
    """Give the server a core and the generator another, not the other half of the same one where that can be avoided.

    :param allowed: numbers of those that may be used; ``None``: what the system allows.
    :param sibling: a function of a core that gives the set of those that are one with it.
    """
    allowed = sorted(os.sched_getaffinity(0) if allowed is None else allowed)
    sibling = sibling or _siblings
    server = allowed[0]
    others = [core for core in allowed[1:] if core not in sibling(server)] or allowed[1:] or [server]
    return Cores(frozenset({server}), frozenset({others[0]}), frozenset(allowed))


def _siblings(core):
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return {core}
    spans = [[int(end) for end in part.split("-")] for part in text.strip().split(",")]
    return {number for span in spans for number in range(span[0], span[-1] + 1)}


def file_system(path, mounts=None):
    """The type of the file system that a path lies in, such as ``ext4``; empty when it is not known.

    :param mounts: what ``/proc/mounts`` says; ``None``: read it.
    """
    mounts = Path("/proc/mounts").read_text() if mounts is None else mounts
    path = Path(path).resolve()
    found = ("", "")
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split()
        place = place.encode().decode("unicode_escape")
        # Of two at one place the later covers the earlier.
        if path.is_relative_to(place) and len(place) >= len(found[0]):
            found = (place, kind)
    return found[1]


def describe(directory):
    """All that a reader must know of the machine, as text by name."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "file system": file_system(directory) or "unknown",
        "date": time.strftime("%Y-%m-%d"),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "dhtwisted": THIS.version,
        "Python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _package(name))},
        "SQLite": sqlite3.sqlite_version,
    }


def _processor():
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _package(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def said_by(*command):
    """The first line that a program says, its exit status left aside; empty when it is not there."""
    if not (shutil.which(command[0]) or Path(command[0]).is_file()):
        return ""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return (done.stdout or done.stderr if command[0] != "git" else done.stdout).partition("\n")[0].strip()


def warnings(cores, directory):
    """What makes figures doubtful here, a line each."""
    if cores.shared:
        yield "There is only one core: server and generator share it, so every rate is too low."
    if file_system(directory) in IN_MEMORY:
        yield f"{directory} is in memory: a commit costs nothing there. Name a directory on a disk with --directory."
    if os.getloadavg()[0] > 0.5:
        yield f"Other programs were running (load {os.getloadavg()[0]:.2f}): trust ratios more than rates, and expect wide spreads."
    if sys.flags.dev_mode:
        yield "Python is in its development mode, which slows everything down."
