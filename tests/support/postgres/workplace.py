"""What all PostgreSQL servers of this process share: the programs, a directory, an empty cluster, and the program that ends them."""

import atexit
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Any

import psutil

from tests.support.postgres.account import Account
from tests.support.postgres.binaries import NoPostgres, copy_binaries, find_binaries

CHECKOUT = Path(__file__).parents[3]
LONGEST = 60
"""Largest number of characters in the path of the directory. A Unix socket lies in it, whose path may have 107."""

ROOM = 2**30
"""Bytes that must be free in memory, so that the directory can lie in memory."""

_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": os.defpath}
_lock = RLock()


class Workplace:
    """The directory of this process for its servers. It is removed when the process ends, even by ``kill -9``, and the servers end too.

    :ivar password: of the database user postgres, over TCP. Without it every user of the machine could log in.
    """

    def __init__(self) -> None:
        self.account = Account()
        binaries = find_binaries()
        reached = self.account.reaches(binaries)
        # A file system in memory often forbids to run programs from it.
        self.directory = self._make_directory(_in_memory() if reached else [])
        self.password = secrets.token_urlsafe(12)
        # It has a session of its own, since Ctrl-C at the terminal is for the tests alone.
        command = [sys.executable, "-m", "tests.support.postgres.keeper", str(self.directory)]
        self._keeper = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, text=True, start_new_session=True)
        assert self._keeper.stdin is not None
        self._kept = self._keeper.stdin
        atexit.register(self._close)
        self._binaries = binaries if reached else copy_binaries(binaries, self.directory / "programs")
        self._numbers = count(1)
        self._template: Path | None = None

    def _make_directory(self, preferred: Iterable[str]) -> Path:
        for parent in (*preferred, tempfile.gettempdir(), "/tmp", "/var/tmp"):
            if Path(parent).is_dir() and len(parent) < LONGEST - 20 and self.account.reaches(parent):
                directory = Path(tempfile.mkdtemp(prefix="dhtwisted-", dir=parent))
                self.account.own(directory)
                return directory
        raise NoPostgres("no directory for PostgreSQL: let TMPDIR name one with a short path, which other accounts may pass through")

    def _close(self) -> None:
        self._kept.close()
        self._keeper.wait()

    def new_directory(self) -> Path:
        """Make a directory for a server."""
        directory = self.directory / str(next(self._numbers))
        directory.mkdir(mode=0o700)
        self.account.own(directory)
        return directory

    def spawn(self, program: str, *arguments: object, **options: Any) -> subprocess.Popen[Any]:
        """Start a program as the account. It ends with this process at the latest.

        :param program: a program of PostgreSQL or of the system.
        """
        path = self._binaries / program
        command = [str(path) if path.exists() else program, *map(str, arguments)]
        defaults: dict[str, Any] = {"cwd": self.directory, "env": _ENVIRONMENT, "stdin": subprocess.DEVNULL, "start_new_session": True}
        process = subprocess.Popen(command, **defaults | options, **self.account.options)
        with _lock:
            self._kept.write(f"{process.pid}\n")
            self._kept.flush()
        return process

    def run(self, program: str, *arguments: object) -> None:
        """Run a program that must succeed."""
        process = self.spawn(program, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = process.communicate()
        if process.returncode:
            raise NoPostgres(f"{program} failed with status {process.returncode}: {output}")

    def fill(self, data: Path) -> None:
        """Put an empty cluster into a directory: a copy of one that is made once, in 0.7 s."""
        with _lock:
            if self._template is None:
                self._template = self._make_template()
        self.run("cp", "-a", f"{self._template}/.", data)

    def _make_template(self) -> Path:
        directory = self.new_directory()
        password_file = directory / "password"
        password_file.write_text(self.password)
        self.account.own(password_file)
        access = ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password_file}"]
        # Small segments of the log: there is less to copy.
        self.run("initdb", *access, "--no-sync", "--wal-segsize=1", "--encoding=UTF8", "--locale=C.UTF-8", directory / "template")
        return directory / "template"


def _in_memory() -> list[str]:
    """A file system in memory, if there is one with enough room. A server's thousand files take 0.05 s there, up to 0.8 s on a disk."""
    memory = Path("/dev/shm")
    return [str(memory)] if memory.is_dir() and shutil.disk_usage(memory).free > ROOM < psutil.virtual_memory().available else []


@cache
def _make_workplace() -> Workplace:
    return Workplace()


def workplace() -> Workplace:
    """The workplace of this process. It is made when a test first needs it."""
    with _lock:
        return _make_workplace()
